# SPDX-License-Identifier: Apache-2.0
"""The trials of a search, in Optuna's study on the disk."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

FILE = 'study.db'
NAME = 'mlcl tune'
ERROR = 'error'
"""The attribute of a failed trial that says why."""
LEAST = 10
"""Complete trials from which on the importance of settings is estimated."""
SETTINGS = 'settings'
"""The attribute of a study that says what it was begun with."""


def require_optuna() -> None:
    """Raise an error if Optuna is missing.

    Raises:
        ImportError: If it is.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            'A search for settings needs Optuna: run `pip install '
            "'mlcl_plugin[tune]'`, or `pip install optuna`."
        ) from error
    optuna.logging.set_verbosity(logging.WARNING)


class Search:
    """A study of Optuna that gives its trials one after the other.

    The sampler has a seed of its own for each trial. So a search that was interrupted
    draws what it would have drawn otherwise, and does not repeat its first values.

    Args:
        folder (Path): The folder of the search; its file is made if there is none.
        space (Space): What to draw.
        settings (Mapping[str, str]): What the trials have in common, by what it is.
        seed (int): Seed of the sampler.
        prune (bool): Whether trials are stopped that are worse than half of the others.
        first (Mapping, optional): The values of the first trial. Defaults to None: they
            are drawn.

    Raises:
        ValueError: If the folder has a search with other settings.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        settings: Mapping[str, str],
        seed: int,
        prune: bool,
        first: Mapping[str, Any] | None = None,
    ):
        import optuna

        self.space = space
        self.seed = seed
        self.study: Study = optuna.create_study(
            storage=f'sqlite:///{(folder / FILE).absolute()}',
            study_name=NAME,
            direction='maximize',
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner()
            if prune
            else optuna.pruners.NopPruner(),
        )
        before = self.study.user_attrs.get(SETTINGS)
        if before is None:
            self.study.set_user_attr(SETTINGS, dict(settings))
        elif before != settings:
            other = [key for key in settings if before.get(key) != settings[key]]
            raise ValueError(
                f'{folder} has a search with another {" and another ".join(other)}. '
                'Call it as before to go on with it, or choose another folder: '
                'out=DIR.'
            )
        if first is not None and not self.study.trials:
            self.study.enqueue_trial(dict(first))

    @property
    def finished(self) -> list['FrozenTrial']:
        """list[FrozenTrial]: Trials that are complete, stopped or failed."""
        return [trial for trial in self.study.trials if trial.state.is_finished()]

    @property
    def complete(self) -> list['FrozenTrial']:
        """list[FrozenTrial]: Trials with a result, the best first."""
        from optuna.trial import TrialState

        done = [t for t in self.study.trials if t.state == TrialState.COMPLETE]
        return sorted(done, key=lambda trial: (-(trial.value or 0.0), trial.number))

    def next_trial(self) -> tuple['Trial', dict[str, Any]]:
        """Begin a trial, or begin one again that was killed.

        Returns:
            tuple[Trial, dict]: The trial and the values of the config.
        """
        import optuna
        from optuna.trial import TrialState

        trials = self.study.trials
        killed = [trial for trial in trials if trial.state == TrialState.RUNNING]
        waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        number = killed[0].number if killed else len(trials) - waiting
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        if killed:
            # It has its number and the values that were drawn.
            trial = optuna.trial.Trial(self.study, killed[0]._trial_id)
        else:
            trial = self.study.ask()
        return trial, {k: item.suggest(trial, k) for k, item in self.space.items()}

    def values(self, trial: 'FrozenTrial') -> dict[str, Any]:
        """The values of the config that a trial had."""
        from optuna.trial import FixedTrial

        fixed = FixedTrial(trial.params)
        return {key: item.suggest(fixed, key) for key, item in self.space.items()}

    def reporter(self, trial: 'Trial') -> Callable[[float, int], None]:
        """Make what tells the study of a validation, and stops a poor trial."""
        from optuna import TrialPruned

        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        known = set(frozen.intermediate_values)

        def report(score: float, number: int) -> None:
            if number in known:
                # The trial told of it before it was killed, and was not stopped.
                return
            trial.report(score, number)
            if trial.should_prune():
                raise TrialPruned

        return report

    def succeed(self, trial: 'Trial', score: float) -> None:
        """Store the result of a trial."""
        self.study.tell(trial, score)

    def stop(self, trial: 'Trial') -> None:
        """Store that a trial was stopped."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: 'Trial', message: str) -> None:
        """Store that a trial failed, and why."""
        from optuna.trial import TrialState

        trial.set_user_attr(ERROR, message)
        self.study.tell(trial, state=TrialState.FAIL)

    def importance(self) -> dict[str, float]:
        """How much of the spread of mAP each setting explains, the greatest first.

        Returns:
            dict[str, float]: Shares that sum to 1, by PED-ANOVA; empty if there are too
            few results, or they are all alike.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        scores = {trial.value for trial in self.complete}
        if len(self.complete) < LEAST or len(scores) < 2:
            return {}
        return get_param_importances(
            self.study, evaluator=PedAnovaImportanceEvaluator()
        )
