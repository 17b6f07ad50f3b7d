# SPDX-License-Identifier: Apache-2.0
"""Scores of a trained model, and pooled features of a backbone, for photographs."""

from typing import NamedTuple

import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from ..engine import build_split, iterate_images
from ..evaluation.score_dump import ScoreDump
from ..models.utils import collect_targets


class Scored(NamedTuple):
    """Scores of a part's images by the model, and their pooled features ``(N, C)``."""

    dump: ScoreDump
    pooled: Tensor


def pool(features: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Means ``(B, C)`` over all places of the last features."""
    last = features if isinstance(features, Tensor) else features[-1]
    return last.float().flatten(2).mean(2) if last.ndim > 2 else last.float()


@torch.no_grad()
def score_part(
    model: ImageClassifier, backbone: nn.Module, cfg: Config, part: str
) -> Scored:
    """Score the images of a part.

    Args:
        model (ImageClassifier): The trained model, in evaluation mode.
        backbone (nn.Module): The frozen backbone of the baseline. That of the model
            itself is run once for both.
        cfg (Config): The config.
        part (str): ``'val'`` or ``'test'``.

    Returns:
        Scored: In the order of the part's table.
    """
    dataset = build_split(cfg, part)
    pooled: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, outputs: tuple[Tensor, ...]) -> None:
        pooled.append(pool(outputs).cpu())

    own = backbone is model.backbone
    handle = model.backbone.register_forward_hook(keep) if own else None
    scores, targets = [], []
    try:
        for inputs, samples, _ in iterate_images(
            model, cfg, dataset, list(range(len(dataset)))
        ):
            if not own:
                pooled.append(pool(backbone(inputs)).cpu())
            logits = model(inputs)
            scores.append(logits.float().sigmoid().cpu())
            targets.append(collect_targets(samples, logits.shape[1], 'cpu'))
    finally:
        if handle is not None:
            handle.remove()
    names = [str(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    classes = dataset.metainfo['classes']
    dump = ScoreDump(
        torch.cat(scores).numpy(), torch.cat(targets).numpy(), classes, names
    )
    return Scored(dump, torch.cat(pooled))
