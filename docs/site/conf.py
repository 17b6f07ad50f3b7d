# SPDX-License-Identifier: Apache-2.0
"""Sphinx's settings for the documentation site, which `make docs` builds."""

from mlcl_plugin.version import __version__

project = 'mlcl_plugin'
version = release = __version__
extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'sphinx_external_toc',
    'sphinxcontrib.katex',
]
# The sources are read where they are, so that links are the same here and on GitHub.
include_patterns = [
    '*.md',
    'configs/README.md',
    'docs/**',
    'mlcl_plugin/weights/README.md',
]
exclude_patterns = ['docs/site/[!a]*', '.github', 'data']
external_toc_path = 'docs/site/toc.yml'

html_theme = 'furo'
html_title = f'mlcl_plugin {version}'
html_copy_source = False
templates_path = ['templates']
html_static_path = ['static']
html_js_files = ['keyboard.js']
# The site starts with the README.
html_extra_path = ['index.html']

# GitHub's anchors of headings.
myst_heading_anchors = 6

# MathML, which browsers draw without a font from elsewhere.
html_math_renderer = 'katex'
katex_css_path = 'katex-math.css'
katex_options = "output: 'mathml'"

# The notebook runs anew in each build; an error fails the build.
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True

autodoc_default_options = {'members': True, 'imported-members': True}
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
napoleon_numpy_docstring = False
