# SPDX-License-Identifier: Apache-2.0
"""A metric that writes scores and targets to a file."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from mmengine.evaluator import DumpResults
from mmengine.logging import print_log
from mmpretrain.registry import METRICS
from torch import Tensor

from ..score_dump import SUFFIXES, ScoreDump

KEYS = ('img_path', 'pred_score', 'gt_score', 'gt_label')


@METRICS.register_module()
class DumpScores(DumpResults):
    """Write the scores and targets of all images to a file, for offline evaluation.

    A ``.pkl`` holds what MMEngine's ``DumpResults`` writes, a list with one dict per
    image, and also the names of the labels under ``classes``. A ``.csv`` or
    ``.parquet`` is a table, see :mod:`mlcl_plugin.evaluation.score_dump`.

    Args:
        out_file_path (str): The file; may be remote. Ends with ``.pkl``, ``.csv`` or
            ``.parquet``.
        collect_device (str): Device on which processes exchange results, 'cpu' or
            'gpu'. Defaults to 'cpu'.
        collect_dir (str, optional): Folder in which they exchange them. Defaults to
            None, a temporary one.

    Raises:
        ValueError: If ``out_file_path`` has another ending.
        ImportError: If a package that writes such a file is missing.
    """

    # There is no value to name, but MMEngine warns of metrics without a prefix.
    default_prefix = 'dump'

    def __init__(
        self,
        out_file_path: str,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
    ) -> None:
        out_file_path = str(out_file_path)
        if not out_file_path.endswith(SUFFIXES):
            raise ValueError(
                f'out_file_path must end with one of {SUFFIXES}, got {out_file_path}.'
            )
        # Now rather than after a whole round of evaluation.
        needed = {'.csv': ['pandas'], '.parquet': ['pandas', 'pyarrow']}
        for suffix, packages in needed.items():
            missing = [name for name in packages if find_spec(name) is None]
            if out_file_path.endswith(suffix) and missing:
                raise ImportError(
                    f'Writing {suffix} needs {" and ".join(missing)}: pip install '
                    f'{" ".join(missing)}, or write a .pkl.'
                )
        # DumpResults knows .pkl only.
        super().__init__('scores.pkl', collect_device, collect_dir)
        self.out_file_path = out_file_path

    def process(self, data_batch: Any, predictions: Sequence[dict]) -> None:
        """Keep the predictions of one batch.

        Args:
            data_batch (Any): A batch of data from the dataloader, unused.
            predictions (Sequence[dict]): Outputs of the model.

        Raises:
            ValueError: If the dataset has no names of labels, for a table.
        """
        if not self.out_file_path.endswith('.pkl'):
            if (self.dataset_meta or {}).get('classes') is None:
                raise ValueError(
                    f'{self.out_file_path} needs names of the labels, but the dataset '
                    "has no 'classes' in its metainfo. Give it some, or write a .pkl."
                )
            predictions = [
                {key: sample.get(key) for key in KEYS if key in sample}
                for sample in predictions
            ]
        super().process(data_batch, predictions)
        # A row of a batch would be pickled with the whole batch.
        for sample in self.results[-len(predictions) :]:
            for key, value in sample.items():
                if isinstance(value, Tensor):
                    sample[key] = value.clone()

    def compute_metrics(self, results: list[dict]) -> dict:
        """Write the file.

        Args:
            results (list[dict]): The predictions of all images.

        Returns:
            dict: Empty.
        """
        classes = (self.dataset_meta or {}).get('classes')
        if self.out_file_path.endswith('.pkl'):
            if classes is not None:
                # One object in memory, and so in the file.
                classes = tuple(classes)
                results = [{**sample, 'classes': classes} for sample in results]
            return super().compute_metrics(results)
        ScoreDump.from_samples(results, classes).save(self.out_file_path)
        print_log(f'Scores have been saved to {self.out_file_path}.', logger='current')
        return {}
