# SPDX-License-Identifier: Apache-2.0
"""Write models as files that other programs run, after a comparison with torch."""

from .exporter import FORMATS, Exported, export_model

__all__ = ['FORMATS', 'Exported', 'export_model']
