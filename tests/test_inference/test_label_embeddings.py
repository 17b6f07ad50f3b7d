# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample

from mlcl_plugin.inference import embed
from mlcl_plugin.inference.label_embeddings import Embeddings

HEADS = {
    'label-wise': dict(type='LabelWiseClsHead', num_classes=3, in_channels=4),
    'image': dict(type='ImageLevelClsHead', num_classes=3, in_channels=4),
    'contrast': dict(
        type='LabelWiseClsHead',
        num_classes=3,
        in_channels=4,
        loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
        projector=dict(out_channels=2),
    ),
}


class Unchanged(torch.nn.Module):
    def forward(self, batch, training):
        return batch


class Model(ImageClassifier):
    """Its inputs are the features."""

    def __init__(self, head):
        init_default_scope('mmpretrain')
        super().__init__(
            backbone=torch.nn.Identity(), head=head, data_preprocessor=Unchanged()
        )

    def extract_feat(self, inputs):
        return (inputs,)


def test_other_tokens():
    """Neither one for each label nor one for the image."""
    batch = dict(inputs=torch.zeros(2, 5, 4), data_samples=[])
    with pytest.raises(ValueError, match=r'\(B, 3, D\).*got \(2, 5, 4\)'):
        embed(Model(HEADS['label-wise']), [batch], projected=False)


@pytest.mark.parametrize('head', ['label-wise', 'image'])
def test_without_projector(head):
    with pytest.raises(ValueError, match=r"projected=True needs.*\(step='step2'\)"):
        embed(Model(HEADS[head]), [], projected=True)


def test_without_head():
    with pytest.raises(ValueError, match='Model has no head with num_classes'):
        embed(Model(None), [], projected=False)


@torch.no_grad()
def test_projected():
    """Each embedding by itself, in its place."""
    torch.manual_seed(0)
    model = Model(HEADS['contrast']).eval()
    feats = torch.randn(2, 3, 4)
    samples = [DataSample().set_gt_label(label) for label in ([0], [1, 2])]
    got = embed(model, [dict(inputs=feats, data_samples=samples)], projected=True)
    assert got.values.shape == (2, 3, 2)
    for image in range(2):
        for label in range(3):
            expected = model.head.projector(feats[image, label][None])[0]
            torch.testing.assert_close(got.values[image, label], expected)
    assert got.columns.tolist() == [0, 1, 2]
    assert got.targets.tolist() == [[1, 0, 0], [0, 1, 1]]


def test_shared_embeddings():
    """Labels 0 and 1 share one; unknown labels are not present."""
    values = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [5.0, 0.0]]])
    targets = torch.tensor([[1, 0, 1], [-1, 1, 0]])
    embeddings = Embeddings(values, torch.tensor([0, 0, 1]), targets)
    torch.testing.assert_close(
        embeddings.of_label(1), torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    )
    vectors, labels, images = embeddings.of_present()
    assert (labels.tolist(), images.tolist()) == ([0, 2, 1], [0, 0, 1])
    torch.testing.assert_close(
        vectors, torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    )
