# SPDX-License-Identifier: Apache-2.0
"""Kill a training at random moments, resume it, and compare it with an undisturbed one.

    python tests/soak_resume.py --kills 30 --workers 2
    python tests/soak_resume.py --kills 10 --processes 2
    python tests/soak_resume.py --kills 30 --save-every 1 --method sadcl --fork

A small model trains two steps with EMA, random augmentations, dropout, and a method in
the second step: a memory of embeddings (``memory``), SADCL's prototypes and memory
(``sadcl``), or MILe's teacher (``mile``). Its processes get SIGKILL, and the same
command starts again. At the end all checkpoints, optimizer states and logged values
must be equal bit for bit. Prints one line per kill and the result, and exits with 1 if
anything differs. With ``--keep``, a call that is cut off goes on where it was.
"""

import argparse
import json
import os
import random
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import torch

from mlcl_plugin.engine.safe_checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
_base_ = [{base!r}]
crop = dict(type='RandomResizedCrop', scale=32)
pipeline = [dict(type='LoadImage'), dict(type='LabelsToTargets', num_classes=3)]
pack = dict(type='PackInputs')
views = dict(type='MultiView', num_views=[2], transforms=[[crop]])
data = dict(
    type='TabularMultiLabel', data_root={root!r}, ann_file='labels.csv',
    data_prefix='images')
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=2,
        strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(
        type='LabelQueryDecoder', num_classes=3, in_channels=16, embed_dims=16,
        num_heads=2, dropout=0.1),
    head=dict(type='LabelWiseClsHead', num_classes=3, in_channels=16))
data_preprocessor = dict(
    type='MultiViewDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True)
train_dataloader = dict(
    batch_size=4, num_workers={workers},
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**data, split='train', pipeline=[*pipeline, crop, pack]))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**data, split='val', pipeline=[*pipeline, pack]))
val_evaluator = dict(type='MultiLabelRecognitionMetric')
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.003))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max={epochs})]
train_cfg = dict(by_epoch=True, max_epochs={epochs})
val_cfg = dict()
default_hooks = dict(logger=dict(interval=1), checkpoint={checkpoint})
custom_hooks = [
    dict(type='EMAHook', momentum=0.05, update_buffers=True, priority='ABOVE_NORMAL')]
randomness = dict(seed={seed}, deterministic={deterministic})
runner_type = 'mmpretrain.StepwiseRunner'
steps = dict(
    step1=dict(),
    step2=dict(
        custom_hooks=custom_hooks + {hooks},
        data_preprocessor=dict(num_views=2),
        model=dict(head={head}),
        train_dataloader=dict(
            dataset=dict(pipeline=[*pipeline, views, pack])),
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9))))
"""
MEMORY = dict(
    loss_contrastive=dict(
        type='LabelWiseContrastiveLoss',
        memory=dict(type='EmbeddingMemory', size=16, embed_dims=8),
    ),
    projector=dict(hidden_channels=16, out_channels=8),
)
PROTOTYPES = dict(
    type='SADCLHead', projector=dict(out_channels=8), num_slots=8, memory_thr=0.3
)
METHODS = {
    'memory': (MEMORY, []),
    'sadcl': (PROTOTYPES, [dict(type='PrototypeInitHook', thr=0.5)]),
    'mile': (MEMORY, [dict(type='MILeHook', teacher_iters=7, student_iters=5)]),
}
"""Head of the second step, and hooks that it has beside the first step's."""


def make_images(root: Path, number: int) -> None:
    """Write noisy images, each label a bright corner of one colour, and their table."""
    rng = np.random.default_rng(0)
    (root / 'images').mkdir(parents=True)
    rows = ['image,split,a,b,c']
    for index in range(number):
        labels = rng.random(3) < 0.4
        image = rng.integers(0, 90, (40, 40, 3), dtype=np.uint8)
        for label in np.flatnonzero(labels):
            y, x = divmod(int(label), 2)
            image[20 * y : 20 * y + 20, 20 * x : 20 * x + 20, label] += 120
        cv2.imwrite(str(root / f'images/{index}.png'), image)
        split = 'val' if index % 5 == 0 else 'train'
        rows.append(f'{index}.png,{split},' + ','.join(str(int(x)) for x in labels))
    (root / 'labels.csv').write_text('\n'.join(rows) + '\n')


def write_config(args: argparse.Namespace, folder: Path) -> str:
    """Write the config of a run."""
    checkpoint = dict(max_keep_ckpts=1)
    if args.save_every:
        checkpoint |= dict(by_epoch=False, interval=args.save_every)
    head, hooks = METHODS[args.method]
    return CONFIG.format(
        base=str(ROOT / 'configs/_base_/default_runtime.py'),
        root=str(folder / 'data'),
        workers=args.workers,
        epochs=args.epochs,
        seed=args.seed,
        deterministic=args.deterministic,
        checkpoint=checkpoint,
        head=head,
        hooks=hooks,
    )


class Command:
    """The command that starts, and starts again.

    Args:
        config (Path): The config.
        processes (int): The number of processes, each with one thread.
        fork (bool): Run it in a fork of this process, which has imported everything.
    """

    def __init__(self, config: Path, processes: int, fork: bool) -> None:
        self.config = config
        self.processes = processes
        self.fork = fork

    def run(self, work_dir: Path, log: Path, life: 'Life | None') -> bool:
        """Run a training, and kill it after a while.

        Returns:
            bool: Whether it came to its end.
        """
        before = progress(work_dir)
        with log.open('ab') as file:
            process = self._start(work_dir, file)
            while process.poll() is None:
                if life is not None and progress(work_dir) - before >= life.events:
                    time.sleep(life.seconds)
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return False
                time.sleep(0.02)
        if process.returncode:
            sys.exit(f'The training failed, see {log}:\n{log.read_text()[-3000:]}')
        return True

    def _start(self, work_dir: Path, file: BinaryIO) -> 'subprocess.Popen | Fork':
        options = [str(self.config), '--work-dir', str(work_dir), '--resume']
        tool = str(ROOT / 'tools/train.py')
        if self.processes > 1:
            options += ['--launcher', 'pytorch']
        if self.fork:
            return Fork([tool, *options], self.processes, file)
        call = [sys.executable, tool, *options]
        if self.processes > 1:
            call = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
            call += [f'--nproc_per_node={self.processes}', tool, *options]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        return subprocess.Popen(
            call, stdout=file, stderr=file, env=environment, start_new_session=True
        )


class Fork:
    """A script that runs in forks of this process, which are a group of their own.

    Args:
        call (list[str]): The script and its options.
        processes (int): The number of processes that run it. More than one have an
            environment as from torchrun, whose place a process of the group takes.
        file (BinaryIO): Gets what they write.
    """

    def __init__(self, call: list[str], processes: int, file: BinaryIO) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            if processes == 1:
                run_script(call)
            launch(call, processes)

    def poll(self) -> int | None:
        """The exit status, if the process has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> None:
        """Wait for the end."""
        os.waitpid(self.pid, 0)


def launch(call: list[str], processes: int) -> None:
    """Run a script in forks, wait for them, and end; if one fails, end its group."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    place = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE=processes)
    for rank in range(processes):
        if os.fork() == 0:
            values = dict(place, RANK=rank, LOCAL_RANK=rank)
            os.environ.update({key: str(value) for key, value in values.items()})
            run_script(call)
    for _ in range(processes):
        if os.wait()[1]:
            os.killpg(0, signal.SIGKILL)
    os._exit(0)


def run_script(call: list[str]) -> None:
    """Run a script in this process, and end."""
    status = 1
    try:
        sys.argv = call
        torch.set_num_threads(1)
        runpy.run_path(call[0], run_name='__main__')
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


class Life(NamedTuple):
    """When a run is killed: after starts of steps and iterations, and seconds."""

    events: int
    seconds: float

    @classmethod
    def draw(cls, generator: random.Random, longest: int) -> 'Life':
        """Draw it from nothing to ``longest`` iterations."""
        return cls(1 + generator.randint(0, longest), generator.uniform(0, 1))


def progress(work_dir: Path) -> int:
    """Count starts of steps, iterations and validations, of all lives."""
    files = work_dir.glob('*/*/vis_data/scalars.json')
    logs = len(list(work_dir.glob('*/*/*.log')))
    return logs + sum(file.read_text().count('\n') for file in files)


def describe(work_dir: Path) -> str:
    """The newest checkpoint of a run."""
    files = sorted(work_dir.glob('*/*.pth'), key=lambda path: path.stat().st_mtime_ns)
    return '/'.join(files[-1].parts[-2:]) if files else 'no checkpoint'


def last_values(step: Path) -> dict[int, dict]:
    """Logged values of a step by training iteration; of repeated ones the last."""
    values = {}
    for file in sorted(step.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                # The line that was being written when the process was killed.
                continue
            kind = 'val' if 'step' in row and 'loss' not in row else 'train'
            dropped = ('time', 'data_time', 'memory')
            values[kind, row['step']] = {
                k: v for k, v in row.items() if k not in dropped
            }
    return values


def differences(first: object, second: object, name: str = '') -> list[str]:
    """Names of what is not equal bit for bit."""
    if type(first) is not type(second):
        return [f'{name}: {type(first)} and {type(second)}']
    if isinstance(first, dict):
        if set(first) != set(second):
            return [f'{name}: keys {set(first) ^ set(second)}']
        return [
            d for k in first for d in differences(first[k], second[k], f'{name}.{k}')
        ]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [f'{name}: lengths {len(first)} and {len(second)}']
        pairs = enumerate(zip(first, second))
        return [d for i, (a, b) in pairs for d in differences(a, b, f'{name}[{i}]')]
    if isinstance(first, torch.Tensor):
        return [] if first.equal(second) else [name]
    return [] if first == second else [f'{name}: {first!r} and {second!r}']


def compare(whole: Path, resumed: Path) -> list[str]:
    """Compare the steps of two work folders."""
    found = []
    for step in ('step1', 'step2'):
        names = [
            sorted(p.name for p in d.glob('*.pth*'))
            for d in (whole / step, resumed / step)
        ]
        if names[0] != names[1]:
            found.append(f'{step}: files {names[0]} and {names[1]}')
        for name in set(names[0]) & set(names[1]):
            contents = [read_checkpoint(d / step / name) for d in (whole, resumed)]
            for part in (
                'state_dict',
                'ema_state_dict',
                'optimizer',
                'param_schedulers',
            ):
                if part in contents[0]:
                    found += differences(
                        *(c[part] for c in contents), f'{step}/{name} {part}'
                    )
        values = [last_values(d / step) for d in (whole, resumed)]
        found += differences(*values, f'{step} logged')
    return found


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--method', choices=METHODS, default='memory')
    parser.add_argument(
        '--save-every', type=int, help='iterations; by default an epoch'
    )
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--images', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--longest', type=int, default=12, help='iterations of a life')
    parser.add_argument(
        '--fork', action='store_true', help='start runs as forks, without imports'
    )
    parser.add_argument(
        '--deterministic', action='store_true', help='needed on a GPU to be equal'
    )
    parser.add_argument('--keep', type=Path, help='keep the folders here')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.deterministic:
        # Without it, torch refuses matrix products on a GPU.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    folder = args.keep or Path(tempfile.mkdtemp(prefix='soak_'))
    config = folder / 'soak.py'
    if not config.exists():
        make_images(folder / 'data', args.images)
        config.write_text(write_config(args, folder))
    whole, state_file = folder / 'whole', folder / 'state.json'
    state = dict(kills=0, rounds=0, whole=False)
    if state_file.exists():
        state = json.loads(state_file.read_text())
    start = Command(config, args.processes, args.fork)
    if not state['whole']:
        shutil.rmtree(whole, ignore_errors=True)
        begun = time.monotonic()
        start.run(whole, folder / 'whole.log', None)
        print(f'undisturbed: {time.monotonic() - begun:.0f} s', flush=True)
        state['whole'] = True
    # Runs are killed until there are enough kills; the last one comes to its end.
    while state['kills'] < args.kills:
        target, ended = folder / f'resumed{state["rounds"] + 1}', False
        # Killed on its way out, a run has nothing left to resume.
        while not ended and not (target / 'step2/finished_checkpoint').exists():
            state_file.write_text(json.dumps(state))
            draw = random.Random(f'{args.seed} {state["kills"]}')
            living = state['kills'] < args.kills
            life = Life.draw(draw, args.longest) if living else None
            ended = start.run(target, folder / 'resumed.log', life)
            if not ended:
                state['kills'] += 1
                where = describe(target)
                print(f'kill {state["kills"]}: {life}, {where}', flush=True)
        found = compare(whole, target)
        if found:
            print('\n'.join(found[:20]))
            print(
                f'{len(found)} differences after {state["kills"]} kills; see {folder}'
            )
            return 1
        state['rounds'] += 1
        state_file.write_text(json.dumps(state))
    print(f'equal bit for bit: {state["rounds"]} runs, {state["kills"]} kills')
    if args.keep is None:
        shutil.rmtree(folder)
    return 0


if __name__ == '__main__':
    sys.exit(main())
