# SPDX-License-Identifier: Apache-2.0
"""Errors as one line of text."""


def describe_error(error: BaseException) -> str:
    r"""Say in one line what went wrong.

    The type is left out where the message is written for users.

    Examples:
        >>> describe_error(ValueError('a\nb'))
        'a b'
        >>> describe_error(KeyError('img'))
        "KeyError: 'img'"
    """
    text = ' '.join(str(error).split())
    if text and isinstance(error, OSError | ValueError):
        return text
    return f'{type(error).__name__}: {text}'
