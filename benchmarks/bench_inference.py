# SPDX-License-Identifier: Apache-2.0
"""Time the inference of EfficientNet-Lite0 and ResNet-101 by torch and ONNX Runtime.

OpenVINO is a rival where it is installed.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from common import DEVICE, ROOT, describe_environment, parse_args, quiet, write
from measure import Call, measure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mlcl_plugin.engine.onnx_graph import missing_packages, write_onnx
from mlcl_plugin.export.int8 import quantize
from mlcl_plugin.inference.score_module import ScoreModule
from mlcl_plugin.runtime import open_session

CONFIGS = {
    'EfficientNet-Lite0, 224 px': ('mlcl_efflite0_voc07.py', 224),
    'ResNet-101, 448 px': ('mlcl_r101_coco.py', 448),
}
BATCHES = {'EfficientNet-Lite0, 224 px': (1, 8, 16), 'ResNet-101, 448 px': (1, 16)}
SETTLE = 5
"""Calls before a timed one of a single image, for which idle threads of the call
before count most."""
TOO_SLOW = 5
"""Times of eager, after which a rival has no larger batches."""
HALF = {
    'bfloat16, channels-last': torch.bfloat16,
    'float16, channels-last': torch.float16,
}
TOLERANCE = {
    'bfloat16, channels-last': 0.2,
    'float16, channels-last': 0.05,
    'int8': 1.0,
}
"""Of rivals that compute with fewer bits; 1e-4 of the others, and 1e-2 on a GPU, whose
convolutions have TensorFloat-32's 10 bits."""
DESCRIPTION = (
    'Scores of normalised images by MulCon with random weights, without reading them. '
    '"eager" is the model as it is built. Calls take turns in one process, each after '
    'one that is not timed, for one image after five. Rivals that this machine cannot '
    'run are left out, and for larger batches those that took over five times as long '
    'as eager. Weights of EfficientNet-Lite0 are those of ImageNet where they are '
    'installed. "Product" is '
    'one product of two matrices by torch in float32, with as many multiplications as '
    'the network needs, for scale. It computes no scores.'
)
PRODUCT = 'product'
PRODUCT_SIDE = 1024
"""Rows and columns of the second matrix of the product."""


@cache
def load_module(name: str, small: bool, device: str = 'cpu') -> tuple[ScoreModule, int]:
    """The model of a config, and the side of its images."""
    quiet()
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    file, pixels = CONFIGS[name]
    cfg = Config.fromfile(ROOT / 'configs' / file)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    if small:
        cfg.model.backbone = dict(
            type='ResNet', depth=18, stem_channels=8, base_channels=8
        )
        cfg.model.neck.update(in_channels=64, embed_dims=16)
        cfg.model.head.update(in_channels=16)
        pixels = 32
    elif cfg.model.backbone.type != 'TIMMBackbone':
        cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    return ScoreModule(model.eval()).to(device), pixels


@cache
def write_graph(name: str, small: bool, int8: bool) -> str:
    """Write a model as ONNX, once; a file that ends with this process."""
    module, pixels = load_module(name, small)
    folder = Path(tempfile.mkdtemp(dir=_folder().name))
    images = torch.randn(8, 3, pixels, pixels)
    write_onnx(module, images, folder / 'model.onnx', module.output_names)
    if not int8:
        return str(folder / 'model.onnx')
    quantize(folder / 'model.onnx', folder / 'int8.onnx', images)
    return str(folder / 'int8.onnx')


@cache
def compile_openvino(path: str) -> Callable:
    """Compile an ONNX file by OpenVINO, for the threads of torch and in float32."""
    import openvino

    settings = {
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        'INFERENCE_PRECISION_HINT': 'f32',
        'PERFORMANCE_HINT': 'LATENCY',
    }
    return openvino.Core().compile_model(path, 'CPU', settings)


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


def make(
    rival: str, name: str, batch: int, small: bool = False, device: str = 'cpu'
) -> Call:
    """Make the call of one batch.

    Args:
        rival (str): One of :func:`rivals`.
        name (str): One of ``CONFIGS``.
        batch (int): Images.
        small (bool): Whether to use a tiny network. Defaults to False.
        device (str): Where it computes. Defaults to ``'cpu'``.

    Returns:
        Callable: Returns ``scores``.
    """
    module, pixels = load_module(name, small, device)
    torch.manual_seed(1)
    images = torch.randn(batch, 3, pixels, pixels).to(device)
    run: Callable[[], Tensor]
    if rival == PRODUCT:
        run = make_product(module, images)
    elif rival in ('ONNX Runtime', 'int8'):
        path = write_graph(name, small, rival == 'int8')
        session = open_session(path, torch.get_num_threads())

        def run() -> Tensor:
            return torch.from_numpy(session.run(None, {'images': images.numpy()})[0])
    elif rival == 'OpenVINO':
        compiled = compile_openvino(write_graph(name, small, int8=False))

        def run() -> Tensor:
            return torch.from_numpy(compiled(images.numpy())[0])
    else:
        if rival != 'eager':
            images = images.contiguous(memory_format=torch.channels_last)
        function: Callable = module
        if rival == 'torch.compile':
            function = torch.compile(module, options=dict(freezing=True))

        def run() -> Tensor:
            dtype = HALF.get(rival)
            with torch.autocast(device, dtype, enabled=dtype is not None):
                return function(images)[0]

    @torch.no_grad()
    def call() -> dict[str, Tensor]:
        return dict(scores=run())

    return call


@torch.no_grad()
def make_product(module: ScoreModule, images: Tensor) -> Callable[[], Tensor]:
    """Make a product of two matrices with as many multiplications as the module.

    It returns the scores of the module, which it does not compute.
    """
    with FlopCounterMode(display=False) as counter:
        scores = module(images)[0]
    # Two operations for each multiplication.
    rows = counter.get_total_flops() // (2 * PRODUCT_SIDE**2)
    left = torch.randn(max(1, rows), PRODUCT_SIDE, device=images.device)
    right = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=images.device)

    def run() -> Tensor:
        left @ right
        return scores

    return run


def rivals(name: str, small: bool, device: str, without: Sequence[str]) -> list[str]:
    """What this machine can run, ``eager`` first; on a GPU what torch runs there."""
    found = ['eager', 'channels-last', 'bfloat16, channels-last', 'torch.compile']
    if device == 'cuda':
        found.insert(3, 'float16, channels-last')
    elif not missing_packages():
        found += ['ONNX Runtime', 'int8']
        if find_spec('openvino'):
            found.append('OpenVINO')
    found.append(PRODUCT)
    runs = []
    for rival in [rival for rival in found if rival not in without]:
        try:
            make(rival, name, 2, small, device)()
            runs.append(rival)
        # A compiler may be missing, or an operation in bfloat16.
        except Exception as error:
            logging.warning('%s is left out: %s', rival, str(error)[:200])
    return runs


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__,
        args,
        device=DEVICE,
        batches=dict(type=int, nargs='+', help='default: 1, 8 and 16, or 1 and 16'),
        repeats=dict(type=int, default=9, help='turns (default: 9)'),
        without=dict(nargs='+', default=[], help='rivals to leave out'),
        models=dict(nargs='+', choices=list(CONFIGS), default=list(CONFIGS)),
    )
    environment = describe_environment(args.device)
    least = 1e-2 if args.device == 'cuda' else 1e-4
    repeats = 2 if args.quick else args.repeats
    names = args.models[:1] if args.quick else args.models
    comparisons = []
    for name in names:
        batches = [2] if args.quick else args.batches or BATCHES[name]
        found = rivals(name, args.quick, args.device, args.without)
        for batch in batches:
            comparison = measure(
                f'{name}, {batch} image{"s" * (batch > 1)}',
                make,
                {
                    rival: dict(
                        rival=rival,
                        name=name,
                        batch=batch,
                        small=args.quick,
                        device=args.device,
                    )
                    for rival in found
                },
                repeats,
                tolerance={rival: TOLERANCE.get(rival, least) for rival in found},
                device=args.device,
                settle=SETTLE if batch == 1 else 1,
            )
            comparison.update(items=batch, unit='images')
            comparisons.append(comparison)
            times = comparison['rivals']
            found = [r for r in found if times[r]['ratio']['median'] <= TOO_SLOW]
    write(args, 'inference', 'Inference', DESCRIPTION, environment, comparisons)


if __name__ == '__main__':
    main()
