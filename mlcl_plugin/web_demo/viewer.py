# SPDX-License-Identifier: Apache-2.0
"""What a model says of a photograph: scores, where it looked, training images."""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from ..engine import unwrap_model
from ..evaluation.decisions import Decisions
from ..inference.attention import attention_neck
from ..inference.decision_rule import DecisionRule
from ..inference.inferencer import MultiLabelInferencer
from ..inference.pixels import to_sides_of_photograph, to_view
from ..inference.results import answer
from ..inference.sources import Source
from ..models import NeighbourClassifier
from ..models.neighbours import Neighbour, Neighbours
from ..reports.page.thumbnails import data_uri
from ..visualization.heat import attention_overlay
from .uploads import UNREADABLE, Limits, UploadError, check_upload


@dataclass(frozen=True)
class Seen:
    """A photograph that passed the model.

    Attributes:
        name (str): The name of its file.
        photo (np.ndarray): ``(H, W, 3)`` uint8, RGB: it, small.
        ground (np.ndarray): The same, or what the network saw of it if that is a part:
            what attention is drawn on.
        scores (Tensor): ``(L,)`` from 0 to 1, not calibrated.
        maps (np.ndarray, optional): ``(L, h, w)``, the attention of each label; None
            if the model has none that can be drawn.
        inputs (Tensor): ``(C, H, W)``, what the pipeline gave.
    """

    name: str
    photo: np.ndarray
    ground: np.ndarray
    scores: Tensor
    maps: np.ndarray | None
    inputs: Tensor


def is_whole(sides: Sequence[int], meta: Mapping) -> bool:
    """Whether a network sees a whole photograph, perhaps squeezed.

    Args:
        sides (Sequence[int]): Height and width of what it sees.
        meta (Mapping): What the pipeline says of the photograph: ``ori_shape``, its
            height and width, and ``scale_factor``, width and height of its pixels
            there. Without it the answer is False.

    Examples:
        >>> is_whole((100, 100), dict(ori_shape=(200, 400), scale_factor=(0.25, 0.5)))
        True
        >>> is_whole((90, 100), dict(ori_shape=(200, 400), scale_factor=(0.25, 0.5)))
        False
    """
    if 'scale_factor' not in meta or 'ori_shape' not in meta:
        return False
    height, width = meta['ori_shape']
    across, down = meta['scale_factor']
    return tuple(sides) == (round(height * down), round(width * across))


@dataclass(frozen=True)
class LabelRow:
    """A label of a photograph: its calibrated score, and whether it is found."""

    index: int
    name: str
    score: float
    threshold: float
    found: bool


class PhotographViewer:
    """Answers questions about photographs, one at a time.

    Args:
        inferencer (MultiLabelInferencer): The model.
        limits (Limits): How large files may be. Defaults to those of :class:`Limits`.
    """

    def __init__(
        self, inferencer: MultiLabelInferencer, limits: Limits | None = None
    ) -> None:
        self.inferencer = inferencer
        self.limits = limits or Limits()
        # Attention is read by hooks in the model, which threads would share.
        self._lock = threading.Lock()
        try:
            attention_neck(inferencer.model)
            self.attends = True
        except ValueError:
            self.attends = False

    @property
    def classes(self) -> tuple[str, ...]:
        """tuple[str]: The labels."""
        return self.inferencer.classes

    @property
    def decisions(self) -> Decisions:
        """Decisions: The thresholds that were found for the labels."""
        return self.inferencer.rule.decisions

    def look(self, path: Path) -> Seen:
        """Pass a photograph through the model.

        Args:
            path (Path): The file.

        Returns:
            Seen: What came out.

        Raises:
            UploadError: If the file is too large or cannot be read.
        """
        check_upload(path, self.limits)
        own = self.inferencer
        with self._lock:
            source = Source(path.name, str(path))
            (batch,) = own.preprocess([source], pictures=True)
            (item,) = batch.items
            if item.error is not None or item.picture is None:
                raise UploadError(UNREADABLE)
            ((_, data),) = batch.groups
            (sample,) = own.forward(data, attention=self.attends)
        maps = sample.attention.numpy() if self.attends else None
        if maps is not None and maps.ndim != 3:
            # Tokens without places.
            maps = None
        inputs = data['inputs'][0]
        photo = ground = np.ascontiguousarray(item.picture)
        if not is_whole(inputs.shape[1:], sample.metainfo):
            bgr = bool(own.model.data_preprocessor.to_rgb)
            ground = to_sides_of_photograph(to_view(inputs, bgr), sample.metainfo)
        return Seen(path.name, photo, ground, sample.pred_score, maps, inputs)

    def rows(self, seen: Seen, threshold: float | None = None) -> list[LabelRow]:
        """Decide which labels a photograph has.

        Args:
            seen (Seen): The photograph.
            threshold (float, optional): One for all labels, for calibrated scores.
                Defaults to None, the own one of each label.

        Returns:
            list[LabelRow]: All L labels by falling score.
        """
        rule = self.inferencer.rule
        decisions = rule.decisions
        if threshold is not None:
            same = np.full(len(self.classes), threshold)
            decisions = dataclasses.replace(decisions, thresholds=same)
        sample = DataSample().set_pred_score(seen.scores)
        found, result = answer(
            sample, self.classes, DecisionRule(decisions, rule.topk), True
        )
        chosen, scores = set(found.tolist()), result['scores']
        rows = [
            LabelRow(
                index,
                name,
                scores[name],
                float(decisions.thresholds[index]),
                index in chosen,
            )
            for index, name in enumerate(self.classes)
        ]
        return sorted(rows, key=lambda row: -row.score)

    def overlay(self, seen: Seen, label: int) -> str | None:
        """Draw where the model looked for a label.

        Args:
            seen (Seen): The photograph.
            label (int): The index of the label.

        Returns:
            str, optional: The picture as a ``data:`` address; None without attention.
        """
        if seen.maps is None:
            return None
        return data_uri(attention_overlay(seen.ground, seen.maps[label]))

    @property
    def memory_kind(self) -> str | None:
        """str, optional: What training images are compared by.

        ``'label'`` for embeddings of the label, ``'image'`` for those of the whole
        image, None if the model keeps no training images.
        """
        memory = self._memory
        return None if memory is None else memory.kind

    def neighbours(self, seen: Seen, label: int, number: int = 6) -> list[Neighbour]:
        """Find the training images that speak most for a label.

        Args:
            seen (Seen): The photograph.
            label (int): The index of the label.
            number (int): The greatest number of images. Defaults to 6.

        Returns:
            list[Neighbour]: By falling share of the votes; none if the model keeps no
            training images.
        """
        model, memory = self._classifier, self._memory
        if model is None or memory is None:
            return []
        with self._lock, torch.no_grad():
            data = model.data_preprocessor(dict(inputs=seen.inputs[None]), False)
            (found,) = model.explain(data['inputs'], label, number)
        return found[model.memories.index(memory)]

    @property
    def _classifier(self) -> NeighbourClassifier | None:
        model = unwrap_model(self.inferencer.model)
        return model if isinstance(model, NeighbourClassifier) else None

    @property
    def _memory(self) -> Neighbours | None:
        """The memory of label-wise embeddings, or else of images, if filled."""
        if self._classifier is None:
            return None
        memories = [
            memory
            for memory in self._classifier.memories
            if isinstance(memory, Neighbours) and memory.is_filled
        ]
        by_kind = {memory.kind: memory for memory in memories}
        return by_kind.get('label') or by_kind.get('image')
