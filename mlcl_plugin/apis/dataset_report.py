# SPDX-License-Identifier: Apache-2.0
"""What the data sets of a config hold, and what would break a training with them."""

import copy
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from mmpretrain.registry import DATASETS
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, Dataset

from ..datasets.transforms.labels_to_targets import LabelsToTargets
from ..datasets.transforms.load_image import LoadImage
from ..engine.runner.stepwise_runner import StepwiseRunner

TOP_LABELS = 100
"""Labels whose co-occurrence is counted, the most frequent ones."""
MAX_NAMED = 1000
"""Images or labels that one finding names at most; it counts them all."""
MAX_COPIES = 5
"""Copies of one image that are named at most."""
BATCH = 32

LOADERS = ('LoadImage', 'LoadImageFromFile')
LOAD_OPTIONS = ('imdecode_backend', 'backend_args', 'file_client_args')
# What changes neither images nor labels.
NO_DATA_KEYS = ('pipeline', 'lazy_init', 'serialize_data', 'max_refetch', 'cache_dir')
MISSING, UNREADABLE, ANNOTATION = 'missing image', 'unreadable image', 'annotation'


@dataclass(frozen=True)
class Finding:
    """Something about the data that is worth knowing.

    Attributes:
        level (str): 'error' for what would break or spoil a training, or 'warning'.
        kind (str): What it is, such as 'missing image'.
        splits (tuple[str, ...]): Names of the splits that it is about.
        message (str): One sentence or two.
        count (int): How many images, labels or groups it is about.
        examples (tuple[str, ...]): Their names, at most :data:`MAX_NAMED`.
    """

    level: str
    kind: str
    splits: tuple[str, ...]
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitConfig:
    """A data set that a config names, under one name or several.

    Attributes:
        names (tuple[str, ...]): Such as 'train', or 'step2/train' for a data set of
            one step.
        dataset (dict): Its config.
        pipelines (tuple): The pipelines of all the names.
    """

    names: tuple[str, ...]
    dataset: dict
    pipelines: tuple

    @property
    def name(self) -> str:
        """str: The first of the names."""
        return self.names[0]


@dataclass(frozen=True, eq=False)
class SplitReport:
    """What one split holds: N images, L labels.

    Attributes:
        names (tuple[str, ...]): Names of the split in the config.
        classes (tuple[str, ...]): Names of the labels.
        num_images (int): N, each image counted once.
        epoch_length (int): Images in an epoch, where a wrapper repeats some.
        present (np.ndarray): ``(L,)`` images that a label is present in.
        unknown (np.ndarray): ``(L,)`` images where it is unknown.
        labels (csr_array): ``(N, L)`` bool, the labels present.
        annotated (np.ndarray): ``(N,)`` bool, False where the annotation is at fault.
        digests (np.ndarray): ``(N, 2)`` uint64, equal for files of the same bytes.
        has_digest (np.ndarray): ``(N,)`` bool, False for files that were not read.
        top (np.ndarray): Indices of the labels that ``cooccurrence`` is about.
        cooccurrence (np.ndarray): ``(T, T)`` images that have both labels; the diagonal
            is ``present[top]``.
        problems (dict): The number of images by kind of fault.
        images (ImageChecks): Gives path, labels and picture of each image.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    num_images: int
    epoch_length: int
    present: np.ndarray
    unknown: np.ndarray
    labels: csr_array
    annotated: np.ndarray
    digests: np.ndarray
    has_digest: np.ndarray
    top: np.ndarray
    cooccurrence: np.ndarray
    problems: dict
    images: 'ImageChecks'

    @property
    def name(self) -> str:
        """str: The first of the names."""
        return self.names[0]

    @property
    def absent(self) -> np.ndarray:
        """np.ndarray: ``(L,)`` images that are known not to have a label."""
        return self.annotated.sum() - self.present - self.unknown

    @property
    def labels_an_image(self) -> np.ndarray:
        """np.ndarray: The number of labels present in every annotated image."""
        return np.diff(self.labels.indptr)[self.annotated]

    @property
    def never_present(self) -> list[str]:
        """list[str]: Names of labels that no image has."""
        return [self.classes[i] for i in np.flatnonzero(self.present == 0)]

    @property
    def imbalance(self) -> np.ndarray:
        """np.ndarray: ``(L,)`` images of the most frequent label over those of each.

        IRLbl of Charte et al., `Addressing imbalance in multilabel classification
        <https://doi.org/10.1016/j.neucom.2014.08.091>`_, 2015; NaN for labels that are
        never present.
        """
        ratios = np.full(len(self.present), np.nan)
        seen = self.present > 0
        ratios[seen] = self.present.max(initial=0) / self.present[seen]
        return ratios

    def to_dict(self) -> dict:
        """The figures as plain Python values, for JSON."""
        number = self.labels_an_image
        imbalance = [_rounded(ratio) for ratio in self.imbalance]
        seen = [ratio for ratio in imbalance if ratio is not None]
        keys = ('name', 'present', 'absent', 'unknown', 'imbalance')
        columns = (
            *(x.tolist() for x in (self.present, self.absent, self.unknown)),
            imbalance,
        )
        return dict(
            names=list(self.names),
            images=self.num_images,
            images_in_epoch=self.epoch_length,
            labels_an_image=dict(
                mean=_rounded(number.mean()) if len(number) else None,
                min=int(number.min()) if len(number) else None,
                max=int(number.max()) if len(number) else None,
                images_by_number=np.bincount(number).tolist(),
            ),
            imbalance=dict(
                most_to_least=max(seen, default=None),
                mean=_rounded(np.mean(seen)) if seen else None,
            ),
            never_present=self.never_present,
            faults=self.problems,
            labels=[dict(zip(keys, row)) for row in zip(self.classes, *columns)],
            cooccurrence=dict(
                about=f'the {len(self.top)} most frequent of {len(self.classes)} '
                'labels; counts[i][j] images have both, counts[i][i] have label i',
                labels=[self.classes[i] for i in self.top],
                counts=self.cooccurrence.tolist(),
            ),
        )


@dataclass(frozen=True)
class DatasetReport:
    """What a config's splits hold and what is wrong with them.

    Attributes:
        splits (list[SplitReport]): The splits that could be read.
        findings (list[Finding]): What is worth knowing, errors first.
    """

    splits: list[SplitReport]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """bool: Whether nothing was found that would break training."""
        return not any(finding.level == 'error' for finding in self.findings)

    def to_json(self) -> str:
        """All figures and findings as JSON."""
        content = dict(
            ok=self.ok,
            findings=[asdict(finding) for finding in self.findings],
            splits=[split.to_dict() for split in self.splits],
        )
        return json.dumps(content, ensure_ascii=False, indent=1)

    def to_markdown(
        self, title: str, max_labels: int = 200, max_examples: int = 20
    ) -> str:
        """Figures and findings as Markdown.

        Args:
            title (str): The heading.
            max_labels (int): Rows of a table of labels at most: half of them the most
                frequent labels, half the rarest. Defaults to 200.
            max_examples (int): Images or labels named for a finding at most.
                Defaults to 20.

        Returns:
            str: The text.
        """
        lines = [f'# {title}', '']
        if self.splits:
            lines += [*_overview(self.splits), '']
        lines += ['## Findings', '', *_list_findings(self.findings, max_examples)]
        for split in self.splits:
            lines += ['', *_label_table(split, max_labels)]
            pairs = _frequent_pairs(split)
            if pairs:
                lines += ['', *pairs]
        return '\n'.join(lines) + '\n'


def find_splits(cfg: Config) -> list[SplitConfig]:
    """The data sets that a config names, each once.

    Two of them are the same if their configs are, but for the pipeline and other keys
    that change neither images nor labels. Of a config in steps, those are taken that
    the steps train and validate on, and that which the config as it stands tests on.

    Args:
        cfg (Config): The config.

    Returns:
        list[SplitConfig]: In the order train, val, test.

    Raises:
        ValueError: If the config names no data set.
    """
    named = []
    for prefix, part in _configs(cfg):
        kinds = ('train', 'val', 'test')
        if cfg.get('steps'):
            kinds = ('train', 'val') if prefix else ('test',)
        for kind in kinds:
            dataset = (part.get(f'{kind}_dataloader') or {}).get('dataset')
            if dataset is not None:
                named.append((kind, prefix, _plain(dataset)))
    if not named:
        raise ValueError(
            'The config names no data set. Expected train_dataloader, val_dataloader '
            'or test_dataloader with dataset=dict(type=...).'
        )
    groups = {}
    for kind, prefix, dataset in named:
        key = json.dumps(_without(dataset, NO_DATA_KEYS), sort_keys=True, default=repr)
        groups.setdefault(key, []).append((kind, prefix, dataset))
    steps = {prefix for _, prefix, _ in named} - {''}
    splits = []
    for group in groups.values():
        names = []
        for kind in ('train', 'val', 'test'):
            prefixes = {prefix for other, prefix, _ in group if other == kind}
            # One name for what all the steps share.
            if prefixes and prefixes >= ({''} if kind == 'test' else steps or {''}):
                names.append(kind)
            else:
                names += [f'{prefix}/{kind}' for prefix in sorted(prefixes)]
        pipelines = [list(_find(dataset, 'pipeline')) for _, _, dataset in group]
        splits.append(
            SplitConfig(
                tuple(names),
                group[0][2],
                tuple(pipeline for found in pipelines for pipeline in found),
            )
        )
    order = ('train', 'val', 'test')
    return sorted(splits, key=lambda split: order.index(split.name.split('/')[-1]))


def _configs(cfg: Config) -> Iterator[tuple[str, Config]]:
    """The config as it stands, and that of each of its steps, by name."""
    yield '', cfg
    if cfg.get('steps'):
        cfg = copy.deepcopy(cfg)
        cfg.setdefault('work_dir', '')
        runner = StepwiseRunner(cfg)
        for name in runner.steps:
            yield name, runner.step_config(name)


def _plain(config: Any) -> Any:
    """A config as plain dicts and lists."""
    if isinstance(config, Mapping):
        return {key: _plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_plain, config))
    return config


def _without(config: Any, keys: Sequence[str]) -> Any:
    """A config without some keys, on all its levels."""
    if isinstance(config, dict):
        return {k: _without(v, keys) for k, v in config.items() if k not in keys}
    if isinstance(config, (list, tuple)):
        return type(config)(_without(part, keys) for part in config)
    return config


def _find(config: Any, key: str) -> Iterator[Any]:
    """All values of a key, on all levels of a config."""
    parts = config
    if isinstance(config, dict):
        if key in config:
            yield config[key]
        parts = [value for name, value in config.items() if name != key]
    if isinstance(parts, (list, tuple)):
        for part in parts:
            yield from _find(part, key)


def _transforms(pipeline: Any) -> Iterator[tuple[str, dict]]:
    """Name and config of every transform of a pipeline, nested ones too."""
    if isinstance(pipeline, dict):
        if 'type' in pipeline:
            kind = pipeline['type']
            name = kind if isinstance(kind, str) else kind.__name__
            yield name.rpartition('.')[-1], pipeline
        pipeline = list(pipeline.values())
    if isinstance(pipeline, (list, tuple)):
        for part in pipeline:
            yield from _transforms(part)


class ImageCheck(NamedTuple):
    """One image: labels, digest of its file, and faults as (kind, message)."""

    present: np.ndarray
    unknown: np.ndarray
    annotated: bool
    digest: bytes | None
    faults: list[tuple[str, str]]


class BatchCheck(NamedTuple):
    """What :class:`ImageCheck` tells of B images, with little to hand over.

    ``lengths`` ``(B,)`` and ``columns`` are the labels present, ``unknown`` ``(L,)``
    counts images, ``faults`` are (index in the batch, kind, message).
    """

    lengths: np.ndarray
    columns: np.ndarray
    unknown: np.ndarray
    annotated: np.ndarray
    digests: np.ndarray
    has_digest: np.ndarray
    faults: list[tuple[int, str, str]]


class _DigestingLoadImage(LoadImage):
    """Load an image and keep a digest of its file."""

    def _read(self, path: str) -> bytes:
        content = super()._read(path)
        self.digest = hashlib.blake2b(content, digest_size=16).digest()
        return content


class ImageChecks(Dataset):
    """The images of a data set, each read and checked when it is asked for.

    A map-style dataset of torch, so that a ``DataLoader`` does the work in parallel.

    Args:
        dataset: A dataset of MMEngine. Where a wrapper repeats images, each is there
            once.
        num_classes (int): Number of labels L.
        unknown_keys (Sequence[str]): See :class:`LabelsToTargets`.
        load_options (dict): Options of :class:`LoadImage`.
        read_files (bool): Whether to open the image files. Defaults to True.
    """

    def __init__(
        self,
        dataset,
        num_classes: int,
        unknown_keys: Sequence[str],
        load_options: dict,
        read_files: bool = True,
    ) -> None:
        self.parts = list(_parts(dataset))
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.num_classes = num_classes
        self.read_files = read_files
        self.to_targets = LabelsToTargets(num_classes, unknown_keys)
        self.load = _DigestingLoadImage(**load_options)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def info(self, index: int) -> dict:
        """The annotation of an image, as the dataset gives it."""
        part = int(np.searchsorted(self.ends, index, side='right'))
        start = self.ends[part - 1] if part else 0
        return self.parts[part].get_data_info(int(index - start))

    def path(self, index: int) -> str:
        """What tells an image: its path, or its place in data sets without files."""
        return self.info(index).get('img_path') or f'item {index}'

    def picture(self, index: int) -> np.ndarray | None:
        """The image ``(H, W, 3)`` uint8, RGB; None if there is none to be read."""
        path = self.info(index).get('img_path')
        if path is None:
            return None
        try:
            image = self.load.transform(dict(img_path=path))['img']
        except (FileNotFoundError, ValueError):
            return None
        return image[..., ::-1]

    def targets(self, index: int) -> np.ndarray | None:
        """``(L,)`` in {1, 0, -1}; None if the annotation is at fault."""
        try:
            return np.asarray(self.to_targets(self.info(index))['gt_score'])
        except ValueError:
            return None

    def __getitem__(self, index: int) -> ImageCheck:
        if not 0 <= index < len(self):
            raise IndexError(f'Image {index} of {len(self)}.')
        info = self.info(index)
        path, faults, digest = info.get('img_path'), [], None
        present = unknown = np.zeros(0, dtype=np.int64)
        try:
            targets = np.asarray(self.to_targets(info)['gt_score'])
        except ValueError as error:
            faults.append((ANNOTATION, str(error)))
        else:
            present = np.flatnonzero(targets == 1)
            unknown = np.flatnonzero(targets == -1)
        annotated = not faults
        if self.read_files and path is not None:
            try:
                self.load.transform(dict(img_path=path))
                digest = self.load.digest
            except FileNotFoundError:
                faults.append((MISSING, path))
            except ValueError as error:
                faults.append((UNREADABLE, str(error)))
        return ImageCheck(present, unknown, annotated, digest, faults)

    def collate(self, images: list[ImageCheck]) -> BatchCheck:
        """Join the checks of a batch: unknown labels may be most of them."""
        unknown = np.concatenate([image.unknown for image in images])
        digests = b''.join(image.digest or bytes(16) for image in images)
        return BatchCheck(
            np.array([len(image.present) for image in images]),
            np.concatenate([image.present for image in images]).astype(np.int32),
            np.bincount(unknown, minlength=self.num_classes),
            np.array([image.annotated for image in images]),
            np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2),
            np.array([image.digest is not None for image in images]),
            [
                (place, *fault)
                for place, image in enumerate(images)
                for fault in image.faults
            ],
        )


def _parts(dataset) -> Iterator:
    """The datasets that wrappers take images from."""
    if isinstance(dataset, (RepeatDataset, ClassBalancedDataset)):
        yield from _parts(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from _parts(part)
    else:
        yield dataset


def _silence_decoders(worker: int = 0) -> int:
    """Let what is at fault with a file be told by the report alone."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return level


def check_datasets(
    cfg: Config, workers: int = 0, read_files: bool = True, progress: bool = False
) -> DatasetReport:
    """Read all splits that a config names and check what a training relies on.

    Errors are: a data set that cannot be built or read, a split without images, images
    that are missing or cannot be read, faulty annotations, and classes that differ
    between splits or in number from what neck, head or pipeline expect. Duplicates
    (files of the same bytes), labels that are never present and unknown labels that
    would be trained as absent are warnings.

    Labels present and a digest are kept for every image, pictures and unknown labels
    are not: with 6 of 9,600 labels present, about 200 bytes an image.
    Co-occurrence is counted for the :data:`TOP_LABELS` most frequent labels.

    Args:
        cfg (Config): The config.
        workers (int): Processes that read images. 0 reads them in this one.
            Defaults to 0.
        read_files (bool): Whether to open the image files. Without that, files and
            duplicates are not checked. Defaults to True.
        progress (bool): Whether to show a progress bar on stderr. Defaults to False.

    Returns:
        DatasetReport: Figures and findings.

    Raises:
        ValueError: If the config names no data set.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    reports, findings = [], []
    for split in find_splits(cfg):
        report, found = _check_split(cfg, split, workers, read_files, progress)
        findings += found
        if report is not None:
            reports.append(report)
    findings += _compare_classes(cfg, reports)
    findings += _find_duplicates(reports)
    findings.sort(key=lambda finding: finding.level)
    return DatasetReport(reports, findings)


def _check_split(
    cfg: Config, split: SplitConfig, workers: int, read_files: bool, progress: bool
) -> tuple[SplitReport | None, list[Finding]]:
    """The figures of a split, if it can be read, and what is found there."""

    def finding(level: str, kind: str, message: str, **kwargs) -> Finding:
        return Finding(level, kind, split.names, message, **kwargs)

    try:
        dataset = DATASETS.build(_without(split.dataset, ['pipeline']))
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        length = len(dataset)
    # Whatever a dataset of somebody else raises: the other splits are still checked.
    except Exception as error:
        # MMEngine joins the serialized images of a dataset.
        if 'need at least one array to concatenate' in str(error):
            length = 0
        else:
            message = (
                f'The data set cannot be read. {type(error).__name__}: '
                f'{_one_line(error)}'
            )
            return None, [finding('error', 'data set', message)]
    if length == 0:
        message = (
            'The split has no image. Check data_root, the annotation file or image '
            'list, and indices.'
        )
        return None, [finding('error', 'empty split', message)]

    classes = _find_classes(cfg, split, dataset)
    if classes is None:
        message = (
            f'{type(dataset).__name__} does not tell its classes. Set '
            'metainfo=dict(classes=[...]) of the data set.'
        )
        return None, [finding('error', 'classes', message)]

    unknown_keys, load_options = ('gt_label_difficult',), {}
    transforms = list(_transforms(split.pipelines))
    for name, options in transforms:
        if name == 'LabelsToTargets':
            unknown_keys = options.get('unknown_keys', unknown_keys)
        elif name in LOADERS:
            load_options = {k: options[k] for k in LOAD_OPTIONS if k in options}
    images = ImageChecks(dataset, len(classes), unknown_keys, load_options, read_files)
    try:
        report, faults = _read_images(split, classes, images, length, workers, progress)
    except RuntimeError as error:
        return None, [finding('error', 'data set', str(error))]

    found = [
        finding(
            'error',
            kind,
            f'{_count(report.problems[kind], len(images), "image")} {what}',
            count=report.problems[kind],
            examples=tuple(faults[kind]),
        )
        for kind, what in (
            (MISSING, 'missing.'),
            (UNREADABLE, 'damaged or cannot be read.'),
            (ANNOTATION, 'wrongly annotated.'),
        )
        if report.problems[kind]
    ]
    if report.never_present:
        why = 'nothing to learn them from'
        if not split.name.endswith('train'):
            why = 'no average precision for them'
        number, total = len(report.never_present), len(classes)
        found.append(
            finding(
                'warning',
                'never present',
                f'{_count(number, total, "label")} never present: there is {why}.',
                count=number,
                examples=tuple(report.never_present[:MAX_NAMED]),
            )
        )
    names = [name for name, _ in transforms]
    scored = images.info(0).get('gt_score') is not None
    if report.unknown.any() and not scored and 'LabelsToTargets' not in names:
        found.append(
            finding(
                'warning',
                'unknown as absent',
                f'{int(report.unknown.sum()):,} unknown entries are taken as absent: '
                f'the data set lists them under {list(unknown_keys)}, which only '
                'LabelsToTargets in the pipeline makes unknown.',
                count=int(report.unknown.sum()),
            )
        )
    kinds = {name.split('/')[-1] for name in split.names}
    if 'train' in kinds and len(kinds) > 1:
        found.append(
            finding(
                'warning',
                'duplicates across splits',
                f'{" and ".join(split.names)} are the same data set: figures on it '
                'tell nothing about new images.',
                count=len(images),
            )
        )
    return report, found


def _find_classes(cfg: Config, split: SplitConfig, dataset) -> tuple[str, ...] | None:
    """Names of the labels, numbered where only their number is known."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes is not None:
        return tuple(map(str, classes))
    expected = [number for _, number in _expected_numbers(cfg, split.pipelines)]
    return tuple(f'label {i}' for i in range(expected[0])) if expected else None


def _expected_numbers(cfg: Config, pipelines: Any) -> Iterator[tuple[str, int]]:
    """How many labels pipeline and model are made for, by what says so."""
    for name, options in _transforms(pipelines):
        if name == 'LabelsToTargets' and 'num_classes' in options:
            yield 'LabelsToTargets.num_classes', options['num_classes']
    for step, config in _configs(cfg):
        for part in ('neck', 'head'):
            options = (config.get('model') or {}).get(part)
            if isinstance(options, dict) and options.get('num_classes') is not None:
                where = f'model.{part}.num_classes'
                yield f'steps.{step}.{where}' if step else where, options['num_classes']


def _read_images(
    split: SplitConfig,
    classes: tuple[str, ...],
    images: ImageChecks,
    length: int,
    workers: int,
    progress: bool,
) -> tuple[SplitReport, dict[str, list[str]]]:
    """Read all images of a split; also gives what is said of those at fault."""
    batches, faults = [], {kind: [] for kind in (MISSING, UNREADABLE, ANNOTATION)}
    problems = dict.fromkeys(faults, 0)
    unknown, start = np.zeros(len(classes), dtype=np.int64), 0
    loader = DataLoader(
        images,
        batch_size=BATCH,
        num_workers=workers,
        collate_fn=images.collate,
        worker_init_fn=_silence_decoders,
    )
    level = _silence_decoders()
    if progress:
        print(f'{", ".join(split.names)}: {len(images):,} images', file=sys.stderr)
        bar = ProgressBar(len(images), file=sys.stderr)
    try:
        for batch in loader:
            for place, kind, message in batch.faults:
                problems[kind] += 1
                if len(faults[kind]) < MAX_NAMED:
                    if kind == ANNOTATION and images.path(start + place) not in message:
                        message = f'{images.path(start + place)}: {message}'
                    faults[kind].append(message)
            unknown += batch.unknown
            # Counts of all labels for each batch would add up.
            batches.append(batch._replace(unknown=None, faults=[]))
            start += len(batch.lengths)
            if progress:
                bar.update(len(batch.lengths))
    # A process that died, or whatever a dataset of somebody else raises.
    except Exception as error:
        raise RuntimeError(
            f'Reading stopped among the images {start} to '
            f'{start + BATCH * max(1, workers) - 1} of {len(images)}. Processes that '
            'die may lack memory: try fewer --workers, or 0 to see the image. '
            f'{type(error).__name__}: {_one_line(error)}'
        ) from error
    finally:
        cv2.utils.logging.setLogLevel(level)
        if progress:
            print(file=sys.stderr)

    columns = np.concatenate([batch.columns for batch in batches])
    lengths = np.concatenate([batch.lengths for batch in batches])
    labels = csr_array(
        (np.ones(len(columns), dtype=bool), columns, np.append(0, np.cumsum(lengths))),
        shape=(len(images), len(classes)),
    )
    present = np.bincount(columns, minlength=len(classes))
    top = np.argsort(-present, kind='stable')[:TOP_LABELS]
    chosen = labels[:, top].astype(np.int64)
    report = SplitReport(
        names=split.names,
        classes=classes,
        num_images=len(images),
        epoch_length=length,
        present=present,
        unknown=unknown,
        labels=labels,
        annotated=np.concatenate([batch.annotated for batch in batches]),
        digests=np.concatenate([batch.digests for batch in batches]),
        has_digest=np.concatenate([batch.has_digest for batch in batches]),
        top=top,
        cooccurrence=(chosen.T @ chosen).toarray(),
        problems=problems,
        images=images,
    )
    return report, faults


def _compare_classes(cfg: Config, splits: list[SplitReport]) -> list[Finding]:
    """Hold classes of the splits against each other and against the model."""
    findings = []
    for split in splits[1:]:
        first = splits[0]
        if split.classes == first.classes:
            continue
        pairs = itertools.zip_longest(first.classes, split.classes)
        place, (ours, theirs) = next(
            (i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]
        )
        what = 'the same names in another order'
        if set(split.classes) != set(first.classes):
            only = [
                f'only {one.name} has {sorted(set(one.classes) - set(other.classes))}'
                for one, other in ((first, split), (split, first))
                if set(one.classes) - set(other.classes)
            ]
            what = '; '.join(only)
        findings.append(
            Finding(
                'error',
                'classes',
                (first.name, split.name),
                f'{first.name} has {len(first.classes)} classes and {split.name} '
                f'{len(split.classes)}: {what}. They differ from index {place} on: '
                f'{ours!r} and {theirs!r}. Give all splits the same classes.',
            )
        )
    configs = {split.names: split.pipelines for split in find_splits(cfg)}
    for split in splits:
        number = len(split.classes)
        wrong = dict(_expected_numbers(cfg, configs[split.names]))
        wrong = {where: got for where, got in wrong.items() if got != number}
        if wrong:
            settings = ', '.join(f'{where}={got}' for where, got in wrong.items())
            message = f'The split has {number} classes, but {settings}.'
            findings.append(Finding('error', 'classes', split.names, message))
    return findings


def duplicate_groups(digests: np.ndarray) -> list[np.ndarray]:
    """Rows that are the same.

    Args:
        digests (np.ndarray): ``(N, 2)``.

    Returns:
        list[np.ndarray]: Indices of the rows of each group of two or more, ascending.
    """
    if len(digests) == 0:
        return []
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.flatnonzero(np.any(ordered[1:] != ordered[:-1], axis=1)) + 1
    starts = np.concatenate([[0], starts, [len(order)]])
    groups = [
        np.sort(order[starts[i] : starts[i + 1]])
        for i in np.flatnonzero(np.diff(starts) > 1)
    ]
    return sorted(groups, key=lambda group: int(group[0]))


def _find_duplicates(splits: list[SplitReport]) -> list[Finding]:
    """Files of the same bytes, within a split and across splits."""
    if not splits:
        return []
    # Row numbers of all the files that were read, over all splits.
    owners = np.concatenate(
        [np.full(split.num_images, i) for i, split in enumerate(splits)]
    )
    rows = np.concatenate([np.arange(split.num_images) for split in splits])
    read = np.concatenate([split.has_digest for split in splits])
    digests = np.concatenate([split.digests for split in splits])[read]
    owners, rows = owners[read], rows[read]
    within = {i: [] for i in range(len(splits))}
    across = {pair: [] for pair in itertools.combinations(range(len(splits)), 2)}
    for group in duplicate_groups(digests):
        members = {}
        for number in group:
            members.setdefault(int(owners[number]), []).append(int(rows[number]))
        for owner, images in members.items():
            if len(images) > 1:
                within[owner].append(images)
        for pair in itertools.combinations(sorted(members), 2):
            across[pair].append([members[owner] for owner in pair])

    findings = []
    for owner, groups in within.items():
        if not groups:
            continue
        split = splits[owner]
        differ = [_labels_differ(split, images) for images in groups]
        copies = sum(map(len, groups)) - len(groups)
        message = (
            f'{_count(copies, split.num_images, "image")} a copy of another (same '
            f'bytes). Images with copies: {len(groups):,}'
        )
        if any(differ):
            message += f', with different labels: {sum(differ):,}'
        examples = []
        for images, other in itertools.islice(zip(groups, differ), MAX_NAMED):
            example = ' = '.join(map(split.images.path, images[:MAX_COPIES]))
            if len(images) > MAX_COPIES:
                example += f' and {len(images) - MAX_COPIES:,} more'
            examples.append(example + (' (different labels)' if other else ''))
        findings.append(
            Finding(
                'warning',
                'duplicates within a split',
                split.names,
                f'{message}.',
                len(groups),
                tuple(examples),
            )
        )
    for (left, right), groups in across.items():
        if not groups:
            continue
        first, second = splits[left], splits[right]
        number = sum(len(images) for _, images in groups)
        examples = [
            f'{first.images.path(ours[0])} = {second.images.path(theirs[0])}'
            for ours, theirs in groups[:MAX_NAMED]
        ]
        findings.append(
            Finding(
                'warning',
                'duplicates across splits',
                (first.name, second.name),
                f'{number:,} of the {second.num_images:,} images of {second.name} '
                f'{"is" if number == 1 else "are"} in {first.name}, too (same bytes): '
                'figures on them tell nothing about new images.',
                len(groups),
                tuple(examples),
            )
        )
    return findings


def _labels_differ(split: SplitReport, images: list[int]) -> bool:
    """Whether copies of an image do not have the same labels present."""
    indptr, columns = split.labels.indptr, split.labels.indices
    sets = {tuple(columns[indptr[i] : indptr[i + 1]].tolist()) for i in images}
    return len(sets) > 1


def _one_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return ' '.join(str(text).split()) or 'no message'


def _count(number: int, total: int, noun: str) -> str:
    verb = 'is' if number == 1 else 'are'
    return f'{number:,} of {total:,} {noun}{"" if total == 1 else "s"} {verb}'


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _cell(text: str) -> str:
    """A text that does not end a cell of a table, nor begin markup."""
    return str(text).replace('\\', '\\\\').replace('|', '\\|').replace('\n', ' ')


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table with columns that line up as plain text, too."""
    cells = [[_cell(text) for text in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells
    ]
    return [f'| {" | ".join(line)} |' for line in (lines[0], rule, *lines[1:])]


def _overview(splits: list[SplitReport]) -> list[str]:
    """A table with a column for each split."""
    columns = []
    for split in splits:
        number, total = split.labels_an_image, split.annotated.sum()
        share = split.unknown.sum() / max(1, total * len(split.classes))
        order = np.argsort(-split.present, kind='stable')
        seen = order[split.present[order] > 0]
        imbalance = split.imbalance[seen]
        column = {
            'images': f'{split.num_images:,}',
            'images in an epoch': f'{split.epoch_length:,}',
            'labels': f'{len(split.classes):,}',
            'labels an image: mean': f'{number.mean():.2f}' if len(number) else '-',
            'least to most': (
                f'{number.min()} to {number.max()}' if len(number) else '-'
            ),
            'images without a label': f'{int((number == 0).sum()):,}',
            'unknown entries': f'{int(split.unknown.sum()):,} ({share:.2%})',
        }
        for name, label in (('most', seen[:1]), ('least', seen[-1:])):
            column[f'{name} frequent label'] = '-'
            for i in label:
                text = f'{_short(split.classes[i])} ({split.present[i]:,})'
                column[f'{name} frequent label'] = text
        worst, mean = '-', '-'
        if len(seen):
            worst, mean = f'{imbalance.max():.1f}', f'{imbalance.mean():.1f}'
        column |= {
            'imbalance: most to least frequent': worst,
            'imbalance: mean over labels': mean,
            'labels never present': f'{len(split.never_present):,}',
        }
        read = f'{int(split.has_digest.sum()):,}'
        column |= {
            'image files read': read if split.images.read_files else 'not looked at',
            'missing images': f'{split.problems[MISSING]:,}',
            'unreadable images': f'{split.problems[UNREADABLE]:,}',
            'wrong annotations': f'{split.problems[ANNOTATION]:,}',
        }
        columns.append(column)
    head = ['', *(', '.join(split.names) for split in splits)]
    return _table(head, [[key, *(c[key] for c in columns)] for key in columns[0]])


def _short(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 1] + '…'


def _list_findings(findings: list[Finding], max_examples: int) -> list[str]:
    lines = [] if findings else ['Nothing to complain about.']
    for finding in findings:
        where = ', '.join(finding.splits)
        lines.append(
            f'- **{finding.level}**: {finding.kind} ({where}): {finding.message}'
        )
        shown = finding.examples[:max_examples]
        lines += [f'  - {example}' for example in shown]
        more = finding.count - len(shown)
        if finding.examples and more > 0:
            lines.append(f'  - and {more:,} more')
    return lines


def _label_table(split: SplitReport, max_labels: int) -> list[str]:
    order = np.argsort(-split.present, kind='stable').tolist()
    title = f'## Labels of {", ".join(split.names)}, by frequency'
    gap = None
    if len(order) > max_labels:
        most, least = max_labels - max_labels // 2, max_labels // 2
        title += f': the {most} most and {least} least frequent of {len(order):,}'
        gap = most
        order = order[:most] + (order[-least:] if least else [])
    total = max(1, int(split.annotated.sum()))
    rows = []
    for place, i in enumerate(order):
        if place == gap:
            rows.append(['…'] + [''] * 5)
        ratio = split.imbalance[i]
        rows.append(
            [
                split.classes[i],
                f'{split.present[i]:,}',
                f'{split.present[i] / total:.1%}',
                f'{split.absent[i]:,}',
                f'{split.unknown[i]:,}',
                '-' if np.isnan(ratio) else f'{ratio:.1f}',
            ]
        )
    head = ['label', 'present', 'of all', 'absent', 'unknown', 'imbalance']
    return [title, '', *_table(head, rows)]


def _frequent_pairs(split: SplitReport, number: int = 10) -> list[str]:
    """A table of the labels that are most often present together."""
    upper = np.triu(split.cooccurrence, k=1)
    order = np.argsort(-upper, axis=None, kind='stable')[:number]
    rows = []
    for i, j in zip(*np.unravel_index(order, upper.shape)):
        if upper[i, j] == 0:
            break
        one, other = (split.classes[split.top[k]] for k in (i, j))
        shares = (upper[i, j] / split.cooccurrence[k, k] for k in (i, j))
        rows.append(
            [f'{one} + {other}', f'{upper[i, j]:,}', *map('{:.0%}'.format, shares)]
        )
    if not rows:
        return []
    title = f'## Labels of {", ".join(split.names)} most often together'
    if len(split.classes) > len(split.top):
        title += f', among the {len(split.top)} most frequent'
    head = ['labels', 'images', 'of the first', 'of the second']
    return [title, '', *_table(head, rows)]
