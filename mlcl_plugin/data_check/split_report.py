# SPDX-License-Identifier: Apache-2.0
"""What one split holds."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .images import CheckedImages, ImageChecks

TOP_LABELS = 100
"""Number of labels whose co-occurrence is counted, the most frequent ones."""


@dataclass(frozen=True, eq=False)
class SplitReport:
    """What one split holds: N images, L labels.

    Attributes:
        names (tuple[str, ...]): Names of the split in the config.
        classes (tuple[str, ...]): Names of the labels.
        num_images (int): N, each image counted once.
        epoch_length (int): Images in an epoch, where a wrapper repeats some.
        present (np.ndarray): ``(L,)`` images in which a label is present.
        unknown (np.ndarray): ``(L,)`` images in which it is unknown.
        labels (csr_array): ``(N, L)`` bool, the present labels.
        annotated (np.ndarray): ``(N,)`` bool, False where the annotation is wrong.
        digests (np.ndarray): ``(N, 2)`` uint64, equal for files of the same bytes.
        has_digest (np.ndarray): ``(N,)`` bool, False for files that were not read.
        hashes (np.ndarray): ``(N, 63)`` float16, similar for pictures that look alike;
            zeros where there is none.
        top (np.ndarray): Indices of the labels that ``cooccurrence`` is about.
        cooccurrence (np.ndarray): ``(T, T)`` images that have both labels; the diagonal
            is ``present[top]``.
        problems (dict[str, int]): The number of images by kind of fault.
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
    hashes: np.ndarray
    top: np.ndarray
    cooccurrence: np.ndarray
    problems: dict[str, int]
    images: ImageChecks

    @classmethod
    def from_images(
        cls,
        names: tuple[str, ...],
        classes: tuple[str, ...],
        epoch_length: int,
        images: ImageChecks,
        checked: CheckedImages,
    ) -> 'SplitReport':
        """Count the labels of checked images.

        Args:
            names (tuple[str, ...]): Names of the split.
            classes (tuple[str, ...]): Names of the labels.
            epoch_length (int): Images in an epoch.
            images (ImageChecks): The images.
            checked (CheckedImages): What was read of them.
        """
        present = np.bincount(checked.labels.indices, minlength=len(classes))
        top = np.argsort(-present, kind='stable')[:TOP_LABELS]
        chosen = checked.labels[:, top].astype(np.int64)
        return cls(
            names=names,
            classes=classes,
            num_images=len(images),
            epoch_length=epoch_length,
            present=present,
            unknown=checked.unknown,
            labels=checked.labels,
            annotated=checked.annotated,
            digests=checked.digests,
            has_digest=checked.has_digest,
            hashes=checked.hashes,
            top=top,
            cooccurrence=(chosen.T @ chosen).toarray(),
            problems=checked.problems,
            images=images,
        )

    @property
    def name(self) -> str:
        """str: The first of the names."""
        return self.names[0]

    @property
    def absent(self) -> np.ndarray:
        """np.ndarray: ``(L,)`` images in which a label is known to be absent."""
        return self.annotated.sum() - self.present - self.unknown

    @property
    def labels_per_image(self) -> np.ndarray:
        """np.ndarray: The number of present labels of every annotated image."""
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
        """The values as plain Python types, for JSON."""
        number = self.labels_per_image
        imbalance = [_round(ratio) for ratio in self.imbalance]
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
                mean=_round(number.mean()) if len(number) else None,
                min=int(number.min()) if len(number) else None,
                max=int(number.max()) if len(number) else None,
                images_by_number=np.bincount(number).tolist(),
            ),
            imbalance=dict(
                most_to_least=max(seen, default=None),
                mean=_round(np.mean(seen)) if seen else None,
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


def _round(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
