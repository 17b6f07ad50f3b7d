# SPDX-License-Identifier: Apache-2.0
"""Match the labels of two trainings by name, and bring weights into another order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CheckpointError, OtherLabelsError
from ..plain_text import list_some


@dataclass(frozen=True)
class LabelMatch:
    """Which labels two trainings share.

    Attributes:
        old (tuple[str, ...]): The labels of the weights.
        new (tuple[str, ...]): The labels that are wanted.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]

    @classmethod
    def of(cls, old: Sequence[str], new: Sequence[str], source: str) -> 'LabelMatch':
        """Compare names.

        Args:
            old (Sequence[str]): The labels of the weights.
            new (Sequence[str]): The labels that are wanted.
            source (str): What has the weights, for the error.

        Raises:
            OtherLabelsError: If a name occurs twice, or there is no common one.
        """
        match = cls(tuple(map(str, old)), tuple(map(str, new)))
        for names, where in ((match.old, source), (match.new, 'the data set')):
            name, number = Counter(names).most_common(1)[0]
            if number > 1:
                raise OtherLabelsError(
                    f'Labels cannot be told apart: {where} has {name!r} twice.'
                )
        if not match.kept:
            raise OtherLabelsError(
                f'{source} has no label of the data set. It has '
                f'{list_some(match.old)}, expected some of {list_some(match.new)}. '
                'Tell what its labels are called in the data set, by classes=[...] of '
                'LabelsByNameHook, or take its backbone alone, by '
                "init_cfg=dict(type='Pretrained', prefix='backbone.')."
            )
        return match

    @property
    def kept(self) -> list[tuple[int, int]]:
        """list[tuple[int, int]]: New and old place of each common label."""
        places = {name: place for place, name in enumerate(self.old)}
        return [(i, places[name]) for i, name in enumerate(self.new) if name in places]

    def __str__(self) -> str:
        """How many labels are kept, and which are new or left out."""
        there, wanted = set(self.old), set(self.new)
        added = [name for name in self.new if name not in there]
        dropped = [name for name in self.old if name not in wanted]
        text = f'{len(self.kept)} labels are kept'
        text += f', new are {list_some(added)}' if added else ', none is new'
        return text + (f', left out are {list_some(dropped)}' if dropped else '')


def move_labels(
    state: dict, own: Mapping[str, Tensor], axes: Mapping[str, int], match: LabelMatch
) -> list[str]:
    """Bring weights into the order of other labels.

    A common label takes its old values to its new place. A new label has the initial
    ones of the model.

    Args:
        state (dict): Weights by name, changed in place. Those without an axis of labels
            stay as they are.
        own (Mapping[str, Tensor]): The initial weights of the model.
        axes (Mapping[str, int]): The axis of the labels in weights, see
            :func:`label_axes`. Those that ``state`` lacks are left out.
        match (LabelMatch): The labels.

    Returns:
        list[str]: The names of the weights that were changed.

    Raises:
        CheckpointError: If a weight has another shape than the model's with the number
            of old labels.
    """
    moved = {}
    for name, axis in axes.items():
        if name not in state:
            continue
        value, initial = state[name], own[name]
        expected = list(initial.shape)
        expected[axis] = len(match.old)
        if list(value.shape) != expected:
            raise CheckpointError(
                f"The weight '{name}' of the checkpoint has the shape "
                f'{tuple(value.shape)}, expected {tuple(expected)} with '
                f'{len(match.old)} labels: {list_some(match.old)}. Use a checkpoint of '
                'the same neck and head; if it has other labels than these, tell them '
                'by classes=[...] of LabelsByNameHook.'
            )
        moved[name] = _move(value, initial.detach(), axis, match)
    state.update(moved)
    return list(moved)


def _move(value: Tensor, initial: Tensor, axis: int, match: LabelMatch) -> Tensor:
    rows = initial.to(value.device, copy=True).movedim(axis, 0)
    first = initial.to(value.device).movedim(axis, 0)
    places = dict(match.kept)
    new, old = list(places), list(places.values())
    rows[new] = value.movedim(axis, 0)[old].to(rows.dtype)
    # ML-Decoder's fixed queries are the same in each training: that of a new label may
    # be the one that a common label brings along.
    taken = {_content(rows[place]) for place in new}
    spare = iter([place for place in new if _content(first[place]) not in taken])
    for place in range(len(rows)):
        if place not in places and _content(first[place]) in taken:
            rows[place] = first[next(spare, place)]
    return rows.movedim(0, axis).contiguous()


def _content(row: Tensor) -> bytes:
    return row.reshape(-1).contiguous().cpu().view(torch.uint8).numpy().tobytes()
