# SPDX-License-Identifier: Apache-2.0
"""MMEngine's runner with clear errors for datasets that give no batch."""

from mmengine.dist import get_world_size
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import BatchSampler, DataLoader


class CheckedRunner(Runner):
    """Runner that raises a clear error for a dataset without an image or batch.

    For an empty dataset, MMEngine fails with a message of numpy before it calls any
    hook. If ``drop_last`` drops the only batch, it trains without an iteration or not
    at all.
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
            # NumPy's message: MMEngine concatenates the serialized images of a dataset.
            empty = 'need at least one array to concatenate' in str(error)
            if not empty or isinstance(dataloader, DataLoader):
                raise
            raise ValueError(
                f'No image in the dataset {_describe(dataloader["dataset"])}. Check '
                'data_root, the annotation file or image list, and indices.'
            ) from error

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop, see :meth:`mmengine.runner.Runner.build_train_loop`.

        Raises:
            ValueError: If its dataloader has images but no batch.
        """
        loop = super().build_train_loop(loop)
        loader = loop.dataloader
        # DatasetCheckHook raises for a dataset without images.
        if len(loader) == 0 and len(loader.dataset) > 0:
            raise ValueError(
                f'The train dataloader has no batch: {len(loader.dataset)} images in '
                f'{get_world_size()} process(es), {_describe_batches(loader)}. Set '
                'train_dataloader.batch_size to fewer images (in a config with steps '
                'also steps.NAME.train_dataloader.batch_size, if a step sets it), or '
                'set train_dataloader.drop_last=False.'
            )
        return loop


def _describe_batches(loader: DataLoader) -> str:
    sampler = loader.batch_sampler
    if isinstance(sampler, BatchSampler):
        return f'batch_size={sampler.batch_size} and drop_last={sampler.drop_last}'
    # A config may name another class, which says only how many batches it has.
    return f'batch_sampler={type(sampler).__name__}'


def _describe(dataset: dict) -> str:
    """Say where a dataset comes from, and the datasets that it wraps."""
    kind = dataset['type']
    fields = [
        f'{key}={dataset[key]!r}'
        for key in ('data_root', 'ann_file', 'split', 'image_set_path', 'indices')
        if dataset.get(key) is not None
    ]
    wrapped = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets')
    fields += map(_describe, wrapped or [])
    return f'{kind if isinstance(kind, str) else kind.__name__}({", ".join(fields)})'
