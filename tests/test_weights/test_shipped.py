# SPDX-License-Identifier: Apache-2.0
import shutil

import pytest
from mmengine.runner import CheckpointLoader

from mlcl_plugin.errors import CheckpointError, MissingCheckpointError
from mlcl_plugin.recipes import read_index, recipe_root
from mlcl_plugin.weights import SCHEME, find_weights, shipped, shipped_weights

NAME = 'mlcl_efflite0_voc07'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the weights, which the package takes for its own."""
    for path in find_weights(NAME).parent.glob(f'{NAME}.*'):
        shutil.copyfile(path, tmp_path / path.name)
    monkeypatch.setattr(shipped, 'folder', lambda: tmp_path)
    return tmp_path


def test_the_index_names_them():
    index = read_index(recipe_root() / 'model-index.yml')
    named = {model['Weights'] for model in index.values() if 'Weights' in model}
    assert named == {SCHEME + name for name in shipped_weights()}


def test_small_enough_for_git_and_a_wheel():
    for name in shipped_weights():
        assert find_weights(name).stat().st_size < 20e6


@pytest.mark.parametrize('place', [0, 5_000, -1])
def test_damaged(folder, place):
    path = folder / f'{NAME}.safetensors'
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'safetensors is damaged.*Reinstall'):
        CheckpointLoader.load_checkpoint(SCHEME + NAME)


def test_cut(folder):
    path = folder / f'{NAME}.safetensors'
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r'safetensors is damaged'):
        find_weights(NAME)


@pytest.mark.parametrize(
    ('gone', 'message'),
    [
        ('.safetensors', f"no weights named '{NAME}'.*Reinstall"),
        ('.sha256', 'sha256 is missing.*Reinstall'),
    ],
)
def test_missing(folder, gone, message):
    (folder / f'{NAME}{gone}').unlink()
    with pytest.raises(MissingCheckpointError, match=message):
        CheckpointLoader.load_checkpoint(SCHEME + NAME)


@pytest.mark.parametrize('name', ['', 'other', f'../weights/{NAME}', f'{NAME}.sha256'])
def test_other_names(name):
    with pytest.raises(MissingCheckpointError, match=f'It has {NAME}'):
        CheckpointLoader.load_checkpoint(SCHEME + name)
