# SPDX-License-Identifier: Apache-2.0
"""Groups of labels that share a query."""


def labels_per_group(num_classes: int, num_groups: int | None) -> int:
    """Size f of a group: label l belongs to group ``l // f``.

    All groups have the same size ``ceil(num_classes / num_groups)``, except the last
    ones, which may be smaller or empty. Source: `ML-Decoder
    <https://arxiv.org/abs/2111.12933>`_, its group decoding.

    Args:
        num_classes (int): Number of labels L.
        num_groups (int, optional): Number of groups G. None gives every label a
            group of its own.

    Returns:
        int: The labels of a group.

    Raises:
        ValueError: If there is no group or there are more groups than labels.
    """
    if num_groups is None:
        return 1
    if not 1 <= num_groups <= num_classes:
        raise ValueError(
            f'num_groups must be from 1 to num_classes={num_classes}, got '
            f'{num_groups}. None gives every label a query of its own.'
        )
    return -(-num_classes // num_groups)
