# SPDX-License-Identifier: Apache-2.0
"""Neck, head and neighbours pass torch.export with a batch of any size."""

import pytest
import torch
from torch import nn

from mlcl_plugin.models import (
    ImageNeighbours,
    LabelAttentionNeck,
    LabelNeighbours,
    LabelQueryDecoder,
    LabelWiseClsHead,
    MLDecoderNeck,
)
from mlcl_plugin.models.neighbours import Outputs, blend
from tests.marks import rare

NECKS = {
    'attention': lambda: LabelAttentionNeck(5, 16, 8, 2, 0, 0),
    'attention with blocks': lambda: LabelAttentionNeck(5, 16, 8, 2, 1, 1),
    'few queries': lambda: LabelAttentionNeck(1, 16, 8, 2, 0, 0),
    'groups': lambda: LabelAttentionNeck(5, 16, 8, 2, 0, 0, num_groups=2),
    'query2label': lambda: LabelQueryDecoder(5, 16, 8, 2, feedforward_channels=8),
    'ml_decoder': lambda: MLDecoderNeck(5, 16, 8, num_heads=2, feedforward_channels=8),
}
MEMORIES = {
    'plain': (LabelNeighbours, {}),
    'nearest': (LabelNeighbours, dict(num_neighbours=5, prototypes=None)),
    'projected': (
        LabelNeighbours,
        dict(num_neighbours=5, prototypes=None, dims=4, storage='int8'),
    ),
    'prototypes': (LabelNeighbours, dict(prototypes=(2, 3))),
    'images': (ImageNeighbours, dict(num_neighbours=5)),
    'image prototypes': (ImageNeighbours, dict(prototypes=(2, 3))),
}
skip_old_torch = pytest.mark.skipif(
    not hasattr(torch.export, 'Dim'), reason='torch.export has no dynamic shapes yet'
)


class Parts(nn.Module):
    """What comes after the backbone."""

    def __init__(self, neck, memory):
        super().__init__()
        self.neck = neck
        self.head = LabelWiseClsHead(
            neck.num_classes, 8, num_groups=getattr(neck, 'num_groups', None)
        )
        self.memory = memory

    def vectors(self, features):
        feats = self.neck((features,))
        outputs = Outputs(self.head, features, self.head.pre_logits(feats))
        return self.head(feats), self.memory.vectors(outputs)

    def forward(self, features):
        logits, vectors = self.vectors(features)
        return blend(logits, [self.memory(vectors)], (0.3, 0.7))


def make(neck, memory):
    torch.manual_seed(0)
    cls, options = MEMORIES[memory]
    parts = Parts(NECKS[neck](), cls(**options)).eval()
    targets = torch.randint(-1, 2, (60, parts.neck.num_classes))
    with torch.no_grad():
        _, vectors = parts.vectors(torch.randn(60, 16, 4, 4))
    parts.memory.fill(vectors, targets)
    return parts


@skip_old_torch
@pytest.mark.parametrize(
    ('neck', 'memory'),
    [
        ('attention', 'nearest'),
        ('groups', 'projected'),
        ('query2label', 'images'),
        *(rare('attention', memory) for memory in MEMORIES if memory != 'nearest'),
        *(rare(neck, 'nearest') for neck in NECKS if neck != 'attention'),
    ],
)
def test_any_batch(neck, memory):
    parts = make(neck, memory)
    exported = torch.export.export(
        parts,
        (torch.randn(3, 16, 4, 4),),
        dynamic_shapes=({0: torch.export.Dim('batch')},),
    ).module()
    for batch in (1, 2, 5, 33):
        features = torch.randn(batch, 16, 4, 4)
        torch.testing.assert_close(
            exported(features), parts(features), rtol=0, atol=1e-4
        )


@skip_old_torch
def test_memory_alone_is_equal_to_the_bit():
    memory = make('attention', 'nearest').memory
    exported = torch.export.export(
        memory,
        (torch.randn(3, 5, 8),),
        dynamic_shapes=({0: torch.export.Dim('batch')},),
    ).module()
    for batch in (1, 2, 5):
        vectors = torch.randn(batch, 5, 8)
        for a, b in zip(exported(vectors), memory(vectors)):
            assert torch.equal(a, b)
