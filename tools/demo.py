# SPDX-License-Identifier: Apache-2.0
"""Train, evaluate and show a small model from scratch within minutes.

Each part is a command that is printed, so that it can be called again alone.
"""

import argparse
import shlex
import sys
from pathlib import Path

from mlcl_plugin.command_line import one_line_errors
from mlcl_plugin.demo.commands import relative
from mlcl_plugin.demo.parts import RESULTS, Demo, DemoOptions

TOOLS = Path(__file__).resolve().parent
CONFIG = TOOLS.parent / 'configs/mlcl_resnet_digits.py'
FLAGS = {'resume': '--resume'}


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train, evaluate and show a small model on scenes of handwritten '
        'digits: makes the scenes, trains both steps, trains step 2 again without the '
        'contrastive loss for comparison, evaluates all three models, and writes '
        'results.md, results.json and predictions.png.',
        epilog='A second call keeps the scenes and trains again in the same folders; '
        'older logs are kept. With --resume it continues where an interrupted call '
        'stopped, and does not train again what is finished.',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder for models, logs and results (default: %(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data/digit_scenes'),
        help='folder for the scenes (default: %(default)s)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the trainings; the scenes stay the same (default: 0)',
    )
    parser.add_argument(
        '--resume', action='store_true', help='continue an interrupted call'
    )
    for name in ('num_train', 'num_val'):
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            type=int,
            default=getattr(DemoOptions, name),
            help='number of scenes (default: %(default)s)',
        )
    parser.add_argument(
        '--num-images',
        type=int,
        default=DemoOptions.num_images,
        help='number of images in predictions.png (default: %(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings to override in the config, for all trainings and tests',
    )
    return parser.parse_args(args)


def title(text: str) -> None:
    print(f'\n=== {text}', flush=True)


def main(args: list[str] | None = None) -> None:
    options = DemoOptions(**vars(parse_args(args)))
    command = shlex.join(['python', relative(TOOLS / 'demo.py'), *sys.argv[1:]])
    with one_line_errors('demo', FLAGS):
        demo = Demo(options, TOOLS, CONFIG)
        title('1 of 6: make scenes')
        demo.make_scenes()
        title('2 of 6: train both steps')
        demo.train()
        title('3 of 6: train step 2 without contrast, for comparison')
        demo.train_control()
        title('4 of 6: evaluate')
        results = demo.evaluate()
        title('5 of 6: draw predictions')
        demo.show()
        title('6 of 6: results')
        print(f'\n{demo.report(results, command)}')
    for name in RESULTS:
        print(relative(options.work_dir / name))


if __name__ == '__main__':
    main()
