# SPDX-License-Identifier: Apache-2.0


def test_fingerprint(load, load_config, tmp_path):
    """Folders may move, settings may not change."""
    cfg = load_config(dict(load_from=str(tmp_path / 'here/file.pth')))
    moved = load_config(dict(load_from=str(tmp_path / 'there/file.pth')))
    for config in (cfg, moved):
        config.pop('work_dir')
    of = load('fingerprint').fingerprint
    assert of(cfg) != of(moved)
    assert of(cfg, tmp_path / 'here') == of(moved, tmp_path / 'there')
    moved.train_cfg.max_epochs = 3
    assert of(cfg, tmp_path / 'here') != of(moved, tmp_path / 'there')


def test_fingerprint_tells_features_apart(load, load_config):
    cfg = load_config()
    of = load('fingerprint').fingerprint
    assert of(cfg, features='a') == of(cfg, features='a') != of(cfg, features='b')
