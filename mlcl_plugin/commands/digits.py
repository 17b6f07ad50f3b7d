# SPDX-License-Identifier: Apache-2.0
"""Make scenes of handwritten digits, see :mod:`mlcl_plugin.datasets.digit_scenes`."""

import argparse
from pathlib import Path

from ..command_line import CommandParser

# The flags of the library's arguments.
FLAGS = {'num_train': '--num-train', 'num_val': '--num-val', 'force': '--force'}
# Type, default and help of each field of SceneOptions.
OPTIONS: dict[str, tuple[type, object, str]] = {
    'image_size': (int, 96, 'side of the square images in pixels'),
    'min_digits': (int, 1, 'least number of digits in a scene'),
    'max_digits': (int, 5, 'largest number of digits in a scene'),
    'min_scale': (float, 0.2, 'least height of a digit as a share of the image side'),
    'max_scale': (float, 0.4, 'largest height of a digit as a share of the image side'),
    'clutter': (
        int,
        6,
        'distractors in a scene: strokes, fragments, scrambled digits',
    ),
    'noise': (float, 0.04, 'standard deviation of the pixel noise, 0 to 1'),
    'overlap': (float, 0.05, 'largest IoU of the boxes of two digits'),
    'min_contrast': (
        float,
        0.25,
        'least difference in brightness between a digit and the mean of the '
        'background, 0 to 0.45',
    ),
    'max_rotation': (
        float,
        15.0,
        'largest rotation of a digit to either side in degrees',
    ),
    'image_format': (str, 'png', 'format of the images: png or jpg'),
    'quality': (int, 90, 'JPEG quality, 1 to 100'),
    'seed': (int, 0, 'seed of the division of the scans and of the scenes'),
    'val_fraction_of_scans': (
        float,
        0.3,
        'share of the 1,797 scans kept for validation',
    ),
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Compose scenes of real handwritten digits, a multi-label dataset in COCO form '
        'that needs no download.'
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.flags = FLAGS
    parser.examples = (
        'data/digit_scenes',
        'data/small_scenes --num-train 200 --num-val 50 --image-size 64 --max-digits 4',
    )
    parser.add_argument('out_dir', type=Path, help='folder to write to')
    parser.add_argument('--num-train', type=int, default=4000, help='training scenes')
    parser.add_argument('--num-val', type=int, default=1000, help='validation scenes')
    for name, (kind, default, text) in OPTIONS.items():
        flag = 'format' if name == 'image_format' else name
        parser.add_argument(
            '--' + flag.replace('_', '-'),
            dest=name,
            metavar='VALUE',
            type=kind,
            default=default,
            help=text,
        )
    parser.add_argument(
        '--force',
        action='store_true',
        help='write even into a folder that is not empty; annotations and images of '
        'earlier scenes there are replaced',
    )


def run(args: argparse.Namespace) -> int:
    """Make the scenes that the command line asks for."""
    from ..datasets.digit_scenes import SceneOptions, find_scenes, write_scenes

    num_images = {'train': args.num_train, 'val': args.num_val}
    options = SceneOptions(**{name: getattr(args, name) for name in OPTIONS})
    found = find_scenes(args.out_dir, num_images, options, args.force)
    if found == 'complete':
        print(f'{args.out_dir} already holds these scenes, nothing to do.')
        return 0
    if found == 'unfinished':
        print(f'{args.out_dir} holds scenes of an interrupted call, making them anew.')
    for split, content in write_scenes(args.out_dir, num_images, options):
        number, digits = num_images[split], content['annotations']
        labels = {(a['image_id'], a['category_id']) for a in digits}
        print(
            f'{args.out_dir / split}: {number} scenes, {len(digits)} digits, '
            f'{len(labels) / number:.2f} labels per scene'
        )
    return 0
