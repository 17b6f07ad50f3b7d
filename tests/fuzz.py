# SPDX-License-Identifier: Apache-2.0
"""Feed damaged and odd files to every reader.

    python tests/fuzz.py --inputs 100000
    python tests/fuzz.py --inputs 1000000 --out fuzz.jsonl  # goes on where it was ended
    python tests/fuzz.py --readers checkpoint --seed 4711 --inputs 1

A file that a reader cannot use must give its own error, a ValueError with the name of
the file, within 10 s and below 1 GB of additional memory. Any other exception is
printed with the seed that makes the input again, and the exit code is 1. The readers
take turns, a thousand inputs each. A short run is part of the tests: test_fuzz.py.
"""

import argparse
import contextlib
import copy
import dataclasses
import gc
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_array

with contextlib.redirect_stdout(None):
    from mlcl_plugin.datasets import (
        NUSWIDE,
        VG500,
        ArrowImages,
        FeatureVectors,
        TarShards,
    )
    from mlcl_plugin.datasets.forms import ImageLabels, read_labels, write_labels
    from mlcl_plugin.datasets.nus_wide import CONCEPTS
    from mlcl_plugin.datasets.transforms import LoadFeatureMap
    from mlcl_plugin.datasets.transforms.load_image import LoadImage
    from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
    from mlcl_plugin.errors import CheckpointError
    from mlcl_plugin.evaluation.decisions import Decisions
    from mlcl_plugin.evaluation.score_dump import ScoreDump
    from mlcl_plugin.inference.result_lines import ResultFile
    from mlcl_plugin.names_file import read_names

SECONDS = 10
MEGABYTES = 1024
CHUNK = 1000
CLASSES = ('cat', 'traffic light', '猫')

#: Parts that files are made of, or that readers know.
TOKENS = [
    b'', b'\x00', b'\xff\xfe', b'\xef\xbb\xbf', b'\n', b'\r\n', b',', b';', b'"', b"'",
    b'{', b'}', b'[', b']', b'<', b'>', b'&amp;', b'null', b'NaN', b'Infinity', b'-1',
    b'1e999', b'9' * 30, b'0.5', b'true', b'-0', b'../', b'/dev/zero', b'\\', b'%2F',
    b'\x80\x02', b'(', b'.', b'R', b'\x81', b'b', b'cos\nsystem\n', b'ctorch\nSize\n',
    b'c__builtin__\ngetattr\n', b'\x8a\x08', b'q\x01', b'h\x01', b'\x85', b'\x86', b't',
    b']', b'}', b'PK\x03\x04', b'PK\x01\x02', b'<!DOCTYPE x [<!ENTITY a "b">]>', b'&a;',
    'ü'.encode(), '\u2028'.encode(), '\u202e'.encode(), b'\xed\xa0\x80',
]  # fmt: skip
#: Values that do not belong where they are put.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 0.5, 1.0, 1e308, -1e308, float('nan'), float('inf'),
    2**31, 2**63, 2**64, 10**30, '', ' ', '0', '1', 'cat', '\x00', '\n', 'ü', '\u202e',
    [], [[]], [None], {}, {'': 0}, {'id': 1}, 'a' * 1000, [0] * 50,
]  # fmt: skip


def damage(data: bytes, rng: random.Random) -> bytes:
    """Change, remove, repeat or insert bytes, a few times."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        start = rng.randrange(len(out) + 1)
        end = min(len(out), start + rng.choice((1, 1, 2, 4, 30, 300)))
        kind = rng.randrange(7)
        if kind == 0 and start < len(out):
            out[start] ^= 1 << rng.randrange(8)
        elif kind == 1 and start < len(out):
            out[start] = rng.randrange(256)
        elif kind == 2:
            del out[start:end]
        elif kind == 3:
            out[start:start] = out[start:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            out[start:start] = rng.choice(TOKENS)
        elif kind == 5:
            out[start:end] = rng.choice(TOKENS)
        else:
            del out[start:]
    return bytes(out)


def odd_json(content: Any, rng: random.Random) -> bytes:
    """Replace, remove or repeat a part of a JSON content, and perhaps damage it."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        parent, key = None, None
        node = content
        while isinstance(node, (dict, list)) and node and rng.random() < 0.8:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            parent, node = node, node[key]
        if parent is None:
            content = rng.choice([content, rng.choice(VALUES)])
            continue
        kind = rng.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(node))
        elif kind == 2 and isinstance(parent, dict):
            parent[rng.choice(('', 'id', 'x', 'classes', 'é'))] = parent.pop(key)
        elif kind == 3:
            parent[key] = [node]
        else:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
    text = json.dumps(content, ensure_ascii=rng.random() < 0.5)
    data = text.encode('utf-8', 'surrogatepass')
    return damage(data, rng) if rng.random() < 0.2 else data


# --- readers ------------------------------------------------------------------------


class Reader:
    """A reader and the sound files that inputs are made from.

    Args:
        folder (Path): For files.
    """

    errors: tuple[type[Exception], ...] = (ValueError,)

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.sounds: list[Any] = []
        self.prepare()

    def prepare(self) -> None:
        """Make sound files."""
        raise NotImplementedError

    def make(self, rng: random.Random) -> Path:
        """Write an input."""
        raise NotImplementedError

    def read(self, path: Path) -> None:
        """Read it."""
        raise NotImplementedError


class Checkpoints(Reader):
    """Files of both forms of torch; those of a zip with right checksums, or damaged."""

    errors = (CheckpointError,)

    def prepare(self) -> None:
        from mmengine.logging import HistoryBuffer

        buffer = HistoryBuffer()
        buffer.update(1.0)
        content = dict(
            meta=dict(epoch=1, dataset_meta=dict(classes=CLASSES), config='1'),
            state_dict=torch.nn.BatchNorm1d(3).state_dict(),
            optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[{}]),
            message_hub=dict(log_scalars=dict(loss=buffer)),
            random=np.arange(3),
            other=[b'abc\xff', {1, 2}, slice(1, 2), np.float64(1), torch.float16],
        )
        for zipped in (True, False):
            data = io.BytesIO()
            torch.save(content, data, _use_new_zipfile_serialization=zipped)
            self.sounds.append(data.getvalue())
        with zipfile.ZipFile(io.BytesIO(self.sounds[0])) as archive:
            self.records = {n: archive.read(n) for n in archive.namelist()}

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'file.pth'
        if rng.random() < 0.4:
            path.write_bytes(damage(rng.choice(self.sounds), rng))
            return path
        # The checksums are right, so that the pickle is looked at.
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
            for name, data in self.records.items():
                changed = name.endswith('data.pkl') or rng.random() < 0.05
                archive.writestr(name, self._pickle(data, rng) if changed else data)
        return path

    @staticmethod
    def _pickle(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return damage(data, rng)
        # A number becomes a large one, or one operation another.
        out = bytearray(data)
        place = rng.randrange(min(2, len(out)), len(out) + 1)
        long = b'\x8a\x08' + struct.pack('<q', rng.choice((-1, 2**31, 2**50, 2**62)))
        out[place : place + rng.choice((0, 1, 2))] = rng.choice(
            (long, b'N', b']', b'}', b')', b'K\x01', b'0', b'(', b'\x8f')
        )
        return bytes(out)

    def read(self, path: Path) -> None:
        read_checkpoint(path)


class DecisionFiles(Reader):
    """JSON files of thresholds."""

    def prepare(self) -> None:
        path = self.folder / 'sound.json'
        Decisions(CLASSES, [0.1, 0.5, 0.9], [1.0, 2.0, 0.5], dict(a=1)).save(path)
        self.sounds = [json.loads(path.read_text())]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'file.json'
        path.write_bytes(odd_json(self.sounds[0], rng))
        return path

    def read(self, path: Path) -> None:
        decisions = Decisions.load(path)
        decisions.predict(np.full((2, len(decisions.classes)), 0.5))


class Dumps(Reader):
    """Score dumps: CSV, Parquet, pickles."""

    def prepare(self) -> None:
        rng = np.random.default_rng(0)
        dump = ScoreDump(
            rng.random((4, 3)).astype(np.float32),
            rng.integers(-1, 2, (4, 3)),
            CLASSES,
            ['a.jpg', 'b c.jpg', 'ü.jpg', 'NA'],
        )
        for suffix in ('csv', 'parquet', 'pkl'):
            path = self.folder / f'sound.{suffix}'
            dump.save(str(path))
            self.sounds.append((suffix, path.read_bytes()))

    def make(self, rng: random.Random) -> Path:
        # Text has more ways to be odd.
        suffix, data = rng.choice([self.sounds[0], *self.sounds])
        path = self.folder / f'file.{suffix}'
        path.write_bytes(damage(data, rng))
        return path

    def read(self, path: Path) -> None:
        ScoreDump.load(str(path))


class Labels(Reader):
    """Annotation files of a form, by :func:`read_labels`."""

    form: str
    name: str

    def prepare(self) -> None:
        targets = csr_array(np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=np.int8))
        labels = ImageLabels(CLASSES, ('a.jpg', 'b/c d.jpg', 'ü.jpg'), targets)
        path = self.folder / 'sound' / self.name
        write_labels(labels, path, self.form)
        self.sound = path

    def make(self, rng: random.Random) -> Path:
        path = self.folder / self.name
        data = self.sound.read_bytes()
        if self.name.endswith('.json') and rng.random() < 0.7:
            data = odd_json(json.loads(data), rng)
        else:
            data = damage(data, rng)
        path.write_bytes(data)
        return path

    def read(self, path: Path) -> None:
        read_labels(path, self.form)


class Coco(Labels):
    """COCO's form."""

    form, name = 'coco', 'labels.json'


class MMPretrain(Labels):
    """MMPretrain's form."""

    form, name = 'mmpretrain', 'labels.json'


class Tables(Labels):
    """CSV files with a column per label or a column of names."""

    form, name = 'table', 'labels.csv'

    def make(self, rng: random.Random) -> Path:
        if rng.random() < 0.5:
            return super().make(rng)
        path = self.folder / self.name
        text = 'image,labels,split\na.jpg,cat;猫,train\nb.jpg,,val\n"c d.jpg",dog,\n'
        path.write_bytes(damage(text.encode(), rng))
        return path


class Parquet(Labels):
    """Parquet tables."""

    form, name = 'table', 'labels.parquet'


class Voc(Labels):
    """Folders as those of PASCAL VOC."""

    form, name = 'voc', 'voc'
    # A list may name files that do not exist.
    errors = (ValueError, FileNotFoundError)

    def prepare(self) -> None:
        super().prepare()
        self.files = [p for p in self.sound.rglob('*') if p.is_file()]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / self.name
        if not path.exists():
            shutil.copytree(self.sound, path)
            self.changed = path / self.files[0].relative_to(self.sound)
        # Only one file differs from the sound ones.
        self.changed.write_bytes(
            (self.sound / self.changed.relative_to(path)).read_bytes()
        )
        chosen = rng.choice(self.files)
        self.changed = path / chosen.relative_to(self.sound)
        self.changed.write_bytes(damage(chosen.read_bytes(), rng))
        return path


class LabelStudio(Reader):
    """Exports of Label Studio: JSON, JSON-MIN, CSV."""

    def prepare(self) -> None:
        value = dict(choices=['cat', '猫'])
        result = dict(from_name='labels', type='choices', value=value)
        answer = dict(completed_by=1, was_cancelled=False, result=[result])
        flat = dict(image='a.jpg', year=7, labels=value, annotation_id=1, annotator=1)
        self.sounds = [
            [dict(data=dict(image='a.jpg'), annotations=[answer], predictions=[])],
            [flat, dict(flat, image='b.jpg', labels='cat')],
            b'annotation_id,annotator,lead_time,image,labels\n1,1,,a.jpg,cat\n'
            b'2,1,,b.jpg,"{""choices"":[""cat"",""dog""]}"\n',
        ]

    def make(self, rng: random.Random) -> Path:
        sound = rng.choice(self.sounds)
        is_table = isinstance(sound, bytes)
        path = self.folder / f'export.{"csv" if is_table else "json"}'
        path.write_bytes(damage(sound, rng) if is_table else odd_json(sound, rng))
        return path

    def read(self, path: Path) -> None:
        read_labels(path, 'label-studio', predictions=True, annotators='majority')


class FiftyOne(Reader):
    """Labels and samples of FiftyOne."""

    def prepare(self) -> None:
        (self.folder / 'data.json').write_text('{"0": "0.jpg", "1": "x/1.png"}')
        found = [dict(_cls='Classification', label='cat')]
        sample = dict(filepath='/x/0.jpg', labels=dict(found[0]))
        several = dict(_cls='Classifications', classifications=found)
        self.sounds = [
            dict(classes=['cat', '猫'], labels={'0': [0, 1], '1': None}),
            dict(classes=None, labels={'0': 'cat', '1': [dict(label='猫')]}),
            dict(samples=[sample, dict(filepath='/x/y/1.jpg', labels=several)]),
        ]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'labels.json'
        path.write_bytes(odd_json(rng.choice(self.sounds), rng))
        return path

    def read(self, path: Path) -> None:
        read_labels(path, 'fiftyone')


class ArrowFiles(Reader):
    """Arrow files with images inside."""

    def prepare(self) -> None:
        import pyarrow

        kind = pyarrow.struct([('bytes', pyarrow.binary()), ('path', pyarrow.string())])
        images = [dict(bytes=b'x' * 9, path='0.jpg'), dict(bytes=b'y', path=None)]
        table = pyarrow.table(
            dict(image=pyarrow.array(images, kind), labels=[[0, 2], []])
        )
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        self.sounds = [sink.getvalue().to_pybytes()]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'x.arrow'
        path.write_bytes(damage(self.sounds[0], rng))
        return path

    def read(self, path: Path) -> None:
        ArrowImages(ann_file=str(path), classes=CLASSES, serialize_data=False)


class Shards(Reader):
    """Tar files of images and labels."""

    def prepare(self) -> None:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode='w') as archive:
            for name, content in (
                ('a/0.jpg', b'x'),
                ('a/0.json', b'{"labels": ["cat"]}'),
                ('a/1.jpg', b'y' * 600),
                ('a/1.cls', b'0 2'),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        self.sounds = [data.getvalue()[:5120]]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'shard.tar'
        path.write_bytes(damage(self.sounds[0], rng))
        return path

    def read(self, path: Path) -> None:
        TarShards(ann_file=str(path), classes=CLASSES, serialize_data=False)


class Names(Reader):
    """Files of names."""

    def prepare(self) -> None:
        self.sounds = ['\n'.join(CLASSES).encode()]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'names.txt'
        path.write_bytes(damage(self.sounds[0], rng))
        return path

    def read(self, path: Path) -> None:
        read_names(path)


class OneOfFiles(Reader):
    """A data set of several files, of which one is damaged."""

    def make(self, rng: random.Random) -> Path:
        for name, data in self.sounds:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        name, data = rng.choice(self.sounds)
        path = self.folder / name
        if name.endswith('.json') and rng.random() < 0.7:
            path.write_bytes(odd_json(json.loads(data), rng))
        else:
            path.write_bytes(damage(data, rng))
        return path


class NusWide(OneOfFiles):
    """Lists and CSV file of NUS-WIDE."""

    def prepare(self) -> None:
        rows = [['0'] * len(CONCEPTS) for _ in range(3)]
        rows[0][0] = rows[1][80] = '1'
        labels = 'Groundtruth/TrainTestLabels/Labels_Train.txt'
        self.sounds = [
            ('ImageList/TrainImagelist.txt', b'a\\1.jpg\r\nb\\2.jpg\r\n3.jpg\r\n'),
            (labels, '\n'.join(map(' '.join, rows)).encode()),
            (
                'split.csv',
                b'filepath,label,split_name\n'
                b"images/1.jpg,\"['clouds', 'sky']\",train\n2.jpg,[],val\n",
            ),
        ]

    def read(self, path: Path) -> None:
        ann_file = path.name if path.suffix == '.csv' else ''
        NUSWIDE(
            data_root=str(self.folder),
            ann_file=ann_file,
            keep_unlabelled=True,
            serialize_data=False,
        )


class VisualGenome(OneOfFiles):
    """List and labels of VG500."""

    def prepare(self) -> None:
        self.sounds = [
            ('train_list_500.txt', b'1.jpg\n22.jpg\n3.jpg\n'),
            (
                'vg_category_500_labels_index.json',
                b'{"1.jpg": [3, 77], "22.jpg": [], "3.jpg": [499]}',
            ),
        ]

    def read(self, path: Path) -> None:
        VG500(data_root=str(self.folder), serialize_data=False)


class Vectors(Reader):
    """Feature vectors as .npz."""

    def prepare(self) -> None:
        path = self.folder / 'file.npz'
        rng = np.random.default_rng(0)
        features, labels = rng.random((4, 3)), rng.integers(-1, 2, (4, 2))
        np.savez(path, train_features=features, train_labels=labels)
        self.sounds = [path.read_bytes()]
        with zipfile.ZipFile(path) as archive:
            self.records = {n: archive.read(n) for n in archive.namelist()}

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'file.npz'
        if rng.random() < 0.5:
            path.write_bytes(damage(self.sounds[0], rng))
            return path
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
            for name, data in self.records.items():
                archive.writestr(name, damage(data, rng))
        return path

    def read(self, path: Path) -> None:
        FeatureVectors(str(path), 'train', serialize_data=False)


class Maps(Reader):
    """Features of a backbone as .npy."""

    def prepare(self) -> None:
        path = self.folder / 'sound.npy'
        np.save(path, np.random.default_rng(0).random((2, 2, 3), dtype=np.float32))
        self.sounds = [path.read_bytes()]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'file.npy'
        # A map of the last file is kept.
        path.unlink(missing_ok=True)
        path.write_bytes(damage(self.sounds[0], rng))
        return path

    def read(self, path: Path) -> None:
        from mlcl_plugin.datasets.transforms import load_feature_map

        load_feature_map._open.cache_clear()
        LoadFeatureMap(str(path)).transform(dict(feature_index=0))


class Images(Reader):
    """Images of the forms that OpenCV reads, with EXIF and without."""

    forms = ('jpeg', 'png', 'gif', 'bmp', 'webp', 'tiff', 'ppm', 'avif')

    def prepare(self) -> None:
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[274] = 6
        self.loader = LoadImage()
        images = [(image, {}), (image.convert('L'), {}), (image.convert('P'), {})]
        images += [(image.convert('CMYK'), {}), (image, dict(exif=exif))]
        for form in self.forms:
            for picture, options in images:
                data = io.BytesIO()
                # Not every form has every kind of image.
                with contextlib.suppress(OSError, KeyError, ValueError):
                    picture.save(data, form, **options)
                    self.sounds.append(data.getvalue())

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'file.img'
        path.write_bytes(damage(rng.choice(self.sounds), rng))
        return path

    def read(self, path: Path) -> None:
        self.loader.transform(dict(img_path=str(path)))


class ResultLines(Reader):
    """Results that infer.py goes on with, and the record beside them."""

    now = dict(
        weights='00', labels=list(CLASSES), thresholds=[0.5, 0.1, 0.9], topk=None
    )

    def prepare(self) -> None:
        result = dict(image='a/ü.jpg', pred_label=[1], pred_classes=['cat'])
        lines = [json.dumps(dict(result, image=str(index))) for index in range(3)]
        lines.append('{"image": "x.jpg", "error": "empty"}')
        self.sounds = [('\n'.join(lines) + '\n').encode(), self.now]

    def make(self, rng: random.Random) -> Path:
        path = self.folder / 'file.jsonl'
        record = self.folder / 'file.jsonl.made_with.json'
        lines, now = self.sounds
        of_lines = rng.random() < 0.5
        path.write_bytes(damage(lines, rng) if of_lines else lines)
        record.write_bytes(json.dumps(now).encode() if of_lines else odd_json(now, rng))
        return path

    def read(self, path: Path) -> None:
        file = ResultFile(path, resume=True)
        file.check(self.now)
        file.done_images()


READERS: dict[str, type[Reader]] = {
    'checkpoint': Checkpoints,
    'decisions': DecisionFiles,
    'dump': Dumps,
    'coco': Coco,
    'mmpretrain': MMPretrain,
    'table': Tables,
    'parquet': Parquet,
    'voc': Voc,
    'label_studio': LabelStudio,
    'fiftyone': FiftyOne,
    'arrow': ArrowFiles,
    'shards': Shards,
    'names': Names,
    'nus_wide': NusWide,
    'vg500': VisualGenome,
    'vectors': Vectors,
    'feature_maps': Maps,
    'images': Images,
    'results': ResultLines,
}


# --- runs ---------------------------------------------------------------------------


class HangError(BaseException):
    """Raised in a reader that takes too long."""


def stop(*_: object) -> None:
    raise HangError


@dataclasses.dataclass
class Results:
    """What happened to inputs of a reader."""

    number: int = 0
    read: int = 0
    longest: float = 0.0
    megabytes: float = 0.0
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, other: 'Results') -> None:
        """Add what happened to further inputs."""
        self.number += other.number
        self.read += other.read
        self.longest = max(self.longest, other.longest)
        self.megabytes = max(self.megabytes, other.megabytes)
        self.faults.update(other.faults)
        self.examples = {**other.examples, **self.examples}

    def row(self, name: str) -> str:
        """A row of the table."""
        faults = self.faults.total()
        return (
            f'| {name} | {self.number:,} | {self.read:,} '
            f'| {self.number - self.read - faults:,} | {faults} '
            f'| {self.longest:.2f} s | {self.megabytes:.0f} MB |'
        )


def feed(reader: Reader, inputs: int, seed: int) -> Results:
    """Feed inputs to a reader.

    Args:
        reader (Reader): The reader.
        inputs (int): Their number.
        seed (int): The seed of the first one; the others follow.

    Returns:
        Results: What happened.
    """
    results = Results()
    signal.signal(signal.SIGALRM, stop)
    for number in range(seed, seed + inputs):
        path = reader.make(random.Random(number))
        start = time.monotonic()
        signal.alarm(SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                reader.read(path)
            results.read += 1
        except reader.errors as error:
            # pandas and json have ValueErrors of their own, which name no file.
            if path.name not in str(error) and path.stem not in str(error):
                note(results, f'no name of the file: {str(error):.30}', number)
        except HangError:
            note(results, f'more than {SECONDS} s', number)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f'{Path(where.filename).name}:{where.lineno}'
            note(results, f'{type(error).__name__} in {place}', number)
        finally:
            signal.alarm(0)
        results.number += 1
        results.longest = max(results.longest, time.monotonic() - start)
    return results


def note(results: Results, fault: str, seed: int) -> None:
    results.faults[fault] += 1
    results.examples.setdefault(fault, f'--seed {seed}')


def peak() -> float:
    """Most memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def chunks(
    readers: list[str], inputs: int, seed: int
) -> Iterator[tuple[str, int, int]]:
    """Names of readers, first seeds and numbers of inputs; the readers take turns."""
    number = -(-inputs // len(readers))
    for start in range(seed, seed + number, CHUNK):
        for name in readers:
            yield name, start, min(CHUNK, seed + number - start)


def run(args: argparse.Namespace, make: Callable[[str], Reader]) -> dict[str, Results]:
    """Feed inputs to all readers, and keep what happened in a file."""
    done: dict[tuple, dict] = {}
    if args.out and args.out.exists():
        lines = map(json.loads, args.out.read_text().splitlines())
        done = {tuple(line.pop('chunk')): line for line in lines}
    results = {name: Results() for name in args.readers}
    readers: dict[str, Reader] = {}
    for chunk in chunks(args.readers, args.inputs, args.seed):
        name, start, number = chunk
        if chunk in done:
            line = done[chunk]
            part = Results(**{**line, 'faults': Counter(line['faults'])})
        else:
            if name not in readers:
                readers[name] = make(name)
            before = peak()
            part = feed(readers[name], number, start)
            part.megabytes = peak() - before
            if args.out:
                with args.out.open('a') as file:
                    line = {'chunk': chunk, **vars(part)}
                    file.write(json.dumps(line) + '\n')
        results[name].add(part)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--inputs', type=int, default=20000, help='in all')
    parser.add_argument('--readers', nargs='+', choices=READERS, default=list(READERS))
    parser.add_argument('--seed', type=int, default=0, help='of the first input')
    parser.add_argument(
        '--out', type=Path, help='results so far; what is in it is not run again'
    )
    args = parser.parse_args()
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    limit = used + 4 * MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Of the libraries' objects there is no garbage to look for, again and again.
    gc.freeze()
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix='fuzz_', dir=memory) as folder:
        results = run(args, lambda name: READERS[name](Path(folder) / name))
    print('| reader | inputs | read | refused | faults | longest | more memory |')
    print('|---|---|---|---|---|---|---|')
    for name, result in results.items():
        print(result.row(name))
        for fault, times in result.faults.most_common():
            example = result.examples[fault]
            print(f'  {times} x {fault}: --readers {name} {example} --inputs 1')
    print(f'{sum(result.number for result in results.values()):,} inputs')
    return int(any(r.faults or r.megabytes > MEGABYTES for r in results.values()))


if __name__ == '__main__':
    sys.exit(main())
