# SPDX-License-Identifier: Apache-2.0
"""The demo: commands in their order, and a table of what they gave."""
