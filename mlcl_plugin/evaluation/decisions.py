# SPDX-License-Identifier: Apache-2.0
"""From scores to labels: a temperature and a threshold for each label, in one file."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.fileio import get_text, put_text
from torch import Tensor

Scores = TypeVar('Scores', Tensor, np.ndarray)

# Logits of the numbers that 0 and 1 stand for at least: half of float32's smallest one,
# and 1 less half of the step below it. Any other number of float32 lies in between.
MIN_LOGIT = -150 * math.log(2)
MAX_LOGIT = math.log(2**25 - 1)


@dataclass(frozen=True, eq=False)
class Decisions:
    """Which labels an image gets, given its scores.

    A label is predicted where its calibrated score is at least its threshold, see
    :meth:`predict`. Made by ``tools/analysis_tools/thresholds.py``.

    Args:
        classes (Sequence[str]): L different names.
        thresholds (Sequence[float]): ``(L,)``, for calibrated scores. Kept as float64.
        temperatures (Sequence[float], optional): ``(L,)`` positive numbers that logits
            are divided by. None leaves scores as they are. Kept as float64. Defaults to
            None.
        info (dict): How they were found, as JSON can hold it. Defaults to {}.

    Raises:
        ValueError: If a name is no string or comes twice, the numbers are not as many
            as the names, one is not finite, or a temperature is not positive.

    Examples:
        >>> import numpy as np
        >>> decisions = Decisions(['cat', 'dog'], [0.3, 0.6], [2.0, 1.0])
        >>> decisions.calibrate(np.array([[0.9, 0.5]])).round(6)
        array([[0.75, 0.5 ]])
        >>> decisions.predict(np.array([[0.9, 0.5]]))
        array([[ True, False]])
    """

    classes: Sequence[str]
    thresholds: Sequence[float]
    temperatures: Sequence[float] | None = None
    info: dict[str, Any] = field(default_factory=dict)

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
            object.__setattr__(self, 'temperatures', temperatures)

    @classmethod
    def uniform(cls, classes: Sequence[str], threshold: float) -> 'Decisions':
        """Make decisions with one threshold for all labels and without calibration.

        Args:
            classes (Sequence[str]): L different names.
            threshold (float): The threshold.

        Returns:
            Decisions: For scores of these labels.

        Raises:
            ValueError: If a name or the threshold is of no use.
        """
        return cls(classes, [threshold] * len(classes))

    @classmethod
    def load(cls, path: str | PathLike) -> 'Decisions':
        """Read a decision file.

        Args:
            path (str | PathLike): A JSON file with ``classes``, ``thresholds`` and
                perhaps ``temperatures`` and ``info``; may be remote.

        Returns:
            Decisions: What it holds.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else.
        """
        path = str(path)
        try:
            content = json.loads(get_text(path))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f'There is no decision file {path}. '
                'tools/analysis_tools/thresholds.py writes one.'
            ) from error
        except ValueError as error:
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
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path} is no decision file: {error}') from error

    def save(self, path: str | PathLike) -> None:
        """Write a decision file, in a folder that is made if it is missing.

        Args:
            path (str | PathLike): Where to; may be remote.

        Raises:
            ValueError: If ``info`` holds a number that is not finite.
            TypeError: If ``info`` holds what JSON has no form for.
        """
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
        """Raise if these are not the labels of a model or a dataset.

        Args:
            classes (Sequence[str]): The names, in the order of the scores.

        Raises:
            ValueError: If names or their order differ.
        """
        classes = tuple(classes)
        if classes == self.classes:
            return
        if sorted(map(str, classes)) == sorted(self.classes):
            number = next(
                i for i, (a, b) in enumerate(zip(classes, self.classes)) if a != b
            )
            raise ValueError(
                'The decisions have the same labels in another order: label '
                f"{number} is '{self.classes[number]}' there and '{classes[number]}' "
                'here. Find thresholds for scores of this model.'
            )
        missing = [name for name in classes if name not in self.classes]
        added = [name for name in self.classes if name not in classes]
        raise ValueError(
            f'The decisions are for {len(self.classes)} labels, expected these '
            f'{len(classes)}: without decision {missing[:5]}, not asked for '
            f'{added[:5]} (the first five of each). Find thresholds for scores of this '
            'model.'
        )

    def calibrate(self, scores: Scores) -> Scores:
        r"""Calibrated scores, :math:`\sigma(\sigma^{-1}(s) / T)`.

        Scores of 0 and 1 are taken for what rounds to them in float32, and so move as
        others do. The order of the scores of a label stays.

        Args:
            scores (Tensor | np.ndarray): ``(..., L)`` from 0 to 1.

        Returns:
            Tensor | np.ndarray: The same shape and kind, in float64, since float32
            would make ties of scores near 1; on the device of ``scores``.

        Raises:
            ValueError: If the shape is another or a score is outside of [0, 1].
        """
        values = self._check_scores(scores).double()
        if self.temperatures is not None:
            temperatures = torch.from_numpy(self.temperatures).to(values.device)
            logits = values.logit().clamp(MIN_LOGIT, MAX_LOGIT)
            values = (logits / temperatures).sigmoid()
        return values if isinstance(scores, Tensor) else values.numpy()

    def predict(self, scores: Scores) -> Scores:
        """Which labels are predicted.

        Without temperatures, scores and thresholds are compared in the precision of the
        scores, so that a score of 0.7 in float32 passes a threshold of 0.7.

        Args:
            scores (Tensor | np.ndarray): ``(..., L)`` from 0 to 1, not calibrated.

        Returns:
            Tensor | np.ndarray: The same shape, kind and device, bool.

        Raises:
            ValueError: If the shape is another or a score is outside of [0, 1].
        """
        if self.temperatures is None:
            values = self._check_scores(scores)
        else:
            values = torch.as_tensor(self.calibrate(scores))
        thresholds = torch.from_numpy(self.thresholds).to(values.device)
        mask = values >= thresholds.to(values.dtype)
        return mask if isinstance(scores, Tensor) else mask.numpy()

    def _check_scores(self, scores: Tensor | np.ndarray) -> Tensor:
        """The scores as a tensor of single or double precision."""
        values = torch.as_tensor(scores).detach()
        if values.ndim == 0 or values.shape[-1] != len(self.classes):
            raise ValueError(
                f'Expected scores (..., {len(self.classes)}) of {len(self.classes)} '
                f'labels, got {tuple(values.shape)}.'
            )
        if values.dtype != torch.float64:
            values = values.float()
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


def score_hint(value: float) -> str:
    """What to do about a score that is none."""
    if math.isnan(value):
        return 'The model gives no number: are its weights those of a sound training?'
    return 'Take the sigmoid of logits first.'


def _numbers(name: str, values: Any, classes: tuple[str, ...]) -> np.ndarray:
    """Finite numbers, one for each class, as float64."""
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
