# SPDX-License-Identifier: Apache-2.0
"""Train, evaluate and show a small model from scratch within minutes.

Each part is a command that is printed, so that it can be called again alone.
"""

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config

from mlcl_plugin.engine.environment import (
    count_cores,
    describe_processor,
    installed_versions,
)
from mlcl_plugin.engine.pointers import FINISHED, LAST, STARTED_FROM
from mlcl_plugin.text_table import text_table

TOOLS = Path(__file__).resolve().parent
CONFIG = TOOLS.parent / 'configs/mlcl_resnet_digits.py'

# Scenes for the network of the config: hard enough that it makes mistakes, easy enough
# that it learns within minutes. See make_digit_scenes.py --help.
SCENES = {
    'num-train': 5000,
    'num-val': 1000,
    'image-size': 64,
    'max-digits': 4,
    'min-scale': 0.28,
    'max-scale': 0.45,
    'clutter': 3,
    'noise': 0.03,
    'min-contrast': 0.4,
    'seed': 0,
}

# The models to compare: title, and folder of the training step in the work directory.
MODELS = {
    'step1': ('step 1', 'contrast/step1'),
    'step2_without_contrast': ('step 2 without contrast', 'no_contrast/step2'),
    'step2': ('step 2 with contrast', 'contrast/step2'),
}
METRICS = {
    'mAP': 'mAP',
    'CF1': 'CF1',
    'OF1': 'OF1',
    'top3_CF1': 'top-3 CF1',
    'top3_OF1': 'top-3 OF1',
}
# The results depend on their versions. The scans of digits come with scikit-learn.
PACKAGES = (
    'torch',
    'onedl-mmpretrain',
    'onedl-mmengine',
    'onedl-mmcv',
    'mmpretrain',
    'mmengine',
    'mmcv-lite',
    'mlcl_plugin',
    'scikit-learn',
)


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
    for name in ('num-train', 'num-val'):
        parser.add_argument(
            f'--{name}',
            type=int,
            default=SCENES[name],
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
    return parser.parse_args(args)


def relative(path: Path) -> str:
    """Write a path in the shortest way from the current folder."""
    return min(os.path.relpath(path), str(path), key=len)


def call(tool: str, *args) -> None:
    """Run one of the tools and print the command; end the program if it fails.

    Args:
        tool (str): The tool, relative to ``tools/``.
        *args: Its arguments; paths are shortened, None is left out.
    """
    args = [
        relative(a) if isinstance(a, Path) else str(a) for a in args if a is not None
    ]
    script = relative(TOOLS / tool)
    print(f'\n$ {shlex.join(["python", script, *args])}', flush=True)
    code = subprocess.run([sys.executable, script, *args]).returncode
    if code:
        sys.exit(f'demo: {script} failed (exit code {code}), see above.')


def title(text: str) -> None:
    print(f'\n=== {text}', flush=True)


class Demo:
    """The parts of the demo, in their order.

    Args:
        args (argparse.Namespace): The command line.
    """

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.work_dir = args.work_dir
        self.called = time.time()
        options = [f'randomness.seed={args.seed}']
        # The config has this folder by default.
        if Path(Config.fromfile(CONFIG).data_root) != args.data_root:
            options += [
                f'{split}_dataloader.dataset.data_root={args.data_root}'
                for split in ('train', 'val', 'test')
            ]
        self.options = options + args.cfg_options
        self.started = self._start()

    def _start(self) -> float:
        """Note when this demo started, or read when the resumed one did.

        Returns:
            float: Seconds since the epoch.
        """
        path = self.work_dir / 'demo.json'
        scenes = self.args.num_train, self.args.num_val
        settings = dict(options=self.options, scenes=list(scenes))
        if self.args.resume and path.is_file():
            noted = json.loads(path.read_text())
            if noted['settings'] != settings:
                sys.exit(
                    f'demo: {self.work_dir} was started with {noted["settings"]}, got '
                    f'{settings}. Resume with the same options, or start again without '
                    '--resume.'
                )
            return noted['started']
        started = self.called
        self.args.resume = False
        self.work_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(started=started, settings=settings)) + '\n')
        # A later --resume must not take the models of an older demo for its own, and
        # results must belong to the models beside them.
        for _, folder in MODELS.values():
            for pointer in (FINISHED, LAST, STARTED_FROM):
                (self.work_dir / folder / pointer).unlink(missing_ok=True)
        for name in ('results.md', 'results.json', 'predictions.png'):
            (self.work_dir / name).unlink(missing_ok=True)
        return started

    def folder(self, model: str) -> Path:
        """The folder of a model's training step."""
        return self.work_dir / MODELS[model][1]

    def finished(self, model: str) -> bool:
        """Whether a model is trained already and is not to be trained again."""
        return self.args.resume and (self.folder(model) / FINISHED).is_file()

    def checkpoint(self, model: str) -> Path:
        """The last checkpoint of a trained model.

        Not the best one: it is chosen on val, where the models are compared.
        """
        return Path((self.folder(model) / FINISHED).read_text())

    def make_scenes(self) -> None:
        scenes = SCENES | {
            'num-train': self.args.num_train,
            'num-val': self.args.num_val,
        }
        options = [f'--{name}={value}' for name, value in scenes.items()]
        call('dataset_converters/make_digit_scenes.py', self.args.data_root, *options)

    def train(self) -> None:
        if self.finished('step2'):
            print('finished already')
            return
        call(
            'train.py',
            CONFIG,
            *('--work-dir', self.work_dir / 'contrast'),
            *(['--resume'] if self.args.resume else []),
            *('--cfg-options', *self.options),
        )

    def train_control(self) -> None:
        """Train step 2 from the same weights on the same views without the contrast."""
        model = 'step2_without_contrast'
        if self.finished(model):
            print('finished already')
            return
        call(
            'train.py',
            CONFIG,
            *('--work-dir', self.work_dir / 'no_contrast'),
            *(['--resume'] if self.args.resume else []),
            '--cfg-options',
            f'load_from={relative(self.checkpoint("step1"))}',
            'steps.step2.model.head.loss_contrastive=None',
            *self.options,
        )

    def evaluate(self) -> dict[str, dict]:
        """Evaluate all models on the validation scenes.

        Returns:
            dict: For each model its metrics and the minutes of its step.
        """
        results = {}
        for model in MODELS:
            folder = self.work_dir / 'test' / model
            out = folder / 'metrics.json'
            folder.mkdir(parents=True, exist_ok=True)
            call(
                'test.py',
                CONFIG,
                self.checkpoint(model),
                *('--work-dir', folder, '--out', out, '--out-item', 'metrics'),
                *('--cfg-options', *self.options),
            )
            metrics = json.loads(out.read_text())
            results[model] = {key: metrics[f'multi-label/{key}'] for key in METRICS}
            results[model]['minutes'] = self.minutes(model)
        return results

    def minutes(self, model: str) -> float:
        """Minutes of training and evaluation of a step, over all its sessions."""
        total = 0.0
        for log in self.folder(model).glob('*/*.log'):
            # MMEngine names the folder of a session by its start.
            start = time.mktime(time.strptime(log.parent.name, '%Y%m%d_%H%M%S'))
            # Names are in whole seconds.
            if start >= int(self.started):
                total += log.stat().st_mtime - start
        return total / 60

    def show(self) -> None:
        call(
            'visualizations/vis_label_attention.py',
            CONFIG,
            self.checkpoint('step2'),
            *('--out', self.work_dir / 'predictions.png'),
            *('--num-images', self.args.num_images),
            *('--cfg-options', *self.options),
        )

    def report(self, results: dict[str, dict]) -> str:
        """Write results.json and results.md.

        Returns:
            str: The content of results.md.
        """
        content = dict(
            models=results,
            scenes=dict(train=self.args.num_train, val=self.args.num_val),
            seed=self.args.seed,
            command=shlex.join(['python', relative(TOOLS / 'demo.py'), *sys.argv[1:]]),
            date=datetime.datetime.now().astimezone().isoformat(timespec='minutes'),
            minutes=(time.time() - self.called) / 60,
            resumed=self.args.resume,
            hardware=describe_hardware(),
            versions=installed_versions(PACKAGES),
        )
        (self.work_dir / 'results.json').write_text(
            json.dumps(content, indent=2) + '\n'
        )
        text = format_report(content)
        (self.work_dir / 'results.md').write_text(text)
        return text


def describe_hardware() -> str:
    """Describe the processor, how much of it is used, and the GPUs."""
    parts = [
        describe_processor().name,
        f'{count_cores()} cores',
        f'{torch.get_num_threads()} threads',
    ]
    gpus = range(torch.cuda.device_count())
    parts += [torch.cuda.get_device_name(i) for i in gpus] or ['no GPU']
    return ', '.join(parts)


def format_report(content: dict) -> str:
    """Write results as Markdown.

    Args:
        content (dict): The content of results.json.

    Returns:
        str: The text, with a row per model in its table.
    """
    table = text_table(
        ['', *METRICS.values(), 'minutes'],
        [
            [
                MODELS[model][0],
                *(f'{values[key]:.2f}' for key in METRICS),
                f'{values["minutes"]:.1f}',
            ]
            for model, values in content['models'].items()
        ],
    )
    scenes, versions = content['scenes'], content['versions']
    return '\n'.join(
        [
            '# Demo: scenes of handwritten digits',
            '',
            table,
            '',
            f'Percent on {scenes["val"]} validation scenes, of the EMA weights of the '
            'last epoch. Both runs of step 2 start from the weights of step 1 and see '
            'the same views in the same order. Minutes are those of the step alone. '
            'One seed says little about which of two models with close values is '
            'better.',
            '',
            f'- command: `{content["command"]}`',
            f'- seed: {content["seed"]}',
            f'- scenes: {scenes["train"]} for training, {scenes["val"]} for validation',
            f'- date: {content["date"]}, after {content["minutes"]:.1f} minutes in all'
            + (' since it was resumed' if content['resumed'] else ''),
            f'- hardware: {content["hardware"]}',
            '- versions: ' + ', '.join(f'{k} {v}' for k, v in versions.items()),
            '',
        ]
    )


def main(args: list[str] | None = None) -> None:
    demo = Demo(parse_args(args))
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
    print(f'\n{demo.report(results)}')
    for name in ('results.md', 'results.json', 'predictions.png'):
        print(relative(demo.work_dir / name))


if __name__ == '__main__':
    main()
