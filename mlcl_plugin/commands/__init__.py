# SPDX-License-Identifier: Apache-2.0
"""Commands of the console script; each is a module of this package."""
