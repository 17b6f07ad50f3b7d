# SPDX-License-Identifier: Apache-2.0
import logging

from mmengine.fileio import FileClient

from mlcl_plugin.engine.log_notes import leave_out_notes
from mlcl_plugin.engine.runner import CheckedRunner


def test_only_notes_are_left_out():
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.Logger('test')
    logger.addHandler(handler)
    for _ in range(2):
        leave_out_notes(logger)
    assert len(handler.filters) == 1
    logger.info("backbone feature_info[%d]: {'stage': 1}", 0)
    logger.warning('"FileClient" will be deprecated in future. Please use')
    logger.warning('loss is %s', 'nan')
    assert records == ['loss is nan']


def test_log_of_a_run(load_config, capfd):
    runner = CheckedRunner.from_cfg(load_config())
    FileClient.infer_client(None, '.')
    runner.logger.warning('of substance')
    (log,) = (path for path in _logs(runner))
    text = log.read_text()
    assert 'of substance' in text and 'FileClient' not in text
    err = ''.join(capfd.readouterr())
    assert 'of substance' in err and 'FileClient' not in err


def _logs(runner):
    from pathlib import Path

    return Path(runner.work_dir).glob('*/*.log')
