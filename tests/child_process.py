# SPDX-License-Identifier: Apache-2.0
"""Processes of tests: forks of a server that has imported the stack.

A fork of the test process itself may wait for ever for a lock that another thread, such
as one of a dataloader, held at that moment. The server has one thread.
"""

import multiprocessing
from collections.abc import Callable
from typing import Any

CONTEXT = multiprocessing.get_context('forkserver')
# What most of them import. That takes longer than what they do.
CONTEXT.set_forkserver_preload(['mlcl_plugin.apis', 'yapf.yapflib.yapf_api'])


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
