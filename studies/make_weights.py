# SPDX-License-Identifier: Apache-2.0
"""Make the weights that come with the package (mlcl_plugin/weights/README.md).

The recipe is trained twice: on train, for its mAP, thresholds and temperature on val,
and on train and val for the weights that are shipped. An interrupted call is continued
by the same call.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from mlcl_plugin.command_line import one_line_errors
from mlcl_plugin.digits_demo.commands import call_command
from mlcl_plugin.engine.safetensors_file import read_safetensors, write_safetensors
from mlcl_plugin.weights import SHIPPED_MODEL, seal_weights

NAME = 'mlcl_efflite0_voc07'
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'mlcl_plugin/weights'
SPLITS = {
    'train': [],
    # Without a validation: there are no images left for one.
    'trainval': [
        'train_dataloader.dataset.split=trainval',
        'val_dataloader=None',
        'val_evaluator=None',
        'val_cfg=None',
    ],
}


def train(work_dir: Path, split: str) -> Path:
    """Train both steps and fill the memories; gives the checkpoint."""
    call_command(
        'train',
        SHIPPED_MODEL,
        *('--work-dir', work_dir / split, '--resume', '--cfg-options'),
        f'cached_features.dir={work_dir / "features"}',
        *SPLITS[split],
    )
    return work_dir / split / 'step2/neighbours.pth'


def export(checkpoint: Path, out: Path, *options: object) -> None:
    """Write a checkpoint as safetensors of half precision."""
    call_command(
        'export',
        SHIPPED_MODEL,
        checkpoint,
        out,
        *('--format', 'safetensors', '--float16', '--overwrite'),
        *options,
    )


def describe(path: Path, **facts: object) -> None:
    """Add to the metadata of a file how it was made."""
    with safe_open(path, framework='pt') as file:
        metadata = dict(file.metadata())
    metadata['origin'] = json.dumps(facts)
    metadata.pop('format', None)
    write_safetensors(path, read_safetensors(path)['state_dict'], metadata)


def commit() -> str:
    """The commit of the checkout, with a mark where files differ from it."""
    command = ['git', 'describe', '--always', '--abbrev=12', '--dirty']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or 'unknown'


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/weights'),
        help='folder for features, runs and scores (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=FOLDER,
        help='folder for the weights (default: that in the package)',
    )
    options = parser.parse_args(args)
    work_dir, out = options.work_dir, options.out / f'{NAME}.safetensors'
    with one_line_errors('make_weights'):
        work_dir.mkdir(parents=True, exist_ok=True)
        checkpoint = train(work_dir, 'train')
        scores, decisions = work_dir / 'val.csv', work_dir / 'decisions.json'
        test_dir = work_dir / 'test'
        call_command(
            *('test', SHIPPED_MODEL, checkpoint),
            *('--work-dir', test_dir, '--out', scores),
        )
        call_command(
            *('thresholds', scores, '--out', decisions),
            *('--global', '--calibrate', 'global'),
        )
        chosen = ['--decisions', decisions]
        export(checkpoint, work_dir / 'train.safetensors', '--map', *chosen)
        checkpoint = train(work_dir, 'trainval')
        made = work_dir / out.name
        export(checkpoint, made, *chosen)
        describe(
            made,
            recipe=SHIPPED_MODEL,
            options=SPLITS['trainval'],
            seed=0,
            data='PASCAL VOC2007 train and val',
            commit=commit(),
        )
        shutil.copyfile(made, out)
        seal_weights(out)
    print(f'\n{out}: {out.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
