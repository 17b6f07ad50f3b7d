# SPDX-License-Identifier: Apache-2.0
"""Compare the labels of a file, a model and a data set by their names and order."""

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from torch.utils.data import Dataset, Subset

from .errors import OtherLabelsError

MAX_NAMED = 5


def dataset_labels(dataset: Dataset) -> Sequence[str] | None:
    """The names that a dataset has for its labels, if any, also in torch's wrappers."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    # Datasets of torch have no metainfo, those of MMEngine have it.
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')


def check_labels(
    expected: Sequence[str],
    found: Sequence[str],
    source: str,
    reference: str,
    allow: bool = False,
    mend: str = '',
) -> None:
    """Stop if two lists of labels differ.

    Args:
        expected (Sequence[str]): The L names that are wanted, in their order.
        found (Sequence[str]): The names to compare with them.
        source (str): What has the names ``found``, for the text.
        reference (str): What has the names ``expected``, for the text.
        allow (bool): Warn instead. Defaults to False.
        mend (str): What else may be done, a sentence. Defaults to ''.

    Raises:
        OtherLabelsError: If names or order differ.

    Examples:
        >>> check_labels(['cat', 'dog'], ['dog', 'cat'], 'a.pth', 'the data set')
        Traceback (most recent call last):
        mlcl_plugin.errors.OtherLabelsError: a.pth has other labels than the data set: \
the same labels in another order: label 0 is 'dog' in a.pth, expected 'cat'. If they \
mean the same, set allow_other_labels=True.
    """
    difference = describe_difference(expected, found, f'in {source}')
    if difference is None:
        return
    text = f'{source} has other labels than {reference}: {difference}.'
    if not allow:
        mends = f'If they mean the same, set allow_other_labels=True. {mend}'
        raise OtherLabelsError(f'{text} {mends.rstrip()}')
    print_log(f'{text} This was allowed.', 'current', logging.WARNING)


def labels_of_meta(meta: Mapping) -> tuple[str, ...] | None:
    """Read the names of the labels from the meta of a checkpoint.

    Args:
        meta (Mapping): ``checkpoint['meta']`` of MMEngine or of mmcls.

    Returns:
        tuple[str, ...], optional: The names; None if there are none.

    Examples:
        >>> labels_of_meta(dict(dataset_meta=dict(classes=['cat', 'dog'])))
        ('cat', 'dog')
    """
    dataset = meta.get('dataset_meta')
    classes = dataset.get('classes') if isinstance(dataset, Mapping) else None
    classes = classes or meta.get('CLASSES')
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not classes:
        return None
    return tuple(map(str, classes))


def describe_difference(
    expected: Sequence[str], found: Sequence[str], there: str = 'there'
) -> str | None:
    """Say how two lists of labels differ.

    Args:
        expected (Sequence[str]): The L names that are wanted, in their order.
        found (Sequence[str]): The names to compare with them.
        there (str): Where ``found`` comes from, for the text. Defaults to 'there'.

    Returns:
        str, optional: A clause with both names of the first label that differs. None if
        names and order are the same.

    Examples:
        >>> describe_difference(['cat', 'dog'], ['dog', 'cat'], 'in a.pth')
        "the same labels in another order: label 0 is 'dog' in a.pth, expected 'cat'"
        >>> describe_difference(['cat'], ['cat', 'dog'])
        "2 labels there, expected 1: 'dog' is there in addition"
    """
    expected, found = tuple(map(str, expected)), tuple(map(str, found))
    if expected == found:
        return None
    if len(expected) == len(found):
        number = next(i for i, (a, b) in enumerate(zip(expected, found)) if a != b)
        names = f'label {number} is {found[number]!r} {there}, expected '
        names += repr(expected[number])
        if sorted(expected) == sorted(found):
            return f'the same labels in another order: {names}'
        return f'other names: {names}'
    parts = []
    wanted, there_are = set(expected), set(found)
    missing = [name for name in expected if name not in there_are]
    added = [name for name in found if name not in wanted]
    if missing:
        parts.append(f'{_enumerate(missing)} missing')
    if added:
        parts.append(f'{_enumerate(added)} {there} in addition')
    text = f'{len(found)} labels {there}, expected {len(expected)}'
    return f'{text}: {"; ".join(parts)}' if parts else f'{text}, some of them twice'


def _enumerate(names: Sequence[str]) -> str:
    text = ', '.join(map(repr, names[:MAX_NAMED]))
    more = len(names) - MAX_NAMED
    text += f' and {more} more' if more > 0 else ''
    return f'{text} {"is" if len(names) == 1 else "are"}'
