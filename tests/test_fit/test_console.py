# SPDX-License-Identifier: Apache-2.0
import logging
import sys

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
