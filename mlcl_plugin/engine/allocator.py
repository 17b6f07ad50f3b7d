# SPDX-License-Identifier: Apache-2.0
"""Keep memory between the iterations of a training on CPUs."""

import ctypes
import platform

import torch

# Parameters of mallopt() in glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next allocation.

    By default glibc gets large blocks from the system, which zeroes every page, and
    gives them back when they are freed. A training on a CPU does so for every large
    tensor in every iteration. With this setting the process, including all other code
    in it, keeps as much memory as it has used at its peak.

    Does nothing with a GPU or with another C library.

    Returns:
        bool: Whether the setting was made.
    """
    if torch.cuda.is_available() or platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Take the largest blocks from the heap too, and never give back its end.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
