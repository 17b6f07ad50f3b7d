# SPDX-License-Identifier: Apache-2.0
"""How good ``mlcl fit`` is on small data, over divisions of two data sets.

Features of all images are computed once and shared by the divisions. All else is done
by the code of ``mlcl fit``. Results are written one by one; a second call goes on.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from method_report import interval
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from mlcl_plugin.datasets.forms import ImageLabels, read_labels
from mlcl_plugin.datasets.forms.parts import divide
from mlcl_plugin.engine import (
    FeatureExtraction,
    base_config,
    freeze_backbone,
    keep_memory,
)
from mlcl_plugin.engine.runner.feature_training import FeatureTraining
from mlcl_plugin.evaluation import average_precision
from mlcl_plugin.fit.backbone import find_backbone
from mlcl_plugin.fit.baseline import fit_baseline
from mlcl_plugin.fit.console import Console
from mlcl_plugin.fit.evaluate import (
    LINEAR,
    MODEL,
    NEAREST,
    evaluate_part,
    find_decisions,
)
from mlcl_plugin.fit.make_config import make_config, write_tables
from mlcl_plugin.fit.options import FitOptions
from mlcl_plugin.fit.recipe import choose_recipe
from mlcl_plugin.fit.scores import pool, score_part
from mlcl_plugin.fit.split_data import Parts
from mlcl_plugin.fit.training import FitRunner
from mlcl_plugin.inference import build_model
from mlcl_plugin.text_table import table_of_rows

ARMS: dict[str, dict] = {'default': {}, 'plain': dict(plain=True)}
SETS = ('coco', 'voc')


def read_set(name: str) -> tuple[ImageLabels, ImageLabels | None, Path]:
    """Images to divide, test images if they are others, and the folder of the images.

    Of VOC2007 these are 600 of the last 1,250 training images: the defaults were chosen
    with models that were trained on the first ones.
    """
    if name == 'coco':
        labels = read_labels('data/coco_mini/annotations/instances_train2017.json')
        rows = np.asarray((labels.targets == 1).sum(axis=1)).ravel() > 0
        labels = labels.take(np.flatnonzero(rows).tolist())
        counts = np.asarray((labels.targets == 1).sum(axis=0)).ravel()
        chosen = np.argsort(-counts, kind='stable')[:10]
        labels = labels.select([labels.classes[i] for i in chosen])
        return labels, None, Path('data/coco_mini/train2017')
    voc = Path('data/VOCdevkit/VOC2007')
    train, val = (read_labels(voc, split=split) for split in ('train', 'val'))
    rows = 1250 + np.random.default_rng(0).permutation(1250)[:600]
    test = val.take(list(range(0, len(val.images), 4)))
    return train.take(sorted(rows.tolist())), test, voc / 'JPEGImages'


def config_of(parts: Parts, out: Path, **options) -> Config:
    """The config of a fit."""
    fit_options = FitOptions('study', out, device='cpu', **options)
    recipe = choose_recipe(fit_options, parts)
    tables = write_tables(parts, out)
    return make_config(fit_options, parts, recipe, find_backbone('efflite0'), tables)


def extract(name: str, out: Path, size: int) -> tuple[Path, torch.nn.Module]:
    """Features of all images of a set at a size, and the backbone."""
    labels, test, root = read_set(name)
    parts = Parts(
        root.absolute(), dict(train=labels, val=labels if test is None else test), False
    )
    cfg = config_of(parts, out / f'{name}_{size}', image_size=size)
    extraction = FeatureExtraction(cfg, 2)
    folder = out / f'{name}_{size}' / extraction.fingerprint
    extraction.run(folder, lambda done, number: None)
    return folder, extraction.backbone.cpu()


def take(source: Path, split: str, rows: Sequence[int], target: Path, to: str) -> None:
    """Copy the features of some images of a split."""
    content = json.loads((source / f'{split}.json').read_text())
    features = np.load(source / f'{split}.npy', mmap_mode='r')
    target.mkdir(parents=True, exist_ok=True)
    np.save(target / f'{to}.npy', np.array(features[list(rows)]))
    test = 'tune' if to == 'train' else to
    content['data_list'] = [
        dict(content['data_list'][row], feature_index=i, test_features=f'{test}.npy')
        for i, row in enumerate(rows)
    ]
    (target / f'{to}.json').write_text(json.dumps(content))


class SharedFeatures(FeatureTraining):
    """A training on features that are there."""

    def __init__(self, cfg: Config, folder: Path, backbone: torch.nn.Module):
        super().__init__(cfg)
        self._stored = (str(folder), backbone)


class StudyRunner(FitRunner):
    """The runner of a fit on features that are there."""

    shared: SharedFeatures

    def train(self) -> torch.nn.Module:
        """Train both steps."""
        self._features = self.shared
        return self._train_steps()


def pooled(folder: Path, split: str) -> torch.Tensor:
    """Pooled features of a split."""
    features = np.load(folder / f'{split}.npy', mmap_mode='r')
    return torch.cat(
        [pool(torch.from_numpy(np.array(rows[None, 0]))) for rows in features]
    )


def run(name: str, seed: int, arm: str, out: Path) -> dict[str, float]:
    """One division: mAP of the model, of its members, and of the baselines."""
    labels, test, root = read_set(name)
    sources = {size: extract(name, out, size) for size in (224, 320)}
    source, backbone = sources[320]
    parts, _ = divide(labels, val=0.2, test=0.2 if test is None else None, seed=seed)
    rows = {
        part: [labels.images.index(image) for image in own.images]
        for part, own in parts.items()
    }
    folder = out / f'{name}_{seed}_{arm}'
    features, test_features = folder / 'features', folder / 'test_features'
    for target in (features, test_features):
        take(source, 'train', rows['train'], target, 'train')
        take(source, 'tune', rows['train'], target, 'tune')
    take(source, 'tune', rows['val'], features, 'val')
    if test is None:
        take(source, 'tune', rows['test'], test_features, 'val')
    else:
        take(source, 'val', range(len(test.images)), test_features, 'val')
        parts['test'] = test
    cfg = config_of(Parts(root.absolute(), parts, True), folder, seed=seed, **ARMS[arm])
    last = Path(cfg.work_dir) / 'step2' / 'neighbours.pth'
    if not last.exists():
        runner = StudyRunner(cfg, Console(quiet=True))
        runner.shared = SharedFeatures(cfg, features, backbone)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            runner.train()
    targets = torch.from_numpy(parts['train'].targets.toarray())
    baseline = fit_baseline(pooled(features, 'tune'), targets, seed)
    tune = pooled(sources[224][0], 'tune')
    small = fit_baseline(tune[rows['train']], targets, seed)
    others = {
        'val': tune[rows['val']],
        'test': tune[rows['test']] if test is None else pooled(sources[224][0], 'val'),
    }
    row: dict[str, float] = {}
    decisions, found = {}, None
    for part, where in (('val', features), ('test', test_features)):
        own = freeze_backbone(base_config(cfg), where)
        model = build_model(Config(own.to_dict()), str(last))
        scored = score_part(model, model.get_submodule('backbone'), own, 'val')
        dump = scored.dump
        rivals = {
            LINEAR: baseline.linear_scores(scored.pooled),
            NEAREST: baseline.neighbour_scores(scored.pooled),
        }
        scores = {
            MODEL: dump.scores,
            **rivals,
            'logistic regression, 224 px': small.linear_scores(others[part]),
        }
        for index, member in enumerate(('head', 'label', 'image', 'regression')):
            weights = [float(index == place) for place in range(4)]
            model.weights = tuple(weights)
            own_scores = score_part(model, model.get_submodule('backbone'), own, 'val')
            scores[member] = own_scores.dump.scores
        for key, value in scores.items():
            ap = average_precision(value, dump.targets)
            row[f'{part} mAP, {key}'] = 100 * float(ap.nanmean())
        if found is None:
            found = find_decisions(dump, seed)
            decisions = dict.fromkeys((MODEL, LINEAR, NEAREST), found.decisions)
            if found.report is not None:
                for key, end in zip(
                    ('value', 'low', 'high'), found.report.after.rates['CF1']
                ):
                    row[f'CF1 foretold, {key}'] = 100 * end
        else:
            result = evaluate_part(part, dump, rivals, decisions, seed).of(MODEL)
            row['test CF1'] = 100 * result.estimates['CF1'].value
    return row


def tables(results: dict[str, dict[str, float]]) -> str:
    """Means and standard deviations, and differences to logistic regression."""
    rows = []
    for name in SETS:
        for arm in ARMS:
            runs = [v for k, v in results.items() if k.startswith(f'{name}/{arm}/')]
            for key in runs[0] if len(runs) > 1 else ():
                if not key.startswith(('val mAP', 'test mAP')):
                    continue
                values = [row[key] for row in runs]
                part = key.partition(' ')[0]
                line = dict(data=name, arm=arm, what=key)
                line['mean'] = f'{mean(values):.2f} ± {stdev(values):.2f}'
                for other in (LINEAR, f'{LINEAR}, 224 px'):
                    base = [row[f'{part} mAP, {other}'] for row in runs]
                    if max(abs(a - b) for a, b in zip(values, base)) > 0:
                        middle, low, high = interval(
                            [a - b for a, b in zip(values, base)]
                        )
                        line[f'minus {other}'] = (
                            f'{middle:+.2f} ({low:+.2f} to {high:+.2f})'
                        )
                    else:
                        line[f'minus {other}'] = '-'
                rows.append(line)
            inside = [
                row['CF1 foretold, low'] <= row['test CF1'] <= row['CF1 foretold, high']
                for row in runs
                if 'CF1 foretold, low' in row
            ]
            if inside:
                what = 'test CF1 within the interval foretold'
                line = dict(
                    data=name,
                    arm=arm,
                    what=what,
                    mean=f'{sum(inside)} of {len(inside)}',
                )
                line |= {
                    f'minus {other}': '-' for other in (LINEAR, f'{LINEAR}, 224 px')
                }
                rows.append(line)
    return table_of_rows(rows)


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sets', nargs='+', choices=SETS, default=list(SETS))
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), default=['default'])
    parser.add_argument('--seeds', type=int, default=5, help='default: 5')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/fit_small'))
    parser.add_argument('--out', type=Path, default=Path('studies/fit_small.json'))
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    keep_memory()
    init_default_scope('mmpretrain')
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    work_dir = args.work_dir.absolute()
    for arm in args.arms:
        for seed in range(args.seeds):
            for name in args.sets:
                key = f'{name}/{arm}/{seed}'
                if key in results:
                    continue
                results[key] = run(name, seed, arm, work_dir)
                part = args.out.with_suffix('.part')
                part.write_text(json.dumps(results, indent=1) + '\n')
                os.replace(part, args.out)
                print(key, results[key], flush=True)
    asked = [
        f'{name}/{arm}/{seed}'
        for name in args.sets
        for arm in args.arms
        for seed in range(args.seeds)
    ]
    print(tables({key: results[key] for key in asked}))


if __name__ == '__main__':
    main()
