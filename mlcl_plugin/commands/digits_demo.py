# SPDX-License-Identifier: Apache-2.0
"""Answer for a photograph, then train, evaluate and show a small model from scratch.

Each part is a command that is printed, so that it can be called again alone.
"""

import argparse
import shlex
from pathlib import Path

from ..command_line import CommandParser

NEXT = (
    'For photographs of your own in the browser: mlcl demo (it needs gradio: pip '
    "install 'gradio>=6.31,<7')"
)
# Scenes for training and for validation.
NUMBERS = {'num_train': 5000, 'num_val': 1000}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Find the labels of a photograph by the model that comes with the package. '
        'Then train, evaluate and show a small model on scenes of digits: makes '
        'the scenes, trains both steps, trains step 2 again without the contrastive '
        'loss for comparison, evaluates all three models, and writes results.md, '
        'results.json and predictions.png.'
    )
    parser.epilog = (
        'A second call keeps the scenes and trains again in the same folders; older '
        'logs are kept. With --resume it continues where an interrupted call stopped, '
        'and does not train again what is finished.'
    )
    parser.flags = {'resume': '--resume'}
    parser.examples = ('', '--work-dir work_dirs/demo2 --seed 1 --resume')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder for models, logs and results (default: %(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data/digit_scenes_48px'),
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
    for name, default in NUMBERS.items():
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            type=int,
            default=default,
            help='number of scenes (default: %(default)s)',
        )
    parser.add_argument(
        '--num-images',
        type=int,
        default=10,
        help='number of images in predictions.png (default: %(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings to override in the config, for all trainings and tests',
    )


def run(args: argparse.Namespace) -> int:
    """Run the parts of the demo, one after the other."""
    from dataclasses import fields

    from ..digits_demo.commands import relative
    from ..digits_demo.parts import RESULTS, Demo, DemoOptions

    names = [field.name for field in fields(DemoOptions)]
    options = DemoOptions(**{name: getattr(args, name) for name in names})
    demo = Demo(options)
    title('1 of 7: the labels of a photograph')
    demo.answer()
    title('2 of 7: make scenes')
    demo.make_scenes()
    title('3 of 7: train both steps')
    demo.train()
    title('4 of 7: train step 2 without contrast, for comparison')
    demo.train_control()
    title('5 of 7: evaluate')
    results = demo.evaluate()
    title('6 of 7: draw predictions')
    demo.show()
    title('7 of 7: results')
    print(f'\n{demo.report(results, shlex.join(["mlcl", "digits-demo", *args.words]))}')
    for name in RESULTS:
        print(relative(options.work_dir / name))
    print(f'\n{NEXT}')
    return 0


def title(text: str) -> None:
    """Print the title of a part."""
    print(f'\n=== {text}', flush=True)
