# SPDX-License-Identifier: Apache-2.0
import importlib
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.logging import MMLogger

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch):
    """Function that imports a module of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    return importlib.import_module


@pytest.fixture
def settings():
    """Set back what benchmarks change for their whole process."""
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    logger = MMLogger.get_current_instance()
    level = logger.level
    yield
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv2_threads)
    logger.setLevel(level)
