# SPDX-License-Identifier: Apache-2.0
"""A small folder in which the commands of the pages run: data, recipes and a model."""

import json
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.documented_commands import ROOT

# Those of VOC2007 and of the weights that come with the package.
LABELS = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse '
    'motorbike person pottedplant sheep sofa train tvmonitor'
).split()
# What makes the copies of the recipes smaller: old and new text of their files.
ONE_PROCESS = {'num_workers=2': 'num_workers=0'}
SMALLER = {
    'models/r101.py': {
        'depth=101': 'depth=18, stem_channels=8, base_channels=8',
        "dict(type='Pretrained', checkpoint='torchvision://resnet101')": 'None',
        'in_channels=2048': 'in_channels=64',
    },
    'models/mlcl_r101.py': {'in_channels=2048': 'in_channels=64'},
    'methods/label_attention.py': {'=1024': '=64'},
    'datasets/coco_mlcl_448.py': {
        'img_size = 448': 'img_size = 32',
        'num_workers=8': 'num_workers=0',
    },
    'datasets/voc07_mlcl_448.py': {
        'img_size = 448': 'img_size = 32',
        'num_workers=8': 'num_workers=0',
    },
    'datasets/voc07_mlcl_224.py': {'img_size = 224': 'img_size = 64', **ONE_PROCESS},
    'datasets/tabular_mlcl_224.py': {'img_size = 224': 'img_size = 64', **ONE_PROCESS},
    'datasets/digit_scenes.py': ONE_PROCESS,
}


class Photographs:
    """Noise, with labels of which each is present in some images and absent in others.

    Args:
        seed (int): Of the noise and of the labels.
    """

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = self.rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)

    def labels(self, place):
        return {place % len(LABELS), *self.rng.integers(0, len(LABELS), 2).tolist()}

    def table(self, folder, name, number, prefix='', unknown=0):
        """Write images into ``folder/images`` and a table with a column per label.

        The last ``unknown`` rows have empty cells.
        """
        rows = ['image,' + ','.join(LABELS)]
        for place in range(number):
            image = f'{prefix}{place:06}.jpg'
            self.write(folder / 'images' / image)
            present = self.labels(place)
            cells = [str(int(x in present)) for x in range(len(LABELS))]
            if place >= number - unknown:
                cells = [''] * len(LABELS)
            rows.append(','.join([image, *cells]))
        (folder / name).write_text('\n'.join(rows) + '\n')

    def voc(self, folder, splits):
        lists = folder / 'ImageSets/Main'
        for name in (lists, folder / 'Annotations'):
            name.mkdir(parents=True)
        start = 0
        for split, number in splits.items():
            names = [f'{start + place:06}' for place in range(number)]
            start += number
            (lists / f'{split}.txt').write_text('\n'.join(names) + '\n')
            for place, name in enumerate(names):
                self.write(folder / f'JPEGImages/{name}.jpg')
                objects = ''.join(
                    f'<object><name>{LABELS[x]}</name><difficult>0</difficult></object>'
                    for x in self.labels(place)
                )
                text = f'<annotation>{objects}</annotation>\n'
                (folder / f'Annotations/{name}.xml').write_text(text)
        both = ''.join((lists / f'{x}.txt').read_text() for x in ('train', 'val'))
        (lists / 'trainval.txt').write_text(both)

    def coco(self, folder, split, number, names):
        images, annotations = [], []
        for place in range(number):
            name = f'{place:06}.jpg'
            self.write(folder / split / name)
            images.append(dict(id=place, file_name=name, width=64, height=48))
            for category in {1 + place % len(names), 1 + 3 * place % len(names)}:
                box = dict(bbox=[0, 0, 9, 9], area=81, iscrowd=0)
                ids = dict(image_id=place, category_id=category, id=len(annotations))
                annotations.append(ids | box)
        categories = [dict(id=1 + i, name=name) for i, name in enumerate(names)]
        return dict(images=images, annotations=annotations, categories=categories)


def write_data(folder):
    from mlcl_plugin.digits_demo.parts import photograph

    photographs = Photographs()
    photographs.table(folder / 'photos', 'labels.csv', 84, unknown=4)
    photographs.table(folder / 'photos', 'test.csv', 40, 'test/')
    # Of a person, whom the model finds.
    with Image.open(photograph()) as image:
        for place, name in enumerate(
            (
                *('photo.jpg', 'other.jpg', 'new.jpg', 'new_photos/a.jpg'),
                *(f'photos/{name}.jpg' for name in ('rex', 'max', 'kim')),
                *(f'photos/new/{place}.jpg' for place in range(12)),
            )
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            image.crop((place, place, *image.size)).resize((160, 190)).save(
                folder / name
            )
    (folder / 'classes.txt').write_text('\n'.join(LABELS) + '\n')
    photographs.voc(folder / 'data/VOCdevkit/VOC2007', dict(val=32, train=64, test=8))
    coco = folder / 'data/coco'
    (coco / 'annotations').mkdir(parents=True)
    for split, number in dict(train2014=72, val2014=24).items():
        names = [f'thing {x}' for x in range(80)]
        content = photographs.coco(coco, split, number, names)
        path = coco / f'annotations/instances_{split}.json'
        path.write_text(json.dumps(content))


def write_labels(folder):
    """Write labels of the photographs in other forms."""
    head, *rows = (folder / 'photos/labels.csv').read_text().splitlines()
    (folder / 'photos.csv').write_text('\n'.join([head, *rows]) + '\n')
    text = '\n'.join([head, *rows]).replace(',', ';')
    (folder / 'semicolons.csv').write_text(text + '\n')
    scans = [f'{row},{place // 4}' for place, row in enumerate(rows)]
    (folder / 'scans.csv').write_text('\n'.join([f'{head},patient', *scans]) + '\n')
    # An export of Label Studio: three people about each image.
    tasks = []
    for place in range(8):
        choices = dict(choices=[LABELS[place]])
        result = dict(from_name='labels', to_name='image', type='choices')
        answers = [
            dict(id=who, completed_by=who, result=[result | dict(value=choices)])
            for who in range(3)
        ]
        image = f'/data/local-files/?d=photos/images/{place:06}.jpg'
        tasks.append(dict(id=place, data=dict(image=image), annotations=answers))
    (folder / 'export.json').write_text(json.dumps(tasks))


CHECK = """# Check configs as a training does.
import sys

from mlcl_plugin.engine import check_config, load_config

for path in sys.argv[1:]:
    print(path)
    check_config(load_config(path))
"""
BUILD = """# Build the datasets of each config and read their first image.
import sys

import mlcl_plugin
from mmengine.config import Config
from mmpretrain.registry import DATASETS

for path in sys.argv[1:]:
    print(path)
    cfg = Config.fromfile(path)
    for value in cfg.values():
        if isinstance(value, dict):
            dataset = DATASETS.build(value.get('dataset', value))
            assert len(dataset) > 0
            dataset[0]
"""


def write_data_sets(folder):
    """Write what docs/datasets.md names and does not show."""
    from mlcl_plugin.datasets.nus_wide import CONCEPTS

    photographs = Photographs()
    for number in (1, 2, 3):
        photographs.write(folder / f'data/photos/images/{number:04}.jpg')
    shutil.copy(folder / 'classes.txt', folder / 'data/photos/voc_classes.txt')
    nus = folder / 'data/nus_wide'
    photographs.write(nus / 'Flickr/actor/0001_2124494179.jpg')
    (nus / 'ImageList').mkdir()
    (nus / 'ImageList/TrainImagelist.txt').write_text('actor\\0001_2124494179.jpg\n')
    labels = nus / 'Groundtruth/TrainTestLabels'
    labels.mkdir(parents=True)
    for concept in CONCEPTS:
        (labels / f'Labels_{concept}_Train.txt').write_text('1\n')
    for name in ('2407890.jpg', '2407891.jpg'):
        photographs.write(folder / f'data/vg500/VG_100K/{name}')
    (folder / 'data/vg500/train_list_500.txt').write_text('2407890.jpg\n2407891.jpg\n')
    (folder / 'data/shards').mkdir()
    (folder / 'data/shards/classes.txt').write_text('cat\ndog\ntraffic light\n')
    with tarfile.open(folder / 'data/shards/train-000000.tar', 'w') as shard:
        for name, text in (('000000', None), ('000001', '0 2')):
            photographs.write(folder / f'{name}.jpg')
            label = folder / f'{name}.{"cls" if text else "json"}'
            label.write_text(text or '{"labels": ["cat", "dog"]}')
            for path in (folder / f'{name}.jpg', label):
                shard.add(path, path.name)


def copy_project(folder):
    """Copy the files that commands name or write to; the recipes become smaller."""
    for name in ('benchmarks', 'configs', 'tools'):
        shutil.copytree(ROOT / name, folder / name)
    (folder / 'docs').mkdir()
    for path in (ROOT / 'docs').glob('*.md'):
        shutil.copy(path, folder / 'docs')
    shutil.copy(ROOT / 'Makefile', folder)
    for name, changes in SMALLER.items():
        path = folder / 'configs/_base_' / name
        text = path.read_text()
        for old, new in changes.items():
            assert old in text, f'{name} has no {old!r}'
            text = text.replace(old, new)
        path.write_text(text)


def write_model(folder):
    """Write ``config.py`` and ``model.pth``: the classifier that the package has."""
    import torch
    from mmpretrain import get_model

    import mlcl_plugin  # noqa: F401

    (folder / 'config.py').write_text("_base_ = ['configs/mlcl_efflite0_voc07.py']\n")
    model = get_model('mlcl_efflite0_voc07', pretrained=True)
    meta = dict(dataset_meta=dict(classes=LABELS))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'model.pth')


def write_command(folder):
    """Write ``bin/mlcl``, which is that of this checkout whatever ``PYTHONPATH`` is."""
    path = folder / 'bin/mlcl'
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}:$PYTHONPATH" '
        f'exec "{sys.executable}" -P -m mlcl_plugin "$@"\n'
    )
    path.chmod(0o755)


def make_world(folder: Path) -> None:
    """Write all of it into an empty folder."""
    write_data(folder)
    write_labels(folder)
    copy_project(folder)
    write_model(folder)
    write_command(folder)
    (folder / 'build_datasets.py').write_text(BUILD)
    (folder / 'check_configs.py').write_text(CHECK)
