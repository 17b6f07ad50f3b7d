# SPDX-License-Identifier: Apache-2.0
from .examination import Fact, examine

__all__ = ['Fact', 'examine']
