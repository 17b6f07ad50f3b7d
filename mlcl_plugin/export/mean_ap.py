# SPDX-License-Identifier: Apache-2.0
"""The mAP of an exported model on the test images of a config."""

from collections.abc import Mapping

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from ..engine import build_split
from ..evaluation import MultiLabelRecognitionMetric
from ..inference import MultiLabelInferencer
from ..inference.split_images import build_loader
from .file_formats import Run
from .real_images import to_inputs


def measure_map(
    cfg: Config, inferencer: MultiLabelInferencer, runs: Mapping[str, Run]
) -> dict[str, float]:
    """Measure the mAP of exported models on all images of the test dataset.

    Args:
        cfg (Config): The config.
        inferencer (MultiLabelInferencer): Its model, which prepares the images.
        runs (Mapping[str, Run]): What computes scores, by name.

    Returns:
        dict[str, float]: mAP in percent by name.

    Raises:
        FileNotFoundError: If the dataset does not exist.
        ValueError: If it has other labels.
    """
    number = len(build_split(cfg, 'test'))
    loader, meta = build_loader(cfg, 'test', number)
    metrics = {}
    for name in runs:
        metrics[name] = MultiLabelRecognitionMetric()
        metrics[name].dataset_meta = meta
    for data in loader:
        inputs = to_inputs(inferencer, data).numpy()
        for name, run in runs.items():
            scores = torch.from_numpy(np.ascontiguousarray(run(inputs)))
            samples = [_sample(*pair) for pair in zip(data['data_samples'], scores)]
            metrics[name].process(data, [sample.to_dict() for sample in samples])
    return {
        name: next(
            value
            for key, value in metric.evaluate(number).items()
            if key.endswith('/mAP')
        )
        for name, metric in metrics.items()
    }


def _sample(given: DataSample, scores: torch.Tensor) -> DataSample:
    return given.clone().set_pred_score(scores)
