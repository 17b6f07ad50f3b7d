# SPDX-License-Identifier: Apache-2.0
"""The parts of the demo: scenes, trainings, tests, a picture, a report."""

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..engine import load_config
from ..engine.environment import installed_versions
from ..engine.pointers import (
    FINISHED,
    LAST,
    STARTED_FROM,
    has_pointer,
    read_pointer,
    remove_pointers,
)
from .commands import call_command, relative
from .report import METRICS, MODELS, describe_hardware, format_report

CONFIG = 'mlcl_resnet_digits_48px'
SCENES = {
    'image-size': 48,
    'max-digits': 4,
    'min-scale': 0.32,
    'max-scale': 0.5,
    'clutter': 1,
    'noise': 0.02,
    'min-contrast': 0.45,
    'seed': 0,
}
"""Scenes for the network of the config: hard enough that it makes mistakes, easy enough
that it learns within minutes."""
FOLDERS = {
    'step1': 'contrast/step1',
    'step2_without_contrast': 'no_contrast/step2',
    'step2': 'contrast/step2',
}
"""The folder of each model's training step in the work folder."""
RESULTS = ('results.md', 'results.json', 'predictions.png')
"""The files of the results in the work folder."""
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
"""The results depend on their versions. scikit-learn brings the scans of digits."""


def photograph() -> Path:
    """A photograph of a person in the public domain, among matplotlib's samples."""
    from matplotlib.cbook import get_sample_data

    return Path(get_sample_data('grace_hopper.jpg', asfileobj=False))


@dataclass
class DemoOptions:
    """What to make, and where.

    Attributes:
        work_dir (Path): Folder of models, logs and results.
        data_root (Path): Folder of the scenes.
        seed (int): Seed of the trainings.
        resume (bool): Whether to continue an interrupted demo.
        num_train (int): Number of training scenes.
        num_val (int): Number of validation scenes.
        num_images (int): Number of images in the picture.
        cfg_options (Sequence[str]): ``KEY=VALUE`` for all trainings and tests.
    """

    work_dir: Path
    data_root: Path
    seed: int = 0
    resume: bool = False
    num_train: int = 5000
    num_val: int = 1000
    num_images: int = 10
    cfg_options: Sequence[str] = field(default_factory=list)


class Demo:
    """The parts of the demo, in their order.

    Args:
        options (DemoOptions): What to make.
        config (str): The recipe. Defaults to that of the digits.

    Raises:
        ValueError: If ``resume`` is set and the demo was started with other options.
    """

    def __init__(self, options: DemoOptions, config: str = CONFIG):
        self.options = options
        self.config = config
        self.work_dir = options.work_dir
        self.resume = options.resume
        self.called = time.time()
        cfg_options = [f'randomness.seed={options.seed}']
        # The config has this folder by default.
        if Path(load_config(config).data_root) != options.data_root:
            cfg_options += [
                f'{split}_dataloader.dataset.data_root={options.data_root}'
                for split in ('train', 'val', 'test')
            ]
        self.cfg_options = [*cfg_options, *options.cfg_options]
        self.started = self._start()

    def _start(self) -> float:
        """Note when this demo started, or read when the resumed one did.

        Returns:
            float: Seconds since the epoch.
        """
        path = self.work_dir / 'demo.json'
        scenes = [self.options.num_train, self.options.num_val]
        settings = dict(options=self.cfg_options, scenes=scenes)
        if self.resume and path.is_file():
            noted = json.loads(path.read_text())
            if noted['settings'] != settings:
                raise ValueError(
                    f'{self.work_dir} was started with {noted["settings"]}, got '
                    f'{settings}. Resume with the same options, or start again without '
                    'resume=True.'
                )
            return noted['started']
        started = self.called
        self.resume = False
        self.work_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(started=started, settings=settings)) + '\n')
        # A later resume must not take the models of an older demo for its own, and
        # results must belong to the models beside them.
        for model in MODELS:
            remove_pointers(str(self.folder(model)), FINISHED, LAST, STARTED_FROM)
        for name in RESULTS:
            (self.work_dir / name).unlink(missing_ok=True)
        return started

    def folder(self, model: str) -> Path:
        """The folder of a model's training step."""
        return self.work_dir / FOLDERS[model]

    def finished(self, model: str) -> bool:
        """Whether a model is trained already and is not to be trained again."""
        return self.resume and has_pointer(str(self.folder(model)), FINISHED)

    def checkpoint(self, model: str) -> Path:
        """The last checkpoint of a trained model.

        Not the best one: it is chosen on val, where the models are compared.

        Raises:
            FileNotFoundError: If it is not trained.
        """
        path = read_pointer(str(self.folder(model)), FINISHED)
        if path is None:
            raise FileNotFoundError(f'{self.folder(model)} has no finished training.')
        return Path(path)

    def answer(self) -> None:
        """Find the labels of a photograph by the model that comes with the package."""
        call_command('infer', photograph())

    def make_scenes(self) -> None:
        """Make the scenes, unless they are there."""
        options = [
            f'--num-train={self.options.num_train}',
            f'--num-val={self.options.num_val}',
            *(f'--{name}={value}' for name, value in SCENES.items()),
        ]
        call_command('digits', self.options.data_root, *options)

    def train(self) -> None:
        """Train both steps, unless they are finished."""
        self._train('step2', 'contrast')

    def train_control(self) -> None:
        """Train step 2 from the same weights on the same views without the contrast."""
        self._train(
            'step2_without_contrast',
            'no_contrast',
            f'load_from={relative(self.checkpoint("step1"))}',
            'steps.step2.model.head.loss_contrastive=None',
        )

    def _train(self, last: str, folder: str, *cfg_options: str) -> None:
        if self.finished(last):
            print('finished already')
            return
        call_command(
            'train',
            self.config,
            *('--work-dir', self.work_dir / folder),
            *(['--resume'] if self.resume else []),
            *('--cfg-options', *cfg_options, *self.cfg_options),
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
            call_command(
                'test',
                self.config,
                self.checkpoint(model),
                *('--work-dir', folder, '--out', out, '--out-item', 'metrics'),
                *('--cfg-options', *self.cfg_options),
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
        """Draw predictions of the last model."""
        call_command(
            'attention',
            self.config,
            self.checkpoint('step2'),
            *('--out', self.work_dir / 'predictions.png'),
            *('--num-images', self.options.num_images),
            *('--cfg-options', *self.cfg_options),
        )

    def report(self, results: dict[str, dict], command: str) -> str:
        """Write results.json and results.md.

        Args:
            results (dict): The result of :meth:`evaluate`.
            command (str): The command of this demo.

        Returns:
            str: The content of results.md.
        """
        content = dict(
            models=results,
            scenes=dict(train=self.options.num_train, val=self.options.num_val),
            seed=self.options.seed,
            command=command,
            date=datetime.datetime.now().astimezone().isoformat(timespec='minutes'),
            minutes=(time.time() - self.called) / 60,
            resumed=self.resume,
            hardware=describe_hardware(),
            versions=installed_versions(PACKAGES),
        )
        (self.work_dir / 'results.json').write_text(
            json.dumps(content, indent=2) + '\n'
        )
        text = format_report(content)
        (self.work_dir / 'results.md').write_text(text)
        return text
