# SPDX-License-Identifier: Apache-2.0
"""Search for settings: train trials one after the other, and write the best config."""

import copy
import gc
import hashlib
import json
import logging
import os
import shlex
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from ..command_line import USER_ERRORS
from ..engine import load_config, merge_options
from ..engine.durable_files import write_text
from ..engine.work_folder import LOCK, hold_folder
from ..fit.console import Console, duration, log_to_file
from ..recipes import find_config
from .best_config import check_base, write_best
from .held_out import HeldOut, hold_out, train_without
from .report import best_table, importance_table, values_text
from .space import check_space, own_values, read_space
from .study import ERROR, FILE, Search, require_optuna
from .training import check_runner, train_trial

LOG = 'log.txt'
HELD_OUT = 'held_out.txt'
HOPELESS = 3
"""A search stops if so many trials fail, and no other has been made."""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        config (Path): The config that trains with the best values.
        values (dict): The best values by dotted key.
        score (float): Their mAP on the held-out images, in percent.
        trial (int): The number of their trial.
        scores (dict[int, float]): The mAP of each complete trial, by its number.
        importance (dict[str, float]): How much of the spread of mAP each setting
            explains; empty if there are too few complete trials to tell.
    """

    config: Path
    values: dict[str, Any]
    score: float
    trial: int
    scores: dict[int, float]
    importance: dict[str, float]


def tune(
    config: str | os.PathLike,
    out: str | os.PathLike,
    ranges: Mapping[str, str] | None = None,
    choices: Mapping[str, Sequence] | None = None,
    *,
    trials: int = 20,
    share: float = 0.2,
    seed: int = 0,
    prune: bool = True,
    cfg_options: Mapping[str, Any] | None = None,
    stream: TextIO | None = None,
) -> Tuned:
    """Search for the settings of a config that give the best mAP.

    A part of the training images is held out from all trials, drawn by the labels.
    Each trial trains the config with other values, all steps, and is judged by the mAP
    of the held-out images at the end. Validation and test images of the config are not
    read, so that they can tell how good the result is. Values come from Optuna's TPE
    sampler. From the sixth trial on, one is stopped whose best mAP so far is below the
    median of the complete trials after as many validations.

    A call that was interrupted is repeated with the same arguments: it begins the
    unfinished trial again with its values. ``trials`` may be greater than before.

    .. code-block:: python

        from mlcl_plugin.apis import tune

        tuned = tune(
            'mlcl_efflite0_voc07',
            'work_dirs/tuned',
            ranges={'optim_wrapper.optimizer.lr': '1e-5:1e-2:log'},
            choices={'model.head.dropout': [0.0, 0.5]},
        )
        print(tuned.config, tuned.values)

    Args:
        config (str | PathLike): The file, or the name of a recipe.
        out (str | PathLike): The folder of the search.
        ranges (Mapping[str, str], optional): Ranges of numbers by dotted key:
            ``'LOW:HIGH'``, ``'LOW:HIGH:log'`` for a logarithmic scale, or
            ``'LOW:HIGH:int'`` for integers. Defaults to none.
        choices (Mapping[str, Sequence], optional): Values to choose from, by dotted
            key. Defaults to none.
        trials (int): Number of trials, those that are stopped or fail included.
            Defaults to 20.
        share (float): The share of the training images that is held out. Defaults to
            0.2.
        seed (int): Seed of the division and of the sampler, and of the trainings if the
            config has none. Defaults to 0.
        prune (bool): Whether to stop poor trials early. Defaults to True.
        cfg_options (Mapping, optional): Values of the config by dotted key.
        stream (TextIO, optional): Where progress is written. Defaults to stdout.

    Returns:
        Tuned: The best settings.

    Raises:
        FileExistsError: If ``out`` has something else than a search.
        FileNotFoundError: If there is no such config.
        FolderInUseError: If another process searches in ``out``.
        ImportError: If Optuna is missing.
        ValueError: If an argument is wrong, ``out`` has a search with other settings,
            or no trial can be trained.
    """
    require_optuna()
    for name, number, least in (('trials', trials, 1), ('seed', seed, 0)):
        if number < least:
            raise ValueError(f'{name} must be {least} or more, got {name}={number}.')
    if not 0 < share < 1:
        raise ValueError(f'share must be between 0 and 1, got share={share}.')
    space = read_space(ranges, choices)
    cfg = load_config(config, cfg_options)
    check_runner(cfg)
    folder = Path(out)
    _check_folder(folder)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        check_space(cfg, space, cfg_options)
        _set_randomness(cfg, seed)
        console = Console(stream)
        with hold_folder(folder), log_to_file(console, folder / LOG):
            parts = hold_out(cfg, share, seed)
            train_without(cfg, parts)
            settings = dict(
                config=_digest(cfg.to_dict()),
                space='; '.join(f'{key}: {item}' for key, item in space.items()),
                seed=str(seed),
                share=str(share),
                prune=str(prune),
                **{'set of training images': _digest([parts.trained, parts.paths])},
            )
            base = find_config(config)
            sample = {key: item.samples()[0] for key, item in space.items()}
            values = {**dict(cfg_options or {}), **sample}
            changed = copy.deepcopy(cfg)
            merge_options(changed, values)
            check_base(folder, base, changed, values)
            first = own_values(cfg, space)
            search = Search(folder, space, settings, seed, prune, first)
            run = _Run(search, cfg, folder, parts, console)
            run.describe(share, seed, first is not None)
            while len(search.finished) < trials:
                run.train_next()
                run.write_best(base, dict(cfg_options or {}))
            return run.finish(base, dict(cfg_options or {}))


class _Run:
    """Trains the trials of a search, and says how they end."""

    def __init__(
        self,
        search: Search,
        cfg: Config,
        folder: Path,
        parts: HeldOut,
        console: Console,
    ):
        self.search = search
        self.cfg = cfg
        self.folder = folder
        self.parts = parts
        self.console = console

    def describe(self, share: float, seed: int, own_first: bool) -> None:
        """Say what trials are judged by, and which there are."""
        held, number = len(self.parts.held_out), len(self.parts.trained)
        self.console.line(
            f'{held:,} of {held + number:,} training images are held out, drawn by '
            f'their labels (share {share:g}, seed {seed}). Trials train on the other '
            f'{number:,} and are judged by mAP on these. Validation and test images of '
            'the config are not read.'
        )
        if self.parts.paths:
            path = self.folder / HELD_OUT
            write_text(path, '\n'.join(self.parts.paths) + '\n')
            self.console.line(f'the held-out images: {path}')
        for warning in self.parts.split.warnings():
            self.console.line(f'note: {warning}')
        done = len(self.search.finished)
        if done:
            self.console.line(f'{done} trials are there already.')
        elif own_first:
            self.console.line('trial 0 has the values of the config.')

    def train_next(self) -> None:
        """Train a trial, and store how it ends.

        Raises:
            ValueError: If it fails, and so did all trials before.
        """
        from optuna import TrialPruned

        search = self.search
        self._stop_if_hopeless()
        start = time.monotonic()
        trial, values = search.next_trial()
        folder = self.folder / 'trials' / str(trial.number)
        # What a trial has left that was killed.
        shutil.rmtree(folder, ignore_errors=True)
        try:
            cfg = self._trial_config(values, folder)
            score = train_trial(cfg, search.reporter(trial))
        except TrialPruned:
            search.stop(trial)
            text = 'stopped, since half of the trials were better at this point'
        # Values may break a training anywhere; others may work.
        except Exception as error:
            print_log(traceback.format_exc(), 'current', logging.WARNING)
            message = ' '.join(str(error).split())
            if not isinstance(error, USER_ERRORS) or not message:
                message = f'{type(error).__name__}: {message}'
            search.fail(trial, message)
            text = f'failed: {message}'
        else:
            search.succeed(trial, score)
            best = search.complete[0]
            rank = (
                'the best' if best.number == trial.number else f'best {best.value:.2f}'
            )
            text = f'mAP {score:.2f} ({rank})'
        finally:
            # Their weights are those of a part of the images.
            for path in folder.rglob('*.pth'):
                path.unlink()
            # Models and optimizers are in reference cycles.
            gc.collect()
        spent = duration(time.monotonic() - start)
        self.console.line(
            f'trial {trial.number}: {text}; {values_text(values)}; {spent}'
        )
        self._stop_if_hopeless()

    def _trial_config(self, values: Mapping[str, Any], folder: Path) -> Config:
        cfg = copy.deepcopy(self.cfg)
        merge_options(cfg, values)
        cfg = train_without(cfg, self.parts)
        cfg.work_dir = str(folder)
        cached = cfg.get('cached_features')
        if cached is not None and cached.get('dir') is None:
            # Trials share the features.
            cached.dir = str(self.folder / 'features')
        return cfg

    def _stop_if_hopeless(self) -> None:
        finished = self.search.finished
        errors = [trial.user_attrs.get(ERROR) for trial in finished]
        if len(errors) >= HOPELESS and None not in errors[:HOPELESS]:
            raise ValueError(
                f'The first {HOPELESS} trials failed, so the search stops. The last of '
                f'them: {errors[HOPELESS - 1]} Mend the config or the ranges, and '
                'search in another folder: out=DIR.'
            )

    def write_best(self, base: Path, options: Mapping[str, Any]) -> Path | None:
        """Write the config of the best trial, if there is one."""
        if not self.search.complete:
            return None
        best = self.search.complete[0]
        values = {**options, **self.search.values(best)}
        cfg = copy.deepcopy(self.cfg)
        merge_options(cfg, values)
        path = self.folder / 'best.py'
        comment = (
            f'Trial {best.number} of a search for settings: mAP {best.value:.2f} on '
            'held-out training images.'
        )
        write_best(path, base, cfg, values, comment)
        return path

    def finish(self, base: Path, options: Mapping[str, Any]) -> Tuned:
        """Say what was found.

        Raises:
            ValueError: If no trial has a result.
        """
        path = self.write_best(base, options)
        if path is None:
            failed = self.search.finished[-1].user_attrs.get(ERROR)
            raise ValueError(f'No trial has a result. The last of them: {failed}')
        best = self.search.complete[0]
        importance = self.search.importance()
        self.console.line()
        self.console.line(best_table(self.search))
        if importance:
            self.console.line()
            self.console.line(importance_table(importance))
        self.console.line()
        self.console.line(
            f'Train with the values of trial {best.number} on all training images:'
        )
        work_dir = shlex.quote(str(self.folder / 'best'))
        self.console.line(
            f'  mlcl train {shlex.quote(str(path))} --work-dir {work_dir}'
        )
        return Tuned(
            config=path,
            values=self.search.values(best),
            score=float(best.value or 0.0),
            trial=best.number,
            scores={t.number: float(t.value or 0.0) for t in self.search.complete},
            importance=importance,
        )


def _check_folder(folder: Path) -> None:
    """Refuse a folder that has something else than a search."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"'{folder}' is a file. Choose a folder: out=DIR.")
    if '?' in str(folder.absolute()):
        raise ValueError(
            f"SQLite takes no '?' in the name of its folder, got '{folder}'. Choose "
            'another folder: out=DIR.'
        )
    if not folder.is_dir() or (folder / FILE).is_file():
        return
    if {path.name for path in folder.iterdir()} - {LOCK, LOG}:
        raise FileExistsError(
            f"'{folder}' is not empty and has no search. Choose another folder: "
            'out=DIR.'
        )


def _set_randomness(cfg: Config, seed: int) -> None:
    """Let all trials have the same seed, so that they differ by their values only."""
    if (cfg.get('randomness') or {}).get('seed') is None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)


def _plain(value: Any) -> Any:
    # The order of a set differs between processes.
    return (
        sorted(map(repr, value)) if isinstance(value, set | frozenset) else str(value)
    )


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()
