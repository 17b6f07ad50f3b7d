# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as ONNX, pt2 or safetensors, after a comparison with torch."""

import argparse

from ..command_line import (
    TRUST_FLAGS,
    CommandParser,
    add_cfg_options,
    add_trust_options,
    number,
)

FLAGS = TRUST_FLAGS | {
    name: '--' + name.replace('_', '-')
    for name in (
        'attention',
        'float16',
        'format',
        'images',
        'int8',
        'overwrite',
        'with_runtime',
    )
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Write a trained model as a file, with the names of its labels, the '
        'preparation of images and its thresholds. The file is written only if its '
        'scores on real images are those of torch, up to 1e-4.'
    )
    parser.flags = FLAGS
    parser.examples = (
        'mlcl_efflite0_voc07 model.pth model.onnx --format onnx --with-runtime',
        'mlcl_efflite0_voc07 model.pth small.onnx --format onnx --int8 photos --map',
    )
    parser.add_argument('config', help='config file path, or the name of a model')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', help='the file to write')
    parser.add_argument(
        '--format',
        choices=['onnx', 'pt2', 'safetensors'],
        required=True,
        help='ONNX, a program of torch.export, or weights with their config',
    )
    parser.add_argument(
        '--decisions',
        help='file with a threshold for each label, and perhaps temperatures '
        "(default: the threshold of the model's head)",
    )
    parser.add_argument(
        '--attention',
        action='store_true',
        help='let the model also give where the network looks for each label',
    )
    parser.add_argument(
        '--int8',
        metavar='IMAGES',
        help='let an ONNX file compute with 8-bit numbers, whose scales are found on '
        'the photographs of this folder',
    )
    parser.add_argument(
        '--float16',
        action='store_true',
        help='let a safetensors file store weights in half precision: half the size',
    )
    parser.add_argument(
        '--map',
        action='store_true',
        help="measure the mAP of the file on the config's test dataset",
    )
    parser.add_argument(
        '--images',
        help='folder of photographs to compare on (default: those of the test dataset)',
    )
    parser.add_argument(
        '--num-images',
        type=number(int, least=1),
        default=32,
        help='number of photographs to compare on (default: 32)',
    )
    parser.add_argument(
        '--with-runtime',
        action='store_true',
        help='also write mlcl_runtime.py, which runs an ONNX file without torch',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace files of these names'
    )
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        '--classes',
        help='file with the names of the labels, one per line (default: those in the '
        'checkpoint, or of the test dataset of the config)',
    )
    names.add_argument(
        '--number-classes', action='store_true', help='call the labels 0, 1, 2, ...'
    )
    add_cfg_options(parser)
    add_trust_options(parser, labels=False)


def run(args: argparse.Namespace) -> int:
    """Write the file that the command line asks for."""
    from ..engine import allow_unsafe_checkpoints, keep_memory, merge_options
    from ..export import export_model
    from ..inference import load_model_config
    from ..names_file import read_names

    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg, _ = load_model_config(args.config)
    merge_options(cfg, args.cfg_options, used_steps=())
    classes = 'numbers' if args.number_classes else None
    exported = export_model(
        cfg,
        args.checkpoint,
        args.out,
        args.format,
        decisions=args.decisions,
        attention=args.attention,
        int8=args.int8,
        float16=args.float16,
        images=args.images,
        num_images=args.num_images,
        classes=classes if args.classes is None else read_names(args.classes),
        measure=args.map,
        with_runtime=args.with_runtime,
        overwrite=args.overwrite,
    )
    print('\n'.join(exported.lines()))
    return 0
