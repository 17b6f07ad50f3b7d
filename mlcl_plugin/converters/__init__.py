# SPDX-License-Identifier: Apache-2.0
"""Convert weights of other code into checkpoints of this package."""
