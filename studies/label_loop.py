# SPDX-License-Identifier: Apache-2.0
"""What it is worth to correct labels in the order of ``mlcl issues``.

A tenth of the present labels of VOC2007 train becomes absent, by a seed. Photographs
are ranked by their most suspicious absent label, the first ones get their true labels
back, and a logistic regression on stored features is trained anew and judged on val.

``--tasks 40 --seed 0`` writes the first 40 photographs with their wrong labels as a
table, for a label tool; ``--answers TABLE`` takes the labels of a table in their place.
"""

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from label_issues import Study, flip, read_features
from mmengine.registry import init_default_scope
from scipy.sparse import csr_array

from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.datasets.forms import ImageLabels, read_labels, write_labels
from mlcl_plugin.engine import keep_memory
from mlcl_plugin.evaluation import average_precision
from mlcl_plugin.labelling.out_of_fold import pool_features
from mlcl_plugin.labelling.suspicion import mean_probability, suspicion
from mlcl_plugin.models.neighbours.pooled_logistic import LENGTH
from mlcl_plugin.models.utils.logistic_regression import fit_logistic
from mlcl_plugin.text_table import table_of_rows

KIND, RATE = 'missing', 0.1
BUDGETS = (0, 40, 100, 200, 400)
"""Photographs that are looked at and corrected."""


class Loop:
    """Labels with flips, the order to look at them, and what a training makes of them.

    Args:
        study (Study): Features and probabilities of train.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.val = read_features(study.features, 'val').targets.toarray()
        # Without the corners of the images, which take most of the time.
        member = copy.copy(study.logistic)
        member.regions = None
        self.strength = member.strength
        self.vectors, self.queries = (
            LENGTH
            * pool_features(str(study.features / f'{name}.npy'), member)[:, 0].float()
            for name in ('tune', 'val')
        )

    def given(self, seed: int) -> np.ndarray:
        """Labels ``(N, L)`` with flips."""
        return flip(self.study.targets, KIND, RATE, seed)

    def order(self, seed: int) -> np.ndarray:
        """Images, those with the most suspicious absent label first."""
        pooled = self.study.pooled(KIND, RATE, seed)
        both = mean_probability([pooled['logistic'], pooled['image']])
        doubts = suspicion(both, self.given(seed), KIND)
        return np.argsort(-np.nanmax(doubts, 1, initial=-1), kind='stable')

    def correct(self, seed: int, images: np.ndarray) -> np.ndarray:
        """Labels ``(N, L)``, those of some images the true ones."""
        labels = self.given(seed)
        labels[images] = self.study.targets[images]
        return labels

    def mean_ap(self, labels: np.ndarray) -> float:
        """MAP on val, in percent, of a regression trained with labels of train."""
        linear = fit_logistic(self.vectors, torch.from_numpy(labels), self.strength)
        scores = linear(self.queries).numpy()
        return float(100 * np.nanmean(average_precision(scores, self.val)))

    def row(self, seed: int) -> dict:
        """MAP, and labels that were put right, by budget and order."""
        given = self.given(seed)
        random = np.random.default_rng(seed).permutation(len(given))
        found: dict[str, dict] = {}
        for name, order in (('ranked', self.order(seed)), ('random', random)):
            for budget in BUDGETS if name == 'ranked' else BUDGETS[1:]:
                labels = self.correct(seed, order[:budget])
                found[f'{name}/{budget}'] = dict(
                    mAP=self.mean_ap(labels), corrected=int((labels != given).sum())
                )
        truth = self.study.targets
        found['all'] = dict(
            mAP=self.mean_ap(truth), corrected=int((truth != given).sum())
        )
        return found

    def table(self, labels: np.ndarray, images: np.ndarray) -> ImageLabels:
        """Labels of some images, named by their files."""
        own = self.study.labels
        names = tuple(Path(own.images[image]).name for image in images)
        return ImageLabels(own.classes, names, csr_array(labels[images]))

    def answered(self, seed: int, answers: ImageLabels) -> np.ndarray:
        """Labels ``(N, L)`` with answers of people; what is unknown stays unknown."""
        labels = self.given(seed)
        rows = {Path(name).name: i for i, name in enumerate(self.study.labels.images)}
        for name, answer in zip(answers.images, answers.targets.toarray()):
            row = labels[rows[name]]
            take = (row >= 0) & (answer >= 0)
            row[take] = answer[take]
        return labels


def table(results: dict[str, dict]) -> str:
    """Mean and standard deviation over seeds."""
    rows = []
    for key in next(iter(results.values())):
        name, _, budget = key.partition('/')
        runs = [row[key] for row in results.values()]
        values = [run['mAP'] for run in runs]
        gains = [
            run['mAP'] - row['ranked/0']['mAP']
            for run, row in zip(runs, results.values())
        ]
        rows.append(
            {
                'photographs': 'all' if name == 'all' else budget,
                'order': '' if name == 'all' or budget == '0' else name,
                'labels corrected': f'{mean(run["corrected"] for run in runs):.0f}',
                'mAP': spread(values),
                'gain': spread(gains),
            }
        )
    return table_of_rows(rows)


def spread(values: Sequence[float]) -> str:
    deviation = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
    return f'{mean(values):.2f}{deviation}'


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'features', type=Path, help='the folder with tune.npy and val.npy of VOC2007'
    )
    parser.add_argument('--seeds', type=number(int, least=1), default=3)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/label_issues'))
    parser.add_argument('--out', type=Path, default=Path('studies/label_loop.json'))
    parser.add_argument('--seed', type=int, default=0, help='of --tasks and --answers')
    parser.add_argument('--tasks', type=int, help='photographs; writes tables to --dir')
    parser.add_argument('--dir', type=Path, default=Path('work_dirs/label_loop'))
    parser.add_argument('--answers', type=Path, help='a table of corrected labels')
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    keep_memory()
    init_default_scope('mmpretrain')
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with one_line_errors('label_loop', {}):
        loop = Loop(Study(args.features.absolute(), args.work_dir.absolute()))
        if args.tasks:
            first = loop.order(args.seed)[: args.tasks]
            for name, labels in (
                ('given', loop.given(args.seed)),
                ('true', loop.study.targets),
            ):
                path = args.dir / f'{name}.csv'
                write_labels(loop.table(labels, first), path, overwrite=True)
                print(path)
            return
        if args.answers:
            labels = loop.answered(args.seed, read_labels(args.answers))
            changed = int((labels != loop.given(args.seed)).sum())
            print(f'{changed} labels changed, mAP {loop.mean_ap(labels):.2f}')
            print(f'without the answers {loop.mean_ap(loop.given(args.seed)):.2f}')
            return
        results = json.loads(args.out.read_text()) if args.out.is_file() else {}
        for seed in range(args.seeds):
            if str(seed) not in results:
                results[str(seed)] = loop.row(seed)
                args.out.write_text(json.dumps(results, indent=1) + '\n')
        print(table(results))


if __name__ == '__main__':
    main()
