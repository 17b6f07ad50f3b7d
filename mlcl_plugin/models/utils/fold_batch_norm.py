# SPDX-License-Identifier: Apache-2.0
"""Make batch norms in evaluation mode a part of the convolutions before them."""

import logging
from typing import cast

import torch
from mmengine.logging import print_log
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batch_norm(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """Fold batch norms into convolutions, for faster inference on a CPU.

    A batch norm in evaluation mode is a scale and a shift per channel. Where its input
    is a convolution that nothing else reads, both are put into the weights of the
    convolution. Outputs are equal up to rounding.

    Args:
        model (nn.Module): The model in evaluation mode. It is not changed.
        example (Tensor): A batch of its input, of any number of images.

    Returns:
        nn.Module: A graph of the model; the model itself, if torch cannot export it,
        with a note in the log.
    """
    # A batch of one image would be taken for a constant.
    batch = example[:1].repeat(2, *[1] * (example.ndim - 1))
    batch = batch.contiguous(memory_format=torch.channels_last)
    try:
        exported = torch.export.export(
            model, (batch,), dynamic_shapes=({0: torch.export.Dim('batch')},)
        )
    except Exception as error:
        print_log(
            f'{type(model).__name__} is used as it is, without folded batch norms: '
            f'torch.export failed ({type(error).__name__}).',
            'current',
            logging.INFO,
        )
        return model
    graph_module = exported.module()
    if not isinstance(graph_module, fx.GraphModule):
        return model
    for node in list(graph_module.graph.nodes):
        if node.target is torch.ops.aten.batch_norm.default:
            _fold(graph_module, node)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module


def _fold(module: fx.GraphModule, norm: fx.Node) -> None:
    """Fold a batch norm, if it follows a convolution."""
    conv, scale, shift, mean, variance, training, _, eps, _ = norm.args
    if (
        not isinstance(conv, fx.Node)
        or conv.target is not torch.ops.aten.conv2d.default
        or len(conv.users) > 1
        # Statistics of a batch cannot be folded.
        or training
        or mean is None
        or not isinstance(eps, float)
    ):
        return
    image, weight, *others = conv.args
    bias = others.pop(0) if others else None
    folded = fuse_conv_bn_weights(
        _tensor(module, weight),
        None if bias is None else _tensor(module, bias),
        _tensor(module, mean),
        _tensor(module, variance),
        eps,
        None if scale is None else _tensor(module, scale),
        None if shift is None else _tensor(module, shift),
    )
    names = [f'_folded_{norm.name}_{kind}' for kind in ('weight', 'bias')]
    for name, value in zip(names, folded):
        layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
        module.register_buffer(name, value.detach().clone(memory_format=layout))
    with module.graph.inserting_before(conv):
        new = [module.graph.get_attr(name) for name in names]
    conv.args = (image, *new, *others)
    norm.replace_all_uses_with(conv)
    module.graph.erase_node(norm)


def _tensor(module: nn.Module, node: object) -> torch.Tensor:
    """The tensor that a node of a graph stands for."""
    *path, name = str(cast(fx.Node, node).target).split('.')
    return cast(torch.Tensor, getattr(module.get_submodule('.'.join(path)), name))
