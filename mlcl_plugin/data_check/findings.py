# SPDX-License-Identifier: Apache-2.0
"""What a finding is, and words for its message."""

from dataclasses import dataclass

MAX_NAMED = 1000
"""Largest number of images or labels that one finding names; it counts them all."""


@dataclass(frozen=True)
class Finding:
    """Something about the data that is worth knowing.

    Attributes:
        level (str): 'error' for what would break or spoil a training, or 'warning'.
        kind (str): What it is, such as 'missing image'.
        splits (tuple[str, ...]): Names of the splits that it is about.
        message (str): One sentence or two. Arguments of :func:`check_datasets` are
            named as ``name=value``.
        count (int): How many images, labels or groups it is about.
        examples (tuple[str, ...]): Their names, at most :data:`MAX_NAMED`.
    """

    level: str
    kind: str
    splits: tuple[str, ...]
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()


def one_line(error: Exception) -> str:
    """Write the message of an error on one line."""
    # The text of a KeyError is the repr of its message.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return ' '.join(str(text).split()) or 'no message'


def count_text(number: int, total: int, noun: str) -> str:
    """Begin a sentence that counts something.

    Examples:
        >>> count_text(1, 2000, 'image')
        '1 of 2,000 images is'
    """
    verb = 'is' if number == 1 else 'are'
    return f'{number:,} of {total:,} {noun}{"" if total == 1 else "s"} {verb}'
