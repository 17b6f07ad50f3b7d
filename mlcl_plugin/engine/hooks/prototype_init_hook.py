# SPDX-License-Identifier: Apache-2.0
"""Start prototypes from the embeddings that a trained network gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.registry import HOOKS
from torch import nn
from torch.utils.data import DataLoader

from ...models.heads.sadcl_head import SADCLHead
from ...targets import is_present
from ..dataloader import with_order
from ..random_state import kept_random_state
from ..unwrap import unwrap_model


@HOOKS.register_module()
class PrototypeInitHook(Hook):
    """Set the prototypes of a :class:`SADCLHead` before training starts.

    The model embeds every training image once, in evaluation mode, as the training
    pipeline gives it. A label's prototype is the mean embedding over the images that
    show it and in which it scores more than ``thr``. If there are none, it is the mean
    over all images that show the label. If no image shows it, the prototype stays as it
    is. The memory is filled with the prototypes. A resumed training has both already.

    The weights must be trained: those of ``load_from``, or of the step before. The hook
    uses the weights of the model, not their average by an ``EMAHook``.

    Source: `SADCL <https://arxiv.org/abs/2307.09715>`_, which reads the prototypes from
    a file that a trained network made of embeddings with a score over 0.85. The source
    does not say that a prototype is their mean, nor what labels without one get: both
    are choices of this project.

    In a run of several processes each embeds its share of the images. The data loader
    of the training and the state of the random generators are not changed.

    Args:
        thr (float): Score above which an embedding counts. Defaults to 0.85.

    Raises:
        ValueError: If ``thr`` does not lie between 0 and 1; later, if the model's head
            is no :class:`SADCLHead`.
    """

    def __init__(self, thr: float = 0.85):
        if not 0 <= thr <= 1:
            raise ValueError(f'thr must lie between 0 and 1, got {thr}.')
        self.thr = thr

    def before_train(self, runner) -> None:
        """Set prototypes and memory, unless the training is resumed."""
        if runner.iter > 0:
            return
        model = unwrap_model(runner.model)
        classifier = isinstance(model, BaseClassifier) and model.with_head
        head = model.head if classifier else None
        if not isinstance(head, SADCLHead):
            raise ValueError(
                'PrototypeInitHook sets the prototypes of a SADCLHead, but the head of '
                f'the model is {type(head).__name__}. Take the hook out of '
                "custom_hooks, or set model.head.type='SADCLHead'."
            )
        loader = _in_order(runner.train_dataloader)
        with _undisturbed(model):
            sums, counts = self._collect(model, head, loader)
        all_reduce(sums)
        all_reduce(counts)

        sure, present = counts
        means = sums / counts.clamp(min=1)[..., None]
        prototypes = head.prototypes.detach().to(means)
        for mean, count in zip(means.flip(0), counts.flip(0)):
            prototypes = mean.where(count[:, None] > 0, prototypes)
        head.reset_prototypes(prototypes)
        unsure = (sure == 0) & (present > 0)
        print_log(
            f'Prototypes of {len(sure)} labels, each from {int(sure.min())} to '
            f'{int(sure.max())} embeddings with a score over {self.thr}. '
            f'{int(unsure.sum())} labels have none and use all images that show them; '
            f'{int((present == 0).sum())} are in no image and keep their prototypes.',
            logger='current',
        )

    @torch.no_grad()
    def _collect(
        self, model: ImageClassifier, head: SADCLHead, loader: DataLoader
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum and count the embeddings of this process.

        Returns:
            tuple[Tensor, Tensor]: Sums ``(2, L, D)`` and numbers ``(2, L)``. The first
            are over images in which the label is present and scores more than ``thr``,
            the second over all in which it is present.
        """
        sums = torch.zeros(2, *head.prototypes.shape, dtype=torch.float64)
        counts = torch.zeros(2, head.num_classes, dtype=torch.int64)
        for data in loader:
            data = model.data_preprocessor(data, False)
            embeddings = head.pre_logits(model.extract_feat(data['inputs']))
            logits = head.classify(embeddings)
            targets = head.collect_targets(data['data_samples'], logits)
            present = is_present(targets)
            sure = present & (logits.float().sigmoid() > self.thr)
            chosen = torch.stack([sure, present])
            sums += torch.einsum(
                'cbl,bld->cld', chosen.float(), embeddings.float()
            ).cpu()
            counts += chosen.sum(dim=1).cpu()
        return sums, counts


def _in_order(loader: DataLoader) -> DataLoader:
    """A loader of each image once, with the options of the training's loader.

    It has workers of its own.
    """
    # A loader with a batch sampler has no batch size itself.
    sampler: Any = loader.batch_sampler
    return with_order(
        loader,
        batch_size=loader.batch_size or sampler.batch_size,
        # No image twice: it would count twice.
        sampler=DefaultSampler(loader.dataset, shuffle=False, seed=0, round_up=False),
    )


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, with modes and random generators as before at the end."""
    # Of every module, since parts of a model may be frozen in evaluation mode.
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with kept_random_state():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
