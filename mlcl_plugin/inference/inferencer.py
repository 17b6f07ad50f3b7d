# SPDX-License-Identifier: Apache-2.0
"""Which labels images have, by a trained model."""

import sys
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.utils import ProgressBar
from mmpretrain.apis.base import BaseInferencer
from mmpretrain.structures import DataSample

from ..evaluation.decisions import Decisions
from ..weights import SHIPPED_MODEL
from .attention import attention_neck, mean_attention, record_inputs
from .batching import Batch, read_batches
from .build_model import load_weights
from .decision_rule import Thresholds, check_rule_options, find_rule
from .label_names import find_classes
from .model_setup import (
    build_from_config,
    check_given_model,
    check_precision,
    find_dtype,
    multi_label_head,
)
from .onnx_engine import OnnxEngine, check_engine
from .pictures import PictureFolder, found_maps
from .pixels import to_sides_of_photograph, to_view
from .reader import Item, build_pipeline
from .results import answer
from .sources import Inputs, Selection, Source, select_sources


class MultiLabelInferencer(BaseInferencer):
    """Finds the labels of images: files, folders, arrays, many or one.

    .. code-block:: python

        from mlcl_plugin.apis import MultiLabelInferencer

        inferencer = MultiLabelInferencer()  # or config and checkpoint of your own
        print(inferencer('photo.jpg')[0]['labels'])
        # [{'label': 'dog', 'score': 0.98, 'threshold': 0.5}, ...]

    Images pass the config's own test pipeline, so that scores are those of a test by
    the runner. Only ``LabelsToTargets`` is left out, as there are no labels. As in such
    a test, the model of a config with steps is that of the config without their
    changes.

    The scores of an image do not depend on the others in its batch. Images that the
    pipeline leaves in different sizes are never padded to a common one. With the same
    batch size the scores are equal to the bit. With another one the network may run
    other kernels, which round differently: scores of EfficientNet-Lite0 on a CPU in
    float32 differ by up to 2e-6, and in bfloat16 and float16 by the steps of these
    types. By default the batch size is that of the config's test dataloader.

    Args:
        model (str | PathLike | Config | BaseModel): A config or the path to one, the
            name of a model in our index or MMPretrain's, or a model made by
            ``mmpretrain.get_model``. Defaults to the model of photographs that comes
            with the package, which knows the 20 labels of PASCAL VOC.
        pretrained (str | PathLike | bool): The checkpoint. True takes the config's
            ``load_from`` or the weights that the index has for the name, and leaves a
            model that is given as it is. Defaults to True.
        device (str | torch.device, optional): Where to run. None takes a GPU, if there
            is one, and leaves a model that is given where it is. Defaults to None.
        precision (str): ``'float32'``, or autocast to ``'bfloat16'`` or ``'float16'``;
            ``'amp'`` is bfloat16 on CPUs and float16 elsewhere. Defaults to
            ``'float32'``.
        engine (str): ``'torch'``, or ``'onnxruntime'``, which is several times as fast
            on a CPU after some seconds for the export. It computes in float32; scores
            of the first batch must be those of torch up to 1e-4.
            Defaults to ``'torch'``.
        thr (float | Sequence[float] | Mapping[str, float], optional): Score from which
            on a label is found: one number, L numbers, or one for each name. None takes
            the decisions in a safetensors file, or what the model's head predicts by:
            its ``thr``, which is 0.5 unless the config says otherwise, or its ``topk``.
            Defaults to None.
        decisions (Decisions | str | PathLike, optional): Thresholds, perhaps with
            temperatures, or their file, instead of ``thr``. With temperatures all
            scores are calibrated. Defaults to None.
        top_k (int, optional): Find at most the k labels with the highest scores; with
            ``thr=0``, exactly these. Defaults to None.
        classes (Sequence[str] | str, optional): Names of the labels. None takes those
            in the checkpoint or else those of the config's test dataset;
            ``'numbers'`` calls them 0, 1, 2, ... Defaults to None.
        max_pixels (int, optional): Most pixels, width times height, of an image file
            that is read. None takes the limit of the test pipeline, 179 million unless
            its ``LoadImage`` has another. Defaults to None.
        allow_other_labels (bool): Whether ``classes`` may be other names than those in
            the checkpoint, such as translations. A warning tells of it. Defaults to
            False.

    Raises:
        FileNotFoundError: If a file does not exist.
        ImportError: If ONNX Runtime is asked for and not installed.
        OtherLabelsError: If ``classes`` are not the labels in the checkpoint.
        ValueError: If there is no such name, checkpoint and model do not fit, there is
            no checkpoint or no names, the model has no multi-label head, the test
            pipeline does not start with loading an image, or an option is out of range.
    """

    def __init__(
        self,
        model: str | PathLike | Config | BaseModel = SHIPPED_MODEL,
        pretrained: str | PathLike | bool = True,
        device: str | torch.device | None = None,
        *,
        precision: str = 'float32',
        engine: str = 'torch',
        thr: Thresholds | None = None,
        decisions: Decisions | str | PathLike | None = None,
        top_k: int | None = None,
        classes: Sequence[str] | str | None = None,
        max_pixels: int | None = None,
        allow_other_labels: bool = False,
    ):
        self.max_pixels = max_pixels
        check_precision(precision)
        check_rule_options(thr, decisions, top_k, name='top_k')
        if not isinstance(model, BaseModel):
            model, info = build_from_config(model, pretrained, precision)
            device = device or get_device()
        else:
            check_given_model(model)
            info = None
            if not isinstance(pretrained, bool):
                info = load_weights(model, pretrained).info
        super().__init__(model, device=device)
        head = multi_label_head(self.model)
        self.dtype = find_dtype(precision, self._device_type)
        check_engine(engine, self._device_type, precision)
        self.engine = engine
        self._onnx = OnnxEngine(self.model) if engine == 'onnxruntime' else None
        self.classes = find_classes(
            self.model, head, self.config, classes, allow_other_labels
        )
        self.rule = find_rule(self.classes, head, thr, decisions, top_k, info)

    def _init_pipeline(self, cfg: Config) -> list[BaseTransform]:
        return build_pipeline(cfg, self.max_pixels)

    @property
    def _device_type(self) -> str:
        return torch.device(self.model.data_preprocessor.device).type

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
                f"results have an 'error' instead of labels. The first is {first}",
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

        Only the paths and a few batches are held in memory; of an iterator not even the
        paths.

        Args:
            inputs (str | PathLike | np.ndarray | Iterable): A file, a folder (its files
                with one of :data:`~mlcl_plugin.image_suffixes.IMAGE_SUFFIXES`, in
                alphabetical order, without hidden ones), a glob pattern, an array, or
                several of these. Arrays are ``(H, W, 3)`` in the order BGR, as
                ``cv2.imread`` gives them, ``(H, W)`` or ``(H, W, 4)``, uint8 or uint16.
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
            max_labels (int): The greatest number of labels on a picture.
                Defaults to 10.
            skip (Container[str]): Images to leave out, by their names in the results.
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
            - ``error``: why an image cannot be read, instead of all others but
              ``image``.

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
            attention_neck(self.model)
        selection = select_sources(inputs, recursive, skip)
        pictures = None
        if out_dir is not None:
            pictures = PictureFolder(out_dir, selection.folder, overwrite, max_labels)
            if selection.total is not None:
                for source in selection.sources:
                    pictures.path(source)
        # A generator of its own, so that the errors above come before the first result.
        return self._run(
            selection,
            batch_size,
            num_workers,
            return_scores,
            return_attention,
            pictures,
            show_progress,
        )

    def _run(
        self,
        selection: Selection,
        batch_size: int,
        num_workers: int,
        return_scores: bool,
        return_attention: bool,
        pictures: PictureFolder | None,
        show_progress: bool,
    ) -> Iterator[dict]:
        progress = None
        if show_progress and (selection.total or 0) > batch_size:
            progress = ProgressBar(selection.total, file=sys.stderr)
        for batch in self.preprocess(
            selection.sources,
            batch_size,
            num_workers=num_workers,
            pictures=pictures is not None,
        ):
            predicted: dict[int, tuple[DataSample, torch.Tensor]] = {}
            for places, data in batch.groups:
                samples = self.forward(data, attention=return_attention)
                predicted.update(zip(places, zip(samples, data['inputs'])))
            for place, item in enumerate(batch.items):
                if place not in predicted:
                    yield dict(image=item.source.name, error=item.error)
                    continue
                sample, view = predicted[place]
                try:
                    found, result = self.postprocess(sample, return_scores)
                except ValueError as error:
                    raise ValueError(f'{item.source.name}: {error}') from error
                result = dict(image=item.source.name, **result)
                if pictures is not None:
                    result['picture'] = self.visualize(
                        item, sample, found, view, pictures
                    )
                yield result
            if progress is not None:
                progress.update(len(batch.items))
        if progress is not None:
            print(file=sys.stderr)

    def preprocess(
        self,
        inputs: Iterable[Source],
        batch_size: int = 1,
        num_workers: int = 0,
        pictures: bool = False,
    ) -> Iterator[Batch]:
        """Read images and pass them through the pipeline, batch by batch.

        Args:
            inputs (Iterable[Source]): The images.
            batch_size (int): Defaults to 1.
            num_workers (int): Processes that read. Defaults to 0.
            pictures (bool): Whether to keep a small copy of each. Defaults to False.

        Yields:
            Batch: What was read.
        """
        pin_memory = self._device_type == 'cuda'
        yield from read_batches(
            self.pipeline, inputs, batch_size, num_workers, pictures, pin_memory
        )

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
        if self._onnx is not None:
            return self._forward_by_onnx(self._onnx, inputs, attention)
        # Devices that cannot autocast refuse even to be told not to.
        precision: AbstractContextManager = nullcontext()
        if self.dtype is not None:
            precision = torch.autocast(self._device_type, self.dtype)
        maps = None
        with precision:
            if attention:
                neck = attention_neck(self.model)
                with record_inputs(neck) as features:
                    samples = self.model.test_step(inputs)
                maps = mean_attention(neck, features[-1])
            else:
                samples = self.model.test_step(inputs)
        for number, sample in enumerate(samples):
            sample.set_pred_score(sample.pred_score.float().cpu())
            if maps is not None:
                sample.set_field(maps[number], 'attention')
        return samples

    def _forward_by_onnx(
        self, onnx: OnnxEngine, inputs: dict, attention: bool
    ) -> list[DataSample]:
        data = self.model.data_preprocessor(inputs, False)
        scores, *maps = onnx(data['inputs'], attention)
        samples = data.get('data_samples') or [DataSample() for _ in scores]
        for number, sample in enumerate(samples):
            sample.set_pred_score(scores[number])
            if maps:
                sample.set_field(maps[0][number], 'attention')
        return samples

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
        return answer(preds, self.classes, self.rule, return_scores)

    def visualize(
        self,
        item: Item,
        sample: DataSample,
        found: np.ndarray,
        view: torch.Tensor,
        pictures: PictureFolder,
    ) -> str:
        """Write the annotated picture of an image.

        Args:
            item (Item): The image.
            sample (DataSample): What :meth:`forward` gives for it.
            found (np.ndarray): Indices of the labels found.
            view (Tensor): ``(C, H, W)``, what the pipeline gives for it.
            pictures (PictureFolder): Where to.

        Returns:
            str: The path of the picture.

        Raises:
            ValueError: If there is attention to tokens without places.
        """
        # MMEngine's BaseDataPreprocessor does not have it.
        bgr = bool(getattr(self.model.data_preprocessor, 'to_rgb', False))
        return pictures.write(
            item,
            scores=sample.pred_score.numpy(),
            thresholds=self.rule.decisions.thresholds,
            classes=self.classes,
            found=found,
            view=to_sides_of_photograph(to_view(view, bgr), sample.metainfo),
            attention=found_maps(sample, found),
        )
