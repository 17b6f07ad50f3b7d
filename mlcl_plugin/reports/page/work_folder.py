# SPDX-License-Identifier: Apache-2.0
"""What a training has left in its work folder, found by names and without running it.

No checkpoint is opened, and no config is executed.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...evaluation.score_dump import IMAGE, SCORE
from ...local_files import check_regular
from ..training_log import read_scalars
from .plain_config import read_plain_config

STARTED = re.compile(r'\d{8}_\d{6}')
"""The name of a folder that MMEngine makes at each start."""
HEAD_BYTES = 2**16
LOG_BYTES = 2**18
"""Bytes of a log that are read: the environment stands at its start."""
MAX_JSON = 2**26
SKIPPED = (
    'PyTorch compiling details',
    'MUSA available',
    'Distributed launcher',
    'GPU number',
    'cudnn_benchmark',
    'dist_cfg',
    'mp_cfg',
    'numpy_random_seed',
)
"""What MMEngine logs about the environment and says little."""
CHECKS = ('data/check.json', 'check.json', 'report.json', 'check/report.json')
"""Where the findings about the data may be."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, by its path in the work folder; its size is in bytes."""

    name: str
    size: int


@dataclass
class WorkFolder:
    """What was found. Paths are those of the files.

    Attributes:
        path (Path): The folder.
        kind (str): ``'fit'`` for a folder of ``mlcl fit``, ``'steps'`` for one of
            ``mlcl train`` with steps, ``'run'`` for one without.
        steps (dict[str, Path]): The folder of each step by its name; of a run without
            steps, the folder itself by ``''``.
        unfinished (list[str]): Steps that have no mark of their end.
        config (dict): The config with all steps, or without steps; empty if unknown.
        config_path (Path, optional): Its file.
        step_configs (dict[str, dict]): The config of each step, where it was written.
        rows (list[dict]): See :func:`~mlcl_plugin.reports.training_log.read_scalars`.
        checkpoints (list[Checkpoint]): All of them.
        model (Path, optional): The final one.
        dumps (list[Path]): Score dumps.
        decisions (Path, optional): The file of thresholds.
        data_check (dict): The findings about the data; empty if there are none.
        options (dict): The options of a fit.
        comparison (dict): What a fit has found beside the model, such as its baseline.
        environment (dict[str, str]): What MMEngine has logged.
        missing (list[str]): What is not there, and how to make it.
    """

    path: Path
    kind: str
    steps: dict[str, Path] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    config_path: Path | None = None
    step_configs: dict[str, dict] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    model: Path | None = None
    dumps: list[Path] = field(default_factory=list)
    decisions: Path | None = None
    data_check: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    comparison: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def model_files(work: WorkFolder) -> tuple[Path, Path] | None:
    """The config and the checkpoint of the final model; None if one is missing."""
    config = work.config_path
    if work.model is None or config is None:
        return None
    # Memories of neighbours come with a config of their own.
    beside = work.model.with_suffix('.py')
    if work.model.name == 'neighbours.pth' and beside.is_file():
        config = beside
    return config, work.model


def read_work_folder(
    path: Path, dumps: Sequence[Path] = (), decisions: Path | None = None
) -> WorkFolder:
    """Find what a training has left.

    Args:
        path (Path): The work folder of a training, or the folder of a fit.
        dumps (Sequence[Path]): Score dumps. Defaults to those in the folder.
        decisions (Path, optional): The file of thresholds. Defaults to
            ``decisions.json`` in the folder, if there is one.

    Returns:
        WorkFolder: What was found.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is no folder of a training.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f'There is no folder {path}. Expected the work folder of mlcl train, or '
            'the folder --out of mlcl fit.'
        )
    is_fit = (path / 'fit.json').is_file()
    runs = path / 'train' if is_fit else path
    steps = {
        child.name: child
        for child in sorted(runs.iterdir() if runs.is_dir() else [])
        if child.is_dir() and _has_run(child)
    }
    if _has_run(runs) and not steps:
        steps = {'': runs}
    if not steps and not is_fit:
        raise ValueError(
            f'{path} is no work folder: neither it nor a folder in it has logs of a '
            'training (TIME/vis_data), and there is no fit.json. Expected the work '
            'folder of mlcl train, or the folder --out of mlcl fit.'
        )
    kind = 'fit' if is_fit else 'run' if list(steps) == [''] else 'steps'
    work = WorkFolder(path, kind, _in_order(steps))
    _read_configs(work)
    for name, folder in work.steps.items():
        work.rows += read_scalars(folder, name)
        if name and not (folder / 'finished_checkpoint').exists():
            work.unfinished.append(name)
    _find_checkpoints(work)
    work.dumps = list(dumps) or list(_find_dumps(path))
    work.decisions = decisions
    if decisions is None and (path / 'decisions.json').is_file():
        work.decisions = path / 'decisions.json'
    if is_fit:
        work.options = read_json(path / 'fit.json') or {}
        work.comparison = read_json(path / 'report.json') or {}
    for name in CHECKS:
        content = read_json(path / name)
        if content is not None and isinstance(content.get('findings'), list):
            work.data_check = content
            break
    work.environment = _read_environment(work)
    work.missing = list(_describe_missing(work))
    return work


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object.

    Returns:
        dict, optional: None if there is no such file or it holds something else.
    """
    try:
        check_regular(path)
        if path.stat().st_size > MAX_JSON:
            return None
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _has_run(folder: Path) -> bool:
    return folder.is_dir() and any(
        child.is_dir() and STARTED.fullmatch(child.name) for child in folder.iterdir()
    )


def _in_order(steps: dict[str, Path]) -> dict[str, Path]:
    """Sort steps by their first start."""

    def first(folder: Path) -> str:
        return min(c.name for c in folder.iterdir() if STARTED.fullmatch(c.name))

    return dict(sorted(steps.items(), key=lambda item: (first(item[1]), item[0])))


def _read_configs(work: WorkFolder) -> None:
    def take(path: Path) -> dict | None:
        try:
            return read_plain_config(path)
        except (OSError, ValueError):
            return None

    for name, folder in work.steps.items():
        # The one of the last start stands in the folder, as `config.py` of its log.
        for path in sorted(folder.glob('*/vis_data/config.py'), reverse=True):
            content = take(path)
            if content is not None:
                work.step_configs[name] = content
                work.config_path = path
                break
    whole = [work.path / 'config.py'] if work.kind == 'fit' else []
    for path in whole:
        content = take(path)
        if content is not None:
            work.config, work.config_path = content, path
    if not work.config and work.step_configs:
        work.config = list(work.step_configs.values())[-1]


def _find_checkpoints(work: WorkFolder) -> None:
    folders = [work.path, *work.steps.values()]
    paths = {path for folder in folders for path in folder.glob('*.pth')}
    for path in sorted(paths):
        if path.is_file():
            name = path.relative_to(work.path).as_posix()
            work.checkpoints.append(Checkpoint(name, path.stat().st_size))
    if (work.path / 'model.pth').is_file():
        work.model = work.path / 'model.pth'
    elif work.steps:
        last = list(work.steps.values())[-1]
        epochs = [p for p in last.glob('*.pth') if p.is_file()]
        filled = last / 'neighbours.pth'
        if filled in epochs:
            work.model = filled
        elif epochs:
            work.model = max(epochs, key=lambda p: (p.stat().st_mtime_ns, p.name))


def _find_dumps(path: Path) -> Iterator[Path]:
    """Score dumps in a folder and in those of its steps."""
    head = f'{IMAGE},'.encode()
    folders = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if not file.is_file():
                continue
            if file.suffix == '.csv':
                with file.open('rb') as stream:
                    start = stream.read(HEAD_BYTES)
                start = start.removeprefix(b'\xef\xbb\xbf')
                quoted = start[len(head) :].lstrip(b'"')
                if start.startswith(head) and quoted.startswith(SCORE.encode()):
                    yield file
            elif file.suffix in ('.parquet', '.pkl') and 'scores' in file.name:
                yield file


def _read_environment(work: WorkFolder) -> dict[str, str]:
    """Read what MMEngine has logged about machine, versions and seed."""
    found: dict[str, str] = {}
    for folder in reversed(list(work.steps.values())):
        for path in sorted(folder.glob('*/*.log'), reverse=True):
            if not path.is_file():
                continue
            with path.open('rb') as stream:
                text = stream.read(LOG_BYTES).decode('utf-8', 'replace')
            _, _, text = text.partition('System environment:')
            text, _, _ = text.partition('\n----------')
            for line in text.splitlines():
                name, colon, value = line.partition(': ')
                # Details of how PyTorch was compiled are long and have a dash.
                if colon and re.match(r'    \w', name) and len(value) < 200:
                    found.setdefault(name.strip(), value.strip())
            if found:
                return {k: v for k, v in found.items() if k not in SKIPPED}
    return found


def _describe_missing(work: WorkFolder) -> Iterator[str]:
    folder = work.path
    if not work.steps:
        yield 'The training has not begun: there is no folder of a run.'
    elif not work.rows:
        yield 'No losses and validations: the training has not logged any yet.'
    if work.unfinished:
        yield f'The training has not finished: {", ".join(work.unfinished)}.'
    if not work.config:
        yield 'No config: the training has not written one that can be read.'
    if work.steps and not work.checkpoints:
        yield 'No checkpoint: none was saved, or it was deleted.'
    if not work.dumps:
        yield (
            'No scores, so that there are no values of labels, no curves of precision '
            'against recall, no calibration, no confused pairs and no images. Make '
            f'them: mlcl test CONFIG CHECKPOINT --out {folder / "test_scores.csv"}'
        )
    elif work.decisions is None:
        yield (
            'No thresholds of labels, so that 0.5 is used for all. Find them on scores '
            'of validation images: mlcl thresholds VAL_SCORES --out '
            f'{folder / "decisions.json"}'
        )
    if not work.data_check:
        yield (
            'No findings about the data. Make them: mlcl check CONFIG --out '
            f'{folder / "check"}'
        )
