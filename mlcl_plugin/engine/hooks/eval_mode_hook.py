# SPDX-License-Identifier: Apache-2.0
"""Keep parts of a model in evaluation mode while the rest trains."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..unwrap import unwrap_model


@HOOKS.register_module()
class EvalModeHook(Hook):
    """Let batch norms of parts of a model keep their statistics, without dropout.

    A backbone with ``lr_mult=0.0`` keeps its weights, but its batch norms still learn
    means and variances. MMPretrain's backbones have ``norm_eval`` against that; timm's
    do not.

    Args:
        parts (Sequence[str]): Names of parts of the model, such as ``backbone`` or
            ``neck.encoder``.

    Raises:
        ValueError: At the start of a training, if the model has no such part.
    """

    def __init__(self, parts: Sequence[str] = ('backbone',)) -> None:
        self.parts = [parts] if isinstance(parts, str) else list(parts)

    def before_train(self, runner) -> None:
        """Check the names."""
        model = unwrap_model(runner.model)
        known = dict(model.named_modules())
        for part in self.parts:
            if part not in known:
                raise ValueError(
                    f'EvalModeHook: the model has no part {part!r}. It has '
                    f'{", ".join(name for name, _ in model.named_children())}.'
                )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Set the mode, since each epoch and validation sets it anew."""
        model = unwrap_model(runner.model)
        for part in self.parts:
            model.get_submodule(part).eval()
