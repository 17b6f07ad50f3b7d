# SPDX-License-Identifier: Apache-2.0
"""Keep memory between the iterations of a training on CPUs."""

import ctypes
import platform

import torch

# Of glibc's malloc.h: parameters of mallopt()
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next allocation.

    By default glibc maps large blocks from the system, zeroed page by page, and gives
    them back when they are freed: on a CPU a training does so with every large tensor
    of every iteration. Afterwards this process holds on to the most memory it has
    used, and so does whatever else runs in it.

    Called by the tools at their start. Does nothing where a GPU does the work, or on
    other C libraries.

    Returns:
        bool: Whether the setting was made.
    """
    if torch.cuda.is_available() or platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Largest blocks too come from the heap, and its end is not given back.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
