# SPDX-License-Identifier: Apache-2.0
"""From scores to labels: a threshold and perhaps a temperature for each label."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.fileio import get_text, put_text
from torch import Tensor

from ..errors import OtherLabelsError
from ..label_names import describe_difference
from ..local_files import check_regular

Scores = TypeVar('Scores', Tensor, np.ndarray)

# Logits that stand for scores of 0 and 1: of half of float32's smallest number, and of
# 1 minus half of the step below it. All other float32 scores have logits in between.
MIN_LOGIT = -150 * math.log(2)
MAX_LOGIT = math.log(2**25 - 1)


@dataclass(frozen=True, eq=False)
class Decisions:
    """Which labels an image gets, given its scores.

    A label is predicted where its calibrated score is at least its threshold, see
    :meth:`predict`. :meth:`save` writes decisions to a file.

    Args:
        classes (Sequence[str]): L different names.
        thresholds (Sequence[float]): ``(L,)``, for calibrated scores. Kept as float64.
        temperatures (Sequence[float], optional): ``(L,)`` positive numbers that logits
            are divided by. None leaves scores as they are. Kept as float64. Defaults to
            None.
        info (dict): How they were found, as JSON can hold it. Defaults to {}.
        any_scale (bool): Accept scores of any scale, such as logits. Possible only
            without temperatures, which need scores from 0 to 1. Such decisions cannot
            be saved. Defaults to False.

    Raises:
        ValueError: If a name is no string or comes twice, there are not as many
            numbers as names, a number is not finite, or a temperature is not positive.

    Examples:
        >>> import numpy as np
        >>> decisions = Decisions(['cat', 'dog'], [0.3, 0.6], [2.0, 1.0])
        >>> decisions.calibrate(np.array([[0.9, 0.5]])).round(6)
        array([[0.75, 0.5 ]])
        >>> decisions.predict(np.array([[0.9, 0.5]]))
        array([[ True, False]])
    """

    classes: Sequence[str]
    thresholds: np.ndarray
    temperatures: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)
    any_scale: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        classes = tuple(self.classes)
        if not classes or isinstance(self.classes, str):
            raise ValueError(f'classes must be a list of names, got {self.classes!r}.')
        if not all(isinstance(name, str) for name in classes):
            raise ValueError(f'classes must be strings, got {list(classes)!r:.200}.')
        twice = sorted(name for name, n in Counter(classes).items() if n > 1)
        if twice:
            raise ValueError(f'classes must be different names, twice came {twice}.')
        if not isinstance(self.info, dict):
            raise ValueError(f'info must be a dict, got {self.info!r:.200}.')
        # Frozen, so that the numbers stay as they were checked.
        object.__setattr__(self, 'classes', classes)
        thresholds = _numbers('thresholds', self.thresholds, classes)
        object.__setattr__(self, 'thresholds', thresholds)
        if self.temperatures is not None:
            temperatures = _numbers('temperatures', self.temperatures, classes)
            if (temperatures <= 0).any():
                name = classes[int(temperatures.argmin())]
                raise ValueError(
                    f'temperatures must be positive, got {temperatures.min()} for '
                    f"'{name}'."
                )
            if self.any_scale:
                raise ValueError(
                    'temperatures need scores from 0 to 1, got any_scale=True. Leave '
                    'out one of both.'
                )
            object.__setattr__(self, 'temperatures', temperatures)

    @classmethod
    def uniform(
        cls, classes: Sequence[str], threshold: float, any_scale: bool = False
    ) -> 'Decisions':
        """Make decisions with one threshold for all labels and without calibration.

        Args:
            classes (Sequence[str]): L different names.
            threshold (float): The threshold.
            any_scale (bool): Accept scores of any scale, see the class. Defaults to
                False.

        Returns:
            Decisions: For scores of these labels.

        Raises:
            ValueError: If the names are wrong or the threshold is not finite.
        """
        return cls(classes, np.full(len(classes), threshold), any_scale=any_scale)

    @classmethod
    def from_thr(cls, thr: float | Sequence[float], num_labels: int) -> 'Decisions':
        """Make decisions for scores of any scale of labels without names.

        Args:
            thr (float | Sequence[float]): One threshold, or one per label.
            num_labels (int): L; the labels are named '0', '1', ...

        Returns:
            Decisions: With ``any_scale``.

        Raises:
            ValueError: If a threshold is no finite number, or there are not as many
                thresholds as labels.
        """
        thresholds = read_thr(thr)
        if thresholds.ndim == 1 and len(thresholds) != num_labels:
            raise ValueError(
                f'thr has {len(thresholds)} thresholds, expected one for each of the '
                f'{num_labels} classes.'
            )
        names = [str(label) for label in range(num_labels)]
        return cls(names, np.broadcast_to(thresholds, num_labels), any_scale=True)

    @classmethod
    def load(cls, path: str | PathLike) -> 'Decisions':
        """Read a decision file.

        Args:
            path (str | PathLike): A JSON file with ``classes``, ``thresholds`` and
                perhaps ``temperatures`` and ``info``; may be remote.

        Returns:
            Decisions: Its content.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no decision file, or a threshold is not from 0 to 1.
        """
        path = str(path)
        check_regular(path)
        try:
            # Some editors begin a file with a byte order mark.
            content = json.loads(get_text(path).removeprefix('\ufeff'))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f'There is no decision file {path}. Decisions.save writes one.'
            ) from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path} is no decision file: {error}.') from error
        if not isinstance(content, dict) or not {'classes', 'thresholds'} <= set(
            content
        ):
            got = list(content) if isinstance(content, dict) else type(content).__name__
            raise ValueError(
                f'{path} is no decision file: expected an object with classes and '
                f'thresholds, got {got!r:.200}.'
            )
        keys = ('classes', 'thresholds', 'temperatures', 'info')
        unknown = sorted(set(content) - set(keys))
        if unknown:
            raise ValueError(f'{path} has unknown keys {unknown}, expected {keys}.')
        try:
            decisions = cls(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path} is no decision file: {error}') from error
        outside = (decisions.thresholds < 0) | (decisions.thresholds > 1)
        if outside.any():
            number = int(outside.argmax())
            raise ValueError(
                f'{path}: thresholds must be from 0 to 1, got '
                f'{decisions.thresholds[number]} for {decisions.classes[number]!r}. '
                'Divide percent by 100.'
            )
        return decisions

    def save(self, path: str | PathLike) -> None:
        """Write a decision file. A missing folder is made.

        Args:
            path (str | PathLike): The file; may be remote.

        Raises:
            ValueError: If ``info`` holds a number that is not finite, or the decisions
                are for scores of any scale.
            TypeError: If JSON cannot hold ``info``.
        """
        if self.any_scale:
            raise ValueError(
                'A decision file is for scores from 0 to 1, got decisions with '
                'any_scale=True.'
            )
        temperatures = self.temperatures
        content = dict(
            classes=list(self.classes),
            thresholds=self.thresholds.tolist(),
            temperatures=None if temperatures is None else temperatures.tolist(),
            info=self.info,
        )
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        put_text(text + '\n', str(path))

    def check(self, classes: Sequence[str]) -> None:
        """Raise if these are not the labels of the decisions.

        Args:
            classes (Sequence[str]): The names of a model's or data set's labels, in the
                order of the scores.

        Raises:
            OtherLabelsError: If names or their order differ.
        """
        difference = describe_difference(classes, self.classes, 'in the decisions')
        if difference is not None:
            raise OtherLabelsError(
                f'The decisions are for other labels: {difference}. Find thresholds '
                'for scores of this model.'
            )

    def calibrate(self, scores: Scores) -> Scores:
        r"""Compute calibrated scores, :math:`\sigma(\sigma^{-1}(s) / T)`.

        Scores of 0 and 1 count as what rounds to them in float32, so that they move
        like others. The order of the scores of a label stays.

        Args:
            scores (Tensor | np.ndarray): ``(..., L)`` from 0 to 1.

        Returns:
            Tensor | np.ndarray: The same shape and kind, in float64, since float32
            would make ties of scores near 1; on the device of ``scores``.

        Raises:
            ValueError: If the shape is wrong or a score is not from 0 to 1.
        """
        values = self._check_scores(scores).double()
        if self.temperatures is not None:
            temperatures = torch.from_numpy(self.temperatures).to(values.device)
            logits = values.logit().clamp(MIN_LOGIT, MAX_LOGIT)
            values = (logits / temperatures).sigmoid()
        return values if isinstance(scores, Tensor) else values.numpy()

    def predict(self, scores: Scores) -> Scores:
        """Tell which labels are predicted.

        Without temperatures, scores and thresholds are compared in the precision of the
        scores, so that a score of 0.7 in float32 passes a threshold of 0.7.

        Args:
            scores (Tensor | np.ndarray): ``(..., L)`` from 0 to 1, not calibrated.

        Returns:
            Tensor | np.ndarray: The same shape, kind and device, bool.

        Raises:
            ValueError: If the shape is wrong or a score is not from 0 to 1.
        """
        if self.temperatures is None:
            values = self._check_scores(scores)
        else:
            values = torch.as_tensor(self.calibrate(scores))
        thresholds = torch.from_numpy(self.thresholds).to(values.device)
        mask = values >= thresholds.to(values.dtype)
        return mask if isinstance(scores, Tensor) else mask.numpy()

    def _check_scores(self, scores: Tensor | np.ndarray) -> Tensor:
        """Check scores and return them as a tensor of single or double precision."""
        values = torch.as_tensor(scores).detach()
        if values.ndim == 0 or values.shape[-1] != len(self.classes):
            raise ValueError(
                f'Expected scores (..., {len(self.classes)}) of {len(self.classes)} '
                f'labels, got {tuple(values.shape)}.'
            )
        if values.dtype != torch.float64:
            values = values.float()
        if self.any_scale:
            return values
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            place = wrong.nonzero()[0].tolist()
            value = values[tuple(place)].item()
            image = f' in image {place[-2]} (from 0)' if len(place) > 1 else ''
            name = self.classes[place[-1]]
            raise ValueError(
                f"Scores must be from 0 to 1, got {value} for '{name}'{image}. "
                + score_hint(value)
            )
        return values


def read_thr(thr: float | Sequence[float]) -> np.ndarray:
    """Read and check the field ``thr`` of a config.

    Args:
        thr (float | Sequence[float]): One threshold, or one per class.

    Returns:
        np.ndarray: float64, ``()`` or ``(K,)``.

    Raises:
        ValueError: If it holds something else than finite numbers.
    """
    if isinstance(thr, np.ndarray | Tensor | Sequence) and not isinstance(thr, str):
        try:
            thresholds = torch.as_tensor(thr, dtype=torch.float64).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f'thr must hold numbers, got {thr!r:.200}.') from error
        if thresholds.ndim != 1 or not thresholds.isfinite().all():
            raise ValueError(
                'thr must be a finite number or K of them, one per class, got '
                f'{thr!r:.200}.'
            )
        return thresholds.numpy()
    if isinstance(thr, bool) or not isinstance(thr, Real) or not math.isfinite(thr):
        raise ValueError(f'thr must be a finite number, got {thr!r}.')
    return np.array(float(thr))


def score_hint(value: float) -> str:
    """Say what to do about a score that is not from 0 to 1."""
    if math.isnan(value):
        return 'The model gives nan: check that its training did not diverge.'
    if 1 < value <= 100:
        return 'Take the sigmoid of logits, or divide percent by 100, first.'
    return 'Take the sigmoid of logits first.'


def _numbers(name: str, values: Any, classes: tuple[str, ...]) -> np.ndarray:
    """Convert to finite numbers, one per class, as float64."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name} must be numbers, got {values!r:.200}.') from error
    if numbers.shape != (len(classes),):
        raise ValueError(
            f'{name} must be {len(classes)} numbers, one for each class, got the shape '
            f'{numbers.shape}.'
        )
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        number = int(wrong.argmax())
        raise ValueError(
            f"{name} must be finite, got {numbers[number]} for '{classes[number]}'."
        )
    return numbers
