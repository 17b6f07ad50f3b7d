# SPDX-License-Identifier: Apache-2.0
"""Images and labels in shards: tar files in the form of WebDataset."""

import glob
import os.path as osp
import posixpath
import tarfile
from collections.abc import Iterator, Sequence

import msgspec
from mmengine.fileio import BaseStorageBackend, register_backend
from mmpretrain.registry import DATASETS

from ..image_suffixes import IMAGE_SUFFIXES
from ..local_files import check_regular
from ..plain_text import brief, list_some
from . import object_store
from .annotation_files import check_classes, decode_json
from .labelled_images import LabelledImages

MAX_LABEL_BYTES = 1_000_000
"""Largest size of the file of labels of one image."""
SCHEME = 'tar'
_URL = '%3A//'


def slice_of_file(offset: int, size: int, path: str) -> str:
    """Name bytes of a file, of an absolute path or URL, for :class:`TarMemberBackend`.

    Examples:
        >>> slice_of_file(512, 9, '/data/a.tar')
        'tar://512+9/data/a.tar'
        >>> slice_of_file(512, 9, 's3://bucket/a.tar')
        'tar://512+9/s3%3A//bucket/a.tar'
    """
    # MMEngine takes no path with '://' twice.
    path = path if path.startswith('/') else '/' + path.replace('://', _URL, 1)
    return f'{SCHEME}://{offset}+{size}{path}'


class TarMemberBackend(BaseStorageBackend):
    """Reads ``tar://OFFSET+SIZE/PATH``: bytes of an uncompressed tar or Arrow file."""

    def get(self, filepath: str) -> bytes:
        """Read the bytes of a member.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the path is malformed or the file is shorter now.
        """
        place, slash, path = str(filepath).removeprefix(f'{SCHEME}://').partition('/')
        offset, plus, size = place.partition('+')
        if not (slash and plus and offset.isdigit() and size.isdigit()):
            raise ValueError(f'Expected tar://OFFSET+SIZE/PATH, got {filepath!r}.')
        start, end = int(offset), int(offset) + int(size)
        if _URL in path:
            path = path.replace(_URL, '://', 1)
            content = object_store.read_range(path, start, end)
        else:
            path = '/' + path
            with open(path, 'rb') as file:
                file.seek(start)
                left = osp.getsize(path) - start
                content = file.read(int(size)) if int(size) <= left else b''
        if len(content) != int(size):
            raise ValueError(
                f"'{path}' ends before byte {end:,}. It was cut "
                'off or replaced since it was indexed.'
            )
        return content

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Read the text of a member."""
        return self.get(filepath).decode(encoding)


register_backend('mlcl_tar', TarMemberBackend, prefixes=SCHEME, force=True)


@DATASETS.register_module()
class TarShards(LabelledImages):
    """Images in tar files in the form of WebDataset, each a map-style item.

    A sample is two neighbouring members of the same name up to the first dot: ::

        000017.jpg    the image
        000017.json   {"labels": ["cat", "dog"]}, or the list alone
        000017.cls    or else the indices of the labels: 3 17

    The tar files are indexed once, by their headers; images are then read by their
    offsets. So MMEngine's samplers shuffle and divide them, and a run that is resumed
    continues with exactly the images that are left. Labels that are not named are
    absent.

    Args:
        ann_file (str): The tar files: a path or a pattern such as ``train-*.tar``,
            relative to ``data_root`` or absolute. They are ordered by name. In an
            object store a URL such as ``s3://bucket/train-*.tar``, read by fsspec.
        classes (str | Sequence[str], optional): The names of the labels, or the path of
            a file with one per line. Defaults to None, for which
            ``metainfo['classes']`` must be given.
        **kwargs: As for :class:`LabelledImages`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a tar file is damaged or compressed, has a link, a device or a
            name that leads out of a folder, declares more bytes than it has, or if a
            sample lacks image or labels.
    """

    def load_data_list(self) -> list[dict]:
        """Index the tar files.

        Returns:
            list[dict]: One dict per image, with ``img_path`` and ``gt_label``.
        """
        classes = self._metainfo.get('classes')
        if classes is None:
            raise ValueError(
                'TarShards needs classes: the names of all labels, as a list or as the '
                'path of a file with one name per line.'
            )
        classes = self._metainfo['classes'] = check_classes(classes)
        if '://' in self.ann_file:
            paths = object_store.find_all(self.ann_file)
        else:
            paths = sorted(map(osp.abspath, glob.glob(self.ann_file)))
        if not paths:
            raise FileNotFoundError(
                f"There is no tar file '{self.ann_file}'. Check ann_file and data_root."
            )
        data_list, _ = self.fetch(
            dict(classes=classes),
            paths,
            lambda: ([item for path in paths for item in _index(path, classes)], ()),
        )
        return data_list


def _index(path: str, classes: Sequence[str]) -> Iterator[dict]:
    """The samples of a tar file."""
    index = {name: label for label, name in enumerate(classes)}
    seen: set[str] = set()
    key, image, labels = '', None, None
    for member, content in _members(path):
        folder, name = posixpath.split(member.name)
        stem, _, kind = name.partition('.')
        if kind.lower() not in _KINDS:
            continue
        if posixpath.join(folder, stem) != key:
            if key:
                yield _sample(path, key, image, labels)
            key, image, labels = posixpath.join(folder, stem), None, None
            if key in seen:
                raise ValueError(
                    f"{path} has the sample '{key}' twice, or its members apart from "
                    'each other, expected them side by side.'
                )
            seen.add(key)
        if content is None:
            image = slice_of_file(member.offset_data, member.size, path)
        else:
            labels = _labels(content, kind.lower(), f'{path}, {member.name}', index)
    if not key:
        raise ValueError(f'{path} has no sample, expected images and labels.')
    yield _sample(path, key, image, labels)


_LABELS = ('json', 'cls')
_KINDS = {*_LABELS, *(suffix.lstrip('.') for suffix in IMAGE_SUFFIXES)}


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """The regular members of a tar file; the content of those that hold labels."""
    check_regular(path)
    remote = '://' in path
    total = object_store.size_of(path) if remote else osp.getsize(path)
    try:
        # No compression: there is no way to an offset in a compressed file.
        with (
            object_store.open_file(path) if remote else open(path, 'rb') as raw,
            tarfile.open(fileobj=raw, mode='r:') as archive,
        ):
            for member in archive:
                where = f'{path}, {brief(member.name)}'
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise ValueError(
                        f'{where} is a link, a device or a sparse file, expected '
                        'regular files only.'
                    )
                if member.name.startswith('/') or '..' in member.name.split('/'):
                    raise ValueError(
                        f"{where} has an absolute name or one with '..', expected a "
                        'name within the archive.'
                    )
                if member.offset_data + member.size > total:
                    raise ValueError(
                        f'{where} declares {member.size:,} bytes, but the tar file of '
                        f'{total:,} bytes ends before. Fetch it again.'
                    )
                content = None
                if member.name.lower().endswith(tuple(f'.{kind}' for kind in _LABELS)):
                    if member.size > MAX_LABEL_BYTES:
                        raise ValueError(
                            f'{where} has {member.size:,} bytes, more than the '
                            f'{MAX_LABEL_BYTES:,} that labels of one image may have.'
                        )
                    file = archive.extractfile(member)
                    content = b'' if file is None else file.read()
                yield member, content
                # tarfile keeps all members otherwise.
                archive.members = []  # type: ignore[attr-defined]
            # tarfile takes a damaged header for the end.
            end = archive.offset
            raw.seek(end)
            damaged = any(raw.read(tarfile.BLOCKSIZE))
    except (tarfile.TarError, EOFError, RecursionError, OverflowError) as error:
        raise ValueError(
            f'{path} is no uncompressed tar file, or is damaged: {error}'
        ) from error
    if damaged:
        raise ValueError(
            f'{path} is damaged: what stands at byte {end:,} is no header of tar.'
        )


def _labels(content: bytes, kind: str, where: str, index: dict[str, int]) -> list[int]:
    """Indices of the present labels, sorted."""
    if kind == 'cls':
        words = content.decode('ascii', 'replace').split()
        if not all(word.isdecimal() and int(word[:9]) < len(index) for word in words):
            raise ValueError(
                f'{where} holds {brief(content.decode("ascii", "replace"))}, expected '
                f'indices from 0 to {len(index) - 1}.'
            )
        return sorted({int(word) for word in words})
    value = decode_json(content, where)
    names = value.get('labels') if isinstance(value, dict) else value
    try:
        found = msgspec.convert(names, list[str])
    except msgspec.ValidationError:
        raise ValueError(
            f'{where} holds {brief(value)}, expected a list of names, or an object '
            "with it as 'labels'."
        ) from None
    unknown = sorted(set(found).difference(index))
    if unknown:
        raise ValueError(
            f'{where} names {list_some(unknown)}, expected some of the {len(index)} '
            f'classes {list_some(list(index))}.'
        )
    return sorted({index[name] for name in found})


def _sample(path: str, key: str, image: str | None, labels: list[int] | None) -> dict:
    if image is None or labels is None:
        lacking = 'image' if image is None else 'labels (.json or .cls)'
        raise ValueError(f"{path}: the sample '{key}' has no {lacking} beside it.")
    return dict(img_path=image, gt_label=labels)
