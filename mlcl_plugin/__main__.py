# SPDX-License-Identifier: Apache-2.0
"""``python -m mlcl_plugin`` is the same as ``mlcl``."""

import sys

from .commands import main

if __name__ == '__main__':
    sys.exit(main())
