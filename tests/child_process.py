# SPDX-License-Identifier: Apache-2.0
"""Processes of tests: forks of a server that has imported the stack.

A fork of the test process itself may wait for ever for a lock that another thread, such
as one of a dataloader, held at that moment. The server has one thread.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import distributed

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.preload'])


def exit_code_of(function: Callable[..., Any], *args: Any, seconds: float = 300) -> int:
    """Call a function of a module in a process, and give the status it ends with.

    Args:
        function (Callable): What to call; 0 is the status where it returns, 1 where it
            raises.
        *args (Any): Its arguments, which are pickled.
        seconds (float): The longest time to wait. Defaults to 300.

    Raises:
        TimeoutError: If the process has not ended by then. It is killed.
    """
    process = CONTEXT.Process(target=function, args=args)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f'{function.__name__} took more than {seconds} s')
    return process.exitcode


UNFORMATTED = ('yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True))
"""What to patch, and by what, so that configs are not formatted. To format them for
every checkpoint takes longer than the rest of a tiny run."""


def run_as_rank(script: str, rank: int, world_size: int, *args: Any) -> None:
    """Run a script as one of several processes of a run on CPUs.

    The process group is the script's; it is destroyed here.

    Args:
        script (str): The file.
        rank (int): The rank of this process.
        world_size (int): The number of processes.
        *args (Any): Port and other arguments. The script gets all but its own name in
            ``sys.argv``.
    """
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(args[0]),
    )
    torch.set_num_threads(1)
    sys.argv = [str(value) for value in (script, rank, world_size, *args)]
    with mock.patch(*UNFORMATTED):
        runpy.run_path(script, run_name='__main__')
    distributed.destroy_process_group()
