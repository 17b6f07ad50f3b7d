# SPDX-License-Identifier: Apache-2.0
"""What a target means, and the only code that reads and checks targets.

The target of a label in an image is 1 (present), 0 (absent) or -1 (unknown). Targets of
B images and L labels are a matrix ``(B, L)``. Losses and metrics leave unknown labels
out. A *soft* target between 0 and 1, as Mixup and CutMix make, counts as known and,
below 1, as not present. Every reader says whether it takes soft targets.

Data sets and data samples carry targets in one of two fields:

- ``gt_score``: a vector with one target per label;
- ``gt_label``: the indices of the present labels. All other labels are absent.

``gt_score`` has priority where both are given.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

PRESENT = 1
ABSENT = 0
UNKNOWN = -1

Targets = TypeVar('Targets', Tensor, np.ndarray)
Place = Callable[[tuple[int, ...]], str]


def is_present(targets: Targets) -> Targets:
    """Where labels are present: a bool mask of the same shape."""
    return targets == PRESENT


def is_absent(targets: Targets) -> Targets:
    """Where labels are absent: a bool mask of the same shape."""
    return targets == ABSENT


def is_unknown(targets: Targets) -> Targets:
    """Where labels are unknown: a bool mask of the same shape."""
    return targets == UNKNOWN


def is_known(targets: Targets) -> Targets:
    """Where targets are known, soft ones included: a bool mask of the same shape."""
    return targets >= ABSENT


def check_targets(
    targets: Tensor | np.ndarray,
    soft: bool = False,
    name: str = 'Targets',
    where: str | Place = '',
    unknown: bool = True,
) -> None:
    """Raise if a value is not a target.

    Args:
        targets (Tensor | np.ndarray): Any shape and type of numbers. A tensor on a GPU
            costs one synchronization.
        soft (bool): Accept values between 0 and 1. Defaults to False.
        name (str): What the message calls the targets. Defaults to 'Targets'.
        where (str | Callable): Appended to the name in the message, such as
            ``' (image a.jpg)'``, or a function that makes this text from the index of
            the first wrong value. Defaults to ''.
        unknown (bool): Accept -1. Defaults to True.

    Raises:
        ValueError: If a value is neither 1 nor 0 nor, with ``unknown``, -1 nor, with
            ``soft``, between 0 and 1.
    """
    if soft:
        valid = (targets >= ABSENT) & (targets <= PRESENT)
    else:
        valid = (targets == PRESENT) | (targets == ABSENT)
    if unknown:
        # torch takes -1 for 255 when it compares with unsigned numbers, hence the sign.
        valid = valid | ((targets < ABSENT) & (targets == UNKNOWN))
    if valid.all():
        return
    wrong = ~np.asarray(torch.as_tensor(valid).cpu())
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    value = targets[place].item()
    text = where if isinstance(where, str) else where(place)
    expected = '1 (present), 0 (absent) or -1 (unknown)'
    if not unknown:
        expected = '1 (present) or 0 (absent)'
    if soft:
        expected += ', or a soft target between 0 and 1'
    if value == UNKNOWN:
        expected += '. Unknown labels are left out by the heads of this project'
    elif 0 < value < 1:
        expected += '; soft targets are not allowed here'
    raise ValueError(f'{name} hold {value}{text}, expected {expected}.')


def read_label_indices(
    labels: Any,
    num_classes: int,
    name: str = 'gt_label',
    where: str = '',
    repeats: bool = False,
) -> Tensor:
    """Read a list of label indices.

    Args:
        labels (array_like): Indices from 0 to ``num_classes - 1``, or a single one.
        num_classes (int): Number of labels L.
        name (str): The name of the field, for messages. Defaults to 'gt_label'.
        where (str): Appended to the name in messages, such as ``' (image a.jpg)'``.
            Defaults to ''.
        repeats (bool): Accept an index that comes twice, as in a list with one entry
            per box. Defaults to False.

    Returns:
        Tensor: ``(N,)`` int64, on the device of ``labels``.

    Raises:
        ValueError: If ``labels`` is no flat list of integers, an index is out of range
            or, without ``repeats``, comes twice, as it does in a vector with one entry
            per label.
    """
    numbers = list_label_indices(labels, num_classes, name, where, repeats)
    if isinstance(labels, Tensor):
        return labels.reshape(-1).long()
    return torch.tensor(numbers, dtype=torch.int64)


def list_label_indices(
    labels: Any,
    num_classes: int,
    name: str = 'gt_label',
    where: str = '',
    repeats: bool = False,
) -> list[int]:
    """Read a list of label indices as Python numbers.

    torch and NumPy are slow for so few numbers. A tensor on a GPU costs one
    synchronization.

    Args:
        labels (array_like): As in :func:`read_label_indices`, as are all others.
        num_classes (int): Number of labels L.
        name (str): The name of the field. Defaults to 'gt_label'.
        where (str): Appended to the name. Defaults to ''.
        repeats (bool): Accept an index that comes twice. Defaults to False.

    Returns:
        list[int]: N numbers.

    Raises:
        ValueError: As in :func:`read_label_indices`.
    """
    # What most data sets give needs no conversion.
    is_plain = type(labels) is list and {*map(type, labels)} <= {int}
    numbers = labels if is_plain else _to_numbers(labels, name, where)
    if not numbers:
        return []
    low, high = min(numbers), max(numbers)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f'{name} holds label {low if low < 0 else high}{where}, expected indices '
            f'from 0 to {num_classes - 1} (num_classes={num_classes}). Set num_classes '
            "of pipeline, neck and head to the number of the dataset's classes."
        )
    if not repeats and len(set(numbers)) < len(numbers):
        twice = max(numbers, key=numbers.count)
        text = (
            'which looks like a vector with one entry per label'
            if high <= 1
            else f'which names label {twice} twice'
        )
        raise ValueError(
            f'{name} is {_shorten(numbers)}{where}, {text}. {name} takes the '
            'indices of the present labels, each once; put a vector of 1 / 0 / -1 into '
            'gt_score instead.'
        )
    return numbers


def _to_numbers(labels: Any, name: str, where: str) -> list[int]:
    """Convert an array-like to a list; raise unless it holds integers in a row."""
    indices = _to_tensor(labels)
    if indices is not None and indices.ndim == 0:
        indices = indices.reshape(1)
    if indices is not None and indices.numel() == 0:
        return []
    if (
        indices is None
        or indices.ndim != 1
        or indices.is_floating_point()
        or indices.is_complex()
        or indices.dtype == torch.bool
    ):
        raise ValueError(
            f'{name} is {_shorten(labels)}{where}, expected a flat list of integers, '
            'the indices of the present labels. Put a vector of 1 / 0 / -1 into '
            'gt_score instead.'
        )
    return indices.tolist()


def read_target_vector(
    values: Any,
    num_classes: int,
    soft: bool = False,
    name: str = 'gt_score',
    where: str = '',
) -> Tensor:
    """Read a vector of targets.

    Args:
        values (array_like): ``(L,)`` targets.
        num_classes (int): Number of labels L.
        soft (bool): Accept values between 0 and 1. Defaults to False.
        name (str): The name of the field, for messages. Defaults to 'gt_score'.
        where (str): Appended to the name in messages. Defaults to ''.

    Returns:
        Tensor: ``(L,)``, of the type and on the device of ``values``.

    Raises:
        ValueError: If ``values`` is no array of numbers, or its length or a value is
            wrong.
    """
    targets = _to_tensor(values)
    if targets is None:
        raise ValueError(
            f'{name} is {_shorten(values)}{where}, expected a vector of numbers, one '
            'per label.'
        )
    check_target_shape(targets, num_classes, name, where)
    check_targets(targets, soft, f'Values of {name}', where)
    return targets


def check_target_shape(
    targets: Tensor, num_classes: int, name: str = 'gt_score', where: str = ''
) -> None:
    """Raise unless a vector of targets has one entry per label.

    Args:
        targets (Tensor): The vector, ``(L,)`` expected.
        num_classes (int): Number of labels L.
        name (str): The name of the field, for the message. Defaults to 'gt_score'.
        where (str): Appended to the name in the message. Defaults to ''.

    Raises:
        ValueError: If it has another shape.
    """
    if tuple(targets.shape) != (num_classes,):
        raise ValueError(
            f'{name} has the shape {tuple(targets.shape)}{where}, expected '
            f'({num_classes},), one entry per label (num_classes={num_classes}). Set '
            "num_classes of pipeline, neck and head to the number of the dataset's "
            'classes.'
        )


def indices_to_targets(
    present: Tensor, num_classes: int, unknown: Sequence[Tensor] = ()
) -> Tensor:
    """Make a target vector from checked label indices.

    Args:
        present (Tensor): ``(N,)`` int64, see :func:`read_label_indices`.
        num_classes (int): Number of labels L.
        unknown (Sequence[Tensor]): Lists of labels that are unknown. A label that is
            also in ``present`` is present. Defaults to none.

    Returns:
        Tensor: ``(L,)`` float32 in {1, 0, -1}, on the device of ``present``.
    """
    targets = torch.zeros(num_classes, device=present.device)
    for indices in unknown:
        targets.index_fill_(0, indices, UNKNOWN)
    return targets.index_fill_(0, present, PRESENT)


def numbers_to_targets(
    present: list[int], num_classes: int, unknown: Sequence[list[int]] = ()
) -> np.ndarray:
    """Make a target vector from checked label indices that are Python numbers.

    Args:
        present (list[int]): See :func:`list_label_indices`.
        num_classes (int): Number of labels L.
        unknown (Sequence[list[int]]): As in :func:`indices_to_targets`. Defaults to
            none.

    Returns:
        np.ndarray: ``(L,)`` float32 in {1, 0, -1}.
    """
    targets = np.zeros(num_classes, dtype=np.float32)
    for indices in unknown:
        targets[indices] = UNKNOWN
    targets[present] = PRESENT
    return targets


def read_label_lists(labels: Sequence[Tensor], num_classes: int) -> Tensor | None:
    """Make targets of a batch from the label indices of each image, at once.

    Args:
        labels (Sequence[Tensor]): B lists ``(N_b,)`` of indices.
        num_classes (int): Number of labels L.

    Returns:
        Tensor, optional: ``(B, L)`` int8 in {1, 0}. None if a list is wrong: then
        :func:`read_label_indices` says what is wrong with it.
    """
    targets = torch.zeros(len(labels), num_classes, dtype=torch.int8)
    try:
        joined = torch.cat(list(labels)) if labels else torch.zeros(0, dtype=torch.long)
    except (TypeError, RuntimeError):
        # Something else than tensors, of other shapes or on several devices.
        return None
    # Joined with others, booleans would become indices.
    if (
        joined.ndim != 1
        or joined.is_floating_point()
        or joined.is_complex()
        or any(label.dtype == torch.bool for label in labels)
    ):
        return None
    joined = joined.detach().cpu()
    if len(joined) == 0:
        return targets
    if joined.min() < 0 or joined.max() >= num_classes:
        return None
    # len() of a tensor takes longer.
    lengths = torch.tensor([label.shape[0] for label in labels])
    rows = torch.arange(len(labels)).repeat_interleave(lengths)
    targets[rows, joined.long()] = PRESENT
    # Fewer entries than indices if a list names a label twice.
    return targets if int(targets.sum()) == len(joined) else None


def read_target_matrix(values: Tensor) -> Tensor | None:
    """Convert targets of a batch, with few operations: these are small tensors.

    Args:
        values (Tensor): ``(B, L)`` of any type.

    Returns:
        Tensor, optional: ``(B, L)`` int8, a copy. None if a value is not
        1, 0 or -1: then :func:`read_target_vector` says which.
    """
    # Whole numbers between the smallest and the largest target are targets.
    targets = values.to(torch.int8).clamp(UNKNOWN, PRESENT)
    if values.is_signed():
        # Faster than a comparison of different types. Unsigned types have no -1.
        same = torch.equal(targets.to(values.dtype), values)
    else:
        same = bool((targets == values).all())
    return targets if same else None


def _to_tensor(values: Any) -> Tensor | None:
    """A tensor of array-like values; None if they are no array of numbers."""
    if isinstance(values, Tensor):
        return values
    try:
        # As an array first, since torch is slow to read a list. A copy, since torch
        # refuses negative strides and warns about arrays that are not writable.
        return torch.as_tensor(np.array(values))
    except (TypeError, ValueError):
        return None


def _shorten(value: object, length: int = 200) -> str:
    text = str(value.tolist() if isinstance(value, (Tensor, np.ndarray)) else value)
    return text if len(text) <= length else f'{text[:length]} ...'
