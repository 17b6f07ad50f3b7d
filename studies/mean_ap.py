# SPDX-License-Identifier: Apache-2.0
"""The value that studies of neighbours compare."""

from torch import Tensor

from mlcl_plugin.evaluation import average_precision


def mean_ap(scores: Tensor, targets: Tensor) -> float:
    """Compute mAP in percent, over labels that are present in an image.

    Args:
        scores (Tensor): ``(N, L)``, of any scale.
        targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
    """
    return 100 * float(average_precision(scores, targets).nanmean())
