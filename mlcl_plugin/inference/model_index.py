# SPDX-License-Identifier: Apache-2.0
"""Make our configs known to MMPretrain's model hub."""

from pathlib import Path

from mmpretrain.apis import ModelHub

import mlcl_plugin


def register_models() -> None:
    """Register our configs with MMPretrain's model hub.

    Afterwards ``mmpretrain.list_models('mlcl*')`` lists them, and
    ``mmpretrain.get_model('mlcl_r101_coco', pretrained='work_dirs/.../best.pth')``
    builds one. A second call does nothing.

    Raises:
        FileNotFoundError: If the installation carries no model index.
    """
    package = Path(mlcl_plugin.__file__).parent
    # An installed package has configs and index in `.mim`. A checkout that is on the
    # path without an installation has them beside the package.
    for root in (package / '.mim', package.parent):
        index = root / 'model-index.yml'
        if index.is_file():
            break
    else:
        raise FileNotFoundError(
            f'No model-index.yml in {package / ".mim"} nor in {package.parent}. '
            'Reinstall the package: pip install -e ".[onedl]" in its checkout.'
        )
    if not ModelHub.has('mlcl_r101_coco'):
        ModelHub.register_model_index(index, config_prefix=root)
