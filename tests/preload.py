# SPDX-License-Identifier: Apache-2.0
"""What the server of test processes imports, so that its forks need not.

That takes longer than what most of them do. Nor need they search it for garbage. They
are processes of runs on CPUs, and a fork could not use a GPU that the imports ask for.
"""

import gc
import os

os.environ['CUDA_VISIBLE_DEVICES'] = '-1'

import yapf.yapflib.yapf_api  # noqa: F401

import mlcl_plugin.apis  # noqa: F401

gc.freeze()
