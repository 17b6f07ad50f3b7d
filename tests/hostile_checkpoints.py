# SPDX-License-Identifier: Apache-2.0
"""Try hostile and broken checkpoints at every place where one can be given.

    python tests/hostile_checkpoints.py
    python tests/hostile_checkpoints.py --out results.jsonl  # goes on where it ended
    python tests/hostile_checkpoints.py --files 'nan weights' tar --entries infer api

Each file is tried at each entry in a process of its own. It must end with exit code 2
and a line with the name of the file, run no code of the file (it would leave a canary),
and stay below limits of time and memory. Prints a table, and exits with 1 if anything
else happens. Times are those of a processor, without the import of libraries, which all
processes share. A part of it are tests: test_hostile_checkpoints.py.
"""

import argparse
import contextlib
import copy
import gc
import gzip
import io
import json
import os
import pickle
import random
import resource
import runpy
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
SECONDS = 20
"""Most time of a processor. A process that only waits is ended after ten times that."""
MEGABYTES = 1500
"""Greatest memory of a process, of which the libraries take about 500 MB."""


# --- files --------------------------------------------------------------------------


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def with_operations(path: Path, content: dict, operations: bytes) -> None:
    """Save a checkpoint, and put operations at the start of its pickle."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as target,
    ):
        for record in source.infolist():
            data = source.read(record)
            if record.filename.endswith('data.pkl'):
                # After the two bytes of the protocol; the result is left on the stack.
                data = data[:2] + operations + data[2:]
            target.writestr(record.filename, data)


def rewritten(path: Path, content: dict, change: Callable[[str, bytes], bytes]) -> None:
    """Save a checkpoint, and change its records."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as target,
    ):
        for record in source.infolist():
            name = record.filename
            target.writestr(name, change(name, source.read(record)))


def huge_storage(name: str, data: bytes) -> bytes:
    """Let the pickle declare a billion times the values of its tensors."""
    if not name.endswith('data.pkl'):
        return data
    # K\x40: 64 values, of a vector of 64; as a number of 8 bytes it is 2 ** 50.
    return data.replace(b'K\x40', b'\x8a\x08' + struct.pack('<q', 2**50))


def laughs() -> list:
    """Ten to the power of 30 items, by references."""
    value: list = ['ha'] * 10
    for _ in range(30):
        value = [value] * 10
    return value


def copies(before: bytes, after: bytes, keyed: bool = False) -> bytes:
    """Make a list or dict of 100,000 numbers, and 10,000 times something of it."""
    if keyed:
        texts = [b'X\x06\x00\x00\x00%06d' % n for n in range(10**5)]
        value = b'}q\xf0(' + b''.join(t + b'N' for t in texts) + b'u'
    else:
        numbers = (b'J' + struct.pack('<i', n) for n in range(10**5))
        value = b']q\xf0(' + b''.join(numbers) + b'e'
    argument = b'h\xf0' if keyed else b'h\xf0\x85'
    return value + (before + argument + after) * 10**4


def jit(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def tar(path: Path) -> None:
    with tarfile.open(path, 'w') as archive:
        data = pickle.dumps({})
        info = tarfile.TarInfo('pickle')
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


def archive(path: Path, records: dict[str, bytes], how: int) -> None:
    with zipfile.ZipFile(path, 'w', how) as file:
        for name, data in records.items():
            file.writestr(name, data)


def cut(path: Path, content: dict, part: float) -> None:
    torch.save(content, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


def flipped(path: Path, content: dict) -> None:
    torch.save(content, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def change(content: dict, **parts: object) -> dict:
    return {**content, **parts}


def with_attributes(weights: dict) -> OrderedDict:
    value = OrderedDict(weights)
    vars(value).update(keys='no method', copy='no method')
    return value


def weights(content: dict, function: Callable) -> dict:
    """Change every weight that has real numbers."""
    return change(
        content,
        state_dict={
            name: function(value) if value.is_floating_point() else value
            for name, value in content['state_dict'].items()
        },
    )


def code(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


#: Each makes a file from its path, a sound checkpoint, and the canary that code of the
#: file would make.
FILES: dict[str, Callable[[Path, dict, Path], object]] = {
    # Code
    'os.system in meta': lambda p, c, k: torch.save(
        change(c, meta=Call(os.system, f'touch {k}')), p
    ),
    'os.system in weights': lambda p, c, k: torch.save(
        change(c, state_dict={'head.bias': Call(os.system, f'touch {k}')}), p
    ),
    'os.system in the optimizer': lambda p, c, k: torch.save(
        change(c, optimizer=Call(os.system, f'touch {k}')), p
    ),
    'os.system as a key': lambda p, c, k: torch.save(
        change(c, extra={Call(os.system, f'touch {k}'): 1}), p
    ),
    'os.system, legacy format': lambda p, c, k: torch.save(
        change(c, meta=Call(os.system, f'touch {k}')),
        p,
        _use_new_zipfile_serialization=False,
    ),
    'os.system, plain pickle': lambda p, c, k: p.write_bytes(
        pickle.dumps(Call(os.system, f'touch {k}'))
    ),
    'os.system, gzip': lambda p, c, k: p.write_bytes(
        gzip.compress(pickle.dumps(Call(os.system, f'touch {k}')))
    ),
    'subprocess.Popen': lambda p, c, k: torch.save(
        change(c, x=Call(subprocess.Popen, ['touch', str(k)])), p
    ),
    'eval': lambda p, c, k: torch.save(change(c, x=Call(eval, code(k))), p),
    'exec': lambda p, c, k: torch.save(change(c, x=Call(exec, code(k))), p),
    'open': lambda p, c, k: torch.save(change(c, x=Call(open, str(k), 'w')), p),
    'getattr of a class': lambda p, c, k: torch.save(
        change(c, x=Call(getattr, OrderedDict, 'fromkeys')), p
    ),
    'getattr chain': lambda p, c, k: torch.save(
        change(c, x=Call(getattr, Call(__import__, 'os'), 'system')), p
    ),
    'importlib': lambda p, c, k: torch.save(
        change(c, x=Call(__import__, 'antigravity')), p
    ),
    'torch.load of another file': lambda p, c, k: torch.save(
        change(c, x=Call(torch.load, str(p))), p
    ),
    'torch.hub': lambda p, c, k: torch.save(
        change(c, x=Call(torch.hub.load, 'owner/name', 'entry')), p
    ),
    'runpy': lambda p, c, k: torch.save(change(c, x=Call(runpy.run_path, str(k))), p),
    'a module': lambda p, c, k: torch.save(torch.nn.Linear(2, 2), p),
    'TorchScript': lambda p, c, k: jit(p),
    'a name by the stack': lambda p, c, k: with_operations(
        p, c, b'\x8c\x02os\x8c\x06system\x93'
    ),
    'INST': lambda p, c, k: with_operations(
        p, c, b'(X' + struct.pack('<I', 4) + b'trueios\nsystem\n'
    ),
    'extension registry': lambda p, c, k: with_operations(p, c, b'\x82\x01'),
    # Bombs
    'zip bomb': lambda p, c, k: archive(
        p, {'x/data.pkl': bytes(10**8), 'x/version': b'3'}, zipfile.ZIP_DEFLATED
    ),
    'huge bytearray': lambda p, c, k: torch.save(
        change(c, x=Call(bytearray, 10**12)), p
    ),
    'huge array': lambda p, c, k: torch.save(
        change(c, x=Call(np.ndarray, (10**11,), 'f8')), p
    ),
    'huge tensor': lambda p, c, k: torch.save(
        change(c, x=Call(torch.Tensor, 10**11)), p
    ),
    'expanded tensor': lambda p, c, k: torch.save(
        change(c, state_dict={'w': torch.ones(1).expand(10**6, 10**6)}), p
    ),
    'declared values': lambda p, c, k: rewritten(
        p, change(c, x=torch.ones(64)), huge_storage
    ),
    'doubling by encode': lambda p, c, k: with_operations(
        p,
        c,
        b'c_codecs\nencode\nq\xf0X\x02\x00\x00\x00abX\x03\x00\x00\x00hex\x86R',
    ),
    'copies of a list': lambda p, c, k: with_operations(
        p, c, copies(b'c__builtin__\nset\n', b'R')
    ),
    'copies of attributes': lambda p, c, k: with_operations(
        p, c, copies(b'ccollections\nOrderedDict\n)R', b'b', keyed=True)
    ),
    'many operations': lambda p, c, k: with_operations(p, c, b'N' * 3 * 10**6),
    'huge string': lambda p, c, k: p.write_bytes(
        b'\x80\x02X' + struct.pack('<I', 2**31 - 1)
    ),
    # Damage
    'empty': lambda p, c, k: p.write_bytes(b''),
    'text': lambda p, c, k: p.write_text('no checkpoint\n'),
    'page of a server': lambda p, c, k: p.write_text('<!DOCTYPE html><h1>404</h1>'),
    'pointer of Git LFS': lambda p, c, k: p.write_text(
        'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'
    ),
    'zeros': lambda p, c, k: p.write_bytes(bytes(10**6)),
    'random bytes': lambda p, c, k: p.write_bytes(random.Random(0).randbytes(10**6)),
    'half of it': lambda p, c, k: cut(p, c, 0.5),
    'last bytes missing': lambda p, c, k: cut(p, c, 0.999),
    'one bit flipped': lambda p, c, k: flipped(p, c),
    'zip of other files': lambda p, c, k: archive(
        p, {'photo.jpg': b'abc'}, zipfile.ZIP_STORED
    ),
    'tar': lambda p, c, k: tar(p),
    # Other content
    'None': lambda p, c, k: torch.save(None, p),
    'a list': lambda p, c, k: torch.save([c], p),
    'a tensor': lambda p, c, k: torch.save(torch.ones(3), p),
    'an empty dict': lambda p, c, k: torch.save({}, p),
    'weights as a list': lambda p, c, k: torch.save(
        change(c, state_dict=list(c['state_dict'].values())), p
    ),
    'weights by number': lambda p, c, k: torch.save(
        change(c, state_dict=dict(enumerate(c['state_dict'].values()))), p
    ),
    'weights of another model': lambda p, c, k: torch.save(
        change(c, state_dict=torch.nn.Linear(2, 3).state_dict()), p
    ),
    'nan weights': lambda p, c, k: torch.save(
        weights(c, lambda w: torch.full_like(w, torch.nan)), p
    ),
    'infinite weights': lambda p, c, k: torch.save(
        weights(c, lambda w: torch.full_like(w, torch.inf)), p
    ),
    'integer weights': lambda p, c, k: torch.save(weights(c, lambda w: w.int()), p),
    'complex weights': lambda p, c, k: torch.save(
        weights(c, lambda w: w.to(torch.complex64)), p
    ),
    'numpy weights': lambda p, c, k: torch.save(weights(c, lambda w: w.numpy()), p),
    'lists of numbers': lambda p, c, k: torch.save(weights(c, lambda w: w.tolist()), p),
    'sparse weights': lambda p, c, k: torch.save(
        weights(c, lambda w: w.to_sparse()), p
    ),
    'weights whose methods are replaced': lambda p, c, k: torch.save(
        change(c, state_dict=with_attributes(c['state_dict'])), p
    ),
    'no file': lambda p, c, k: None,
    'a folder': lambda p, c, k: p.mkdir(),
    'a pipe': lambda p, c, k: os.mkfifo(p),
    'a device': lambda p, c, k: p.symlink_to('/dev/zero'),
    'a link to itself': lambda p, c, k: p.symlink_to(p),
}

#: Files that may be used: what could do harm in them is not looked at.
HARMLESS: dict[str, Callable[[Path, dict, Path], object]] = {
    'config as code': lambda p, c, k: torch.save(
        change(c, meta={**c['meta'], 'config': code(k), 'cfg': code(k)}), p
    ),
    'references to references': lambda p, c, k: torch.save(change(c, x=laughs()), p),
    'deep nesting': lambda p, c, k: with_operations(
        p, c, b']' * 10**5 + b'a' * (10**5 - 1)
    ),
}


# --- entries ------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a file is tried: a config with steps, one without, images, a folder."""

    steps: Path
    plain: Path
    images: Path
    folder: Path


def tool(name: str, *args: object) -> None:
    """Call a tool's main function."""
    import mlcl_plugin.engine

    sys.argv = [str(TOOLS / name), *map(str, args)]
    module = runpy.run_path(str(TOOLS / name))
    mlcl_plugin.engine.keep_memory = lambda: None
    sys.exit(module['main']())


def python_api(place: Place, path: Path) -> None:
    from mlcl_plugin.apis import MultiLabelInferencer
    from mlcl_plugin.errors import CheckpointError, MissingCheckpointError

    try:
        MultiLabelInferencer(str(place.plain), str(path), device='cpu')
    except (CheckpointError, MissingCheckpointError) as error:
        print(f'api: {error}', file=sys.stderr)
        sys.exit(2)


ENTRIES: dict[str, Callable[[Place, Path], None]] = {
    'load_from': lambda o, p: tool(
        'train.py', o.plain, '--work-dir', o.folder / 'work',
        '--cfg-options', f'load_from={p}',
    ),
    'load_from, steps': lambda o, p: tool(
        'train.py', o.steps, '--work-dir', o.folder / 'work',
        '--cfg-options', f'load_from={p}',
    ),
    'resume': lambda o, p: tool(
        'train.py', o.plain, '--work-dir', o.folder / 'work', '--resume', p
    ),
    'resume, steps': lambda o, p: tool(
        'train.py', o.steps, '--work-dir', o.folder / 'work', '--resume', p
    ),
    'init_cfg': lambda o, p: tool(
        'train.py', o.plain, '--work-dir', o.folder / 'work', '--cfg-options',
        'model.init_cfg.type=Pretrained', f'model.init_cfg.checkpoint={p}',
    ),
    'init_cfg, backbone': lambda o, p: tool(
        'train.py', o.plain, '--work-dir', o.folder / 'work', '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={p}',
        'model.backbone.init_cfg.prefix=backbone',
    ),
    'test': lambda o, p: tool('test.py', o.plain, p, '--work-dir', o.folder / 'work'),
    'infer': lambda o, p: tool(
        'infer.py', o.images, o.plain, p, '--out', o.folder / 'lines.jsonl'
    ),
    'api': python_api,
    'embedding_quality': lambda o, p: tool(
        'analysis_tools/embedding_quality.py', o.plain, p, '--shots', '1'
    ),
    'extract_features': lambda o, p: tool(
        'extract_features.py', o.plain, o.folder / 'features', '--checkpoint', p,
        '--views', '1',
    ),
    'vis': lambda o, p: tool(
        'visualizations/vis_label_attention.py', o.plain, p,
        '--out', o.folder / 'sheet.png',
    ),
    'fit_neighbours': lambda o, p: tool(
        'fit_neighbours.py', o.plain, p, '--out', o.folder / 'neighbours.pth'
    ),
    'export': lambda o, p: tool(
        'export.py', o.plain, p, o.folder / 'model.safetensors',
        '--format', 'safetensors',
    ),
    'mulcon_to_mlcl': lambda o, p: tool(
        'model_converters/mulcon_to_mlcl.py', as_released(o, p),
        o.folder / 'converted.pth', '--tag', p.name,
    ),
    'evaluate': lambda o, p: tool('analysis_tools/evaluate.py', as_dump(o, p)),
    'thresholds': lambda o, p: tool(
        'analysis_tools/thresholds.py', as_dump(o, p), '--out', o.folder / 'chosen.json'
    ),
}  # fmt: skip

#: Entries for other files: scores, and weights of the authors of MulCon.
OTHERS = ('evaluate', 'thresholds', 'mulcon_to_mlcl')


def as_dump(place: Place, path: Path) -> Path:
    """The same file under a name that score dumps have."""
    link = place.folder / f'{path.name}.pkl'
    link.symlink_to(path)
    return link


def as_released(place: Place, path: Path) -> Path:
    """A folder in which the file is the backbone of a released model."""
    folder = place.folder / 'released'
    folder.mkdir()
    (folder / f'{path.name}_net_E.pth').symlink_to(path)
    return folder


def preload() -> None:
    """Import what the entries need, and do without programs of the system."""
    import mmengine.runner.runner
    import yapf.yapflib.yapf_api

    # They start compilers and format configs, again and again.
    mmengine.runner.runner.collect_env = dict
    yapf.yapflib.yapf_api.FormatCode = lambda text, **_: (text, True)
    for path in TOOLS.rglob('*.py'):
        runpy.run_path(str(path))


CONFIG = """
_base_ = [{base!r}]
data = dict(
    type='TabularMultiLabel', data_root={root!r}, ann_file='labels.csv',
    data_prefix='images', pipeline=[
        dict(type='LoadImage'), dict(type='LabelsToTargets', num_classes=3),
        dict(type='PackInputs')])
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=2,
        strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(
        type='LabelAttentionNeck', num_classes=3, in_channels=16, embed_dims=16,
        num_heads=2, num_blocks_before=0, num_blocks_after=1),
    head=dict(type='LabelWiseClsHead', num_classes=3, in_channels=16))
data_preprocessor = dict(
    type='MultiViewDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True)
loader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
train_dataloader = dict(**loader, dataset=dict(**data, split='train'))
val_dataloader = dict(**loader, dataset=dict(**data, split='val'))
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiLabelRecognitionMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1, save_best=None))
randomness = dict(seed=0)
{steps}
"""
STEPS = """
runner_type = 'mmpretrain.StepwiseRunner'
steps = dict(step1=dict(), step2=dict())
"""


def make_place(folder: Path) -> tuple[Place, dict]:
    """Make data and configs, and train a model for an epoch."""
    preload()
    from mmengine.config import Config

    from mlcl_plugin.engine import CheckedRunner
    from mlcl_plugin.engine.safe_checkpoint import read_checkpoint

    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    rows = ['image,split,a,b,c']
    for index in range(8):
        image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'images/{index}.png'), image)
        labels = [(index + 1) >> label & 1 for label in range(3)]
        split = ('train', 'val')[index % 2]
        rows.append(f'{index}.png,{split},' + ','.join(map(str, labels)))
    (folder / 'labels.csv').write_text('\n'.join(rows) + '\n')
    base = TOOLS.parent / 'configs/_base_/default_runtime.py'
    for name, steps in (('plain', ''), ('steps', STEPS)):
        text = CONFIG.format(base=str(base), root=str(folder), steps=steps)
        (folder / f'{name}.py').write_text(text)
    cfg = Config.fromfile(folder / 'plain.py')
    cfg.work_dir = str(folder / 'sound')
    cfg.train_cfg.max_epochs = 1
    CheckedRunner.from_cfg(cfg).train()
    content = read_checkpoint(folder / 'sound/epoch_1.pth')
    place = Place(
        folder / 'steps.py', folder / 'plain.py', folder / 'images', folder / 'out'
    )
    return place, content


class Outcome(NamedTuple):
    """What happened to a file at an entry; ``problem`` is None if all is right.

    ``line`` is the last line of output.
    """

    problem: str | None
    line: str
    seconds: float
    megabytes: float


def attempt(
    place: Place, content: dict, name: str, entry: str, seconds: float = SECONDS
) -> Outcome:
    """Try a file at an entry, in a child of this process."""
    with tempfile.TemporaryDirectory(prefix='hostile_') as temporary:
        folder = Path(temporary)
        # A resume with steps reads the step from the name of the folder.
        path, canary = folder / 'step1/file.pth', folder / 'canary'
        path.parent.mkdir()
        (folder / 'out').mkdir()
        make = HARMLESS[name] if name in HARMLESS else FILES[name]
        harmless = name in HARMLESS and entry not in OTHERS
        make(path, copy.deepcopy(content), canary)
        place = place._replace(folder=folder / 'out')
        child = os.fork()
        if child == 0:
            run_child(ENTRIES[entry], place, path, folder / 'log', seconds)
        _, status, usage = os.wait4(child, 0)
        taken = usage.ru_utime + usage.ru_stime
        memory = usage.ru_maxrss / 1024
        lines = (folder / 'log').read_text(errors='replace').splitlines()
        line = next((x for x in reversed(lines) if x.strip()), '')
        code = os.waitstatus_to_exitcode(status)
        problem = None
        if canary.exists():
            problem = 'ran code'
        elif code < 0:
            problem = f'ended by {signal.Signals(-code).name}'
        elif harmless != (code == 0):
            problem = f'exit code {code}'
        elif not harmless and (code != 2 or path.name not in line):
            problem = f'exit code {code} and no clear line'
        elif memory > MEGABYTES:
            problem = f'{memory:.0f} MB'
        return Outcome(problem, line, taken, memory)


def run_child(
    entry: Callable, place: Place, path: Path, log: Path, seconds: float
) -> None:
    """Run an entry with its output in a file, and end the process."""
    # Data sets look for garbage, and all objects of the libraries would be looked at.
    gc.freeze()
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    # SIGALRM and SIGXCPU end the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(10 * seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    limit = used + 4 * MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    code = 1
    try:
        entry(place, path)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def kept(out: Path | None) -> dict[tuple[str, str], Outcome]:
    """Outcomes by file and entry that a run before has kept."""
    if out is None or not out.exists():
        return {}
    lines = map(json.loads, out.read_text().splitlines())
    return {(line.pop('file'), line.pop('entry')): Outcome(**line) for line in lines}


def keep(out: Path, name: str, entry: str, outcome: Outcome) -> None:
    """Add an outcome to the file that :func:`kept` reads."""
    line = {'file': name, 'entry': entry, **outcome._asdict()}
    with out.open('a') as file:
        file.write(json.dumps(line) + '\n')


def print_table(
    files: list[str], entries: list[str], outcomes: dict[tuple[str, str], Outcome]
) -> int:
    """Print what happened, and return the number of problems."""
    print('| file | ' + ' | '.join(entries) + ' | longest | most memory |')
    print('|---' * (len(entries) + 3) + '|')
    for name in files:
        row = [outcomes[name, entry] for entry in entries]
        used = [name in HARMLESS and entry not in OTHERS for entry in entries]
        cells = [
            outcome.problem or ('used, no code run' if good else 'refused')
            for outcome, good in zip(row, used)
        ]
        print(
            f'| {name} | {" | ".join(cells)} '
            f'| {max(o.seconds for o in row):.1f} s '
            f'| {max(o.megabytes for o in row):.0f} MB |'
        )
    problems = {case: o for case, o in outcomes.items() if o.problem}
    print(
        f'\n{len(outcomes)} tries, {len(problems)} problems; '
        f'longest {max(o.seconds for o in outcomes.values()):.1f} s, '
        f'most memory {max(o.megabytes for o in outcomes.values()):.0f} MB'
    )
    for (name, entry), outcome in problems.items():
        print(f'{name}, {entry}: {outcome.problem}: {outcome.line}')
    return len(problems)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everything = [*FILES, *HARMLESS]
    parser.add_argument('--files', nargs='+', choices=everything, default=everything)
    parser.add_argument('--entries', nargs='+', choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument(
        '--out',
        type=Path,
        help='results so far, with messages; what is in it is not tried again',
    )
    args = parser.parse_args()
    outcomes = kept(args.out)
    cases = [(name, entry) for name in args.files for entry in args.entries]
    with tempfile.TemporaryDirectory(prefix='hostile_') as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            place, content = make_place(Path(folder))
        for name, entry in cases:
            if (name, entry) not in outcomes:
                outcomes[name, entry] = attempt(place, content, name, entry)
                if args.out:
                    keep(args.out, name, entry, outcomes[name, entry])
    chosen = {case: outcomes[case] for case in cases}
    return int(bool(print_table(args.files, args.entries, chosen)))


if __name__ == '__main__':
    sys.exit(main())
