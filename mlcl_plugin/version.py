# SPDX-License-Identifier: Apache-2.0
# Read by setup.cfg without importing the package: keep it a plain string.
__version__ = '0.1.0'
