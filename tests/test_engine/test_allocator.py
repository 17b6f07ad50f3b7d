# SPDX-License-Identifier: Apache-2.0
import platform
import subprocess
import sys

import pytest
import torch

from mlcl_plugin.engine import keep_memory

# In a process of its own, since the setting cannot be taken back.
SCRIPT = """
import resource, sys, torch
from mlcl_plugin.engine import keep_memory
assert sys.argv[1] == 'default' or keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(2**24)
before = faults()
for _ in range(5):
    torch.ones(2**24)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only for glibc')
def test_pages_are_used_again(monkeypatch):
    """64 MB five times over: without the setting, all pages are new each time."""
    faults = {}
    for setting in ('default', 'kept'):
        call = [sys.executable, '-W', 'ignore', '-c', SCRIPT, setting]
        out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        faults[setting] = int(out.splitlines()[-1])
    assert faults['kept'] < 100 < faults['default']


def test_not_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert keep_memory() is False


def test_not_with_another_c_library(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert keep_memory() is False
