# SPDX-License-Identifier: Apache-2.0
import os


def test_last_checkpoint(load, tmp_path):
    """Of a config without steps and of the last one of several; also if moved."""
    last_checkpoint = load('runs').last_checkpoint
    assert last_checkpoint(tmp_path) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_1.pth')
    assert last_checkpoint(tmp_path) is None
    (tmp_path / 'epoch_1.pth').touch()
    assert last_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')
    for step, time in (('step2', 2e9 + 1), ('step1', 2e9)):
        (tmp_path / step).mkdir()
        (tmp_path / step / f'{step}.pth').touch()
        pointer = tmp_path / step / 'last_checkpoint'
        pointer.write_text(str(tmp_path / step / f'{step}.pth'))
        os.utime(pointer, (time, time))
    assert last_checkpoint(tmp_path) == str(tmp_path / 'step2/step2.pth')


def test_is_trained(load, load_config, tmp_path):
    """Of a config without steps, by its last epoch."""
    is_trained = load('runs').is_trained
    cfg = load_config()
    cfg.pop('steps')
    cfg.train_cfg.max_epochs = 2
    for epoch, expected in ((1, False), (2, True)):
        path = tmp_path / f'epoch_{epoch}.pth'
        path.touch()
        (tmp_path / 'last_checkpoint').write_text(str(path))
        assert is_trained(cfg, tmp_path) is expected
