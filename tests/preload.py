# SPDX-License-Identifier: Apache-2.0
"""What the server of test processes imports, so that its forks need not.

That takes longer than what most of them do. Nor need they search it for garbage.
"""

import gc

import yapf.yapflib.yapf_api  # noqa: F401

import mlcl_plugin.apis  # noqa: F401

gc.freeze()
