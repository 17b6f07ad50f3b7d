# SPDX-License-Identifier: Apache-2.0
import json
import runpy
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import RUNNERS
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS

from mlcl_plugin.engine import (
    FeatureExtraction,
    base_config,
    extract_features,
    freeze_backbone,
    set_default_dataloader_cfg,
    step_config,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def features(load_config, tmp_path):
    """The config of a tiny run and the folder with its features, of three views."""
    cfg = load_config()
    extract_features(cfg, tmp_path / 'features', num_views=3)
    return cfg, tmp_path / 'features'


def test_files(features, capsys):
    cfg, folder = features
    # The recipe trains without the one image that has no label.
    for split, number, views in (('train', 7, 3), ('val', 7, 1), ('tune', 7, 1)):
        maps = np.load(folder / f'{split}.npy')
        assert maps.shape == (number, views, 16, 4, 4) and maps.dtype == np.float16
        content = json.loads((folder / f'{split}.json').read_text())
        assert content['metainfo'] == dict(classes=['cat', 'dog', 'owl'])
        assert [item['feature_index'] for item in content['data_list']] == list(
            range(number)
        )
        # in the order of the dataset, each with its labels
        assert content['data_list'][2]['gt_label'] == [0, 1]
        assert content['data_list'][2]['img_path'].endswith('002.png')

    # What is there is not computed again.
    before = (folder / 'train.npy').stat().st_mtime_ns
    (folder / 'val.json').unlink()
    extract_features(cfg, folder, num_views=3)
    assert (folder / 'train.npy').stat().st_mtime_ns == before
    assert (folder / 'val.json').exists()


def test_other_settings(features):
    """What is there is never taken for something else."""
    cfg, folder = features
    with pytest.raises(ValueError, match='another num_views: got 3, expected 5'):
        extract_features(cfg, folder, num_views=5)
    changed = deepcopy(cfg)
    changed.train_dataloader.dataset.pipeline[2].prob = 1.0
    with pytest.raises(ValueError, match='train.json were made with another dataset'):
        extract_features(changed, folder, num_views=3)
    changed = deepcopy(cfg)
    changed.model.backbone.depth = 34
    with pytest.raises(ValueError, match='another backbone.*Delete the folder'):
        extract_features(changed, folder, num_views=3)


def test_tool(write_config, tmp_path, capsys, monkeypatch):
    path = write_config()
    module = runpy.run_path(str(ROOT / 'tools/extract_features.py'))
    monkeypatch.setattr('mlcl_plugin.engine.keep_memory', lambda: None)
    module['main']([str(path), str(tmp_path / 'out'), '--views', '2'])
    assert np.load(tmp_path / 'out/train.npy').shape[:2] == (7, 2)

    # What is wrong is one line.
    capsys.readouterr()
    with pytest.raises(SystemExit) as error:
        module['main']([str(path), str(tmp_path / 'out'), '--views', '3'])
    assert error.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('extract_features: The features of ')
    assert 'another num_views: got 2, expected 3' in line


def test_features_are_those_of_the_backbone(features):
    """Views are drawn anew; test images pass as in a test."""
    cfg, folder = features
    maps = torch.from_numpy(np.load(folder / 'val.npy')).float()
    torch.manual_seed(0)
    np.random.seed(0)
    extract_features(cfg, folder.parent / 'again', num_views=3)
    again = np.load(folder.parent / 'again/train.npy')
    assert (again == np.load(folder / 'train.npy')).all()
    # Half of the views are mirrored.
    differs = (again[:, 0] != again[:, 1]).any((1, 2, 3))
    assert 0 < differs.sum() < 7

    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    # The weights that the features were made with are gone: what is compared is how
    # maps of one image differ from those of another, by the same network.
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    model.eval()
    data = model.data_preprocessor(
        dict(inputs=[dataset[i]['inputs'] for i in range(7)], data_samples=None)
    )
    assert model.backbone(data['inputs'])[-1].shape == maps[:, 0].shape


def test_checkpoint(load_config, tmp_path):
    cfg = load_config()
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    extract_features(cfg, tmp_path / 'features', 1, str(tmp_path / 'model.pth'))
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    inputs = [dataset[i]['inputs'] for i in range(7)]
    data = model.eval().data_preprocessor(dict(inputs=inputs, data_samples=None))
    with torch.no_grad():
        expected = model.backbone(data['inputs'])[-1]
    found = torch.from_numpy(np.load(tmp_path / 'features/val.npy')[:, 0]).float()
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


def test_trains_on_features(features, record, tmp_path):
    """Both steps, the second on two of the stored views."""
    cfg, folder = features
    frozen = freeze_backbone(cfg, folder)
    assert cfg.model.backbone.type == 'ResNet'
    frozen.work_dir = str(tmp_path / 'work')
    set_default_dataloader_cfg(frozen)
    seen = []
    model = RUNNERS.build(frozen).train()
    model.neck.register_forward_hook(lambda m, args, out: seen.append(args))
    assert record.epochs() == [
        ('step1', 0),
        ('step1', 1),
        ('step2', 0),
        ('step2', 1),
    ]
    assert not list(model.backbone.parameters())


def test_views(features):
    cfg, folder = features
    frozen = freeze_backbone(cfg, folder)
    stored = np.load(folder / 'train.npy')
    pipeline = Compose(frozen.steps.step2.train_dataloader.dataset.pipeline)
    drawn = set()
    for _ in range(30):
        item = pipeline(dict(feature_index=4, gt_label=[0, 2]))
        first, second = item['inputs']
        places = [
            next(i for i in range(3) if (stored[4, i] == view.numpy()).all())
            for view in (first, second)
        ]
        drawn.update(places)
        assert item['data_samples'].gt_score.tolist() == [1, 0, 1]
    assert len(drawn) > 1
    single = Compose(frozen.val_dataloader.dataset.pipeline)
    item = single(dict(feature_index=1, gt_label=[0], test_features='val.npy'))
    assert (item['inputs'].numpy() == np.load(folder / 'val.npy')[1, 0]).all()


def test_tuning_leaves_validation_images_alone(features):
    cfg, folder = features
    frozen = freeze_backbone(cfg, folder, num_tuning=3)
    train = DATASETS.build(frozen.train_dataloader.dataset)
    tune = DATASETS.build(frozen.val_dataloader.dataset)
    names = [
        [data.get_data_info(i)['img_path'] for i in range(len(data))]
        for data in (train, tune)
    ]
    assert [len(part) for part in names] == [4, 3]
    assert all('/train/' in name for part in names for name in part)
    assert not set(names[0]) & set(names[1])


@pytest.mark.parametrize(
    ('indices', 'expected'),
    [(3, [0, 1, 2]), (6, [0, 1, 2, 3]), (-5, [2, 3]), ([1, 5, -4], [1, 3])],
)
def test_tuning_images_are_not_trained_on(features, indices, expected):
    """The indices of a recipe choose among the others."""
    cfg, folder = features
    cfg = deepcopy(cfg)
    cfg.train_dataloader.dataset.indices = indices
    frozen = freeze_backbone(cfg, folder, num_tuning=3)
    train = DATASETS.build(frozen.train_dataloader.dataset)
    found = [train.get_data_info(i)['feature_index'] for i in range(len(train))]
    assert [index % 7 for index in found] == expected


def test_validation_shows_training_images(features):
    """By the features of the test pipeline, without those of the validation."""
    cfg, folder = features
    cfg = deepcopy(cfg)
    cfg.train_dataloader.dataset.indices = [0, 2, 3, 6]
    cfg.val_dataloader.dataset = deepcopy(cfg.train_dataloader.dataset)
    cfg.val_dataloader.dataset.indices = [5, 1]
    frozen = freeze_backbone(cfg, folder, val_split='tune')
    train, val = (
        DATASETS.build(frozen[field].dataset)
        for field in ('train_dataloader', 'val_dataloader')
    )
    assert len(train) == 4 and len(val) == 2
    stored = np.load(folder / 'tune.npy')
    for place, index in enumerate([5, 1]):
        assert (val[place]['inputs'].numpy() == stored[index, 0]).all()


def test_wrappers_and_indices_stay(features):
    cfg, folder = features
    cfg = deepcopy(cfg)
    inner = cfg.train_dataloader.dataset
    inner.indices = 4
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    frozen = freeze_backbone(cfg, folder)
    assert len(DATASETS.build(frozen.train_dataloader.dataset)) == 8


def test_missing_features(load_config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'train.npy.*extract_features'):
        freeze_backbone(load_config(), tmp_path)


def test_bad_number_of_views(load_config, tmp_path):
    with pytest.raises(ValueError, match='num_views must be positive, got 0'):
        extract_features(load_config(), tmp_path, num_views=0)


def test_several_views_in_the_pipeline(load_config):
    """Features are those of one view of several that are alike."""
    cfg = load_config()
    several = deepcopy(cfg)
    several.train_dataloader.dataset = cfg.steps.step2.train_dataloader.dataset
    first, second = (FeatureExtraction(x, 3) for x in (cfg, several))
    assert first.fingerprint == second.fingerprint
    pipeline = several.train_dataloader.dataset.pipeline
    pipeline[2].update(num_views=[1, 1])
    pipeline[2].transforms = [pipeline[2].transforms[0], []]
    with pytest.raises(ValueError, match='views by different transforms'):
        FeatureExtraction(several, 3)


def test_model_with_its_own_preprocessor(features):
    """Features are not normalised like images, wherever the config does that."""
    cfg, folder = features
    cfg = deepcopy(cfg)
    cfg.model.data_preprocessor = cfg.pop('data_preprocessor')
    cfg.steps.step2.model.data_preprocessor = cfg.steps.step2.pop('data_preprocessor')
    cfg.steps.step2.model.backbone = dict(norm_eval=True)
    frozen = freeze_backbone(cfg, folder)
    for step, views in (('step1', None), ('step2', 2)):
        plain = step_config(frozen, step)
        assert 'data_preprocessor' not in plain.model
        assert plain.data_preprocessor == dict(
            type='MultiViewDataPreprocessor', channels_last=True, num_views=views
        )
        assert plain.model.backbone == dict(type='IdentityBackbone')


def test_step_with_a_model_of_its_own(features):
    cfg, folder = features
    cfg = deepcopy(cfg)
    cfg.steps.step2.model = dict(cfg.model, _delete_=True)
    plain = step_config(freeze_backbone(cfg, folder), 'step2')
    assert plain.model.backbone == dict(type='IdentityBackbone')
    assert plain.model.neck == cfg.model.neck


def test_views_that_a_step_takes_over(features):
    """The number of views is that of the pipeline, whoever sets the preprocessor."""
    cfg, folder = features
    cfg = deepcopy(cfg)
    cfg.data_preprocessor.num_views = 2
    cfg.steps.step2.pop('data_preprocessor')
    cfg.train_dataloader.dataset = cfg.steps.step2.train_dataloader.dataset
    frozen = freeze_backbone(cfg, folder)
    for plain in (frozen, step_config(frozen, 'step2')):
        assert plain.data_preprocessor.num_views == 2
        assert plain.train_dataloader.dataset.pipeline[0].num_views == 2


def test_config_of_a_test(features):
    """A config need not train."""
    cfg, folder = features
    cfg = base_config(cfg)
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    frozen = freeze_backbone(cfg, folder)
    assert frozen.train_dataloader is None
    assert len(DATASETS.build(frozen.test_dataloader.dataset)) == 7


def test_mixed_images(features):
    cfg, folder = features
    cfg = deepcopy(cfg)
    mixup = dict(augments=[dict(type='Mixup', alpha=0.2)])
    cfg.steps.step2.data_preprocessor.batch_augments = mixup
    with pytest.raises(ValueError, match='batch_augments mixes images in .*_step2'):
        freeze_backbone(cfg, folder)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(path='nowhere.npy'), FileNotFoundError, 'no file of features'),
        (dict(num_views=0), ValueError, 'num_views must be positive'),
        (dict(num_views=4), ValueError, 'at least 4 views'),
    ],
)
def test_bad_arguments_of_the_transform(features, arguments, error, message):
    arguments = dict(path=str(features[1] / 'train.npy')) | arguments
    with pytest.raises(error, match=message):
        TRANSFORMS.build(dict(type='LoadFeatureMap', **arguments))


@pytest.mark.parametrize('index', [None, 8, -1])
def test_bad_index(features, index):
    transform = TRANSFORMS.build(
        dict(type='LoadFeatureMap', path=str(features[1] / 'train.npy'))
    )
    with pytest.raises(ValueError, match="'feature_index' is"):
        transform(dict(feature_index=index))
