# SPDX-License-Identifier: Apache-2.0
"""What results were made with, so that a file of results is not continued by others."""

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch

from ..label_names import describe_difference
from ..plain_text import brief
from .config import config_of_test_dataset
from .inferencer import MultiLabelInferencer

KINDS = {
    'checkpoint': None,
    'weights': 'other weights of the model',
    'model': 'another model in the config',
    'pipeline': 'another test pipeline in the config',
    'precision': 'another precision',
    'engine': 'another engine',
    'labels': 'other labels',
    'thresholds': 'other thresholds',
    'temperatures': 'other temperatures',
    'topk': 'another number of labels (top_k)',
    'scores': 'another choice of scores to write',
    'attention': 'another choice of attention to write',
}
"""What is recorded, and what to call a difference in it; None is a name only."""


def made_with(
    inferencer: MultiLabelInferencer,
    checkpoint: str | PathLike | None = None,
    return_scores: bool = False,
    return_attention: bool = False,
) -> dict[str, Any]:
    """Describe what decides about the results for an image.

    Args:
        inferencer (MultiLabelInferencer): What makes them.
        checkpoint (str | PathLike, optional): Where its weights are from, for people to
            read. Defaults to None.
        return_scores (bool): As in :meth:`MultiLabelInferencer.stream`.
        return_attention (bool): As in :meth:`MultiLabelInferencer.stream`.

    Returns:
        dict: Names and digests that JSON can hold.
    """
    decisions = inferencer.rule.decisions
    pipeline = config_of_test_dataset(inferencer.config).get('pipeline')
    return dict(
        checkpoint=None if checkpoint is None else str(checkpoint),
        weights=_digest_weights(inferencer.model),
        model=_digest_config(inferencer.config.get('model')),
        pipeline=_digest_config(pipeline),
        precision=str(inferencer.dtype or 'float32').removeprefix('torch.'),
        engine=inferencer.engine,
        labels=list(inferencer.classes),
        thresholds=_values(decisions.thresholds),
        temperatures=_values(decisions.temperatures),
        topk=inferencer.rule.topk,
        scores=return_scores,
        attention=return_attention,
    )


def describe_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say in what two descriptions differ; None if the results would be the same.

    Args:
        before (Mapping): What :func:`made_with` gave before.
        now (Mapping): What it gives now.
    """
    # Results of older versions do not name it.
    before = {'engine': 'torch', **before}
    for key, difference in KINDS.items():
        if difference is None or before.get(key) == now.get(key):
            continue
        if key == 'weights':
            return f'{difference}, {before.get("checkpoint")!s:.300}'
        shown, wanted = before.get(key), now.get(key)
        if key in ('model', 'pipeline'):
            return difference
        if isinstance(shown, list) and isinstance(wanted, list):
            if key == 'labels':
                names = describe_difference(wanted, shown, 'before')
                return f'{difference}: {names or brief(shown)}'
            pairs = zip(shown, wanted)
            shown = next((old for old, new in pairs if old != new), 'another number')
        return f'{difference}, {shown if isinstance(shown, str) else brief(shown)}'
    return None


def _digest_weights(model: torch.nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def _digest_config(config: Any) -> str:
    text = json.dumps(config, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _values(values: Any) -> list[float] | float | None:
    """Numbers as JSON holds them; one number if all are equal."""
    if values is None:
        return None
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return numbers[0] if len(set(numbers)) == 1 else numbers
