# SPDX-License-Identifier: Apache-2.0
from .model_index import register_models

__all__ = ['register_models']
