# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import matplotlib.colors
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.evaluation import Decisions
from mlcl_plugin.visualization import label_attention_maps, prediction_sheet
from mlcl_plugin.visualization.label_attention import OUTCOMES, outcome_of

NUM_CLASSES, HEADS = 3, 2


class Patches(nn.Module):
    """A backbone with one token for each 8x8 pixels."""

    def __init__(self, tokens=False):
        super().__init__()
        self.tokens = tokens
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.dropout(self.conv(x))
        return (x.flatten(2).transpose(1, 2) if self.tokens else x,)


@pytest.fixture
def model():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=Patches(),
            neck=dict(
                type='LabelAttentionNeck',
                num_classes=NUM_CLASSES,
                in_channels=8,
                embed_dims=8,
                num_heads=HEADS,
            ),
            head=dict(type='LabelWiseClsHead', num_classes=NUM_CLASSES, in_channels=8),
        )
    )
    # Large enough weights that scores and attention are not all alike.
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


@pytest.fixture
def inputs():
    return torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def test_maps(model, inputs):
    scores, maps = label_attention_maps(model, inputs)
    assert maps.shape == (4, HEADS, NUM_CLASSES, 2, 3)
    torch.testing.assert_close(
        maps.sum((-2, -1)), torch.ones(4, HEADS, NUM_CLASSES), rtol=1e-5, atol=1e-5
    )
    assert maps.std() > 0.01
    model.eval()
    with torch.no_grad():
        expected = model(inputs, mode='tensor').sigmoid()
    torch.testing.assert_close(scores, expected)
    assert scores.std() > 0.01


@pytest.mark.parametrize(
    'neck',
    [
        dict(type='LabelQueryDecoder', feedforward_channels=16),
        dict(type='MLDecoderNeck', feedforward_channels=16),
    ],
    ids=lambda neck: neck['type'],
)
def test_maps_of_other_necks(model, inputs, neck):
    sizes = dict(in_channels=8, embed_dims=8, num_heads=HEADS, num_classes=NUM_CLASSES)
    model.neck = MODELS.build(neck | sizes)
    scores, maps = label_attention_maps(model, inputs)
    assert maps.shape == (4, HEADS, NUM_CLASSES, 2, 3)
    torch.testing.assert_close(
        maps.sum((-2, -1)), torch.ones(4, HEADS, NUM_CLASSES), rtol=1e-5, atol=1e-5
    )
    with torch.no_grad():
        expected = model.eval()(inputs, mode='tensor').sigmoid()
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize('training', [True, False])
def test_mode_is_kept(model, inputs, training):
    model.train(training)
    first, _ = label_attention_maps(model, inputs)
    second, _ = label_attention_maps(model, inputs)
    # dropout is off
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert model.training is training
    assert model.backbone.dropout.training is training


def test_frozen_parts_stay_frozen(model, inputs):
    model.train()
    model.backbone.eval()
    label_attention_maps(model, inputs)
    assert model.training and model.neck.training
    assert not model.backbone.training and not model.backbone.dropout.training


def test_mode_is_kept_after_an_error(model, inputs):
    model.train()
    with pytest.raises(RuntimeError):
        label_attention_maps(model, inputs[:, :1])
    assert model.training


def test_no_graph(model, inputs):
    scores, maps = label_attention_maps(model, inputs)
    assert not scores.requires_grad and not maps.requires_grad


def test_tokens(model, inputs):
    model.backbone.tokens = True
    _, maps = label_attention_maps(model, inputs)
    assert maps.shape == (4, HEADS, NUM_CLASSES, 6)


def test_half_precision(model, inputs):
    scores, maps = label_attention_maps(model.to(torch.bfloat16), inputs.bfloat16())
    assert scores.dtype == maps.dtype == torch.float32


@pytest.mark.parametrize('neck', [None, dict(type='GlobalAveragePooling')])
def test_other_neck(inputs, neck):
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(type='ImageClassifier', backbone=Patches(), neck=neck))
    got = 'no neck' if neck is None else 'GlobalAveragePooling'
    with pytest.raises(ValueError, match=f'MLDecoderNeck, got .*{got}'):
        label_attention_maps(model, inputs)


def test_no_head(model, inputs):
    model.head = None
    with pytest.raises(ValueError, match='without one'):
        label_attention_maps(model, inputs)


@pytest.mark.parametrize(
    ('score', 'target', 'expected'),
    [
        (0.5, 1, 'correct'),
        (0.9, 0, 'wrong'),
        (0.9, -1, 'unknown'),
        (0.49, 1, 'missed'),
        (0.49, 0, None),
        (0.49, -1, None),
    ],
)
def test_outcome(score, target, expected):
    (found,) = Decisions.from_thr(0.5, 1).predict(np.array([score]))
    assert outcome_of(found, target == 1, target == -1) == expected


def test_labels_are_found_as_by_decisions():
    """A score of float32 that rounds to the threshold is found."""
    score, thr = np.float32(0.7), 0.7
    assert float(score) < thr
    shown = titles(sheet(scores=np.full((2, 5), score), thr=thr))
    assert sum('✓ correct' in text for text in shown) == 2
    assert not any('○ missed' in text for text in shown)


def sheet(**changes):
    """Two images: the first with all outcomes, the second with nothing in it."""
    maps = np.zeros((2, HEADS, 5, 2, 3), dtype=np.float32)
    # Label 1 looks at the lower right, with one of the heads.
    maps[0, 0, 1, 1, 2] = 1
    options = dict(
        images=[np.full((16, 24, 3), 255, dtype=np.uint8)] * 2,
        scores=[[0.1, 0.7, 0.9, 0.6, 0.2], [0.1] * 5],
        targets=[[1, 1, 0, -1, 0], [0, 0, 0, -1, 0]],
        maps=maps,
        classes=['ant', 'bee', 'cat', 'dog', 'eel'],
    )
    return prediction_sheet(**(options | changes))


def titles(figure):
    return [ax.get_title(loc='left') for ax in figure.axes]


def test_sheet_tells_outcomes():
    figure = sheet()
    expected = ['true:\nant, bee', '✗ wrong\ncat  0.90', '✓ correct\nbee  0.70']
    expected += ['? not annotated\ndog  0.60', '○ missed\nant  0.10']
    expected += ['true:\nno label', '']
    assert titles(figure) == expected
    assert 'no label found' in figure.axes[-1].texts[0].get_text()
    for ax, outcome in zip(figure.axes[1:], ['wrong', 'correct', 'unknown', 'missed']):
        frame = matplotlib.colors.to_hex(ax.spines['left'].get_edgecolor())
        assert frame == OUTCOMES[outcome][0]


def test_sheet_threshold_and_limit():
    assert titles(sheet(thr=0.8, max_labels=2))[:3] == [
        'true:\nant, bee',
        '✗ wrong\ncat  0.90',
        '○ missed\nbee  0.70',
    ]


@pytest.mark.parametrize(('thr', 'unknown'), [(0.5, True), (0.8, False)])
def test_legend(thr, unknown):
    """What is not there needs no explanation."""
    (legend,) = sheet(thr=thr).legends
    words = [text.get_text() for text in legend.get_texts()]
    expected = ['✓ correct', '✗ wrong', '○ missed', '? not annotated']
    assert words == expected[: 3 + unknown]


def test_sheet_class_names_are_no_formulas(tmp_path):
    """A broken formula would stop the drawing."""
    figure = sheet(classes=['ant', 'bee', '$\\frac{$', 'dog', 'eel'])
    figure.savefig(tmp_path / 'sheet.png')
    assert '$\\frac{$  0.90' in titles(figure)[1]


def test_sheet_shows_the_map_of_the_label():
    _, heat = (image.get_array() for image in sheet().axes[2].images)
    assert heat.shape == (16, 24)
    assert heat[-1, -1] == heat.max() == 1
    assert heat[:8].max() < 0.5 and heat[:, :8].max() == 0
    # the label beside it has no attention at all
    assert sheet().axes[1].images[1].get_array().max() == 0


@pytest.mark.parametrize(
    ('times_even', 'expected'), [(1, 0), (0.5, 0), (1.5, 0.25), (2, 0.5), (4, 1)]
)
def test_heat_is_what_exceeds_an_even_spread(times_even, expected):
    """On 3 x 3 places, the middle one of which is the middle of the picture."""
    maps = np.zeros((2, HEADS, 5, 3, 3))
    maps[0, :, 1, 1, 1] = times_even / 9
    images = [np.full((15, 15, 3), 255, dtype=np.uint8)] * 2
    _, heat = (i.get_array() for i in sheet(maps=maps, images=images).axes[2].images)
    assert heat[7, 7] == pytest.approx(expected)


def test_sheet_is_written(tmp_path):
    """Everything lies inside the picture, and something is drawn."""
    figure = sheet()
    path = tmp_path / 'sheet.png'
    figure.savefig(path)
    picture = matplotlib.image.imread(path)
    width, height = figure.get_size_inches() * figure.dpi
    assert np.abs(np.subtract(picture.shape[:2], (height, width))).max() <= 1
    # a white margin, within which are things that are not white
    assert picture[:5].min() == picture[:, :5].min() == 1
    assert picture.min() < 0.2
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_sheet_of_many_labels():
    """Long lists are broken into lines that stay clear of the row above."""
    names = [f'diningtable {i}' for i in range(12)]
    maps = np.ones((2, 1, 12, 2, 2)) / 4
    figure = sheet(
        scores=np.full((2, 12), 0.9),
        targets=np.ones((2, 12)),
        maps=maps,
        classes=names,
        max_labels=3,
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    first, second = figure.axes[0], figure.axes[4]
    assert all(name.split()[0] in second.get_title(loc='left') for name in names)
    below, above = second.get_tightbbox(renderer), first.get_tightbbox(renderer)
    assert below.y1 <= above.y0
    assert len(figure.axes) == 2 * 4


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(images=[]), 'at least one image'),
        (dict(max_labels=0), 'max_labels'),
        (dict(classes=['ant']), r'scores must have the shape \(2, 1\), got \(2, 5\)'),
        (dict(targets=[[1, 0]] * 2), r'targets must have the shape \(2, 5\)'),
        (dict(maps=np.ones((1, HEADS, 5, 2, 3))), '2 images but 1 attention map'),
        (dict(maps=np.ones((2, HEADS, 5, 6))), 'tokens without places'),
        (dict(maps=np.ones((2, HEADS, 4, 2, 3))), 'every map'),
        (dict(images=[np.zeros((8, 8))] * 2), 'every image'),
    ],
)
def test_sheet_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        sheet(**changes)


@pytest.mark.slow
def test_package_does_not_import_it():
    code = "import mlcl_plugin, sys; print('mlcl_plugin.visualization' in sys.modules)"
    out = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )
    assert out.stdout.split()[-1] == 'False', out.stderr
