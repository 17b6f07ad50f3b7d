# SPDX-License-Identifier: Apache-2.0
"""Which runs of a suite are to do, in what order, and several at a time."""

import datetime
import multiprocessing
import multiprocessing.connection
import shutil
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from fingerprint import features_made_of, fingerprint
from mmengine.config import Config
from results_file import ResultsFile
from runs import (
    add_record_hooks,
    is_complete,
    is_trained,
    last_checkpoint,
    read_embeddings,
    read_neighbours,
    read_records,
    train,
)
from suite import ROOT, load_suite, method_config
from wrong_labels import with_wrong_labels

from mlcl_plugin.apis import extract_features
from mlcl_plugin.engine import has_begun, set_default_dataloader_cfg, step_names
from mlcl_plugin.engine.environment import (
    count_cores,
    current_commit,
    describe_processor,
    installed_versions,
)

GENERATED = ('benchmarks/results', 'studies/results', 'docs')
"""Files whose changes do not make a commit another one."""


class Comparison:
    """The runs of a suite: those that are finished and those that are to do.

    A run is named by its method and its seed.

    Args:
        suite (Path): The file of the suite.
        out (Path): Folder for the file of results.
        work_dir (Path): Folder for the runs and the features of frozen backbones.
        jobs (int): Runs at a time, which share the threads. Defaults to 1.
        methods (Sequence[str], optional): Methods to train. Defaults to all.
        seeds (Sequence[int], optional): Seeds to train. Defaults to all.

    Raises:
        FileNotFoundError: If the suite or a recipe does not exist.
        ValueError: If the suite has a wrong field, or has no such method or seed.
    """

    def __init__(
        self,
        suite: Path,
        out: Path,
        work_dir: Path,
        jobs: int = 1,
        methods: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ):
        self.suite = load_suite(suite)
        self.name = suite.stem
        self.work_dir = work_dir
        self.jobs = jobs
        self.methods = methods or list(self.suite.methods)
        self.seeds = seeds or list(self.suite.seeds)
        for kind, chosen, known in (
            ('method', self.methods, self.suite.methods),
            ('seed', self.seeds, self.suite.seeds),
        ):
            unknown = set(chosen) - set(known)
            if unknown:
                raise ValueError(
                    f'{suite} has no {kind} {sorted(unknown)}, expected some of '
                    f'{list(known)}.'
                )
        self.commit = current_commit(ROOT, GENERATED)
        self.date = datetime.datetime.now().astimezone().isoformat(timespec='minutes')
        self.threads = max(torch.get_num_threads() // jobs, 1)
        self.features = self._make_features() if self.suite.get('frozen') else ''
        self.configs = {
            (name, seed): method_config(self.suite, name, seed)
            for name in self.suite.methods
            for seed in self.suite.seeds
        }
        self.results = ResultsFile(
            out / f'{self.name}.json',
            {self.key(*run): self.fingerprint(*run) for run in self.configs},
        )

    def _make_features(self) -> str:
        """Compute the features of the frozen backbone where they are missing.

        Returns:
            str: What they are made of.
        """
        frozen = self.suite.frozen
        name = f'{Path(frozen.config).stem}_{frozen.num_views}views'
        frozen.folder = self.work_dir / 'features' / name
        extract_features(
            Config.fromfile(ROOT / frozen.config), frozen.folder, frozen.num_views
        )
        if self.suite.get('wrong_labels'):
            frozen.folder = with_wrong_labels(frozen.folder, **self.suite.wrong_labels)
        return features_made_of(frozen.folder)

    def key(self, name: str, seed: int) -> str:
        """The name of a run in the file of results."""
        return f'{name}/{seed}'

    def start_of(self, name: str) -> str | None:
        """The method whose weights a method starts from."""
        return self.suite.methods[name].get('start')

    def fingerprint(self, name: str, seed: int) -> str:
        """The fingerprints of the run that a run starts from, and its own."""
        start = self.start_of(name)
        before = '' if start is None else self.fingerprint(start, seed)
        cfg = self.configs[name, seed]
        return before + fingerprint(cfg, self.work_dir, ROOT, features=self.features)

    def folder(self, name: str, seed: int) -> Path:
        """The folder of a run."""
        marks = self.fingerprint(name, seed)[-24:]
        return self.work_dir / self.name / name / f'seed{seed}_{marks}'

    def embeddings(self, name: str) -> dict | None:
        """Options to measure a method's embeddings with; None to leave them out."""
        wanted = self.suite.methods[name].get('embeddings', True)
        options = self.suite.get('embeddings') if wanted else None
        return options and options.to_dict()

    def is_done(self, name: str, seed: int) -> bool:
        """Whether the file of results has all of a run."""
        run = self.results.runs.get(self.key(name, seed))
        options = self.embeddings(name)
        return (
            run is not None
            and (not options or run.get('embeddings_by') == options)
            and (not self.suite.get('neighbours') or 'neighbours' in run)
        )

    def is_ready(self, name: str, seed: int) -> bool:
        """Whether the weights that a run starts from are there."""
        start = self.start_of(name)
        if start is None:
            return True
        folder = self.folder(start, seed)
        return (
            self.is_done(start, seed)
            and is_trained(self.configs[start, seed], folder)
            and last_checkpoint(folder) is not None
        )

    def is_complete(self, name: str, seed: int) -> bool:
        """Whether a run only has to be added to the results."""
        return is_complete(
            self.configs[name, seed],
            self.folder(name, seed),
            self.embeddings(name),
            bool(self.suite.get('neighbours')),
        )

    def wanted(self) -> list[tuple[str, int]]:
        """List the runs to do, seed by seed; a run comes after the one it starts from.

        A finished run is done again if another one starts from its weights and these
        are gone or incomplete.
        """
        runs: list[tuple[str, int]] = []
        for seed in self.seeds:
            for name in self.methods:
                if self.is_done(name, seed):
                    continue
                chain, at = [(name, seed)], name
                while not self.is_ready(at, seed):
                    at = self.start_of(at)
                    chain.insert(0, (at, seed))
                runs += [run for run in chain if run not in runs]
        return runs

    def start(self, name: str, seed: int) -> multiprocessing.Process:
        """Start or resume a run in a process of its own."""
        cfg = deepcopy(self.configs[name, seed])
        folder = self.folder(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        cfg.work_dir = str(folder)
        # MMEngine removes old checkpoints before it writes the next one. With two, one
        # is left if it is interrupted in between.
        cfg.default_hooks.checkpoint.max_keep_ckpts = 2
        cfg.resume = any(has_begun(str(folder / s)) for s in ('', *step_names(cfg)))
        before = self.start_of(name)
        if before is not None and not cfg.resume:
            cfg.load_from = last_checkpoint(self.folder(before, seed))
        add_record_hooks(cfg, folder)
        set_default_dataloader_cfg(cfg)
        process = multiprocessing.get_context('fork').Process(
            target=train,
            args=(
                cfg,
                self.threads,
                folder,
                self.embeddings(name),
                bool(self.suite.get('neighbours')),
            ),
            name=name,
        )
        process.start()
        return process

    def finish(self, name: str, seed: int) -> None:
        """Add a finished run to the results, and print a line."""
        folder = self.folder(name, seed)
        done = dict(
            fingerprint=self.fingerprint(name, seed),
            commit=self.commit,
            date=self.date,
            processor=describe_processor().name,
            cores=count_cores(),
            torch=installed_versions(['torch'])['torch'],
            jobs=self.jobs,
            threads=self.threads,
            **read_records(folder),
        )
        options = self.embeddings(name)
        if options:
            done.update(
                embeddings=read_embeddings(folder, options), embeddings_by=options
            )
        if self.suite.get('neighbours'):
            done['neighbours'] = read_neighbours(folder)
        self.results.runs[self.key(name, seed)] = done
        self.write()
        print(
            f'{self.key(name, seed)}: mAP {done["metrics"]["multi-label/mAP"]:.2f}, '
            f'{done["images"]} images, {done["seconds"] / 60:.1f} min',
            flush=True,
        )

    def write(self) -> dict:
        """Write the file of results, and return its content."""
        return self.results.write(self.name, self.suite)

    def run(self) -> int:
        """Do all runs that are to do.

        Returns:
            int: The number of runs that failed.
        """
        waiting, running, failed = self.wanted(), {}, set()
        self._clear(waiting)
        done = sum(self.is_done(*run) for run in self.configs)
        print(
            f'{len(waiting)} runs to do, {done} in {self.results.path}; '
            f'{len(self.results.outdated)} of other configs are set apart',
            flush=True,
        )
        while waiting or running:
            for run in list(waiting):
                if (self.start_of(run[0]), run[1]) in failed:
                    waiting.remove(run)
                    failed.add(run)
                elif self.is_complete(*run):
                    waiting.remove(run)
                    self.finish(*run)
                elif len(running) < self.jobs and self.is_ready(*run):
                    waiting.remove(run)
                    running[run] = self.start(*run)
            if not running:
                for name, seed in waiting:
                    folder = self.folder(self.start_of(name), seed)
                    print(
                        f'{self.key(name, seed)} cannot start: there is no checkpoint '
                        f'of a finished run in {folder}',
                        flush=True,
                    )
                failed.update(waiting)
                break
            multiprocessing.connection.wait([p.sentinel for p in running.values()])
            for run, process in list(running.items()):
                if process.exitcode is None:
                    continue
                del running[run]
                if process.exitcode:
                    failed.add(run)
                    log = self.folder(*run) / 'log.txt'
                    print(f'{self.key(*run)} failed, see {log}', flush=True)
                    continue
                self.finish(*run)
        return len(failed)

    def _clear(self, waiting: Sequence[tuple[str, int]]) -> None:
        """Remove folders of runs that can neither be resumed nor be used."""
        for run in waiting:
            folder = self.folder(*run)
            needed = self.is_done(*run) or not self.is_complete(*run)
            if needed and folder.exists() and last_checkpoint(folder) is None:
                shutil.rmtree(folder)
