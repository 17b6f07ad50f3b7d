# SPDX-License-Identifier: Apache-2.0
"""Convert image-level labels between COCO, VOC, tables, Label Studio and others."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..command_line import CommandParser, number

if TYPE_CHECKING:
    from ..datasets.forms import ImageLabels

FORMS = ('table', 'mmpretrain', 'coco', 'voc', 'label-studio', 'fiftyone', 'answers')
# The flags of the library's arguments.
FLAGS = {
    'form': '--to',
    'unknown': '--unknown',
    'delimiter': '--delimiter',
    'separator': '--separator',
    'classes': '--classes',
    'val': '--val',
    'test': '--test',
    'group': '--group',
    'image_url': '--image-url',
    'annotators': '--annotators',
    'predictions': '--predictions',
    'control': '--control',
    'overwrite': '--overwrite',
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Convert image-level labels between the forms of COCO (instances_*.json), VOC '
        "(a folder), tables (CSV, TSV, Parquet) and MMPretrain's MultiLabelDataset "
        '(JSON), read exports of Label Studio and write tasks for it, read and write '
        "FiftyOne's JSON of image classification, and divide images into parts by "
        'iterative stratification. Images stay where they are, named relative to one '
        'folder.'
    )
    parser.flags = FLAGS
    parser.examples = (
        'photos.csv photos.json --to coco',
        'data/VOCdevkit/VOC2007 voc_val.csv --split val',
        'instances_val.json data/my_voc --target-split val --image-root data/val',
        'photos.csv photos.csv --val 0.2 --test 0.1',
        'scans.csv scans.csv --val 0.2 --group patient',
        'answers.jsonl tasks.json --to label-studio',
        'export.json photos.csv --annotators majority',
        'photos.csv labels.json --to fiftyone --image-root photos',
    )
    parser.add_check(check)
    parser.add_argument('source', help='the annotation: a file, or the folder of VOC')
    parser.add_argument('target', help='what to write')
    parser.add_argument(
        '--from',
        dest='source_form',
        choices=FORMS,
        help='form of the source (default: by its name and content)',
    )
    parser.add_argument(
        '--to',
        dest='target_form',
        choices=FORMS[:-1],
        help="form of the target (default: by its name; needed for '.json')",
    )
    parser.add_argument(
        '--split',
        help="the split to read: VOC's list ImageSets/Main/SPLIT.txt (default: train), "
        "of a table the rows that have SPLIT in the column 'split' (default: all)",
    )
    parser.add_argument(
        '--target-split',
        help="the split to write, VOC's list ImageSets/Main/TARGET_SPLIT.txt (default: "
        'that of --split, or train)',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        help='a file with one name per line: the labels to read, in this order '
        '(default: those of the source)',
    )
    parser.add_argument(
        '--unknown',
        choices=['error', 'negative', 'drop'],
        default='error',
        help='unknown labels where the target cannot hold them (COCO, a column of '
        'names, label tools): stop, take them as absent, or leave their images out '
        '(default: error)',
    )
    parser.add_argument(
        '--image-root',
        help="the image folder: COCO's and VOC's files get the images' sizes, and each "
        'label a box around its image (default: neither). FiftyOne gets the paths of '
        'the images (default: they are in a folder data beside the file)',
    )
    table = parser.add_argument_group('tables')
    table.add_argument(
        '--table-style',
        choices=['columns', 'names'],
        default='columns',
        help='write one column per label, or one of names (default: columns)',
    )
    table.add_argument(
        '--image-column', default='image', help='column of paths (default: image)'
    )
    table.add_argument(
        '--label-column', help='column of names (default: labels, if there is one)'
    )
    table.add_argument(
        '--separator', default=';', help="what separates names (default: ';')"
    )
    table.add_argument(
        '--delimiter',
        help="what separates the fields of a CSV file that is read, such as ';' "
        '(default: a comma, in .tsv a tab)',
    )
    table.add_argument(
        '--unstated-as',
        type=int,
        choices=[-1, 0],
        help='what an empty cell or a name that is not listed means: -1 (unknown) or 0 '
        '(absent) (default: -1 for cells, 0 for names); for FiftyOne the same of null '
        '(default: -1)',
    )
    studio = parser.add_argument_group('Label Studio')
    studio.add_argument(
        '--image-url',
        metavar='PREFIX',
        help='how all names of images in tasks begin (default: what Label Studio writes'
        ' for local files, /data/local-files/?d=, and for uploads)',
    )
    studio.add_argument(
        '--annotators',
        choices=['error', 'any', 'all', 'majority', 'unknown'],
        default='error',
        help='which labels an image has if annotators disagree (default: error)',
    )
    studio.add_argument(
        '--predictions',
        action='store_true',
        help='take predictions for tasks that nobody answered (default: unlabelled)',
    )
    studio.add_argument(
        '--control',
        help='the choices that are the labels, if there are several; for samples of '
        'FiftyOne their field',
    )
    parts = parser.add_argument_group('division into parts')
    parts.add_argument(
        '--val', type=float, help='share of the images for validation, such as 0.2'
    )
    parts.add_argument('--test', type=float, help='share of the images for test')
    parts.add_argument(
        '--group',
        metavar='COLUMN',
        help='a column of the table whose images stay in one part, such as patient, '
        'event or camera (default: each image on its own)',
    )
    parts.add_argument(
        '--seed',
        type=number(int, least=0),
        default=0,
        help='of the division (default: 0)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace files that hold something else',
    )


def check(args: argparse.Namespace) -> None:
    """Check --target-split and --group together with --val and --test."""
    if args.target_split and (args.val is not None or args.test is not None):
        raise ValueError(
            '--target-split is for one part, --val and --test name their own'
        )
    if args.group is not None and args.val is None and args.test is None:
        raise ValueError('--group is about a division: give --val or --test, too')


def without_unknown(labels: 'ImageLabels', unknown: str) -> 'ImageLabels':
    """Remove unknown labels and say what that changed."""
    known = labels.without_unknown(unknown)
    dropped = len(labels.images) - len(known.images)
    if dropped:
        print(f'left out, for unknown labels: {dropped:,} images')
    elif labels.num_unknown:
        print(f'taken as absent: {labels.num_unknown:,} of the unknown labels')
    return known


def run(args: argparse.Namespace) -> int:
    """Convert what the command line names."""
    from ..datasets.forms import (
        WriteOptions,
        config_text,
        form_to_write,
        prepare_files,
        read_labels,
        write_files,
    )
    from ..datasets.forms.groups import read_groups
    from ..datasets.forms.parts import divide, part_paths
    from ..datasets.label_spelling import near_same, show_group
    from ..targets import PRESENT

    columns = dict(
        image_column=args.image_column,
        label_column=args.label_column,
        separator=args.separator,
    )
    labels = read_labels(
        args.source,
        args.source_form,
        args.classes,
        split=args.split,
        delimiter=args.delimiter,
        unstated_as=args.unstated_as,
        group=args.group,
        image_url=args.image_url,
        annotators=args.annotators,
        predictions=args.predictions,
        control=args.control,
        **columns,
    )
    present = int((labels.targets.data == PRESENT).sum())
    print(
        f'{args.source}: {len(labels.images):,} images, {len(labels.classes):,} labels,'
        f' {present:,} times present and {labels.num_unknown:,} times unknown'
    )
    for group in near_same(labels.classes):
        print(f'warning: labels written in several ways: {show_group(group)}')
    form = form_to_write(args.target, args.target_form)
    options = dict(
        style=args.table_style,
        image_root=args.image_root,
        image_url=args.image_url,
        **columns,
    )
    if not form.holds_unknown(WriteOptions(**options)):
        # Before the division, which is about the images that are left.
        labels = without_unknown(labels, args.unknown)
    name = args.target_split or args.split or 'train'
    parts, paths = {name: labels}, {name: args.target}
    if args.val is not None or args.test is not None:
        groups = None
        if args.group is not None:
            groups = read_groups(
                args.source,
                labels.images,
                args.group,
                args.image_column,
                args.delimiter,
            )
            print(f'{len(set(groups)):,} groups, each in one part')
        parts, division = divide(labels, args.val, args.test, args.seed, groups)
        paths = part_paths(args.target, form, parts)
        print(*division.describe(), sep='\n')
        for warning in division.warnings():
            print(f'warning: {warning}')
    files = [
        prepare_files(part, paths[name], form.name, split=name, **options)[1]
        for name, part in parts.items()
    ]
    # All parts or none.
    write_files(files, args.overwrite)
    for name, part in parts.items():
        what = f' ({name})' if len(parts) > 1 or form.is_folder else ''
        print(f'{paths[name]}: {len(part.images):,} images written{what}')
    configs = [
        form.dataset_config(path, WriteOptions(split=name, **options))
        for name, path in paths.items()
    ]
    found = [config for config in configs if config is not None]
    if found:
        images = '' if args.image_root else ', IMAGES being the image folder'
        print(f'To read it{images}:', *map(config_text, found), sep='\n')
    else:
        print(form.after_writing)
    return 0
