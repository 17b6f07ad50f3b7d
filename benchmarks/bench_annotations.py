# SPDX-License-Identifier: Apache-2.0
"""Time the reading of an annotation file of COCO's size."""

import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import describe_environment, parse_args, quiet, write
from measure import Call, measure

from mlcl_plugin.datasets.coco_multi_label import CocoMultiLabel

try:
    from pycocotools.coco import COCO
except ImportError:
    COCO = None  # A rival only if it is installed.

CATEGORIES = 80
BOXES_AN_IMAGE = 7.37
POLYGONS = 2000
DESCRIPTION = (
    "From an annotation file in COCO's form to the labels of every image. "
    '`CocoMultiLabel` is built without the packing for workers that MMEngine does '
    'after reading; with a warm cache it reads what an earlier run stored. The other '
    'rivals load the file and collect the categories of the boxes of every image: by '
    'a loop over the result of `json.load`, and by `getAnnIds` and `loadAnns` of '
    'pycocotools. The file is synthetic: images, boxes and outlines in the numbers '
    'and sizes of COCO 2014 train. All rivals give the same labels. Memory is that of '
    'a separate process.'
)


def write_instances(path: Path, images: int, seed: int = 0) -> int:
    """Write a file in COCO's form, with outlines of about their size in COCO.

    Args:
        path (Path): The file.
        images (int): The number of images.
        seed (int): Defaults to 0.

    Returns:
        int: The number of boxes.
    """
    rng = np.random.default_rng(seed)
    # Which outline belongs to which box makes no difference to a reader.
    polygons = [
        json.dumps([rng.uniform(0, 640, 2 * n).round(2).tolist()])
        for n in rng.integers(7, 40, POLYGONS)
    ]
    ids = np.sort(rng.choice(600_000, images, replace=False)).tolist()
    # Every image has a box, so that none is left out.
    numbers = rng.geometric(1 / BOXES_AN_IMAGE, images)
    owners = rng.permutation(np.repeat(ids, numbers)).tolist()
    with open(path, 'w') as file:
        file.write('{"info": {"year": 2014}, "licenses": [], "images": [')
        for index, image_id in enumerate(ids):
            entry = dict(
                license=1 + index % 8,
                file_name=f'COCO_train2014_{image_id:012}.jpg',
                coco_url=f'http://images.invalid/train2014/{image_id:012}.jpg',
                height=480,
                width=640,
                date_captured='2013-11-14 16:28:13',
                flickr_url=f'http://photos.invalid/4104/{image_id:010}_84e8a6a8e6_z.jpg',
                id=image_id,
            )
            file.write(', ' * bool(index) + json.dumps(entry))
        file.write('], "annotations": [')
        for index, image_id in enumerate(owners):
            x, y, width, height, area = rng.uniform(0, 300, 5).round(2).tolist()
            file.write(
                ', '
                * bool(index)
                + f'{{"segmentation": {polygons[index % POLYGONS]}, "area": {area}, '
                f'"iscrowd": {int(index % 60 == 0)}, "image_id": {image_id}, "bbox": '
                f'[{x}, {y}, {width}, {height}], "category_id": '
                f'{int(rng.integers(CATEGORIES)) + 1}, "id": {index}}}'
            )
        categories = [
            dict(supercategory='thing', id=number + 1, name=f'thing {number}')
            for number in range(CATEGORIES)
        ]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return len(owners)


def make(rival: str, ann_file: str, cache_dir: str) -> Call:
    """Make the call that reads a file.

    Args:
        rival (str): The reader.
        ann_file (str): The file.
        cache_dir (str): The folder of the cache.

    Returns:
        Callable: Returns ``value``: the labels of all images, each as its index in
        the matrix of images and categories.
    """
    quiet()

    def ours(folder: str | None) -> list[list[int]]:
        dataset = CocoMultiLabel(ann_file, cache_dir=folder, serialize_data=False)
        return [item['gt_label'] for item in dataset.data_list]

    def json_load() -> list[list[int]]:
        with open(ann_file) as file:
            content = json.load(file)
        labels = {image['id']: set() for image in content['images']}
        for box in content['annotations']:
            labels[box['image_id']].add(box['category_id'] - 1)
        return [sorted(found) for found in labels.values()]

    def pycocotools() -> list[list[int]]:
        # It prints what it does.
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(ann_file)
        return [
            sorted({b['category_id'] - 1 for b in coco.loadAnns(coco.getAnnIds(image))})
            for image in coco.getImgIds()
        ]

    work = {
        'ours': lambda: ours(None),
        'ours, warm cache': lambda: ours(cache_dir),
        'json.load': json_load,
        'pycocotools': pycocotools,
    }[rival]
    if rival == 'ours, warm cache':
        work()

    def call() -> dict:
        labels = work()
        numbers = torch.tensor([len(found) for found in labels])
        flat = torch.tensor([label for found in labels for label in found])
        rows = torch.repeat_interleave(torch.arange(len(labels)), numbers)
        return dict(value=rows * CATEGORIES + flat)

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args)
    environment = describe_environment()
    # COCO 2014 train
    images, repeats = (200, 2) if args.quick else (82_783, 3)
    rivals = ['ours', 'ours, warm cache', 'json.load']
    if COCO is not None:
        rivals.append('pycocotools')
    with tempfile.TemporaryDirectory() as folder:
        large, small = (Path(folder) / name for name in ('large.json', 'small.json'))
        boxes = write_instances(large, images)
        write_instances(small, 50)
        for path in (large, small):
            # Files that were written just now are not cached.
            os.utime(path, (time.time() - 60,) * 2)
        cache_dir = str(Path(folder) / 'cache')
        comparison = measure(
            f'{images:,} images, {boxes:,} boxes, {large.stat().st_size / 1e6:,.0f} MB',
            make,
            {
                name: dict(rival=name, ann_file=str(large), cache_dir=cache_dir)
                for name in rivals
            },
            repeats,
            tolerance=0,
            warm=dict(ann_file=str(small)),
            warmup=0,
        )
    comparison.update(items=images, unit='images')
    write(args, 'annotations', 'Annotation', DESCRIPTION, environment, [comparison])


if __name__ == '__main__':
    main()
