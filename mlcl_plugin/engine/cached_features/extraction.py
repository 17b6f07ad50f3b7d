# SPDX-License-Identifier: Apache-2.0
"""Compute the features of a frozen backbone for fixed views of a recipe's images."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_dist_info, is_main_process
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, set_random_seed
from mmengine.utils import ProgressBar
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader, Subset

from ...errors import EngineError
from ...models.utils.fold_batch_norm import fold_batch_norm
from ..checkpoint_file import check_checkpoint
from ..checkpoint_fit import fit_checkpoint, weights_of
from ..onnx_graph import missing_packages, require_packages
from ..onnx_module import OnnxModule
from ..random_state import kept_random_state
from ..steps import innermost_dataset
from ..work_folder import hold_folder
from .declaration import preprocessor_of
from .feature_files import FeatureFile
from .training_views import training_views
from .view_dataset import ViewDataset, Views, collate_views, start_worker

BATCH_SIZE = 8
"""Images that pass the backbone at a time. On a CPU their features fit its cache."""
MARK_EVERY = 32
"""Batches after which what is computed reaches the disk."""
FOLD_FROM = 500
"""Number of images from which on it pays to fold batch norms, or to export the backbone
to ONNX Runtime, which takes seconds."""
ENGINES = ('auto', 'torch', 'onnxruntime')
"""What can compute the features."""
KEPT = ('img_path', 'gt_label', 'gt_label_difficult', 'gt_score')
"""What is kept of the annotation of an image."""
Progress = Callable[[int, int], None]


class FeatureExtraction:
    """The features of a recipe: what they are made of, and how to compute them.

    For each split a file ``(N, V, ...)`` of float16 features is written, with an
    annotation file in the form of MMPretrain's ``MultiLabelDataset``. Split ``train``
    has V views per image, drawn from the training pipeline of the recipe. Split
    ``tune`` has one view per training image, by the validation or test pipeline. Split
    ``val`` has one view per image of the validation. The backbone is in evaluation
    mode. ``indices`` and wrappers of a dataset are left out: features are those of all
    images. The random generators of the process are left as they were.

    Args:
        cfg (Config): The recipe, with steps or without. If its training pipeline gives
            several views, all must be made by the same transforms.
        num_views (int): Number of views V of each training image.
        checkpoint (str, optional): Weights of the model. None takes those that the
            recipe's backbone starts from. Defaults to None.
        seed (int): Seed of the views. Defaults to 0.
        engine (str): One of :data:`ENGINES`. ``'onnxruntime'`` is several times as fast
            as torch on a CPU. ``'auto'`` takes it there for :data:`FOLD_FROM` images
            and more, if it is installed and gives what torch gives; features of either
            that exist are used. Defaults to ``'auto'``.
        device (str, optional): Where to compute. Defaults to None: what MMEngine
            finds.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it lacks weights of the backbone.
        ImportError: If ONNX Runtime is asked for and not installed.
        ValueError: If ``num_views``, ``seed`` or ``engine`` is out of range, or views
            are made by different transforms.
    """

    def __init__(
        self,
        cfg: Config,
        num_views: int,
        checkpoint: str | None = None,
        seed: int = 0,
        engine: str = 'auto',
        device: str | None = None,
    ):
        check_engine(engine)
        if num_views < 1:
            raise ValueError(f'num_views must be positive, got {num_views}.')
        if seed < 0:
            raise ValueError(f'seed must not be negative, got {seed}.')
        init_default_scope(cfg.get('default_scope', 'mmpretrain'))
        if checkpoint is not None:
            check_checkpoint(checkpoint)
        self.cfg = cfg
        self.seed = seed
        self.device = torch.device(device or get_device())
        with kept_random_state():
            set_random_seed(seed)
            self.backbone = MODELS.build(deepcopy(cfg.model.backbone))
            self.backbone.init_weights()
        if checkpoint is not None:
            _load_backbone(self.backbone, checkpoint)
        self.backbone.eval()
        train, test = _loaders(cfg)
        train_pipeline, test_pipeline = _view_of(train), _pipeline_of(test)
        self._loaders = [train]
        views = [
            dict(train=Views(train_pipeline, num_views), tune=Views(test_pipeline))
        ]
        if cfg.get('val_dataloader') is not None:
            self._loaders.append(test)
            views.append(dict(val=Views(test_pipeline)))
        self._datasets = [
            ViewDataset(loader.dataset, item, seed)
            for loader, item in zip(self._loaders, views)
        ]
        self._settings = self._describe(views)
        self._candidates = self._find_candidates(engine)
        self._model: _Features | None = None

    def _find_candidates(self, engine: str) -> list[str]:
        """Engines in the order in which they are tried."""
        if engine != 'auto':
            return [engine]
        if (
            missing_packages()
            or self.device.type != 'cpu'
            or self._number_of_images < FOLD_FROM
        ):
            return ['torch']
        return ['onnxruntime', 'torch']

    @property
    def _number_of_images(self) -> int:
        return sum(map(len, self._datasets))

    def _describe(self, views: Iterable[Mapping[str, Views]]) -> dict[str, dict]:
        """All settings of the features of each split, as JSON gives them back."""
        backbone = {k: v for k, v in self.cfg.model.backbone.items() if k != 'init_cfg'}
        common: dict[str, Any] = dict(
            backbone=backbone,
            weights=_digest_weights(self.backbone),
            data_preprocessor=_preprocessor_config(self.cfg),
            precision='float16',
        )
        settings = {}
        for loader, dataset, item in zip(self._loaders, self._datasets, views):
            config = deepcopy(innermost_dataset(loader.dataset))
            config.pop('indices', None)
            images = _digest_images(dataset)
            for name, views_of_split in item.items():
                config['pipeline'] = views_of_split.pipeline
                own: dict[str, Any] = dict(common, dataset=config, images=images)
                if name == 'train':
                    own |= dict(num_views=views_of_split.number, seed=self.seed)
                settings[name] = json.loads(json.dumps(own, default=str))
        return settings

    @property
    def engine(self) -> str:
        """str: What computes the features, ``'torch'`` or ``'onnxruntime'``."""
        return self._candidates[0]

    @property
    def settings(self) -> dict[str, dict]:
        """dict[str, dict]: All settings of the features of each split."""
        return self._settings_with(self.engine)

    def _settings_with(self, engine: str) -> dict[str, dict]:
        return {name: dict(own, engine=engine) for name, own in self._settings.items()}

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, equal for equal features."""
        return _digest_settings(self.settings)

    def choose_engine(self, folder_of: Callable[[str], str | Path]) -> None:
        """Decide between the engines that may compute the features.

        Features that exist decide, also if there are only some. Without any, ONNX
        Runtime is compared with torch on a batch of images. All processes of a run call
        it together.

        Args:
            folder_of (Callable): Gives the folder for a :attr:`fingerprint`.
        """
        chosen = [self._candidates[0]]
        if len(self._candidates) > 1 and is_main_process():
            chosen = [self._choose(folder_of)]
        broadcast_object_list(chosen)
        self._candidates = chosen

    def _choose(self, folder_of: Callable[[str], str | Path]) -> str:
        for engine in self._candidates:
            settings = self._settings_with(engine)
            folder = Path(folder_of(_digest_settings(settings)))
            # An interrupted call has not begun all splits.
            if any(
                FeatureFile(folder, name, own).was_begun
                for name, own in settings.items()
            ):
                return engine
        *others, last = self._candidates
        for engine in others:
            try:
                self._prepare(engine)
                return engine
            except EngineError as error:
                print_log(f'Features are computed by {last}: {error}.', 'current')
        return last

    def _prepare(self, engine: str) -> '_Features':
        """Make what computes the features, and try it on a batch of images."""
        if self._model is None:
            model = _Features(
                MODELS.build(_preprocessor_config(self.cfg)),
                self.backbone,
                engine,
                self._number_of_images >= FOLD_FROM,
            )
            model.to(self.device).eval()
            # MMEngine's preprocessor moves images to where it was moved by name.
            model.preprocessor.to(self.device)
            if engine != 'torch':
                dataset = self._datasets[0]
                items = [dataset[i] for i in range(min(BATCH_SIZE, len(dataset)))]
                for views in collate_views(items)[1].values():
                    model(views[0])
            self._model = model
        return self._model

    def fast_backbone(self) -> nn.Module:
        """Make a backbone that is as fast as the features are computed.

        It takes the place of that of a model, for images without stored features.

        Returns:
            nn.Module: Gives a tuple with the last features, without gradients.

        Raises:
            EngineError: If ONNX Runtime is asked for and cannot be used.
        """
        return _FastBackbone(self._prepare(self.engine))

    @torch.no_grad()
    def run(self, folder: str | Path, progress: Progress | None = None) -> None:
        """Compute what is missing in a folder.

        An interrupted call can be repeated. In a run of several processes each computes
        its share; the folder is shared.

        Args:
            folder (str | Path): Where to write ``train.npy``, ``train.json`` and so on.
            progress (Callable, optional): Called in the main process with the number of
                images that are done and that of all. Defaults to a progress bar.

        Raises:
            FolderInUseError: If another run writes into the folder.
            EngineError: If ONNX Runtime is asked for and cannot be used.
            SaveError: If there is not enough space.
            ValueError: If the folder holds features made with other settings, or
                features are not finite.
        """
        folder = Path(folder)
        self.choose_engine(lambda _: folder)
        settings = self.settings
        files = [
            {name: FeatureFile(folder, name, settings[name]) for name in dataset.names}
            for dataset in self._datasets
        ]
        complete = [all(file.is_complete for group in files for file in group.values())]
        # All processes do the same, even if another run has just finished the files.
        broadcast_object_list(complete)
        if complete[0]:
            return
        with hold_folder(folder), kept_random_state():
            model = self._prepare(self.engine)
            for loader, dataset, group in zip(self._loaders, self._datasets, files):
                missing = {n: file for n, file in group.items() if not file.is_complete}
                if missing:
                    self._write(model, loader, dataset, missing, progress)

    def _write(
        self,
        model: nn.Module,
        loader_cfg: ConfigDict,
        dataset: ViewDataset,
        files: dict[str, FeatureFile],
        report: Progress | None,
    ) -> None:
        """Write the files of a dataset."""
        number = len(dataset)
        if not number:
            path = next(iter(files.values())).path
            raise ValueError(f'The dataset of the features {path} has no image.')
        done = np.ones(number, bool)
        # The first image tells the shapes.
        _, example = collate_views([dataset[0]])
        for name, file in files.items():
            shape = model(example[name][0]).shape[1:]
            done &= file.open(number, (len(example[name]), *shape))
        rank, world_size = get_dist_info()
        # Images that one process marks are far from those of another.
        left = np.array_split(np.flatnonzero(~done), world_size)[rank]
        loader = DataLoader(
            Subset(dataset, left.tolist()),
            batch_size=BATCH_SIZE,
            num_workers=loader_cfg.get('num_workers', 0),
            collate_fn=collate_views,
            worker_init_fn=start_worker,
        )
        progress: Progress | None = None
        if is_main_process() and len(left):
            print_log(
                f'Computing features of {(~done).sum():,} images for {", ".join(files)}'
                f' into {next(iter(files.values())).path.parent}',
                'current',
            )
            progress = _Bar(len(left)) if report is None else report
        unmarked: list[np.ndarray] = []
        finished = 0
        for step, (images, batch) in enumerate(loader, start=1):
            for name, file in files.items():
                for view, inputs in enumerate(batch[name]):
                    maps = model(inputs).half()
                    if not maps.isfinite().all():
                        bad = images[~maps.flatten(1).isfinite().all(1).cpu().numpy()]
                        raise ValueError(
                            'The features of '
                            f'{dataset.info(int(bad[0])).get("img_path")} are not '
                            'finite as float16. Check the weights of the backbone.'
                        )
                    file.write(images, view, maps.cpu().numpy())
            unmarked.append(images)
            if step % MARK_EVERY == 0 or step == len(loader):
                for file in files.values():
                    file.mark(np.concatenate(unmarked))
                unmarked.clear()
            finished += len(images)
            if progress is not None:
                progress(finished, len(left))
        content = _annotation(dataset)
        for file in files.values():
            file.close(content)


def extract_features(
    cfg: Config,
    folder: str | Path,
    num_views: int = 8,
    checkpoint: str | None = None,
    seed: int = 0,
    engine: str = 'auto',
) -> None:
    """Compute what the backbone of a recipe gives for fixed views of its images.

    See :class:`FeatureExtraction` for the files. A split whose files exist is not
    computed again, so that an interrupted call can be repeated.

    Args:
        cfg (Config): The recipe. If its training pipeline gives several views, all must
            be made by the same transforms.
        folder (str | Path): Where to write ``train.npy``, ``train.json`` and so on.
        num_views (int): Number of views V of each training image. Defaults to 8.
        checkpoint (str, optional): Weights of the model. None takes those that the
            recipe's backbone starts from. Defaults to None.
        seed (int): Seed of the views. Defaults to 0.
        engine (str): What computes them, see :class:`FeatureExtraction`.
            Defaults to ``'auto'``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it lacks weights of the backbone.
        EngineError: If ONNX Runtime is asked for and cannot be used.
        FolderInUseError: If another run writes into the folder.
        SaveError: If there is not enough space.
        ValueError: If ``num_views`` is not positive, views are made by different
            transforms, or the folder holds features made with other settings.
    """
    FeatureExtraction(cfg, num_views, checkpoint, seed, engine).run(folder)


def check_engine(engine: str) -> None:
    """Raise an error if an engine cannot be asked for.

    Raises:
        ImportError: If it is not installed.
        ValueError: If there is no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine must be one of {ENGINES}, got {engine!r}.')
    if engine == 'onnxruntime':
        require_packages()


class _Bar:
    """A progress bar that ends its line."""

    def __init__(self, number: int):
        self._bar = ProgressBar(number, file=sys.stdout)
        self._shown = 0

    def __call__(self, done: int, number: int) -> None:
        self._bar.update(done - self._shown)
        self._shown = done
        if done == number:
            # The next message starts a new line.
            print(flush=True)


class _Features(nn.Module):
    """Preprocessor and backbone: the last features of a batch of images.

    Args:
        preprocessor (nn.Module): The data preprocessor of the model.
        backbone (nn.Module): The backbone.
        engine (str): ``'torch'`` or, on a CPU, ``'onnxruntime'``.
        fold (bool): On a CPU, let batch norms become a part of the convolutions before
            them, which changes rounding only. ONNX Runtime always does.
    """

    def __init__(
        self, preprocessor: nn.Module, backbone: nn.Module, engine: str, fold: bool
    ):
        super().__init__()
        self.preprocessor = preprocessor
        self.backbone = backbone
        self.engine = engine
        self.fold = fold
        self._compiled: dict[torch.Size, Callable[[torch.Tensor], torch.Tensor]] = {}
        self._onnx: OnnxModule | None = None

    @torch.no_grad()
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        images = self.preprocessor(dict(inputs=inputs, data_samples=None), False)
        return self.maps(images['inputs'])

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """The last features of a batch that has passed the preprocessor."""
        if images.device.type != 'cpu' or images.ndim != 4:
            if self.engine != 'torch':
                raise EngineError(
                    'ONNX Runtime computes features of images on a CPU, got '
                    f'{tuple(images.shape)} on {images.device}. Set '
                    "engine='torch'."
                )
            return self.backbone(images)[-1]
        size = images.shape[1:]
        if size not in self._compiled:
            self._compiled[size] = self._compile(images)
        return self._compiled[size](images)

    def _compile(self, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Make what computes the features of images of one size."""
        backbone = self.backbone
        if self.engine == 'onnxruntime':
            onnx = OnnxModule(
                _LastMap(backbone),
                images,
                ['features'],
                keep_graph=True,
                like=self._onnx,
            )
            self._onnx = onnx
            return lambda batch: onnx(batch)[0]
        if self.fold:
            backbone = fold_batch_norm(backbone, images)
        # The faster layout.
        layout = torch.channels_last
        return lambda batch: backbone(batch.contiguous(memory_format=layout))[-1]


class _FastBackbone(nn.Module):
    """The backbone of a model, by what computes the features."""

    def __init__(self, features: _Features):
        super().__init__()
        self.features = features

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.features.maps(images),)


class _LastMap(nn.Module):
    """The last features of a backbone."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images)[-1]


def _digest_settings(settings: dict[str, dict]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _loaders(cfg: Config) -> tuple[ConfigDict, ConfigDict]:
    """The loaders of the training images, and of those with the test pipeline."""
    test = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if test is None:
        raise ValueError(
            'Features need the pipeline of val_dataloader or test_dataloader, but the '
            'config has neither.'
        )
    return cfg.train_dataloader, test


def _pipeline_of(loader: ConfigDict) -> list[dict]:
    """The pipeline of the images of a loader."""
    dataset = innermost_dataset(loader.dataset)
    if 'pipeline' not in dataset:
        raise ValueError(
            f'There are no features of a {dataset.get("type")}: it has no pipeline of '
            'its own. Use a single dataset.'
        )
    return dataset['pipeline']


def _view_of(loader: ConfigDict) -> list[dict]:
    """The pipeline of one view of the training images."""
    view = training_views(_pipeline_of(loader)).pipeline
    if view is None:
        raise ValueError(
            'The training pipeline makes views by different transforms, but features '
            'are those of views of one kind. Use the same transforms for all views of '
            'MultiView or SharedMultiView.'
        )
    return view


def _preprocessor_config(cfg: Config) -> dict:
    """The config of the preprocessor, as ``ImageClassifier`` completes it."""
    return dict(dict(type='ClsDataPreprocessor'), **deepcopy(preprocessor_of(cfg)))


def _load_backbone(backbone: nn.Module, path: str) -> None:
    """Load what a checkpoint of a model, or of a backbone alone, has for a backbone."""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    state = weights_of(checkpoint, path)
    prefix = 'backbone.'
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    checkpoint['state_dict'] = own or state
    fit_checkpoint(backbone, checkpoint, path)
    backbone.load_state_dict(checkpoint['state_dict'], strict=False)


def _digest_weights(module: nn.Module) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            array = value.detach().cpu().contiguous()
            digest.update(f'{name} {array.dtype} {tuple(array.shape)}'.encode())
            digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest_images(dataset: ViewDataset) -> str:
    """A hash of the images: their files with size and time, and their labels."""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        info = _kept(dataset.info(index))
        file: list[int] = []
        try:
            stat = os.stat(info['img_path'])
            file = [stat.st_size, stat.st_mtime_ns]
        except (KeyError, OSError):
            # No file of this machine; reading it tells what is wrong, if anything is.
            pass
        digest.update(json.dumps([info, file]).encode())
    return digest.hexdigest()[:16]


def _kept(info: dict) -> dict:
    return {key: _to_json(info[key]) for key in KEPT if info.get(key) is not None}


def _annotation(dataset: ViewDataset) -> dict:
    """The images of a dataset in the form of MMPretrain's ``MultiLabelDataset``."""
    # Where a dataset has a training and a test pipeline, the latter comes last.
    test_file = f'{dataset.names[-1]}.npy'
    data_list = [
        dict(_kept(dataset.info(index)), feature_index=index, test_features=test_file)
        for index in range(len(dataset))
    ]
    return dict(
        metainfo=dict(classes=list(dataset.metainfo['classes'])), data_list=data_list
    )


def _to_json(value: Any) -> Any:
    """Convert arrays to lists."""
    return value.tolist() if isinstance(value, np.ndarray) else value
