# SPDX-License-Identifier: Apache-2.0
"""Find losses and gradients that are nan or infinite before they reach the weights."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..unwrap import unwrap_model

MAX_NAMED = 5
SKIPPED = 'skipped_steps'
"""Key in the message hub: steps that the run has skipped, also before a resume."""
LEAST_SCALE = 2.0**-24
"""Loss scale below which float16 gradients are lost; a training starts at 2**16."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stop, or skip a step, where a loss or a gradient is not finite.

    Gradients are checked before each step of the optimizer. If one is not finite, the
    step is left out, so that neither weights nor their averages take it up. The message
    names losses, weights, iteration and images. :class:`CheckedRunner` registers this
    hook; to change its options, name it in ``custom_hooks``.

    If gradients are clipped by their norm (``clip_grad``), one that is not finite makes
    all of them so, and the message names all. With several processes, the images may
    be those of another process. With gradient scaling (float16), the scaler leaves out
    steps by itself and lowers the scale. These steps are no error until the scale is
    below :data:`LEAST_SCALE`.

    Args:
        policy (str): ``'stop'`` ends the run with an error; the last checkpoint is
            intact. ``'skip'`` goes on with the next batch. It keeps a copy of the
            model's buffers, such as running means and memories of embeddings, since a
            forward pass changes them. Defaults to ``'stop'``.
        max_skips (int): Number of skipped steps after which ``'skip'`` stops too.
            Steps that were skipped before a resume count. Defaults to 10.

    Raises:
        ValueError: If an option has a value outside its range.
        FloatingPointError: In training, as said above.
    """

    # Before hooks that average or save weights.
    priority = 'VERY_HIGH'

    def __init__(self, policy: str = 'stop', max_skips: int = 10):
        if policy not in ('stop', 'skip'):
            raise ValueError(f"policy must be 'stop' or 'skip', got {policy!r}.")
        if max_skips < 0:
            raise ValueError(f'max_skips must not be negative, got {max_skips}.')
        self.policy = policy
        self.max_skips = max_skips
        self.num_skips = 0
        self._names: dict[int, str] = {}
        self._bad_gradients: list[str] = []
        self._buffers: list[torch.Tensor] = []
        self._copies: list[torch.Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Watch the optimizers."""
        model = unwrap_model(runner.model)
        self._names = {id(p): name for name, p in model.named_parameters()}
        for single in _wrappers(runner):
            single.optimizer.register_step_pre_hook(self._check_gradients)
        self.num_skips = runner.message_hub.runtime_info.get(SKIPPED, 0)
        if self.policy == 'skip':
            self._buffers = list(model.buffers())
            self._copies = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Copy the buffers, if a step may be skipped."""
        for copy, buffer in zip(self._copies, self._buffers):
            copy.copy_(buffer)

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Leave out a step with a gradient that is not finite."""
        # With a fused optimizer, torch's gradient scaler leaves the check to it.
        if vars(optimizer).get('found_inf') is not None:
            return
        parameters = [
            p
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        gradients = [p.grad for p in parameters]
        if not gradients:
            return
        # The maximum takes seven times as long on CPUs. It is needed only where the
        # sum of squares is not finite, since that may overflow.
        for order in (2, torch.inf):
            norms = torch._foreach_norm(gradients, ord=order)
            finite = torch.stack([norm.float() for norm in norms]).isfinite()
            if finite.all():
                return
        bad = (~finite).nonzero().flatten().tolist()
        self._bad_gradients = [self._names.get(id(parameters[i]), '?') for i in bad]
        # A step changes only weights that have a gradient.
        for parameter in parameters:
            parameter.grad = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Say what was not finite, and stop or go on.

        Raises:
            FloatingPointError: By ``policy``, or if the loss scale has vanished.
        """
        values = [
            (name, torch.as_tensor(value).detach().float().mean())
            for name, value in (outputs or {}).items()
            if isinstance(value, (torch.Tensor, float)) and 'loss' in name
        ]
        bad = []
        # One transfer from the GPU.
        if values and not torch.stack([v for _, v in values]).isfinite().all():
            bad = [f'{name} is {float(v)}' for name, v in values if not v.isfinite()]
        gradients, self._bad_gradients = self._bad_gradients, []
        where = f'in iteration {runner.iter + 1} (epoch {runner.epoch + 1}, from 1)'
        self._check_scale(runner, where)
        if not bad and not gradients:
            return
        what = list(bad)
        if gradients:
            more = len(gradients) - MAX_NAMED
            what.append(
                f'the gradient of {", ".join(gradients[:MAX_NAMED])}'
                + (f' and {more} more' if more > 0 else '')
                + ' is not finite'
            )
        text = f'{"; ".join(what)} {where}{_images(data_batch)}.'
        if not bad and get_world_size() > 1:
            text += ' The images of another process may be the cause.'
        if self.policy == 'skip' and self.num_skips < self.max_skips:
            self.num_skips += 1
            runner.message_hub.update_info(SKIPPED, self.num_skips)
            with torch.no_grad():
                for copy, buffer in zip(self._copies, self._buffers):
                    buffer.copy_(copy)
            print_log(
                f'{text} The step is skipped ({self.num_skips} of at most '
                f'{self.max_skips}).',
                'current',
                logging.WARNING,
            )
            return
        raise FloatingPointError(
            f'{text} Weights and the last checkpoint are intact. Lower the learning '
            'rate, clip gradients (optim_wrapper.clip_grad), train in float32, or skip '
            "such steps: custom_hooks=[dict(type='NonFiniteHook', policy='skip')]."
        )

    def after_train(self, runner: Runner) -> None:
        """Say how many steps were skipped."""
        if self.num_skips:
            print_log(
                f'{self.num_skips} of {runner.iter} steps were skipped, since their '
                'losses or gradients were not finite.',
                'current',
                logging.WARNING,
            )

    @staticmethod
    def _check_scale(runner: Runner, where: str) -> None:
        """Raise if the loss scale has been lowered until gradients vanish."""
        for single in _wrappers(runner):
            if not isinstance(single, AmpOptimWrapper):
                continue
            # Scalers of a static scale do not lower it.
            scale = single.loss_scaler.get_scale()
            if scale < LEAST_SCALE:
                raise FloatingPointError(
                    f'The loss scale of float16 has fallen to {scale} {where}: '
                    'gradients have been infinite or nan for many steps. Weights and '
                    'the last checkpoint are intact. Train in bfloat16 or float32, or '
                    'lower the learning rate.'
                )


def _wrappers(runner: Runner) -> list[OptimWrapper]:
    wrapper = runner.optim_wrapper
    return (
        list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    )


def _images(data_batch: dict | None) -> str:
    samples = (data_batch or {}).get('data_samples') or []
    if not isinstance(samples, Sequence):
        return ''
    paths = [str(s.get('img_path')) for s in samples if s.get('img_path')]
    more = len(paths) - MAX_NAMED
    text = ', '.join(paths[:MAX_NAMED]) + (f' and {more} more' if more > 0 else '')
    return f', images {text}' if paths else ''
