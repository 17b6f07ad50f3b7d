# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import extract_features, step_config
from mlcl_plugin.evaluation import average_precision
from mlcl_plugin.inference import fit_neighbours
from mlcl_plugin.models.classifiers.neighbour_classifier import DEFAULT_WEIGHTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(load):
    return load('neighbour_gain')


def result(study, value):
    """Blends of a run: ``value`` and one more for each of the next ones."""
    return {name: value + place for place, name in enumerate(study.BLENDS)}


def cells(table):
    return [
        [cell.strip() for cell in row.split('|')[1:-1]] for row in table.split('\n')
    ]


def test_tables(study):
    """Means with their spread, and paired differences with Student's t."""
    values = {'no contrast': (80.0, 81.0, 83.0), 'votes': (81.0, 83.0, 86.0)}
    results = {
        f'{arm}/{seed}': result(study, value)
        for arm, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    }
    # A run without its partner counts in means, and in no difference.
    results['votes/7'] = result(study, 90.0)
    means, gains = map(cells, study.tables(results).split('\n\n'))
    assert means[0] == ['step 2', 'seeds', *study.BLENDS]
    assert means[2][:4] == ['no contrast', '3', '81.33 ± 1.53', '82.33 ± 1.53']
    assert means[3][:3] == ['votes', '4', '85.00 ± 3.92']
    # 4.3027 / sqrt(3) = 2.4842 standard deviations.
    assert gains[2][:3] == ['no contrast', '3', '+0.00 (+0.00 to +0.00)']
    assert gains[3][:4] == [
        'votes',
        '3',
        '+2.00 (-0.48 to +4.48)',
        '+3.00 (+0.52 to +5.48)',
    ]


def test_smoothing_takes_the_place_of_dropout(study):
    recipe = Config.fromfile(ROOT / study.RECIPE)
    head = study.smooth(recipe, 0.05).model.head
    assert recipe.model.head.dropout == 0.5 and head.dropout == 0.0
    assert MODELS.build(head).loss_module.label_smoothing == 0.05
    args = study.parse_args(['--smoothing', '0.05'])
    assert args.out == Path('studies/neighbour_gain_smoothing_0.05.json')


def test_tables_without_the_baseline(study):
    results = {f'MulCon/{seed}': result(study, 80.0 + seed) for seed in range(2)}
    means, gains = map(cells, study.tables(results).split('\n\n'))
    assert means[2][:3] == ['MulCon', '2', '80.50 ± 0.71']
    assert gains[2] == ['MulCon', '0', *['-'] * len(study.BLENDS)]


def test_weights_are_the_defaults(study):
    own, label, *others = study.BLENDS[study.LABEL]
    assert ((own, label), others) == (DEFAULT_WEIGHTS['label',], [0, 0])
    own, label, image, logistic = study.BLENDS[study.IMAGE]
    assert ((own, image), label, logistic) == (DEFAULT_WEIGHTS['image',], 0, 0)
    *weights, logistic = study.BLENDS[study.BOTH]
    assert (tuple(weights), logistic) == (DEFAULT_WEIGHTS['label', 'image'], 0)
    recipe = Config.fromfile(ROOT / study.RECIPE)
    assert study.BLENDS[study.ALL] == tuple(recipe.model.weights)


def test_arms_differ_in_the_contrast(study, tmp_path):
    recipe = Config.fromfile(ROOT / study.RECIPE)
    configs = {
        arm: study.arm_config(recipe, arm, 3, tmp_path / f'{arm}_3')
        for arm in study.ARMS
    }
    losses = {
        arm: step_config(cfg, 'step2').model.head.loss_contrastive
        for arm, cfg in configs.items()
    }
    assert losses['no contrast'] is None
    assert losses['MulCon'] == recipe.steps.step2.model.head.loss_contrastive
    assert losses['votes'].type == 'NeighbourVoteLoss'
    whole = Config.fromfile(ROOT / 'configs/mlcl/mlcl_image_level_efflite0_voc07.py')
    expected = step_config(whole, 'step2').model.head.loss_contrastive
    assert {
        k: v for k, v in losses['whole images'].items() if k in expected
    } == expected
    for arm, cfg in configs.items():
        assert cfg.randomness == dict(seed=3)
        assert cfg.work_dir == str(tmp_path / f'{arm}_3')
        assert cfg.cached_features.dir == str(tmp_path / 'features')
        step1 = step_config(cfg, 'step1')
        assert step1.model == step_config(recipe, 'step1').model


def test_step_1_is_taken_over(study, tmp_path, monkeypatch):
    """Its checkpoints are copied, and pointers lead to the copies."""
    started = []
    monkeypatch.setattr(
        study,
        'build_runner',
        lambda cfg: (
            started.append(cfg) or type('', (), dict(train=lambda self: None))()
        ),
    )
    first, own = tmp_path / 'no contrast_0', tmp_path / 'votes_0'
    cfg = Config(dict(work_dir=str(own)))
    with pytest.raises(ValueError, match="votes_0 starts .*arm 'no contrast' first"):
        study.train(cfg, first)
    assert not started and not own.exists()

    (first / 'step1').mkdir(parents=True)
    (first / 'step1/epoch_4.pth').write_bytes(b'weights')
    for pointer in ('last_checkpoint', 'finished_checkpoint'):
        (first / 'step1' / pointer).write_text(f'{first}/step1/epoch_4.pth')
    study.train(cfg, first)
    assert [cfg.resume for cfg in started] == [True]
    assert (own / 'step1/epoch_4.pth').read_bytes() == b'weights'
    for pointer in ('last_checkpoint', 'finished_checkpoint'):
        assert (own / 'step1' / pointer).read_text() == f'{own}/step1/epoch_4.pth'
    assert not list(tmp_path.glob('*.part'))


def test_another_recipe_has_results_of_its_own(study):
    usual, other = study.parse_args([]), study.parse_args(['--config', 'a/mine.py'])
    assert usual.out == Path('studies/neighbour_gain.json')
    assert other.out == Path('studies/neighbour_gain_mine.json')
    assert other.work_dir == Path('work_dirs/neighbour_gain_mine')
    assert study.parse_args(['--out', 'x.json']).out == Path('x.json')


@pytest.mark.slow
def test_score(study, load_config, tmp_path):
    """On stored features: mAP of the classifier, and of memories that join it."""
    cfg = load_config()
    extract_features(cfg, tmp_path / 'features', num_views=1)
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    kinds = [dict(type='LabelNeighbours'), dict(type='ImageNeighbours')]
    kinds.append(dict(type='PooledLogistic', num_views=0))
    out = tmp_path / 'run/step2/neighbours.pth'
    fit_neighbours(cfg, tmp_path / 'model.pth', out, kinds, device='cpu')
    values = study.score(tmp_path / 'run', tmp_path / 'features')
    assert list(values) == list(study.BLENDS)
    maps = np.load(tmp_path / 'features/val.npy')[:, 0]
    model.eval()
    with torch.no_grad():
        logits = model.head(model.neck((torch.from_numpy(maps).float(),)))
    # The images of the validation: labels 0, 1, 2 are the bits of their numbers.
    targets = torch.tensor(
        [[n >> label & 1 for label in range(3)] for n in range(1, 8)]
    )
    expected = 100 * float(average_precision(logits, targets).nanmean())
    assert values['classifier'] == pytest.approx(expected)
    assert all(0 <= value <= 100 for value in values.values())
