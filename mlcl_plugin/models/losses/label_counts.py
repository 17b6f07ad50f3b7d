# SPDX-License-Identifier: Apache-2.0
"""What a loss that balances labels needs from the training set."""

from abc import ABC, abstractmethod

from torch import Tensor


class NeedsLabelCounts(ABC):
    """A part of a model that may need to know how often labels are present.

    :class:`~mlcl_plugin.engine.hooks.LabelCountsHook` counts before a training and
    tells all parts that ask for it.
    """

    @property
    @abstractmethod
    def needs_label_counts(self) -> bool:
        """bool: Whether :meth:`set_label_counts` must be called before a training."""

    @abstractmethod
    def set_label_counts(self, present: Tensor, absent: Tensor) -> None:
        """Take the numbers of training images.

        Args:
            present (Tensor): ``(L,)`` images in which each label is present.
            absent (Tensor): ``(L,)`` images in which it is absent. Where it is unknown
                it counts for neither.
        """
