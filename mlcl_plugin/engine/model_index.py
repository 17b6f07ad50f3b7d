# SPDX-License-Identifier: Apache-2.0
"""Make our configs known to MMPretrain's model hub."""

from mmpretrain.apis import ModelHub

from ..recipes import recipe_root


def register_models() -> None:
    """Register our configs with MMPretrain's model hub.

    Afterwards ``mmpretrain.list_models('mlcl*')`` lists them, and
    ``mmpretrain.get_model('mlcl_efflite0_voc07', pretrained=True)`` builds one, with
    weights that come with the package, or from ``pretrained='work_dirs/.../best.pth'``.
    ``import mlcl_plugin`` calls it. A second call does nothing.

    Raises:
        FileNotFoundError: If the installation carries no model index.
    """
    root = recipe_root()
    if not ModelHub.has('mlcl_r101_coco'):
        ModelHub.register_model_index(root / 'model-index.yml', config_prefix=root)
