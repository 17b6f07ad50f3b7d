# SPDX-License-Identifier: Apache-2.0
"""Find the labels of images with a trained model, one line of JSON per image."""

import argparse
import sys
from collections.abc import Container
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_cfg_options,
    add_trust_options,
    number,
)
from ..image_suffixes import IMAGE_SUFFIXES, OTHER_IMAGES
from ..recipes import SUFFIXES, is_recipe

if TYPE_CHECKING:
    from ..inference.result_lines import Summary

FLAGS = TRUST_FLAGS | {
    name: f'--{name}'
    for name in ('engine', 'launcher', 'overwrite', 'precision', 'recursive', 'resume')
}
# That of LoadImage.
MAX_PIXELS = 178_956_970

TABLES = ('.csv', '.feather', '.pq', '.tsv', '.xlsx')
"""Suffixes of forms that the answers are not written in."""


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Find the labels of images: writes one line of JSON for each, with its path '
        'and the labels found, or the error if it cannot be read. Without a config, '
        'the model that comes with the package finds the 20 labels of PASCAL VOC'
    )
    parser.flags = FLAGS
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    # So that options may stand between the images and the config.
    parser.intermixed = True
    parser.examples = (
        'photo.jpg',
        'photo.jpg mlcl_efflite0_voc07 model.pth --thr 0.3',
        'photos/ mlcl_efflite0_voc07 model.pth --out labels.jsonl --out-dir pictures',
    )
    parser.add_check(check)
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image files, folders of images, or patterns in quotes',
    )
    # "inputs" takes all words, and `name_model` divides them.
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
        '--out',
        type=Path,
        help='the file to write the lines to, e.g. labels.jsonl (default: stdout); '
        'with a name that ends with .parquet, a table, and the lines beside it',
    )
    parser.add_argument(
        '--out-dir', type=Path, help='the folder to write annotated pictures to'
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        '--overwrite',
        action='store_true',
        help='replace what is in --out and --out-dir',
    )
    existing.add_argument(
        '--resume',
        action='store_true',
        help='leave out images that have labels in --out, and add to it; model and '
        'options must be the same',
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        '--thr',
        type=number(float, least=0, most=1),
        help="score from which on a label is found (default: the model's own, 0.5 "
        'unless its config says otherwise)',
    )
    rule.add_argument(
        '--decisions',
        help='file with a threshold for each label, and perhaps temperatures, from '
        'mlcl thresholds',
    )
    parser.add_argument(
        '--top-k',
        type=number(int, least=1),
        help='find at most the k labels with the highest scores; with --thr 0, exactly '
        'these',
    )
    parser.add_argument(
        '--all-scores', action='store_true', help='write the scores of all labels too'
    )
    parser.add_argument(
        '--attention',
        action='store_true',
        help='write, and draw in --out-dir, where the network looks for each label '
        'found',
    )
    parser.add_argument(
        '--recursive', action='store_true', help='also take folders inside of folders'
    )
    parser.add_argument(
        '--batch-size',
        type=number(int, least=1),
        help="images at a time (default: that of the config's test dataloader)",
    )
    parser.add_argument(
        '--workers',
        type=number(int, least=0),
        default=0,
        help='processes that read images beside this one (default: 0, read them here)',
    )
    parser.add_argument('--device', help='device (default: a GPU, if there is one)')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        '--amp',
        action='store_const',
        dest='precision',
        const='amp',
        default='float32',
        help='automatic mixed precision: bfloat16 on CPUs, float16 on GPUs',
    )
    precision.add_argument(
        '--precision',
        choices=['float32', 'bfloat16', 'float16'],
        default='float32',
        help='numbers to compute with (default: float32)',
    )
    parser.add_argument(
        '--engine',
        choices=['torch', 'onnxruntime'],
        default='torch',
        help='what computes the scores (default: torch); ONNX Runtime is faster on a '
        'CPU, after some seconds',
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
    parser.add_argument(
        '--max-pixels',
        type=number(int, least=1),
        help='most pixels, width times height, of an image that is read (default: that '
        f'of the test pipeline, {MAX_PIXELS} unless its LoadImage says otherwise)',
    )
    parser.add_argument(
        '--strict',
        action='store_true',
        help='exit with 1 if any image cannot be read, not only if none can',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch'],
        default='none',
        help='share the images among the processes that torchrun has started; needs '
        '--out (tools/dist_infer.sh)',
    )
    add_cfg_options(parser)
    add_trust_options(parser)


def check(args: argparse.Namespace) -> None:
    """Check --resume and --out, and find out which words name the model."""
    if args.resume and args.out is None:
        raise ValueError('--resume needs --out FILE')
    if args.launcher != 'none' and args.out is None:
        raise ValueError('--launcher needs --out FILE')
    if args.out is not None and args.out.suffix.lower() in TABLES:
        raise ValueError(
            f'--out is written as JSON Lines or Parquet, got {args.out}: name it '
            f'{args.out.with_suffix(".jsonl").name}'
        )
    args.inputs, args.config, args.checkpoint = divide(args.inputs)


def divide(words: list[str]) -> tuple[list[str], str | None, str | None]:
    """Divide arguments into images, config and checkpoint.

    The last word decides: a config or the name of a recipe comes with its own weights;
    after an image, a folder or a pattern there is no model; anything else is a
    checkpoint, with its config before it.

    Args:
        words (list[str]): At least one word.

    Returns:
        tuple: The images, and the config and the checkpoint where they are named.

    Raises:
        ValueError: If there are no images, or a checkpoint has no config.

    Examples:
        >>> divide(['a.jpg', 'b.jpg'])
        (['a.jpg', 'b.jpg'], None, None)
        >>> divide(['a.jpg', 'my.py', 'my.pth'])
        (['a.jpg'], 'my.py', 'my.pth')
    """
    *rest, last = words
    if is_config(last):
        if not rest:
            raise ValueError(f'{last} is a config: name images before it')
        return rest, last, None
    if is_image(last):
        return words, None, None
    if len(rest) >= 2:
        return rest[:-1], rest[-1], last
    if not rest:
        # Its reader says what is wrong with it.
        return words, None, None
    if is_config(rest[0]):
        raise ValueError(f'name images before {rest[0]} {last}')
    raise ValueError(
        f'{last} is no image, folder, pattern or config. If it is a checkpoint, name '
        f'its config before it: {rest[0]} CONFIG {last}'
    )


def is_config(word: str) -> bool:
    """Whether a word is the file of a config or the name of a recipe."""
    path = Path(word)
    return not path.is_dir() and (path.suffix in SUFFIXES or is_recipe(word))


def is_image(word: str) -> bool:
    """Whether a word looks like an image, a folder of images or a pattern."""
    path = Path(word)
    suffixes = (*IMAGE_SUFFIXES, *OTHER_IMAGES)
    return (
        path.is_dir() or bool(set(word) & set('*?')) or path.suffix.lower() in suffixes
    )


def infer(args: argparse.Namespace, stdout: TextIO) -> 'Summary':
    """Write what is asked for, and say on stderr what was done."""
    from ..engine import end_with_launcher, merge_options
    from ..inference import MultiLabelInferencer, load_model_config
    from ..inference.made_with import made_with
    from ..inference.result_lines import ResultFile, write_results
    from ..inference.result_table import SUFFIX, ResultTable
    from ..inference.shared_results import SharedResultFile, join_processes
    from ..names_file import read_names
    from ..weights import SHIPPED_MODEL

    device, file, shared, table = args.device, None, None, None
    lines = args.out
    if lines is not None and lines.suffix.lower() == SUFFIX:
        table = ResultTable(lines, args.overwrite, args.resume)
        lines = table.lines
    if args.launcher == 'pytorch':
        gpu = join_processes()
        device = gpu if device in (None, 'cuda') else device
        shared = SharedResultFile(lines, args.overwrite, args.resume)
    elif args.out is not None:
        file = ResultFile(lines, args.overwrite, args.resume)
    cfg, weights = load_model_config(args.config or SHIPPED_MODEL)
    merge_options(cfg, args.cfg_options, used_steps=())
    cfg.launcher = args.launcher
    end_with_launcher(cfg)
    checkpoint = args.checkpoint or cfg.get('load_from') or weights
    if checkpoint is None:
        raise ValueError(
            f'No weights come with {args.config}: name a checkpoint behind it. `mlcl '
            'models` shows which recipes have weights.'
        )
    classes: str | list[str] | None = 'numbers' if args.number_classes else None
    if args.classes is not None:
        classes = read_names(args.classes)
    inferencer = MultiLabelInferencer(
        cfg,
        checkpoint,
        device,
        precision=args.precision,
        engine=args.engine,
        thr=args.thr,
        decisions=args.decisions,
        top_k=args.top_k,
        classes=classes,
        max_pixels=args.max_pixels,
        allow_other_labels=args.allow_other_labels,
    )
    made = made_with(inferencer, checkpoint, args.all_scores, args.attention)
    done: set[str] = set()
    skip: Container[str] = done
    if shared is not None:
        done, skip = shared.share(made, args.inputs, args.recursive)
    elif file is not None:
        file.check(made)
        skip = done = file.done_images()
    # Of several processes the first one looks whether the folder of pictures is empty.
    follows = False
    if shared is not None and not shared.leads:
        follows = True
        shared.wait()
    results = inferencer.stream(
        args.inputs,
        batch_size=args.batch_size,
        num_workers=args.workers,
        recursive=args.recursive,
        return_scores=args.all_scores,
        return_attention=args.attention,
        out_dir=args.out_dir,
        overwrite=args.overwrite or args.resume or follows,
        skip=skip,
        # A log file should have no progress bar.
        show_progress=sys.stderr.isatty() and not follows,
    )
    if table is not None and not follows:
        table.begin()
    if shared is not None:
        if not follows:
            shared.wait()
        with shared.open(made) as out:
            summary = write_results(results, out)
        summary = shared.finish(made, summary)
        if follows:
            return summary
    else:
        # The file is opened last, so that wrong options do not empty it.
        with nullcontext(stdout) if file is None else file.open(made) as out:
            summary = write_results(results, out)
    if table is not None:
        table.finish()
    outputs = [path for path in (args.out, args.out_dir) if path is not None]
    print(summary.text(len(done), outputs), file=sys.stderr)
    return summary


def run(args: argparse.Namespace) -> int:
    """Find the labels of the images that the command line names.

    Returns:
        int: The exit code: 1 if no image can be read, or with --strict not all.
    """
    from ..engine import allow_unsafe_checkpoints, keep_memory

    keep_memory()
    stdout = sys.stdout
    # MMEngine prints what it loads, but stdout is for results only.
    with redirect_stdout(sys.stderr):
        allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
        summary = infer(args, stdout)
    if args.strict:
        return int(summary.unreadable > 0)
    return int(0 < summary.number == summary.unreadable)
