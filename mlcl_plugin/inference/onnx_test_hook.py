# SPDX-License-Identifier: Apache-2.0
"""Test a model by ONNX Runtime."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner

from ..engine import unwrap_model
from .onnx_engine import OnnxEngine, check_engine


class OnnxTestHook(Hook):
    """Lets ONNX Runtime compute the scores of a test, on the CPU.

    The model is exported at the first batch, after its weights have been loaded and
    averaged, and compared with torch there. Metrics and other hooks get the predictions
    as from the model. With test-time augmentation each view is computed so.
    """

    def before_test(self, runner: Runner) -> None:
        """Take the place of the model.

        Args:
            runner (Runner): Its weights are loaded.

        Raises:
            ImportError: If ONNX Runtime is not installed.
            ValueError: If the model is not on the CPU, or is tested in half precision.
        """
        model = unwrap_model(runner.model)
        if isinstance(model, BaseTTAModel):
            model = model.module
        device = next(model.parameters()).device.type
        precision = 'float16' if runner.test_loop.fp16 else 'float32'
        check_engine('onnxruntime', device, precision)
        # The attribute hides the method, also from what wraps the model.
        step = OnnxEngine(model).test_step
        model.test_step = step  # type: ignore[assignment]
        self._model = model

    def after_test(self, runner: Runner) -> None:
        """Give the place back."""
        del self._model.test_step
