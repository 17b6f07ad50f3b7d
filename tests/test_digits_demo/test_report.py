# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.digits_demo.parts import PACKAGES
from mlcl_plugin.digits_demo.report import (
    METRICS,
    MODELS,
    describe_hardware,
    format_report,
)
from mlcl_plugin.engine.environment import installed_versions


@pytest.mark.parametrize('resumed', [True, False])
def test_report(resumed):
    values = {key: 90 + i for i, key in enumerate(METRICS)} | {'minutes': 1.25}
    content = dict(
        models=dict.fromkeys(MODELS, values),
        scenes=dict(train=5000, val=1000),
        seed=4,
        command='python tools/demo.py --seed 4',
        date='2024-02-29T12:00+00:00',
        minutes=6.54,
        resumed=resumed,
        hardware=describe_hardware(),
        versions=installed_versions(PACKAGES),
    )
    text = format_report(content)
    table = [line for line in text.splitlines() if line.startswith('|')]
    assert len({len(line) for line in table}) == 1
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table]
    assert cells[0][1:] == ['mAP', 'CF1', 'OF1', 'top-3 CF1', 'top-3 OF1', 'minutes']
    expected = ['90.00', '91.00', '92.00', '93.00', '94.00', '1.2']
    assert cells[3] == ['step 2 without contrast', *expected]
    for part in (
        '`python tools/demo.py --seed 4`',
        'seed: 4',
        '2024-02-29',
        '6.5 minutes',
    ):
        assert part in text
    assert ('since it was resumed' in text) is resumed
    assert ' cores' in text and 'torch ' in text and 'mlcl_plugin ' in text
