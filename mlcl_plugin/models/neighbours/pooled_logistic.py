# SPDX-License-Identifier: Apache-2.0
"""Score labels by logistic regression on pooled features of the backbone."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from torch import Tensor

from ...targets import check_targets, is_absent, is_present
from ..utils.logistic_regression import fit_logistic
from .kernel import Votes
from .member import Member, Outputs

LENGTH = 10.0
"""Length of the vectors that the regression sees; strengths depend on it."""


@MODELS.register_module()
class PooledLogistic(Member):
    r"""One logistic regression per label, on pooled features of the backbone.

    With few images it is better than a head that is trained by gradient steps. Features
    are averages and maxima over all places, each at unit length, in one vector. The
    regression is solved when training has ended, on the training images as the test
    pipeline shows them and on random views of the training pipeline; see
    :func:`logistic_path` for the problem.

    With ``source``, the vector has a third part of unit length: the classes of the
    backbone's pre-training, as :class:`SourceClasses` sees them. With few images they
    say more than features alone.

    With ``regions``, the four corners of a feature map are scored, too. The logit of an
    image is the highest of those of the whole and its corners, so that a small object
    counts more. The regression is solved on whole maps.

    Args:
        strength (float): The strength :math:`C` of an image, which its views share.
            Defaults to 0.2.
        num_views (int): Random views of each training image. Defaults to 2.
        regions (float, optional): Width and height of a corner, as a share of the map.
            None takes the whole map alone. Defaults to None.
        source (dict, optional): Config of :class:`SourceClasses`. Defaults to None.
        init_cfg (dict | list, optional): Initialization config. Defaults to None.

    Raises:
        ValueError: If an option is out of range.
    """

    kind = 'image'
    weight: Tensor
    bias: Tensor
    able: Tensor

    def __init__(
        self,
        strength: float = 0.2,
        num_views: int = 2,
        regions: float | None = None,
        source: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        if strength <= 0:
            raise ValueError(f'strength must be positive, got {strength}.')
        if num_views < 0:
            raise ValueError(f'num_views must not be negative, got {num_views}.')
        if regions is not None and not 0 < regions < 1:
            raise ValueError(
                f'regions must be a share between 0 and 1, or None, got {regions}.'
            )
        self.strength = strength
        self.regions = regions
        self.num_views = num_views
        self.source = None if source is None else MODELS.build(source)
        self.clear()

    def check_head(self, head: MultiLabelClsHead) -> None:
        """Any head will do."""

    def vectors(self, outputs: Outputs) -> Tensor:
        """Vectors ``(B, R, D)`` of the whole map and its corners, R is 1 or 5.

        D is 2 C, and with ``source`` its classes in addition. Tokens have one vector
        ``(B, 1, D)``; vectors of C numbers stay such, beside the classes.
        """
        return self._vectors(outputs, self._parts)

    def training_vectors(self, outputs: Outputs) -> Tensor:
        """Vectors ``(B, 1, D)`` of the whole map: corners are not learned from."""
        return self._vectors(outputs, lambda maps: [maps])

    def _vectors(
        self, outputs: Outputs, parts_of: Callable[[Tensor], list[Tensor]]
    ) -> Tensor:
        """Vectors of chosen parts of the feature maps."""
        features = outputs.features
        last = features if isinstance(features, Tensor) else features[-1]
        last = last.float()
        if last.ndim == 4:
            return torch.stack(
                [self._pool(part.flatten(2)) for part in parts_of(last)], 1
            )
        if last.ndim == 3:
            return self._pool(last.transpose(1, 2))[:, None]
        if last.ndim == 2:
            parts = [F.normalize(last, dim=1), *self._classes(last[:, :, None])]
            return torch.cat(parts, 1)[:, None]
        raise ValueError(
            'PooledLogistic takes a feature map (B, C, H, W), tokens (B, N, C) or '
            f'vectors (B, C) from the backbone, got {tuple(last.shape)}.'
        )

    def _pool(self, places: Tensor) -> Tensor:
        """Averages, maxima and classes ``(B, D)`` of places ``(B, C, N)``."""
        parts = (places.mean(2), places.amax(2))
        unit = [F.normalize(part, dim=1) for part in parts]
        return torch.cat([*unit, *self._classes(places)], dim=1)

    def _classes(self, places: Tensor) -> list[Tensor]:
        """The classes of places ``(B, C, N)``, if there are any."""
        if self.source is None:
            return []
        with torch.autocast(places.device.type, enabled=False):
            return [self.source(places)]

    def _parts(self, maps: Tensor) -> list[Tensor]:
        """The whole maps ``(B, C, H, W)``, and their corners."""
        if self.regions is None:
            return [maps]
        height, width = (math.ceil(self.regions * n) for n in maps.shape[2:])
        rows, columns = slice(height), slice(width)
        below, right = slice(-height, None), slice(-width, None)
        corners = [(rows, columns), (rows, right), (below, columns), (below, right)]
        return [maps, *(maps[:, :, row, column] for row, column in corners)]

    def clear(self) -> None:
        """Forget the regression."""
        device = self.weight.device if 'weight' in self._buffers else None
        self.register_buffer('weight', torch.zeros(0, 0, device=device))
        self.register_buffer('bias', torch.zeros(0, device=device))
        # Labels that have a present and an absent image.
        self.register_buffer('able', torch.zeros(0, dtype=torch.bool, device=device))
        self._added: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def is_filled(self) -> bool:
        """Whether there is a regression."""
        return len(self.weight) > 0

    def describe(self) -> str:
        """What it holds, for the log."""
        return f'{len(self.weight):,} regressions'

    @torch.no_grad()
    def add(self, vectors: Tensor, targets: Tensor, images: Tensor) -> None:
        """Take in a batch of views.

        Raises:
            ValueError: If shapes do not agree, targets are soft, or a vector is not
                finite.
        """
        if vectors.ndim != 3 or len(vectors) != len(targets) or targets.ndim != 2:
            raise ValueError(
                'PooledLogistic takes vectors (B, R, D) of R regions with targets '
                f'(B, L), got {tuple(vectors.shape)} and {tuple(targets.shape)}.'
            )
        check_targets(targets, name='Targets of PooledLogistic')
        if not vectors.isfinite().all():
            raise ValueError(
                'A vector for PooledLogistic is not finite. Has the model diverged?'
            )
        self._added.append(
            (
                # of the whole maps
                vectors[:, 0].detach().float().cpu(),
                targets.detach().to('cpu', torch.int8),
                images.detach().to('cpu', torch.int64),
            )
        )

    @torch.no_grad()
    def build(self, names: Sequence[str]) -> None:
        """Solve the regressions.

        Raises:
            ValueError: If nothing was added, or ``source`` has no weights.
        """
        if self.source is not None and not self.source.has_weights:
            raise ValueError(
                'SourceClasses of PooledLogistic has no weights. Set its init_cfg, '
                'load a checkpoint that has them, or set source=None.'
            )
        if not self._added:
            raise ValueError('There is no image to fit the logistic regression on.')
        vectors, targets, images = (torch.cat(p) for p in zip(*self._added))
        self._added.clear()
        # Whatever the order of the batches.
        images, order = images.sort(stable=True)
        views = len(images) / len(images.unique())
        linear = fit_logistic(
            LENGTH * vectors[order], targets[order], self.strength / views
        )
        device = self.weight.device
        # In the order of a file, so that a loaded one gives the same bits.
        self.weight = (LENGTH * linear.weight).contiguous().to(device)
        self.bias = linear.bias.to(device)
        self.able = (is_present(targets).any(0) & is_absent(targets).any(0)).to(device)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Load regressions of any size."""
        for name, buffer in list(self._buffers.items()):
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor) and buffer is not None:
                # Its own type, as the file may hold half precision.
                self._buffers[name] = buffer.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, vectors: Tensor) -> Votes:
        """Log-probabilities ``(B, L)`` of vectors ``(B, R, D)``.

        Raises:
            ValueError: If there is no regression, or for vectors of another shape.
        """
        if not self.is_filled:
            raise ValueError(
                'PooledLogistic is empty. Fill it with mlcl_plugin.apis.fit_neighbours.'
            )
        if vectors.ndim != 3 or vectors.shape[2] != self.weight.shape[1]:
            raise ValueError(
                f'PooledLogistic has weights for vectors (B, R, {self.weight.shape[1]})'
                f', got {tuple(vectors.shape)}. Fill it with the same model.'
            )
        with torch.autocast(vectors.device.type, enabled=False):
            logits = vectors.float() @ self.weight.T + self.bias
            logits = logits.amax(1)
        votes = (F.logsigmoid(logits), F.logsigmoid(-logits))
        return Votes(*(vote.masked_fill(~self.able, torch.nan) for vote in votes))

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'strength={self.strength}, num_views={self.num_views}, '
            f'regions={self.regions}, labels={len(self.weight)}'
        )
