# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain import get_model

from mlcl_plugin.apis import MultiLabelInferencer, fit_neighbours
from mlcl_plugin.web_demo.panels import PanelWriter
from mlcl_plugin.web_demo.uploads import Limits
from mlcl_plugin.web_demo.viewer import PhotographViewer

LIMITS = Limits(max_bytes=200_000, max_pixels=100_000)


@pytest.fixture
def viewer(load_config, tmp_path):
    """Of a model with random weights and with memories of labels and of images."""
    cfg = load_config()
    torch.manual_seed(0)
    model = get_model(cfg.copy(), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    meta = dict(dataset_meta=dict(classes=('cat', '<b>dog', 'owl')))
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    kinds = [dict(type='ImageNeighbours'), dict(type='LabelNeighbours')]
    fitted = fit_neighbours(
        cfg,
        path,
        neighbours=kinds,
        device='cpu',
        weights=(0.2, 0.3, 0.5),
        allow_other_labels=True,
    )
    inferencer = MultiLabelInferencer(fitted.config, fitted.checkpoint, 'cpu')
    return PhotographViewer(inferencer, LIMITS)


@pytest.fixture
def writer(viewer):
    return PanelWriter(viewer)
