# SPDX-License-Identifier: Apache-2.0
import platform
import subprocess
import sys

import pytest
import torch

from mlcl_plugin.engine import keep_memory

# In a process of its own, since the setting cannot be taken back.
SCRIPT = """
import resource, torch
from mlcl_plugin.engine.allocator import keep_memory
def faults():
    for _ in range(3):
        torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), keep_memory(), faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only for glibc')
def test_pages_are_used_again():
    """64 MB five times over: without the setting, all pages are new each time."""
    call = [sys.executable, '-W', 'ignore', '-c', SCRIPT]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    without, kept, with_it = out.splitlines()[-1].split()
    assert kept == 'True'
    assert int(with_it) < 100 < int(without)


def test_not_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert keep_memory() is False


def test_not_with_another_c_library(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert keep_memory() is False
