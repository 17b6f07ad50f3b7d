# SPDX-License-Identifier: Apache-2.0
"""What helps rare labels: weights, sampling, or logits adjusted by priors.

VOC2007 train is made long-tailed by a seed: labels in a random order may have from 400
images down to 8. A linear classifier on cached features is trained with each remedy.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from label_issues import read_features
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import init_default_scope
from mmpretrain.datasets import MultiLabelDataset

from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.engine import keep_memory, load_config
from mlcl_plugin.evaluation import average_precision
from mlcl_plugin.evaluation.prior_decisions import prior_decisions
from mlcl_plugin.fit.make_config import BASES
from mlcl_plugin.labelling.out_of_fold import make_logistic, pool_features
from mlcl_plugin.models.losses import BinaryCrossEntropyLoss
from mlcl_plugin.models.neighbours.pooled_logistic import LENGTH
from mlcl_plugin.recipes import find_config
from mlcl_plugin.text_table import table_of_rows

MOST, LEAST, RARE = 400, 8, 30
"""Images of the most and of the least frequent label, and what counts as rare."""
OVERSAMPLE = 0.1
STRENGTH = 0.2
"""C of the classifier, that of ``mlcl fit``."""
ARMS = ('plain', "pos_weight='auto'", 'ClassBalancedDataset')


def long_tail(targets: np.ndarray, seed: int) -> np.ndarray:
    """Rows of images that leave each label at most its number of images."""
    rng = np.random.default_rng(seed)
    labels = targets.shape[1]
    limit = MOST * (LEAST / MOST) ** (rng.permutation(labels) / (labels - 1))
    counts, kept = np.zeros(labels), []
    for row in rng.permutation(len(targets)):
        present = targets[row] == 1
        if (counts[present] + 1 <= limit[present]).all():
            counts += present
            kept.append(row)
    return np.sort(kept)


def repeated(targets: np.ndarray, classes: Sequence[str]) -> list[int]:
    """Rows as MMEngine's ``ClassBalancedDataset`` repeats them."""
    records = [
        dict(img_path=str(row), gt_label=np.flatnonzero(target == 1).tolist())
        for row, target in enumerate(targets)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'labels.json')
        content = dict(metainfo=dict(classes=list(classes)), data_list=records)
        path.write_text(json.dumps(content))
        dataset = MultiLabelDataset(ann_file=str(path), pipeline=[])
        return ClassBalancedDataset(dataset, OVERSAMPLE).repeat_indices


def train(vectors: torch.Tensor, targets: np.ndarray, loss: BinaryCrossEntropyLoss):
    """Minimise the loss of a linear classifier; gives a function of vectors."""
    given = torch.from_numpy(targets)
    known = (given >= 0).float()
    layer = torch.nn.Linear(vectors.shape[1], targets.shape[1])
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=200, line_search_fn='strong_wolfe'
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(
            layer(vectors), given.clamp(min=0).float(), known, reduction_override='sum'
        )
        total = value + layer.weight.square().sum() / (2 * STRENGTH)
        total.backward()
        return total.detach()

    optimizer.step(closure)
    return layer


def f1(scores: np.ndarray, thresholds: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 ``(L,)`` in percent, 0 where nothing is found."""
    found, known = scores >= thresholds, targets >= 0
    hits = (found & (targets == 1)).sum(0)
    total = (found & known).sum(0) + (targets == 1).sum(0)
    return 200 * hits / np.maximum(total, 1)


def run(study: dict, seed: int) -> dict[str, dict[str, float]]:
    """All measures of a seed, by remedy."""
    rows = long_tail(study['targets'], seed)
    targets, vectors = study['targets'][rows], study['vectors'][torch.from_numpy(rows)]
    present, absent = (targets == 1).sum(0), (targets == 0).sum(0)
    rare = present <= RARE
    result: dict[str, dict[str, float]] = {}
    for arm in ARMS:
        own = slice(None)
        loss = BinaryCrossEntropyLoss()
        if arm == ARMS[1]:
            loss = BinaryCrossEntropyLoss(pos_weight='auto')
            loss.set_label_counts(torch.tensor(present), torch.tensor(absent))
        elif arm == ARMS[2]:
            own = repeated(targets, study['classes'])
        model = train(vectors[own], targets[own], loss)
        with torch.no_grad():
            scores = model(study['val']).sigmoid().numpy()
        ap = 100 * average_precision(scores, study['val_targets']).numpy()
        half = np.full(len(present), 0.5)
        decisions = {arm: half}
        if arm == ARMS[0]:
            prior = prior_decisions(study['classes'], present, absent).thresholds
            decisions['plain, logits adjusted by priors'] = prior
            root = prior_decisions(study['classes'], present, absent, 0.5).thresholds
            decisions['plain, logits adjusted by half of them'] = root
        for name, thresholds in decisions.items():
            values = f1(scores, thresholds, study['val_targets'])
            result[name] = {
                'mAP': float(ap.mean()),
                'mAP, rare': float(ap[rare].mean()),
                'F1': float(values.mean()),
                'F1, rare': float(values[rare].mean()),
            }
    result['data'] = {'images': len(rows), 'rare labels': int(rare.sum())}
    return result


def read(folder: Path) -> dict:
    """Vectors and labels of train and val."""
    member = make_logistic(
        load_config(find_config(BASES['frozen'])).model.neighbours[2]
    )
    member.regions = None
    labels, val = (read_features(folder, name) for name in ('tune', 'val'))
    vectors, val_vectors = (
        LENGTH * pool_features(str(folder / f'{name}.npy'), member)[:, 0].float()
        for name in ('tune', 'val')
    )
    return dict(
        classes=labels.classes,
        targets=labels.targets.toarray(),
        vectors=vectors,
        val=val_vectors,
        val_targets=val.targets.toarray(),
    )


def tables(results: dict[str, dict]) -> str:
    """Mean and standard deviation over seeds."""
    rows = []
    for name in next(iter(results.values())):
        if name == 'data':
            continue
        runs = [result[name] for result in results.values()]
        row = {'remedy': name, 'seeds': str(len(runs))}
        for measure in runs[0]:
            values = [values[measure] for values in runs]
            spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
            row[measure] = f'{mean(values):.2f}{spread}'
        rows.append(row)
    return table_of_rows(rows)


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'features', type=Path, help='the folder with tune.npy and val.npy of VOC2007'
    )
    parser.add_argument('--seeds', type=number(int, least=1), default=3)
    parser.add_argument('--out', type=Path, default=Path('studies/imbalance.json'))
    options = parser.parse_args(args)
    keep_memory()
    init_default_scope('mmpretrain')
    out = options.out
    results = json.loads(out.read_text()) if out.exists() else {}
    with one_line_errors('imbalance', {}):
        study = read(options.features)
        for seed in range(options.seeds):
            if str(seed) not in results:
                results[str(seed)] = run(study, seed)
                part = out.with_suffix('.part')
                part.write_text(json.dumps(results, indent=1) + '\n')
                os.replace(part, out)
                print(seed, results[str(seed)], flush=True)
    print(tables(results))


if __name__ == '__main__':
    main()
