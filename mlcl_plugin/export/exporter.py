# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as a file for other programs."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from mmengine.config import Config

from .. import runtime
from ..engine.durable_files import publish
from ..engine.onnx_graph import require_packages
from ..errors import EngineError
from ..evaluation.decisions import Decisions
from ..inference import MultiLabelInferencer, load_model_config
from ..inference.config import config_scope
from ..inference.score_module import ScoreModule
from ..models import NeighbourClassifier
from .agreement import check_agreement, score_differences
from .describe import describe_model
from .file_formats import (
    Run,
    add_metadata,
    open_onnx,
    write_onnx_file,
    write_pt2_file,
    write_safetensors_file,
)
from .int8 import quantize
from .mean_ap import measure_map
from .real_images import RealImages, check_preparation, find_images, read_real_images

FORMATS = ('onnx', 'pt2', 'safetensors')
"""Formats of files."""
RUNTIME = 'mlcl_runtime.py'
"""Name of the runtime beside a model."""
CALIBRATION_IMAGES = 200
"""Most images that the scales of 8-bit numbers are found on."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path (Path): The file.
        num_images (int): Number of images that it was compared with torch on.
        differences (dict[int, float]): The largest difference of a score in float32 by
            batch size.
        int8_difference (float, optional): That of 8-bit numbers.
        float16_difference (float, optional): That of weights in half precision.
        maps (dict[str, float]): mAP in percent by the kind of numbers, if measured.
        runtime (Path, optional): The runtime beside the file.
    """

    path: Path
    num_images: int
    differences: dict[int, float]
    int8_difference: float | None = None
    maps: Mapping[str, float] = field(default_factory=dict)
    runtime: Path | None = None
    float16_difference: float | None = None

    def lines(self) -> list[str]:
        """What to tell the user."""
        sizes = ', '.join(map(str, self.differences))
        lines = [
            f'Largest difference of a score to torch on {self.num_images} images in '
            f'batches of {sizes}: {max(self.differences.values()):.2g}'
        ]
        if self.int8_difference is not None:
            lines.append(f'With 8-bit numbers: {self.int8_difference:.2g}')
        if self.float16_difference is not None:
            lines.append(f'With weights in float16: {self.float16_difference:.2g}')
        lines += [f'mAP of {name}: {value:.2f}' for name, value in self.maps.items()]
        lines.append(f'Wrote {self.path} ({self.path.stat().st_size / 1e6:.1f} MB)')
        if self.runtime is not None:
            lines.append(f'Wrote {self.runtime}')
        return lines


def export_model(
    model: str | PathLike | Config,
    checkpoint: str | PathLike,
    out: str | PathLike,
    format: str,
    *,
    decisions: Decisions | str | PathLike | None = None,
    attention: bool = False,
    int8: str | PathLike | None = None,
    float16: bool = False,
    images: str | PathLike | None = None,
    num_images: int = 32,
    classes: Sequence[str] | str | None = None,
    measure: bool = False,
    with_runtime: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a model as a file, if it gives what torch gives.

    The file holds the names of the labels, the preparation of images and the decisions,
    see :class:`mlcl_plugin.runtime.ModelInfo`. It gets its name only after its scores,
    in batches of several sizes, were compared with those of the model.

    Args:
        model (str | PathLike | Config): A config, its path, or the name of a model.
        checkpoint (str | PathLike): The weights.
        out (str | PathLike): The file to write; its folder exists.
        format (str): ``'onnx'``, ``'pt2'`` (of ``torch.export``) or ``'safetensors'``
            (weights and config).
        decisions (Decisions | str | PathLike, optional): Thresholds, perhaps with
            temperatures, or their file. None takes the rule of the model's head.
            Defaults to None.
        attention (bool): Whether the model also gives attention maps of labels.
            Defaults to False.
        int8 (str | PathLike, optional): A folder of photographs like those of training;
            the ONNX file then computes with 8-bit numbers. Defaults to None.
        float16 (bool): Store the weights of a safetensors file in half precision. They
            are computed with in float32. Defaults to False.
        images (str | PathLike, optional): A folder of photographs to compare on. None
            takes those of the test dataset. Defaults to None.
        num_images (int): The greatest number of them. Defaults to 32.
        classes (Sequence[str] | str, optional): Names of the labels, see
            :class:`MultiLabelInferencer`. Defaults to None.
        measure (bool): Measure the mAP on the test dataset. Defaults to False.
        with_runtime (bool): Copy :mod:`mlcl_plugin.runtime` beside an ONNX file, as
            ``mlcl_runtime.py``. Defaults to False.
        overwrite (bool): Replace a file of this name. Defaults to False.

    Returns:
        Exported: The file and the differences.

    Raises:
        EngineError: If the scores differ by more than 1e-4, see
            :func:`~mlcl_plugin.export.agreement.check_agreement`.
        FileExistsError: If there is such a file.
        FileNotFoundError: If there is no such checkpoint, folder or image.
        ImportError: If a package is missing.
        ValueError: If the model or its pipeline cannot be exported, or options do not
            go together.
    """
    out = Path(out)
    _check_options(
        out, format, attention, int8, float16, num_images, with_runtime, overwrite
    )
    cfg, _ = load_model_config(model)
    with (
        config_scope(cfg),
        tempfile.TemporaryDirectory(prefix='.export-', dir=out.parent) as folder,
    ):
        inferencer = MultiLabelInferencer(
            cfg, checkpoint, 'cpu', decisions=decisions, classes=classes
        )
        module = ScoreModule(inferencer.model, attention)
        real = read_real_images(inferencer, find_images(cfg, images, num_images))
        info = describe_model(inferencer, real.inputs.shape[2:], module.output_names)
        check_preparation(info, real)
        part = Path(folder) / out.name
        run: Run
        if format == 'onnx':
            run = write_onnx_file(part, module, real.inputs, info)
        elif format == 'pt2':
            run = write_pt2_file(part, module, real.inputs, info)
        else:
            run = write_safetensors_file(part, inferencer, cfg, info)
        differences = score_differences(run, real)
        neighbours = isinstance(inferencer.model, NeighbourClassifier)
        check_agreement(differences, f'the {format} file', neighbours)
        runs = {'float32': run}
        int8_difference = float16_difference = None
        if float16:
            runs['float16'] = write_safetensors_file(part, inferencer, cfg, info, True)
            float16_difference = _difference(
                runs['float16'], real, 'weights in float16'
            )
        if int8 is not None:
            sources = find_images(cfg, int8, CALIBRATION_IMAGES)
            calibration = read_real_images(inferencer, sources)
            small = part.with_name(f'int8-{part.name}')
            quantize(part, small, calibration.inputs)
            add_metadata(small, info)
            runs['int8'] = open_onnx(small)
            int8_difference = _difference(runs['int8'], real, '8-bit numbers')
            part = small
        maps = measure_map(cfg, inferencer, runs) if measure else {}
        publish(part, out)
    beside = None
    if with_runtime:
        beside = out.with_name(RUNTIME)
        shutil.copyfile(runtime.__file__, beside)
    return Exported(
        out,
        len(real.paths),
        {size: float(values.max()) for size, values in differences.items()},
        int8_difference,
        maps,
        beside,
        float16_difference,
    )


def _check_options(
    out: Path,
    format: str,
    attention: bool,
    int8: str | PathLike | None,
    float16: bool,
    num_images: int,
    with_runtime: bool,
    overwrite: bool,
) -> None:
    """Raise an error for options that are wrong for every model."""
    if format not in FORMATS:
        raise ValueError(f'format must be one of {FORMATS}, got {format!r}.')
    if format != 'onnx':
        for name, value in (('int8', int8), ('with_runtime', with_runtime)):
            if value:
                raise ValueError(f"{name}={value} needs format='onnx', got {format!r}.")
    if float16 and format != 'safetensors':
        raise ValueError(
            f"float16=True needs format='safetensors', got {format!r}. ONNX files "
            'become small by int8.'
        )
    if attention and format == 'safetensors':
        raise ValueError(
            "attention=True needs format='onnx' or format='pt2': a safetensors file "
            'holds weights, and its model can always give the attention.'
        )
    if num_images < 1:
        raise ValueError(f'num_images must be positive, got {num_images}.')
    if not out.parent.is_dir():
        raise FileNotFoundError(f'There is no folder {out.parent} to write {out} to.')
    if out.is_dir():
        raise FileExistsError(f'{out} is a folder, expected the name of a file.')
    targets = [out, out.with_name(RUNTIME)] if with_runtime else [out]
    for path in targets:
        if path.exists() and not overwrite:
            raise FileExistsError(f'{path} exists. Set overwrite=True to replace it.')
    if format == 'onnx':
        require_packages()


def _difference(run: Run, images: RealImages, what: str) -> float:
    """The largest difference of numbers of fewer bits on real images.

    Raises:
        EngineError: If a score is not finite.
    """
    difference = float(score_differences(run, images, [7])[7].max())
    if not np.isfinite(difference):
        raise EngineError(f'With {what} scores are not finite.')
    return difference
