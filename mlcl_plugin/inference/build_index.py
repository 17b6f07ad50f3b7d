# SPDX-License-Identifier: Apache-2.0
"""Make an index of label-wise embeddings, and ask it about a photograph."""

import os
import shutil
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from numpy.lib.format import open_memmap
from torch import Tensor

from ..datasets.transforms import LabelsToTargets
from ..engine import build_split
from ..label_names import check_labels
from .config import config_scope, load_model_config
from .label_embedder import LabelEmbedder
from .label_index import EMBEDDINGS, SCORES, SETTINGS, TARGETS, LabelIndex, Match
from .sources import Source, select_sources


def build_index(
    config: str | PathLike | Config,
    checkpoint: str | PathLike,
    out: str | PathLike,
    inputs: Sequence[str | PathLike] | str | PathLike | None = None,
    *,
    split: str | None = None,
    recursive: bool = False,
    projected: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    device: str | None = None,
    overwrite: bool = False,
) -> LabelIndex:
    """Embed the labels of photographs and write an index of them.

    .. code-block:: python

        from mlcl_plugin.apis import build_index, query_index

        index = build_index('config.py', 'model.pth', 'photos.index', 'photos/')
        print(query_index(index, 'photos/rex.jpg', 'dog'))

    The index is complete when its folder appears: it is written beside it and then
    renamed.

    Args:
        config (str | PathLike | Config): The config of the model.
        checkpoint (str | PathLike): Its weights.
        out (str | PathLike): The folder of the index.
        inputs (Sequence | str | PathLike, optional): Files, folders and patterns of
            photographs, as the inferencer takes them.
        split (str, optional): ``'train'``, ``'val'`` or ``'test'``, in place of
            ``inputs``: the photographs of the config, with their annotation.
        recursive (bool): Also take what is in the folders inside of a folder. Defaults
            to False.
        projected (bool): Whether to store what the head's projector makes of the
            embeddings. Defaults to False.
        batch_size (int, optional): Defaults to that of the test dataloader.
        num_workers (int): Processes that read images. Defaults to 0.
        device (str, optional): Where to run. Defaults to a GPU, if there is one.
        overwrite (bool): Whether to replace an index. Defaults to False.

    Returns:
        LabelIndex: The index. Photographs that cannot be read are left out, with a
        warning.

    Raises:
        FileExistsError: If the folder exists and is not to be replaced, or is no index.
        FileNotFoundError: If a file does not exist.
        ValueError: If there is nothing to embed, there are both or neither of
            ``inputs`` and ``split``, or checkpoint, model and labels do not fit.
    """
    if (inputs is None) == (split is None):
        raise ValueError(
            f'Expected inputs or split, one of both, got inputs={inputs!r:.100} and '
            f'split={split!r}.'
        )
    folder = Path(out)
    _check_folder(folder, overwrite)
    embedder = LabelEmbedder(config, checkpoint, device, projected)
    targets = None
    if split is None:
        sources = list(select_sources(inputs or [], recursive).sources)
    else:
        sources, targets = _annotated(config, split, embedder.classes)
    sources, targets = _once(sources, targets)
    part = folder.with_name(f'{folder.name}.part{os.getpid()}')
    part.mkdir(parents=True)
    try:
        info = dict(config=_name(config), checkpoint=str(checkpoint), split=split)
        _write(part, embedder, sources, targets, info, batch_size, num_workers)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return LabelIndex.load(folder)


def query_index(
    index: LabelIndex | str | PathLike,
    photo: str | PathLike | np.ndarray,
    label: str,
    number: int = 10,
    *,
    embedder: LabelEmbedder | None = None,
    having: bool = True,
    thr: float = 0.5,
    engine: str = 'torch',
) -> list[Match]:
    """Find photographs whose label is like that of a photograph.

    Args:
        index (LabelIndex | str | PathLike): The index, or its folder.
        photo (str | PathLike | np.ndarray): A photograph. Without ``embedder``, one of
            the index.
        label (str): The label.
        number (int): Largest number of photographs. Defaults to 10.
        embedder (LabelEmbedder, optional): The model that made the index. Defaults to
            None.
        having (bool): Only photographs that have the label. Defaults to True.
        thr (float): The lowest score with which one that is not annotated has it.
            Defaults to 0.5.
        engine (str): ``'torch'`` or ``'faiss'``. Defaults to ``'torch'``.

    Returns:
        list[Match]: Others than the photograph itself, by falling similarity.

    Raises:
        ImportError: If faiss is asked for and not installed.
        OtherLabelsError: If the model has other labels.
        ValueError: If there is no such label or photograph, or the index was made by
            another model.
    """
    if not isinstance(index, LabelIndex):
        index = LabelIndex.load(index)
    place = None if isinstance(photo, np.ndarray) else index.place(photo)
    if place is None and embedder is not None:
        query = _embed_query(index, embedder, photo, label)
    elif isinstance(photo, np.ndarray):
        raise ValueError('An array can be compared with an index by a model only.')
    else:
        return index.like(photo, label, number, having=having, thr=thr, engine=engine)
    (matches,) = index.search(
        label, query, number, having=having, thr=thr, engine=engine
    )
    return matches


def _embed_query(
    index: LabelIndex,
    embedder: LabelEmbedder,
    photo: str | PathLike | np.ndarray,
    label: str,
) -> Tensor:
    index.check_model(embedder.fingerprint(), embedder.classes)
    column = index.columns[index.label(label)]
    vectors = embedder.embed_one(photo).vectors
    if vectors is None:
        raise ValueError(f'{photo} has no embedding.')
    return vectors[None, column]


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not (folder / SETTINGS).is_file():
        raise FileExistsError(
            f"'{folder}' exists and is no index. Choose another folder: out=DIR."
        )
    if not overwrite:
        raise FileExistsError(
            f"There is an index '{folder}' already. Choose another folder, or set "
            'overwrite=True.'
        )


def _annotated(
    config: str | PathLike | Config, split: str, classes: Sequence[str]
) -> tuple[list[Source], np.ndarray]:
    """The images of a split, and their targets."""
    cfg, _ = load_model_config(config)
    if cfg.get(f'{split}_dataloader') is None:
        raise ValueError(f'The config has no {split}_dataloader for split={split!r}.')
    with config_scope(cfg):
        dataset = build_split(cfg, split, repeated=False)
    check_labels(classes, dataset.metainfo.get('classes'), 'the data set', 'the model')
    to_targets = LabelsToTargets(len(classes))
    sources, targets = [], []
    for number in range(len(dataset)):
        sample = dict(dataset.get_data_info(number))
        path = str(sample['img_path'])
        sources.append(Source(path, path))
        targets.append(to_targets.transform(sample)['gt_score'])
    return sources, np.array(targets).astype(np.int8)


def _once(
    sources: list[Source], targets: np.ndarray | None
) -> tuple[list[Source], np.ndarray | None]:
    """Leave out images that come again."""
    first: dict[str, int] = {}
    for place, source in enumerate(sources):
        first.setdefault(source.name, place)
    places = list(first.values())
    chosen = [sources[place] for place in places]
    return chosen, None if targets is None else targets[places]


def _write(
    folder: Path,
    embedder: LabelEmbedder,
    sources: list[Source],
    targets: np.ndarray | None,
    info: dict,
    batch_size: int | None,
    num_workers: int,
) -> None:
    """Write an index into an empty folder."""
    array: np.memmap | None = None
    scores: list[np.ndarray] = []
    names: list[str] = []
    kept: list[int] = []
    failed: list[str] = []
    for place, item in enumerate(embedder.embed(sources, batch_size, num_workers)):
        if item.vectors is None or item.scores is None:
            failed.append(f'{item.name}: {item.error}')
            continue
        if array is None:
            size, width = item.vectors.shape
            shape = (size, len(sources), width)
            array = open_memmap(folder / EMBEDDINGS, 'w+', np.float16, shape)
        array[:, len(names)] = item.vectors.numpy()
        scores.append(item.scores.numpy().astype(np.float16))
        names.append(item.name)
        kept.append(place)
    if array is None:
        reason = f' The first: {failed[0]}' if failed else ''
        raise ValueError(f'None of {len(sources)} photographs can be read.{reason}')
    if failed:
        print_log(
            f'{len(failed):,} of {len(sources):,} photographs cannot be read and are '
            f'left out. The first: {failed[0]}',
            'current',
            30,
        )
        array = _shorten(folder / EMBEDDINGS, array, len(names))
    array.flush()
    np.save(folder / SCORES, np.stack(scores))
    if targets is not None:
        targets = targets[kept]
        np.save(folder / TARGETS, targets)
    columns = embedder.reader.columns(len(array)).tolist()
    LabelIndex(
        array,
        np.stack(scores),
        names,
        embedder.classes,
        columns,
        embedder.fingerprint(),
        targets,
        dict(info, projected=embedder.projected, left_out=len(failed)),
    ).save_settings(folder)


def _shorten(path: Path, array: np.memmap, number: int) -> np.memmap:
    """Write only the first rows of each label."""
    part = path.with_name(f'{path.name}.part')
    size, _, width = array.shape
    shorter = open_memmap(part, 'w+', np.float16, (size, number, width))
    for label in range(size):
        shorter[label] = array[label, :number]
    part.replace(path)
    return shorter


def _name(config: str | PathLike | Config) -> str:
    return str(config.filename if isinstance(config, Config) else config)
