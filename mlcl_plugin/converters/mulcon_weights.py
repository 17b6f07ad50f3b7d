# SPDX-License-Identifier: Apache-2.0
"""Read the weights that MulCon's authors released.

A model is stored as several files in one folder, here with the tag ``ema_epoch_15``::

    ema_epoch_15_net_E.pth      backbone
    ema_epoch_15_net_A.pth      label queries and attention
    ema_epoch_15_net_C_0.pth    classifier of label 0
    ...
    ema_epoch_15_net_C_79.pth
    ema_epoch_15_net_P.pth      projector, missing for step 1

Files are read by :func:`read_checkpoint`, so that none can run code.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from mmpretrain.models import ResNet
from torch import Tensor, nn

from ..engine.safe_checkpoint import read_checkpoint
from ..errors import CheckpointError
from ..models import LabelAttentionNeck
from ..models.utils import ContrastiveProjector
from .mulcon_label_order import read_order

ATTENTION = {
    'query_proj': 'fc_q',
    'key_proj': 'fc_k',
    'value_proj': 'fc_v',
    'out_proj': 'fc_o',
    'norm0': 'ln0',
    'norm1': 'ln1',
}
"""Names in an attention block: ours to theirs."""


def load_file(path: Path) -> dict[str, Tensor]:
    """Read the tensors of one file, without the prefix ``module.`` of their names.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it is not a file of tensors.
    """
    if not path.exists():
        tags = sorted(
            file.name.removesuffix('_net_E.pth')
            for file in path.parent.glob('*_net_E.pth')
        )
        raise FileNotFoundError(
            f'There is no file {path}. The tags of the models in its folder are {tags}.'
        )
    state = read_checkpoint(path)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f'{path} does not hold tensors only, as a state_dict does.'
        )
    # Left by DataParallel.
    return {key.removeprefix('module.'): value for key, value in state.items()}


def take(
    state: dict[str, Tensor],
    path: Path,
    module: nn.Module,
    their_name: Callable[[str], str],
) -> dict[str, Tensor]:
    """Take the tensors of a module from a file.

    Args:
        state (dict[str, Tensor]): The content of the file.
        path (Path): The file, for error messages.
        module (nn.Module): A module with the expected names and shapes.
        their_name (Callable[[str], str]): Maps a name in ``module`` to that in the
            file.

    Returns:
        dict[str, Tensor]: The tensors by their name in ``module``.

    Raises:
        ValueError: If a tensor is missing, left over or of another shape.
    """
    state, taken = dict(state), {}
    for name, expected in module.state_dict().items():
        key = their_name(name)
        value = find(state, path, key)
        if value.shape != expected.shape:
            raise ValueError(
                f"{path}: '{key}' has shape {tuple(value.shape)}, expected "
                f'{tuple(expected.shape)}.'
            )
        taken[name] = state.pop(key)
    if state:
        raise ValueError(
            f'{path} holds {len(state)} keys that are unknown to a '
            f'{type(module).__name__}: {sorted(state)[:5]}.'
        )
    return taken


def find(state: dict[str, Tensor], path: Path, key: str, ndim: int = 0) -> Tensor:
    """Look up a tensor of a file; ``ndim`` is the least number of its dimensions."""
    if key not in state:
        raise ValueError(
            f"{path} has no key '{key}'. Its {len(state)} keys start with "
            f'{sorted(state)[:5]}.'
        )
    if state[key].ndim < ndim:
        raise ValueError(
            f"{path}: '{key}' has shape {tuple(state[key].shape)}, expected {ndim} "
            'dimensions.'
        )
    return state[key]


def read_backbone(path: Path) -> tuple[ResNet, dict[str, Tensor]]:
    """Read a ResNet stored as Sequential(conv1, bn1, relu, maxpool, layer1..4)."""
    state = load_file(path)
    blocks = tuple(
        len({key.split('.')[1] for key in state if key.startswith(f'{stage}.')})
        for stage in (4, 5, 6, 7)
    )
    bottleneck = '4.0.conv3.weight' in state
    depths = [
        depth
        for depth, (block, counts) in ResNet.arch_settings.items()
        if counts == blocks and (block.__name__ == 'Bottleneck') == bottleneck
    ]
    if not depths:
        raise ValueError(
            f'{path} holds no ResNet of a known depth: its four stages have {blocks} '
            'blocks.'
        )

    def their_name(name: str) -> str:
        part, _, rest = name.partition('.')
        index = {'conv1': 0, 'bn1': 1}.get(part)
        return f'{int(part[-1]) + 3 if index is None else index}.{rest}'

    module = ResNet(depths[0])
    return module, take(state, path, module, their_name)


def read_neck(path: Path) -> tuple[LabelAttentionNeck, dict[str, Tensor]]:
    """Read label queries and attention.

    ``sab1`` and ``sab2`` come before the label attention ``mab``, ``sab3`` after it;
    each of the three may be missing.
    """
    state = load_file(path)
    blocks = {key.split('.')[0] for key in state}
    before = [name for name in ('sab1', 'sab2') if name in blocks]
    after = [name for name in ('sab3',) if name in blocks]
    theirs = {'label_attention': 'mab'}
    theirs |= {f'blocks_before.{i}': f'{name}.mab' for i, name in enumerate(before)}
    theirs |= {f'blocks_after.{i}': f'{name}.mab' for i, name in enumerate(after)}

    def their_name(name: str) -> str:
        if name == 'queries':
            return 'I'
        block, layer, kind = name.rsplit('.', 2)
        return f'{theirs[block]}.{ATTENTION[layer]}.{kind}'

    with torch.device('meta'):
        module = LabelAttentionNeck(
            num_classes=find(state, path, 'I', ndim=3).size(1),
            in_channels=find(state, path, 'mab.fc_k.weight', ndim=2).size(1),
            embed_dims=find(state, path, 'I').size(2),
            # Names and shapes do not depend on it.
            num_heads=1,
            num_blocks_before=len(before),
            num_blocks_after=len(after),
        )
    return module, take(state, path, module, their_name)


def read_classifiers(
    src_dir: Path, tag: str, num_classes: int, embed_dims: int
) -> dict[str, Tensor]:
    """Stack the classifiers; each is stored in its own file."""
    prefix = f'{tag}_net_C_'
    found = {path.name for path in src_dir.glob(f'{prefix}*.pth')}
    expected = [f'{prefix}{label}.pth' for label in range(num_classes)]
    missing = [name for name in expected if name not in found]
    if missing:
        raise FileNotFoundError(
            f'{src_dir} has no file {missing[0]}: {tag}_net_A.pth holds {num_classes} '
            f'label queries, but {len(missing)} of their classifiers are missing.'
        )
    extra = sorted(found.difference(expected))
    if extra:
        raise ValueError(
            f'{src_dir} holds {extra[0]}, but {tag}_net_A.pth has only '
            f'{num_classes} label queries.'
        )
    units = []
    with torch.device('meta'):
        linear = nn.Linear(embed_dims, 1)
    for name in expected:
        path = src_dir / name
        units.append(take(load_file(path), path, linear, lambda key: key))
    return {
        'weight': torch.cat([unit['weight'] for unit in units]),
        'bias': torch.cat([unit['bias'] for unit in units]),
    }


def read_projector(
    path: Path, embed_dims: int
) -> tuple[nn.Module, dict[str, Tensor]] | None:
    """Read the projector; None if there is none."""
    if not path.exists():
        return None
    state = load_file(path)
    with torch.device('meta'):
        module = ContrastiveProjector(
            in_channels=embed_dims,
            hidden_channels=find(state, path, '0.weight', ndim=2).size(0),
            out_channels=find(state, path, '2.weight', ndim=2).size(0),
        )
    index = {'fc1': '0', 'fc2': '2'}
    return module, take(
        state, path, module, lambda name: name.replace(name[:3], index[name[:3]], 1)
    )


def convert(
    src_dir: str | Path,
    tag: str,
    categories: str | Path | None = None,
    ann_file: str | Path | None = None,
) -> tuple[dict, str]:
    """Convert the files of one model to a checkpoint of this package.

    Args:
        src_dir (str | Path): The folder of the files.
        tag (str): The start of the file names, before ``_net_``.
        categories (str | Path, optional): JSON file ``{name: index}`` of the order of
            the weights. Needs ``ann_file``. Defaults to None, which assumes the
            alphabetical order.
        ann_file (str | Path, optional): COCO annotation file. Labels are put into the
            order of its category ids. Defaults to None, which keeps their order.

    Returns:
        tuple[dict, str]: The checkpoint, ``dict(state_dict=..., meta=...)``, and a
        line about the model.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has other keys or shapes than expected, or ``categories``
            is given without ``ann_file``.
    """
    if categories is not None and ann_file is None:
        raise ValueError(
            f'categories={categories} is of no use without ann_file, the COCO '
            'annotation file that gives the order to put the labels into.'
        )
    src_dir = Path(src_dir)
    if not src_dir.is_dir():
        raise FileNotFoundError(f'There is no folder {src_dir}.')
    backbone, backbone_state = read_backbone(src_dir / f'{tag}_net_E.pth')
    neck, neck_state = read_neck(src_dir / f'{tag}_net_A.pth')
    classifiers = read_classifiers(src_dir, tag, neck.num_classes, neck.embed_dims)
    projector = read_projector(src_dir / f'{tag}_net_P.pth', neck.embed_dims)

    meta: dict[str, object] = dict(converted_from=f'MulCon, {tag}')
    if ann_file is not None:
        names, order = read_order(categories, ann_file, neck.num_classes)
        # Attention among the labels does not depend on their order.
        neck_state['queries'] = neck_state['queries'][:, order]
        classifiers = {key: value[order] for key, value in classifiers.items()}
        meta['dataset_meta'] = dict(classes=tuple(names))

    parts = {
        'backbone': backbone_state,
        'neck': neck_state,
        'head.classifier': classifiers,
    }
    modules: list[nn.Module] = [backbone, neck]
    if projector is not None:
        modules.append(projector[0])
        parts['head.projector'] = projector[1]
    state_dict = {
        f'{part}.{name}': value.contiguous()
        for part, state in parts.items()
        for name, value in state.items()
    }
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    parameters += sum(value.numel() for value in classifiers.values())
    source = 'the weights'
    if ann_file is not None:
        taken = 'alphabetical order' if categories is None else categories
        source = f'{ann_file} (in the weights: {taken})'
    summary = (
        f'ResNet-{backbone.depth}, {neck.num_classes} labels in the order of {source}, '
        f'{len(neck.blocks_before)} blocks before and {len(neck.blocks_after)} after '
        f'the label attention, {"no" if projector is None else "with"} projector, '
        f'{parameters / 1e6:.2f} M parameters'
    )
    return dict(state_dict=state_dict, meta=meta), summary
