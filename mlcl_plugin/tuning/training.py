# SPDX-License-Identifier: Apache-2.0
"""Train a trial, and tell the search what each validation gives."""

import math
from collections.abc import Callable

from mmengine.config import Config
from mmengine.hooks import Hook

from ..engine import StepwiseRunner, build_runner, check_config, step_names
from ..engine.runner.feature_training import FeatureTraining

Report = Callable[[float, int], None]
"""Gets the mAP of a validation and its number; what it raises ends the training."""


class Validations:
    """The validations of a trial, through all steps.

    Args:
        report (Callable): Told of each, see :data:`Report`.
    """

    def __init__(self, report: Report):
        self.report = report
        self.number = 0
        self.last: float | None = None

    def add(self, score: float) -> None:
        """Take the mAP of a validation."""
        self.last = score
        self.number += 1
        self.report(score, self.number)


class ValidationHook(Hook):
    """Tells of the mAP of each validation.

    Args:
        validations (Validations): What is told.
    """

    # After those that validate and save.
    priority = 'LOWEST'

    def __init__(self, validations: Validations):
        self.validations = validations

    def before_train(self, runner) -> None:
        """Forget the step before: the last validation of the last step counts."""
        self.validations.last = None

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Take the mAP.

        Raises:
            ValueError: If there is none, or it is not finite.
        """
        found = {k: v for k, v in (metrics or {}).items() if k.split('/')[-1] == 'mAP'}
        if not found:
            raise ValueError(
                'Trials are compared by mAP, but val_evaluator gives '
                f'{", ".join(metrics or {}) or "nothing"}. Let it have a '
                'MultiLabelRecognitionMetric.'
            )
        score = float(next(iter(found.values())))
        if not math.isfinite(score):
            raise ValueError(
                'The mAP of the held-out images is not a number: none of them has a '
                'label. Hold out more of them.'
            )
        self.validations.add(score)


class TrialRunner(StepwiseRunner):
    """A :class:`StepwiseRunner` that tells of each validation.

    Args:
        cfg (Config): The config of a trial.
        validations (Validations): What is told.
    """

    def __init__(self, cfg: Config, validations: Validations):
        super().__init__(cfg)
        self.validations = validations

    def feature_training(self) -> FeatureTraining:
        """A training whose held-out images are training images."""
        return FeatureTraining(self.cfg, val_split='tune')

    def step_hooks(self, name: str) -> list[Hook]:
        """The hook that tells."""
        return [ValidationHook(self.validations)]


def check_runner(cfg: Config) -> None:
    """Refuse a config whose runner cannot tell of its validations.

    Raises:
        ValueError: If ``runner_type`` is another one than :class:`StepwiseRunner`.
    """
    kind = cfg.get('runner_type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
    if kind is not None and name.split('.')[-1] != StepwiseRunner.__name__:
        raise ValueError(
            f'runner_type must be StepwiseRunner or missing, got {name}: a search '
            'follows the validations of trials.'
        )


def train_trial(cfg: Config, report: Report) -> float:
    """Train a config with all its steps.

    Args:
        cfg (Config): The config of a trial.
        report (Callable): Told of each validation, see :data:`Report`.

    Returns:
        float: The mAP of the last validation of the last step, in percent.

    Raises:
        ValueError: If the last step has no validation, or as the runner.
    """
    validations = Validations(report)
    if step_names(cfg):
        check_config(cfg)
        TrialRunner(cfg, validations).train()
    else:
        if cfg.get('cached_features') is None:
            runner = build_runner(cfg)
        else:
            check_config(cfg)
            runner = FeatureTraining(cfg, val_split='tune').make_runner(cfg)
        runner.register_hook(ValidationHook(validations))
        runner.train()
    if validations.last is None:
        raise ValueError(
            'The last step ends without a validation. Set val_interval and val_begin '
            'of train_cfg so that its last epoch is validated.'
        )
    return validations.last
