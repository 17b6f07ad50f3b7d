# SPDX-License-Identifier: Apache-2.0
"""What a fit says on the console, and what goes to its log file alone."""

import logging
import math
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from ..plain_text import printable

LINES = 10
"""Lines of a step that is not validated after every epoch."""


class Console:
    """Writes the few lines of a fit, and counts its time.

    Args:
        stream (TextIO): Where to. Defaults to stdout.
        quiet (bool): Whether to write nothing. Defaults to False.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False):
        self.stream = stream or sys.stdout
        self.quiet = quiet
        self.start = time.monotonic()
        self.log: TextIO | None = None

    def line(self, text: str = '') -> None:
        """Write a line."""
        text = printable(text, keep='\n')
        if not self.quiet:
            print(text, file=self.stream, flush=True)
        if self.log is not None:
            print(text, file=self.log, flush=True)

    def field(self, name: str, text: str) -> None:
        """Write a line that tells one thing."""
        self.line(f'{name:<9}{text}')

    @property
    def elapsed(self) -> float:
        """float: Seconds since the start."""
        return time.monotonic() - self.start


def duration(seconds: float) -> str:
    """Write a duration.

    Examples:
        >>> duration(42.3), duration(95), duration(4000)
        ('42 s', '1 min 35 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole % 3600 // 60} min'


class _LogStream:
    """A log file, and stdout once it is closed.

    A logger that is made in the meantime keeps the stream and writes to it later, too.
    """

    def __init__(self, log: TextIO):
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout if self._log.closed else self._log, name)


@contextmanager
def log_to_file(console: Console, path: Path) -> Iterator[None]:
    """Send what libraries print, log and warn of to a file in the meantime.

    Args:
        console (Console): Its lines go to the file, too.
        path (Path): The file, which is added to.
    """
    show = warnings.showwarning

    def write(message, category, filename, lineno, file=None, line=None) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, file=log, end='', flush=True)

    with path.open('a', encoding='utf-8') as log:
        console.log = log
        warnings.showwarning = write
        stream = cast(TextIO, _LogStream(log))
        # A logger that exists writes to what stdout was when it was made.
        handlers = [
            handler
            for handler in MMLogger.get_current_instance().handlers
            if type(handler) is logging.StreamHandler
        ]
        before = [handler.stream for handler in handlers]
        for handler in handlers:
            handler.stream = stream
        try:
            with redirect_stdout(stream), redirect_stderr(stream):
                yield
        finally:
            for handler, old in zip(handlers, before):
                handler.stream = old
            warnings.showwarning = show
            console.log = None


class EpochLines(Hook):
    """Writes a line per epoch: its loss, the validation mAP and the time left.

    Args:
        console (Console): Where to.
        step (str): The name of the step.
        epochs_after (int): Epochs of the steps that follow.
        judged (str): What to call the validation mAP. Defaults to 'val mAP'.
    """

    # After those that validate and save.
    priority = 'LOWEST'

    def __init__(
        self, console: Console, step: str, epochs_after: int, judged: str = 'val mAP'
    ):
        self.console = console
        self.judged = judged
        self.step = step
        self.epochs_after = epochs_after
        self._begin = 0.0
        self._first = self._epoch = 0
        self._losses: list[float] = []

    def before_train(self, runner) -> None:
        """Start the clock."""
        self._first = runner.epoch
        self._begin = time.monotonic()

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Remember the loss."""
        loss = torch.as_tensor((outputs or {}).get('loss', math.nan))
        self._losses.append(float(loss.detach()))

    def after_train_epoch(self, runner) -> None:
        """Count the epoch, and write its line if it is not validated."""
        # MMEngine counts it after its hooks.
        self._epoch = runner.epoch + 1
        interval = runner.train_loop.val_interval
        last = self._epoch == runner.max_epochs
        validated = runner.val_loop is not None and (
            last or self._epoch % interval == 0
        )
        if not validated and (last or self._epoch % self._every(runner) == 0):
            self._write(runner, '')

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Write the line of an epoch that is validated."""
        # A resume may begin with a validation.
        self._epoch = max(self._epoch, runner.epoch)
        values = [v for k, v in (metrics or {}).items() if k.endswith('/mAP')]
        self._write(runner, f', {self.judged} {values[0]:.2f}' if values else '')

    @staticmethod
    def _every(runner) -> int:
        """Epochs between two lines."""
        return max(1, math.ceil(runner.max_epochs / LINES))

    def _write(self, runner, text: str) -> None:
        pace = (time.monotonic() - self._begin) / max(self._epoch - self._first, 1)
        left = runner.max_epochs - self._epoch + self.epochs_after
        loss = sum(self._losses) / max(len(self._losses), 1)
        self._losses.clear()
        rest = f', {duration(pace * left)} left' if left else ''
        own = f' loss {loss:.4f}' if self._epoch > self._first else ''
        self.console.line(
            f'  {self.step}, epoch {self._epoch}/{runner.max_epochs}:{own}{text}{rest}'
        )
