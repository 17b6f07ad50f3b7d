# SPDX-License-Identifier: Apache-2.0
"""What the process imports whose forks are the commands, so that they need not."""

import gc

from .. import apis  # noqa: F401

# What is imported stays, so that forks need not search it for garbage.
gc.freeze()
