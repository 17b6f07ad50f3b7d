# SPDX-License-Identifier: Apache-2.0
"""Keep two runs from writing into one folder."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ..errors import FolderInUseError
from .process_table import runs, start_of

LOCK = '.lock'
"""Name of the file that says which process writes into a folder."""
BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 30.0
"""Seconds without a sign of life after which a run on another machine is dead."""


@contextmanager
def hold_folder(folder: str | os.PathLike) -> Iterator[None]:
    """Let no other run write into a folder in the meantime.

    The main process of a run writes its id, its machine and the time into a file, and
    renews it every :data:`BEAT` seconds. The file of a dead run is taken over: at once
    if the run was on this machine, after :data:`SILENCE` seconds without a sign of life
    if it was on another one. A process that holds the folder may enter it again.

    Args:
        folder (str | os.PathLike): The folder; it is made.

    Raises:
        FolderInUseError: In all processes of this run, if another run holds the folder,
            or it cannot be written.
    """
    lock = _Lock(Path(folder, LOCK))
    problem: list[str | None] = [None]
    if is_main_process():
        try:
            lock.take()
        except FolderInUseError as error:
            problem = [str(error)]
        except OSError as error:
            problem = [
                f'Cannot write into {folder}: {error.strerror or error}. Make room '
                'or set another work_dir.'
            ]
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise FolderInUseError(problem[0])
    try:
        yield
    finally:
        lock.release()


class _Lock:
    """The file of a folder."""

    def __init__(self, path: Path):
        self.path = path
        self.owner = dict(
            pid=os.getpid(), host=socket.gethostname(), started=start_of(os.getpid())
        )
        self.stop = threading.Event()
        self.taken = False

    def take(self) -> None:
        """Write the file.

        Raises:
            FolderInUseError: If another run holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while not self._create():
            holder = _content(self.path)
            if holder is None:
                # Removed in the meantime.
                continue
            if self._is_me(holder):
                return
            if self._is_alive(holder):
                raise FolderInUseError(
                    f'Process {holder.get("pid")} on {holder.get("host")} writes into '
                    f'{self.path.parent} since {holder.get("since")}. Wait for it, '
                    'stop it, or set another work_dir. If there is no such process, '
                    f'delete {self.path}.'
                )
            print_log(
                f'Process {holder.get("pid")} on {holder.get("host")} has not released '
                f'{self.path.parent} and is dead. This run takes the folder over.',
                'current',
            )
            self._take_over(holder)
        self.taken = True
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Remove the file, if this object has written it."""
        self.stop.set()
        if self.taken:
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Write the file if there is none; it is complete when others see it."""
        part = self.path.with_name(f'{LOCK}.{self.owner["host"]}.{os.getpid()}')
        content = dict(self.owner, since=time.strftime('%Y-%m-%d %H:%M:%S'))
        try:
            part.write_text(json.dumps(content))
            return self._link(part)
        finally:
            part.unlink(missing_ok=True)

    def _link(self, part: Path) -> bool:
        """Give the file its name, unless there is one."""
        try:
            # Fails if there is such a file.
            os.link(part, self.path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without links.
            return self._create_exclusively(part.read_text())
        return True

    def _create_exclusively(self, content: str) -> bool:
        try:
            file = self.path.open('x')
        except FileExistsError:
            return False
        try:
            with file:
                file.write(content)
        except OSError:
            # Half a file would keep other runs out.
            self.path.unlink()
            raise
        return True

    def _take_over(self, holder: dict) -> None:
        """Remove the file of a dead run; of several takers, one comes first."""
        stale = self.path.with_name(f'{LOCK}.{self.owner["host"]}.{os.getpid()}.stale')
        with suppress(FileNotFoundError):
            os.rename(self.path, stale)
            if _content(stale) != holder:
                # Another taker was faster, and this is its file.
                with suppress(OSError):
                    os.link(stale, self.path)
            stale.unlink()

    def _is_me(self, holder: dict) -> bool:
        return all(holder.get(key) == value for key, value in self.owner.items())

    def _is_alive(self, holder: dict) -> bool:
        pid = holder.get('pid')
        here = holder.get('host') == self.owner['host']
        if here and isinstance(pid, int) and os.name == 'posix':
            return runs(pid) and holder.get('started') in (None, start_of(pid))
        # Clocks of machines differ, so only a change of the time counts.
        first, end = self._time(), time.monotonic() + SILENCE
        while time.monotonic() < end:
            time.sleep(SILENCE / 30)
            if self._time() != first:
                return self.path.exists()
        return False

    def _time(self) -> int | None:
        try:
            # Network file systems renew what they know of a file that is opened.
            with self.path.open() as file:
                return os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None

    def _beat(self) -> None:
        while not self.stop.wait(BEAT):
            with suppress(OSError):
                os.utime(self.path)


def _content(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}
