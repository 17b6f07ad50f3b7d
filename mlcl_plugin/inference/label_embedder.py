# SPDX-License-Identifier: Apache-2.0
"""Embeddings and scores of all labels in image files."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from .config import config_of_test_dataset
from .inferencer import MultiLabelInferencer
from .label_embeddings import EmbeddingReader
from .model_parts import neck_of
from .sources import Input, Source, select_sources


class Embedded(NamedTuple):
    """An image with unit vectors ``(E, D)`` and scores ``(L,)``, or an error."""

    name: str
    vectors: Tensor | None = None
    scores: Tensor | None = None
    error: str | None = None


class LabelEmbedder:
    """Computes embeddings and scores of images by a model.

    Args:
        config (str | PathLike | Config): The config of the model.
        checkpoint (str | PathLike): Its weights.
        device (str, optional): Where to run. Defaults to a GPU, if there is one.
        projected (bool): Whether to pass embeddings through the head's projector, which
            is what a contrastive loss sees. Defaults to False.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If checkpoint and model do not fit, or there is no projector.
    """

    def __init__(
        self,
        config: str | PathLike | Config,
        checkpoint: str | PathLike,
        device: str | None = None,
        projected: bool = False,
    ):
        self.inferencer = MultiLabelInferencer(config, checkpoint, device)
        self.reader = EmbeddingReader(self.inferencer.model, projected)
        self.projected = projected

    @property
    def classes(self) -> tuple[str, ...]:
        """tuple[str]: The labels."""
        return self.inferencer.classes

    def fingerprint(self) -> str:
        """16 hexadecimal digits of all that embeddings depend on.

        These are the weights of backbone and neck, and of the head if it projects, and
        how images are prepared.
        """
        model, cfg = self.inferencer.model, self.inferencer.config
        digest = hashlib.sha256()
        settings = dict(
            pipeline=config_of_test_dataset(cfg).get('pipeline'),
            preprocessor=cfg.get('data_preprocessor')
            or cfg.model.get('data_preprocessor'),
            projected=self.projected,
        )
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        parts: list[nn.Module | None] = [model.backbone, neck_of(model)]
        if self.projected:
            parts.append(self.reader.projector)
        for part in parts:
            if part is None:
                continue
            for name, value in sorted(part.state_dict().items()):
                digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
                plain = value.detach().cpu().contiguous()
                digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def embed(
        self,
        sources: Iterable[Source],
        batch_size: int | None = None,
        num_workers: int = 0,
    ) -> Iterator[Embedded]:
        """Embed images, in the order of the sources.

        Args:
            sources (Iterable[Source]): The images.
            batch_size (int, optional): Defaults to that of the test dataloader.
            num_workers (int): Processes that read images. Defaults to 0.

        Yields:
            Embedded: Each image; tensors on the CPU, float32.
        """
        own = self.inferencer
        if batch_size is None:
            batch_size = own.config.test_dataloader.get('batch_size', 1)
        part = neck_of(own.model) or own.model.backbone
        outputs: list = []
        hook = part.register_forward_hook(lambda *args: outputs.append(args[2]))
        with hook, torch.no_grad():
            for batch in own.preprocess(sources, batch_size, num_workers=num_workers):
                done: dict[int, Embedded] = {}
                for places, data in batch.groups:
                    outputs.clear()
                    samples = own.forward(data)
                    vectors = F.normalize(self.reader.read(outputs[-1]), dim=2).cpu()
                    for place, sample, vector in zip(places, samples, vectors):
                        name = batch.items[place].source.name
                        done[place] = Embedded(name, vector, sample.pred_score)
                for place, item in enumerate(batch.items):
                    failed = Embedded(item.source.name, error=item.error)
                    yield done.get(place, failed)

    def embed_one(self, image: Input) -> Embedded:
        """Embed one image.

        Raises:
            ValueError: If it cannot be read.
        """
        (embedded,) = self.embed(select_sources([image]).sources, 1)
        if embedded.vectors is None:
            raise ValueError(f'{embedded.name}: {embedded.error}')
        return embedded
