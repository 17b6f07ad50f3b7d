# SPDX-License-Identifier: Apache-2.0
"""Run a command of a page as a reader's shell does."""

import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from unittest import mock

from tests.child_process import UNFORMATTED, exit_code_of
from tests.documented_commands import ROOT, expand_braces

SECONDS = 1200


def run_words(folder, log, words):
    """Run ``mlcl`` or a Python file, in a process of its own that has imported all.

    Args:
        folder (Path): The current folder.
        log (Path): The file for what is printed.
        words (list[str]): ``mlcl`` or ``python``, and the arguments.
    """
    os.chdir(folder)
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    program, *words = words
    with mock.patch(*UNFORMATTED):
        if program == 'mlcl':
            from mlcl_plugin.commands import main

            sys.argv = [program, *words]
            sys.exit(main(words))
        sys.argv = words
        sys.path.insert(0, str(folder))
        runpy.run_path(words[0], run_name='__main__')


class Runner:
    """Runs commands in a folder.

    Args:
        folder (Path): The folder, with ``bin/mlcl``.
    """

    def __init__(self, folder):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = str(server.getsockname()[1])
        path = [str(folder / 'bin'), str(Path(sys.executable).parent)]
        self.folder = folder
        self.env = os.environ | {
            'PATH': os.pathsep.join([*path, os.environ['PATH']]),
            'PYTHONPATH': str(ROOT),
            'PYTHONUNBUFFERED': '1',
            # Of torchrun.
            'PORT': port,
        }

    def run(self, command):
        """Run a command; it must end well.

        A plain one takes no shell and no new Python, which would import for seconds.
        """
        words = list(expand_braces(shlex.split(command)))
        plain = not re.search('[|<>&;*]', re.sub("'[^']*'", '', command))
        if words[0] == 'mlcl' and plain:
            self.run_words(words)
            return
        with self.start(command) as process:
            output = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0, f'{command}\n{output[-4000:]}'

    def run_file(self, name):
        """Run a Python file."""
        self.run_words(['python', name])

    def run_words(self, words):
        log = self.folder / 'log.txt'
        code = exit_code_of(run_words, self.folder, log, words, seconds=SECONDS)
        assert code == 0, f'{shlex.join(words)}\n{log.read_text()[-4000:]}'

    def start(self, command):
        return subprocess.Popen(
            ['bash', '-c', command],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def serve(self, command):
        """Run a command that serves a page: ask for the page once, and end it."""
        with self.start(f'exec {command} --port 0') as process:
            try:
                lines = []
                for line in process.stdout:
                    lines.append(line)
                    if found := re.search(r'http://\S+', line):
                        break
                else:
                    raise AssertionError(f'{command}\n{"".join(lines)}')
                with urllib.request.urlopen(found[0], timeout=60) as answer:
                    assert answer.status == 200
                # Ctrl-C is ignored by what was started in the background.
                process.terminate()
                assert process.wait(timeout=60) in (0, 130)
            finally:
                process.kill()
