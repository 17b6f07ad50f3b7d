# SPDX-License-Identifier: Apache-2.0
"""Image-level labels in the forms of COCO, VOC, tables and MMPretrain.

A form stores which labels an image has and, where it can, of which it is unknown
whether the image has them. Boxes and masks are not kept. Images stay where they are,
named by their paths relative to one root, the image folder.
"""

from .convert import (
    FORMS,
    form_to_write,
    guess_form,
    prepare_files,
    read_labels,
    write_labels,
)
from .files import write_files
from .form import Files, Form, ReadOptions, WriteOptions, config_text
from .image_labels import ImageLabels

__all__ = [
    'FORMS',
    'Files',
    'Form',
    'ImageLabels',
    'ReadOptions',
    'WriteOptions',
    'config_text',
    'form_to_write',
    'guess_form',
    'prepare_files',
    'read_labels',
    'write_files',
    'write_labels',
]
