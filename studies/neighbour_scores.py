# SPDX-License-Identifier: Apache-2.0
"""The mAP that a trained model has with neighbours, on the validation images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mean_ap import mean_ap
from method_report import CLASSIFIER
from mmengine.config import Config

from mlcl_plugin.apis import build_loader, build_model, fit_neighbours
from mlcl_plugin.inference.fit_neighbours import find_neighbours
from mlcl_plugin.models.classifiers.neighbour_classifier import DEFAULT_WEIGHTS
from mlcl_plugin.models.neighbours import blend
from mlcl_plugin.models.utils import collect_targets

LABEL, IMAGE, BOTH = 'label-wise', 'image-level', 'both'


@torch.no_grad()
def blend_scores(
    cfg: Config, checkpoint: str, blends: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Compute the mAP in percent of blends on the validation images.

    Args:
        cfg (Config): The config of a model with neighbours.
        checkpoint (str): Its checkpoint.
        blends (Mapping[str, Sequence[float]]): Weights of the classifier and of each
            member by the name of the blend.

    Returns:
        dict[str, float]: By the name of the blend.
    """
    model = build_model(cfg, checkpoint)
    loader, _ = build_loader(cfg, 'val', num_images=10**6)
    logits, votes, targets = [], [], []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        own, members = model.members(data['inputs'])
        logits.append(own)
        votes.append(members)
        targets.append(collect_targets(data['data_samples'], own.shape[1]))
    joined = [type(v[0])(*(torch.cat(x) for x in zip(*v))) for v in zip(*votes)]
    return {
        name: mean_ap(blend(torch.cat(logits), joined, weights), torch.cat(targets))
        for name, weights in blends.items()
    }


def measure_neighbours(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Fill the memories of a trained model, and compute the mAP of each blend.

    Weights are the defaults. Memories keep every entry, so that nothing is lost by
    centres. Image-level neighbours compare what the backbone gives, averaged over all
    places.

    Args:
        cfg (Config): The config of the model, without steps.
        checkpoint (str): Its checkpoint.

    Returns:
        dict[str, float]: mAP in percent. Models without embeddings of labels have no
        label-wise neighbours.
    """
    kinds = [dict(type='ImageNeighbours')]
    own, image = DEFAULT_WEIGHTS['image',]
    blends = {CLASSIFIER: (1.0, 0.0), IMAGE: (own, image)}
    labels = find_neighbours(cfg)
    if labels[0]['type'] == 'LabelNeighbours':
        kinds = [*(item | dict(prototypes=None) for item in labels), *kinds]
        own_label, label = DEFAULT_WEIGHTS['label',]
        blends = {
            CLASSIFIER: (1.0, 0.0, 0.0),
            LABEL: (own_label, label, 0.0),
            IMAGE: (own, 0.0, image),
            BOTH: DEFAULT_WEIGHTS['label', 'image'],
        }
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'neighbours.pth'
        fitted = fit_neighbours(cfg, checkpoint, path, kinds, device='cpu')
        config = Config.fromfile(fitted.config)
        return blend_scores(config, str(fitted.checkpoint), blends)
