# SPDX-License-Identifier: Apache-2.0
"""The page of a training: all that is known of it in one HTML file."""

from .content import Attend, Attended, PageOptions
from .work_folder import WorkFolder, model_files, read_work_folder
from .write import write_page

__all__ = [
    'Attend',
    'Attended',
    'PageOptions',
    'WorkFolder',
    'model_files',
    'read_work_folder',
    'write_page',
]
