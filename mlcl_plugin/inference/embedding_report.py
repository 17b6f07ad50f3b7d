# SPDX-License-Identifier: Apache-2.0
"""The measures of the embeddings of a checkpoint, as text and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.config import Config

from .build_model import build_model
from .config import config_scope
from .embedding_measures import format_values, measure_embeddings, values_for_json
from .label_embeddings import embed
from .split_images import build_loader


@dataclass(frozen=True)
class EmbeddingReport:
    """Measures of the embeddings of a checkpoint.

    Attributes:
        settings (dict): What was measured, and how.
        num_images (int): Number of images.
        classes (list[str]): Names of the labels.
        dimensions (int): Size of an embedding.
        overall (dict[str, float]): The values of all labels together.
        classwise (list[dict[str, float]]): The values of each label.
    """

    settings: dict
    num_images: int
    classes: list[str]
    dimensions: int
    overall: dict[str, float]
    classwise: list[dict[str, float]]

    def to_text(self) -> str:
        """Write a line about the data, and a line per value."""
        return (
            f'{self.num_images} {self.settings["split"]} images, {len(self.classes)} '
            f'labels, {self.dimensions} dimensions'
            + (', projected' if self.settings['projected'] else '')
            + '\n'
            + format_values(self.overall)
        )

    def to_json(self, **settings: str) -> str:
        """Write everything as JSON.

        Args:
            **settings: Further settings.
        """
        content = dict(
            **settings,
            **self.settings,
            num_images=self.num_images,
            num_labels=len(self.classes),
            dimensions=self.dimensions,
            values=values_for_json(self.overall),
            classwise={
                name: values_for_json(values)
                for name, values in zip(self.classes, self.classwise)
            },
        )
        return json.dumps(content, indent=2)


def measure_checkpoint(
    cfg: Config,
    checkpoint: str,
    split: str = 'test',
    num_images: int = 5000,
    *,
    projected: bool = False,
    shots: Sequence[int] = (1, 5, 10),
    repeats: int = 5,
    seed: int = 0,
    device: str = 'cpu',
    allow_other_labels: bool = False,
) -> EmbeddingReport:
    """Measure the embeddings that a checkpoint gives to the images of a split.

    Args:
        cfg (Config): The config.
        checkpoint (str): The checkpoint.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'test'``.
        num_images (int): Largest number of images, taken at equal distances. Defaults
            to 5000.
        projected (bool): Whether to pass the embeddings through the head's projector.
            Defaults to False.
        shots (Sequence[int]): Numbers of shots. Defaults to 1, 5 and 10.
        repeats (int): Draws of shots. Defaults to 5.
        seed (int): Seed of the split into halves, and of the draws. Defaults to 0.
        device (str): Where to run. Defaults to ``'cpu'``.
        allow_other_labels (bool): Whether the data set may have other labels than the
            checkpoint. Defaults to False.

    Returns:
        EmbeddingReport: The values, see
        :func:`~mlcl_plugin.inference.embedding_measures.measure_embeddings`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If checkpoint, model or labels do not fit.
    """
    with config_scope(cfg):
        model = build_model(cfg, checkpoint, device)
        loader, metainfo = build_loader(cfg, split, num_images)
        embeddings = embed(model, loader, projected, allow_other_labels)
    overall, classwise = measure_embeddings(embeddings, shots, repeats, seed)
    num_labels = embeddings.targets.size(1)
    return EmbeddingReport(
        dict(
            checkpoint=checkpoint,
            split=split,
            projected=projected,
            seed=seed,
            repeats=repeats,
        ),
        len(embeddings.targets),
        list(metainfo.get('classes') or map(str, range(num_labels))),
        embeddings.values.size(2),
        overall,
        classwise,
    )
