# SPDX-License-Identifier: Apache-2.0
"""What a config says, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .work_folder import WorkFolder

LONGEST = 160
"""Characters of a value that is shown."""
NECKS = {
    'LabelAttentionNeck': 'label attention',
    'LabelQueryDecoder': "Query2Label's decoder",
    'MLDecoderNeck': "ML-Decoder's decoder",
    'GlobalAveragePooling': 'global average pooling',
    'GlobalMaxPooling': 'global max pooling',
}


def describe_config(work: WorkFolder) -> list[tuple[str, str]]:
    """Describe model, data and training.

    Args:
        work (WorkFolder): What was found.

    Returns:
        list[tuple[str, str]]: Names and texts. What a config does not say, or says in
        another form than expected, is left out.
    """
    cfg = work.config
    model = _dict(cfg, 'model')
    facts = [
        ('Classifier', _text(model.get('type'))),
        ('Backbone', _backbone(_dict(model, 'backbone'))),
        ('Neck', _part(_dict(model, 'neck'), NECKS)),
        ('Head', _part(_dict(model, 'head'), {})),
        ('Members of the blend', _members(model)),
        ('Labels', _text(_dict(model, 'head').get('num_classes'))),
        ('Image size', _image_size(cfg)),
    ]
    facts += [(name, text) for name, text in _data(cfg)]
    for name, own in (work.step_configs or {'': cfg}).items():
        facts.append((f'Training, {name}' if name else 'Training', _training(own)))
    facts += [
        ('Average of the weights', _average(cfg)),
        ('Seed', _text(_dict(cfg, 'randomness').get('seed'))),
    ]
    return [(name, text) for name, text in facts if text]


def _dict(value: Any, key: str) -> Mapping:
    """A dict inside of another one; empty if there is none."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(value: Any, key: str) -> Sequence:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, list | tuple) else []


def _text(value: Any) -> str:
    if value is None:
        return ''
    text = f'{value:g}' if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'


def _backbone(part: Mapping) -> str:
    kind = _text(part.get('type'))
    if kind == 'IdentityBackbone':
        return 'features of a frozen backbone, which were computed before'
    name = _text(part.get('model_name') or part.get('arch'))
    if 'depth' in part:
        name = f'depth {_text(part["depth"])}'
    return f'{kind}, {name}' if name else kind


def _part(part: Mapping, names: Mapping[str, str]) -> str:
    kind = _text(part.get('type'))
    words = [names.get(kind, kind)] if kind else []
    for key, noun in (('num_heads', 'heads'), ('embed_dims', 'dimensions')):
        if key in part:
            words.append(f'{_text(part[key])} {noun}')
    if part.get('dropout'):
        words.append(f'dropout {_text(part["dropout"])}')
    return ', '.join(words)


def _members(model: Mapping) -> str:
    kinds = [
        _text(item.get('type'))
        for item in _list(model, 'neighbours')
        if isinstance(item, Mapping)
    ]
    if not kinds:
        return ''
    weights = _list(model, 'weights')
    if len(weights) != len(kinds) + 1:
        return ', '.join(['head', *kinds])
    pairs = zip(['head', *kinds], weights)
    return ', '.join(f'{name} {_text(weight)}' for name, weight in pairs)


def _transforms(loader: Mapping) -> Iterator[Mapping]:
    dataset = _dict(loader, 'dataset')
    while 'dataset' in dataset:
        dataset = _dict(dataset, 'dataset')
    for transform in _list(dataset, 'pipeline'):
        if isinstance(transform, Mapping):
            yield transform


def _image_size(cfg: Mapping) -> str:
    size = ''
    for transform in _transforms(_dict(cfg, 'test_dataloader')):
        kind = str(transform.get('type'))
        if kind in ('Resize', 'CenterCrop', 'ResizeEdge'):
            scale = transform.get('scale', transform.get('crop_size'))
            sides = scale if isinstance(scale, list | tuple) else [scale, scale]
            size = ' × '.join(_text(side) for side in sides) + ' px'
            size += {'CenterCrop': ', the centre', 'ResizeEdge': ', the edge'}.get(
                kind, ''
            )
    return size


def _data(cfg: Mapping) -> Iterator[tuple[str, str]]:
    for split in ('train', 'val', 'test'):
        dataset = _dict(_dict(cfg, f'{split}_dataloader'), 'dataset')
        while 'dataset' in dataset:
            dataset = _dict(dataset, 'dataset')
        words = [_text(dataset.get('type'))]
        for key in ('data_root', 'ann_file', 'image_set_path', 'split'):
            if dataset.get(key):
                words.append(_text(dataset[key]))
        yield f'Data, {split}', ', '.join(word for word in words if word)


def _training(cfg: Mapping) -> str:
    words = []
    epochs = _dict(cfg, 'train_cfg').get('max_epochs')
    if epochs is not None:
        words.append(f'{_text(epochs)} epochs')
    batch = _dict(cfg, 'train_dataloader').get('batch_size')
    if batch is not None:
        words.append(f'batches of {_text(batch)} images')
    views = _dict(cfg, 'data_preprocessor').get('num_views')
    if views:
        words.append(f'{_text(views)} views of each')
    optimizer = _dict(_dict(cfg, 'optim_wrapper'), 'optimizer')
    if optimizer:
        words.append(
            f'{_text(optimizer.get("type"))}, learning rate '
            f'{_text(optimizer.get("lr"))}'
        )
    head = _dict(_dict(cfg, 'model'), 'head')
    for key, noun in (('loss', 'loss'), ('loss_contrastive', 'contrast')):
        loss = _dict(head, key)
        if loss:
            words.append(f'{noun} {_loss(loss)}')
    return '; '.join(words)


def _loss(loss: Mapping) -> str:
    text = _text(loss.get('type'))
    settings = [
        f'{noun} {_text(loss[key])}'
        for key, noun in (('loss_weight', 'weight'), ('temperature', 'temperature'))
        if key in loss
    ]
    return f'{text} ({", ".join(settings)})' if settings else text


def _average(cfg: Mapping) -> str:
    for hook in _list(cfg, 'custom_hooks'):
        if isinstance(hook, Mapping) and 'EMA' in str(hook.get('type')):
            momentum = hook.get('momentum')
            own = '' if momentum is None else f', momentum {_text(momentum)}'
            return f'{_text(hook["type"])}{own}'
    return ''
