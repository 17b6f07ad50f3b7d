# SPDX-License-Identifier: Apache-2.0
"""MMEngine's runner, which says what is wrong with data that give no batch."""

from mmengine.dist import get_world_size
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader


class CheckedRunner(Runner):
    """Runner that raises a clear error for a dataset without an image or batch.

    MMEngine fails on an empty list with a message of numpy's, before any hook is
    called, and trains without an iteration, or not at all, where ``drop_last`` drops
    the only batch.
    """

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a dataloader, see :meth:`mmengine.runner.Runner.build_dataloader`.

        Raises:
            ValueError: If the dataset has no image.
        """
        try:
            return Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        except ValueError as error:
            # MMEngine joins the serialized images of a dataset.
            if 'need at least one array to concatenate' not in str(error):
                raise
            raise ValueError(
                f'No image in the dataset {_describe(dataloader["dataset"])}. Check '
                'data_root, the annotation file or image list, and indices.'
            ) from error

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop, see :meth:`mmengine.runner.Runner.build_train_loop`.

        Raises:
            ValueError: If it has no batch to train on.
        """
        loop = super().build_train_loop(loop)
        loader = loop.dataloader
        # Without an image there is nothing to say about batches: the hook's turn.
        if len(loader) == 0 and len(loader.dataset) > 0:
            sampler = loader.batch_sampler
            raise ValueError(
                f'The train dataloader has no batch: {len(loader.dataset)} images in '
                f'{get_world_size()} process(es), batch_size='
                f'{getattr(sampler, "batch_size", None)} and drop_last='
                f'{getattr(sampler, "drop_last", None)}. Set '
                'train_dataloader.batch_size to fewer images, in a config in steps '
                'also where a step sets it (steps.NAME.train_dataloader.batch_size), '
                'or train_dataloader.drop_last=False.'
            )
        return loop


def _describe(dataset: dict) -> str:
    """What tells where a dataset comes from, and those that it wraps."""
    kind = dataset['type']
    fields = [
        f'{key}={dataset[key]!r}'
        for key in ('data_root', 'ann_file', 'split', 'image_set_path', 'indices')
        if dataset.get(key) is not None
    ]
    wrapped = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets')
    fields += map(_describe, wrapped or [])
    return f'{kind if isinstance(kind, str) else kind.__name__}({", ".join(fields)})'
