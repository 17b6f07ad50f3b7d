# SPDX-License-Identifier: Apache-2.0
"""Find the labels of images with a trained model, one line of JSON an image."""

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

# MMPretrain prints while it is imported; stdout is for results alone.
with redirect_stdout(sys.stderr):
    from mmengine.config import DictAction
    from mmengine.fileio import list_from_file

    from mlcl_plugin.apis.multi_label_inferencer import (
        MultiLabelInferencer,
        load_model_config,
    )
    from mlcl_plugin.engine import keep_memory

MAX_NAMED = 20
"""Images at fault that are named at the end."""


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Find the labels of images: writes one line of JSON for each, with '
        'its path and the labels found, or the error if it cannot be read'
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image files, folders of images, or patterns in quotes',
    )
    parser.add_argument('config', help='config file path, or the name of a model')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        type=Path,
        help='the file to write the lines to, e.g. labels.jsonl (default: stdout)',
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
        help='leave out images that have a line in --out, and add to it',
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        '--thr',
        type=float,
        help="score from which on a label is found (default: the model's own, 0.5 "
        'unless its config says otherwise)',
    )
    rule.add_argument(
        '--decisions',
        help='file with a threshold for each label, and perhaps temperatures, from '
        'tools/analysis_tools/thresholds.py',
    )
    parser.add_argument(
        '--top-k',
        type=int,
        help='find the k labels with the highest scores at most; with --thr 0, exactly '
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
        type=int,
        help="images at a time (default: that of the config's test dataloader)",
    )
    parser.add_argument(
        '--workers',
        type=int,
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
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        '--classes',
        help='file with the names of the labels, one a line (default: those in the '
        'checkpoint, or of the test dataset of the config)',
    )
    names.add_argument(
        '--number-classes', action='store_true', help='call the labels 0, 1, 2, ...'
    )
    parser.add_argument(
        '--strict',
        action='store_true',
        help='exit with 1 if any image cannot be read, not only if none can',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override in the config, as xxx=yyy, also nested and in '
        'lists: key="[a,b]" or key="[(a,b),(c,d)]", quoted and without blanks',
    )
    # So that options may stand between the images and the config.
    args = parser.parse_intermixed_args(args)
    if args.resume and args.out is None:
        parser.error('--resume needs --out FILE')
    return args


def done_images(path: Path) -> set[str]:
    """Images that have a line in a file. A last line that breaks off is removed.

    Raises:
        ValueError: If the file holds something else.
    """
    done: set[str] = set()
    if not path.exists():
        return done
    with path.open('rb+') as file:
        end = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b'\n'):
                break
            try:
                done.add(json.loads(line)['image'])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f'Line {number} of {path} is no result of this tool. Name another '
                    'file as --out.'
                ) from error
            end += len(line)
        file.truncate(end)
    return done


def printable(name: str) -> str:
    """A name in one line, whatever it is made of."""
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def to_line(result: dict, encoding: str) -> str:
    """A result as a line of JSON that the encoding can hold."""
    line = json.dumps(result, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        # Names of files need not be text.
        line = json.dumps(result)
    return line + '\n'


def infer(args: argparse.Namespace, stdout: TextIO) -> tuple[int, int]:
    """Write what is asked for.

    Returns:
        tuple[int, int]: Numbers of images, and of those that cannot be read.
    """
    replaces = args.out is not None and args.out.exists()
    if replaces and not (args.overwrite or args.resume):
        raise FileExistsError(
            f'{args.out} exists. Add --resume to go on, or --overwrite.'
        )
    cfg, weights = load_model_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    classes = 'numbers' if args.number_classes else None
    if args.classes is not None:
        classes = [name for name in list_from_file(args.classes) if name]
    inferencer = MultiLabelInferencer(
        cfg,
        args.checkpoint,
        args.device,
        precision=args.precision,
        thr=args.thr,
        decisions=args.decisions,
        top_k=args.top_k,
        classes=classes,
    )
    done = done_images(args.out) if args.resume else set()
    results = inferencer.stream(
        args.inputs,
        batch_size=args.batch_size,
        num_workers=args.workers,
        recursive=args.recursive,
        return_scores=args.all_scores,
        return_attention=args.attention,
        out_dir=args.out_dir,
        overwrite=args.overwrite or args.resume,
        skip=done,
        # In a log it would be a nuisance.
        show_progress=sys.stderr.isatty(),
    )
    # Last, when nothing is wrong with all the rest.
    out = stdout
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        out = args.out.open('a' if args.resume else 'w', buffering=1, encoding='utf-8')
    number, unreadable, named = 0, 0, []
    try:
        for result in results:
            number += 1
            if 'error' in result:
                unreadable += 1
                if unreadable <= MAX_NAMED:
                    named.append(f'  {printable(result["image"])}: {result["error"]}')
            out.write(to_line(result, out.encoding or 'utf-8'))
    finally:
        if out is not stdout:
            out.close()
    report(args, number, len(done), named, unreadable)
    return number, unreadable


def report(
    args: argparse.Namespace,
    number: int,
    done: int,
    named: list[str],
    unreadable: int,
) -> None:
    """Say what was done, and what could not be."""
    text = f'{number - unreadable:,} of {number:,} images read'
    if done:
        text += f', {done:,} had a line before'
    for where in (args.out, args.out_dir):
        text += f', {where}' if where is not None else ''
    print(text, file=sys.stderr)
    if unreadable:
        print(f'{unreadable:,} cannot be read:', *named, sep='\n', file=sys.stderr)
    if unreadable > len(named):
        print(
            f'  and {unreadable - len(named):,} more, which have an "error" in their '
            'lines',
            file=sys.stderr,
        )


def main(args: list[str] | None = None) -> int:
    """Find the labels of the images that the command line names.

    Returns:
        int: The exit code: 1 if no image can be read, or with --strict not all; 2 if
        the command line, the model or a setting is at fault.
    """
    args = parse_args(args)
    keep_memory()
    stdout = sys.stdout
    try:
        # MMEngine prints what it loads; stdout is for lines alone.
        with redirect_stdout(sys.stderr):
            number, unreadable = infer(args, stdout)
        stdout.flush()
    except BrokenPipeError:
        # Whoever read the lines has had enough. What is buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return 1
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        print(f'infer: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    failed = unreadable > 0 if args.strict else 0 < number == unreadable
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
