# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmpretrain import get_model
from PIL import Image

from mlcl_plugin.apis import MultiLabelInferencer
from mlcl_plugin.datasets.transforms import LoadImage
from mlcl_plugin.engine import enable_amp
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.inference import load_model_config
from mlcl_plugin.visualization import label_attention_maps

CLASSES = ('cat', 'dog', 'owl')
# Of scores of batches of several sizes, by a model of random weights whose small
# differences between images are scaled up, and so is what rounding does.
OTHER_BATCH = dict(rtol=0, atol=1e-5)
RESIZE = {
    'test_dataloader.dataset.pipeline': [
        dict(type='LoadImage'),
        dict(type='LabelsToTargets', num_classes=3),
        dict(type='Resize', scale=(32, 32)),
        dict(type='PackInputs'),
    ]
}
GAP = {
    'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
    'model.head': dict(
        _delete_=True, type='MultiLabelLinearClsHead', num_classes=3, in_channels=16
    ),
}
SINGLE_LABEL = {
    'model.neck': GAP['model.neck'],
    'model.head': dict(
        _delete_=True, type='LinearClsHead', num_classes=3, in_channels=16
    ),
}


def save_checkpoint(config, path, meta=None):
    """Random weights that tell images apart, as a second step would leave them."""
    torch.manual_seed(0)
    model = get_model(Config.fromfile(config), pretrained=False)
    channels = next(model.backbone.parameters()).shape[1]
    linear = getattr(model.head, 'classifier', None) or model.head.fc
    with torch.no_grad():
        images = torch.randn(32, channels, 1, 1) + torch.randn(32, channels, 32, 32)
        logits = model.head(model.extract_feat(images))
        # Of all sizes, for each label.
        scale = 2 / logits.std(dim=0)
        linear.weight *= scale[:, None]
        linear.bias.copy_(scale * (linear.bias - logits.mean(dim=0)))
    state = model.state_dict()
    if hasattr(model.head, 'projector'):
        state['head.projector.fc1.weight'] = torch.zeros(2, 2)
    # Of a part that the config as it stands knows nothing of.
    state['head.prototypes'] = torch.zeros(3)
    meta = dict(dataset_meta=dict(classes=CLASSES)) if meta is None else meta
    torch.save(dict(state_dict=state, meta=meta), path)
    return str(path)


@pytest.fixture
def config(write_config):
    return write_config(RESIZE)


@pytest.fixture
def checkpoint(config, tmp_path):
    return save_checkpoint(config, tmp_path / 'model.pth')


@pytest.fixture
def inferencer(config, checkpoint):
    return MultiLabelInferencer(config, checkpoint)


@pytest.fixture
def photos(tiny_coco):
    return sorted(map(str, (tiny_coco / 'val').iterdir()))


def scores_of(results):
    return np.array([list(result['scores'].values()) for result in results])


def run_test(cfg, tmp_path):
    """What ``tools/test.py --out`` writes, by path."""
    cfg.work_dir = str(tmp_path / 'test')
    runner = RUNNERS.build(cfg)
    out = tmp_path / 'scores.pkl'
    runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(out)))
    runner.test()
    samples = pickle.loads(out.read_bytes())
    return {str(s['img_path']): s['pred_score'].numpy() for s in samples}


@pytest.mark.parametrize('precision', ['float32', 'amp'])
def test_scores_are_those_of_the_test(
    load_config, config, checkpoint, tmp_path, precision
):
    cfg = load_config({**RESIZE, 'load_from': checkpoint})
    if precision == 'amp':
        enable_amp(cfg, train=False)
    expected = run_test(cfg, tmp_path)
    assert len(expected) == 7
    inferencer = MultiLabelInferencer(config, checkpoint, precision=precision)
    results = inferencer(list(expected), return_scores=True, show_progress=False)
    assert [result['image'] for result in results] == list(expected)
    assert list(results[0]['scores']) == list(CLASSES)
    got, expected = scores_of(results), np.array(list(expected.values()))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    assert expected.std(axis=0).min() > 0.01
    for result, row in zip(results, expected):
        found = {c: s for c, s in zip(CLASSES, row) if s >= 0.5}
        labels = result['labels']
        assert {label['label'] for label in labels} == set(found)
        given = [label['score'] for label in labels]
        assert given == sorted(given, reverse=True)
        assert all(label['threshold'] == 0.5 for label in labels)
    assert json.loads(json.dumps(results)) == results


def test_precision(config, checkpoint, photos):
    scores = {
        precision: scores_of(
            MultiLabelInferencer(config, checkpoint, precision=precision)(
                photos, return_scores=True
            )
        )
        for precision in ('float32', 'bfloat16', 'float16')
    }
    for half, tolerance in (('bfloat16', 0.1), ('float16', 0.02)):
        difference = np.abs(scores[half] - scores['float32']).max()
        assert 0 < difference < tolerance, half


@pytest.mark.parametrize('options', [dict(batch_size=1), dict(batch_size=3)])
def test_batch_size_does_not_matter(inferencer, photos, options):
    expected = scores_of(inferencer(photos, return_scores=True))
    got = scores_of(inferencer(photos, return_scores=True, **options))
    np.testing.assert_allclose(got, expected, **OTHER_BATCH)


def test_order_does_not_matter(inferencer, photos):
    """To the bit, in batches of one size."""
    options = dict(return_scores=True, batch_size=7)
    expected = scores_of(inferencer(photos, **options))
    order = [4, 2, 0, 6, 1, 5, 3]
    got = scores_of(inferencer([photos[i] for i in order], **options))
    np.testing.assert_array_equal(got, expected[order])


def test_workers(inferencer, photos, capfd):
    expected = inferencer(photos, return_scores=True, batch_size=2)
    assert '7/7' in capfd.readouterr().err
    got = inferencer(
        [cv2.imread(photos[0]), *photos[1:], 'nowhere.jpg'],
        return_scores=True,
        batch_size=2,
        num_workers=2,
        show_progress=False,
    )
    assert capfd.readouterr().err == ''
    assert got[0] == dict(expected[0], image='array 0')
    assert got[1:6] == expected[1:6]
    # The last one is in a batch of another size.
    np.testing.assert_allclose(
        scores_of(got[6:7]), scores_of(expected[6:7]), **OTHER_BATCH
    )
    assert 'no such file' in got[7]['error']


def test_sizes_are_not_mixed(write_config, checkpoint, tmp_path):
    """Where the pipeline keeps sizes, each image passes as if alone."""
    inferencer = MultiLabelInferencer(write_config(), checkpoint)
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        for shape in [(32, 32), (48, 32), (32, 32), (64, 64), (48, 32)]
    ]
    together = inferencer(images, return_scores=True, batch_size=5)
    alone = [inferencer(image, return_scores=True)[0] for image in images]
    np.testing.assert_allclose(scores_of(together), scores_of(alone), **OTHER_BATCH)
    names = [result['image'] for result in together]
    assert names == [f'array {number}' for number in range(5)]


def write_odd_files(folder):
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    deep = rng.integers(0, 2**16, (20, 30, 3), dtype=np.uint16)
    smooth = cv2.resize(color[:4, :6], (30, 20))
    arrays = {'grey.png': color[..., 0], 'alpha.png': alpha, 'deep.png': deep}
    arrays['deep grey.png'] = deep[..., 0]
    for name, array in arrays.items():
        (folder / name).write_bytes(cv2.imencode('.png', array)[1].tobytes())
    Image.fromarray(smooth).convert('CMYK').save(folder / 'cmyk.jpg')
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(smooth[..., ::-1]).save(
        folder / 'rotated.jpg', exif=exif, quality=95
    )
    (folder / '写真 é [1].png').write_bytes(cv2.imencode('.png', color)[1].tobytes())
    arrays['写真 é [1].png'] = color
    return arrays


def test_kinds_of_images(inferencer, tmp_path):
    """A file passes as the training's LoadImage reads it, and so does an array."""
    folder = tmp_path / 'odd'
    folder.mkdir()
    arrays = write_odd_files(folder)
    results = {
        Path(result['image']).name: result
        for result in inferencer(folder, return_scores=True, batch_size=1)
    }
    assert len(results) == 6 + 1
    for name, result in results.items():
        image = LoadImage()(dict(img_path=str(folder / name)))['img']
        assert image.shape == ((30, 20, 3) if name == 'rotated.jpg' else (20, 30, 3))
        (expected,) = inferencer(image, return_scores=True)
        assert result['scores'] == expected['scores'], name
        if name in arrays:
            (of_array,) = inferencer(arrays[name], return_scores=True)
            assert of_array['scores'] == expected['scores'], name
    assert len({tuple(r['scores'].values()) for r in results.values()}) == 7


def names(results):
    return [Path(result['image']).name for result in results]


def test_kinds_of_inputs(inferencer, photos, tmp_path, monkeypatch):
    folder = tmp_path / 'photos'
    (folder / 'inner').mkdir(parents=True)
    content = Path(photos[0]).read_bytes()
    for name in ('b.PNG', 'a.png', 'inner/c.png', 'notes.txt', '[x].png', '.d.png'):
        (folder / name).write_bytes(content)

    assert names(inferencer(folder)) == ['[x].png', 'a.png', 'b.PNG']
    got = inferencer(str(folder), recursive=True)
    assert names(got) == ['[x].png', 'a.png', 'b.PNG', 'c.png']
    assert names(inferencer(f'{folder}/?.png')) == ['a.png']
    got = inferencer(f'{folder}/**/*.png', recursive=True)
    assert names(got) == ['[x].png', 'a.png', 'c.png']
    # a file of this name, no pattern
    assert names(inferencer(folder / '[x].png')) == ['[x].png']
    # asked for by name, the ending does not matter
    assert names(inferencer(f'{folder}/notes.txt')) == ['notes.txt']
    image = cv2.imread(photos[0])
    several = [folder / 'inner', image, f'{folder}/?.png', str(folder / 'b.PNG')]
    got = inferencer(several, return_scores=True, batch_size=1)
    assert names(got) == ['c.png', 'array 1', 'a.png', 'b.PNG']
    assert np.ptp(scores_of(got), axis=0).max() == 0
    assert inferencer(tuple(several), return_scores=True, batch_size=1) == got
    assert inferencer(iter(several), return_scores=True, batch_size=1) == got
    assert inferencer([]) == []
    monkeypatch.chdir(folder)
    assert inferencer('a.png')[0]['image'] == 'a.png'

    (tmp_path / 'empty').mkdir()
    for bad, message in [
        (tmp_path / 'empty', 'no image in the folder .*recursive=True'),
        (f'{folder}/*.gif', r'No file matches the pattern .*\*.gif'),
        (3, 'paths or numpy arrays, got int'),
        ([Image.new('RGB', (3, 3))], 'paths or numpy arrays, got Image.*asarray'),
    ]:
        with pytest.raises(ValueError, match=message):
            inferencer(bad)


def test_unreadable(inferencer, photos, tmp_path):
    good = cv2.imread(photos[0])
    jpeg = cv2.imencode('.jpg', np.tile(good, (4, 4, 1)))[1].tobytes()
    (tmp_path / 'cut.jpg').write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / 'text.png').write_text('no image')
    (tmp_path / 'empty.png').write_bytes(b'')
    inputs = [
        str(tmp_path / 'cut.jpg'),
        photos[0],
        str(tmp_path / 'nowhere.png'),
        good.astype(np.float32),
        good[None],
        good[:0],
        str(tmp_path / 'text.png'),
        photos[1],
        str(tmp_path / 'empty.png'),
    ]
    with pytest.warns(UserWarning, match=r'7 of 9 images cannot be read.*cut.jpg'):
        results = inferencer(inputs, return_scores=True, batch_size=4)
    # one result for each, in order
    assert names(results) == [
        *('cut.jpg', '000.png', 'nowhere.png', 'array 3', 'array 4', 'array 5'),
        *('text.png', '001.png', 'empty.png'),
    ]
    errors = {n: r['error'] for n, r in enumerate(results) if 'error' in r}
    assert list(errors) == [0, 2, 3, 4, 5, 6, 8]
    assert 'incomplete' in errors[0] and 'no such file' in errors[2]
    assert 'float32' in errors[3] and '(1, 32, 32, 3)' in errors[4]
    assert all('\n' not in error for error in errors.values())
    assert all(set(results[n]) == {'image', 'error'} for n in errors)
    expected = inferencer(photos[:2], return_scores=True)
    np.testing.assert_allclose(
        scores_of([results[1], results[7]]), scores_of(expected), **OTHER_BATCH
    )
    with pytest.raises(ValueError, match=r'None of the 1 images can be read. nowhere'):
        inferencer('nowhere.jpg')


def test_one_at_a_time(inferencer, photos):
    """An endless iterator gives results, and is asked for no more than needed."""
    asked = itertools.count()

    def endless():
        for path in itertools.cycle(photos):
            next(asked)
            yield path

    stream = inferencer.stream(endless(), batch_size=2)
    for _ in range(21):
        assert 'labels' in next(stream)
    assert next(asked) <= 24
    stream.close()


def test_errors_come_before_the_first_result(inferencer, photos):
    with pytest.raises(ValueError, match='batch_size must be 1 or more, got 0'):
        inferencer.stream(photos, batch_size=0)
    with pytest.raises(ValueError, match='num_workers must be 0 or more, got -1'):
        inferencer.stream(photos, num_workers=-1)


def test_get_model(config, checkpoint, photos, inferencer):
    model = get_model(Config.fromfile(config), pretrained=checkpoint)
    of_model = MultiLabelInferencer(model)
    assert of_model.classes == CLASSES
    assert of_model(photos, return_scores=True) == inferencer(
        photos, return_scores=True
    )
    blank = get_model(str(config), pretrained=False)
    filled = MultiLabelInferencer(blank, checkpoint, classes='numbers')
    assert scores_of(filled(photos, return_scores=True)).tolist() == (
        scores_of(inferencer(photos, return_scores=True)).tolist()
    )
    del model._config
    with pytest.raises(ValueError, match='does not know its config'):
        MultiLabelInferencer(model)


def test_names_of_models(tmp_path):
    cfg, weights = load_model_config('mlcl_resnet_digits')
    assert cfg.model.head.num_classes == 10 and weights is None
    torch.manual_seed(0)
    path = save_checkpoint(cfg.filename, tmp_path / 'digits.pth', meta={})
    inferencer = MultiLabelInferencer('mlcl_resnet_digits', path, classes='numbers')
    (result,) = inferencer(np.zeros((64, 64, 3), np.uint8), return_scores=True)
    assert list(result['scores']) == list('0123456789')
    with pytest.raises(ValueError, match="'mlcl_nothing' is neither"):
        load_model_config('mlcl_nothing')
    with pytest.raises(FileNotFoundError, match='no config file nowhere.py'):
        load_model_config('nowhere.py')


def test_config_is_left_alone(config, checkpoint):
    cfg = Config.fromfile(config)
    before = cfg.to_dict()
    MultiLabelInferencer(cfg, checkpoint, precision='bfloat16')
    assert cfg.to_dict() == before


def test_load_from(write_config, checkpoint, inferencer, photos):
    config = write_config({**RESIZE, 'load_from': checkpoint})
    assert MultiLabelInferencer(config)(photos) == inferencer(photos)


@pytest.mark.parametrize('thr', [0.3, [0.2, 0.6, 0.9], dict(owl=0.9, cat=0.2, dog=0.6)])
def test_thresholds(config, checkpoint, photos, thr):
    results = MultiLabelInferencer(config, checkpoint, thr=thr)(
        photos, return_scores=True
    )
    expected = [thr] * 3 if thr == 0.3 else [0.2, 0.6, 0.9]
    for result in results:
        found = {
            name
            for name, limit in zip(CLASSES, expected)
            if result['scores'][name] >= limit
        }
        assert {label['label'] for label in result['labels']} == found
        for label in result['labels']:
            assert label['threshold'] == expected[CLASSES.index(label['label'])]


def test_decisions(config, checkpoint, inferencer, photos, tmp_path):
    plain = scores_of(inferencer(photos, return_scores=True))
    thresholds, temperatures = [0.4, 0.5, 0.7], np.array([2.0, 1.0, 0.5])
    decisions = Decisions(CLASSES, thresholds, temperatures)
    decisions.save(tmp_path / 'decisions.json')
    for given in (decisions, tmp_path / 'decisions.json'):
        decided = MultiLabelInferencer(config, checkpoint, decisions=given)
        results = decided(photos, return_scores=True)
        logits = np.log(plain / (1 - plain))
        expected = 1 / (1 + np.exp(-logits / temperatures))
        np.testing.assert_allclose(scores_of(results), expected, rtol=0, atol=1e-6)
        for result, row in zip(results, expected):
            found = {c for c, s, t in zip(CLASSES, row, thresholds) if s >= t}
            assert {label['label'] for label in result['labels']} == found
    other = Decisions(CLASSES[::-1], thresholds)
    with pytest.raises(ValueError, match='in another order'):
        MultiLabelInferencer(config, checkpoint, decisions=other)
    with pytest.raises(FileNotFoundError, match='no decision file'):
        MultiLabelInferencer(config, checkpoint, decisions=tmp_path / 'none.json')


def test_top_k(config, checkpoint, photos):
    results = MultiLabelInferencer(config, checkpoint, thr=0, top_k=2)(
        photos, return_scores=True
    )
    for result in results:
        best = sorted(result['scores'], key=result['scores'].get, reverse=True)[:2]
        assert [label['label'] for label in result['labels']] == best
    results = MultiLabelInferencer(config, checkpoint, thr=1.0, top_k=2)(photos)
    assert [result['labels'] for result in results] == [[]] * 7


@pytest.mark.parametrize(
    ('head', 'found'), [(dict(topk=2), 2), (dict(thr=1.0), 0), (dict(thr=0.0), 3)]
)
def test_what_the_head_predicts_by(write_config, checkpoint, photos, head, found):
    changes = {f'model.head.{key}': value for key, value in head.items()}
    inferencer = MultiLabelInferencer(write_config({**RESIZE, **changes}), checkpoint)
    assert {len(result['labels']) for result in inferencer(photos)} == {found}


def test_attention(inferencer, photos):
    plain = inferencer(photos, return_scores=True)
    results = inferencer(photos, return_scores=True, return_attention=True)
    images = np.stack([cv2.imread(path) for path in photos])
    data = inferencer.model.data_preprocessor(
        dict(inputs=torch.from_numpy(images).permute(0, 3, 1, 2), data_samples=None)
    )
    scores, maps = label_attention_maps(inferencer.model, data['inputs'])
    assert maps.shape == (7, 2, 3, 4, 4)
    np.testing.assert_allclose(scores_of(results), scores, **OTHER_BATCH)
    number = 0
    for result, expected in zip(results, maps.mean(dim=1)):
        for label in result['labels']:
            attention = np.array(label.pop('attention'))
            assert attention.shape == (4, 4)
            assert attention.sum() == pytest.approx(1, abs=1e-4)
            index = CLASSES.index(label['label'])
            np.testing.assert_allclose(attention, expected[index], atol=1e-5)
            number += 1
    assert number >= 3
    # nothing else changes, to the bit
    assert results == plain
    assert not inferencer.model.neck._forward_pre_hooks


def test_without_label_attention(write_config, tmp_path, photos):
    """Another neck and a head of MMPretrain's own."""
    config = write_config({**RESIZE, **GAP})
    path = save_checkpoint(config, tmp_path / 'gap.pth')
    inferencer = MultiLabelInferencer(config, path)
    results = inferencer(photos, return_scores=True)
    assert scores_of(results).shape == (7, 3)
    with pytest.raises(ValueError, match='LabelAttentionNeck.*got .*GlobalAverage'):
        inferencer.stream(photos, return_attention=True)


def test_attention_to_tokens(write_config, tmp_path, photos):
    """Those of a ViT may have no places, so that nothing can be drawn."""
    vit = dict(
        _delete_=True,
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        img_size=32,
        patch_size=8,
        out_type='raw',
    )
    changes = {'model.backbone': vit, 'model.neck.num_extra_tokens': 1}
    config = write_config({**RESIZE, **changes})
    path = tmp_path / 'vit.pth'
    torch.manual_seed(0)
    model = get_model(str(config), pretrained=False)
    torch.save(dict(state_dict=model.state_dict()), path)
    inferencer = MultiLabelInferencer(config, path, thr=0)
    (result,) = inferencer(photos[0], return_attention=True)
    attention = np.array([label['attention'] for label in result['labels']])
    assert attention.shape == (3, 16)
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-4)
    with pytest.raises(ValueError, match="tokens without places.*out_type='featmap'"):
        inferencer(photos[0], return_attention=True, out_dir=tmp_path / 'out')


def test_classes(write_config, checkpoint, config, tmp_path, photos):
    silent = save_checkpoint(config, tmp_path / 'silent.pth', meta={})
    # from the annotation file
    assert MultiLabelInferencer(config, silent).classes == CLASSES
    old = save_checkpoint(config, tmp_path / 'old.pth', meta=dict(CLASSES=list('abc')))
    assert MultiLabelInferencer(config, old).classes == ('a', 'b', 'c')
    dataset = 'test_dataloader.dataset'
    named = write_config({**RESIZE, f'{dataset}.metainfo': dict(classes=list('xyz'))})
    assert MultiLabelInferencer(named, silent).classes == ('x', 'y', 'z')
    # the checkpoint knows better
    assert MultiLabelInferencer(named, checkpoint).classes == CLASSES
    given = MultiLabelInferencer(config, checkpoint, classes=['1', '2', '3'])
    assert given.classes == ('1', '2', '3')
    gone = write_config({**RESIZE, f'{dataset}.ann_file': 'gone.json'})
    with pytest.raises(ValueError, match=r'not known.*gone.json.*classes=\[...\]'):
        MultiLabelInferencer(gone, silent)
    numbered = MultiLabelInferencer(gone, silent, classes='numbers')
    assert numbered.classes == ('0', '1', '2')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(classes=['a', 'b']), 'Got 2 names of labels, but the model has 3'),
        (dict(classes=['a', 'b', 'a']), "different names.*'a'"),
        (dict(classes='abc'), "list of names or 'numbers'"),
        (dict(thr=50), 'thr must lie from 0 to 1, got 50'),
        (dict(thr=float('nan')), 'thr must lie from 0 to 1, got nan'),
        (dict(thr='half'), "thr must be a number, or one for each label, got 'half'"),
        (dict(thr=[0.5, 0.5]), 'thresholds must be 3 numbers'),
        (dict(thr=dict(cat=0.5)), "missing are .'dog', 'owl'"),
        (dict(thr=0.5, decisions='x.json'), 'either thr or decisions'),
        (dict(top_k=0), '^top_k must be positive, got 0'),
        (dict(precision='half'), "precision must be 'float32'.*got 'half'"),
        (dict(pretrained=True), 'There are no weights'),
    ],
)
def test_bad_options(config, checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelInferencer(config, **dict(pretrained=checkpoint) | options)


def test_bad_checkpoints(write_config, config, checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.pth does not exist'):
        MultiLabelInferencer(config, 'gone.pth')
    (tmp_path / 'text.pth').write_text('no weights')
    with pytest.raises(ValueError, match='text.pth is no checkpoint'):
        MultiLabelInferencer(config, tmp_path / 'text.pth')
    changes = {'model.neck.num_classes': 5, 'model.head.num_classes': 5}
    with pytest.raises(ValueError, match='model.pth does not fit the model'):
        MultiLabelInferencer(write_config({**RESIZE, **changes}), checkpoint)


def test_models_that_do_not_fit(write_config, tmp_path):
    config = write_config({**RESIZE, **SINGLE_LABEL})
    path = save_checkpoint(config, tmp_path / 'single.pth')
    with pytest.raises(ValueError, match='LinearClsHead.*ImageClassificationInf'):
        MultiLabelInferencer(config, path)
    pipeline = [dict(type='Resize', scale=3), dict(type='PackInputs')]
    for transforms, message in [
        (pipeline, 'must start with LoadImage .*got Resize'),
        ([], 'no test_dataloader.dataset.pipeline'),
    ]:
        bad = write_config({'test_dataloader.dataset.pipeline': transforms})
        with pytest.raises(ValueError, match=message):
            MultiLabelInferencer(bad, save_checkpoint(bad, path))


def test_loader_of_mmcv(write_config, checkpoint, inferencer, photos, tmp_path):
    pipeline = [
        dict(type='LoadImageFromFile', color_type='grayscale', to_float32=True),
        dict(type='Resize', scale=(32, 32)),
        dict(type='PackInputs'),
    ]
    changes = {'test_dataloader.dataset.pipeline': pipeline}
    changes['model.backbone.in_channels'] = 1
    changes['data_preprocessor.mean'] = changes['data_preprocessor.std'] = [127.5]
    config = write_config(changes)
    grey = MultiLabelInferencer(
        config, save_checkpoint(config, tmp_path / 'grey.pth'), thr=0
    )
    out = tmp_path / 'pictures'
    (of_file,) = grey(photos[3], return_scores=True, out_dir=out, return_attention=True)
    (of_array,) = grey(cv2.imread(photos[3]), return_scores=True)
    # OpenCV reads a file as grey by other roundings than it turns colours into grey.
    assert of_file['scores'] == pytest.approx(of_array['scores'], abs=0.02)
    assert cv2.imread(of_file['picture']).shape[2] == 3
    (tmp_path / 'bad.png').write_text('no image')
    with pytest.raises(ValueError, match='damaged or not an image'):
        grey(tmp_path / 'bad.png')


def test_pictures(inferencer, photos, tmp_path):
    folder = tmp_path / 'photos'
    (folder / 'inner').mkdir(parents=True)
    for name in ('one.png', 'inner/one.png', 'two.jpg', 'thin.png'):
        image = cv2.imread(photos[6])
        image = np.tile(image, (1, 40, 1)) if name == 'thin.png' else image
        cv2.imwrite(str(folder / name), image)
    (folder / 'bad.png').write_text('no image')
    out = tmp_path / 'out'
    options = dict(out_dir=out, recursive=True, return_attention=True, batch_size=2)
    results = list(inferencer.stream([folder, cv2.imread(photos[0])], **options))
    pictures = [result.get('picture') for result in results]
    expected = ['inner/one.png.jpg', 'one.png.jpg', 'thin.png.jpg', 'two.jpg']
    assert pictures == [None, *(str(out / x) for x in expected), f'{out}/array 5.jpg']
    for path in filter(None, pictures):
        picture = cv2.imread(path)
        assert picture.std() > 10 and min(picture.shape[:2]) > 150

    with pytest.raises(FileExistsError, match='out for pictures is not empty'):
        inferencer.stream(folder, out_dir=out)
    again = list(inferencer.stream(folder, out_dir=out, overwrite=True))
    # of one folder alone
    assert again[1]['picture'] == str(out / 'one.png.jpg')
    before = (folder / 'two.jpg').read_bytes()
    for target in (folder, tmp_path):
        with pytest.raises(ValueError, match='lies in .* Use another folder'):
            inferencer.stream(folder, out_dir=target, overwrite=True)
    assert (folder / 'two.jpg').read_bytes() == before
    twice = list(inferencer.stream([folder / 'two.jpg'] * 2, out_dir=tmp_path / 'same'))
    assert [Path(r['picture']).name for r in twice] == ['two.jpg', 'two.jpg.jpg']
    # of an iterator, whose folders are not known in advance
    (result,) = inferencer.stream(iter([folder / 'two.jpg']), out_dir=tmp_path / 'new')
    assert result['picture'] == f'{tmp_path}/new{folder}/two.jpg'


def test_pictures_of_odd_names(inferencer, photos, tmp_path):
    """Bytes that are no text, and a name to which no ending can be added."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    names = [b'caf\xe9.png', b'x' * 250 + b'.png', b'x' * 250 + b'.bmp']
    for name in names:
        path = os.path.join(os.fsencode(folder), name)
        try:
            shutil.copy(photos[6], path)
        except OSError:
            pytest.skip('The file system has no such names.')
    results = list(inferencer.stream(folder, out_dir=tmp_path / 'out'))
    pictures = [result['picture'] for result in results]
    assert len(set(pictures)) == 3 and all(map(os.path.isfile, pictures))


def test_skip(inferencer, photos):
    results = list(inferencer.stream(photos, skip=set(photos[1:5])))
    assert names(results) == ['000.png', '005.png', '006.png']
    assert list(inferencer.stream(photos, skip=set(photos))) == []


def test_diverged_model(config, checkpoint, tmp_path, photos):
    content = torch.load(checkpoint)
    content['state_dict']['head.classifier.bias'] *= float('nan')
    torch.save(content, tmp_path / 'nan.pth')
    with pytest.raises(ValueError, match="000.png: .*got nan for 'cat'.*diverge"):
        MultiLabelInferencer(config, tmp_path / 'nan.pth')(photos)
