# SPDX-License-Identifier: Apache-2.0
"""Write a model in each format, and run the written file to compare it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..engine.onnx_graph import write_onnx
from ..engine.program_export import export_program
from ..engine.safetensors_file import write_safetensors
from ..inference import MultiLabelInferencer, build_model
from ..inference.score_module import ScoreModule
from ..runtime import INFO_KEY, ModelInfo, Runtime

Run = Callable[[np.ndarray], np.ndarray]
"""Turns images ``(B, C, H, W)`` into scores ``(B, L)``."""
PT2_INFO = f'{INFO_KEY}.json'
"""The file in a ``.pt2`` archive that holds the :class:`ModelInfo`."""


def write_onnx_file(
    path: Path, module: ScoreModule, images: Tensor, info: ModelInfo
) -> Run:
    """Write an ONNX file with the description of its model, and open it.

    Args:
        path (Path): The file.
        module (ScoreModule): The model.
        images (Tensor): An example of its input.
        info (ModelInfo): The description.

    Returns:
        Run: Runs the file by ONNX Runtime.
    """
    write_onnx(module, images, path, module.output_names)
    add_metadata(path, info)
    return open_onnx(path)


def add_metadata(path: Path, info: ModelInfo) -> None:
    """Write the description of a model into its ONNX file."""
    import onnx

    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {INFO_KEY: info.to_json()})
    onnx.save(graph, path)


def open_onnx(path: Path) -> Run:
    """Open an ONNX file in the runtime that users have."""
    runtime = Runtime(path, torch.get_num_threads(), spin=False)
    return lambda images: runtime.run(images)['scores']


def write_pt2_file(
    path: Path, module: ScoreModule, images: Tensor, info: ModelInfo
) -> Run:
    """Write a file of ``torch.export`` with the description of its model; load it.

    Args:
        path (Path): The file.
        module (ScoreModule): The model.
        images (Tensor): An example of its input.
        info (ModelInfo): The description.

    Returns:
        Run: Runs the file by torch.

    Raises:
        ValueError: If torch cannot export the model.
    """
    program = export_program(module, images)
    torch.export.save(program, path, extra_files={PT2_INFO: info.to_json()})
    loaded = torch.export.load(path).module()

    @torch.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        return loaded(torch.from_numpy(images))[0].numpy()

    return run


def to_float16(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round the large weights of a model to half precision.

    Vectors, such as biases and the statistics of batch norms, stay as they are: they
    take little space, and a variance may be too small or too large for float16. So do
    weights with a value that float16 has not.

    Args:
        state (Mapping[str, Tensor]): Weights by name.

    Returns:
        dict[str, Tensor]: The same names.
    """
    largest = torch.finfo(torch.float16).max
    return {
        name: value.half()
        if value.dtype == torch.float32
        and value.ndim > 1
        and bool((value.abs() <= largest).all())
        else value
        for name, value in state.items()
    }


def write_safetensors_file(
    path: Path,
    inferencer: MultiLabelInferencer,
    cfg: Config,
    info: ModelInfo,
    float16: bool = False,
) -> Run:
    """Write the weights of a model as safetensors, and load them into a new model.

    Args:
        path (Path): The file.
        inferencer (MultiLabelInferencer): The model.
        cfg (Config): Its config, whose text the file holds.
        info (ModelInfo): The description.
        float16 (bool): Store weights in half precision, see :func:`to_float16`.
            Defaults to False.

    Returns:
        Run: Runs the new model.
    """
    state = inferencer.model.state_dict()
    write_safetensors(
        path,
        to_float16(state) if float16 else state,
        {INFO_KEY: info.to_json(), 'config': cfg.pretty_text},
    )
    module = ScoreModule(build_model(Config(cfg.to_dict()), str(path)))

    @torch.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(images))[0].numpy()

    return run
