# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.converters.mulcon_weights import convert

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools/model_converters/mulcon_to_mlcl.py'
spec = importlib.util.spec_from_file_location('mulcon_to_mlcl', SCRIPT)
converter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(converter)

NUM_LABELS, EMBED_DIMS, HIDDEN, OUT, HEADS = 5, 16, 12, 6, 4
TAG = 'ema_epoch_15'


def attention_block(query_dims, key_dims, dims):
    """Random tensors of one block, under the released names."""
    shapes = {'fc_q': query_dims, 'fc_k': key_dims, 'fc_v': key_dims, 'fc_o': dims}
    state = {}
    for name, width in shapes.items():
        # so large that the attention is far from uniform
        state[f'{name}.weight'] = torch.randn(dims, width) * 3 / math.sqrt(width)
        state[f'{name}.bias'] = torch.randn(dims)
    for name in ('ln0', 'ln1'):
        state[f'{name}.weight'] = torch.rand(dims) + 0.5
        state[f'{name}.bias'] = torch.randn(dims)
    return state


def random_files(
    blocks=('sab1', 'sab2', 'sab3'),
    projector=True,
    resnet='resnet18',
    width=512,
    labels=NUM_LABELS,
    embed_dims=EMBED_DIMS,
    hidden=HIDDEN,
    out=OUT,
):
    """The content of the released files by the last part of their name."""
    torch.manual_seed(0)
    net = getattr(torchvision.models, resnet)(weights=None)
    net = nn.Sequential(
        net.conv1,
        net.bn1,
        net.relu,
        net.maxpool,
        net.layer1,
        net.layer2,
        net.layer3,
        net.layer4,
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    neck = {'I': torch.randn(1, labels, embed_dims)}
    dims = {
        'sab1': (width, width, width),
        'sab2': (width, width, width),
        'mab': (embed_dims, width, embed_dims),
        'sab3': (embed_dims, embed_dims, embed_dims),
    }
    for name in (*blocks, 'mab'):
        prefix = 'mab.' if name == 'mab' else f'{name}.mab.'
        block = attention_block(*dims[name])
        neck |= {prefix + key: value for key, value in block.items()}
    files = {'E': net.state_dict(), 'A': neck}
    for label in range(labels):
        files[f'C_{label}'] = {
            'weight': torch.randn(1, embed_dims),
            'bias': torch.randn(1),
        }
    if projector:
        files['P'] = {
            '0.weight': torch.randn(hidden, embed_dims),
            '0.bias': torch.randn(hidden),
            '2.weight': torch.randn(out, hidden),
            '2.bias': torch.randn(out),
        }
    return files


def write(folder, files, prefix=''):
    folder.mkdir(exist_ok=True)
    for name, state in files.items():
        state = {prefix + key: value for key, value in state.items()}
        torch.save(state, folder / f'{TAG}_net_{name}.pth')
    return folder


def plain_attention(state, prefix, queries, tokens):
    """MAB in loops over images and heads."""

    def linear(name, x):
        weight, bias = state[f'{prefix}{name}.weight'], state[f'{prefix}{name}.bias']
        return x @ weight.T + bias

    def norm(name, x):
        weight, bias = state[f'{prefix}{name}.weight'], state[f'{prefix}{name}.bias']
        x = x - x.mean(-1, keepdim=True)
        return x / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * weight + (
            bias
        )

    outs = []
    for query, token in zip(queries, tokens):
        q, k, v = linear('fc_q', query), linear('fc_k', token), linear('fc_v', token)
        width = q.size(1) // HEADS
        heads = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            scores = q[:, part] @ k[:, part].T / math.sqrt(q.size(1))
            heads.append(q[:, part] + scores.softmax(dim=1) @ v[:, part])
        out = norm('ln0', torch.cat(heads, dim=1))
        outs.append(norm('ln1', out + linear('fc_o', out).clamp(min=0)))
    return torch.stack(outs)


def plain_mulcon(files, images, blocks=('sab1', 'sab2', 'sab3'), resnet='resnet18'):
    """Logits and projections, from the content of the files."""
    net = getattr(torchvision.models, resnet)(weights=None)
    children = [
        net.conv1,
        net.bn1,
        net.relu,
        net.maxpool,
        net.layer1,
        net.layer2,
        net.layer3,
        net.layer4,
    ]
    net = nn.Sequential(*children).double().eval()
    net.load_state_dict(files['E'])
    state = {key: value.double() for key, value in files['A'].items()}
    tokens = net(images).flatten(2).transpose(1, 2)
    for name in ('sab1', 'sab2'):
        if name in blocks:
            tokens = plain_attention(state, f'{name}.mab.', tokens, tokens)
    queries = state['I'].repeat(len(images), 1, 1)
    embeddings = plain_attention(state, 'mab.', queries, tokens)
    if 'sab3' in blocks:
        embeddings = plain_attention(state, 'sab3.mab.', embeddings, embeddings)
    logits = torch.stack(
        [
            embeddings[:, label] @ files[f'C_{label}']['weight'][0].double()
            + files[f'C_{label}']['bias'].double()
            for label in range(NUM_LABELS)
        ],
        dim=1,
    )
    if 'P' not in files:
        return logits, None
    first, last = (
        (files['P'][f'{i}.weight'].double(), files['P'][f'{i}.bias'].double())
        for i in (0, 2)
    )
    hidden = (embeddings @ first[0].T + first[1]).clamp(min=0)
    z = hidden @ last[0].T + last[1]
    return logits, z / z.norm(dim=-1, keepdim=True)


def build_model(before=2, after=1, projector=True, depth=18, width=512):
    """Our model of the configs, at the width of the random files."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/mlcl_r101.py').model
    cfg.backbone.update(depth=depth, init_cfg=None)
    cfg.neck.update(
        num_classes=NUM_LABELS,
        in_channels=width,
        embed_dims=EMBED_DIMS,
        num_blocks_before=before,
        num_blocks_after=after,
    )
    cfg.head.update(num_classes=NUM_LABELS, in_channels=EMBED_DIMS)
    if projector:
        cfg.head.update(
            loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
            projector=dict(hidden_channels=HIDDEN, out_channels=OUT),
        )
    return MODELS.build(cfg).double().eval()


def images():
    return torch.randn(
        2, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


@pytest.mark.parametrize(
    'blocks',
    [('sab1', 'sab2', 'sab3'), (), ('sab1', 'sab3')],
    ids=['released', 'arxiv_v1', 'journal'],
)
def test_same_outputs(tmp_path, blocks):
    files = random_files(blocks)
    out = tmp_path / 'new' / 'out.pth'
    converter.main(
        [str(write(tmp_path / 'src', files)), str(out), '--tag', TAG],
    )
    model = build_model(
        before=len(set(blocks) & {'sab1', 'sab2'}), after='sab3' in blocks
    )
    load_checkpoint(model, str(out), map_location='cpu', strict=True)
    logits, projections = plain_mulcon(files, images(), blocks)
    with torch.no_grad():
        feats = model.extract_feat(images())
        torch.testing.assert_close(model.head(feats), logits, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            model.head.projector(feats[-1]), projections, rtol=1e-9, atol=1e-9
        )
    # the test sees every part: labels differ, and so do images
    assert logits.std(dim=0).min() > 1e-3
    assert logits.std(dim=1).min() > 1e-3


def test_bottlenecks_of_step_1(tmp_path):
    """A deeper backbone, and no projector; ``module.`` before every name."""
    files = random_files((), projector=False, resnet='resnet50', width=2048)
    write(tmp_path, files, prefix='module.')
    checkpoint, summary = convert(tmp_path, TAG)
    assert 'ResNet-50' in summary and 'no projector' in summary
    model = build_model(0, 0, projector=False, depth=50, width=2048)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    logits, _ = plain_mulcon(files, images(), (), 'resnet50')
    with torch.no_grad():
        feats = model.extract_feat(images())
        torch.testing.assert_close(model.head(feats), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_released_sizes(tmp_path):
    """Weights of the published size fit both steps of the recipe as it stands."""
    files = random_files(
        resnet='resnet101', width=2048, labels=80, embed_dims=1024, hidden=1024, out=128
    )
    checkpoint, summary = convert(write(tmp_path, files), TAG)
    # backbone 42.50, neck 44.17, classifiers 0.08, projector 1.18
    assert '87.93 M' in summary
    cfg = Config.fromfile(ROOT / 'configs/mlcl_r101_coco.py')
    for step in ('step1', 'step2'):
        changes = cfg.steps[step]
        cfg.merge_from_dict(dict(model=changes.get('model', {})))
        cfg.model.backbone.init_cfg = None
        model = MODELS.build(cfg.model)
        model.load_state_dict(checkpoint['state_dict'], strict=True)


def test_model_without_projector_takes_step_2_weights(tmp_path):
    checkpoint, _ = convert(write(tmp_path, random_files(())), TAG)
    assert any('projector' in key for key in checkpoint['state_dict'])
    model = build_model(0, 0, projector=False)
    model.load_state_dict(checkpoint['state_dict'], strict=True)


def test_summary(tmp_path, capsys):
    files = random_files(('sab1', 'sab3'))
    out = tmp_path / 'out.pth'
    converter.main([str(write(tmp_path / 'src', files)), str(out), '--tag', TAG])
    text = capsys.readouterr().out
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    number = sum(
        value.numel()
        for state in files.values()
        for key, value in state.items()
        if not key.endswith(buffers)
    )
    assert f'{number / 1e6:.2f} M parameters' in text
    assert 'ResNet-18, 5 labels' in text
    assert '1 blocks before and 1 after' in text
    assert str(out) in text
    assert set(torch.load(out, weights_only=True)) == {'state_dict', 'meta'}


NAMES = ['person', 'bicycle', 'car', 'bus', 'cat']


@pytest.fixture
def label_lists(tmp_path):
    """An order of the weights, and COCO's, by ids in a jumbled file."""
    categories = tmp_path / 'category.json'
    categories.write_text(
        json.dumps({name: index for index, name in enumerate(sorted(NAMES))})
    )
    ids = [1, 2, 3, 6, 17]
    listed = [dict(id=i, name=name) for i, name in zip(ids, NAMES)]
    ann_file = tmp_path / 'instances.json'
    ann_file.write_text(json.dumps(dict(images=[], categories=listed[::-1])))
    return categories, ann_file


# by index in the weights
ORDERS = {
    'alphabetical': ['bicycle', 'bus', 'car', 'cat', 'person'],
    'given': ['cat', 'person', 'bus', 'bicycle', 'car'],
}


@pytest.mark.parametrize('order', ORDERS)
def test_order_of_labels(tmp_path, label_lists, order, capsys):
    files = random_files(('sab3',))
    out = tmp_path / 'out.pth'
    categories, ann_file = map(str, label_lists)
    args = [str(write(tmp_path / 'src', files)), str(out), '--tag', TAG]
    args += ['--ann-file', ann_file]
    if order == 'given':
        index = {name: i for i, name in enumerate(ORDERS[order])}
        Path(categories).write_text(json.dumps(index))
        args += ['--categories', categories]
    converter.main(args)
    printed = capsys.readouterr()
    assert f'{ann_file} (in the weights: ' in printed.out
    assert ('alphabetical' in printed.out) == (order == 'alphabetical')
    assert not printed.err
    checkpoint = torch.load(out, weights_only=True)
    assert checkpoint['meta']['dataset_meta']['classes'] == tuple(NAMES)
    model = build_model(0, 1)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    logits, projections = plain_mulcon(files, images(), ('sab3',))
    rows = [ORDERS[order].index(name) for name in NAMES]
    assert rows != list(range(NUM_LABELS))
    with torch.no_grad():
        feats = model.extract_feat(images())
        torch.testing.assert_close(
            model.head(feats), logits[:, rows], rtol=1e-9, atol=1e-9
        )
        torch.testing.assert_close(
            model.head.projector(feats[-1]), projections[:, rows], rtol=1e-9, atol=1e-9
        )


def test_order_of_the_weights_is_told(tmp_path, capsys):
    args = [str(write(tmp_path / 'src', random_files(()))), str(tmp_path / 'out.pth')]
    converter.main([*args, '--tag', TAG])
    (line,) = capsys.readouterr().err.splitlines()
    assert 'without --ann-file' in line and 'CocoMultiLabel' in line
    with pytest.raises(SystemExit):
        converter.main([*args, '--tag', TAG, '--categories', 'category.json'])
    assert '--categories needs --ann-file' in capsys.readouterr().err


def test_wrong_input_is_told_in_one_line(tmp_path, capsys):
    args = [str(tmp_path / 'nowhere'), str(tmp_path / 'out.pth'), '--tag', TAG]
    with pytest.raises(SystemExit, match='2'):
        converter.main([*args, '--ann-file', 'instances.json'])
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f'mulcon_to_mlcl: There is no folder {tmp_path / "nowhere"}.'


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder .*nowhere'):
        convert(tmp_path / 'nowhere', TAG)
    files = random_files(())
    write(tmp_path, files)
    with pytest.raises(FileNotFoundError, match=rf'epoch_9_net_E.pth.*{TAG}'):
        convert(tmp_path, 'epoch_9')
    (tmp_path / f'{TAG}_net_C_3.pth').unlink()
    with pytest.raises(FileNotFoundError, match=f'no file {TAG}_net_C_3.pth.* 5 '):
        convert(tmp_path, TAG)
    (tmp_path / f'{TAG}_net_A.pth').unlink()
    with pytest.raises(FileNotFoundError, match='net_A.pth'):
        convert(tmp_path, TAG)


def test_more_classifiers_than_queries(tmp_path):
    files = random_files(())
    files['C_5'] = files['C_0']
    with pytest.raises(ValueError, match=f'{TAG}_net_C_5.pth.* 5 label queries'):
        convert(write(tmp_path, files), TAG)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('E', {'9.weight': 1}, r"net_E.pth holds 1 keys .*ResNet: \['9.weight'\]"),
        ('E', {'4.0.conv2.weight': None}, "net_E.pth has no key '4.0.conv2.weight'"),
        ('E', {'4.1.bn1.bias': 3}, r"'4.1.bn1.bias' has shape \(3,\).*\(64,\)"),
        ('E', {'4.5.conv1.weight': 1}, r'no ResNet of a known depth.*\(3, 2, 2, 2\)'),
        ('A', {'I': None}, "net_A.pth has no key 'I'"),
        ('A', {'I': 4}, r"'I' has shape \(4,\), expected 3 dimensions"),
        ('A', {'mab.fc_k.weight': None}, "no key 'mab.fc_k.weight'"),
        ('A', {'sab3.mab.ln1.bias': None}, "no key 'sab3.mab.ln1.bias'"),
        ('A', {'sab4.mab.ln0.bias': 1}, 'LabelAttentionNeck: .*sab4.mab.ln0.bias'),
        ('A', {'mab.fc_o.bias': 3}, r"'mab.fc_o.bias' has shape \(3,\).*\(16,\)"),
        ('C_2', {'bias': None}, "net_C_2.pth has no key 'bias'"),
        ('C_2', {'bias': 2}, r"net_C_2.pth: 'bias' has shape \(2,\).*\(1,\)"),
        ('P', {'0.weight': None}, "net_P.pth has no key '0.weight'"),
        ('P', {'3.weight': 1}, 'net_P.pth holds 1 keys .*ContrastiveProjector'),
    ],
)
def test_malformed_file(tmp_path, name, change, message):
    files = random_files(('sab3',))
    for key, size in change.items():
        if size is None:
            del files[name][key]
        else:
            files[name][key] = torch.zeros(size)
    with pytest.raises(ValueError, match=message):
        convert(write(tmp_path, files), TAG)


class Hostile:
    def __reduce__(self):
        return print, ('code from a file has run',)


@pytest.mark.parametrize('content', ['hostile', 'list', 'text'])
def test_file_of_another_kind(tmp_path, content, capsys):
    write(tmp_path, random_files(()))
    path = tmp_path / f'{TAG}_net_A.pth'
    if content == 'text':
        path.write_text('Quota exceeded, try again later')
    else:
        torch.save(Hostile() if content == 'hostile' else [torch.zeros(1)], path)
    with pytest.raises(ValueError, match=f'{TAG}_net_A.pth'):
        convert(tmp_path, TAG)
    assert 'has run' not in capsys.readouterr().out


def test_malformed_label_lists(tmp_path, label_lists):
    write(tmp_path, random_files(()))
    categories, ann_file = map(str, label_lists)

    def convert_lists(categories=categories, ann_file=ann_file):
        return convert(tmp_path, TAG, categories, ann_file)

    with pytest.raises(ValueError, match='category.json is of no use without ann_file'):
        convert_lists(ann_file=None)
    with pytest.raises(FileNotFoundError, match='no file .*gone.json'):
        convert_lists(categories=str(tmp_path / 'gone.json'))
    Path(ann_file).write_text('{"images": []}')
    with pytest.raises(ValueError, match="instances.json has no list 'categories'"):
        convert_lists()
    for names in (NAMES[:4], [*NAMES[:4], NAMES[0]], [*NAMES, 'tram']):
        message = f'{len(names)} categories with {len(set(names))} .* 5 labels'
        listed = [dict(id=i, name=name) for i, name in enumerate(names)]
        Path(ann_file).write_text(json.dumps(dict(categories=listed)))
        with pytest.raises(ValueError, match=message):
            convert_lists(categories=None)
    names = [name.replace('bus', 'tram') for name in NAMES]
    listed = [dict(id=i, name=name) for i, name in enumerate(names)]
    Path(ann_file).write_text(json.dumps(dict(categories=listed)))
    with pytest.raises(ValueError, match=r"first has \['bus'\].*second has \['tram'\]"):
        convert_lists()
    Path(categories).write_text(json.dumps(dict.fromkeys(NAMES, 0)))
    with pytest.raises(ValueError, match='category.json must hold .* 0 to 4'):
        convert_lists()
    Path(categories).write_text('{"person": 0')
    with pytest.raises(ValueError, match='category.json is not valid JSON'):
        convert_lists()
