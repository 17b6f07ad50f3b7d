# SPDX-License-Identifier: Apache-2.0
"""Check weights that a config names by ``init_cfg=dict(type='Pretrained', ...)``."""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from ..errors import CheckpointError
from ..label_names import labels_of_meta
from .checkpoint_fit import check_some_fit, weights_of

_labels: WeakKeyDictionary[nn.Module, tuple[str, tuple[str, ...]]] = WeakKeyDictionary()


def labels_of_pretrained(
    model: nn.Module, without: nn.Module | None = None
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The files that a model got weights from by its config, and their labels.

    Args:
        model (nn.Module): The model.
        without (nn.Module, optional): A part whose weights do not depend on labels.
            Defaults to None.

    Yields:
        tuple[str, tuple[str, ...]]: Each file that names labels, and the names.
    """
    left_out = set() if without is None else set(without.modules())
    for module in model.modules():
        if module not in left_out and module in _labels:
            yield _labels[module]


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class CheckedPretrainedInit(PretrainedInit):
    """Initialise a module by weights of a file that it can use.

    MMEngine's class, whose place in the registry this one takes, goes on if no weight
    fits, and takes nan and integers.

    Args:
        checkpoint (str): The file.
        prefix (str, optional): Where the module is in the model of the file, such as
            ``'backbone.'``. Defaults to None.
        map_location (str): As in :func:`torch.load`. Defaults to ``'cpu'``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the weights.

        Args:
            module (nn.Module): Gets the weights.

        Raises:
            CheckpointError: If the file cannot be used, has nothing of this prefix, or
                no weight of the module, or a weight has a value that no model can use.
        """
        what = '' if self.prefix is None else f'{self.prefix} of '
        print_log(f'Weights are those of {what}{self.checkpoint}.', 'current')
        checkpoint = CheckpointLoader.load_checkpoint(
            self.checkpoint, map_location=self.map_location
        )
        state = weights_of(checkpoint, self.checkpoint)
        if self.prefix is not None:
            prefix = self.prefix.rstrip('.') + '.'
            state = {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
            if not state:
                raise CheckpointError(
                    f'{self.checkpoint} has no weight whose name starts with '
                    f"prefix='{prefix}'."
                )
        check_some_fit(module, dict(state_dict=state), self.checkpoint)
        load_state_dict(module, state, strict=False, logger='current')
        meta = checkpoint.get('meta')
        labels = labels_of_meta(meta if isinstance(meta, dict) else {})
        if labels is not None:
            _labels[module] = self.checkpoint, labels
        if hasattr(module, '_params_init_info'):
            # MMEngine's record of how each weight was made.
            update_init_info(module, init_info=self._get_init_info())
