# SPDX-License-Identifier: Apache-2.0
"""Images and labels in files of Arrow and Parquet, as Hugging Face ``datasets`` has."""

import glob
import hashlib
import json
import logging
import os
import os.path as osp
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from ..local_files import check_regular
from ..plain_text import brief, list_some
from .annotation_files import check_classes, decode_json
from .labelled_images import LabelledImages
from .table import PARQUET
from .tar_shards import slice_of_file

if TYPE_CHECKING:
    import pyarrow

LABEL_COLUMNS = ('labels', 'label')
BATCH_ROWS = 64
"""Rows of Parquet that are in memory at a time, with their images."""


@DATASETS.register_module()
class ArrowImages(LabelledImages):
    """Images in Arrow or Parquet files, each a map-style item.

    Reads what ``datasets.Dataset.save_to_disk`` writes, and Parquet files as they are
    on the Hugging Face Hub. ``datasets`` is not needed, pyarrow is (extra ``tools``).
    Places of images within Arrow files are found once, and images are then read by
    their offsets, as in :class:`TarShards`. Parquet is compressed, so its images are
    first copied into an Arrow file in ``cache_dir``.

    The column of labels holds, for each image, a list of names, a list of indices, or
    one of either. Names of indices are those that ``datasets`` has stored
    (``ClassLabel``), or ``classes``. Labels that are not named are absent.

    Args:
        ann_file (str): A folder of ``save_to_disk``, or ``.arrow`` or ``.parquet``
            files: a path or a pattern such as ``train-*.parquet``, relative to
            ``data_root`` or absolute. They are ordered by name.
        image_column (str): The column of images: their bytes, or ``bytes`` and
            ``path``. A path without bytes is relative to ``data_prefix``. Defaults to
            'image'.
        label_column (str, optional): The column of labels. Defaults to None: 'labels',
            or else 'label'.
        classes (str | Sequence[str], optional): The names of the labels, or the path of
            a file with one per line. Defaults to None: those of the file.
        cache_dir (str, optional): As for :class:`LabelledImages`; needed for Parquet,
            and then as large as its images. Copies of files that have changed stay
            there. Defaults to None.
        **kwargs: As for :class:`LabelledImages`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If pyarrow is not installed.
        ValueError: If a file is damaged or compressed, lacks a column, or an image has
            neither bytes nor path, or no labels.
    """

    def __init__(
        self,
        ann_file: str,
        image_column: str = 'image',
        label_column: str | None = None,
        classes: str | Sequence[str] | None = None,
        cache_dir: str | None = None,
        **kwargs,
    ) -> None:
        self.image_column = image_column
        self.label_column = label_column
        super().__init__(
            ann_file=ann_file, classes=classes, cache_dir=cache_dir, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """Find the images in the files.

        Returns:
            list[dict]: One dict per image, with ``img_path`` and ``gt_label``.
        """
        classes = self._metainfo.get('classes')
        if classes is not None:
            classes = self._metainfo['classes'] = check_classes(classes)
        files = _files(self.ann_file)
        options = dict(
            image_column=self.image_column,
            label_column=self.label_column,
            classes=classes,
        )
        if files[0].lower().endswith(PARQUET):
            files = [self._copy(path) for path in files]
        data_list, names = self.fetch(options, files, lambda: self._read(files))
        self._metainfo['classes'] = tuple(names)
        return data_list

    def _copy(self, path: str) -> str:
        """The Arrow file with the two columns of a Parquet file."""
        import pyarrow
        from pyarrow import parquet

        if self.cache_dir is None:
            raise ValueError(
                f'{path} is Parquet, whose images are compressed. Set '
                "cache_dir='FOLDER' of the dataset: they are copied there once, "
                'uncompressed.'
            )
        check_regular(path)
        status = os.stat(path)
        key = [osp.abspath(path), status.st_size, status.st_mtime_ns]
        key += [self.image_column, self.label_column]
        name = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
        folder = osp.expanduser(self.cache_dir)
        copy = osp.join(folder, f'ArrowImages-{name}.arrow')
        if osp.isfile(copy):
            return copy
        os.makedirs(folder, exist_ok=True)
        print_log(f'Copying the images of {path} to {copy}', logger='current')
        part = osp.join(folder, f'.{uuid.uuid4().hex}.part')
        try:
            with parquet.ParquetFile(path) as file:
                columns = self._columns(file.schema_arrow, path)
                schema = pyarrow.schema(
                    [file.schema_arrow.field(name) for name in columns],
                    file.schema_arrow.metadata,
                )
                with (
                    pyarrow.OSFile(part, 'wb') as sink,
                    pyarrow.ipc.new_stream(sink, schema) as writer,
                ):
                    for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                        writer.write_batch(batch.cast(schema))
            os.replace(part, copy)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                f'{path} cannot be read as Parquet and copied to {folder}: {error}'
            ) from error
        finally:
            if osp.exists(part):
                os.remove(part)
        return copy

    def _columns(self, schema: 'pyarrow.Schema', path: str) -> tuple[str, str]:
        """Names of the columns of images and labels."""
        labels = self.label_column or next(
            (name for name in LABEL_COLUMNS if name in schema.names), LABEL_COLUMNS[0]
        )
        for option, name in (
            ('image_column', self.image_column),
            ('label_column', labels),
        ):
            if name not in schema.names:
                raise ValueError(
                    f'{path} has the columns {list_some(schema.names)}, expected '
                    f"{option}='{name}'."
                )
        return self.image_column, labels

    def _read(self, files: Sequence[str]) -> tuple[list[dict], Sequence[str]]:
        """The images of all files, and the names of the labels."""
        given = self._metainfo.get('classes')
        names: Sequence[str] | None = None
        rows: list[tuple[str, list]] = []
        for path in files:
            found = self._read_file(path, rows)
            if rows and names is not None and found != names:
                raise ValueError(
                    f'{path} has the classes {list_some(found or [])}, other files '
                    f'have {list_some(names)}. Read them apart.'
                )
            names = found
        named = any(isinstance(label, str) for _, labels in rows for label in labels)
        if given is None and (named or names is None):
            raise ValueError(
                f'{files[0]} does not name its classes. Name them all, in their order: '
                'classes=[...] or the path of a file with one name per line.'
            )
        classes = tuple(given or names or ())
        index = {name: label for label, name in enumerate(classes)}
        stored = names or classes
        data_list = []
        for number, (image, labels) in enumerate(rows):
            chosen = [_name(label, stored, number) for label in labels]
            unknown = sorted(set(chosen).difference(index))
            if unknown:
                raise ValueError(
                    f'{files[0]}: image {number + 1} has the labels '
                    f'{list_some(unknown)}, expected some of the {len(classes)} '
                    f'classes {list_some(classes)}.'
                )
            data_list.append(
                dict(img_path=image, gt_label=sorted({index[x] for x in chosen}))
            )
        if not data_list:
            raise ValueError(f'{files[0]} has no image.')
        return data_list, classes

    def _read_file(self, path: str, rows: list[tuple[str, list]]) -> list[str] | None:
        """Add images and labels of an Arrow file; the names of its labels."""
        import pyarrow

        check_regular(path)
        try:
            with pyarrow.memory_map(path) as mapped:
                whole = mapped.read_buffer()
            reader = pyarrow.ipc.open_stream(pyarrow.BufferReader(whole))
            image_column, label_column = self._columns(reader.schema, path)
            for batch in reader:
                batch.validate(full=True)
                images = self._images(batch.column(image_column), whole, path)
                labels = batch.column(label_column).to_pylist()
                for image, own in zip(images, labels):
                    if own is None:
                        raise ValueError(
                            f'{path}, image {len(rows) + 1} has no {label_column} '
                            '(null), expected a list. An empty one means that no '
                            'label is present.'
                        )
                    rows.append((image, own if isinstance(own, list) else [own]))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"There is no file '{path}', which state.json names."
            ) from error
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                f'{path} is no file of Arrow as save_to_disk writes it, or is '
                f'damaged: {error}'
            ) from error
        return _stored_names(reader.schema.metadata, label_column, path)

    def _images(
        self, column: 'pyarrow.Array', whole: 'pyarrow.Buffer', path: str
    ) -> Iterator[str]:
        """Paths that :class:`TarMemberBackend` reads, or those of image files."""
        import pyarrow

        content, paths = column, None
        if pyarrow.types.is_struct(column.type):
            names = [field.name for field in column.type]
            content = column.field('bytes') if 'bytes' in names else None
            paths = column.field('path').to_pylist() if 'path' in names else None
        kind = None if content is None else content.type
        wide = kind is not None and pyarrow.types.is_large_binary(kind)
        if kind is None or not (wide or pyarrow.types.is_binary(kind)):
            raise ValueError(
                f"{path}: image_column='{self.image_column}' is {column.type}, "
                'expected bytes, or bytes and path.'
            )
        _, places, data = content.buffers()
        offsets = np.frombuffer(places, np.int64 if wide else np.int32)
        offsets = offsets[content.offset : content.offset + len(content) + 1]
        size = 0 if data is None else data.size
        start = data.address - whole.address if size else 0
        if not 0 <= start <= whole.size - size:
            raise ValueError(
                f'{path} is compressed, expected an Arrow file as save_to_disk writes '
                'it.'
            )
        join = self.image_paths(path).join
        for row, known in enumerate(content.is_valid().to_pylist()):
            if known:
                begin, end = int(offsets[row]), int(offsets[row + 1])
                yield slice_of_file(start + begin, end - begin, osp.abspath(path))
            elif paths is not None and paths[row]:
                yield join(paths[row])
            else:
                raise ValueError(
                    f'{path}: an image has neither bytes nor a path, expected one.'
                )


class _DataFile(msgspec.Struct):
    filename: str


def _files(ann_file: str) -> list[str]:
    """The files of a folder of ``save_to_disk``, or of a pattern."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Files of Arrow and Parquet need pyarrow: pip install "mlcl_plugin[tools]".'
        ) from error
    if not osp.isdir(ann_file):
        files = sorted(map(osp.abspath, glob.glob(ann_file)))
        if not files:
            raise FileNotFoundError(
                f"There is no file '{ann_file}'. Check ann_file and data_root."
            )
        kinds = {osp.splitext(path)[1].lower() for path in files}
        if len(kinds) > 1 or not kinds <= {'.arrow', *PARQUET}:
            raise ValueError(
                f"ann_file='{ann_file}' leads to files that end with "
                f'{list_some(sorted(kinds))}, expected .arrow or .parquet.'
            )
        return files
    state = osp.join(ann_file, 'state.json')
    if not osp.isfile(state):
        parts = [
            p for p in sorted(os.listdir(ann_file)) if osp.isdir(osp.join(ann_file, p))
        ]
        raise FileNotFoundError(
            f"'{ann_file}' is no folder of save_to_disk: it has no state.json. If it "
            f'holds several splits, name one of them (it has {list_some(parts)}).'
        )
    with open(state, 'rb') as file:
        content = decode_json(file.read(), state)
    listed = content.get('_data_files') if isinstance(content, dict) else None
    try:
        names = [x.filename for x in msgspec.convert(listed or [], list[_DataFile])]
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{state} does not name files under '_data_files': {error}"
        ) from error
    if not names:
        raise ValueError(f"{state} names no files under '_data_files'.")
    if content.get('_indices_data_files'):
        raise ValueError(
            f'{state} belongs to a selection of rows: call flatten_indices() and save '
            'the dataset again.'
        )
    for name in names:
        if osp.basename(name) != name:
            raise ValueError(f'{state} names the file {brief(name)} of another folder.')
    return [osp.abspath(osp.join(ann_file, name)) for name in names]


def _stored_names(metadata: Any, column: str, path: str) -> list[str] | None:
    """Names of a ``ClassLabel`` that ``datasets`` has stored with the column."""
    encoded = (metadata or {}).get(b'huggingface')
    if encoded is None:
        return None
    feature = decode_json(encoded, f'{path}, its metadata')
    for key in ('info', 'features', column):
        feature = feature.get(key) if isinstance(feature, dict) else None
    if isinstance(feature, dict) and isinstance(feature.get('feature'), dict):
        feature = feature['feature']
    # The list of older versions.
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    if not isinstance(feature, dict) or feature.get('_type') != 'ClassLabel':
        return None
    try:
        return list(check_classes(feature.get('names') or ()))
    except ValueError as error:
        print_log(
            f'{path}: the stored names of classes are not used: {error}',
            logger='current',
            level=logging.WARNING,
        )
        return None


def _name(label: object, classes: Sequence[str], number: int) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, int) and 0 <= label < len(classes):
        return classes[label]
    raise ValueError(
        f'image {number + 1} has the label {brief(label)}, expected a name, or an '
        f'index below {len(classes)}.'
    )
