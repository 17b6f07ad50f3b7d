# SPDX-License-Identifier: Apache-2.0
"""Which labels images have, by a trained model."""

import copy
import glob
import hashlib
import inspect
import os
import os.path as osp
import sys
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.device import get_device
from mmengine.fileio import get_file_backend
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.utils import ProgressBar
from mmpretrain.apis import ModelHub, get_model
from mmpretrain.apis.base import BaseInferencer
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import DATASETS, TRANSFORMS
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader, Dataset

from ..datasets.transforms import LabelsToTargets
from ..engine import enable_amp
from ..evaluation.decisions import Decisions
from .build_model import load_weights
from .model_index import register_models

IMAGE_SUFFIXES = (
    '.bmp',
    '.jp2',
    '.jpeg',
    '.jpg',
    '.pgm',
    '.png',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)
"""Endings of the files that are taken from a folder, in small or capital letters."""
PICTURE_SIZE = 640
"""Longer side, in pixels, of the image in an annotated picture."""
MAX_NAME = 255
"""Bytes of a file's name on common file systems."""

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}

Input = str | PathLike | np.ndarray
Inputs = Input | Iterable[Input]


class _Source(NamedTuple):
    """An image to be read: what to call it, and its path or pixels."""

    name: str
    image: str | np.ndarray


@dataclass
class _Item:
    """An image that was read, or why it was not."""

    source: _Source
    data: dict | None = None
    picture: np.ndarray | None = None
    error: str | None = None


class _Batch(NamedTuple):
    """Images in the order asked for, and those that were read, by their size.

    ``groups`` are places in ``items`` and what the model takes for them.
    """

    items: list[_Item]
    groups: list[tuple[list[int], dict]]


def _to_bgr(image: np.ndarray) -> np.ndarray:
    """Pixels ``(H, W, 3)`` uint8 as OpenCV reads them from a file in colour.

    Raises:
        ValueError: If they are of another shape or type than a file's can be.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            'An image array must be (H, W), (H, W, 3) in the order BGR or (H, W, 4) '
            f'in the order BGRA, uint8 or uint16, got {image.shape} of '
            f'{image.dtype}. Pass several images as a list.'
        )
    if image.size == 0:
        raise ValueError(f'The image array is empty, got the shape {image.shape}.')
    if image.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])


def _to_picture(image: np.ndarray) -> np.ndarray:
    """A loaded image as a small one to be looked at, RGB."""
    if image.dtype not in (np.uint8, np.uint16):
        image = image.clip(0, 255).astype(np.uint8)
    image = _to_bgr(image)
    scale = min(1, PICTURE_SIZE / max(image.shape[:2]))
    size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1]


class _Reader(Dataset):
    """Reads images and passes them through a pipeline.

    It is asked for sources in place of indices: a sampler hands them out one batch
    after the other, so that neither this nor its workers hold a list of them.
    """

    def __init__(self, transforms: Sequence[BaseTransform], pictures: bool):
        self.loader, *rest = transforms
        self.rest = Compose(rest)
        self.pictures = pictures

    def __getitem__(self, source: _Source) -> _Item:
        try:
            results = self._load(source.image)
            picture = _to_picture(results['img']) if self.pictures else None
            data = self.rest(results)
            if data is None:
                raise ValueError('The test pipeline dropped the image.')
        # Decoders and transforms share no error class, and one bad file among a million
        # must not end the work.
        except Exception as error:
            return _Item(source, error=_describe(error))
        return _Item(source, data, picture)

    def _load(self, image: str | np.ndarray) -> dict:
        """What the pipeline's first transform gives for a file, or would for pixels."""
        if isinstance(image, str):
            if '://' not in image and not osp.exists(image):
                raise FileNotFoundError('There is no such file.')
            results = self.loader(dict(img_path=image))
            if results is None:
                raise ValueError('The file cannot be read as an image.')
            return results
        color_type = self.loader.color_type
        if color_type != 'unchanged':
            image = _to_bgr(image)
        if color_type.startswith('grayscale'):
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if self.loader.to_float32:
            image = image.astype(np.float32)
        return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


def _describe(error: Exception) -> str:
    """What went wrong, in one line."""
    text = ' '.join(str(error).split())
    if text and isinstance(error, OSError | ValueError):
        return text
    return f'{type(error).__name__}: {text}'


def _collate(items: list[_Item]) -> _Batch:
    """Stack the images of each size.

    Never are images padded to a common size: scores would depend on the company.
    """
    places: dict[Any, list[int]] = {}
    for place, item in enumerate(items):
        if item.error is None:
            shape = getattr(item.data.get('inputs'), 'shape', None)
            places.setdefault(shape, []).append(place)
    groups = [
        (group, default_collate([items[place].data for place in group]))
        for group in places.values()
    ]
    for item in items:
        item.data = None
        if isinstance(item.source.image, np.ndarray):
            # Workers need not send it back.
            item.source = item.source._replace(image='')
    return _Batch(items, groups)


def _init_worker(_: int) -> None:
    """Each worker is one thread, as in MMEngine's runs."""
    cv2.setNumThreads(0)


def _batches(sources: Iterable[_Source], size: int) -> Iterator[list[_Source]]:
    batch = []
    for source in sources:
        batch.append(source)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def load_model_config(model: str | PathLike | Config) -> tuple[Config, str | None]:
    """The config that a path or a name stands for.

    Args:
        model (str | PathLike | Config): A config, the path to its file, or the name of
            a model in our index or MMPretrain's (``mmpretrain.list_models()``).

    Returns:
        tuple[Config, str | None]: The config, and where the index has weights for it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such name.
    """
    if isinstance(model, Config):
        return copy.deepcopy(model), None
    path = Path(model)
    if path.is_file():
        return Config.fromfile(path), None
    if path.suffix in ('.py', '.json', '.yml', '.yaml'):
        raise FileNotFoundError(f'There is no config file {model}.')
    register_models()
    try:
        info = ModelHub.get(str(model))
    except ValueError as error:
        raise ValueError(
            f"'{model}' is neither a config file nor the name of a model. "
            "mmpretrain.list_models('mlcl*') lists the names of ours."
        ) from error
    return info.config, info.weights


class MultiLabelInferencer(BaseInferencer):
    """Finds the labels of images: files, folders, arrays, many or one.

    .. code-block:: python

        from mlcl_plugin.apis import MultiLabelInferencer

        inferencer = MultiLabelInferencer('my_photos.py', 'work_dirs/.../epoch_15.pth')
        print(inferencer('photo.jpg')[0]['labels'])
        # [{'label': 'dog', 'score': 0.98, 'threshold': 0.5}, ...]

    Images pass the config's own test pipeline, so that scores are those of
    ``tools/test.py``. Only ``LabelsToTargets`` is left out, as there are no labels. In
    a config in steps the model is that of the config as it stands, again as in
    ``tools/test.py``.

    Images share nothing but their batch: those that the pipeline leaves in different
    sizes are never padded to a common one. Batches of one size give the same scores to
    the bit, whichever images are in them. For another size the network may run other
    kernels, which round otherwise: by up to 2e-6 in scores of EfficientNet-Lite0 on a
    CPU in float32, and by the steps of their numbers in bfloat16 and float16. They are
    of the size that they have in ``tools/test.py``, unless told otherwise.

    Args:
        model (str | PathLike | Config | BaseModel): A config or the path to one, the
            name of a model in our index or MMPretrain's, or a model made by
            ``mmpretrain.get_model``.
        pretrained (str | PathLike | bool): The checkpoint. True takes the config's
            ``load_from`` or the weights that the index has for the name, and leaves a
            model that is given as it is. Defaults to True.
        device (str | torch.device, optional): Where to run. None takes a GPU, if there
            is one, and leaves a model that is given where it is. Defaults to None.
        precision (str): ``'float32'``, or autocast to ``'bfloat16'`` or ``'float16'``;
            ``'amp'`` is bfloat16 on CPUs and float16 elsewhere, as ``--amp`` of
            ``tools/test.py``. Defaults to ``'float32'``.
        thr (float | Sequence[float] | Mapping[str, float], optional): Score from which
            on a label is found: one number, L numbers, or one for each name. None takes
            what the model's head predicts by: its ``thr``, which is 0.5 unless the
            config says otherwise, or its ``topk``. Defaults to None.
        decisions (Decisions | str | PathLike, optional): Thresholds, perhaps with
            temperatures, from ``tools/analysis_tools/thresholds.py``, in place of
            ``thr``. With temperatures all scores are calibrated ones.
            Defaults to None.
        top_k (int, optional): Find the k labels with the highest scores at most; with
            ``thr=0``, exactly these. Defaults to None.
        classes (Sequence[str] | str, optional): Names of the labels. None takes those
            in the checkpoint or else those of the config's test dataset;
            ``'numbers'`` calls them 0, 1, 2, ... Defaults to None.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If there is no such name, checkpoint and model do not fit, there is
            no checkpoint or none of the names, the model is none for several labels,
            the test pipeline does not start with loading an image, or an option is out
            of range.
    """

    def __init__(
        self,
        model: str | PathLike | Config | BaseModel,
        pretrained: str | PathLike | bool = True,
        device: str | torch.device | None = None,
        *,
        precision: str = 'float32',
        thr: float | Sequence[float] | Mapping[str, float] | None = None,
        decisions: Decisions | str | PathLike | None = None,
        top_k: int | None = None,
        classes: Sequence[str] | str | None = None,
    ):
        if precision not in ('float32', 'amp', *DTYPES):
            raise ValueError(
                "precision must be 'float32', 'bfloat16', 'float16' or 'amp', got "
                f'{precision!r}.'
            )
        if thr is not None and decisions is not None:
            raise ValueError('Give either thr or decisions, got both.')
        if top_k is not None and top_k < 1:
            raise ValueError(f'top_k must be positive, got {top_k}.')
        if not isinstance(model, BaseModel):
            model = self._build(model, pretrained, precision)
            device = device or get_device()
        else:
            if getattr(model, '_config', None) is None:
                raise ValueError(
                    f'The {type(model).__name__} does not know its config. Make it by '
                    'mmpretrain.get_model, or pass config and checkpoint.'
                )
            if not isinstance(pretrained, bool):
                meta = load_weights(model, os.fspath(pretrained))
                model._dataset_meta = _dataset_meta(meta)
        super().__init__(model, device=device)
        self._check_head()
        self.dtype = self._find_dtype(precision)
        self.classes = self._find_classes(classes)
        self.decisions = self._find_decisions(thr, decisions)
        if thr is None and decisions is None and self.model.head.thr is None:
            top_k = min(filter(None, (top_k, self.model.head.topk)))
        self.top_k = top_k

    @staticmethod
    def _build(
        model: str | PathLike | Config, pretrained: str | PathLike | bool, precision
    ) -> BaseModel:
        """A model with weights, as MMPretrain's ``get_model`` gives it."""
        cfg, weights = load_model_config(model)
        if cfg.get('model') is None:
            raise ValueError(f'The config {cfg.filename or model} has no model.')
        if isinstance(pretrained, bool):
            pretrained = pretrained and (cfg.get('load_from') or weights)
        if not pretrained:
            raise ValueError(
                'There are no weights: the config names none (load_from). Pass the '
                'path of a checkpoint as pretrained.'
            )
        if precision != 'float32':
            # For the layout of images that is faster then.
            cfg.test_cfg = cfg.get('test_cfg') or {}
            enable_amp(cfg, train=False)
        built = get_model(cfg, pretrained=False)
        built._dataset_meta = _dataset_meta(load_weights(built, os.fspath(pretrained)))
        return built

    def _check_head(self) -> None:
        head = getattr(self.model, 'head', None)
        if head is None or isinstance(head, ClsHead) or not hasattr(head, 'thr'):
            got = 'no head' if head is None else f'a {type(head).__name__}'
            raise ValueError(
                'MultiLabelInferencer needs a classifier whose head scores each label '
                f'by itself, got {type(self.model).__name__} with {got}. For a model '
                "of one class an image, use MMPretrain's ImageClassificationInferencer."
            )

    def _find_dtype(self, precision: str) -> torch.dtype | None:
        """What to autocast to, if this device can."""
        device = self._device_type
        if precision == 'float32':
            return None
        if precision == 'amp':
            precision = 'bfloat16' if device == 'cpu' else 'float16'
        dtype = DTYPES[precision]
        try:
            with warnings.catch_warnings():
                # torch warns of what it cannot do, and goes on without.
                warnings.simplefilter('error')
                torch.autocast(device, dtype)
        except (RuntimeError, UserWarning) as error:
            raise ValueError(
                f"precision='{precision}' is not available on the device {device}: "
                f'{_describe(error)}'
            ) from error
        return dtype

    def _find_classes(self, classes: Sequence[str] | str | None) -> tuple[str, ...]:
        head = self.model.head
        number = getattr(head, 'num_classes', None)
        number = number or self.config.model.get('head', {}).get('num_classes')
        if classes is None:
            classes = (getattr(self.model, '_dataset_meta', None) or {}).get('classes')
        if classes is None:
            classes = _classes_of_dataset(self.config)
        if isinstance(classes, str):
            if classes != 'numbers':
                raise ValueError(
                    f"classes must be a list of names or 'numbers', got '{classes}'."
                )
            if number is None:
                raise ValueError(
                    f'{type(head).__name__} does not tell its number of labels: pass '
                    'their names as classes.'
                )
            classes = map(str, range(number))
        classes = tuple(classes)
        if number is not None and len(classes) != number:
            raise ValueError(
                f'Got {len(classes)} names of labels, but the model has {number}: '
                f'{list(classes)!r:.200}. Pass the right ones as classes.'
            )
        return classes

    def _find_decisions(self, thr, decisions) -> Decisions:
        if decisions is not None:
            if not isinstance(decisions, Decisions):
                decisions = Decisions.load(decisions)
            decisions.check(self.classes)
            return decisions
        if thr is None:
            # A head with topk instead predicts that many, however low their scores.
            thr = 0.0 if self.model.head.thr is None else self.model.head.thr
        if isinstance(thr, Mapping):
            if set(thr) != set(self.classes):
                missing = [name for name in self.classes if name not in thr]
                unknown = [name for name in thr if name not in self.classes]
                raise ValueError(
                    'thr must have one threshold for each label: missing are '
                    f'{missing[:5]}, unknown are {unknown[:5]} (the first five of '
                    'each).'
                )
            thr = [thr[name] for name in self.classes]
        try:
            values = np.asarray(thr, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'thr must be a number, or one for each label, got {thr!r:.200}.'
            ) from error
        if values.ndim == 0:
            values = values.repeat(len(self.classes))
        # Before it is known whether there are as many as labels: nan fails too.
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f'thr must lie from 0 to 1, got {thr!r:.200}.')
        return Decisions(self.classes, values)

    def _init_pipeline(self, cfg: Config) -> list[BaseTransform]:
        """The transforms of the test pipeline, that which loads the image first."""
        dataset = _test_dataset(cfg)
        if not dataset.get('pipeline'):
            raise ValueError(
                'The config has no test_dataloader.dataset.pipeline, which says how '
                'images are prepared for the model.'
            )
        with _scope(cfg):
            transforms = [TRANSFORMS.build(item) for item in dataset.pipeline]
        transforms = [t for t in transforms if not isinstance(t, LabelsToTargets)]
        if not transforms or not isinstance(transforms[0], LoadImageFromFile):
            got = type(transforms[0]).__name__ if transforms else 'nothing'
            raise ValueError(
                'The test pipeline must start with LoadImage or LoadImageFromFile, got '
                f'{got}. Other data than image files cannot be taken.'
            )
        return transforms

    def __call__(
        self, inputs: Inputs, *, show_progress: bool = True, **kwargs
    ) -> list[dict]:
        """Find the labels of images, and hold all results in memory.

        Args:
            inputs (str | PathLike | np.ndarray | Iterable): See :meth:`stream`.
            show_progress (bool): Whether to show a bar on stderr if there are several
                batches. Defaults to True.
            **kwargs: Of :meth:`stream`.

        Returns:
            list[dict]: One result for each image, see :meth:`stream`. A warning tells
            of files that could not be read.

        Raises:
            ValueError: As in :meth:`stream`, or if none of the images can be read.
        """
        results = list(self.stream(inputs, show_progress=show_progress, **kwargs))
        unreadable = [result for result in results if 'error' in result]
        if unreadable:
            first = f'{unreadable[0]["image"]}: {unreadable[0]["error"]}'
            if len(unreadable) == len(results):
                raise ValueError(
                    f'None of the {len(results)} images can be read. {first}'
                )
            warnings.warn(
                f'{len(unreadable)} of {len(results)} images cannot be read; their '
                f"results have an 'error' in place of labels. The first is {first}",
                stacklevel=2,
            )
        return results

    def stream(
        self,
        inputs: Inputs,
        *,
        batch_size: int | None = None,
        num_workers: int = 0,
        recursive: bool = False,
        return_scores: bool = False,
        return_attention: bool = False,
        out_dir: str | PathLike | None = None,
        overwrite: bool = False,
        max_labels: int = 10,
        skip: Container[str] = frozenset(),
        show_progress: bool = False,
    ) -> Iterator[dict]:
        """Find the labels of images, one result after the other.

        No more is held in memory than the paths and a few batches; of an iterator not
        even the paths.

        Args:
            inputs (str | PathLike | np.ndarray | Iterable): A file, a folder (its files
                with one of :data:`IMAGE_SUFFIXES`, in alphabetical order, without
                hidden ones), a glob pattern, an array, or several of these. Arrays are
                ``(H, W, 3)`` in the order BGR, as ``cv2.imread`` gives them, ``(H, W)``
                or ``(H, W, 4)``, uint8 or uint16.
            batch_size (int, optional): Images that pass the network at a time. None
                takes that of the config's test dataloader. Defaults to None.
            num_workers (int): Processes that read images. 0 reads them in this one.
                Defaults to 0.
            recursive (bool): Also take what is in the folders inside of a folder, and
                let ``**`` in a pattern stand for folders. Defaults to False.
            return_scores (bool): Return the scores of all labels too.
                Defaults to False.
            return_attention (bool): Return the attention map of each label that was
                found, and draw it if there are pictures. Defaults to False.
            out_dir (str | PathLike, optional): Folder to write annotated pictures to,
                JPEG files in folders as those of the images. Needs matplotlib.
                Defaults to None.
            overwrite (bool): Whether there may be something in ``out_dir``; pictures of
                the same name are replaced. Defaults to False.
            max_labels (int): Labels on a picture at most. Defaults to 10.
            skip (Container[str]): Images to pass over, by what results call them.
                Defaults to none.
            show_progress (bool): Whether to show a bar on stderr if there are several
                batches and their number is known. Defaults to False.

        Yields:
            dict: For each image, in the order of ``inputs``, what JSON can hold:

            - ``image``: its path, or ``'array 0'`` and so on.
            - ``labels``: a list of the labels found, by falling score, each a dict with
              ``label``, ``score`` and ``threshold``; with ``return_attention`` also
              ``attention``, a list of h rows of w numbers, the mean over the heads of
              the neck, which sums to 1 (for a backbone that gives tokens without
              places, a list of numbers).
            - ``scores``: with ``return_scores``, a dict of all labels and scores.
            - ``picture``: with ``out_dir``, the path of the picture.
            - ``error``: of an image that cannot be read, why, in place of all others
              but ``image``.

        Raises:
            ValueError: If an option is out of range, there is no image in a folder or
                for a pattern, the network gives nan, or the neck has no attention to
                return or none that can be drawn.
            FileExistsError: If there is something in ``out_dir``.
        """
        if batch_size is None:
            batch_size = self.config.test_dataloader.get('batch_size', 1)
        for name, value, least in (
            ('batch_size', batch_size, 1),
            ('num_workers', num_workers, 0),
            ('max_labels', max_labels, 1),
        ):
            if value < least:
                raise ValueError(f'{name} must be {least} or more, got {value}.')
        if return_attention:
            self._check_neck()
        lazily = isinstance(inputs, Iterator)
        sources = self._sources(inputs, recursive)
        root, total = '/', None
        if not lazily:
            sources = list(sources)
            root = _common_folder(sources)
        # After the folders are known, which the names of pictures depend on.
        sources = (source for source in sources if source.name not in skip)
        if not lazily:
            sources = list(sources)
            total = len(sources)
        draw = None
        if out_dir is not None:
            draw = _Pictures(os.fspath(out_dir), root, overwrite, max_labels)
            if not lazily:
                for source in sources:
                    draw.path(source)
        progress = show_progress and total is not None and total > batch_size
        # A generator of its own, so that errors above come before the first result.
        return self._run(
            sources,
            batch_size,
            num_workers,
            return_scores,
            return_attention,
            draw,
            total if progress else None,
        )

    def _run(
        self, sources, batch_size, num_workers, scores, attention, draw, total
    ) -> Iterator[dict]:
        progress = None
        if total is not None:
            progress = ProgressBar(total, file=sys.stderr)
        for batch in self.preprocess(
            sources, batch_size, num_workers=num_workers, pictures=draw is not None
        ):
            samples: list[DataSample | None] = [None] * len(batch.items)
            views: list[torch.Tensor | None] = [None] * len(batch.items)
            for places, data in batch.groups:
                for place, sample, view in zip(
                    places, self.forward(data, attention=attention), data['inputs']
                ):
                    samples[place], views[place] = sample, view
            for item, sample, view in zip(batch.items, samples, views):
                if sample is None:
                    yield dict(image=item.source.name, error=item.error)
                    continue
                try:
                    found, result = self.postprocess(sample, return_scores=scores)
                except ValueError as error:
                    raise ValueError(f'{item.source.name}: {error}') from error
                result = dict(image=item.source.name, **result)
                if draw is not None:
                    result['picture'] = self.visualize(item, sample, found, view, draw)
                yield result
            if progress is not None:
                progress.update(len(batch.items))
        if progress is not None:
            print(file=sys.stderr)

    def preprocess(
        self,
        inputs: Iterable[_Source],
        batch_size: int = 1,
        num_workers: int = 0,
        pictures: bool = False,
    ) -> Iterator[_Batch]:
        """Read images and pass them through the pipeline, batch by batch.

        Args:
            inputs (Iterable): The images.
            batch_size (int): Defaults to 1.
            num_workers (int): Processes that read. Defaults to 0.
            pictures (bool): Whether to keep a small copy of each. Defaults to False.

        Yields:
            _Batch: What was read.
        """
        yield from DataLoader(
            _Reader(self.pipeline, pictures),
            batch_sampler=_batches(inputs, batch_size),
            num_workers=num_workers,
            collate_fn=_collate,
            worker_init_fn=_init_worker,
            pin_memory=self._device_type == 'cuda',
        )

    @property
    def _device_type(self) -> str:
        return torch.device(self.model.data_preprocessor.device).type

    @torch.no_grad()
    def forward(self, inputs: dict, attention: bool = False) -> list[DataSample]:
        """Feed images to the model.

        Args:
            inputs (dict): ``inputs`` ``(B, C, H, W)`` and B ``data_samples``.
            attention (bool): Whether to keep the neck's attention too.

        Returns:
            list[DataSample]: B samples with ``pred_score`` ``(L,)`` and, on request,
            ``attention`` ``(L, h, w)``, the mean over the heads; float32 on the CPU.
        """
        neck = getattr(self.model, 'neck', None)
        features = []
        hook = nullcontext()
        if attention:
            # Scores are to be the same with and without: attention comes from another
            # kernel than the one that is used where nobody asks for it.
            hook = neck.register_forward_pre_hook(
                lambda module, args: features.append(args[0])
            )
        # Devices that cannot autocast refuse even to be told not to.
        precision = nullcontext()
        if self.dtype is not None:
            precision = torch.autocast(self._device_type, self.dtype)
        with precision:
            with hook:
                samples = self.model.test_step(inputs)
            if attention:
                maps = neck(features[-1], return_attention=True)[1]
                maps = maps.float().mean(dim=1).cpu()
        for number, sample in enumerate(samples):
            sample.set_pred_score(sample.pred_score.float().cpu())
            if attention:
                sample.set_field(maps[number], 'attention')
        return samples

    def _check_neck(self) -> None:
        neck = getattr(self.model, 'neck', None)
        if neck is not None and 'return_attention' in (
            inspect.signature(neck.forward).parameters
        ):
            return
        got = 'no neck' if neck is None else f'the neck {type(neck).__name__}'
        raise ValueError(
            'Attention maps of labels need a model with one of the necks '
            'LabelAttentionNeck, LabelQueryDecoder and MLDecoderNeck, got '
            f'{type(self.model).__name__} with {got}.'
        )

    def postprocess(
        self, preds: DataSample, return_scores: bool = False
    ) -> tuple[np.ndarray, dict]:
        """Decide which labels an image has.

        Args:
            preds (DataSample): What :meth:`forward` gives for an image. Its
                ``pred_score`` is calibrated, if the decisions have temperatures.
            return_scores (bool): Whether the result has all scores.
                Defaults to False.

        Returns:
            tuple[np.ndarray, dict]: The indices of the labels found, by falling score,
            and ``labels`` and ``scores`` as in :meth:`stream`.
        """
        scores = preds.pred_score
        found = self.decisions.predict(scores).numpy()
        if self.decisions.temperatures is not None:
            scores = self.decisions.calibrate(scores)
            preds.set_pred_score(scores)
        scores = scores.numpy()
        order = np.argsort(-scores, kind='stable')
        chosen = order[found[order]][: self.top_k]
        labels = []
        for index in chosen:
            label = dict(
                label=self.classes[index],
                score=_number(scores[index]),
                threshold=float(self.decisions.thresholds[index]),
            )
            if 'attention' in preds:
                label['attention'] = _numbers(preds.attention[index].numpy())
            labels.append(label)
        result: dict = dict(labels=labels)
        if return_scores:
            result['scores'] = dict(zip(self.classes, map(_number, scores)))
        return chosen, result

    def visualize(
        self,
        item: _Item,
        sample: DataSample,
        found: np.ndarray,
        view: torch.Tensor,
        draw: '_Pictures',
    ) -> str:
        """Write the annotated picture of an image.

        Returns:
            str: Where to.

        Raises:
            ValueError: If there is attention to tokens that have no places.
        """
        mask = np.zeros(len(self.classes), dtype=bool)
        mask[found] = True
        maps = None
        if 'attention' in sample:
            if sample.attention.ndim != 3:
                raise ValueError(
                    'Attention to tokens without places cannot be drawn. Let the '
                    "backbone return a feature map (for a ViT: out_type='featmap'), or "
                    'leave out pictures or attention.'
                )
            maps = {int(index): sample.attention[index].numpy() for index in found}
        bgr = bool(getattr(self.model.data_preprocessor, 'to_rgb', False))
        return draw(
            item,
            scores=sample.pred_score.numpy(),
            thresholds=self.decisions.thresholds,
            classes=self.classes,
            found=mask,
            view=_to_view(view, bgr),
            attention=maps,
        )

    def _sources(self, inputs: Inputs, recursive: bool) -> Iterator[_Source]:
        """The images that the inputs stand for, one after the other."""
        if isinstance(inputs, str | PathLike | np.ndarray) or not isinstance(
            inputs, Iterable
        ):
            inputs = [inputs]
        number = 0
        for entry in inputs:
            if isinstance(entry, np.ndarray):
                yield _Source(f'array {number}', entry)
                number += 1
            elif isinstance(entry, str | PathLike):
                for path in self._inputs_to_list(os.fspath(entry), recursive):
                    yield _Source(path, path)
                    number += 1
            else:
                raise ValueError(
                    'Inputs must be paths or numpy arrays, got '
                    f'{type(entry).__name__}. An image of PIL becomes an array by '
                    "np.asarray(image.convert('RGB'))[..., ::-1]."
                )

    def _inputs_to_list(self, inputs: str, recursive: bool = False) -> list[str]:
        """The files that a path or pattern stands for.

        Args:
            inputs (str): The path of a file or folder, or a glob pattern.
            recursive (bool): See :meth:`stream`. Defaults to False.

        Returns:
            list[str]: Paths, sorted.

        Raises:
            ValueError: If the folder has no image or nothing matches the pattern.
        """
        backend = get_file_backend(inputs)
        if hasattr(backend, 'isdir') and backend.isdir(inputs):
            names = backend.list_dir_or_file(
                inputs, list_dir=False, recursive=recursive
            )
            paths = sorted(
                backend.join_path(inputs, name)
                for name in names
                if name.lower().endswith(IMAGE_SUFFIXES)
            )
            if not paths:
                hint = '' if recursive else ' Folders inside of it need recursive=True.'
                raise ValueError(
                    f'There is no image in the folder {inputs} (endings '
                    f'{", ".join(IMAGE_SUFFIXES)}).{hint}'
                )
            return paths
        # A file may have such a name.
        if glob.has_magic(inputs) and '://' not in inputs and not osp.exists(inputs):
            paths = sorted(
                path
                for path in glob.iglob(inputs, recursive=recursive)
                if osp.isfile(path)
            )
            if not paths:
                raise ValueError(f'No file matches the pattern {inputs}.')
            return paths
        return [inputs]


def _scope(cfg: Config):
    return DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain'))


def _test_dataset(cfg: Config) -> dict:
    """The config of the test dataset itself, without what wraps it."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def _dataset_meta(meta: dict) -> dict:
    """What a checkpoint's meta says of the dataset, in MMPretrain's form or mmcls'."""
    if 'dataset_meta' in meta:
        return meta['dataset_meta'] or {}
    return {'classes': meta['CLASSES']} if meta.get('CLASSES') else {}


def _classes_of_dataset(cfg: Config) -> Sequence[str]:
    """Names of the labels of a config's test dataset.

    Raises:
        ValueError: If it does not tell them.
    """
    dataset, reason = _test_dataset(cfg), 'the config has no test dataset'
    given = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if isinstance(given, list | tuple):
        return given
    if dataset:
        try:
            with _scope(cfg):
                kind = DATASETS.get(dataset['type'])
                classes = getattr(kind, 'METAINFO', {}).get('classes')
                if given is not None or classes is None:
                    # It may take its classes from a file.
                    built = DATASETS.build(copy.deepcopy(dataset))
                    classes = built.metainfo.get('classes')
            if classes is not None:
                return classes
            reason = 'the test dataset of the config has none'
        # Of whatever class an annotation file that is not there ends with.
        except Exception as error:
            reason = f'the test dataset of the config cannot be read ({error})'
    raise ValueError(
        'The names of the labels are not known: the checkpoint holds none, and '
        f"{reason}. Pass classes=[...], or classes='numbers' to number them."
    )


def _number(value: np.floating) -> float:
    """A number with the digits that tell float32 numbers apart."""
    return float(f'{value:.9g}')


def _numbers(values: np.ndarray) -> list:
    """An array as lists of numbers of six digits."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f'{value:.6g}') for value in values]


def _to_view(inputs: torch.Tensor, bgr: bool) -> np.ndarray:
    """What the pipeline gives, ``(C, H, W)``, as ``(H, W, 3)`` uint8, RGB."""
    if inputs.dtype != torch.uint8:
        # Normalized by the pipeline: whatever range it has.
        inputs = inputs.float() - inputs.min()
        inputs = (inputs * (255 / inputs.max().clamp(min=1e-6))).byte()
    image = inputs.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()
    return image[..., ::-1] if bgr else image


def _local(path: str) -> str:
    return path if '://' in path else osp.abspath(path)


def _common_folder(sources: Sequence[_Source]) -> str:
    """The deepest folder that has all files in it."""
    folders = {
        osp.dirname(_local(source.image))
        for source in sources
        if isinstance(source.image, str)
    }
    try:
        return osp.commonpath(folders)
    except ValueError:
        # None at all, or paths on several drives or servers.
        return '/'


class _Pictures:
    """Writes annotated pictures to a folder, in folders as those of the images."""

    def __init__(self, folder: str, root: str, overwrite: bool, max_labels: int):
        self.folder = osp.abspath(folder)
        self.out_dir = folder
        self.root = root
        self.max_labels = max_labels
        self.written: set[str] = set()
        # Here, since matplotlib is needed for nothing else.
        try:
            from ..visualization.label_scores import label_scores_picture
        except ImportError as error:
            raise ImportError(
                'Annotated pictures need matplotlib: run `pip install matplotlib`.'
            ) from error
        self.draw: Callable = label_scores_picture
        if not overwrite and osp.isdir(folder) and os.listdir(folder):
            raise FileExistsError(
                f'The folder {folder} for pictures is not empty. Name another one, or '
                'allow to overwrite.'
            )

    def path(self, source: _Source) -> str:
        """Where the picture of an image goes.

        Raises:
            ValueError: If the image itself lies in the folder for pictures.
        """
        if not isinstance(source.image, str) or source.image == '':
            return osp.join(self.out_dir, f'{source.name}.jpg')
        path = _local(source.image)
        if path.startswith(osp.join(self.folder, '')):
            raise ValueError(
                f'The image {source.image} lies in {self.out_dir}, the folder for '
                'pictures, which would be written over images. Name another folder.'
            )
        if path.startswith(osp.join(self.root, '')):
            path = path[len(osp.join(self.root, '')) :]
        # The ending stays: photo.png and photo.webp are two images.
        name = path if path.endswith('.jpg') else f'{path}.jpg'
        # Always inside of the folder, whatever is in a remote path.
        name = osp.normpath(f'/{osp.splitdrive(name)[1]}'.replace('://', '/'))
        folder, name = osp.split(name)
        encoded = os.fsencode(name)
        # with .jpg a name may be longer than files' names can be
        if len(encoded) > MAX_NAME:
            digest = hashlib.sha256(encoded).hexdigest()[:8]
            name = encoded[: MAX_NAME - 20].decode('utf-8', 'ignore') + f'-{digest}.jpg'
        return osp.join(self.out_dir, folder.lstrip('/\\'), name)

    def __call__(self, item: _Item, **kwargs) -> str:
        path = self.path(item.source)
        # Of photo.png and photo.png.jpg, or of the same image again.
        while path in self.written:
            path += '.jpg'
        self.written.add(path)
        os.makedirs(osp.dirname(path), exist_ok=True)
        figure = self.draw(
            item.picture,
            max_labels=self.max_labels,
            # files may be called by bytes that are no text
            title=osp.basename(item.source.name).encode('utf-8', 'replace').decode(),
            **kwargs,
        )
        with warnings.catch_warnings():
            # Fonts lack some scripts; the names are whole in the results.
            warnings.filterwarnings('ignore', message='Glyph .* missing')
            figure.savefig(path, format='jpg', pil_kwargs=dict(quality=90))
        return path
