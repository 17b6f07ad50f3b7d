# SPDX-License-Identifier: Apache-2.0
"""What contrast and neighbours add to a recipe on cached features, over seeds.

All arms of a seed start from the same step 1. In step 2 they differ in the contrast
alone. Neighbours vote by the weights that the recipe has.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from statistics import mean, stdev

from method_report import CLASSIFIER, interval
from mmengine.config import Config
from neighbour_scores import BOTH, IMAGE, LABEL, blend_scores

from mlcl_plugin.apis import freeze_backbone
from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.engine import build_runner, keep_memory
from mlcl_plugin.engine.pointers import FINISHED
from mlcl_plugin.text_table import table_of_rows

RECIPE = 'configs/mlcl/mlcl_efflite0_voc07_frozen.py'
BASELINE = 'no contrast'
ARMS: dict[str, dict] = {
    BASELINE: dict(loss_contrastive=None),
    'MulCon': {},
    'whole images': dict(
        loss_contrastive=dict(
            _delete_=True,
            type='ImageLevelContrastiveLoss',
            rule='any',
            temperature=0.1,
            loss_weight=0.1,
        )
    ),
    'votes': dict(
        loss_contrastive=dict(
            _delete_=True, type='NeighbourVoteLoss', temperature=0.05, loss_weight=0.5
        ),
        projector=None,
    ),
}
"""Changes of the head in step 2. The rates of ``whole images`` are those of its recipe,
those of ``votes`` were not tuned."""
LOGISTIC, ALL = 'logistic', 'all'
BLENDS: dict[str, tuple[float, float, float, float]] = {
    CLASSIFIER: (1, 0, 0, 0),
    LABEL: (0.3, 0.7, 0, 0),
    IMAGE: (0.5, 0, 0.5, 0),
    BOTH: (0.2, 0.5, 0.3, 0),
    LOGISTIC: (0, 0, 0, 1),
    ALL: (0.2, 0.35, 0.2, 0.25),
}
"""Weights of the classifier, of label-wise and of image-level neighbours, and of
``PooledLogistic``: the defaults of ``NeighbourClassifier``, and those of the recipe."""


def smooth(recipe: Config, smoothing: float) -> Config:
    """Regularise the classifier by label smoothing in place of dropout."""
    cfg = deepcopy(recipe)
    loss = dict(type='BinaryCrossEntropyLoss', label_smoothing=smoothing)
    cfg.model.head.update(dropout=0.0, loss=loss)
    return cfg


def arm_config(recipe: Config, arm: str, seed: int, folder: Path) -> Config:
    """The config of a run: both steps of the recipe, with the arm's contrast."""
    cfg = deepcopy(recipe)
    cfg.merge_from_dict({'steps.step2.model.head': ARMS[arm]})
    cfg.randomness = dict(seed=seed)
    cfg.cached_features.dir = str(folder.parent / 'features')
    cfg.work_dir = str(folder)
    return cfg


def take_first_step(first: Path, folder: Path) -> None:
    """Let a run begin with step 1 of another one, unless it has begun.

    Args:
        first (Path): The folder of the other run.
        folder (Path): The folder of the run.

    Raises:
        ValueError: If the other run has not finished step 1.
    """
    if folder.exists():
        return
    if not (first / 'step1' / FINISHED).exists():
        raise ValueError(
            f'{folder.name} starts from step 1 of {first.name}, which is not in '
            f'{first.parent}. Run the arm {BASELINE!r} first.'
        )
    part = folder.with_name(f'{folder.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(first / 'step1', part / 'step1')
    for pointer in part.glob('step1/*_checkpoint'):
        text = pointer.read_text()
        pointer.write_text(text.replace(str(first), str(folder)))
    part.rename(folder)


def train(cfg: Config, first: Path) -> None:
    """Train a run, or what is left of it.

    Args:
        cfg (Config): The config of the run.
        first (Path): The folder of the run of this seed whose step 1 all runs of the
            seed take over.

    Raises:
        ValueError: If that run is not finished.
    """
    folder = Path(cfg.work_dir)
    if folder != first:
        take_first_step(first, folder)
    cfg.resume = folder.exists()
    build_runner(cfg).train()


def score(folder: Path, features: Path) -> dict[str, float]:
    """Compute the mAP in percent of each blend on the validation images."""
    step = folder / 'step2'
    cfg = freeze_backbone(Config.fromfile(step / 'neighbours.py'), features)
    return blend_scores(cfg, str(step / 'neighbours.pth'), BLENDS)


def tables(results: dict[str, dict[str, float]]) -> str:
    """Write means over seeds, and differences to the classifier without contrast.

    Args:
        results (dict[str, dict[str, float]]): The mAP of each blend by ``ARM/SEED``.

    Returns:
        str: Two tables. Differences are paired by seed. Their interval needs two seeds
        of which the run without contrast is known, too; otherwise the cell has none.
    """
    rows, gains = [], []
    for arm in ARMS:
        runs = {
            key.rpartition('/')[2]: values
            for key, values in results.items()
            if key.rpartition('/')[0] == arm
        }
        if not runs:
            continue
        row = {'step 2': arm, 'seeds': str(len(runs))}
        pairs = [
            (run, results[f'{BASELINE}/{seed}'])
            for seed, run in runs.items()
            if f'{BASELINE}/{seed}' in results
        ]
        gain = {'step 2': arm, 'seeds': str(len(pairs))}
        for name in BLENDS:
            values = [run[name] for run in runs.values()]
            spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
            row[name] = f'{mean(values):.2f}{spread}'
            gain[name] = None
            if len(pairs) > 1:
                middle, low, high = interval(
                    [run[name] - baseline[CLASSIFIER] for run, baseline in pairs]
                )
                gain[name] = f'{middle:+.2f} ({low:+.2f} to {high:+.2f})'
        rows.append(row)
        gains.append(gain)
    return f'{table_of_rows(rows)}\n\n{table_of_rows(gains)}'


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default=RECIPE, help=f'default: {RECIPE}')
    parser.add_argument(
        '--seeds', type=number(int, least=1), default=5, help='default: 5'
    )
    parser.add_argument(
        '--smoothing',
        type=number(float, least=0, most=1),
        help='label smoothing in place of dropout (default: dropout as in the config)',
    )
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), default=list(ARMS))
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/neighbour_gain, for another recipe with its name',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='results; what it has is not run again. Default: '
        'studies/neighbour_gain.json, for another recipe with its name',
    )
    parsed = parser.parse_args(args)
    # Results of one recipe must not pass for those of another.
    own = '' if parsed.config == RECIPE else f'_{Path(parsed.config).stem}'
    if parsed.smoothing is not None:
        own += f'_smoothing_{parsed.smoothing:g}'
    parsed.work_dir = parsed.work_dir or Path(f'work_dirs/neighbour_gain{own}')
    parsed.out = parsed.out or Path(f'studies/neighbour_gain{own}.json')
    return parsed


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    keep_memory()
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    with one_line_errors('neighbour_gain', {}):
        recipe = Config.fromfile(args.config)
        if args.smoothing is not None:
            recipe = smooth(recipe, args.smoothing)
        for arm in args.arms:
            for seed in range(args.seeds):
                key = f'{arm}/{seed}'
                if key in results:
                    continue
                folder = args.work_dir.absolute() / key.replace('/', '_')
                first = folder.with_name(f'{BASELINE}_{seed}')
                cfg = arm_config(recipe, arm, seed, folder)
                if not (folder / 'step2/neighbours.pth').exists():
                    train(cfg, first)
                (features,) = (args.work_dir / 'features').iterdir()
                results[key] = score(folder, features)
                part = args.out.with_suffix('.part')
                part.write_text(json.dumps(results, indent=1) + '\n')
                os.replace(part, args.out)
                print(key, results[key], flush=True)
    print(tables(results))


if __name__ == '__main__':
    main()
