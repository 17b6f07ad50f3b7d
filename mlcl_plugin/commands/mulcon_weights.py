# SPDX-License-Identifier: Apache-2.0
r"""Convert the weights that MulCon's authors released into one checkpoint.

The checkpoint fits the model of ``configs/mlcl_r101_coco.py``, to evaluate or to start
step 2 from::

    mlcl mulcon-weights DOWNLOADED mulcon.pth \
        --tag ema_epoch_15 --ann-file data/coco/annotations/instances_val2014.json
    mlcl test configs/mlcl_r101_coco.py mulcon.pth

``mlcl_plugin/converters/mulcon_weights.py`` describes the released files.

The files number the labels but do not name them. The labels of the checkpoint must have
the order of the dataset that it is used with. ``CocoMultiLabel`` orders them by their
category id; ``--ann-file``, a COCO annotation file, gives that order.

The order in the files is **assumed** to be alphabetical
(``mlcl_plugin/converters/mulcon_label_order.py``). An mAP near chance means that it is
not.
It can be given as ``--categories``, a JSON file ``{name: index}`` such as the
``category.json`` of the lists that the weights were trained with.
"""

import argparse
import sys
from pathlib import Path

from ..command_line import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Convert the weights that the authors of MulCon released into a checkpoint for '
        'configs/mlcl_r101_coco.py'
    )
    parser.examples = (
        'downloaded mulcon.pth --tag ema_epoch_15 --ann-file instances_val2014.json',
        'downloaded mulcon.pth --tag ema_epoch_15 --ann-file instances_val2014.json '
        '--categories category.json',
    )
    parser.add_check(check)
    parser.add_argument('src_dir', help='the folder of the released files')
    parser.add_argument('out', help='the checkpoint to write')
    parser.add_argument(
        '--tag',
        required=True,
        help='the start of the file names, e.g. ema_epoch_15',
    )
    parser.add_argument(
        '--ann-file',
        help='COCO annotation file of the dataset, e.g. instances_val2014.json; labels '
        'are put into the order of its category ids',
    )
    parser.add_argument(
        '--categories',
        help='JSON file {name: index} of the order of labels in the weights; with '
        '--ann-file. Without it that order is assumed to be alphabetical, which the '
        'weights cannot confirm: an mAP near chance means another order',
    )


def check(args: argparse.Namespace) -> None:
    """Check --categories and --ann-file together."""
    if args.categories is not None and args.ann_file is None:
        raise ValueError('--categories needs --ann-file')


def run(args: argparse.Namespace) -> int:
    """Convert what the command line names."""
    import torch

    from ..converters.mulcon_weights import convert

    if args.ann_file is None:
        print(
            'mulcon_to_mlcl: without --ann-file the labels keep the order of the '
            'weights, which for COCO is not that of CocoMultiLabel.',
            file=sys.stderr,
        )
    checkpoint, summary = convert(
        args.src_dir, args.tag, args.categories, args.ann_file
    )
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, args.out)
    print(summary)
    print(f'Wrote {args.out}')
    return 0
