# SPDX-License-Identifier: Apache-2.0
"""A page in the browser: drop a photograph, see its labels and why.

:mod:`page` and :mod:`server` need gradio, of the extra ``web``; the others do not.
"""
