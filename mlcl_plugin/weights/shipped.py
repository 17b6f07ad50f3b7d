# SPDX-License-Identifier: Apache-2.0
"""Find the weights that come with the package, and tell whether they are intact."""

import hashlib
from pathlib import Path

from ..errors import CheckpointError, MissingCheckpointError

SCHEME = 'mlcl://'
"""What a checkpoint starts with that comes with the package: ``mlcl://NAME``."""
SHIPPED_MODEL = 'mlcl_efflite0_voc07_small'
"""The model that finds labels where none is named."""
SUFFIX = '.safetensors'
DIGEST = '.sha256'


def folder() -> Path:
    """The folder of the files: for each ``NAME.safetensors``, ``NAME.sha256``."""
    return Path(__file__).parent


def shipped_weights() -> list[str]:
    """The names of the weights that come with the package."""
    return sorted(path.stem for path in folder().glob(f'*{SUFFIX}'))


def find_weights(name: str) -> Path:
    """Find weights that come with the package.

    The format has no checksum of its own, so that the file is compared with its digest.

    Args:
        name (str): Their name, such as ``'mlcl_efflite0_voc07'``.

    Returns:
        Path: The file.

    Raises:
        CheckpointError: If the file is not the one that was shipped.
        MissingCheckpointError: If there is none of this name.
    """
    path = folder() / f'{name}{SUFFIX}'
    names = shipped_weights()
    if name not in names:
        known = f'It has {", ".join(names)}.' if names else 'Reinstall mlcl_plugin.'
        raise MissingCheckpointError(
            f'The package has no weights named {name!r:.100} ({path.parent}). {known}'
        )
    seal = path.with_suffix(DIGEST)
    if not seal.is_file():
        raise MissingCheckpointError(
            f'{seal} is missing, which tells whether {path.name} is intact. Reinstall '
            'mlcl_plugin.'
        )
    if _digest(path) != seal.read_text(encoding='ascii').strip():
        raise CheckpointError(
            f'{path} is damaged: its digest is not that of {seal.name}. Reinstall '
            'mlcl_plugin, or in a checkout restore the file.'
        )
    return path


def seal_weights(path: Path) -> Path:
    """Write the digest of a file of weights beside it.

    Args:
        path (Path): The file.

    Returns:
        Path: The file of the digest.
    """
    seal = path.with_suffix(DIGEST)
    seal.write_text(_digest(path) + '\n', encoding='ascii')
    return seal


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
