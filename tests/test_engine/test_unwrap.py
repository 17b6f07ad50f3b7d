# SPDX-License-Identifier: Apache-2.0
from mmpretrain.models import AverageClsScoreTTA
from torch import nn

from mlcl_plugin.engine import unwrap_model


def test_unwrap():
    model = nn.Linear(2, 2)
    # MMEngine asks for it.
    model.test_step = None
    for wrapped in (
        model,
        nn.DataParallel(model),
        AverageClsScoreTTA(model),
        nn.DataParallel(AverageClsScoreTTA(model)),
    ):
        assert unwrap_model(wrapped) is model


def test_part_of_that_name():
    """Only wrappers are opened, not models with a submodule of the same name."""
    model = nn.ModuleDict(dict(module=nn.Linear(2, 2)))
    assert unwrap_model(model) is model
