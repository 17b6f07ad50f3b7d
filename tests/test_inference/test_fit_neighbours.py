# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmpretrain import get_model

from mlcl_plugin.apis import MultiLabelInferencer, fit_neighbours
from mlcl_plugin.engine import step_config
from mlcl_plugin.inference import build_model
from mlcl_plugin.inference.fit_neighbours import find_neighbours, neighbour_config
from mlcl_plugin.models import NeighbourClassifier
from mlcl_plugin.models.neighbours import blend

LABEL, IMAGE = dict(type='LabelNeighbours'), dict(type='ImageNeighbours')
GAP = {
    'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
    'model.head': dict(
        _delete_=True, type='MultiLabelLinearClsHead', num_classes=3, in_channels=16
    ),
}
CONTRAST = {
    'model.head.loss_contrastive': dict(type='LabelWiseContrastiveLoss'),
    'model.head.projector': dict(hidden_channels=16, out_channels=8),
}


@pytest.fixture
def save(tmp_path):
    """Function that writes a checkpoint of random weights that tell images apart."""

    def save(cfg):
        torch.manual_seed(0)
        cfg = cfg.copy()
        model = get_model(cfg, pretrained=False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        path = tmp_path / 'model.pth'
        meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'owl')), epoch=2)
        torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
        return path

    return save


def load_fitted(fitted):
    cfg = Config.fromfile(fitted.config)
    return build_model(cfg, str(fitted.checkpoint))


def images_of(root, split):
    """Images ``(N, 3, 32, 32)`` as the data preprocessor gives them, and names."""
    paths = sorted((root / split).glob('*.png'))
    pixels = [
        torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()) for path in paths
    ]
    images = torch.stack(pixels).permute(0, 3, 1, 2).float()
    return (images - 127.5) / 64, [path.name for path in paths]


@pytest.mark.parametrize(
    ('changes', 'neighbours'),
    [
        ({}, None),
        ({}, [LABEL, IMAGE]),
        (CONTRAST, [dict(LABEL, source='projections', dims=4)]),
        (GAP, None),
        ({}, [dict(LABEL, prototypes=(2, 2), storage='int8')]),
    ],
)
def test_memory_of_the_training_images(
    load_config, save, tiny_coco, changes, neighbours
):
    """Each image in the memory finds itself; the blend is that of the parts."""
    cfg = load_config(changes)
    fitted = fit_neighbours(cfg, save(cfg), neighbours=neighbours, device='cpu')
    assert fitted.checkpoint.name == 'model_neighbours.pth' and fitted.chosen_on == 0
    assert fitted.config == fitted.checkpoint.with_suffix('.py')
    assert not list(fitted.checkpoint.parent.glob('*.part'))
    model = load_fitted(fitted)
    assert isinstance(model, NeighbourClassifier) and model.is_filled
    images, names = images_of(tiny_coco, 'train')
    plain = build_model(cfg.copy(), str(fitted.checkpoint.with_name('model.pth')))
    with torch.no_grad():
        logits, votes = model.members(images)
        torch.testing.assert_close(logits, plain(images))
        torch.testing.assert_close(model(images), blend(logits, votes, model.weights))
    prototypes = neighbours and 'prototypes' in neighbours[0]
    for memory, vectors in zip(model.memories, model.vectors(images)):
        found = {Path(name).name for name in memory.image_names}
        # The eighth has no label and is not trained on.
        assert found == set(names[:7])
        if prototypes:
            continue
        for number in range(7):
            label = next(label for label in range(3) if (number + 1) >> label & 1)
            nearest = memory.explain(vectors[number], label, 1)[0]
            assert nearest.cosine == pytest.approx(1, abs=1e-3)
            assert Path(nearest.image).name == names[number]


def test_files_for_test_and_inference(load_config, save, tiny_coco, tmp_path):
    cfg = load_config()
    fitted = fit_neighbours(cfg, save(cfg), tmp_path / 'out/fitted.pth', device='cpu')
    written = Config.fromfile(fitted.config)
    assert 'steps' not in written and 'runner_type' not in written
    assert written.model.type == 'NeighbourClassifier'
    assert written.model.weights == [0.3, 0.7] or written.model.weights == (0.3, 0.7)
    meta = torch.load(fitted.checkpoint, weights_only=True)['meta']
    assert meta['epoch'] == 2 and 'NeighbourClassifier' in meta['cfg']
    # The test and the inferencer give the same scores.
    written.load_from = str(fitted.checkpoint)
    written.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(written)
    outputs = []
    runner.test_evaluator.metrics[0].process = lambda data_batch, data_samples: (
        outputs.extend(data_samples)
    )
    runner.test_evaluator.metrics[0].evaluate = lambda size: {}
    runner.test()
    assert len(outputs) == 7
    inferencer = MultiLabelInferencer(fitted.config, fitted.checkpoint, 'cpu')
    assert inferencer.classes == ('cat', 'dog', 'owl')
    results = inferencer(str(tiny_coco / 'val'), return_scores=True)
    model = load_fitted(fitted)
    with torch.no_grad():
        scores = model(images_of(tiny_coco, 'val')[0]).sigmoid()
    for sample, result, score in zip(outputs, results, scores):
        torch.testing.assert_close(sample['pred_score'], score)
        torch.testing.assert_close(torch.tensor(list(result['scores'].values())), score)


def test_again_with_other_memories(load_config, save, tmp_path):
    """A filled checkpoint is filled anew."""
    cfg = load_config()
    first = fit_neighbours(cfg, save(cfg), neighbours=[LABEL], device='cpu')
    filled = Config.fromfile(first.config)
    second = fit_neighbours(
        filled, first.checkpoint, tmp_path / 'second.pth', device='cpu'
    )
    for (name, a), b in zip(
        load_fitted(first).state_dict().items(),
        load_fitted(second).state_dict().values(),
    ):
        assert torch.equal(a, b), name
    third = fit_neighbours(
        filled,
        second.checkpoint,
        tmp_path / 'third.pth',
        neighbours=[LABEL, IMAGE],
        device='cpu',
    )
    assert third.weights == (0.2, 0.5, 0.3)
    assert len(load_fitted(third).memories) == 2


def test_repeated_and_joined_datasets(load_config, save, tiny_coco):
    """Every image once, by the test pipeline."""
    cfg = load_config()
    checkpoint = save(cfg)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type='ConcatDataset', datasets=[inner, cfg.val_dataloader.dataset]
        ),
    )
    model = load_fitted(fit_neighbours(cfg, checkpoint, device='cpu'))
    assert len(model.memories[0].image_names) == 14
    assert model.memories[0].keys.shape[1] == 14


class TestWeights:
    def test_given(self, load_config, save):
        cfg = load_config()
        fitted = fit_neighbours(cfg, save(cfg), weights=(0.6, 0.4), device='cpu')
        assert fitted.weights == (0.6, 0.4)
        assert tuple(Config.fromfile(fitted.config).model.weights) == (0.6, 0.4)

    @pytest.mark.parametrize('indices', [5, -5, [0, 1, 2, 4, 5]])
    def test_held_out(self, load_config, save, indices, tiny_coco):
        """On the images that are not trained on, which are not in the memory."""
        cfg = load_config()
        cfg.train_dataloader.dataset.indices = indices
        fitted = fit_neighbours(
            cfg,
            save(cfg),
            neighbours=[LABEL, IMAGE],
            choose_on='held-out',
            device='cpu',
        )
        model = load_fitted(fitted)
        assert fitted.chosen_on == 2 and sum(fitted.weights) == pytest.approx(1)
        assert model.weights == pytest.approx(fitted.weights)
        names = {Path(name).name for name in model.memories[0].image_names}
        assert len(names) == 5
        *alone, blended = fitted.scores
        assert len(alone) == 3 and blended >= max(alone)

    def test_val(self, load_config, save, tmp_path):
        cfg = load_config()
        checkpoint = save(cfg)
        with pytest.raises(ValueError, match="choose_on='val'.*the same images"):
            fit_neighbours(cfg, checkpoint, choose_on='val', device='cpu')
        # The same images, by another pipeline.
        cfg.val_dataloader.dataset.pipeline.insert(
            -1, dict(type='RandomFlip', prob=0.0)
        )
        with pytest.raises(ValueError, match="choose_on='val'.*the same images"):
            fit_neighbours(cfg, checkpoint, choose_on='val', device='cpu')
        cfg.test_dataloader.dataset.indices = 3
        fitted = fit_neighbours(cfg, checkpoint, choose_on='val', device='cpu')
        assert fitted.chosen_on == 7
        cfg.val_dataloader = None
        with pytest.raises(ValueError, match='needs a val_dataloader'):
            fit_neighbours(cfg, checkpoint, choose_on='val', device='cpu')

    def test_errors(self, load_config, save):
        cfg = load_config()
        checkpoint = save(cfg)
        without = load_config()
        without.test_dataloader = without.test_cfg = without.test_evaluator = None
        with pytest.raises(ValueError, match='no test_dataloader with a dataset'):
            fit_neighbours(without, checkpoint, choose_on='val', device='cpu')
        with pytest.raises(ValueError, match='leaves out none.*indices=6'):
            fit_neighbours(cfg, checkpoint, choose_on='held-out', device='cpu')
        with pytest.raises(ValueError, match="choose_on must be .* got 'test'"):
            fit_neighbours(cfg, checkpoint, choose_on='test', device='cpu')
        with pytest.raises(ValueError, match='either weights or choose_on'):
            fit_neighbours(cfg, checkpoint, weights=(1, 0), choose_on='val')


class TestConfig:
    def test_default_memories(self, load_config):
        assert find_neighbours(load_config()) == [LABEL]
        assert find_neighbours(load_config(GAP)) == [IMAGE]
        assert find_neighbours(load_config(CONTRAST)) == [LABEL]
        votes = {
            **CONTRAST,
            'model.head.loss_contrastive': dict(
                type='NeighbourVoteLoss', temperature=0.2
            ),
        }
        assert find_neighbours(load_config(votes)) == [
            dict(LABEL, source='projections', temperature=0.2)
        ]
        given = [dict(IMAGE, dims=4)]
        assert find_neighbours(load_config({'model.neighbours': given})) == given
        with pytest.raises(ValueError, match='has no model.head'):
            find_neighbours(Config(dict(model=dict(type='ImageClassifier'))))

    def test_momentum_classifier(self, load_config):
        cfg = load_config({'model.type': 'MomentumClassifier', 'model.momentum': 0.1})
        new = neighbour_config(cfg)
        assert new.model.type == 'NeighbourClassifier' and 'momentum' not in new.model
        assert cfg.model.type == 'MomentumClassifier'

    def test_step(self, load_config):
        """Its projector, for projections."""
        cfg = step_config(load_config(), 'step2')
        new = neighbour_config(cfg, [dict(LABEL, source='projections')])
        assert 'loss_contrastive' in new.model.head

    def test_weights_of_the_config(self, load_config):
        changes = {'model.type': 'NeighbourClassifier', 'model.weights': (0.5, 0.5)}
        cfg = load_config({**changes, 'model.neighbours': [LABEL]})
        assert tuple(neighbour_config(cfg).model.weights) == (0.5, 0.5)
        new = neighbour_config(cfg, [dict(LABEL, dims=4)])
        assert tuple(new.model.weights) == (0.5, 0.5)
        assert 'weights' not in neighbour_config(cfg, [IMAGE]).model

    def test_other_classifier(self, load_config):
        cfg = load_config({'model.type': 'ImageToTextRetriever'})
        with pytest.raises(ValueError, match="got a config with.*'ImageToText"):
            neighbour_config(cfg)


class TestErrors:
    def test_files(self, load_config, save, tmp_path):
        cfg = load_config()
        checkpoint = save(cfg)
        with pytest.raises(FileNotFoundError, match='none.pth does not exist'):
            fit_neighbours(cfg, tmp_path / 'none.pth')
        with pytest.raises(ValueError, match="must end with '.pth'"):
            fit_neighbours(cfg, checkpoint, tmp_path / 'out.py')
        with pytest.raises(ValueError, match='is the checkpoint itself'):
            fit_neighbours(cfg, checkpoint, checkpoint)

    def test_checkpoint_of_another_model(self, load_config, save):
        checkpoint = save(load_config(GAP))
        with pytest.raises(ValueError, match='does not fit the model'):
            fit_neighbours(load_config(), checkpoint, device='cpu')


def test_after_a_training_in_steps(load_config):
    cfg = load_config({'train_cfg.max_epochs': 1})
    RUNNERS.build(cfg).train()
    checkpoint = Path(cfg.work_dir) / 'step2/epoch_1.pth'
    fitted = fit_neighbours(cfg, checkpoint, device='cpu')
    model = load_fitted(fitted)
    # Weights are those of the checkpoint: the averaged ones.
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    for key, value in model.state_dict().items():
        if not key.startswith('neighbours.'):
            assert torch.equal(value, state[key])
