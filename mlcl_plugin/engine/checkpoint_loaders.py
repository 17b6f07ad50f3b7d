# SPDX-License-Identifier: Apache-2.0
"""Let MMEngine read all checkpoints by :func:`read_checkpoint`.

MMEngine looks up the function that reads a file by the beginning of its name. The
functions here take the place of its own ones, so that ``load_from``, ``--resume``,
``init_cfg`` and every tool read files in one way.
"""

import logging
import os
import os.path as osp
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank
from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    _process_mmcls_checkpoint,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from ..weights import SCHEME, find_weights
from .safe_checkpoint import read_checkpoint

_allow_unsafe = False


def allow_unsafe_checkpoints(allow: bool = True) -> None:
    """Let this process unpickle checkpoints without any check.

    A checkpoint may then run code.

    Args:
        allow (bool): Whether to allow it. Defaults to True.
    """
    global _allow_unsafe
    _allow_unsafe = allow
    if allow:
        print_log(
            'Checkpoints are unpickled without a check: a file may run code.',
            'current',
            logging.WARNING,
        )


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a local file, see :func:`read_checkpoint`."""
    return read_checkpoint(filename, map_location, _allow_unsafe)


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_package(filename: str, map_location: Any = None) -> dict:
    """Read weights that come with the package."""
    path = find_weights(filename.removeprefix(SCHEME))
    return load_from_local(str(path), map_location)


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Download a file into torch's folder of checkpoints, once, and read it."""
    folder = osp.join(torch.hub.get_dir(), 'checkpoints')
    path = osp.join(folder, osp.basename(urlparse(filename).path))
    os.makedirs(folder, exist_ok=True)
    if get_rank() == 0:
        _download(filename, path)
    barrier()
    # Processes on other machines have folders of their own.
    _download(filename, path)
    return load_from_local(path, map_location)


def _download(url: str, path: str) -> None:
    """Download a file that does not exist yet; it gets its name when it is complete."""
    if not osp.exists(path):
        torch.hub.download_url_to_file(url, path, progress=False)


@CheckpointLoader.register_scheme(
    prefixes=('modelzoo://', 'torchvision://'), force=True
)
def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """Read weights of torchvision by their name."""
    name = filename.split('://', 1)[1]
    return load_from_http(_look_up(get_torchvision_models(), name), map_location)


@CheckpointLoader.register_scheme(
    prefixes=('open-mmlab://', 'openmmlab://'), force=True
)
def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """Read weights of OpenMMLab by their name."""
    url = _look_up(get_external_models(), filename.split('://', 1)[1])
    if not url.startswith(('http://', 'https://')):
        raise ValueError(f'Expected a URL for {filename}, got {url!r}.')
    return load_from_http(url, map_location)


@CheckpointLoader.register_scheme(prefixes='mmcls://', force=True)
def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """Read weights of MMClassification by their name."""
    url = _look_up(get_mmcls_models(), filename.split('://', 1)[1])
    return _process_mmcls_checkpoint(load_from_http(url, map_location))


@CheckpointLoader.register_scheme(
    prefixes=[r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], force=True
)
def load_from_ceph(
    filename: str, map_location: Any = None, backend: str = 'petrel'
) -> dict:
    """Read a file of an object store."""
    with get_local_path(filename, backend_args=dict(backend=backend)) as path:
        return load_from_local(path, map_location)


@CheckpointLoader.register_scheme(prefixes='pavi://', force=True)
def load_from_pavi(filename: str, map_location: Any = None) -> dict:
    """Refuse a file of Pavi, which MMEngine reads without a check."""
    raise ValueError(f'Download {filename} and name the local file instead.')


def _look_up(urls: dict[str, str], name: str) -> str:
    if name not in urls:
        raise ValueError(f'There are no weights named {name!r}.')
    return urls[name]
