# SPDX-License-Identifier: Apache-2.0
"""Classify through a latent space that images and labels share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ...targets import is_present
from ..losses.gaussian_mixture_kl_loss import GaussianMixtureKLLoss
from ..losses.label_embedding_contrastive_loss import LabelEmbeddingContrastiveLoss
from ..utils import build_loss, check_share, to_vectors
from .partial_label_head import PartialLabelHead

# Variances stay between 5e-5 and 2e4: float32 can divide by them and sum over them.
LOG_VAR_LIMIT = 10.0


@MODELS.register_module()
class CGMVAEHead(PartialLabelHead):
    r"""Gaussian-mixture variational auto-encoder on one vector per image.

    With the columns :math:`w_l` of :math:`W \in R^{D_e \times L}` as embeddings of the
    labels:

    - label encoder: a linear layer with weight :math:`W` takes the one-hot vector of
      label :math:`l`, then layers of 512 and 256 units give :math:`\mu_l` and
      :math:`\log \sigma_l^2`, each of D values;
    - feature encoder: layers of 256, 512 and 256 units turn the vector :math:`x` of an
      image into :math:`\mu_x` and :math:`\log \sigma_x^2`;
    - decoder, one for both: :math:`[x; z]` through 512 units with ReLU and
      :math:`D_e` units with leaky ReLU (slope 0.01), then to unit length;
    - logits :math:`s_l = w_l \cdot \mathrm{decoder}(x, z)`, without bias.

    In training the decoder is fed with the mean of :math:`\mu_l` over the labels
    present, which gives :math:`w_y`, and with two samples of
    :math:`N(\mu_x, \sigma_x^2)`, which give :math:`w_{x1}` and :math:`w_{x2}`. Losses:
    the sum of the classification losses (NLL) of all three, the KL divergence of the
    image's Gaussian from the mixture of those of its labels, estimated with a third
    sample, and the contrast of :math:`w_y` and :math:`w_{x1}` with the label
    embeddings. A prediction takes :math:`z = \mu_x`, and no label encoder.

    Unknown labels (-1) take part in no loss and not in :math:`w_y`.

    Source: `C-GMVAE <https://arxiv.org/abs/2112.00976>`_ (ICML 2022), made for vectors;
    behind a backbone, :math:`x` is its pooled feature. Deviations:

    - An image without a label that is known to be present has :math:`z = 0` instead
      of the mean over none, and takes part in the NLL only. In the published code it
      makes the loss infinite or nan.
    - The logarithms of variances are clamped to plus and minus 10, which the published
      code does not do.
    - The NLL is computed from logits; the published code takes probabilities.
    - ReLU and dropout follow every hidden layer of the encoders, that with weight
      :math:`W` included; the decoder has no dropout. Where the published model has them
      has not been verified.
    - Three terms that the published code computes and leaves out of its total are not
      built: a contrast of latent means, the reconstruction of single labels and of the
      input.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width C of an image's vector.
        latent_dims (int): Width D of the latent space. Defaults to 64.
        embed_dims (int): Width :math:`D_e` of the label embeddings. Defaults to 2048.
        dropout (float): Share of hidden units of the encoders that is dropped in
            training. Defaults to 0.5.
        loss (dict): Config of the NLL of each branch, see :class:`PartialLabelHead`.
            Defaults to binary cross-entropy with the published weight of 0.5.
        loss_reduction (str): As in :class:`PartialLabelHead`. Defaults to
            ``'batch'``: the sum over labels, the mean over images.
        loss_kl (dict): Config of the KL divergence. Defaults to
            :class:`GaussianMixtureKLLoss` with the published weight of 6.
        loss_contrastive (dict): Config of the contrast with label embeddings.
            Defaults to :class:`LabelEmbeddingContrastiveLoss` with temperature and
            weight 1, as published.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        init_cfg (dict | list, optional): Initialization config. Defaults to None,
            which is torch's initialization.

    Raises:
        ValueError: If an option has a value outside its range, or a loss is of
            another class.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        latent_dims: int = 64,
        embed_dims: int = 2048,
        dropout: float = 0.5,
        loss: dict = dict(  # noqa: B006
            type='BinaryCrossEntropyLoss', loss_weight=0.5
        ),
        loss_reduction: str = 'batch',
        loss_kl: dict = dict(  # noqa: B006
            type='GaussianMixtureKLLoss', loss_weight=6.0
        ),
        loss_contrastive: dict = dict(  # noqa: B006
            type='LabelEmbeddingContrastiveLoss', temperature=1.0, loss_weight=1.0
        ),
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            num_classes=num_classes,
            loss=loss,
            loss_reduction=loss_reduction,
            thr=thr,
            topk=topk,
            init_cfg=init_cfg,
        )
        sizes = dict(
            in_channels=in_channels, latent_dims=latent_dims, embed_dims=embed_dims
        )
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be positive, got {value}.')
        check_share('dropout', dropout)
        self.in_channels = in_channels
        self.latent_dims = latent_dims
        self.kl_module = build_loss(
            loss_kl, GaussianMixtureKLLoss, 'loss_kl of CGMVAEHead'
        )
        self.contrastive_module = build_loss(
            loss_contrastive,
            LabelEmbeddingContrastiveLoss,
            'loss_contrastive of CGMVAEHead',
        )

        self.label_layer = nn.Linear(num_classes, embed_dims)
        self.label_encoder = nn.Sequential(
            nn.ReLU(),
            nn.Dropout(dropout),
            *_hidden_layers(dropout, embed_dims, 512, 256),
            nn.Linear(256, 2 * latent_dims),
        )
        self.feature_encoder = nn.Sequential(
            *_hidden_layers(dropout, in_channels, 256, 512, 256),
            nn.Linear(256, 2 * latent_dims),
        )
        self.decoder = nn.Sequential(
            nn.Linear(in_channels + latent_dims, 512),
            nn.ReLU(),
            nn.Linear(512, embed_dims),
            nn.LeakyReLU(),
        )

    @property
    def label_embeddings(self) -> torch.Tensor:
        """The embeddings ``(D_e, L)`` of the labels, one column each."""
        return self.label_layer.weight

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The decoded vectors ``(B, D_e)`` at the mean of the latent Gaussians.

        Raises:
            ValueError: If the last features are not ``(B, C)``.
        """
        x = to_vectors(feats, self.in_channels)
        mean, _ = self._gaussian(self.feature_encoder(x))
        return self.decode(x, mean)

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, L)`` of vectors ``(B, C)``."""
        return self._logits(self.pre_logits(feats))

    def encode_labels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and log-variances ``(L, D)`` of all labels."""
        # Linear layer of the one-hot vectors.
        hidden = self.label_layer.weight.t() + self.label_layer.bias
        return self._gaussian(self.label_encoder(hidden))

    def decode(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Unit vectors ``(B, D_e)`` of vectors ``(B, C)`` and latents ``(B, D)``."""
        decoded = self.decoder(torch.cat([x, z.to(x.dtype)], dim=1))
        dtype = torch.promote_types(decoded.dtype, torch.float32)
        return F.normalize(decoded.to(dtype), dim=1)

    def loss(
        self, feats: Sequence[torch.Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The output of neck or backbone, last item
                ``(B, C)``.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls`` (the sum of the three branches),
            ``loss_kl`` and ``loss_contrastive``, already weighted.

        Raises:
            ValueError: If the features have another shape or a target is malformed,
                see :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        x = to_vectors(feats, self.in_channels)
        targets = self.collect_targets(data_samples, x)
        mean, log_var = self._gaussian(self.feature_encoder(x))
        label_means, label_log_vars = self.encode_labels()

        present = is_present(targets).to(label_means.dtype)
        z_y = present @ label_means / present.sum(dim=1, keepdim=True).clamp(min=1)
        w_y = self.decode(x, z_y)
        w_x1 = self.decode(x, _sample(mean, log_var))
        w_x2 = self.decode(x, _sample(mean, log_var))
        return dict(
            loss_cls=sum(
                self.classification_loss(self._logits(w), targets, **kwargs)
                for w in (w_y, w_x1, w_x2)
            ),
            loss_kl=self.kl_module(
                _sample(mean, log_var),
                mean,
                log_var,
                label_means,
                label_log_vars,
                targets,
            ),
            loss_contrastive=self.contrastive_module(
                torch.cat([w_y, w_x1]), self.label_embeddings, targets.repeat(2, 1)
            ),
        )

    def _logits(self, decoded: torch.Tensor) -> torch.Tensor:
        return decoded @ self.label_embeddings.to(decoded.dtype)

    @staticmethod
    def _gaussian(encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and clamped log-variance of an encoder's output."""
        dtype = torch.promote_types(encoded.dtype, torch.float32)
        mean, log_var = encoded.to(dtype).chunk(2, dim=1)
        return mean, log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT)


def _sample(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """Draw from Gaussians, differentiable in mean and log-variance."""
    return mean + (0.5 * log_var).exp() * torch.randn_like(mean)


def _hidden_layers(dropout: float, *sizes: int) -> list[nn.Module]:
    layers = []
    for width_in, width_out in pairwise(sizes):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(), nn.Dropout(dropout)]
    return layers
