# SPDX-License-Identifier: Apache-2.0
"""Tests. A package, so that no other one of this name is imported instead."""
