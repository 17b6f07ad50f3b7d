# SPDX-License-Identifier: Apache-2.0
"""Compute the scores of a model by ONNX Runtime."""

import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from ..engine.onnx_graph import require_packages
from ..engine.onnx_module import OnnxModule
from ..errors import EngineError
from .model_setup import multi_label_head
from .score_module import ScoreModule

ENGINES = ('torch', 'onnxruntime')
MAX_SIZES = 8
"""Most sizes of images: the model is exported for each, which takes seconds."""


class OnnxEngine:
    """The scores of a model on the CPU, by ONNX Runtime.

    The first batch of each size of images is compared with torch.

    Args:
        model (BaseClassifier): A multi-label classifier on the CPU.

    Raises:
        ImportError: If ONNX Runtime is not installed.
    """

    def __init__(self, model: BaseClassifier):
        require_packages()
        self._model = model
        self._modules: dict[tuple, OnnxModule] = {}

    def __call__(self, images: Tensor, attention: bool = False) -> list[Tensor]:
        """Compute scores.

        Args:
            images (Tensor): ``(B, C, H, W)``, as the data preprocessor gives them.
            attention (bool): Whether to compute the attention too. Defaults to False.

        Returns:
            list[Tensor]: What :class:`ScoreModule` returns.

        Raises:
            EngineError: If the model cannot be exported, ONNX Runtime gives something
                else than torch, or images have too many sizes.
        """
        key = (attention, *images.shape[1:])
        if key not in self._modules:
            if len(self._modules) == MAX_SIZES:
                raise EngineError(
                    f'ONNX Runtime computes images of at most {MAX_SIZES} sizes, but '
                    'the test pipeline leaves them in more. Add Resize to it, or set '
                    "engine='torch'."
                )
            module = ScoreModule(self._model, attention)
            try:
                self._modules[key] = OnnxModule(module, images, module.output_names)
            except EngineError as error:
                raise EngineError(f"{error}. Set engine='torch'.") from error
        return self._modules[key](images)

    @torch.no_grad()
    def test_step(self, data: dict) -> list[DataSample]:
        """Predict as the ``test_step`` of the model does.

        Args:
            data (dict): ``inputs`` and ``data_samples`` of a batch, as a dataloader
                gives them.

        Returns:
            list[DataSample]: Samples with ``pred_score`` and ``pred_label``.

        Raises:
            EngineError: As in a call.
        """
        data = self._model.data_preprocessor(data, False)
        (scores,) = self(data['inputs'])
        # The head's contract for predictions from logits.
        return multi_label_head(self._model)._get_predictions(
            torch.logit(scores), data.get('data_samples')
        )


def check_engine(engine: str, device: str, precision: str) -> None:
    """Raise a ValueError if an engine does not exist or cannot do what is asked for.

    Args:
        engine (str): One of :data:`ENGINES`.
        device (str): The type of the device, such as ``'cpu'``.
        precision (str): The numbers to compute with.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine must be one of {ENGINES}, got {engine!r}.')
    if engine == 'onnxruntime' and (device != 'cpu' or precision != 'float32'):
        raise ValueError(
            "engine='onnxruntime' computes in float32 on the CPU, got "
            f'precision={precision} and device={device}.'
        )
