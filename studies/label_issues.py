# SPDX-License-Identifier: Apache-2.0
"""How well ``mlcl issues`` finds labels of VOC2007 train that were flipped on purpose.

Features of the images are those that ``mlcl train mlcl_efflite0_voc07_frozen`` has
computed. Labels are flipped by a seed, models are trained on the flipped ones, and all
entries are ranked by how much each model doubts them. What was computed is kept in the
work folder; a second call goes on.
"""

import argparse
import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from neighbour_gain import take_first_step
from scipy.sparse import csr_array
from torch.nn.functional import adaptive_avg_pool2d
from wrong_labels import KINDS, flip, read_targets

from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.datasets.forms import ImageLabels
from mlcl_plugin.datasets.stratified_folds import stratified_folds
from mlcl_plugin.engine import keep_memory, load_config
from mlcl_plugin.evaluation import average_precision
from mlcl_plugin.fit.backbone import find_backbone
from mlcl_plugin.fit.console import Console
from mlcl_plugin.fit.make_config import BASES
from mlcl_plugin.fit.options import FitOptions
from mlcl_plugin.labelling.label_wise import Stored, rows_of_folds, train_fold
from mlcl_plugin.labelling.out_of_fold import (
    image_vectors,
    make_logistic,
    out_of_fold,
    pool_features,
)
from mlcl_plugin.labelling.suspicion import mean_probability, suspicion
from mlcl_plugin.models.neighbours import ImageNeighbours
from mlcl_plugin.recipes import find_config
from mlcl_plugin.text_table import table_of_rows

RATES = (0.02, 0.05, 0.1)
FOLDS = 2
"""Fewer than the 5 of the command, to save time."""
PLACES = 4
"""Rows and columns that feature maps are averaged to for the recipe, to save time."""
VIEWS = 2
ARMS = {'contrast': False, 'plain': True}


def read_features(folder: Path, name: str = 'tune') -> ImageLabels:
    """The images and labels of stored features; difficult ones are unknown."""
    content = json.loads((folder / f'{name}.json').read_text())
    classes = tuple(content['metainfo']['classes'])
    images = tuple(record['img_path'] for record in content['data_list'])
    return ImageLabels(classes, images, csr_array(read_targets(content)))


def shrink_features(source: Path, folder: Path) -> Path:
    """Write feature maps with fewer places, and fewer views."""
    for name in ('train', 'tune'):
        path = folder / f'{name}.npy'
        if path.is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        stored = np.load(source / path.name, mmap_mode='r')
        parts = [
            adaptive_avg_pool2d(
                torch.from_numpy(np.array(maps[:VIEWS])).float(), PLACES
            ).half()
            for maps in stored
        ]
        part = folder / f'part_{name}.npy'
        np.save(part, torch.stack(parts).numpy())
        part.rename(path)
    return folder


class Study:
    """Probabilities by all models for flipped labels, computed once.

    Args:
        features (Path): The folder of the features.
        work_dir (Path): Where trainings and probabilities are kept.
    """

    def __init__(self, features: Path, work_dir: Path):
        self.features = features
        self.work_dir = work_dir
        self.labels = read_features(features)
        self.targets = self.labels.targets.toarray()
        config = load_config(find_config(BASES['frozen']))
        self.backbone = MODELS.build(config.model.backbone)
        # A training that goes on must find the same one.
        self.backbone.init_weights()
        self.logistic = make_logistic(config.model.neighbours[2])
        self._vectors: dict[str, torch.Tensor] = {}

    @functools.cached_property
    def small(self) -> Path:
        """A folder of smaller features, which only the recipe needs."""
        return shrink_features(self.features, self.work_dir / 'features')

    def vectors(self, name: str) -> torch.Tensor:
        """Vectors of all images for a model of pooled features."""
        if name not in self._vectors:
            path = str(self.features / 'tune.npy')
            make: dict[str, Callable[[], torch.Tensor]] = {
                'logistic': lambda: pool_features(path, self.logistic),
                'image': lambda: image_vectors(path),
            }
            self._vectors[name] = make[name]()
        return self._vectors[name]

    def pooled(self, kind: str, rate: float, seed: int, folds: int = FOLDS) -> dict:
        """Probabilities by logistic regression and by nearest images."""
        path = self.work_dir / f'{kind}_{rate:g}_{seed}_pooled{folds}.npz'
        if not path.is_file():
            given = flip(self.targets, kind, rate, seed)
            fold = stratified_folds(csr_array(given), folds, seed)
            found = {
                'logistic': out_of_fold(
                    self.logistic, self.vectors('logistic'), given, fold
                ),
                'image': out_of_fold(
                    ImageNeighbours(), self.vectors('image'), given, fold
                ),
            }
            save(path, found)
        return dict(np.load(path))

    def has_recipe(self, kind: str, rate: float, seed: int) -> bool:
        """Whether the recipe has been trained."""
        return (self.work_dir / f'{kind}_{rate:g}_{seed}_recipe.npz').is_file()

    def recipe(self, kind: str, rate: float, seed: int) -> dict:
        """Probabilities by the recipe of ``mlcl fit``, with contrast and without."""
        path = self.work_dir / f'{kind}_{rate:g}_{seed}_recipe.npz'
        if not path.is_file():
            given = flip(self.targets, kind, rate, seed)
            labels = ImageLabels(
                self.labels.classes, self.labels.images, csr_array(given)
            )
            fold = stratified_folds(labels.targets, FOLDS, seed)
            found: dict[str, np.ndarray] = {}
            runs = self.work_dir / f'{kind}_{rate:g}_{seed}'
            # To save time, half of the images train and the others are scored.
            for index, rows in enumerate(rows_of_folds(fold)[:1]):
                first = runs / f'contrast_{index}'
                for arm, plain in ARMS.items():
                    out = runs / f'{arm}_{index}'
                    if out != first:
                        take_first_step(first / 'train', out / 'train')
                    options = FitOptions(
                        'study',
                        out,
                        recipe='frozen',
                        image_size=224,
                        plain=plain,
                        seed=seed,
                        device='cpu',
                    )
                    votes = train_fold(
                        Stored(self.small, self.backbone),
                        labels,
                        rows,
                        options,
                        find_backbone('efflite0'),
                        Console(quiet=True),
                    )
                    for name, values in votes.items():
                        key = f'{arm} {name}'
                        found.setdefault(key, np.full(given.shape, np.nan))
                        found[key][rows['val']] = values
            save(path, found)
            shutil.rmtree(runs)
        return dict(np.load(path))


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays; the file gets its name when it is complete."""
    part = path.with_name(f'part_{path.name}')
    np.savez(part, **arrays)
    part.rename(path)


def judge(
    probability: np.ndarray, given: np.ndarray, wrong: np.ndarray, kind: str
) -> dict[str, float]:
    """Average precision and precision at k, in percent, of finding flipped labels.

    Args:
        probability (np.ndarray): ``(N, L)``, NaN for images that were not scored.
        given (np.ndarray): ``(N, L)``, the labels with flips.
        wrong (np.ndarray): ``(N, L)`` bool, the flips.
        kind (str): What is doubted, as in ``mlcl issues``.
    """
    return judge_ranking(suspicion(probability, given, kind), wrong)


def judge_ranking(doubts: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """As :func:`judge`, of suspicions ``(N, L)``; NaN is left out."""
    scored = ~np.isnan(doubts)
    values, hits = doubts[scored], wrong[scored]
    ranked = hits[np.argsort(-values, kind='stable')]
    number = int(hits.sum())
    precision = average_precision(values[:, None], hits[:, None].astype(np.int8))
    return {
        'flips': number,
        'AP': 100 * float(precision[0]),
        'P@100': 100 * float(ranked[:100].mean()),
        'P@flips': 100 * float(ranked[:number].mean()),
    }


def arms_of(pooled: dict, recipe: dict | None) -> dict[str, np.ndarray]:
    """Probabilities of all ways to score, on the same images."""
    logistic, image = pooled['logistic'], pooled['image']
    arms = {
        'logistic regression': logistic,
        'nearest images': image,
        'both': mean_probability([logistic, image]),
    }
    if recipe is None:
        return arms
    scored = ~np.isnan(recipe['contrast label'])
    found = {name: np.where(scored, value, np.nan) for name, value in arms.items()}
    both = [found['logistic regression'], found['nearest images']]
    for arm, name in (('plain', 'without contrast'), ('contrast', 'with contrast')):
        label = recipe[f'{arm} label']
        found[f'head {name}'] = recipe[f'{arm} head']
        found[f'label-wise neighbours {name}'] = label
        found[f'regression and label-wise {name}'] = mean_probability([both[0], label])
        found[f'all three, label-wise {name}'] = mean_probability([*both, label])
    return found


def cleanlab_adjusted(probability: np.ndarray, given: np.ndarray) -> np.ndarray | None:
    """Suspicions by cleanlab with adjusted probabilities, if it is installed.

    Its self-confidence without the adjustment is 1 minus the suspicion of this project.
    """
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    doubts = np.full(given.shape, np.nan)
    for label in range(given.shape[1]):
        own = given[:, label] >= 0
        p = probability[own, label]
        quality = get_label_quality_scores(
            given[own, label].astype(int),
            np.stack([1 - p, p], 1),
            method='self_confidence',
            adjust_pred_probs=True,
        )
        doubts[own, label] = 1 - quality
    return doubts


def results_of(study: Study, setting: tuple[str, float, int], recipe: bool) -> dict:
    """All measures of a setting, by what is doubted and how it is scored."""
    kind, rate, seed = setting
    given = flip(study.targets, kind, rate, seed)
    wrong = given != study.targets
    pooled = study.pooled(*setting)
    row: dict[str, dict] = {}
    for doubted in ('both',) if kind == 'symmetric' else ('both', 'missing'):
        for name, value in arms_of(pooled, None).items():
            row[f'{doubted}, all images, {name}'] = judge(value, given, wrong, doubted)
        if doubted == 'both':
            adjusted = cleanlab_adjusted(pooled['logistic'], given)
            if adjusted is not None:
                row['both, all images, logistic regression, cleanlab adjusted'] = (
                    judge_ranking(adjusted, wrong)
                )
        if recipe:
            for name, value in arms_of(pooled, study.recipe(*setting)).items():
                row[f'{doubted}, half, {name}'] = judge(value, given, wrong, doubted)
    return row


def tables(results: dict[str, dict]) -> str:
    """Mean and standard deviation over seeds."""
    rows = []
    groups: dict[tuple, list[dict]] = {}
    for key, row in results.items():
        kind, rate, _ = key.split('/')
        for name, values in row.items():
            groups.setdefault((kind, rate, name), []).append(values)
    for (kind, rate, name), runs in sorted(groups.items()):
        doubted, images, arm = name.split(', ', 2)
        line = {
            'flips': f'{kind}, {float(rate):.0%}',
            'doubted': doubted,
            'images': images,
            'scored by': arm,
            'seeds': str(len(runs)),
            'number': f'{mean(run["flips"] for run in runs):.0f}',
        }
        for measure in ('AP', 'P@100', 'P@flips'):
            values = [run[measure] for run in runs]
            spread = f' ± {stdev(values):.1f}' if len(values) > 1 else ''
            line[measure] = f'{mean(values):.1f}{spread}'
        rows.append(line)
    return table_of_rows(rows)


def settings(seeds: int) -> list[tuple[str, float, int]]:
    """All settings; those of the middle are first done for all seeds."""
    first = [('symmetric', 0.05), ('missing', 0.1)]
    others = [(k, r) for k in KINDS for r in RATES if (k, r) not in first]
    return [
        (*setting, seed)
        for group in (first, others)
        for seed in range(seeds)
        for setting in group
    ]


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'features', type=Path, help='the folder with tune.npy and train.npy of VOC2007'
    )
    parser.add_argument('--seeds', type=number(int, least=1), default=3)
    parser.add_argument('--no-recipe', action='store_true', help='pooled features only')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/label_issues'))
    parser.add_argument('--out', type=Path, default=Path('studies/label_issues.json'))
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    keep_memory()
    init_default_scope('mmpretrain')
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with one_line_errors('label_issues', {}):
        study = Study(args.features.absolute(), args.work_dir.absolute())
        results = json.loads(args.out.read_text()) if args.out.exists() else {}
        for kind, rate, seed in settings(args.seeds):
            key = f'{kind}/{rate:g}/{seed}'
            recipe = not args.no_recipe or study.has_recipe(kind, rate, seed)
            trained = any(', half, ' in name for name in results.get(key, {}))
            if key in results and (trained or not recipe):
                continue
            results[key] = results_of(study, (kind, rate, seed), recipe)
            part = args.out.with_suffix('.part')
            part.write_text(json.dumps(results, indent=1) + '\n')
            os.replace(part, args.out)
            print(key, flush=True)
    print(tables(results))


if __name__ == '__main__':
    main()
