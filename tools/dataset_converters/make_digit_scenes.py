# SPDX-License-Identifier: Apache-2.0
"""Make scenes of handwritten digits, see :mod:`mlcl_plugin.datasets.digit_scenes`."""

import argparse
from dataclasses import fields
from pathlib import Path

from mlcl_plugin.command_line import one_line_errors
from mlcl_plugin.datasets.digit_scenes import SceneOptions, find_scenes, write_scenes

# The flags of the library's arguments.
FLAGS = {'num_train': '--num-train', 'num_val': '--num-val', 'force': '--force'}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Compose scenes of real handwritten digits, a multi-label dataset '
        'in COCO form that needs no download.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out_dir', type=Path, help='folder to write to')
    parser.add_argument('--num-train', type=int, default=4000, help='training scenes')
    parser.add_argument('--num-val', type=int, default=1000, help='validation scenes')
    texts = {
        'image_size': 'side of the square images in pixels',
        'min_digits': 'least number of digits in a scene',
        'max_digits': 'largest number of digits in a scene',
        'min_scale': 'least height of a digit as a share of the image side',
        'max_scale': 'largest height of a digit as a share of the image side',
        'clutter': 'distractors in a scene: strokes, fragments, scrambled digits',
        'noise': 'standard deviation of the pixel noise, 0 to 1',
        'overlap': 'largest IoU of the boxes of two digits',
        'min_contrast': 'least difference in brightness between a digit and the mean '
        'of the background, 0 to 0.45',
        'max_rotation': 'largest rotation of a digit to either side in degrees',
        'image_format': 'format of the images: png or jpg',
        'quality': 'JPEG quality, 1 to 100',
        'seed': 'seed of the division of the scans and of the scenes',
        'val_fraction_of_scans': 'share of the 1,797 scans kept for validation',
    }
    for field in fields(SceneOptions):
        flag = 'format' if field.name == 'image_format' else field.name
        parser.add_argument(
            '--' + flag.replace('_', '-'),
            dest=field.name,
            metavar='VALUE',
            type=field.type,
            default=field.default,
            help=texts[field.name],
        )
    parser.add_argument(
        '--force',
        action='store_true',
        help='write even into a folder that is not empty; annotations and images of '
        'earlier scenes there are replaced',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Make the scenes that the command line asks for.

    Args:
        argv (list[str], optional): The arguments. Defaults to those of the running
            program.
    """
    args = build_parser().parse_args(argv)
    num_images = {'train': args.num_train, 'val': args.num_val}
    with one_line_errors('make_digit_scenes', FLAGS):
        options = SceneOptions(
            **{field.name: getattr(args, field.name) for field in fields(SceneOptions)}
        )
        found = find_scenes(args.out_dir, num_images, options, args.force)
        if found == 'complete':
            print(f'{args.out_dir} already holds these scenes, nothing to do.')
            return
        if found == 'unfinished':
            print(
                f'{args.out_dir} holds scenes of an interrupted call, making them anew.'
            )
        for split, content in write_scenes(args.out_dir, num_images, options):
            number, digits = num_images[split], content['annotations']
            labels = {(a['image_id'], a['category_id']) for a in digits}
            print(
                f'{args.out_dir / split}: {number} scenes, {len(digits)} digits, '
                f'{len(labels) / number:.2f} labels per scene'
            )


if __name__ == '__main__':
    main()
