# SPDX-License-Identifier: Apache-2.0
"""Attention of labels in image files, for the page of a training."""

from collections.abc import Mapping, Sequence
from os import PathLike

from ..label_names import check_labels
from ..reports.page import Attended
from .inferencer import MultiLabelInferencer
from .pixels import to_sides_of_photograph, to_view
from .sources import select_sources


class ImageAttention:
    """Computes where a model looks for each label.

    Args:
        config (str | PathLike): Its config.
        checkpoint (str | PathLike): Its weights.
        device (str, optional): Where to run. Defaults to a GPU, if there is one.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If checkpoint and model do not fit.
    """

    def __init__(
        self,
        config: str | PathLike,
        checkpoint: str | PathLike,
        device: str | None = None,
    ):
        self.inferencer = MultiLabelInferencer(config, checkpoint, device)

    def __call__(
        self, paths: Sequence[str], classes: Sequence[str]
    ) -> Mapping[str, Attended]:
        """Compute the attention of all labels in images.

        Args:
            paths (Sequence[str]): The files.
            classes (Sequence[str]): The labels, in the order of the maps.

        Returns:
            Mapping[str, Attended]: By path; images that cannot be read are left out.

        Raises:
            OtherLabelsError: If these are not the labels of the model.
            ValueError: If the model has no attention to places.
        """
        own = self.inferencer
        check_labels(own.classes, classes, 'the scores', 'the checkpoint')
        bgr = bool(own.model.data_preprocessor.to_rgb)
        found = {}
        # One by one, since a pipeline may give images of different sizes.
        for batch in own.preprocess(select_sources(list(paths)).sources):
            for places, data in batch.groups:
                samples = own.forward(data, attention=True)
                for place, sample, inputs in zip(places, samples, data['inputs']):
                    maps = sample.attention.numpy()
                    if maps.ndim != 3:
                        raise ValueError(
                            'Attention to tokens without places cannot be drawn. Let '
                            "the backbone return a feature map (for a ViT: out_type='"
                            "featmap'), or leave out attention."
                        )
                    view = to_sides_of_photograph(to_view(inputs, bgr), sample.metainfo)
                    found[batch.items[place].source.name] = Attended(view, maps)
        return found
