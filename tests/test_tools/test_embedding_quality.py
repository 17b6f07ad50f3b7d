# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.commands import make_parser
from mlcl_plugin.datasets.hide_labels import HideLabels
from mlcl_plugin.evaluation.embedding_quality import (
    alignment,
    retrieval_between_labels,
    retrieval_within_labels,
    uniformity,
)

PATH = Path(__file__).parents[2] / 'tools/analysis_tools/embedding_quality.py'
spec = importlib.util.spec_from_file_location('tools_embedding_quality', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

CONTRAST = {
    'model.head.loss_contrastive': dict(type='LabelWiseContrastiveLoss'),
    'model.head.projector': dict(hidden_channels=16, out_channels=5),
}
# the changes of the tiny config's second step
STEP_2 = {**CONTRAST, 'model.head.projector': dict(hidden_channels=16, out_channels=8)}
GAP = {
    'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
    'model.head': dict(
        _delete_=True, type='MultiLabelLinearClsHead', num_classes=3, in_channels=16
    ),
}
GROUPS = {'model.neck.num_groups': 2, 'model.head.num_groups': 2}


@pytest.fixture
def call(write_config, tmp_path):
    """Function that calls the tool and gives model and JSON content."""

    def call(*options, changes=None, model_changes=None):
        config = write_config(changes)
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(model_changes or {})
        init_default_scope('mmpretrain')
        torch.manual_seed(0)
        cfg.model.data_preprocessor = cfg.data_preprocessor
        model = MODELS.build(cfg.model)
        with torch.no_grad():
            # so that images and labels differ by more than rounding
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
        out = tmp_path / 'new folder' / 'values.json'
        args = [config, tmp_path / 'model.pth', '--out', out, *options]
        tool.main(list(map(str, args)))
        return model.eval(), json.loads(out.read_text())

    return call


@contextmanager
def one_line_error(capsys, message):
    """Expect that the tool ends with one line on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as error:
        yield
    assert error.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f'embedding_quality: .*{message}', line)


def images_and_targets(root, split='val'):
    """The split, read without a dataset: labels are the bits of a number."""
    cv2 = pytest.importorskip('cv2')
    paths = sorted((root / split).glob('*.png'))[:7]
    images = np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])
    images = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float()
    targets = [[n >> label & 1 for label in range(3)] for n in range(1, len(paths) + 1)]
    return (images - 127.5) / 64, torch.tensor(targets)


def expected_values(values, targets):
    """From embeddings (N, L, D): what needs no classifier."""
    values = F.normalize(values, dim=-1)
    images, labels = torch.ones_like(targets).nonzero().T
    given = (values.flatten(0, 1), labels, images)
    within = retrieval_within_labels(*given, targets.flatten())
    keep = targets.flatten() == 1
    present = [x[keep] for x in given]
    between = retrieval_between_labels(*present)
    return {
        'between/P@1': 100 * between.precision_at_1,
        'between/mAP@R': 100 * between.mean_average_precision_at_r,
        'within/P@1': 100 * within.precision_at_1,
        'within/mAP@R': 100 * within.mean_average_precision_at_r,
        'alignment': alignment(*present),
        'uniformity': uniformity(present[0]),
    }


def assert_values(content, values, targets):
    for key, value in expected_values(values, targets).items():
        assert content['values'][key] == pytest.approx(value, abs=2e-3), key


@torch.no_grad()
def test_label_wise_embeddings(call, tiny_coco, capsys):
    model, content = call('--shots', '1', '2')
    images, targets = images_and_targets(tiny_coco)
    assert_values(content, model.extract_feat(images)[0], targets)
    assert (content['num_images'], content['num_labels']) == (7, 3)
    assert (content['dimensions'], content['projected']) == (16, False)
    assert list(content['classwise']) == ['cat', 'dog', 'owl']

    # the mean of the labels that have a figure, and nothing that JSON does not know
    keys = ['within/P@1', 'within/mAP@R', 'linear_probe/mAP', '1-shot/mAP']
    for key in [*keys, '2-shot/mAP']:
        values = [of_label[key] for of_label in content['classwise'].values()]
        values = [value for value in values if value is not None]
        mean = np.mean(values) if values else None
        assert content['values'][key] == pytest.approx(mean, abs=1e-3)
    printed = capsys.readouterr().out
    assert '7 test images, 3 labels, 16 dimensions\n' in printed
    for key, value in content['values'].items():
        text = 'nan' if value is None else f'{value:.3f}'
        assert any(line.split() == [key, text] for line in printed.splitlines()), key


@torch.no_grad()
def test_projected(call, tiny_coco, capsys):
    model, content = call('--projected', changes=CONTRAST)
    images, targets = images_and_targets(tiny_coco)
    values = model.head.projector(model.extract_feat(images)[0])
    assert_values(content, values, targets)
    assert (content['dimensions'], content['projected']) == (5, True)
    assert '5 dimensions, projected' in capsys.readouterr().out


@torch.no_grad()
@pytest.mark.parametrize('projected', [False, True])
def test_groups(call, tiny_coco, projected):
    """Labels 0 and 1 share an embedding, which the projector tells apart."""
    options = ['--projected'] if projected else []
    model, content = call(*options, changes={**CONTRAST, **GROUPS})
    images, targets = images_and_targets(tiny_coco)
    groups = model.extract_feat(images)[0]
    values = groups[:, [0, 0, 1]]
    if projected:
        values = model.head.projector(values * model.head.label_scale.weight)
    assert_values(content, values, targets)


@torch.no_grad()
def test_one_feature_an_image(call, tiny_coco):
    """It is the embedding of all labels, and cannot tell them apart."""
    model, content = call(changes=GAP)
    images, targets = images_and_targets(tiny_coco)
    features = model.extract_feat(images)[0]
    assert features.shape == (7, 16)
    assert_values(content, features[:, None].expand(-1, 3, -1), targets)


@torch.no_grad()
def test_projected_feature_of_an_image(call, tiny_coco):
    head = dict(
        GAP['model.head'],
        type='ImageLevelClsHead',
        loss_contrastive=dict(type='ImageLevelContrastiveLoss'),
        projector=dict(hidden_channels=16, out_channels=5),
    )
    model, content = call('--projected', changes={**GAP, 'model.head': head})
    images, targets = images_and_targets(tiny_coco)
    features = model.head.projector(model.extract_feat(images)[0])
    assert features.shape == (7, 5)
    assert_values(content, features[:, None].expand(-1, 3, -1), targets)


@torch.no_grad()
def test_feature_map(call, tiny_coco):
    """Of a head that pools by itself, the mean over the places."""
    model, content = call(changes={**GAP, 'model.neck': None})
    images, targets = images_and_targets(tiny_coco)
    features = model.extract_feat(images)[0].mean(dim=(2, 3))
    assert_values(content, features[:, None].expand(-1, 3, -1), targets)


@torch.no_grad()
def test_split_number_and_options(call, tiny_coco):
    """Images at even distances, without what the training pipeline does to them."""
    model, content = call(
        *('--split', 'train', '--num-images', 3),
        *('--cfg-options', 'test_dataloader.batch_size=2'),
    )
    # the last has no label and is left out by the dataset
    images, targets = images_and_targets(tiny_coco, 'train')
    chosen = [0, 2, 4]
    assert content['num_images'] == 3
    assert_values(content, model.extract_feat(images[chosen])[0], targets[chosen])


@torch.no_grad()
def test_wrapped_training_set(call, tiny_coco):
    """Labels that are hidden are left out."""
    hide = dict(_delete_=True, type='HideLabels', keep=0.7, seed=2)
    changes = {'train_dataloader.dataset': dict(hide, dataset=dataset(tiny_coco))}
    model, content = call('--split', 'train', changes=changes)
    images, targets = images_and_targets(tiny_coco, 'train')
    hidden = HideLabels(dataset(tiny_coco), keep=0.7, seed=2)
    targets = torch.tensor(
        [hidden.get_data_info(i)['gt_score'].tolist() for i in range(len(hidden))]
    )
    assert (targets == -1).any()
    assert_values(content, model.extract_feat(images)[0], targets)


def dataset(root):
    return dict(
        type='CocoMultiLabel',
        data_root=f'{root}/',
        ann_file='train.json',
        data_prefix=dict(img_path='train'),
        pipeline=[],
    )


def test_seed(call):
    contents = [call('--seed', seed)[1]['values'] for seed in (0, 0, 3)]
    assert contents[0] == contents[1] != contents[2]
    for key in ('within/mAP@R', 'uniformity'):
        assert contents[0][key] == contents[2][key]


def test_missing_checkpoint(write_config, capsys):
    with one_line_error(capsys, 'nowhere.pth does not exist'):
        tool.main([str(write_config()), 'nowhere.pth'])


def test_checkpoint_of_another_model(call, capsys):
    with one_line_error(capsys, 'does not fit the model: 26 .* neck.queries'):
        call(model_changes={'model.neck.embed_dims': 8, 'model.head.in_channels': 8})


def test_step(call, capsys):
    """The model of a step, which has what the others have not."""
    model, content = call('--step', 'step2', '--projected', model_changes=STEP_2)
    assert content['dimensions'] == 8
    with one_line_error(capsys, "no step 'step3', expected one of"):
        call('--step', 'step3')


def test_without_projector(call, capsys):
    message = r'--projected needs .* got LabelWiseClsHead without one.*--step step2'
    with one_line_error(capsys, message):
        call('--projected')


def test_bad_device(call, capsys):
    with one_line_error(capsys, 'nonsense'):
        call('--device', 'nonsense')


def test_head_without_number_of_labels(call, capsys):
    head = dict(
        _delete_=True, type='CSRAClsHead', num_classes=3, in_channels=16, num_heads=1
    )
    changes = {'model.neck': None, 'model.head': dict(head, lam=0.1)}
    with one_line_error(capsys, 'no head with num_classes'):
        call(changes=changes)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['--num-images', '0'],
            "--num-images: expected an integer of at least 1, got '0'",
        ),
        (['--shots', '5', '0'], "--shots: expected an integer of at least 1, got '0'"),
        (['--repeats', '-1'], "--repeats: expected an integer of at least 1, got '-1'"),
        (['--seed', '-1'], "--seed: expected an integer of at least 0, got '-1'"),
    ],
)
def test_bad_options(capsys, options, message):
    with pytest.raises(SystemExit):
        make_parser('embeddings').read(['config.py', 'model.pth', *options])
    assert message in capsys.readouterr().err
