# SPDX-License-Identifier: Apache-2.0
"""Make an ONNX file compute with integers of 8 bits."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

INPUT = 'images'


class CalibrationImages:
    """Images one by one, as ONNX Runtime's quantisation asks for them.

    Args:
        inputs (Tensor): ``(N, C, H, W)``, as the model takes them.
    """

    def __init__(self, inputs: Tensor):
        self._inputs: Iterator[np.ndarray] = iter(inputs.numpy())

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image, or None after the last one."""
        image = next(self._inputs, None)
        return None if image is None else {INPUT: image[None]}


def quantize(source: Path, target: Path, inputs: Tensor) -> None:
    """Write an ONNX file with 8-bit weights and activations.

    Static quantisation of ONNX Runtime: a scale for each channel of the weights, and
    one for each activation, of its smallest and greatest value on some images.

    Args:
        source (Path): The file in float32.
        target (Path): The file to write.
        inputs (Tensor): ``(N, C, H, W)``, images to find the scales on.
    """
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(CalibrationImages)
    prepared = source.with_name(f'{source.stem}.prepared.onnx')
    logger = logging.getLogger()
    level = logger.level
    try:
        # It warns of its own defaults.
        logger.setLevel(logging.ERROR)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(prepared, target, CalibrationImages(inputs), per_channel=True)
    finally:
        logger.setLevel(level)
        prepared.unlink(missing_ok=True)
