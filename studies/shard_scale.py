# SPDX-License-Identifier: Apache-2.0
"""Train on shards in several processes, kill and resume; and read 200,000 images.

Small images are made in tar files, with which processes train (gloo on CPUs) until they
are killed, and go on. Every image should be trained on once an epoch. Of a larger set
are measured: the time and the memory of the index, images per second, and the memory of
every worker. Results are docs/scale.md's.
"""

import argparse
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from seen_images import count_seen, read_seen

from mlcl_plugin.command_line import number
from mlcl_plugin.text_table import table_of_rows

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ('red', 'green', 'blue', 'yellow', 'violet')
COLORS = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255))
"""Of squares, in the order blue, green, red."""
PER_SHARD = 1_000
CONFIG = """\
_base_ = [{base!r}]
custom_imports = dict(imports=['mlcl_plugin', 'seen_images'])
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    neck=dict(num_classes=5, in_channels=16, embed_dims=32),
    head=dict(num_classes=5, in_channels=32),
)
pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=5),
    dict(type='FastRandomFlip', prob=0.5),
    dict(type='FastPackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    drop_last=False,
    dataset=dict(
        _delete_=True,
        type='TarShards',
        ann_file={shards!r},
        classes={classes!r},
        cache_dir={cache!r},
        pipeline=pipeline,
    ),
)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
train_cfg = dict(max_epochs={epochs}, val_interval=1000)
steps = dict(_delete_=True, step1=dict(train_cfg=dict(max_epochs={epochs})))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='SeenImagesHook', file={seen!r}),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={every}, save_best=None)
)
vis_backends = []
visualizer = dict(vis_backends=vis_backends)
"""


def make_shards(folder: Path, images: int, size: int) -> str:
    """Write images of coloured squares in tar files; return their pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for start in range(0, images, PER_SHARD):
        path = folder / f'train-{start // PER_SHARD:05}.tar'
        if path.is_file():
            continue
        part = path.with_suffix('.part')
        with tarfile.open(part, 'w') as archive:
            for name in range(start, min(images, start + PER_SHARD)):
                picture, labels = draw(rng, size)
                encoded = cv2.imencode('.jpg', picture)[1].tobytes()
                for suffix, content in (
                    ('jpg', encoded),
                    ('cls', ' '.join(map(str, labels)).encode()),
                ):
                    info = tarfile.TarInfo(f'{name:07}.{suffix}')
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        part.rename(path)
    return str(folder / 'train-*.tar')


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[int]]:
    """An image of noise, with a square in the colour of each label that it has."""
    picture = rng.integers(64, 192, (size, size, 3), dtype=np.uint8)
    labels = np.flatnonzero(rng.random(len(CLASSES)) < 0.3).tolist()
    side = size // 4
    for label in labels:
        y, x = rng.integers(0, size - side, 2)
        picture[y : y + side, x : x + side] = COLORS[label]
    return picture, labels


def memory(pid: int) -> dict[str, float]:
    """Resident and proportional memory of a process in MB; {} if it has ended."""
    try:
        text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    except OSError:
        return {}
    found = dict(line.split(':') for line in text.splitlines()[1:])
    return {key: int(found[key].split()[0]) / 1000 for key in ('Rss', 'Pss')}


def cpu_of_all() -> float:
    """Seconds of a processor that this process and those that run for it have used."""
    total = time.process_time()
    for child in children(os.getpid()):
        fields = Path(f'/proc/{child}/stat').read_text().rpartition(')')[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    return total


def children(pid: int) -> list[int]:
    """Processes that a process has started, and theirs."""
    try:
        text = Path(f'/proc/{pid}/task/{pid}/children').read_text()
    except OSError:
        return []
    own = [int(word) for word in text.split()]
    return own + [other for child in own for other in children(child)]


def train(work: Path, shards: str, epochs: int, kills: Sequence[int], args) -> dict:
    """Train in several processes; kill them at iterations of rank 0, and resume.

    The first kill is that of rank 1, whereupon torchrun ends the others; the others are
    of torchrun itself.
    """
    work.mkdir(parents=True, exist_ok=True)
    seen, config = work / 'seen', work / 'config.py'
    config.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/mlcl_resnet_digits.py'),
            shards=shards,
            classes=CLASSES,
            cache=str(work / 'cache'),
            epochs=epochs,
            seen=str(seen),
            every=args.save_every,
        )
    )
    path = f'{ROOT / "studies"}:{os.environ.get("PYTHONPATH", "")}'
    env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1', PYTHON=sys.executable)
    command = [
        *('bash', str(ROOT / 'tools/dist_train.sh'), str(config), str(args.processes)),
        *('--work-dir', str(work / 'run'), '--resume'),
        # No GPU, so that results are those of the docs.
        *('--cfg-options', 'env_cfg.dist_cfg.backend=gloo'),
    ]
    peak: dict[str, float] = {}
    lives: list[dict] = []
    for life, stop in enumerate((*kills, None)):
        start, before = time.monotonic(), count_lines(seen)
        with (work / f'log_{life}.txt').open('w') as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        first = None
        while process.poll() is None:
            time.sleep(0.5)
            lines = count_lines(seen)
            if first is None and lines > before:
                first = time.monotonic() - start
            watch(process.pid, peak)
            if stop is not None and lines >= stop:
                victim = process.pid
                if life == 0 and args.processes > 1:
                    victim = read_seen(seen, args.processes)[-1][1]
                os.kill(victim, signal.SIGKILL)
                stop = None
                process.wait(300)
        lives.append(
            dict(
                exit_code=process.returncode,
                seconds=round(time.monotonic() - start, 1),
                first_batch_seconds=None if first is None else round(first, 1),
                batches_of_rank_0=count_lines(seen) - before,
            )
        )
        print(lives[-1], flush=True)
    return dict(**count_seen(seen, args.processes), starts=lives, peak_memory_MB=peak)


def count_lines(seen: Path) -> int:
    """Number of batches that rank 0 has trained."""
    path = Path(f'{seen}.0')
    return path.read_bytes().count(b'\n') if path.is_file() else 0


def watch(pid: int, peak: dict[str, float]) -> None:
    """Keep the peak memory of processes, by what they are."""
    total = 0.0
    for child in [pid, *children(pid)]:
        found = memory(child)
        if not found:
            continue
        total += found['Pss']
        try:
            command = Path(f'/proc/{child}/cmdline').read_text()
        except OSError:
            continue
        depth = 'training process' if 'train.py' in command else 'other'
        if 'torch.distributed.run' in command:
            depth = 'torchrun'
        elif depth == 'training process' and not children(child):
            depth = 'worker'
        for key, value in found.items():
            name = f'{depth}, {key}'
            peak[name] = round(max(value, peak.get(name, 0)))
    peak['all, Pss'] = round(max(total, peak.get('all, Pss', 0)))


def index(shards: str, cache: str | None) -> dict:
    """Build the dataset: seconds and memory. To be called in a process of its own."""
    dataset_of(shards, None, 'warm up')  # imports
    before = memory(os.getpid())['Rss']
    start, worked = time.monotonic(), time.process_time()
    dataset = dataset_of(shards, cache)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - worked
    status = Path('/proc/self/status').read_text()
    peak = int(status.split('VmHWM:')[1].split()[0]) / 1000
    return dict(
        images=len(dataset),
        seconds=round(seconds, 2),
        cpu_seconds=round(cpu_seconds, 2),
        peak_MB=round(peak - before),
        kept_MB=round(memory(os.getpid())['Rss'] - before),
        serialized_bytes_per_image=round(dataset.data_bytes.nbytes / len(dataset), 1),
    )


def dataset_of(shards: str, cache: str | None, only: str | None = None):
    """The dataset with the pipeline of the training; None if only imports are due."""
    import mlcl_plugin.apis  # noqa: F401
    from mlcl_plugin.datasets import TarShards

    if only:
        return None
    return TarShards(
        ann_file=shards,
        classes=CLASSES,
        cache_dir=cache,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=len(CLASSES)),
            dict(type='FastRandomFlip', prob=0.5),
            dict(type='FastPackInputs'),
        ],
    )


def read(shards: str, cache: str, workers: int, shuffle: bool, resume: bool) -> dict:
    """Read an epoch; with ``resume`` stop in its middle and go on with a new loader.

    To be called in a process of its own.
    """
    from mmengine.dataset import DefaultSampler, default_collate
    from mmengine.registry import init_default_scope
    from seen_images import brief
    from torch.utils.data import BatchSampler, DataLoader

    from mlcl_plugin.engine.dataloader import with_order

    init_default_scope('mmpretrain')
    dataset = dataset_of(shards, cache)
    batches = list(BatchSampler(DefaultSampler(dataset, shuffle, seed=0), 64, False))
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=default_collate,
    )
    half = len(batches) // 2 if resume else len(batches)
    seen: list[str] = []
    own: list[dict] = []
    cpu_seconds = 0.0
    start, worked = time.monotonic(), cpu_of_all()
    for done, batch in enumerate(itertools.islice(loader, half)):
        seen += [brief(sample.img_path) for sample in batch['data_samples']]
        if done == len(batches) * 3 // 4:
            own = [memory(child) for child in children(os.getpid())]
            cpu_seconds = (cpu_of_all() - worked) * half / (done + 1)
    seconds = time.monotonic() - start
    found = dict(workers=workers, order='shuffled' if shuffle else 'as in the files')
    if resume:
        start = time.monotonic()
        rest = iter(with_order(loader, batch_sampler=batches[half:]))
        first = next(rest)
        found['first_batch_seconds'] = round(time.monotonic() - start, 2)
        for batch in itertools.chain([first], rest):
            seen += [brief(sample.img_path) for sample in batch['data_samples']]
    else:
        found['images_per_second'] = round(len(seen) / seconds)
        found['cpu_ms_per_image'] = round(1000 * cpu_seconds / len(seen), 3)
        found['main_MB'] = {k: round(v) for k, v in memory(os.getpid()).items()}
        found['worker_MB'] = {
            key: round(max(w[key] for w in own)) for key in (own[0] if own else ())
        }
    found['images'] = len(seen)
    found['different_images'] = len(set(seen))
    return found


def in_process(args: argparse.Namespace, *call) -> dict:
    """Call this script for one measurement, so that memory is that of it alone."""
    command = [sys.executable, __file__, '--folder', str(args.folder), '--one']
    env = dict(os.environ, OMP_NUM_THREADS='1')
    done = subprocess.run(
        [*command, json.dumps(call)], env=env, check=True, capture_output=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(call, found, flush=True)
    return found


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    whole = number(int, least=1)
    parser.add_argument(
        '--folder', type=Path, default=Path('work_dirs/shard_scale'), help='for all'
    )
    parser.add_argument('--images', type=whole, default=20_000, help='48 px; to train')
    parser.add_argument('--large', type=whole, default=200_000, help='32 px; to read')
    parser.add_argument('--epochs', type=whole, default=3, help='of --images')
    parser.add_argument('--processes', type=whole, default=2)
    parser.add_argument('--save-every', type=whole, default=40, help='iterations')
    parser.add_argument('--out', type=Path, default=Path('studies/shard_scale.json'))
    parser.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    folder = args.folder.absolute()
    if args.one:
        name, *values = args.one
        print(json.dumps(dict(index=index, read=read)[name](*values)))
        return
    results = json.loads(args.out.read_text()) if args.out.is_file() else {}

    def keep(name: str, measure: Callable[[], object]) -> None:
        """Measure what is not in the file yet."""
        if name not in results:
            results[name] = measure()
            args.out.write_text(json.dumps(results, indent=1) + '\n')

    def per_epoch(images: int) -> int:
        return -(-images // (64 * args.processes))

    def index_all() -> dict:
        return {
            name: in_process(args, 'index', large, where)
            for name, where in (
                ('without a cache', None),
                ('fills the cache', cache),
                ('from the cache', cache),
            )
        }

    def read_all() -> list[dict]:
        return [
            in_process(args, 'read', large, cache, workers, shuffle, False)
            for workers, shuffle in ((0, True), (2, True), (2, False))
        ]

    small = make_shards(folder / 'small', args.images, 48)
    large = make_shards(folder / 'large', args.large, 32)
    size = sum(path.stat().st_size for path in (folder / 'large').iterdir())
    keep(
        'settings',
        lambda: dict(
            images=args.images,
            large=args.large,
            processes=args.processes,
            save_every=args.save_every,
            cores=os.cpu_count(),
            load_before=round(os.getloadavg()[0], 2),
            bytes_per_large_image=round(size / args.large),
        ),
    )
    # Killed inside the first epoch, and inside the second.
    first = per_epoch(args.images)
    kills = (first // 2, first * 7 // 4)
    keep('train', lambda: train(folder / 'train', small, args.epochs, kills, args))
    cache = str(folder / 'cache')
    keep('index', index_all)
    keep('read', read_all)
    keep('resume', lambda: in_process(args, 'read', large, cache, 2, True, True))
    kills = (per_epoch(args.large) // 3,)
    keep('train_large', lambda: train(folder / 'train_large', large, 1, kills, args))
    for rows in tables(results):
        print(table_of_rows(rows), end='\n\n')


def tables(results: dict) -> list[list[dict]]:
    """The rows of the tables of the docs."""
    found = []
    for key in ('train', 'train_large'):
        run = results[key]
        found.append(
            [
                {
                    'epoch': str(int(epoch) + 1),
                    'images': f'{row["images"]:,}',
                    'once': f'{row["once"]:,}',
                    'more often': f'{row["more"]:,}',
                    'batches trained again': f'{row["batches_again"]:,}',
                }
                for epoch, row in run['epochs'].items()
            ]
        )
    found.append(
        [
            {
                'index': name,
                's': f'{row["seconds"]:.1f}',
                's of a processor': f'{row["cpu_seconds"]:.1f}',
                'peak, MB': f'{row["peak_MB"]:,}',
                'kept, MB': f'{row["kept_MB"]:,}',
            }
            for name, row in results['index'].items()
        ]
    )
    found.append(
        [
            {
                'order': row['order'],
                'workers': str(row['workers']),
                'images/s': f'{row["images_per_second"]:,}',
                'ms of a processor': f'{row["cpu_ms_per_image"]:.2f}',
                'RSS of a worker, MB': f'{row["worker_MB"].get("Rss", "")}',
                'PSS of a worker, MB': f'{row["worker_MB"].get("Pss", "")}',
                'RSS of the main process, MB': f'{row["main_MB"]["Rss"]}',
            }
            for row in results['read']
        ]
    )
    return found


if __name__ == '__main__':
    main()
