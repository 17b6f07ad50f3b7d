# SPDX-License-Identifier: Apache-2.0
"""Find losses and gradients that are nan or infinite before they reach the weights."""

import logging
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

MAX_NAMED = 5


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stop, or skip a step, where a loss or a gradient is not finite.

    Gradients are checked before each step of the optimizer. If one is not finite, the
    step is left out, so that neither weights nor their averages take it up. The message
    names losses, weights, iteration and images. :class:`CheckedRunner` registers this
    hook; to change its options, name it in ``custom_hooks``.

    With gradient scaling (float16), the scaler leaves out steps by itself and lowers
    the scale; these steps are no error.

    Args:
        policy (str): ``'stop'`` ends the run with an error; the last checkpoint is
            intact. ``'skip'`` goes on with the next batch. Defaults to ``'stop'``.
        max_skips (int): Number of skipped steps after which ``'skip'`` stops too.
            Defaults to 10.

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

    def before_train(self, runner: Runner) -> None:
        """Watch the optimizers."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._names = {id(p): name for name, p in model.named_parameters()}
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, dict) else [wrapper]
        for single in wrappers:
            single.optimizer.register_step_pre_hook(self._check_gradients)

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_) -> None:
        """Leave out a step with a gradient that is not finite."""
        parameters = [
            p
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        gradients = [p.grad for p in parameters]
        if not gradients:
            return
        norms = torch.stack(torch._foreach_norm(gradients, ord=torch.inf))
        if norms.isfinite().all():
            return
        bad = (~norms.isfinite()).nonzero().flatten().tolist()
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
            FloatingPointError: By ``policy``.
        """
        losses = {
            name: float(value)
            for name, value in (outputs or {}).items()
            if isinstance(value, (torch.Tensor, float)) and 'loss' in name
        }
        bad = {name: v for name, v in losses.items() if not abs(v) < float('inf')}
        gradients, self._bad_gradients = self._bad_gradients, []
        if not bad and not gradients:
            return
        what = [f'{name} is {value}' for name, value in bad.items()]
        if gradients:
            more = len(gradients) - MAX_NAMED
            what.append(
                f'the gradient of {", ".join(gradients[:MAX_NAMED])}'
                + (f' and {more} more' if more > 0 else '')
                + ' is not finite'
            )
        text = (
            f'{"; ".join(what)} in iteration {runner.iter + 1} (epoch '
            f'{runner.epoch + 1}, from 1){_images(data_batch)}.'
        )
        if self.policy == 'skip' and self.num_skips < self.max_skips:
            self.num_skips += 1
            print_log(
                f'{text} The step is skipped ({self.num_skips} of at most '
                f'{self.max_skips}).',
                'current',
                logging.WARNING,
            )
            return
        raise FloatingPointError(
            f'{text} The step was left out, and the last checkpoint is intact. Lower '
            'the learning rate, clip gradients (optim_wrapper.clip_grad), train in '
            "float32, or skip such steps: custom_hooks=[dict(type='NonFiniteHook', "
            "policy='skip')]."
        )


def _images(data_batch: dict | None) -> str:
    samples = (data_batch or {}).get('data_samples') or []
    if not isinstance(samples, Sequence):
        return ''
    paths = [str(s.get('img_path')) for s in samples if s.get('img_path')]
    more = len(paths) - MAX_NAMED
    text = ', '.join(paths[:MAX_NAMED]) + (f' and {more} more' if more > 0 else '')
    return f', images {text}' if paths else ''
