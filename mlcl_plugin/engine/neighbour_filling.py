# SPDX-License-Identifier: Apache-2.0
"""Fill the memories of a NeighbourClassifier with the training images."""

import io
import os
import sys
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info, is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import ProgressBar
from torch import nn
from torch.utils.data import Dataset, Subset

from ..errors import SaveError
from ..models.classifiers import NeighbourClassifier
from ..models.neighbours import Member
from ..models.utils import collect_targets
from ..models.utils.gather import RaggedGather
from .checkpoint_content import to_plain
from .counter_seeds import SeededSamples
from .durable_files import write_bytes
from .split_dataset import build_split, build_views

# Of the order in which images are added: principal axes come from the first ones.
ORDER_SEED = 0
# Of the random views of the training images.
VIEW_SEED = 0


def iterate_images(
    model: BaseModel, cfg: Config, dataset: BaseDataset, indices: Sequence[int]
) -> Iterator[tuple[torch.Tensor, list, torch.Tensor]]:
    """Iterate over chosen images of a dataset, in the batches of the test dataloader.

    In a run of several processes each gets its share. All get equally many batches: an
    image that fills up the last one has the index -1.

    Args:
        model (BaseModel): Its data preprocessor is used.
        cfg (Config): A config without steps, or of one step.
        dataset (BaseDataset): See :func:`build_split`.
        indices (Sequence[int]): The images.

    Yields:
        tuple[Tensor, list, Tensor]: Inputs ``(B, C, H, W)``, data samples, and the
        index ``(B,)`` of each image.
    """
    test = cfg.test_dataloader
    loader = Runner.build_dataloader(
        dict(
            dataset=Subset(dataset, indices),
            batch_size=test.get('batch_size', 1),
            num_workers=test.get('num_workers', 0),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=test.get('collate_fn', dict(type='default_collate')),
        )
    )
    rank, world_size = get_dist_info()
    order = torch.as_tensor(indices)
    progress = None
    if is_main_process() and len(loader) > 1:
        # The stream of today: MMEngine's default is that of its import.
        progress = ProgressBar(len(loader), file=sys.stdout)
    place = rank
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        number = len(batch['data_samples'])
        places = place + world_size * torch.arange(number)
        place += world_size * number
        # The sampler repeats images, so that all processes have the same number.
        images = order[places % len(order)].where(places < len(order), -1)
        yield data['inputs'], data['data_samples'], images
        if progress is not None:
            progress.update()
    if progress is not None:
        # The next message starts a new line.
        print(flush=True)


@torch.no_grad()
def fill_neighbours(
    model: NeighbourClassifier,
    cfg: Config,
    dataset: BaseDataset | None = None,
    indices: Sequence[int] | None = None,
) -> None:
    """Fill the memories with the training images, as the test pipeline shows them.

    In a run of several processes each embeds its share of the images, and all get the
    same memory.

    Args:
        model (NeighbourClassifier): The classifier with trained weights.
        cfg (Config): A config without steps, or of one step.
        dataset (BaseDataset, optional): The training images. Defaults to those of the
            config's training dataloader, each once.
        indices (Sequence[int], optional): The images of the dataset to take.
            Defaults to all.

    Raises:
        ValueError: If there is no image, a target is soft, a vector is not finite, or a
            member learns from random views, but ``dataset`` has other images than the
            training dataloader.
    """
    if dataset is None:
        dataset = build_split(cfg, 'train', repeated=False)
    chosen = torch.arange(len(dataset)) if indices is None else torch.tensor(indices)
    generator = torch.Generator().manual_seed(ORDER_SEED)
    order = chosen[torch.randperm(len(chosen), generator=generator)].tolist()
    for memory in model.memories:
        memory.clear()
    training = model.training
    model.eval()
    _add_images(model, model.memories, cfg, dataset, order)
    number = max((memory.num_views for memory in model.memories), default=0)
    given, passes = 0, 0
    while given < number:
        # One pass gives as many views as the training pipeline makes.
        taking = [memory for memory in model.memories if memory.num_views > given]
        views = SeededSamples(build_views(cfg), VIEW_SEED)
        _check_same_images(views, dataset)
        views.set_epoch(passes)
        given += _add_images(model, taking, cfg, views, order)
        passes += 1
    names = [_name(dataset, index) for index in range(len(dataset))]
    for memory in model.memories:
        memory.build(names)
        print_log(
            f'{type(memory).__name__} holds {memory.describe()} of {len(order):,} '
            f'images: {memory.num_bytes / 1e6:,.1f} MB.',
            'current',
        )
    model.train(training)


def _check_same_images(views: SeededSamples, dataset: BaseDataset) -> None:
    """Raise if views are those of other images."""
    names = [[_name(part, i) for i in range(len(part))] for part in (views, dataset)]
    if names[0] != names[1]:
        raise ValueError(
            'Random views are those of the training images, but other images were '
            'given. Set num_views=0 of PooledLogistic to fill it with them.'
        )


def _add_images(
    model: NeighbourClassifier,
    members: Sequence[Member],
    cfg: Config,
    dataset: Dataset,
    order: Sequence[int],
) -> int:
    """Add images to members; returns the number of views that the dataset gives."""
    views = 1
    for inputs, data_samples, images in iterate_images(model, cfg, dataset, order):
        logits, outputs = model.outputs(inputs)
        # Views of a batch lie one after the other.
        views = len(logits) // len(images)
        images = images.repeat(views).to(logits.device)
        targets = collect_targets(data_samples, logits.shape[1], logits.device)
        own = images >= 0
        gather = RaggedGather(int(own.sum()), logits.device)
        targets, images = gather.all(targets[own]), gather.all(images[own])
        for member in members:
            vectors = gather.all(member.training_vectors(outputs).float()[own])
            member.add(vectors, targets, images)
    return views


def _name(dataset: BaseDataset | SeededSamples, index: int) -> str:
    """The path of an image; its number in a dataset without paths."""
    return str(dataset.get_data_info(index).get('img_path', index))


def save_filled(model: nn.Module, path: str, meta: dict) -> None:
    """Write a checkpoint of a filled model, see :func:`save_whole`.

    Args:
        model (nn.Module): The model.
        path (str): Where to.
        meta (dict): What the checkpoint says about its training, such as
            ``dataset_meta``.

    Raises:
        SaveError: If it cannot be written.
    """
    state = weights_to_cpu(model.state_dict())
    # The classes of a config's dicts are refused by readers.
    save_whole(dict(meta=to_plain(meta), state_dict=state), path)


def save_whole(checkpoint: dict, path: str) -> None:
    """Write a checkpoint of a model with its neighbours.

    The file gets its name when it is complete and on the disk; one of this name stays
    until then.

    Args:
        checkpoint (dict): The content.
        path (str): Where to. The folder is made.

    Raises:
        SaveError: If it cannot be written.
    """
    content = io.BytesIO()
    torch.save(checkpoint, content)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        write_bytes(path, content.getbuffer())
    except OSError as error:
        raise SaveError(
            error.errno,
            f'Cannot save the model with its neighbours as {path}: '
            f'{error.strerror or error}. Make room or choose another folder',
        ) from error
