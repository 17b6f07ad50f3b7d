# SPDX-License-Identifier: Apache-2.0
"""Reports on score dumps: values, tables, text, files."""
