# SPDX-License-Identifier: Apache-2.0
"""What a form of label files is, and the options of reading and writing one."""

import abc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .image_labels import ImageLabels

Files = Callable[[], Iterable[tuple[Path, bytes]]]
"""A function that gives path and content of each file to be written."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read image-level labels. A form ignores what is not about it.

    Attributes:
        split (str, optional): For VOC: the name of the list. For tables: take only the
            rows that have it in the column 'split'. Defaults to None: the list 'train',
            or all rows.
        classes (Sequence[str], optional): The names of the labels, in the order of
            their index. None takes those of the file; for VOC those of ``classes.txt``
            in the folder or else the 20 of PASCAL VOC; for a table with a column of
            names those of ``<table>.classes.txt`` beside it or else the names that
            occur, sorted. Defaults to None.
        image_column (str): For tables: the column of paths. Defaults to 'image'.
        label_column (str, optional): For tables: the column of label names. None is
            'labels' if there is such a column. Defaults to None.
        separator (str): For tables: what separates names. Defaults to ';'.
        delimiter (str, optional): For CSV files: what separates fields. Defaults to
            None, see :class:`TabularMultiLabel`.
        unstated_as (int, optional): For tables: what an empty cell or a name that is
            not listed means, -1 (unknown) or 0 (absent). For FiftyOne: what null means.
            Defaults to None, see :class:`TabularMultiLabel`; for FiftyOne unknown.
        group (str, optional): For tables: a column that is no label, but says which
            images belong together. Defaults to None.
        image_url (str, optional): For Label Studio: how all its names of images begin,
            which is left out. Defaults to None: what Label Studio puts before the names
            of local files and of uploads.
        annotators (str): For Label Studio: which labels an image has if annotators
            disagree, 'any', 'all', 'majority', 'unknown', or 'error', which refuses
            it. Defaults to 'error'.
        predictions (bool): For Label Studio: whether predictions count for tasks that
            nobody answered. Defaults to False.
        control (str, optional): For Label Studio: the name of the choices in the
            labelling config that are the labels. For samples of FiftyOne: the field.
            Defaults to None: the only ones.
    """

    split: str | None = None
    classes: Sequence[str] | None = None
    image_column: str = 'image'
    label_column: str | None = None
    separator: str = ';'
    delimiter: str | None = None
    unstated_as: int | None = None
    group: str | None = None
    image_url: str | None = None
    annotators: str = 'error'
    predictions: bool = False
    control: str | None = None


@dataclass(frozen=True)
class WriteOptions:
    """How to write image-level labels. A form ignores what is not about it.

    Attributes:
        split (str): For VOC: the name of the list. Defaults to 'train'.
        style (str): For tables: 'columns' for one column per label or 'names' for one
            column of names. Defaults to 'columns'.
        image_column (str): For tables: the column of paths. Defaults to 'image'.
        label_column (str, optional): For tables: the column of label names. Defaults
            to None, which is 'labels'.
        separator (str): For tables: what separates names. Defaults to ';'.
        image_root (str | Path, optional): The image folder. COCO and VOC take the
            images' sizes from it; without it, neither sizes nor boxes are written.
            FiftyOne gets the paths of the images. Defaults to None.
        image_url (str, optional): For Label Studio: what to write before the paths of
            images. Defaults to None: that of local files.

    Raises:
        ValueError: If ``style`` is neither of the two.
    """

    split: str = 'train'
    style: str = 'columns'
    image_column: str = 'image'
    label_column: str | None = None
    separator: str = ';'
    image_root: str | Path | None = None
    image_url: str | None = None

    def __post_init__(self) -> None:
        if self.style not in ('columns', 'names'):
            raise ValueError(f"style must be 'columns' or 'names', got {self.style!r}.")

    @property
    def image_folder(self) -> str:
        """str: The image folder for a dataset's config, 'IMAGES' if not given."""
        return 'IMAGES' if self.image_root is None else str(self.image_root)


class Form(abc.ABC):
    """A form that files of image-level labels have.

    A new form is a subclass in a file of its own and an entry in
    :data:`mlcl_plugin.datasets.forms.FORMS`.

    Attributes:
        name (str): What users call it.
        looks (str): How to recognise it, for messages.
        suffix (str): The ending of its file names if other forms share it, otherwise
            ''. A name that ends like this does not tell the form of a new file.
        is_folder (bool): Whether it is a folder rather than one file.
        has_splits (bool): Whether one path holds several splits.
        has_groups (bool): Whether a column may say which images belong together.
        after_writing (str): What to do with files that no dataset reads, for the
            command line.
    """

    name: ClassVar[str]
    looks: ClassVar[str]
    suffix: ClassVar[str] = ''
    is_folder: ClassVar[bool] = False
    has_splits: ClassVar[bool] = False
    has_groups: ClassVar[bool] = False
    after_writing: ClassVar[str] = ''

    @abc.abstractmethod
    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a file or folder, existing or to be written, has this form.

        Args:
            path (Path): Where it is.
            keys (set[str], optional): The keys of an existing JSON object. None for
                all other paths.
        """

    @abc.abstractmethod
    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read all images, those without labels too.

        Args:
            path (Path): The file or folder.
            options (ReadOptions): What to read.

        Returns:
            ImageLabels: The labels.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is not in this form.
        """

    def holds_unknown(self, options: WriteOptions) -> bool:
        """Whether files with these options can say that a label is unknown."""
        return True

    @abc.abstractmethod
    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Check the labels and make the content of files.

        Args:
            labels (ImageLabels): The labels, without unknown ones where this form
                cannot hold them.
            path (Path): The file or folder to be written.
            options (WriteOptions): How to write.

        Returns:
            Callable: Gives path and content of each file, the same at each call.

        Raises:
            FileNotFoundError: If an image is not in ``options.image_root``.
            ValueError: If this form cannot hold the labels.
        """

    @abc.abstractmethod
    def dataset_config(self, path: str, options: WriteOptions) -> dict | None:
        """The config of the dataset that reads what :meth:`prepare` made.

        None if there is no such dataset.
        """


def config_text(config: dict) -> str:
    """Write a config as the recipes do.

    Examples:
        >>> config_text(dict(type='VOC', data_prefix=dict(img_path='a')))
        "dict(type='VOC', data_prefix=dict(img_path='a'))"
    """
    fields = [
        f'{key}={config_text(value) if isinstance(value, dict) else repr(value)}'
        for key, value in config.items()
    ]
    return f'dict({", ".join(fields)})'
