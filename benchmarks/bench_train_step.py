# SPDX-License-Identifier: Apache-2.0
"""Time a training step of the ResNet-101 recipe, and its label-wise part."""

from collections.abc import Sequence

import torch
from bench_label_axis import LIGHT, random_labels
from common import DEVICE, ROOT, describe_environment, parse_args, quiet, write
from measure import Call, measure, measure_apart
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import keep_memory, step_config

CONFIG = ROOT / 'configs/mlcl_r101_coco.py'
VIEWS = 2
DESCRIPTION = (
    'A training step of step 2 of `configs/mlcl_r101_coco.py` with random weights: '
    'normalisation of uint8 images, forward, backward, optimizer, on two views. "Part '
    'of neck, head and losses" is their own forward, backward and optimizer, given a '
    'feature map of the same size. Rivals: `CSRAClsHead` of MMPretrain, and one '
    'linear layer on pooled features as the floor. Processes keep freed memory, as '
    '`tools/train.py` does; "plain" returns it, as processes do by default.'
)
HEADS = {
    'CSRA': dict(
        neck=None,
        head=dict(type='CSRAClsHead', num_heads=1, lam=0.1),
    ),
    'linear': dict(
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiLabelLinearClsHead'),
    ),
}


class HeadOnly(BaseModel):
    """Neck and head, trained on feature maps instead of images.

    Args:
        neck (nn.Module | None): The neck.
        head (nn.Module): The head.
    """

    def __init__(self, neck, head):
        super().__init__()
        self.neck = neck
        self.head = head

    def forward(self, inputs, data_samples, mode):
        """Compute the losses of feature maps ``(B, C, H, W)``."""
        feats = (inputs,)
        if self.neck is not None:
            feats = self.neck(feats)
        return self.head.loss(feats, data_samples)


def load_config(kind: str, bfloat16: bool, channels_last: bool, small: bool) -> Config:
    """Load the config of step 2 with another head, precision or layout.

    Args:
        kind (str): ``'released'`` or ``'light'`` neck, or one of ``HEADS``.
        bfloat16 (bool): Whether to train under autocast.
        channels_last (bool): Whether to train in channels-last format.
        small (bool): Whether to use a tiny network.

    Returns:
        Config: The config, without steps.
    """
    cfg = step_config(Config.fromfile(CONFIG), 'step2')
    model = cfg.model
    model.backbone.init_cfg = None
    if small:
        # With 4 channels, torch 2.14's channels-last convolutions in float32 write
        # beyond their memory on some CPUs (one thread, backward pass).
        model.backbone.update(depth=18, stem_channels=8, base_channels=8)
        model.neck.update(in_channels=64, embed_dims=16)
        model.head.update(in_channels=16)
    if kind == 'light':
        model.neck.num_blocks_before, model.neck.num_blocks_after = LIGHT
    elif kind in HEADS:
        sizes = dict(
            num_classes=model.neck.num_classes, in_channels=model.neck.in_channels
        )
        model.neck = HEADS[kind]['neck']
        model.head = HEADS[kind]['head'] | sizes
    cfg.data_preprocessor.channels_last = channels_last
    model.data_preprocessor = cfg.data_preprocessor
    # At the recipe's rate, random weights would become nan.
    cfg.optim_wrapper.optimizer.lr = 1e-6
    if bfloat16:
        cfg.optim_wrapper.type = 'AutocastOptimWrapper'
    return cfg


def make(
    kind: str = 'released',
    images: int = 2,
    pixels: int = 448,
    bfloat16: bool = False,
    channels_last: bool = False,
    part: bool = False,
    small: bool = False,
    keep: bool = True,
    device: str = 'cpu',
) -> Call:
    """Make the call of one training step.

    Args:
        kind (str): ``'released'`` or ``'light'`` neck, or one of ``HEADS``.
            Defaults to ``'released'``.
        images (int): Images in a batch, of two views each. Defaults to 2.
        pixels (int): Their side. Defaults to 448.
        bfloat16 (bool): Whether to train under autocast. Defaults to False.
        channels_last (bool): Whether to train in channels-last format. Defaults to
            False.
        part (bool): Whether to train neck and head only. Defaults to False.
        small (bool): Whether to use a tiny network. Defaults to False.
        keep (bool): Whether this process keeps freed memory. Defaults to
            True.
        device (str): Where it computes. Defaults to ``'cpu'``.

    Returns:
        Callable: Returns ``value``, the sum of the losses.
    """
    quiet()
    if keep:
        keep_memory()
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    cfg = load_config(kind, bfloat16, channels_last, small)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).train()
    views = [
        torch.randint(256, (images, 3, pixels, pixels), dtype=torch.uint8)
        for _ in range(VIEWS)
    ]
    data = dict(
        inputs=views, data_samples=random_labels(images, cfg.model.head.num_classes)
    )
    if part:
        data = model.data_preprocessor(data, True)
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            (feats,) = model.backbone(data['inputs'])
        # The backbone's backward pass needs this gradient.
        data['inputs'] = feats.detach().requires_grad_()
        model = HeadOnly(model.neck, model.head).to(device)
        model.train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    def call() -> dict:
        return dict(value=model.train_step(data, optim_wrapper)['loss'])

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args, device=DEVICE)
    environment = describe_environment(args.device)
    place, on_gpu = dict(device=args.device), args.device == 'cuda'
    # Two images do not fill a GPU.
    size, repeats = dict(images=8) if on_gpu else {}, 7
    tiny = dict(images=1, pixels=32, small=True)
    if args.quick:
        size, repeats = tiny, 2
    size = size | place
    fast = dict(bfloat16=True, channels_last=True)
    comparisons = []
    for words, precision in (
        ('float32, contiguous', {}),
        ('bfloat16, channels-last', fast),
    ):
        case = size | precision
        for neck in ('released', 'light'):
            rivals = {f'step, {neck} neck': case | dict(kind=neck)}
            rivals['part of neck, head and losses'] = case | dict(kind=neck, part=True)
            if neck == 'released':
                rivals |= {
                    f'step, {kind} head': case | dict(kind=kind) for kind in HEADS
                }
            comparisons.append(
                measure(
                    f'{neck} neck, {words}', make, rivals, repeats, warm=tiny, **place
                )
            )
    layouts = {
        'float32, contiguous, plain': dict(keep=False),
        'float32, contiguous': {},
        'float32, channels-last': dict(channels_last=True),
        'bfloat16, contiguous': dict(bfloat16=True),
        'bfloat16, channels-last': fast,
    }
    title = 'released neck, precision and layout'
    cases = {name: size | case for name, case in layouts.items()}
    # Convolutions on a GPU have TensorFloat-32's 10 bits.
    tolerance = {
        name: 0.1 if case.get('bfloat16') else 1e-2 if on_gpu else 1e-3
        for name, case in layouts.items()
    }
    if on_gpu:
        # How a process keeps freed memory does not matter there.
        del cases['float32, contiguous, plain']
        comparisons.append(measure(title, make, cases, repeats, tolerance, **place))
    else:
        comparisons.append(
            measure_apart(
                title,
                make,
                cases,
                turns=3 if not args.quick else 1,
                repeats=5 if not args.quick else 1,
                tolerance=tolerance,
            )
        )
    for comparison in comparisons:
        comparison.update(items=size.get('images', 2), unit='images')
    write(
        args,
        'train_step',
        'Training step, ResNet-101 at 448 px',
        DESCRIPTION,
        environment,
        comparisons,
    )


if __name__ == '__main__':
    main()
