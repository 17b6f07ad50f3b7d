# SPDX-License-Identifier: Apache-2.0
"""Time the two-view input pipelines and MMPretrain's with equal augmentations."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from common import ROOT, describe_environment, parse_args, write
from measure import Call, measure
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

import mlcl_plugin  # noqa: F401, registers its transforms

DATASETS = ROOT / 'configs/_base_/datasets'
CASES = {
    # Width and height of the stored photographs.
    'coco_mlcl_448': (640, 480),
    'voc07_mlcl_224': (340, 256),
}
BATCH = 16
DESCRIPTION = (
    'Two views of JPEG files in one process with one thread, as in a worker of a '
    f"dataloader, collated in batches of {BATCH}: `two_view_pipeline` of the dataset's "
    "config, and MMPretrain's `LoadImageFromFile`, `MultiView` and `PackInputs` with "
    'the same augmentations, which draw the same numbers. The rate counts images, not '
    'views.'
)


def stock_pipeline(config: Config) -> list[dict]:
    """Build the same pipeline from transforms of MMPretrain and MMCV only."""
    size = config.img_size
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    if size == 224:
        crop = dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.4, 1.0))
        view = [crop, flip]
    else:
        # Fast... does the same as the transform of MMPretrain without that prefix.
        policies = [
            policy | dict(type=policy['type'].removeprefix('Fast'))
            for policy in config.rand_augment.policies
        ]
        augment = config.rand_augment | dict(policies=policies)
        view = [dict(type='Resize', scale=(size, size)), flip, augment]
    return [
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=[2], transforms=[view]),
        dict(type='PackInputs'),
    ]


def make(rival: str, dataset: str, files: Sequence[str]) -> Call:
    """Make the call that loads batches of two views of every file.

    Args:
        rival (str): ``'ours'`` or ``'MMPretrain'``.
        dataset (str): The name of the config.
        files (Sequence[str]): JPEG files.

    Returns:
        Callable: Returns ``value``, some of the pixels of all views.
    """
    init_default_scope('mmpretrain')
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    config = Config.fromfile(DATASETS / f'{dataset}.py')
    pipeline = config.two_view_pipeline
    if rival == 'MMPretrain':
        pipeline = stock_pipeline(config)
    transform = Compose([TRANSFORMS.build(step) for step in pipeline])

    def call() -> dict:
        # Each rival draws the same numbers in each turn.
        random.seed(0)
        np.random.seed(0)
        pixels = []
        for start in range(0, len(files), BATCH):
            samples = [
                transform(dict(img_path=path, gt_label=[0]))
                for path in files[start : start + BATCH]
            ]
            views = default_collate(samples)['inputs']
            pixels += [view[..., ::16, ::16].clone() for view in views]
        return dict(value=pixels)

    return call


def write_photographs(folder: Path, number: int, size: tuple[int, int]) -> list[str]:
    """Write JPEGs that take about as long to decode as photographs.

    Args:
        folder (Path): Where to put them.
        number (int): How many.
        size (tuple[int, int]): Width and height.

    Returns:
        list[str]: Their paths.
    """
    rng = np.random.default_rng(0)
    paths = []
    for index in range(number):
        # Structure of all scales; finer structure is fainter, as in photographs.
        image = np.full((size[1], size[0], 3), 128.0, np.float32)
        for cells in (4, 8, 16, 32, 64, 128, 256):
            layer = rng.normal(0, 120 / cells**0.5, (cells, cells, 3))
            image += cv2.resize(layer.astype(np.float32), size)
        path = folder / f'{size[0]}_{index:03}.jpg'
        image = image.clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        paths.append(str(path))
    return paths


def find_photographs(folder: Path, number: int) -> list[str]:
    """List the first JPEG files in a folder and its subfolders.

    Raises:
        FileNotFoundError: If there is none.
    """
    paths = sorted(str(path) for path in folder.rglob('*.jpg'))[:number]
    if not paths:
        raise FileNotFoundError(f'There is no *.jpg file in {folder}.')
    return paths


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__,
        args,
        data_root=dict(type=Path, help='folder with *.jpg to use (default: synthetic)'),
    )
    environment = describe_environment()
    number, repeats = (4, 2) if args.quick else (64, 9)
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        for dataset, size in CASES.items():
            if args.data_root is None:
                files = write_photographs(Path(folder), number, size)
                words = f'{number} made images of {size[0]} x {size[1]} px'
            else:
                files = find_photographs(args.data_root, number)
                words = f'{len(files)} images of {args.data_root.name}'
            comparison = measure(
                f'{dataset}, {words}',
                make,
                {
                    name: dict(rival=name, dataset=dataset, files=files)
                    for name in ('ours', 'MMPretrain')
                },
                repeats,
                tolerance=0,
            )
            comparison.update(items=len(files), unit='images')
            comparisons.append(comparison)
    write(args, 'pipeline', 'Input pipeline', DESCRIPTION, environment, comparisons)


if __name__ == '__main__':
    main()
