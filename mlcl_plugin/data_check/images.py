# SPDX-License-Identifier: Apache-2.0
"""Read and check every image of a data set, in several processes."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.utils import ProgressBar
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, Dataset

from ..datasets.transforms.image_header import JPEG_START
from ..datasets.transforms.labels_to_targets import LabelsToTargets
from ..datasets.transforms.load_image import LoadImage
from ..local_files import describe_namesake
from ..targets import is_present, is_unknown
from .decoder_messages import find_damage, printed_messages
from .findings import MAX_NAMED, one_line
from .picture_hash import HASH_LENGTH, picture_hash

BATCH = 32
MISSING, UNREADABLE, ANNOTATION = 'missing image', 'unreadable image', 'annotation'
DAMAGED = 'damage inside an image'
"""Kinds of faults of an image."""


class ImageCheck(NamedTuple):
    """One image: labels, digest of its file, hash of its picture, and its faults.

    Faults are (kind, message).
    """

    present: np.ndarray
    unknown: np.ndarray
    annotated: bool
    digest: bytes | None
    hash: np.ndarray
    faults: list[tuple[str, str]]


class BatchCheck(NamedTuple):
    """The checks of B images, joined to be small between processes.

    ``lengths`` ``(B,)`` and ``columns`` are the present labels, ``unknown`` ``(L,)``
    counts images, ``faults`` are (index in the batch, kind, message).
    """

    lengths: np.ndarray
    columns: np.ndarray
    unknown: np.ndarray
    annotated: np.ndarray
    digests: np.ndarray
    has_digest: np.ndarray
    hashes: np.ndarray
    faults: list[tuple[int, str, str]]


class ImageChecks(Dataset):
    """The images of a data set, each read and checked when it is asked for.

    A map-style dataset of torch, so that a ``DataLoader`` works in parallel.

    Args:
        dataset (BaseDataset): A dataset of MMEngine, or anything with
            ``get_data_info``. Images that a wrapper repeats are there once.
        num_classes (int): Number of labels L.
        unknown_keys (Sequence[str]): See :class:`LabelsToTargets`.
        load_options (dict): Options of :class:`LoadImage`.
        read_files (bool): Whether to open the image files. Defaults to True.
        hash_pictures (bool): Whether to make hashes of pictures. Defaults to True.
    """

    def __init__(
        self,
        dataset: Any,
        num_classes: int,
        unknown_keys: Sequence[str],
        load_options: dict,
        read_files: bool = True,
        hash_pictures: bool = True,
    ) -> None:
        self.hash_pictures = hash_pictures
        self.parts = list(_parts(dataset))
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.num_classes = num_classes
        self.read_files = read_files
        self.to_targets = LabelsToTargets(num_classes, unknown_keys)
        self.load = LoadImage(**load_options)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def info(self, index: int) -> dict:
        """The annotation of an image, as the dataset gives it."""
        part = int(np.searchsorted(self.ends, index, side='right'))
        start = self.ends[part - 1] if part else 0
        return self.parts[part].get_data_info(int(index - start))

    def path(self, index: int) -> str:
        """The path of an image, or its place in data sets without files."""
        return self.info(index).get('img_path') or f'item {index}'

    def picture(self, index: int) -> np.ndarray | None:
        """The image ``(H, W, 3)`` uint8, RGB; None if it cannot be read."""
        path = self.info(index).get('img_path')
        if path is None:
            return None
        try:
            # Damage is reported where the image is checked.
            with printed_messages():
                image = self.load.decode(self.load.read_file(path), path)
        except (FileNotFoundError, ValueError):
            return None
        return image[..., ::-1]

    def targets(self, index: int) -> np.ndarray | None:
        """``(L,)`` in {1, 0, -1}; None if the annotation is wrong."""
        try:
            return self._targets(self.info(index))
        except ValueError:
            return None

    def _targets(self, info: dict) -> np.ndarray:
        return np.asarray(self.to_targets(info)['gt_score'])

    def __getitem__(self, index: int) -> ImageCheck:
        if not 0 <= index < len(self):
            raise IndexError(f'Image {index} of {len(self)}.')
        info = self.info(index)
        path, digest = info.get('img_path'), None
        picture = np.zeros(HASH_LENGTH, dtype=np.float16)
        faults: list[tuple[str, str]] = []
        present = unknown = np.zeros(0, dtype=np.int64)
        try:
            targets = self._targets(info)
        except ValueError as error:
            faults.append((ANNOTATION, str(error)))
        else:
            present = np.flatnonzero(is_present(targets))
            unknown = np.flatnonzero(is_unknown(targets))
        annotated = not faults
        if self.read_files and path is not None:
            try:
                content = self.load.read_file(path)
                image, damage = self._decode(content, path)
                if self.hash_pictures:
                    picture = picture_hash(image)
                digest = hashlib.blake2b(content, digest_size=16).digest()
                if damage is not None:
                    faults.append((DAMAGED, f'{_show(path)}: {damage}'))
            except FileNotFoundError:
                faults.append((MISSING, f'{_show(path)}{_namesake(path)}'))
            except ValueError as error:
                faults.append((UNREADABLE, str(error)))
        return ImageCheck(present, unknown, annotated, digest, picture, faults)

    def _decode(self, content: bytes, path: str) -> tuple[np.ndarray, str | None]:
        """Decode an image; also what the decoder says of damage inside of a JPEG."""
        if not content.startswith(JPEG_START):
            return self.load.decode(content, path), None
        with printed_messages() as lines:
            image = self.load.decode(content, path)
        return image, find_damage(lines)

    def collate(self, images: list[ImageCheck]) -> BatchCheck:
        """Join the checks of a batch. Unknown labels, maybe most, become counts."""
        unknown = np.concatenate([image.unknown for image in images])
        digests = b''.join(image.digest or bytes(16) for image in images)
        return BatchCheck(
            np.array([len(image.present) for image in images]),
            np.concatenate([image.present for image in images]).astype(np.int32),
            np.bincount(unknown, minlength=self.num_classes),
            np.array([image.annotated for image in images]),
            np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2),
            np.array([image.digest is not None for image in images]),
            np.stack([image.hash for image in images]),
            [
                (place, *fault)
                for place, image in enumerate(images)
                for fault in image.faults
            ],
        )


@dataclass(frozen=True, eq=False)
class CheckedImages:
    """What was read of N images with L labels.

    Attributes:
        labels (csr_array): ``(N, L)`` bool, the present labels.
        unknown (np.ndarray): ``(L,)`` images in which a label is unknown.
        annotated (np.ndarray): ``(N,)`` bool, False where the annotation is wrong.
        digests (np.ndarray): ``(N, 2)`` uint64, equal for files of the same bytes.
        has_digest (np.ndarray): ``(N,)`` bool, False for files that were not read.
        hashes (np.ndarray): ``(N, 63)`` float16, see :func:`picture_hash`; zeros where
            there is none.
        problems (dict[str, int]): The number of images by kind of fault.
        faults (dict[str, list[str]]): Messages by kind of fault, at most
            :data:`MAX_NAMED` each.
    """

    labels: csr_array
    unknown: np.ndarray
    annotated: np.ndarray
    digests: np.ndarray
    has_digest: np.ndarray
    hashes: np.ndarray
    problems: dict[str, int]
    faults: dict[str, list[str]]


def check_images(
    images: ImageChecks, workers: int = 0, progress: str | None = None
) -> CheckedImages:
    """Read all images.

    Args:
        images (ImageChecks): The images, at least one.
        workers (int): Processes that read images. 0 reads them in this one. Defaults
            to 0.
        progress (str, optional): What a progress bar on stderr is called. Defaults to
            None: no bar.

    Returns:
        CheckedImages: Labels, digests and faults.

    Raises:
        RuntimeError: If a process died or the dataset raised an unexpected error.
    """
    batches: list[BatchCheck] = []
    kinds = (MISSING, UNREADABLE, DAMAGED, ANNOTATION)
    faults: dict[str, list[str]] = {kind: [] for kind in kinds}
    problems = dict.fromkeys(kinds, 0)
    unknown, start = np.zeros(images.num_classes, dtype=np.int64), 0
    loader = DataLoader(
        images,
        batch_size=BATCH,
        num_workers=workers,
        collate_fn=images.collate,
        worker_init_fn=_silence_decoders,
    )
    level = cv2.utils.logging.getLogLevel()
    _silence_decoders()
    if progress is not None:
        print(f'{progress}: {len(images):,} images', file=sys.stderr)
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
            # One count per label and batch would fill memory.
            batches.append(batch._replace(unknown=unknown[:0], faults=[]))
            start += len(batch.lengths)
            if progress is not None:
                bar.update(len(batch.lengths))
    # A process that died, or any error of a foreign dataset.
    except Exception as error:
        raise RuntimeError(
            f'Reading stopped among the images {start} to '
            f'{start + BATCH * max(1, workers) - 1} of {len(images)}. Processes that '
            'die may lack memory: try fewer of them, or workers=0 to see the image. '
            f'{type(error).__name__}: {one_line(error)}'
        ) from error
    finally:
        cv2.utils.logging.setLogLevel(level)
        if progress is not None:
            print(file=sys.stderr)

    columns = np.concatenate([batch.columns for batch in batches])
    lengths = np.concatenate([batch.lengths for batch in batches])
    ends = np.append(0, np.cumsum(lengths))
    return CheckedImages(
        labels=csr_array(
            (np.ones(len(columns), dtype=bool), columns, ends),
            shape=(len(images), images.num_classes),
        ),
        unknown=unknown,
        annotated=np.concatenate([batch.annotated for batch in batches]),
        digests=np.concatenate([batch.digests for batch in batches]),
        has_digest=np.concatenate([batch.has_digest for batch in batches]),
        hashes=np.concatenate([batch.hashes for batch in batches]),
        problems=problems,
        faults=faults,
    )


def _parts(dataset: Any) -> Iterator[Any]:
    """The datasets that wrappers take images from."""
    if isinstance(dataset, (RepeatDataset, ClassBalancedDataset)):
        yield from _parts(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from _parts(part)
    else:
        yield dataset


def _show(path: str) -> str:
    """A path, as its repr if blanks or other characters of it cannot be seen."""
    seen = path == path.strip() and path.isprintable() and '\\' not in path
    return path if seen else repr(path)


def _namesake(path: str) -> str:
    """What file a path may mean that does not exist, after a colon."""
    text = describe_namesake(path)
    return f':{text}' if text else ''


def _silence_decoders(worker: int = 0) -> None:
    """Keep OpenCV from printing about files that the report names."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
