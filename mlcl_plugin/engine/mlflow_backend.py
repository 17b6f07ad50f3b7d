# SPDX-License-Identifier: Apache-2.0
"""MLflow as a place for values and pictures of a training."""

import re
from typing import Any

import numpy as np
from mmengine.visualization import MLflowVisBackend
from mmengine.visualization.vis_backend import force_init_env
from mmpretrain.registry import VISBACKENDS


@VISBACKENDS.register_module()
class MLflowStepsVisBackend(MLflowVisBackend):
    """MMEngine's backend, which also takes pictures and all names of labels.

    - Pictures are stored with their step. MMEngine's takes the name for that of a file,
      and fails where it has no suffix.
    - Characters that MLflow does not allow in names of values become ``_``. Otherwise
      MLflow refuses all values of a validation with the AP of such a label.

    Args:
        *args: As for :class:`mmengine.visualization.MLflowVisBackend`.
        **kwargs: As for it.
    """

    @force_init_env
    def add_image(
        self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any
    ) -> None:
        """Store a picture ``(H, W, 3)`` uint8, RGB."""
        self._mlflow.log_image(image, key=allowed(name), step=step)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Store a value."""
        super().add_scalar(allowed(name), value, step, **kwargs)

    def add_scalars(
        self,
        scalar_dict: dict,
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Store several values."""
        values = {allowed(name): value for name, value in scalar_dict.items()}
        super().add_scalars(values, step, file_path, **kwargs)


def allowed(name: str) -> str:
    """Write a name as MLflow allows it.

    Examples:
        >>> allowed('multi-label/AP/salt & pepper')
        'multi-label/AP/salt _ pepper'
    """
    return re.sub(r'[^\w./ -]', '_', name)
