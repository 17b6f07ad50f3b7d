# SPDX-License-Identifier: Apache-2.0
from .asymmetric_loss import StableAsymmetricLoss, asymmetric_loss
from .base import (
    ContrastiveLoss,
    ImageContrast,
    KnownLabelContrast,
    Memory,
    PresentLabelContrast,
    TemperatureLoss,
)
from .binary_cross_entropy_loss import BinaryCrossEntropyLoss
from .contrast_inputs import ContrastInputs, Projections
from .embedding_memory import EmbeddingMemory
from .gaussian_mixture_kl_loss import GaussianMixtureKLLoss, gaussian_mixture_kl_loss
from .image_embedding_memory import ImageEmbeddingMemory
from .image_level_contrastive_loss import (
    ImageLevelContrastiveLoss,
    image_level_contrastive_loss,
)
from .kernel_contrastive_loss import KernelContrastiveLoss, kernel_contrastive_loss
from .kernel_reconstruction_loss import (
    KernelReconstructionLoss,
    kernel_reconstruction_loss,
)
from .known_label_memory import KnownLabelMemory
from .label_counts import NeedsLabelCounts
from .label_embedding_contrastive_loss import (
    LabelEmbeddingContrastiveLoss,
    label_embedding_contrastive_loss,
)
from .label_wise_contrastive_loss import (
    LabelWiseContrastiveLoss,
    label_wise_contrastive_loss,
)
from .neighbour_vote_loss import NeighbourVoteLoss, neighbour_vote_loss
from .pairwise_logsumexp import pairwise_logsumexp
from .prototype_contrastive_loss import (
    PrototypeContrastiveLoss,
    prototype_contrastive_loss,
)
from .within_label_contrastive_loss import (
    WithinLabelContrastiveLoss,
    within_label_contrastive_loss,
)

__all__ = [
    'BinaryCrossEntropyLoss',
    'ContrastInputs',
    'ContrastiveLoss',
    'EmbeddingMemory',
    'GaussianMixtureKLLoss',
    'ImageContrast',
    'ImageEmbeddingMemory',
    'ImageLevelContrastiveLoss',
    'KernelContrastiveLoss',
    'KernelReconstructionLoss',
    'KnownLabelContrast',
    'KnownLabelMemory',
    'LabelEmbeddingContrastiveLoss',
    'LabelWiseContrastiveLoss',
    'Memory',
    'NeedsLabelCounts',
    'NeighbourVoteLoss',
    'PresentLabelContrast',
    'Projections',
    'PrototypeContrastiveLoss',
    'StableAsymmetricLoss',
    'TemperatureLoss',
    'WithinLabelContrastiveLoss',
    'asymmetric_loss',
    'gaussian_mixture_kl_loss',
    'image_level_contrastive_loss',
    'kernel_contrastive_loss',
    'kernel_reconstruction_loss',
    'label_embedding_contrastive_loss',
    'label_wise_contrastive_loss',
    'neighbour_vote_loss',
    'pairwise_logsumexp',
    'prototype_contrastive_loss',
    'within_label_contrastive_loss',
]
