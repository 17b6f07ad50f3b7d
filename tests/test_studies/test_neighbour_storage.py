# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS


@pytest.fixture
def study(load):
    return load('neighbour_storage')


def make(number=12, labels=3, dims=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(number, labels, dims, generator=generator)
    logits = torch.randn(number, labels, generator=generator)
    targets = torch.randint(-1, 2, (number, labels), generator=generator)
    return embeddings, logits, targets


@pytest.mark.parametrize('share', [0.01, 0.25, 0.5, 1.0])
def test_hide_easy(study, share):
    """Loops: of the absent entries of a label, the highest logits stay."""
    _, logits, targets = make(20)
    # A label that is absent nowhere.
    targets[:, 2] = 1
    expected = targets.clone()
    for label in range(3):
        absent = [i for i in range(20) if targets[i, label] == 0]
        absent.sort(key=lambda i: -float(logits[i, label]))
        for i in absent[max(1, round(share * len(absent))) :]:
            expected[i, label] = -1
    assert torch.equal(study.hide_easy(targets, logits, share), expected)
    assert (expected != targets).any() == (share < 1)


def test_memory_of_all(study):
    """Entries are those of the images, whatever the order in which they are added."""
    embeddings, logits, targets = make()
    memory, axes = study.make_memory({}, embeddings, logits, targets)
    assert axes is None
    expected = type(memory)(prototypes=None)
    expected.fill(embeddings, targets)
    for name, value in expected.state_dict().items():
        assert torch.equal(memory.state_dict()[name], value), name


def test_random_directions(study):
    """Queries are projected in the same way as what is stored."""
    embeddings, logits, targets = make()
    memory, axes = study.make_memory(dict(random=2), embeddings, logits, targets)
    assert axes.shape == (6, 2)
    assert memory.keys.shape[2] == 2
    expected = type(memory)(prototypes=None)
    expected.fill(embeddings @ axes, targets)
    assert torch.equal(memory.keys, expected.keys)


def test_hard_entries(study):
    embeddings, logits, targets = make()
    memory, _ = study.make_memory(dict(hard=0.5), embeddings, logits, targets)
    for label in range(3):
        absent = int((targets[:, label] == 0).sum())
        assert int((memory.targets[label] == 0).sum()) == max(1, round(0.5 * absent))
        assert (memory.targets[label] == 1).sum() == (targets[:, label] == 1).sum()


def write_features(folder, numbers):
    """Made features of images whose labels are the bits of their numbers."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, number in numbers.items():
        labels = [[n >> label & 1 for label in range(3)] for n in range(number)]
        maps = rng.normal(size=(number, 1, 16, 2, 2))
        maps[:, 0, :3] += 3 * np.array(labels)[..., None, None]
        np.save(folder / f'{split}.npy', maps.astype(np.float16))
        file = 'val.npy' if split == 'val' else 'tune.npy'
        records = [
            dict(
                img_path=f'{n}.jpg',
                gt_label=[label for label in range(3) if of_image[label]],
                feature_index=n,
                test_features=file,
            )
            for n, of_image in enumerate(labels)
        ]
        content = dict(metainfo=dict(classes=['a', 'b', 'c']), data_list=records)
        (folder / f'{split}.json').write_text(json.dumps(content))


@pytest.mark.slow
def test_train(study, write_config, tmp_path, monkeypatch):
    """On the images that are not left out; a second call trains nothing."""
    monkeypatch.chdir(tmp_path)
    write_features(tmp_path / 'features', dict(train=16, tune=16, val=8))
    cfg = Config.fromfile(write_config())
    first = study.train_head(cfg, tmp_path / 'features', 8, 'step1')
    assert study.train_head(cfg, tmp_path / 'features', 8, 'step1') == first
    assert torch.load(first, weights_only=False)['meta']['epoch'] == 2


@pytest.mark.slow
def test_main(study, write_config, load_config, tmp_path, monkeypatch, capsys):
    """From features to the table; the last training images are the split."""
    write_features(tmp_path / 'features', dict(train=16, tune=16, val=8))
    cfg = load_config()
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    forms = {'all': {}, 'small': dict(dims=2), 'hardest': dict(hard=0.25)}
    monkeypatch.setattr(study, 'FORMS', forms)
    study.main(
        [
            str(write_config()),
            str(tmp_path / 'features'),
            *('--checkpoint', str(tmp_path / 'model.pth')),
            *('--num-tuning', '8', '--out', str(tmp_path / 'out.json')),
        ]
    )
    content = json.loads((tmp_path / 'out.json').read_text())
    classifier, whole, small, hardest = content['rows']
    assert classifier['bytes'] == 0 and 'val, neighbours' not in classifier
    # 8 images, 3 labels and 16 or 2 numbers of float16, besides targets and images.
    assert whole['bytes'] >= 8 * 3 * 16 * 2 > small['bytes']
    assert hardest['bytes'] < whole['bytes']
    assert whole['val, neighbours'] > 90
    assert '| small' in capsys.readouterr().out
