# SPDX-License-Identifier: Apache-2.0
from .base import Neighbours
from .blending import blend, check_weights
from .image_neighbours import ImageNeighbours
from .kernel import Votes, kernel_votes
from .label_neighbours import LabelNeighbours
from .member import Member, Neighbour, Outputs
from .pooled_logistic import PooledLogistic

__all__ = [
    'ImageNeighbours',
    'LabelNeighbours',
    'Member',
    'Neighbour',
    'Neighbours',
    'Outputs',
    'PooledLogistic',
    'Votes',
    'blend',
    'check_weights',
    'kernel_votes',
]
