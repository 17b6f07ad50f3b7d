# SPDX-License-Identifier: Apache-2.0
"""The page of a training, with scores and attention where they are asked for."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch
from mmengine.config import Config

from ..engine import build_split, iterate_images, load_step_config
from ..evaluation.score_dump import ScoreDump
from ..models.utils import collect_targets
from ..reports.page import (
    PageOptions,
    WorkFolder,
    model_files,
    read_work_folder,
    write_page,
)
from .build_model import build_model
from .config import config_scope
from .image_attention import ImageAttention


def write_report(
    work_dir: str | PathLike,
    out: str | PathLike | None = None,
    *,
    scores: Sequence[str | PathLike] = (),
    decisions: str | PathLike | None = None,
    score: str | None = None,
    attention: bool = False,
    num_images: int = 6,
    num_resamples: int = 1000,
    seed: int = 0,
    device: str | None = None,
) -> tuple[Path, list[str]]:
    """Write one HTML file about a training, which opens without a network.

    .. code-block:: python

        from mlcl_plugin.apis import write_report

        page, missing = write_report('work_dirs/photos')

    It shows the settings in words, curves, a table of labels, precision against recall,
    calibration, confused pairs, the worst and the best images, what was found about the
    data, the environment, and how to do it again. What is not in the folder is listed
    as missing. Only with ``score`` or ``attention`` is the config executed and the
    checkpoint opened.

    Args:
        work_dir (str | PathLike): The work folder of ``mlcl train``, or the folder of
            ``mlcl fit``.
        out (str | PathLike, optional): The file. Defaults to ``report.html`` in the
            folder.
        scores (Sequence[str | PathLike]): Score dumps. Defaults to those in the folder.
        decisions (str | PathLike, optional): Thresholds. Defaults to
            ``decisions.json`` in the folder, or else 0.5.
        score (str, optional): ``'val'`` or ``'test'``: score these images of the config
            and write the dump into the folder. Defaults to None.
        attention (bool): Draw where the network looks for labels. Defaults to False.
        num_images (int): Images in each list, of the worst and of the best; 20 at most.
            Defaults to 6.
        num_resamples (int): Resamples for intervals. Defaults to 1000.
        seed (int): Seed of the resamples. Defaults to 0.
        device (str, optional): Where to run the model. Defaults to a GPU, if there is
            one.

    Returns:
        tuple[Path, list[str]]: The file, and what is missing.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        ImportError: If Jinja2 or matplotlib is not installed.
        ValueError: If the folder is none of a training, it has no model that can be
            run, or a file is wrong.
    """
    folder = Path(work_dir)
    page = folder / 'report.html' if out is None else Path(out)
    attend = None
    if score is not None or attention:
        config, checkpoint = _model_of(read_work_folder(folder))
        if score is not None:
            dump = score_split(config, checkpoint, score, device)
            dump.save(folder / f'{score}_scores.csv')
        if attention:
            attend = ImageAttention(config, checkpoint, device)
    work = write_page(
        folder,
        page,
        [Path(path) for path in scores],
        None if decisions is None else Path(decisions),
        PageOptions(num_images, num_resamples, seed, attend),
    )
    return page, work.missing


def _model_of(work: WorkFolder) -> tuple[Path, Path]:
    files = model_files(work)
    if files is None:
        raise ValueError(
            f'{work.path} has no model that can be run: '
            f'{"no checkpoint" if work.model is None else "no config"}. Leave out '
            'score and attention.'
        )
    return files


@torch.no_grad()
def score_split(
    config: Path, checkpoint: Path, split: str, device: str | None = None
) -> ScoreDump:
    """Score the images of a split.

    Args:
        config (Path): The config.
        checkpoint (Path): The weights.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        device (str, optional): Where to run. Defaults to a GPU, if there is one.

    Returns:
        ScoreDump: In the order of the dataset.
    """
    cfg: Config = load_step_config(config)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    with config_scope(cfg):
        model = build_model(cfg, str(checkpoint), device)
        dataset = build_split(cfg, split)
        scores, targets = [], []
        indices = list(range(len(dataset)))
        for inputs, samples, _ in iterate_images(model, cfg, dataset, indices):
            scores.append(model(inputs).float().sigmoid().cpu())
            targets.append(collect_targets(samples, scores[-1].shape[1], 'cpu'))
    names = [str(dataset.get_data_info(n)['img_path']) for n in indices]
    classes = dataset.metainfo['classes']
    return ScoreDump(
        torch.cat(scores).numpy(), torch.cat(targets).numpy(), classes, names
    )
