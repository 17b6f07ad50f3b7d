# SPDX-License-Identifier: Apache-2.0
"""Convert image-level labels between COCO, VOC, tables and MMPretrain's JSON."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from mlcl_plugin.datasets.annotation_forms import (
    FORMS,
    ImageLabels,
    guess_form,
    holds_unknown,
    prepare_files,
    read_labels,
    write_files,
)

DESCRIPTION = """Convert image-level labels between the forms of COCO
(instances_*.json), VOC (a folder), tables (CSV, TSV, Parquet) and MMPretrain's
MultiLabelDataset (JSON), and divide them into parts by iterative stratification.
Images stay where they are, named relative to one folder.
"""
EXAMPLES = """examples:
  %(prog)s photos.csv photos.json --to coco
  %(prog)s data/VOCdevkit/VOC2007 voc_val.csv --split val
  %(prog)s instances_val.json data/my_voc --target-split val --image-root data/val
  %(prog)s photos.csv photos.csv --val 0.2 --test 0.1
      divides into photos_train.csv, photos_val.csv and photos_test.csv
"""


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', help='the annotation: a file, or the folder of VOC')
    parser.add_argument('target', help='what to write')
    parser.add_argument(
        '--from',
        dest='source_form',
        choices=FORMS,
        help='form of the source (default: as file name and content tell)',
    )
    parser.add_argument(
        '--to',
        dest='target_form',
        choices=FORMS,
        help="form of the target (default: as its name tells; needed for '.json')",
    )
    parser.add_argument(
        '--split',
        help="the split to read: VOC's list ImageSets/Main/SPLIT.txt (default: train), "
        "of a table the rows that have SPLIT in the column 'split' (default: all)",
    )
    parser.add_argument(
        '--target-split',
        help="the split to write, VOC's list ImageSets/Main/TARGET_SPLIT.txt (default: "
        'that which is read, or train)',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        help='a file with one name a line: the labels to read, in this order (default: '
        'those of the source)',
    )
    parser.add_argument(
        '--unknown',
        choices=['error', 'negative', 'drop'],
        default='error',
        help='unknown labels where the target cannot hold them (COCO, a column of '
        'names): stop, take them as absent, or leave their images out (default: error)',
    )
    parser.add_argument(
        '--image-root',
        help="the image folder: COCO's and VOC's files get the images' sizes, and each "
        'label a box around its image (default: neither)',
    )
    table = parser.add_argument_group('tables')
    table.add_argument(
        '--table-style',
        choices=['columns', 'names'],
        default='columns',
        help='write one column a label, or one of names (default: columns)',
    )
    table.add_argument(
        '--image-column', default='image', help='column of paths (default: image)'
    )
    table.add_argument(
        '--label-column', help='column of names (default: labels, if there is one)'
    )
    table.add_argument(
        '--separator', default=';', help="what stands between names (default: ';')"
    )
    table.add_argument(
        '--delimiter',
        help="what separates the fields of a CSV file that is read, such as ';' "
        '(default: a comma, in .tsv a tabulator)',
    )
    table.add_argument(
        '--unstated-as',
        type=int,
        choices=[-1, 0],
        help='what is meant by an empty cell, or by a name that is not in a list of '
        'names: -1 (unknown) or 0 (absent) (default: -1 for cells, 0 for names)',
    )
    parts = parser.add_argument_group('division into parts')
    parts.add_argument(
        '--val', type=float, help='share of the images for validation, such as 0.2'
    )
    parts.add_argument('--test', type=float, help='share of the images for test')
    parts.add_argument(
        '--seed', type=int, default=0, help='of the division (default: 0)'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace files that hold something else',
    )
    args = parser.parse_args(args)
    if args.seed < 0:
        parser.error(f'--seed must not be negative, got {args.seed}')
    if args.target_split and (args.val is not None or args.test is not None):
        parser.error('--target-split is for one part, --val and --test name their own')
    return args


def divide(labels: ImageLabels, args: argparse.Namespace) -> dict[str, ImageLabels]:
    """The parts that the command line asks for, and a report on them."""
    # Not needed to convert.
    from mlcl_plugin.datasets.stratified_split import stratified_split

    shares = {'val': args.val, 'test': args.test}
    shares = {name: share for name, share in shares.items() if share is not None}
    for name, share in shares.items():
        # not what is no number, either
        if not 0 < share < 1:
            raise ValueError(f'--{name} must be between 0 and 1, got {share}.')
    shares = {'train': 1 - sum(shares.values()), **shares}
    split = stratified_split(labels.targets, labels.classes, shares, args.seed)
    for name, images in split.parts.items():
        share = len(images) / len(labels.images)
        off = np.abs(split.deviations(name))
        line = (
            f'{name}: {len(images):,} images, {share:.1%} (wanted {shares[name]:.1%})'
        )
        if not np.isnan(off).all():
            worst = int(np.nanargmax(off))
            line += (
                f"; share of a label's images off by {np.nanmean(off):.1%} on average, "
                f"by {off[worst]:.1%} at most ('{labels.classes[worst]}', "
                f'{split.present[name][worst]} of {split.totals[worst]} images)'
            )
        print(line)
    for what, names in (
        (f'labels with fewer images than the {len(shares)} parts', split.too_rare),
        *((f'labels that {name} lacks', split.missing(name)) for name in split.parts),
    ):
        if names:
            print(f'warning: {what}: {", ".join(names)}')
    return {name: labels.take(images.tolist()) for name, images in split.parts.items()}


def part_paths(
    target: str, form: str, parts: dict[str, ImageLabels]
) -> dict[str, tuple[str, str]]:
    """Path and VOC's split of each part: lists of one folder, or files of their own."""
    if form == 'voc':
        return {name: (target, name) for name in parts}
    path = Path(target)
    return {
        name: (str(path.with_name(f'{path.stem}_{name}{path.suffix}')), name)
        for name in parts
    }


def dataset_config(form: str, path: str, split: str, args: argparse.Namespace) -> dict:
    """The config of the dataset that reads what was written."""
    images = args.image_root or 'IMAGES'
    if form == 'voc':
        # Other paths are relative to the folder of VOC.
        images = os.path.abspath(images) if args.image_root else images
        return dict(
            type='VOCMultiLabel',
            data_root=path,
            # Lists may have other names than those of VOC.
            split='',
            image_set_path=f'ImageSets/Main/{split}.txt',
            classes=f'{path}/classes.txt',
            data_prefix=dict(img_path=images, ann_path='Annotations'),
        )
    if form == 'coco':
        options = dict(type='CocoMultiLabel', ann_file=path, keep_unlabelled=True)
    elif form == 'mmpretrain':
        options = dict(type='MultiLabelDataset', ann_file=path)
    else:
        options = dict(type='TabularMultiLabel', ann_file=path)
        if args.image_column != 'image':
            options['image_column'] = args.image_column
        if args.table_style == 'names':
            options['classes'] = f'{path}.classes.txt'
            if args.label_column:
                options['label_column'] = args.label_column
            if args.separator != ';':
                options['separator'] = args.separator
    return options | dict(data_prefix=images)


def convert(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    table = dict(
        image_column=args.image_column,
        label_column=args.label_column,
        separator=args.separator,
    )
    labels = read_labels(
        args.source,
        args.source_form,
        args.split,
        args.classes,
        delimiter=args.delimiter,
        unstated_as=args.unstated_as,
        **table,
    )
    present = int((labels.targets.data == 1).sum())
    print(
        f'{args.source}: {len(labels.images):,} images, {len(labels.classes):,} labels,'
        f' {present:,} times present and {labels.num_unknown:,} times unknown'
    )
    form = args.target_form or guess_form(args.target)
    if form is not None and not holds_unknown(form, args.table_style):
        number, unknown = len(labels.images), labels.num_unknown
        # Before the division, which is to fit what is left.
        labels = labels.without_unknown(args.unknown)
        if len(labels.images) < number:
            print(
                f'left out, for unknown labels: {number - len(labels.images):,} images'
            )
        elif unknown:
            print(f'taken as absent: {unknown:,} of the unknown labels')
    split = args.target_split or args.split or 'train'
    parts, paths = {split: labels}, {split: (args.target, split)}
    if args.val is not None or args.test is not None:
        parts = divide(labels, args)
        paths = part_paths(args.target, form, parts)
    prepared, lines = [], []
    for name, part in parts.items():
        path, split = paths[name]
        _, files = prepare_files(
            part,
            path,
            form,
            split,
            style=args.table_style,
            image_root=args.image_root,
            **table,
        )
        prepared.append(files)
        what = f' ({name})' if len(parts) > 1 or form == 'voc' else ''
        lines.append(f'{path}: {len(part.images):,} images written{what}')
    # All parts or none.
    write_files(prepared, args.overwrite)
    print('\n'.join(lines))
    where = '' if args.image_root else ', IMAGES being the image folder'
    print(f'To read it{where}:')
    for path, split in paths.values():
        options = dataset_config(form, path, split, args)
        fields = [f'{key}={value!r}' for key, value in options.items()]
        print(f'dict({", ".join(fields)})')


def main(args: list[str] | None = None) -> int:
    """Convert what the command line names.

    Returns:
        int: The exit code: 1 if it could not be done.
    """
    args = parse_args(args)
    try:
        convert(args)
    # ImportError: of packages that only some forms need.
    except (ImportError, OSError, ValueError) as error:
        print(f'convert_dataset: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
