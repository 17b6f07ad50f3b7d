# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_extraction.py."""

import sys

import torch
from mmengine.config import Config

from mlcl_plugin.engine import extract_features, setup_cpu_distributed
from mlcl_plugin.engine.cached_features.feature_files import FeatureFile


def main(rank, world_size, port, out, config, folder):
    cfg = Config.fromfile(config)
    cfg.launcher = 'pytorch'
    setup_cpu_distributed(cfg)
    written = []
    write = FeatureFile.write

    def record(self, images, view, features):
        if self.path.name == 'tune.npy':
            written.extend(images.tolist())
        write(self, images, view, features)

    FeatureFile.write = record
    extract_features(cfg, folder, num_views=2)
    torch.save(written, out)


if __name__ == '__main__':
    main(*sys.argv[1:])
