# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.apis import (
    LabelEmbedder,
    LabelIndex,
    build_index,
    build_loader,
    build_model,
    embed,
    query_index,
)
from mlcl_plugin.commands import main
from mlcl_plugin.errors import OtherLabelsError


@pytest.fixture
def config(write_config):
    return write_config()


def save_model(config, path, seed=0, classes=('cat', 'dog', 'owl')):
    init_default_scope('mmpretrain')
    torch.manual_seed(seed)
    model = MODELS.build(Config.fromfile(config).model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


@pytest.fixture
def checkpoint(config, tmp_path):
    return save_model(config, tmp_path / 'model.pth')


@pytest.fixture
def index(config, checkpoint, tmp_path):
    return build_index(
        config, checkpoint, tmp_path / 'index', split='val', device='cpu'
    )


def test_split(index, config, checkpoint):
    """Embeddings and targets are those of the tool that measures embeddings."""
    cfg = Config.fromfile(config)
    model = build_model(cfg, str(checkpoint))
    expected = embed(model, build_loader(cfg, 'val', 100)[0], False)
    assert index.targets.tolist() == expected.targets.tolist()
    assert index.classes == ('cat', 'dog', 'owl') and list(index.columns) == [0, 1, 2]
    for label, name in enumerate(index.classes):
        torch.testing.assert_close(
            index.vectors(name), expected.of_label(label), rtol=0, atol=2e-3
        )
    assert [image[-7:] for image in index.images[:2]] == ['000.png', '001.png']
    assert index.info['split'] == 'val' and index.info['left_out'] == 0


def test_photographs(config, checkpoint, tiny_coco, tmp_path, caplog):
    """Those that cannot be read are left out, and none comes twice."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for n in range(3):
        content = (tiny_coco / f'val/00{n}.png').read_bytes()
        (folder / f'{n}.png').write_bytes(content)
    (folder / '1.png').write_text('no image')
    index = build_index(
        config,
        checkpoint,
        tmp_path / 'index',
        [folder, folder / '0.png'],
        device='cpu',
        batch_size=2,
    )
    assert index.images == [str(folder / f'{n}.png') for n in (0, 2)]
    assert index.targets is None and index.info['left_out'] == 1
    assert index.embeddings.shape[1] == 2
    alone = LabelEmbedder(config, checkpoint, 'cpu').embed_one(str(folder / '2.png'))
    np.testing.assert_allclose(index.embeddings[:, 1], alone.vectors, atol=2e-3)
    np.testing.assert_allclose(index.scores[1], alone.scores, atol=2e-3)


def test_query(index, config, checkpoint, tiny_coco, tmp_path):
    """A copy of a photograph of the index finds it first."""
    copy = tmp_path / 'copy.png'
    copy.write_bytes((tiny_coco / 'val/004.png').read_bytes())
    embedder = LabelEmbedder(config, checkpoint, 'cpu')
    for photo in (copy, cv2.imread(str(copy))):
        first, *_ = query_index(
            index, photo, 'cat', embedder=embedder, having=False, number=3
        )
        assert first.image.endswith('004.png')
        assert first.similarity == pytest.approx(1, abs=2e-3)
    # of the index itself, without a model
    own = str(tiny_coco / 'val/004.png')
    others = query_index(tmp_path / 'index', own, 'cat', having=False, number=100)
    assert len(others) == 6 and own not in [match.image for match in others]
    with pytest.raises(ValueError, match='is not in the index'):
        query_index(index, copy, 'cat')
    with pytest.raises(ValueError, match='by a model only'):
        query_index(index, cv2.imread(str(copy)), 'cat')


def test_another_model(index, config, tmp_path, tiny_coco):
    photo = np.zeros((32, 32, 3), np.uint8)
    other = save_model(config, tmp_path / 'other.pth', seed=1)
    with pytest.raises(ValueError, match='made by another model'):
        query_index(index, photo, 'cat', embedder=LabelEmbedder(config, other, 'cpu'))
    renamed = save_model(config, tmp_path / 'b.pth', classes=('cat', 'owl', 'dog'))
    with pytest.raises(OtherLabelsError):
        query_index(index, photo, 'cat', embedder=LabelEmbedder(config, renamed, 'cpu'))


def test_fingerprint(config, checkpoint, write_config):
    def of(path, **options):
        return LabelEmbedder(path, checkpoint, 'cpu', **options).fingerprint()

    assert of(config) == of(config)
    cfg = Config.fromfile(config)
    # The classifier does not change embeddings, the size of images does.
    state = torch.load(checkpoint, weights_only=True)
    for name in list(state['state_dict']):
        if name.startswith('head.'):
            state['state_dict'][name] += 1
    before = of(config)
    torch.save(state, checkpoint)
    assert of(config) == before
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Resize', scale=(16, 16)))
    assert of(cfg) != before


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(), ValueError, 'Expected inputs or split, one of both'),
        (dict(inputs='x', split='val'), ValueError, 'one of both'),
        (dict(inputs='nowhere.jpg'), ValueError, 'None of 1 photographs can be read'),
    ],
)
def test_errors(config, checkpoint, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        build_index(config, checkpoint, tmp_path / 'x', device='cpu', **options)
    # nothing is left
    assert not list(tmp_path.glob('x*'))


def test_folder_that_is_there(index, config, checkpoint, tmp_path, tiny_coco):
    options = dict(inputs=[tiny_coco / 'val/000.png'], device='cpu')
    with pytest.raises(FileExistsError, match='set overwrite=True'):
        build_index(config, checkpoint, tmp_path / 'index', **options)
    again = build_index(
        config, checkpoint, tmp_path / 'index', overwrite=True, **options
    )
    assert len(again.images) == len(LabelIndex.load(tmp_path / 'index').images) == 1
    with pytest.raises(FileExistsError, match='is no index'):
        build_index(config, checkpoint, tiny_coco, overwrite=True, **options)


def test_commands(config, checkpoint, tiny_coco, tmp_path, capsys):
    folder, model = str(tmp_path / 'photos.index'), [str(config), str(checkpoint)]
    build = ['index', 'build', *model, '--split', 'val', '--out', folder]
    assert main([*build, '--device', 'cpu']) == 0
    assert '7 photographs, 3 labels' in capsys.readouterr().out
    photo = str(tiny_coco / 'val/000.png')
    found, sheet = tmp_path / 'found.json', tmp_path / 'new' / 'sheet.png'
    query = ['index', 'query', folder, photo, '--label', 'cat', '--number', '2']
    assert main([*query, '--json', str(found), '--sheet', str(sheet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    content = json.loads(found.read_text())
    assert [item['image'] for item in content] == [line.split()[2] for line in lines]
    assert len(content) == 2 and all(item['present'] for item in content)
    assert cv2.imread(str(sheet)).std() > 5
    new = tmp_path / 'new.png'
    new.write_bytes((tiny_coco / 'val/000.png').read_bytes())
    query[3] = str(new)
    assert main([*query, '--model', *model, '--device', 'cpu']) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith('1.00')
    for picture, options in (
        ('neighbours', [photo, '--label', 'dog']),
        ('map', ['--method', 'pca']),
        ('prototypes', []),
    ):
        out = tmp_path / f'{picture}.svg'
        assert main(['show', picture, folder, *options, '--out', str(out)]) == 0
        assert '<svg' in out.read_text()[:1000]


def test_command_errors(tmp_path, capsys):
    for words, message in (
        (['index', 'query', str(tmp_path), 'a.jpg', '--label', 'x'], 'mlcl index: '),
        (['index', 'build', 'a', 'b', '--out', 'c'], 'PHOTOGRAPHS or --split'),
        (['index'], 'PART'),
        (['show', 'curves', str(tmp_path), '--out', 'x.png'], 'mlcl show: '),
    ):
        with pytest.raises(SystemExit) as error:
            main(words)
        assert error.value.code == 2
        assert message in capsys.readouterr().err
