# SPDX-License-Identifier: Apache-2.0
"""Photographs with labels, and features of a frozen backbone for each."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from ..datasets.forms import ImageLabels
from ..engine import base_config, build_split, innermost_dataset, load_config
from ..engine.tool_config import set_work_dir
from ..fit.backbone import find_backbone
from ..fit.console import Console
from ..fit.make_config import BASES, make_config, write_tables
from ..fit.options import FitOptions
from ..fit.read_data import Photographs, read_photographs
from ..fit.recipe import choose_recipe, find_device
from ..fit.split_data import Parts
from ..fit.training import FrozenFeatures
from ..models.neighbours import PooledLogistic
from ..recipes import find_config, is_recipe
from .label_wise import VALIDATION
from .out_of_fold import image_vectors, make_logistic, pool_features

WORK = 'work'
"""The folder of features and tables in that of the results."""
BACKBONE = 'efflite0'
"""The backbone where none is asked for."""
NUM_VIEWS = 1
"""Random views of an image. Only what is trained by gradient steps looks at them."""


@dataclass(frozen=True, eq=False)
class Featured:
    """Photographs with labels and features.

    Attributes:
        labels (ImageLabels): The labels, in the order of the features.
        root (Path): The folder that paths of images are relative to.
        groups (np.ndarray, optional): ``(N,)`` what belongs together.
        features (FrozenFeatures): Where the features are.
        logistic (PooledLogistic): The regression of the recipe, empty.
    """

    labels: ImageLabels
    root: Path
    groups: np.ndarray | None
    features: FrozenFeatures
    logistic: PooledLogistic

    @property
    def path(self) -> str:
        """str: The file of features of the test pipeline."""
        return str(self.features.folder / 'tune.npy')

    def pooled(self) -> Tensor:
        """Vectors ``(N, R, D)`` for the regression."""
        return pool_features(self.path, self.logistic)

    def averages(self) -> Tensor:
        """Vectors ``(N, 1, C)`` for nearest images."""
        return image_vectors(self.path)


def is_config(source: str) -> bool:
    """Whether a source is a config or a recipe, and not a table or folder."""
    path = Path(source)
    return path.suffix == '.py' or (not path.exists() and is_recipe(path))


def refuse_with_config(source: str, what: str, **given: object) -> None:
    """Refuse options that a config has instead of its user.

    Args:
        source (str): What may be a config.
        what (str): What the config names itself, for the message.
        **given: The options, None where they are not given.

    Raises:
        ValueError: If ``source`` is a config, and one is given.
    """
    for name, value in given.items():
        if value is not None and is_config(source):
            raise ValueError(
                f'{name}={value} is about tables and folders, but {source} is a '
                f'config, which names its {what} itself. Leave it out.'
            )


def read_source(
    source: str,
    images: str | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
) -> Photographs:
    """Read photographs as ``mlcl fit`` does, or the training images of a config.

    Raises:
        ValueError: If a config is given with an option of tables.
    """
    if not is_config(source):
        return read_photographs(source, images, classes, group)
    refuse_with_config(source, 'data', images=images, classes=classes, group=group)
    cfg = base_config(load_config(find_config(source)))
    # Features are those of all images.
    innermost_dataset(cfg.train_dataloader.dataset).pop('indices', None)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = build_split(cfg, 'train', repeated=False)
    labels = ImageLabels.from_dataset(dataset)
    parts = np.full(len(labels.images), 'train')
    return Photographs(labels, Path(), parts, None, source)


def compute_features(
    data: Photographs,
    out: Path,
    console: Console,
    *,
    backbone: str | None = None,
    image_size: int | None = None,
    num_views: int = NUM_VIEWS,
    device: str | None = None,
    seed: int = 0,
) -> Featured:
    """Compute features of photographs, or find those that are there.

    Args:
        data (Photographs): The photographs, see :func:`read_source`.
        out (Path): The folder of the results. Features of a config are where its
            training has them.
        console (Console): Where progress is written.
        backbone (str, optional): See ``mlcl fit``. A config has its own.
        image_size (int, optional): See ``mlcl fit``. A config has its own.
        num_views (int): Random views of each image. Defaults to :data:`NUM_VIEWS`.
        device (str, optional): Where to compute. Defaults to a GPU, if there is one.
        seed (int): Seed of the views.

    Returns:
        Featured: The photographs with their features.

    Raises:
        ValueError: If a config is given with an option of its own, or there is no such
            device.
    """
    refuse_with_config(
        data.source, 'backbone and images', backbone=backbone, image_size=image_size
    )
    if device is not None:
        find_device(device)
    if is_config(data.source):
        cfg = load_config(find_config(data.source))
        set_work_dir(cfg, data.source)
        if cfg.get('cached_features') is None:
            # A training on images has no features to share.
            cfg.work_dir = str(out / WORK / 'train')
    else:
        options = FitOptions(
            data.source,
            out / WORK,
            recipe='frozen',
            backbone=backbone or BACKBONE,
            image_size=image_size,
            device=device,
            seed=seed,
        )
        cfg = _config(data, options, num_views)
        # Nothing is trained by this config, and nothing validated.
        cfg.pop('steps')
        cfg.pop('runner_type')
        for field in VALIDATION:
            cfg[field] = None
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        features = FrozenFeatures(cfg, seed, device)
        features.compute(console)
        logistic = make_logistic(_logistic_config(cfg))
    names = read_image_names(features.folder)
    expected = [str(data.root / image) for image in data.labels.images]
    if [os.path.abspath(name) for name in names] != list(
        map(os.path.abspath, expected)
    ):
        raise ValueError(
            f'The features in {features.folder} are not those of the images of '
            f'{data.source}. Wrappers that leave images out are not supported; name a '
            'table or folder of the images.'
        )
    return Featured(data.labels, data.root, data.groups, features, logistic)


def read_image_names(folder: Path) -> list[str]:
    """Paths of the images of features, in their order."""
    content = json.loads((folder / 'tune.json').read_text())
    return [str(record['img_path']) for record in content['data_list']]


def _config(data: Photographs, options: FitOptions, num_views: int) -> Config:
    """The config of a fit on all images."""
    parts = Parts(data.root, dict(train=data.labels, val=data.labels.take([0])), True)
    recipe = replace(choose_recipe(options, parts), num_views=num_views)
    tables = write_tables(parts, options.out)
    os.remove(tables['val'])
    return make_config(options, parts, recipe, find_backbone(options.backbone), tables)


def _logistic_config(cfg: Config) -> dict:
    """The config of the regression: that of the config, or else of ``mlcl fit``."""
    members = cfg.model.get('neighbours') or ()
    for member in members:
        if member['type'] == 'PooledLogistic':
            return dict(member)
    default = load_config(find_config(BASES['frozen'])).model.neighbours[2]
    # Other backbones have no classifier of their pre-training here.
    return {key: value for key, value in default.items() if key != 'source'}
