# SPDX-License-Identifier: Apache-2.0
"""Train recipes over seeds under one budget and compare what they reach.

A suite (``benchmarks/suites/*.py``) lists the recipes, the seeds and what is changed
for all of them. Finished runs are kept in a file of results and are not trained again;
a run that was cut off goes on from its last checkpoint.
"""

import argparse
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import torch
from common import RESULTS, ROOT, describe_environment
from filelock import FileLock, Timeout
from method_report import draw_methods, format_methods
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS, init_default_scope
from mmpretrain.registry import DATASETS, HOOKS

from mlcl_plugin.apis import (
    build_loader,
    build_model,
    embed,
    extract_features,
    freeze_backbone,
    measure_embeddings,
)
from mlcl_plugin.engine import (
    CheckedRunner,
    check_step_options,
    enable_amp,
    has_begun,
    keep_memory,
    set_default_dataloader_cfg,
)
from mlcl_plugin.engine.pointers import FINISHED, LAST, read_pointer

FIELDS = {
    'title',
    'description',
    'seeds',
    'methods',
    'reference',
    'options',
    'frozen',
    'num_tuning',
    'amp',
    'embeddings',
}
METHOD_FIELDS = {
    'config',
    'options',
    'start',
    'until',
    'hide_labels',
    'label',
    'reference',
    'embeddings',
}

# What a run's embeddings are worth, beside its records.
EMBEDDINGS = 'embeddings.json'


@HOOKS.register_module()
class MethodRecordHook(Hook):
    """Write down what each epoch took and what each validation gave, line by line.

    Args:
        path (str): The file, in the form of JSON Lines.
        step (str): Name of the training step.
        num_views (int): Views of an image in a batch.
    """

    # before the checkpoint of an epoch: one that is in a checkpoint is written down
    priority = 'LOW'

    def __init__(self, path: str, step: str, num_views: int):
        self.path, self.step, self.num_views = path, step, num_views

    def before_train_epoch(self, runner) -> None:
        self.images, self.start = 0, time.perf_counter()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.images += self.num_views * len(data_batch['data_samples'])

    def after_train_epoch(self, runner) -> None:
        seconds = time.perf_counter() - self.start
        self._write(runner.epoch + 1, images=self.images, seconds=seconds)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._write(runner.epoch, metrics=metrics)

    def _write(self, epoch: int, **values) -> None:
        with open(self.path, 'a') as file:
            line = json.dumps(dict(step=self.step, epoch=epoch, **values))
            file.write(f'{line}\n')


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('suite', type=Path, help='a file of benchmarks/suites')
    parser.add_argument(
        '--out',
        type=Path,
        default=RESULTS / 'methods',
        help='folder for SUITE.json and its plot (default: benchmarks/results/methods)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=ROOT / 'work_dirs/methods',
        help='folder for the runs (default: work_dirs/methods)',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='runs at a time, which share the threads (default: 1)',
    )
    parser.add_argument(
        '--methods', nargs='+', help='train these only (default: all of the suite)'
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, help='train these only (default: all)'
    )
    args = parser.parse_args(args)
    if args.jobs < 1:
        parser.error(f'--jobs must be positive, got {args.jobs}')
    return args


def load_suite(path: Path) -> ConfigDict:
    """Read a suite and check what it says.

    Raises:
        FileNotFoundError: If the file, or a recipe that it names, does not exist.
        ValueError: If it has unknown or lacks needed entries.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no suite '{path}'.")
    suite = Config.fromfile(path)._cfg_dict
    missing = {'title', 'description', 'seeds', 'methods', 'reference'} - set(suite)
    if missing or set(suite) - FIELDS:
        raise ValueError(
            f'{path} lacks {sorted(missing)} and has unknown entries '
            f'{sorted(set(suite) - FIELDS)}, expected {sorted(FIELDS)}.'
        )
    for name, method in suite.methods.items():
        if set(method) - METHOD_FIELDS or 'config' not in method:
            raise ValueError(
                f'{path}: method {name} has the entries {sorted(method)}, expected '
                f'config and some of {sorted(METHOD_FIELDS)}.'
            )
        if not (ROOT / method.config).is_file():
            raise FileNotFoundError(f"{path}: there is no recipe '{method.config}'.")
        for field, verb in (('start', 'starts from'), ('reference', 'refers to')):
            if method.get(field) is not None and method[field] not in suite.methods:
                raise ValueError(
                    f'{path}: {name} {verb} {method[field]}, not a method.'
                )
    if suite.reference not in suite.methods:
        raise ValueError(f'{path}: reference {suite.reference} is not a method.')
    return suite


def method_config(suite: ConfigDict, name: str, seed: int) -> Config:
    """The config that a method is trained with, but for folders.

    Args:
        suite (ConfigDict): Of :func:`load_suite`.
        name (str): The method.
        seed (int): The seed.

    Returns:
        Config: With all options of suite and method.
    """
    method = suite.methods[name]
    cfg = Config.fromfile(ROOT / method.config)
    for options in (suite.get('options'), method.get('options')):
        if options:
            options = deepcopy(dict(options))
            check_step_options(cfg.get('steps'), options)
            cfg.merge_from_dict(options)
    if suite.get('frozen'):
        cfg = freeze_backbone(cfg, suite.frozen.folder, suite.get('num_tuning', 0))
    elif suite.get('num_tuning'):
        hold_out(cfg, suite.num_tuning)
    if method.get('hide_labels'):
        hide_labels(cfg, method.hide_labels)
    if method.get('until') is not None:
        names = list(cfg.steps)
        for step in names[names.index(method.until) + 1 :]:
            cfg.steps.pop(step)
    if suite.get('amp'):
        enable_amp(cfg, train=True)
    cfg.randomness = dict(seed=seed)
    # The last state counts: a best one would be chosen by what it is judged by.
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_optimizer=True
    )
    return cfg


def hold_out(cfg: Config, num_tuning: int) -> None:
    """Take the last training images out, and let them replace those of validation."""
    loader = cfg.train_dataloader
    number = count_images(json.dumps(loader.dataset.to_dict(), sort_keys=True))
    if number <= num_tuning:
        raise ValueError(
            f'num_tuning must be below the {number} training images, got {num_tuning}.'
        )
    pipeline = cfg.val_dataloader.dataset.pipeline
    cfg.val_dataloader.dataset = deepcopy(loader.dataset)
    cfg.val_dataloader.dataset.update(
        pipeline=pipeline, test_mode=True, indices=-num_tuning
    )
    loader.dataset.indices = number - num_tuning


@lru_cache
def count_images(dataset: str) -> int:
    """Of a dataset, given as JSON."""
    init_default_scope('mmpretrain')
    return len(DATASETS.build(json.loads(dataset)))


def hide_labels(cfg: Config, options: ConfigDict) -> None:
    """Hide labels of the training images, in all steps."""
    wrapper = ConfigDict(type='HideLabels', **options)
    cfg.train_dataloader.dataset = ConfigDict(
        wrapper, dataset=cfg.train_dataloader.dataset
    )
    for changes in (cfg.get('steps') or {}).values():
        loader = changes.get('train_dataloader') or {}
        if 'dataset' in loader:
            loader.dataset = ConfigDict(dataset=loader.dataset)


def fingerprint(cfg: Config, *folders: Path, features: str = '') -> str:
    """Tells configs, and the features they read, apart; where the given folders are
    does not matter.
    """
    text = json.dumps(cfg._cfg_dict.to_dict(), sort_keys=True, default=str) + features
    for folder in folders:
        text = text.replace(str(folder.absolute()), '')
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def train(cfg: Config, threads: int, folder: Path, embeddings: dict | None) -> None:
    """Train and validate in this process, which is to end afterwards."""
    with open(folder / 'log.txt', 'a') as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    try:
        torch.set_num_threads(threads)
        keep_memory()
        run(cfg, folder, embeddings)
    except BaseException:
        traceback.print_exc()
        raise


def run(cfg: Config, folder: Path, embeddings: dict | None) -> None:
    """Do what is left of a run: training, validation of its last state, and figures
    of its embeddings, if options for these are given.
    """
    if not is_trained(cfg, folder):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else None
        (runner or CheckedRunner.from_cfg(cfg)).train()
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
        cfg = runner.step_config(list(runner.steps)[-1])
    if read_records(folder) is None:
        # It was cut off between the last checkpoint and the end of its validation.
        cfg.load_from, cfg.resume = last_checkpoint(folder), False
        CheckedRunner.from_cfg(cfg).val()
    if embeddings and read_embeddings(folder, embeddings) is None:
        model = build_model(cfg, last_checkpoint(folder))
        loader, _ = build_loader(cfg, 'val', num_images=5000)
        figures, _ = measure_embeddings(
            embed(model, loader, projected=False), **embeddings
        )
        part = folder / f'{EMBEDDINGS}.part'
        part.write_text(json.dumps(dict(options=embeddings, figures=figures)))
        os.replace(part, folder / EMBEDDINGS)


def is_trained(cfg: Config, folder: Path) -> bool:
    """Whether all steps of a run are finished."""
    steps = list(cfg.get('steps') or {})
    if steps:
        return (folder / steps[-1] / FINISHED).exists()
    last = last_checkpoint(folder)
    return last is not None and Path(last).name == (
        f'epoch_{cfg.train_cfg.max_epochs}.pth'
    )


def last_checkpoint(folder: Path) -> str | None:
    """The checkpoint that a finished run ended with, None where it is gone."""
    # Of steps each has its own.
    pointers = sorted(folder.rglob(LAST), key=os.path.getmtime)
    path = read_pointer(str(pointers[-1].parent), LAST) if pointers else None
    return path if path is not None and os.path.isfile(path) else None


def read_embeddings(folder: Path, options: dict) -> dict | None:
    """What a run's embeddings are worth, None unless measured by these options."""
    if not (folder / EMBEDDINGS).exists():
        return None
    content = json.loads((folder / EMBEDDINGS).read_text())
    return content['figures'] if content['options'] == options else None


def read_records(folder: Path) -> dict | None:
    """Summarise what the hook wrote; of lines that come twice the last counts.

    Returns:
        dict | None: None if the last state was not validated.
    """
    epochs: dict[tuple, dict] = {}
    for line in (folder / 'records.jsonl').read_text().splitlines():
        record = json.loads(line)
        key = record.pop('step'), record.pop('epoch')
        epochs.setdefault(key, {}).update(record)
    validated = {key: values for key, values in epochs.items() if 'metrics' in values}
    if list(epochs)[-1] not in validated:
        return None
    return dict(
        metrics=epochs[list(epochs)[-1]]['metrics'],
        images=sum(values.get('images', 0) for values in epochs.values()),
        seconds=sum(values.get('seconds', 0) for values in epochs.values()),
        mAP={
            f'{step}/{epoch}': values['metrics']['multi-label/mAP']
            for (step, epoch), values in validated.items()
        },
    )


class Comparison:
    """The runs of a suite, those that are done and those that are to do.

    Args:
        args (argparse.Namespace): Of :func:`parse_args`.
    """

    def __init__(self, args: argparse.Namespace):
        self.suite = load_suite(args.suite)
        self.name = args.suite.stem
        self.args = args
        self.folder = args.work_dir / self.name
        self.file = args.out / f'{self.name}.json'
        self.environment = describe_environment()
        self.threads = max(torch.get_num_threads() // args.jobs, 1)
        self.features = self._make_features() if self.suite.get('frozen') else ''
        for kind, chosen, known in (
            ('method', args.methods, self.suite.methods),
            ('seed', args.seeds, self.suite.seeds),
        ):
            unknown = set(chosen or ()) - set(known)
            if unknown:
                raise ValueError(
                    f'{args.suite} has no {kind} {sorted(unknown)}, expected some of '
                    f'{list(known)}.'
                )
        self.runs, self.outdated = {}, []
        if self.file.exists():
            content = json.loads(self.file.read_text())
            self.runs = content['runs']
            self.outdated = content.get('outdated', [])
        self.configs = {
            (name, seed): method_config(self.suite, name, seed)
            for name in self.suite.methods
            for seed in self.suite.seeds
        }
        self._sort_out()

    def _sort_out(self) -> None:
        """Set runs of other configs apart, and take back those that fit again."""
        found = [dict(run, run=key) for key, run in self.runs.items()]
        current = {self.key(*run): self.fingerprint(*run) for run in self.configs}
        self.runs, others = {}, []
        for run in [*self.outdated, *found]:
            if current.get(run['run']) == run['fingerprint']:
                self.runs[run['run']] = {k: v for k, v in run.items() if k != 'run'}
            else:
                others.append(run)
        self.outdated = others

    def _make_features(self) -> str:
        """Compute them where they are missing.

        Returns:
            str: What they are made of.
        """
        frozen = self.suite.frozen
        name = f'{Path(frozen.config).stem}_{frozen.num_views}views'
        frozen.folder = self.args.work_dir / 'features' / name
        extract_features(
            Config.fromfile(ROOT / frozen.config), frozen.folder, frozen.num_views
        )
        return ''.join(
            json.dumps(json.loads(path.read_text())['settings'], sort_keys=True)
            for path in sorted(frozen.folder.glob('*.json'))
        )

    def key(self, name: str, seed: int) -> str:
        return f'{name}/{seed}'

    def fingerprint(self, name: str, seed: int) -> str:
        """Of a run's config and of that of the run whose weights it starts from."""
        start = self.suite.methods[name].get('start')
        before = '' if start is None else self.fingerprint(start, seed)
        folders = self.args.work_dir, ROOT
        cfg = self.configs[name, seed]
        return before + fingerprint(cfg, *folders, features=self.features)

    def embeddings(self, name: str) -> dict | None:
        """Options to measure a method's embeddings by, if they are to be measured."""
        wanted = self.suite.methods[name].get('embeddings', True)
        options = self.suite.get('embeddings') if wanted else None
        return options and options.to_dict()

    def is_done(self, name: str, seed: int) -> bool:
        run = self.runs.get(self.key(name, seed))
        options = self.embeddings(name)
        return run is not None and (not options or run.get('embeddings_by') == options)

    def is_ready(self, name: str, seed: int) -> bool:
        """Whether the weights that a run starts from are there."""
        start = self.suite.methods[name].get('start')
        if start is None:
            return True
        folder = self._work_dir(start, seed)
        return (
            self.is_done(start, seed)
            and is_trained(self.configs[start, seed], folder)
            and last_checkpoint(folder) is not None
        )

    def wanted(self) -> list[tuple[str, int]]:
        """The runs that are to do, seed by seed, starts before what starts there.

        A finished start is to do once more if its weights are needed and gone, or were
        being made once more when that was cut off.
        """
        runs = []
        for seed in self.args.seeds or self.suite.seeds:
            for name in self.args.methods or self.suite.methods:
                if self.is_done(name, seed):
                    continue
                chain, at = [(name, seed)], name
                while not self.is_ready(at, seed):
                    at = self.suite.methods[at].start
                    chain.insert(0, (at, seed))
                runs += [run for run in chain if run not in runs]
        return runs

    def _work_dir(self, name: str, seed: int) -> Path:
        return self.folder / name / f'seed{seed}_{self.fingerprint(name, seed)[-24:]}'

    def is_complete(self, name: str, seed: int) -> bool:
        """Whether nothing of a run is left but to be added to the results."""
        folder = self._work_dir(name, seed)
        return (
            is_trained(self.configs[name, seed], folder)
            and read_records(folder) is not None
            and (
                not self.embeddings(name)
                or read_embeddings(folder, self.embeddings(name)) is not None
            )
        )

    def start(self, name: str, seed: int) -> multiprocessing.Process:
        """Begin or take up a run in a process of its own."""
        cfg = deepcopy(self.configs[name, seed])
        folder = self._work_dir(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        cfg.work_dir = str(folder)
        # MMEngine removes the last one but this many before it writes the next.
        cfg.default_hooks.checkpoint.max_keep_ckpts = 2
        names = list(cfg.get('steps') or {})
        cfg.resume = any(has_begun(str(folder / step)) for step in ('', *names))
        before = self.suite.methods[name].get('start')
        if before is not None and not cfg.resume:
            cfg.load_from = last_checkpoint(self._work_dir(before, seed))
        self._add_records(cfg, folder)
        set_default_dataloader_cfg(cfg)
        process = multiprocessing.get_context('fork').Process(
            target=train,
            args=(cfg, self.threads, folder, self.embeddings(name)),
            name=name,
        )
        process.start()
        return process

    @staticmethod
    def _add_records(cfg: Config, folder: Path) -> None:
        """Let each step write down what it took and gave."""

        def hooks(changes: dict, step: str) -> list:
            own = changes.get('custom_hooks', cfg.get('custom_hooks')) or []
            views = changes.get('data_preprocessor', {}).get('num_views') or 1
            record = dict(
                type='MethodRecordHook',
                path=str(folder / 'records.jsonl'),
                step=step,
                num_views=views,
            )
            return [*own, record]

        steps = cfg.get('steps') or {}
        for step, changes in steps.items():
            changes.custom_hooks = hooks(changes, step)
        if not steps:
            cfg.custom_hooks = hooks(cfg, 'train')

    def finish(self, name: str, seed: int) -> None:
        """Add a finished run to the results."""
        folder = self._work_dir(name, seed)
        self.runs[self.key(name, seed)] = dict(
            fingerprint=self.fingerprint(name, seed),
            commit=self.environment['commit'],
            date=self.environment['date'],
            processor=self.environment['processor'],
            cores=self.environment['cores'],
            torch=self.environment['versions']['torch'],
            jobs=self.args.jobs,
            threads=self.threads,
            **read_records(folder),
        )
        options = self.embeddings(name)
        if options:
            self.runs[self.key(name, seed)].update(
                embeddings=read_embeddings(folder, options), embeddings_by=options
            )
        self.write()
        done = self.runs[self.key(name, seed)]
        print(
            f'{self.key(name, seed)}: mAP {done["metrics"]["multi-label/mAP"]:.2f}, '
            f'{done["images"]} images, {done["seconds"] / 60:.1f} min',
            flush=True,
        )

    def write(self) -> dict:
        """Write the file of results."""
        result = dict(
            name=self.name,
            title=self.suite.title,
            description=self.suite.description,
            reference=self.suite.reference,
            frozen=bool(self.suite.get('frozen')),
            num_tuning=self.suite.get('num_tuning', 0),
            amp=bool(self.suite.get('amp')),
            embeddings=self.suite.get('embeddings'),
            methods={
                name: dict(
                    label=method.get('label', name),
                    config=method.config,
                    start=method.get('start'),
                    reference=method.get('reference') or self.suite.reference,
                )
                for name, method in self.suite.methods.items()
            },
            runs=self.runs,
        )
        if self.outdated:
            result['outdated'] = self.outdated
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix('.part')
        part.write_text(json.dumps(result, indent=1) + '\n')
        os.replace(part, self.file)
        return result

    def run(self) -> int:
        """Train what is to do.

        Returns:
            int: The number of runs that failed.
        """
        waiting, running, failed = self.wanted(), {}, set()
        for run in waiting:
            folder = self._work_dir(*run)
            needed = self.is_done(*run) or not self.is_complete(*run)
            if needed and folder.exists() and last_checkpoint(folder) is None:
                # The weights are gone: nothing there can be resumed.
                shutil.rmtree(folder)
        done = sum(self.is_done(*run) for run in self.configs)
        print(
            f'{len(waiting)} runs to do, {done} in {self.file}; '
            f'{len(self.outdated)} there are of other configs and set apart',
            flush=True,
        )
        while waiting or running:
            for run in list(waiting):
                start = self.suite.methods[run[0]].get('start')
                if (start, run[1]) in failed:
                    waiting.remove(run)
                    failed.add(run)
                elif self.is_complete(*run):
                    waiting.remove(run)
                    self.finish(*run)
                elif len(running) < self.args.jobs and self.is_ready(*run):
                    waiting.remove(run)
                    running[run] = self.start(*run)
            if not running:
                break
            multiprocessing.connection.wait([p.sentinel for p in running.values()])
            for run, process in list(running.items()):
                if process.exitcode is None:
                    continue
                del running[run]
                if process.exitcode:
                    failed.add(run)
                    log = self._work_dir(*run) / 'log.txt'
                    print(f'{self.key(*run)} failed, see {log}', flush=True)
                    continue
                self.finish(*run)
        return len(failed)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    args.out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(args.out / f'.{args.suite.stem}.lock', timeout=0)
    try:
        lock.acquire()
    except Timeout:
        sys.exit(
            f'Another call writes to {args.out / args.suite.stem}.json. Wait for its '
            'end, or choose another --out.'
        )
    with lock:
        comparison = Comparison(args)
        failed = comparison.run()
        result = comparison.write()
        if result['runs']:
            print(format_methods(result))
            print(draw_methods(result, args.out))
    if failed:
        sys.exit(f'{failed} runs failed.')


if __name__ == '__main__':
    main()
