# SPDX-License-Identifier: Apache-2.0
from .base import Neighbour, Neighbours, Outputs
from .blending import blend, check_weights
from .image_neighbours import ImageNeighbours
from .kernel import Votes, kernel_votes
from .label_neighbours import LabelNeighbours

__all__ = [
    'ImageNeighbours',
    'LabelNeighbours',
    'Neighbour',
    'Neighbours',
    'Outputs',
    'Votes',
    'blend',
    'check_weights',
    'kernel_votes',
]
