# SPDX-License-Identifier: Apache-2.0
"""Read, write and convert image-level labels in any form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...local_files import check_regular
from ..annotation_files import decode_json, read_classes
from .answers import AnswersForm
from .coco import CocoForm
from .fiftyone import FiftyOneForm
from .files import write_files
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels
from .label_studio import LabelStudioForm
from .mmpretrain import MMPretrainForm
from .table import TableForm
from .voc import VocForm

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        LabelStudioForm(),
        TableForm(),
        MMPretrainForm(),
        CocoForm(),
        FiftyOneForm(),
        AnswersForm(),
        VocForm(),
    )
}
"""All forms by name. The first one that claims a path has it; VOC claims any folder."""


def guess_form(path: str | Path) -> str | None:
    """Tell the form of a file or folder, which exists or is to be written.

    Args:
        path (str | Path): Where it is.

    Returns:
        str | None: A name in :data:`FORMS`. None if the name of a new file fits
        several forms, as ``x.json`` does.

    Raises:
        ValueError: If the path or the file has no known form.
    """
    path = Path(path)
    keys = None
    if path.suffix.lower() == '.json' and path.is_file():
        keys = _read_keys(path)
    for form in FORMS.values():
        if form.claims(path, keys):
            return form.name
    if keys is None and _candidates(path):
        return None
    found = '' if keys is None else f', which has the keys {sorted(keys)}'
    raise ValueError(
        f"Cannot tell the form of '{path}'{found}. Expected one of: "
        f'{"; ".join(form.looks for form in FORMS.values())}.'
    )


def find_form(name: str) -> Form:
    """Find a form by its name.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in FORMS:
        raise ValueError(f'form must be one of {tuple(FORMS)}, got {name!r}.')
    return FORMS[name]


def read_labels(
    path: str | Path,
    form: str | None = None,
    classes: str | Path | Sequence[str] | None = None,
    **options: Any,
) -> ImageLabels:
    """Read image-level labels.

    Args:
        path (str | Path): The file, or for VOC the folder.
        form (str, optional): A name in :data:`FORMS`. None tells it by the path.
            Defaults to None.
        classes (str | Path | Sequence[str], optional): The names of the labels, see
            :class:`ReadOptions`, or a file with one name per line. Defaults to None.
        **options: Other fields of :class:`ReadOptions`.

    Returns:
        ImageLabels: The labels of all images, those without any label too.

    Raises:
        FileNotFoundError: If the file or one that it needs is missing.
        ValueError: If a file is not in this form.
    """
    path = Path(path)
    form = form or guess_form(path)
    read_options = ReadOptions(classes=read_classes(classes), **options)
    # The name of a missing file may fit several forms.
    kind = None if form is None else find_form(form)
    if kind is not None and not kind.has_splits and read_options.split is not None:
        raise ValueError(
            f"Only VOC and tables have splits, got split '{read_options.split}' for "
            f'{path}, which is read whole.'
        )
    if kind is not None and not kind.has_groups and read_options.group is not None:
        raise ValueError(
            f"group='{read_options.group}' names a column of a table, but {path} has "
            f'the form {kind.name}. Convert it to a table and add the column.'
        )
    check_regular(path)
    if kind is None or not (kind.is_folder or path.is_file()):
        raise FileNotFoundError(f"There is no annotation file '{path}'.")
    try:
        return kind.read(path, read_options)
    except ValueError as error:
        if path.name in str(error):
            raise
        raise ValueError(f'{path}: {error}') from error


def write_labels(
    labels: ImageLabels,
    path: str | Path,
    form: str | None = None,
    unknown: str = 'error',
    overwrite: bool = False,
    **options: Any,
) -> ImageLabels:
    """Write image-level labels.

    Args:
        labels (ImageLabels): The labels.
        path (str | Path): The file, or for VOC the folder, which may hold lists of
            other splits with the same labels already.
        form (str, optional): A name in :data:`FORMS`. None tells it by the path.
            Defaults to None.
        unknown (str): What to do with unknown labels where the form cannot hold them,
            see :meth:`ImageLabels.without_unknown`. Defaults to 'error'.
        overwrite (bool): Whether to replace files that hold something else. Defaults
            to False.
        **options: Fields of :class:`WriteOptions`.

    Returns:
        ImageLabels: What was written: ``labels``, changed as ``unknown`` says.

    Raises:
        FileExistsError: If a file exists, holds something else and ``overwrite`` is
            False. Nothing is written then.
        FileNotFoundError: If an image is not in ``image_root``.
        ValueError: If the form cannot hold the labels.
    """
    labels, files = prepare_files(labels, path, form, unknown, **options)
    write_files([files], overwrite)
    return labels


def prepare_files(
    labels: ImageLabels,
    path: str | Path,
    form: str | None = None,
    unknown: str = 'error',
    **options: Any,
) -> tuple[ImageLabels, Files]:
    """Make the files of image-level labels, see :func:`write_labels` for arguments.

    Returns:
        tuple[ImageLabels, Callable]: What the files hold, and a function that gives
        path and content of every file, for :func:`write_files`.

    Raises:
        FileNotFoundError: If an image is not in ``image_root``.
        ValueError: If the form cannot hold the labels.
    """
    kind = form_to_write(path, form)
    write_options = WriteOptions(**options)
    if not kind.holds_unknown(write_options):
        labels = labels.without_unknown(unknown)
    return labels, kind.prepare(labels, Path(path), write_options)


def form_to_write(path: str | Path, form: str | None = None) -> Form:
    """Find the form of a file or folder that is to be written.

    Args:
        path (str | Path): Where it is.
        form (str, optional): A name in :data:`FORMS`. None tells it by the path.
            Defaults to None.

    Raises:
        ValueError: If there is no such form, or the path does not tell its form.
    """
    form = form or guess_form(path)
    if form is None:
        names = ' or '.join(f"form='{name}'" for name in _candidates(Path(path)))
        raise ValueError(f"Cannot tell the form of '{path}': name it ({names}).")
    return find_form(form)


def _candidates(path: Path) -> list[str]:
    """Names of the forms that share the ending of a file name."""
    return sorted(
        form.name
        for form in FORMS.values()
        if form.suffix and form.suffix == path.suffix.lower()
    )


def _read_keys(path: Path) -> set[str]:
    """The keys of a JSON object, whose values are not parsed."""
    encoded = path.read_bytes()
    try:
        return set(msgspec.json.decode(encoded, type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError:
        return set()
    # A byte order mark, NaN, or nothing that is JSON.
    except (msgspec.DecodeError, RecursionError):
        content = decode_json(encoded, str(path))
        return set(content) if isinstance(content, dict) else set()
