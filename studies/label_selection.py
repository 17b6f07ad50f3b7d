# SPDX-License-Identifier: Apache-2.0
"""What the rules of ``mlcl select`` are worth, by simulation on VOC2007 train.

A tenth or less of the labels is known at first. In each round a rule asks for more, and
the true ones are given. A logistic regression on cached features is trained on what is
known and judged on images that nobody asks for: a fifth of train, which chooses the
default, and val.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from label_issues import read_features
from mmengine.registry import init_default_scope

from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.datasets.stratified_folds import stratified_folds
from mlcl_plugin.engine import keep_memory, load_config
from mlcl_plugin.evaluation import average_precision
from mlcl_plugin.fit.make_config import BASES
from mlcl_plugin.labelling.out_of_fold import make_logistic, pool_features
from mlcl_plugin.labelling.selection import RULES, entry_values, order_images
from mlcl_plugin.models.neighbours.pooled_logistic import LENGTH
from mlcl_plugin.models.utils.logistic_regression import fit_logistic
from mlcl_plugin.recipes import find_config
from mlcl_plugin.text_table import table_of_rows

START, STEP, ROUNDS = 100, 100, 5
"""Images that are labelled at first, those of each round, and rounds."""
SINGLE_POOL, SINGLE_STEP, SINGLE_ROUNDS = 600, 1000, 4
"""Images whose single labels are asked for, labels of each round, and rounds."""
WHOLE = 'all labels of random images'
SINGLE = (WHOLE, 'random', 'uncertainty', 'rare')


class Simulation:
    """VOC2007 train as a pool, with a regression on its features.

    Args:
        folder (Path): The folder of the features.
    """

    def __init__(self, folder: Path):
        member = make_logistic(
            load_config(find_config(BASES['frozen'])).model.neighbours[2]
        )
        self.strength = member.strength
        member.regions = None
        labels, val = (read_features(folder, name) for name in ('tune', 'val'))
        tune, own_val = (
            LENGTH * pool_features(str(folder / f'{name}.npy'), member)[:, 0].float()
            for name in ('tune', 'val')
        )
        fold = stratified_folds(labels.targets, 5, 0)
        self.targets = labels.targets.toarray()[fold > 0]
        self.vectors = tune[torch.from_numpy(fold > 0)]
        self.judges = {
            'held': (
                tune[torch.from_numpy(fold == 0)],
                labels.targets.toarray()[fold == 0],
            ),
            'val': (own_val, val.targets.toarray()),
        }

    def train(self, known: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
        """Train on known labels ``(N, L)``; scores of the pool, and mAP in percent."""
        rows = torch.from_numpy((known >= 0).any(1))
        linear = fit_logistic(
            self.vectors[rows], torch.from_numpy(known)[rows], self.strength
        )
        scores = {
            name: float(
                100 * average_precision(linear(vectors).numpy(), targets).nanmean()
            )
            for name, (vectors, targets) in self.judges.items()
        }
        return linear(self.vectors).sigmoid().numpy(), scores

    def start(self, seed: int) -> np.ndarray:
        """Labels of the first images; all others are unknown."""
        known = np.full_like(self.targets, -1)
        first = np.random.default_rng(seed).permutation(len(known))[:START]
        known[first] = self.targets[first]
        return known

    def whole_images(self, rule: str, seed: int) -> Iterator[tuple[int, dict]]:
        """Ask for all labels of images; gives images known so far, and mAP."""
        known = self.start(seed)
        asked = (known >= 0).any(1)
        for step in range(ROUNDS + 1):
            probability, scores = self.train(known)
            yield int(asked.sum()), scores
            if step == ROUNDS:
                return
            left = np.flatnonzero(~asked)
            chosen = order_images(
                rule,
                STEP,
                probability=probability[left],
                askable=np.ones((len(left), known.shape[1]), bool),
                present=(known == 1).sum(0),
                vectors=self.vectors[left].numpy(),
                labelled=self.vectors[asked].numpy(),
                seed=100 * seed + step,
            )
            known[left[chosen]] = self.targets[left[chosen]]
            asked[left[chosen]] = True

    def single_labels(self, rule: str, seed: int) -> Iterator[tuple[int, dict]]:
        """Ask for single labels of images; gives answers so far, and mAP."""
        known = self.start(seed)
        order = np.random.default_rng(seed).permutation(len(known))
        pool = np.zeros(len(known), bool)
        pool[order[:SINGLE_POOL]] = True
        for step in range(SINGLE_ROUNDS + 1):
            probability, scores = self.train(known)
            yield int((known >= 0).sum()), scores
            if step == SINGLE_ROUNDS:
                return
            # Nobody can tell what is unknown in the data.
            askable = (known < 0) & (self.targets >= 0) & pool[:, None]
            if rule == WHOLE:
                values = np.where(askable, -np.argsort(order)[:, None], np.nan)
            elif rule == 'random':
                rng = np.random.default_rng([seed, step])
                values = np.where(askable, rng.random(known.shape), np.nan)
            else:
                values = entry_values(probability, askable, rule, (known == 1).sum(0))
            # NaN comes last.
            chosen = np.argsort(-values.ravel(), kind='stable')[:SINGLE_STEP]
            known.flat[chosen] = self.targets.flat[chosen]


def tables(results: dict[str, list]) -> str:
    """Mean and standard deviation of mAP over seeds, by what is known."""
    text = []
    for mode in ('images', 'labels'):
        for judge in ('held', 'val'):
            rows = []
            rules = dict.fromkeys(
                key.split('/')[1] for key in results if key.startswith(f'{mode}/')
            )
            for rule in rules:
                runs = [
                    run
                    for key, run in results.items()
                    if key.startswith(f'{mode}/{rule}/')
                ]
                row = {'rule': rule, 'seeds': str(len(runs))}
                for place in range(len(runs[0])):
                    values = [run[place][1][judge] for run in runs]
                    spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
                    amount = mean(run[place][0] for run in runs)
                    row[f'{amount:,.0f}'] = f'{mean(values):.2f}{spread}'
                rows.append(row)
            text.append(f'{mode} asked for, mAP on {judge}\n\n{table_of_rows(rows)}')
    return '\n\n'.join(text)


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'features', type=Path, help='the folder with tune.npy and val.npy of VOC2007'
    )
    parser.add_argument('--seeds', type=number(int, least=1), default=3)
    parser.add_argument('--modes', nargs='+', default=['images', 'labels'])
    parser.add_argument(
        '--out', type=Path, default=Path('studies/label_selection.json')
    )
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    keep_memory()
    init_default_scope('mmpretrain')
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    with one_line_errors('label_selection', {}):
        simulation = Simulation(args.features)
        for mode in args.modes:
            rules = RULES if mode == 'images' else SINGLE
            run = {
                'images': simulation.whole_images,
                'labels': simulation.single_labels,
            }[mode]
            for seed in range(args.seeds):
                for rule in rules:
                    key = f'{mode}/{rule}/{seed}'
                    if key in results:
                        continue
                    results[key] = list(run(rule, seed))
                    part = args.out.with_suffix('.part')
                    part.write_text(json.dumps(results, indent=1) + '\n')
                    os.replace(part, args.out)
                    print(key, results[key][-1], flush=True)
    print(tables(results))


if __name__ == '__main__':
    main()
