# SPDX-License-Identifier: Apache-2.0
import logging
import sys

from mmengine.logging import MMLogger

from mlcl_plugin.fit.console import Console, log_to_file


def test_a_logger_lives_longer_than_the_log(tmp_path, capsys):
    path = tmp_path / 'fit.log'
    logger = logging.Logger('fit')
    with log_to_file(Console(), path):
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.error('within')
    logger.error('after')
    out, err = capsys.readouterr()
    # A closed file would let logging write its own error to stderr.
    assert (out, err) == ('after\n', '')
    assert path.read_text() == 'within\n'


def test_a_logger_that_exists_writes_to_the_log(tmp_path, capsys, monkeypatch):
    path = tmp_path / 'fit.log'
    logger = MMLogger.get_current_instance()
    (handler,) = [h for h in logger.handlers if type(h) is logging.StreamHandler]
    monkeypatch.setattr(handler, 'stream', sys.stdout)
    with log_to_file(Console(), path):
        logger.warning('within')
    logger.warning('after')
    out, err = capsys.readouterr()
    assert 'after' in out and 'within' not in out + err
    assert 'within' in path.read_text() and 'after' not in path.read_text()
