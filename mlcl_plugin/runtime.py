# SPDX-License-Identifier: Apache-2.0
"""Find the labels of images with an exported model, without torch.

This file needs numpy, OpenCV and ONNX Runtime, and nothing else of the package: copy
it anywhere. It prepares images as the test pipeline of the model's config does, and
decides as ``mlcl infer`` does.

.. code-block:: python

    from mlcl_runtime import Runtime

    runtime = Runtime('model.onnx')
    print(runtime(['photo.jpg'])[0]['labels'])
    # [{'label': 'dog', 'score': 0.98, 'threshold': 0.5}, ...]

As a program it writes one line of JSON per image::

    python mlcl_runtime.py model.onnx photo.jpg ... > labels.jsonl
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

Size = tuple[int, int]

FORMAT_VERSION = 1
"""Version of the JSON form of :class:`ModelInfo`."""
INFO_KEY = 'mlcl'
"""Where the metadata of a file has the JSON form."""
MAX_PIXELS = 178_956_970
"""Most pixels of an image by default, as in Pillow: half a gigabyte in colour."""
JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
JPEG_SCAN = 0xDA
# Start of frame: all of 0xc0 to 0xcf but tables (c4), extensions (c8) and (cc).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM and restarts.
JPEG_ALONE = frozenset([0x01, *range(0xD0, 0xD8)])
PNG_START = b'\x89PNG\r\n\x1a\n'
INTERPOLATIONS = dict(nearest=0, bilinear=1, bicubic=2, area=3, lanczos=4)
"""Ways to resize, with OpenCV's numbers."""
STEPS = {
    'resize': {'width', 'height', 'interpolation'},
    'resize_edge': {'edge', 'size', 'interpolation'},
    'center_crop': {'width', 'height'},
}
"""Steps of the preparation of an image, with their settings."""
# Logits that stand for scores of 0 and 1: of half of float32's smallest number, and of
# 1 minus half of the step below it.
MIN_LOGIT = -150 * math.log(2)
MAX_LOGIT = math.log(2**25 - 1)


@dataclass(frozen=True)
class ModelInfo:
    """What an exported file says of its model; :meth:`to_json` is its only other form.

    Attributes:
        classes (list[str]): Names of the L labels, in the order of the scores.
        thresholds (list[float]): Score from which on each label is found, ``(L,)``.
        temperatures (list[float], optional): What logits are divided by, ``(L,)``.
        topk (int, optional): The greatest number of labels that are found.
        size (list[int]): Height and width of prepared images.
        steps (list[dict]): How an image gets this size: each has ``step``, one of
            :data:`STEPS`, and its settings.
        mean (list[float], optional): What is subtracted from the channels, in the
            order of ``channels``.
        std (list[float], optional): What the difference is divided by.
        channels (str): ``'rgb'`` or ``'bgr'``, the order of the model's input.
        max_pixels (int, optional): Most pixels of an image file.
        outputs (list[str]): Names of the outputs: ``scores`` ``(B, L)`` and perhaps
            ``attention`` ``(B, L, h, w)``.
        made_with (dict): Versions and the name of the config, for people.
        format_version (int): :data:`FORMAT_VERSION`.
    """

    classes: list[str]
    thresholds: list[float]
    temperatures: list[float] | None
    topk: int | None
    size: list[int]
    steps: list[dict]
    mean: list[float] | None
    std: list[float] | None
    channels: str
    max_pixels: int | None
    outputs: list[str]
    made_with: dict
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: str) -> 'ModelInfo':
        """Read it from the metadata of a file.

        Args:
            metadata (Mapping[str, str]): Text by key.
            path (str): The file, for the errors.

        Raises:
            ValueError: If it is missing, of another version, or wrong.
        """
        if INFO_KEY not in metadata:
            raise ValueError(
                f'{path} does not say which labels its model has: its metadata lacks '
                f'{INFO_KEY!r}. Use a file that `mlcl export` has written.'
            )
        try:
            content = json.loads(metadata[INFO_KEY])
            if not isinstance(content, dict):
                raise ValueError(f'expected an object, got {type(content).__name__}')
            version = content.get('format_version')
            if version != FORMAT_VERSION:
                raise ValueError(
                    f'format_version is {version!r:.50}, expected {FORMAT_VERSION}'
                )
            known = {field.name for field in fields(cls)}
            if set(content) != known:
                raise ValueError(
                    f'missing are {sorted(known - set(content))}, unknown are '
                    f'{sorted(set(content) - known)!r:.200}'
                )
            info = cls(**content)
            info._check()
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f'The metadata of {path} cannot be used: {error}. Export the model '
                'again.'
            ) from error
        return info

    def _check(self) -> None:
        """Raise a ValueError for values that do not fit."""
        classes = self.classes
        if not (
            isinstance(classes, list)
            and classes
            and all(isinstance(name, str) for name in classes)
            and len(set(classes)) == len(classes)
        ):
            raise ValueError(f'classes must be different names, got {classes!r:.200}')
        number = len(classes)
        _check_numbers('thresholds', self.thresholds, number)
        if self.temperatures is not None:
            _check_numbers('temperatures', self.temperatures, number)
            if min(self.temperatures) <= 0:
                raise ValueError('temperatures must be positive')
        if (self.mean is None) != (self.std is None):
            raise ValueError('mean and std must both be given or both be null')
        if self.mean is not None and self.std is not None:
            _check_numbers('mean', self.mean, 3)
            _check_numbers('std', self.std, 3)
            if 0 in self.std:
                raise ValueError('std must not be 0')
        _check_whole('size', self.size, 2)
        for name, value in (('topk', self.topk), ('max_pixels', self.max_pixels)):
            if value is not None:
                _check_whole(name, [value], 1)
        if self.channels not in ('rgb', 'bgr'):
            raise ValueError(f"channels must be 'rgb' or 'bgr', got {self.channels!r}")
        if not isinstance(self.steps, list):
            raise ValueError('steps must be a list')
        for step in self.steps:
            _check_step(step)
        if not isinstance(self.outputs, list) or 'scores' not in self.outputs:
            raise ValueError(f"outputs must have 'scores', got {self.outputs!r:.100}")

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Turn an image into what the model takes.

        Args:
            image (np.ndarray): ``(H, W, 3)`` uint8, BGR, of any size.

        Returns:
            np.ndarray: ``(3, h, w)`` float32 of the size of the model.

        Raises:
            ValueError: If the image gets another size.
        """
        for step in self.steps:
            image = _apply(step, image)
        if image.shape[:2] != tuple(self.size):
            raise ValueError(
                f'The image has {image.shape[0]} x {image.shape[1]} pixels after its '
                f'preparation, but the model takes {self.size[0]} x {self.size[1]}.'
            )
        if self.channels == 'rgb':
            image = image[..., ::-1]
        values = image.transpose(2, 0, 1).astype(np.float32)
        if self.mean is not None and self.std is not None:
            values -= np.asarray(self.mean, np.float32)[:, None, None]
            values /= np.asarray(self.std, np.float32)[:, None, None]
        return np.ascontiguousarray(values)

    def decide(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Find the labels of an image.

        Args:
            scores (np.ndarray): ``(L,)`` float32 from 0 to 1.

        Returns:
            list[dict]: ``label``, ``score`` and ``threshold`` of the labels found, by
            falling score.

        Raises:
            ValueError: If a score is not from 0 to 1.
        """
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError('The model gives scores that are not from 0 to 1.')
        if self.temperatures is None:
            mask = scores >= np.asarray(self.thresholds, np.float32)
        else:
            scores = calibrate(scores, np.asarray(self.temperatures))
            mask = scores >= np.asarray(self.thresholds)
        order = np.argsort(-scores, kind='stable')
        return [
            dict(
                label=self.classes[index],
                score=float(f'{scores[index]:.9g}'),
                threshold=float(self.thresholds[index]),
            )
            for index in order[mask[order]][: self.topk]
        ]


def calibrate(scores: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    r"""Compute calibrated scores, :math:`\sigma(\sigma^{-1}(s) / T)`, as float64."""
    values = scores.astype(np.float64)
    with np.errstate(divide='ignore'):
        logits = np.log(values / (1 - values))
    return 1 / (1 + np.exp(-np.clip(logits, MIN_LOGIT, MAX_LOGIT) / temperatures))


def _check_numbers(name: str, values: Any, number: int) -> None:
    if not (
        isinstance(values, list)
        and len(values) == number
        and all(
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            for value in values
        )
    ):
        raise ValueError(f'{name} must be {number} numbers, got {values!r:.100}')


def _check_whole(name: str, values: Any, number: int) -> None:
    if not (
        isinstance(values, list)
        and len(values) == number
        and all(type(value) is int and value > 0 for value in values)
    ):
        raise ValueError(f'{name} must be positive integers, got {values!r:.100}')


def _check_step(step: Any) -> None:
    name = step.get('step') if isinstance(step, dict) else None
    if not isinstance(name, str) or set(step) - {'step'} != STEPS.get(name):
        raise ValueError(f'{step!r:.200} is no known step of the preparation')
    for key in {'width', 'height', 'size'} & set(step):
        _check_whole(key, [step[key]], 1)
    if step.get('interpolation', 'bilinear') not in INTERPOLATIONS:
        raise ValueError(f'unknown interpolation {step["interpolation"]!r:.50}')
    if step.get('edge', 'short') not in ('short', 'long', 'width', 'height'):
        raise ValueError(f'unknown edge {step["edge"]!r:.50}')


def _apply(step: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
    """Do a step of the preparation, as the transforms of MMCV and MMPretrain do."""
    import cv2

    height, width = image.shape[:2]
    if step['step'] == 'center_crop':
        top = max(0, round((height - step['height']) / 2.0))
        left = max(0, round((width - step['width']) / 2.0))
        return image[top : top + step['height'], left : left + step['width']]
    if step['step'] == 'resize':
        size = step['width'], step['height']
    elif (
        (step['edge'] == 'short' and width < height)
        or (step['edge'] == 'long' and width > height)
        or step['edge'] == 'width'
    ):
        size = step['size'], int(step['size'] * height / width)
    else:
        size = int(step['size'] * width / height), step['size']
    return cv2.resize(image, size, interpolation=INTERPOLATIONS[step['interpolation']])


def jpeg_size(content: bytes) -> Size | None:
    """Width and height of a JPEG as its header states them; None without any."""
    position = 2
    while True:
        # Decoders skip stray bytes before a marker, and fill bytes 0xff.
        position = content.find(b'\xff', position)
        if position < 0 or position + 9 > len(content):
            return None
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in JPEG_FRAMES:
            frame = content[position + 5 : position + 9]
            return int.from_bytes(frame[2:], 'big'), int.from_bytes(frame[:2], 'big')
        elif marker == JPEG_SCAN:
            return None
        elif marker == 0 or marker in JPEG_ALONE:
            position += 2
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')


def png_size(content: bytes) -> Size | None:
    """Width and height of a PNG as its header states them; None if it is cut off."""
    if len(content) < 24:
        return None
    return int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')


def is_truncated_jpeg(content: bytes) -> bool:
    """Whether the bytes begin like a JPEG but lack its end-of-image marker.

    Some releases of OpenCV fill the rest of such an image with grey, without an error.
    Bytes after the marker, as cameras and editors append them, are allowed.

    Args:
        content (bytes): The content of a file.

    Returns:
        bool: True only for a JPEG whose image data does not end.
    """
    if not content.startswith(JPEG_START):
        return False
    if content.endswith(JPEG_END):
        return False
    # A thumbnail in the header has an end marker of its own, so only a marker after the
    # start of the first scan counts. In the data of a scan, 0 or a restart number
    # follows each byte 0xff.
    position = 2
    while position + 4 <= len(content):
        marker = content[position + 1]
        if content[position] != 0xFF:
            # Decoders skip stray bytes.
            position = content.find(b'\xff', position)
            if position < 0:
                return True
        elif marker == 0xFF:
            # So they do with a fill byte.
            position += 1
        elif marker == JPEG_SCAN:
            return JPEG_END not in content[position:]
        else:
            length = int.from_bytes(content[position + 2 : position + 4], 'big')
            position += 2 + length
    return True


def is_truncated_png(content: bytes) -> bool:
    """Whether a PNG has a chunk that is longer than the rest of the file.

    OpenCV takes memory for the length that a chunk states, up to 4 GB, before it finds
    that the file ends.

    Args:
        content (bytes): The content of a file.

    Returns:
        bool: True only for a PNG with such a chunk.
    """
    if not content.startswith(PNG_START):
        return False
    position = len(PNG_START)
    while position + 8 <= len(content):
        if content[position + 4 : position + 8] == b'IEND':
            return False
        # Length, name, data and checksum.
        position += 12 + int.from_bytes(content[position : position + 4], 'big')
    return position > len(content)


def read_image(path: str | os.PathLike, max_pixels: int | None = None) -> np.ndarray:
    """Read an image file in colour, turned as its EXIF says.

    Args:
        path (str | os.PathLike): The file.
        max_pixels (int, optional): Most pixels of the image. A JPEG or PNG with more
            is not decoded. Defaults to None: the limit of OpenCV alone.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8, BGR.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image, or incomplete, or too large.
    """
    import cv2

    if not os.path.exists(path):
        raise FileNotFoundError('There is no such file.')
    if not os.path.isfile(path):
        raise ValueError('It is not a file.')
    with open(path, 'rb') as file:
        content = file.read()
    if not content:
        raise ValueError('The file is empty.')
    if is_truncated_jpeg(content) or is_truncated_png(content):
        raise ValueError('The file is incomplete.')
    size = None
    if content.startswith(JPEG_START):
        size = jpeg_size(content)
    elif content.startswith(PNG_START):
        size = png_size(content)
    if size is not None:
        _check_pixels(size, max_pixels)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f'The file cannot be decoded: {error!s:.200}') from error
    if image is None:
        raise ValueError('The file is damaged or not an image.')
    _check_pixels((image.shape[1], image.shape[0]), max_pixels)
    return image


def _check_pixels(size: Size, max_pixels: int | None) -> None:
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        raise ValueError(
            f'The image has {size[0]} x {size[1]} pixels, more than {max_pixels}.'
        )


def open_session(path: str | os.PathLike, threads: int = 0, spin: bool = True) -> Any:
    """Open an ONNX file on the CPU.

    Args:
        path (str | os.PathLike): The file. Data outside of it is not read.
        threads (int): Number of threads; 0 takes all cores. Defaults to 0.
        spin (bool): Whether idle threads wait actively: faster where nothing else runs,
            and slow where something does. Defaults to True.

    Returns:
        onnxruntime.InferenceSession: The session.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If ONNX Runtime cannot read it.
    """
    import onnxruntime

    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no file {os.fspath(path)}.')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Only errors: warnings are about the graph, which the user cannot change.
    options.log_severity_level = 3
    options.add_session_config_entry('session.intra_op.allow_spinning', str(int(spin)))
    with open(path, 'rb') as file:
        content = file.read()
    try:
        # From memory, so that a file cannot name others to read.
        return onnxruntime.InferenceSession(
            content, options, providers=['CPUExecutionProvider']
        )
    # ONNX Runtime's errors have no class that is part of its interface.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'{os.fspath(path)} cannot be read as an ONNX model: {reason:.300}'
        ) from error


class Runtime:
    """An exported model that finds the labels of images.

    Args:
        path (str | os.PathLike): An ONNX file that ``mlcl export`` has written.
        threads (int): Number of threads; 0 takes all cores. Defaults to 0.
        spin (bool): See :func:`open_session`. Defaults to True.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, or is not of ``mlcl export``.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0, spin: bool = True):
        self.path = os.fspath(path)
        self._session = open_session(path, threads, spin)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.info = ModelInfo.from_metadata(metadata, self.path)
        self._check_graph()

    def _check_graph(self) -> None:
        """Raise if the graph is not of the model that the metadata describes."""
        inputs = self._session.get_inputs()
        outputs = {item.name: item.shape for item in self._session.get_outputs()}
        height, width = self.info.size
        if len(inputs) != 1 or inputs[0].shape[1:] != [3, height, width]:
            raise ValueError(
                f'{self.path} takes {[item.shape for item in inputs]}, but its '
                f'metadata is of a model of images (B, 3, {height}, {width}).'
            )
        if set(outputs) != set(self.info.outputs):
            raise ValueError(
                f'{self.path} gives {sorted(outputs)}, but its metadata says '
                f'{self.info.outputs!r:.200}.'
            )
        if outputs['scores'][-1] != len(self.info.classes):
            raise ValueError(
                f'{self.path} gives {outputs["scores"][-1]} scores, but its metadata '
                f'names {len(self.info.classes)} labels.'
            )

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs for prepared images ``(B, 3, h, w)``, by their names."""
        feed = {self._session.get_inputs()[0].name: images}
        return dict(zip(self.info.outputs, self._session.run(self.info.outputs, feed)))

    def __call__(
        self, images: Iterable[str | os.PathLike | np.ndarray], batch_size: int = 1
    ) -> list[dict[str, Any]]:
        """Find the labels of images.

        Args:
            images (Iterable): Paths, or arrays ``(H, W, 3)`` uint8, BGR.
            batch_size (int): Images that pass the network at a time. Defaults to 1.

        Returns:
            list[dict]: See :meth:`stream`.
        """
        return list(self.stream(images, batch_size))

    def stream(
        self, images: Iterable[str | os.PathLike | np.ndarray], batch_size: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Find the labels of images, one result after the other.

        Args:
            images (Iterable): Paths, or arrays ``(H, W, 3)`` uint8, BGR.
            batch_size (int): Images that pass the network at a time. Defaults to 1.

        Yields:
            dict: In the order of the images, ``image``, its path or ``'array 0'`` and
            so on, with ``labels``, see :meth:`ModelInfo.decide`, or with ``error``, why
            it cannot be read.

        Raises:
            ValueError: If ``batch_size`` is not positive.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be positive, got {batch_size}.')
        batch: list[tuple[dict, np.ndarray | None]] = []
        for number, image in enumerate(images):
            batch.append(self._read(number, image))
            if len(batch) == batch_size:
                yield from self._answer(batch)
                batch = []
        yield from self._answer(batch)

    def _read(
        self, number: int, image: str | os.PathLike | np.ndarray
    ) -> tuple[dict, np.ndarray | None]:
        """Read and prepare an image: the begin of its result, and its values."""
        if isinstance(image, np.ndarray):
            result = dict(image=f'array {number}')
        else:
            result = dict(image=os.fspath(image))
        try:
            if not isinstance(image, np.ndarray):
                image = read_image(image, self.info.max_pixels)
            return result, self.info.prepare(image)
        # One bad file must not stop the work on all others.
        except (OSError, ValueError) as error:
            return dict(result, error=str(error)), None

    def _answer(
        self, batch: Sequence[tuple[dict, np.ndarray | None]]
    ) -> Iterator[dict[str, Any]]:
        values = [value for _, value in batch if value is not None]
        scores = iter(self.run(np.stack(values))['scores'] if values else ())
        for result, value in batch:
            if value is None:
                yield result
            else:
                yield dict(result, labels=self.info.decide(next(scores)))


def main(args: Sequence[str] | None = None) -> int:
    """Write one line of JSON per image; 1 if none can be read, 2 for a wrong model."""
    parser = argparse.ArgumentParser(
        description='Find the labels of images with an exported model'
    )
    parser.add_argument('model', help='ONNX file of `mlcl export`')
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument('--batch-size', type=int, default=1, help='(default: 1)')
    parser.add_argument(
        '--threads', type=int, default=0, help='(default: 0, as many as cores)'
    )
    parsed = parser.parse_args(args)
    # OpenCV reads it when it is loaded, and then refuses images that are larger.
    os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(MAX_PIXELS))
    try:
        runtime = Runtime(parsed.model, parsed.threads)
        read = False
        for result in runtime.stream(parsed.images, parsed.batch_size):
            read = read or 'labels' in result
            print(json.dumps(result, ensure_ascii=False))
    except (OSError, ValueError, ImportError) as error:
        print(f'mlcl_runtime: {error}', file=sys.stderr)
        return 2
    return int(not read)


if __name__ == '__main__':
    sys.exit(main())
