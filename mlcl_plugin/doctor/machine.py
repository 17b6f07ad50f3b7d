# SPDX-License-Identifier: Apache-2.0
"""What of a machine decides how fast a training is."""

import os
import re
from collections.abc import Iterator

import torch

from ..engine.environment import count_cores, describe_processor

FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'avx512_fp16', 'asimd', 'bf16')
"""Instruction sets that matrix products use."""


def describe_machine() -> Iterator[tuple[str, str]]:
    """Describe processor, threads, libraries and GPUs, each with a title."""
    processor = describe_processor()
    yield 'processor', f'{processor.name}, {count_cores()} cores for this process'
    given = os.environ.get('OMP_NUM_THREADS')
    yield (
        'threads',
        f'{torch.get_num_threads()} of torch'
        + (f' (OMP_NUM_THREADS={given})' if given else ''),
    )
    yield 'matrix products', _blas()
    flags = [flag for flag in FLAGS if flag in processor.flags]
    # 16 bits without instructions for them are slower than 32.
    fast = any('bf16' in flag for flag in flags)
    yield (
        'bfloat16 on CPU',
        ('fast' if fast else 'no instructions for it, --amp would be slower')
        + (f' ({", ".join(flags)})' if flags else ''),
    )
    yield from _gpus()


def _blas() -> str:
    config = torch.__config__.show()
    found = re.search(r'BLAS_INFO=(\w+)', config)
    names = [found.group(1) if found else 'an unnamed BLAS']
    if torch.backends.mkldnn.is_available():
        names.append('oneDNN')
    return ', '.join(names)


def _gpus() -> Iterator[tuple[str, str]]:
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            bf16 = 'bfloat16' if torch.cuda.is_bf16_supported() else 'no bfloat16'
            yield f'GPU {index}', f'{properties.name}, {memory:.1f} GiB, {bf16}'
    elif torch.backends.mps.is_available():
        yield 'GPU', 'Metal (mps)'
    else:
        build = torch.version.cuda or torch.version.hip
        kind = f'for CUDA {build}' if build else 'for CPUs only'
        yield 'GPU', f'none that torch can use; this torch is built {kind}'
