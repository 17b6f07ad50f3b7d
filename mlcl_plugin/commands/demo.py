# SPDX-License-Identifier: Apache-2.0
"""Show a page in the browser: drop a photograph, see its labels and why."""

import argparse
from pathlib import Path

from ..command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_trust_options,
    number,
)

# Those of mlcl_plugin.web_demo.
MAX_MEGABYTES = 20
MAX_PIXELS = 50_000_000


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Serve a page to browsers on this machine. Drop a photograph there: it shows '
        'the labels with their scores, where the model looked for each, and the '
        'training photographs that are most like it. Without a config, the model that '
        'comes with the package finds the 20 labels of PASCAL VOC. Ctrl-C ends it'
    )
    parser.flags = TRUST_FLAGS | {
        'host': '--host',
        'port': '--port',
        'images': '--images',
        'decisions': '--decisions',
        'device': '--device',
        'max_pixels': '--max-pixels',
    }
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.examples = (
        '',
        '--port 0 --images data/VOCdevkit/VOC2007/JPEGImages',
        'mlcl_efflite0_voc07 model.pth --decisions decisions.json',
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='config file, or the name of a recipe (`mlcl models` lists them)',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file (default: the weights that come with the recipe)',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at; 0.0.0.0 lets everybody on the network use the page '
        '(default: %(default)s, this machine alone)',
    )
    parser.add_argument(
        '--port',
        type=number(int, least=0, most=65535),
        default=7860,
        help='port to listen at; 0 takes one that is free (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        type=Path,
        metavar='FOLDER',
        help='folder of the training photographs, to show those that are alike '
        '(default: show their names)',
    )
    parser.add_argument(
        '--decisions',
        metavar='FILE',
        help='thresholds of mlcl thresholds (default: those that come with the model)',
    )
    parser.add_argument(
        '--max-megabytes',
        type=number(float, least=0.001),
        default=MAX_MEGABYTES,
        help='largest file that is taken (default: %(default)s)',
    )
    parser.add_argument(
        '--max-pixels',
        type=number(int, least=1),
        default=MAX_PIXELS,
        help='most pixels, width times height, of a photograph (default: %(default)s)',
    )
    parser.add_argument('--device', help='device (default: a GPU, if there is one)')
    add_trust_options(parser, labels=False)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from ..apis import MultiLabelInferencer
    from ..digits_demo.parts import photograph
    from ..engine import allow_unsafe_checkpoints, keep_memory
    from ..inference import load_model_config
    from ..web_demo.panels import PanelWriter
    from ..web_demo.server import serve
    from ..web_demo.uploads import MEGABYTE, Limits
    from ..web_demo.viewer import PhotographViewer
    from ..weights import SHIPPED_MODEL

    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)

    def make_writer() -> PanelWriter:
        cfg, weights = load_model_config(args.config or SHIPPED_MODEL)
        checkpoint = args.checkpoint or cfg.get('load_from') or weights
        if checkpoint is None:
            raise ValueError(
                f'No weights come with {args.config}: name a checkpoint behind it. '
                '`mlcl models` shows which recipes have weights.'
            )
        inferencer = MultiLabelInferencer(
            cfg,
            checkpoint,
            args.device,
            decisions=args.decisions,
            max_pixels=args.max_pixels,
        )
        limits = Limits(round(args.max_megabytes * MEGABYTE), args.max_pixels)
        return PanelWriter(PhotographViewer(inferencer, limits), args.images)

    serve(make_writer, args.host, args.port, photograph())
    return 0
