# SPDX-License-Identifier: Apache-2.0
"""Check the data sets of a config before a training meets what is wrong with them."""

import argparse
import os
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config, DictAction

from mlcl_plugin.apis.dataset_report import SplitReport, check_datasets
from mlcl_plugin.engine import check_step_options
from mlcl_plugin.visualization.dataset_figures import (
    cooccurrence_matrix,
    label_histogram,
    sample_sheet,
)

THUMBNAIL = 256


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Read every data set that a config names, images included, and '
        'report what it holds and what is wrong with it: a table, a JSON and pictures. '
        'Exit code 1 means that a training would break or be spoilt, 2 that command '
        'line or config are at fault, 0 that there are warnings at most.'
    )
    parser.add_argument('config', help='config file path')
    parser.add_argument(
        '--out',
        type=Path,
        help='the folder to write to (default: work_dirs/check_dataset/CONFIG)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=min(8, os.cpu_count() or 1),
        help='processes that read images; 0 reads them in this one (default: one a '
        'core, 8 at most)',
    )
    parser.add_argument(
        '--skip-images',
        action='store_true',
        help='look at annotations only: neither files nor duplicates are checked',
    )
    parser.add_argument(
        '--max-labels',
        type=int,
        default=40,
        help='labels that pictures show at most, the most frequent ones (default: 40)',
    )
    parser.add_argument(
        '--samples',
        type=int,
        default=24,
        help='images on the sample sheet of a split, taken at even distances '
        '(default: 24)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override in the config, as xxx=yyy, also nested and in '
        'lists: key="[a,b]" or key="[(a,b),(c,d)]", quoted and without blanks',
    )
    args = parser.parse_args(args)
    for name, value, least in (
        ('workers', args.workers, 0),
        ('max-labels', args.max_labels, 1),
        ('samples', args.samples, 1),
    ):
        if value < least:
            parser.error(f'--{name} must be {least} or more, got {value}')
    return args


def load_config(args: argparse.Namespace) -> Config:
    """The config with the options of the command line."""
    try:
        cfg = Config.fromfile(args.config)
    except (FileNotFoundError, ValueError):
        raise
    # A config is code, in which anything may be wrong.
    except Exception as error:
        raise ValueError(
            f'{args.config} cannot be read: {type(error).__name__}: {error}'
        ) from error
    if args.cfg_options is not None:
        check_step_options(cfg.get('steps'), args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    return cfg


def thumbnail(image: np.ndarray | None) -> np.ndarray | None:
    """An image with sides of at most :data:`THUMBNAIL` px."""
    if image is None or max(image.shape) <= THUMBNAIL:
        return image
    scale = THUMBNAIL / max(image.shape[:2])
    size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)


def draw(split: SplitReport, max_labels: int, samples: int) -> dict[str, Figure]:
    """The pictures of a split, by what they show."""
    name = ', '.join(split.names)
    figures = {
        'labels': label_histogram(
            split.present,
            split.unknown,
            split.labels_an_image,
            split.classes,
            f'{name}: labels of {split.num_images:,} images',
            max_labels,
        ),
        'cooccurrence': cooccurrence_matrix(
            split.cooccurrence,
            [split.classes[i] for i in split.top],
            f'{name}: labels present together',
            len(split.classes),
            max_labels,
        ),
    }
    number = min(samples, split.num_images)
    chosen = np.linspace(0, split.num_images, number, endpoint=False).astype(int)
    images = [thumbnail(split.images.picture(int(i))) for i in chosen]
    # Data sets of vectors have nothing to be seen.
    if any(image is not None for image in images):
        figures['samples'] = sample_sheet(
            images,
            [split.images.targets(int(i)) for i in chosen],
            [Path(split.images.path(int(i))).name for i in chosen],
            split.classes,
            f'{name}: {number} of {split.num_images:,} images, with the labels present '
            'and, after a ?, unknown',
        )
    return figures


def main(args: list[str] | None = None) -> int:
    """Check the data sets that the command line asks for.

    Returns:
        int: The exit code.
    """
    args = parse_args(args)
    out = args.out or Path('work_dirs/check_dataset') / Path(args.config).stem
    try:
        cfg = load_config(args)
        out.mkdir(parents=True, exist_ok=True)
        report = check_datasets(cfg, args.workers, not args.skip_images, progress=True)
    except (OSError, ValueError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 2
    title = f'Data sets of {args.config}'
    (out / 'report.json').write_text(report.to_json() + '\n', encoding='utf-8')
    (out / 'report.md').write_text(report.to_markdown(title), encoding='utf-8')
    written = ['report.md', 'report.json']
    for split in report.splits:
        for kind, figure in draw(split, args.max_labels, args.samples).items():
            file = f'{kind}_{split.name.replace("/", "_")}.png'
            with warnings.catch_warnings():
                # Fonts lack some scripts; the names are whole in the report.
                warnings.filterwarnings('ignore', message='Glyph .* missing')
                figure.savefig(out / file)
            written.append(file)
    print(report.to_markdown(title, max_labels=20, max_examples=10))
    print(f'{out}: {", ".join(written)}')
    return 0 if report.ok else 1


if __name__ == '__main__':
    sys.exit(main())
