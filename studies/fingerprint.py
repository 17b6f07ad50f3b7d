# SPDX-License-Identifier: Apache-2.0
"""Fingerprints: equal for runs of equal configs on equal features."""

import hashlib
import json
from pathlib import Path

from mmengine.config import Config


def fingerprint(cfg: Config, *folders: Path, features: str = '') -> str:
    """Hash a config and the features that it reads.

    Args:
        cfg (Config): The config of a run.
        *folders (Path): Folders of this machine. They are removed from the paths in
            the config, so that a run may move.
        features (str): What the features are made of, see :func:`features_made_of`.
            Defaults to ``''``.

    Returns:
        str: 12 hexadecimal digits.
    """
    text = json.dumps(cfg._cfg_dict.to_dict(), sort_keys=True, default=str) + features
    for folder in folders:
        text = text.replace(str(folder.absolute()), '')
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def features_made_of(folder: Path) -> str:
    """Read the settings that a folder of features was made with, as text."""
    return ''.join(
        json.dumps(json.loads(path.read_text())['settings'], sort_keys=True)
        for path in sorted(folder.glob('*.json'))
    )
