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
from ..utils.logistic_regression import choose_strength, fit_logistic
from ..utils.source_classes import SourceClasses
from .kernel import Votes
from .member import Member, Outputs

LENGTH = 10.0
"""Length of the vectors that the regression sees; strengths depend on it."""
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Values of C to choose from."""


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

    With ``regions``, windows of a feature map are scored, too, so that a small object
    counts more: with the logit :math:`s` of the whole map and :math:`s_i` of the
    windows, the logit of an image is

    .. math::
        w s + (1 - w) \max(s, s_1, s_2, \ldots)

    The regression is solved on whole maps.

    Args:
        strength (float, optional): The strength :math:`C` of an image, which its views
            share. None chooses one of :data:`STRENGTHS` by the likelihood in a
            cross-validation of the training images, which takes seconds for some
            hundred of them. Defaults to 0.2.
        num_views (int): Random views of each training image. Defaults to 2.
        regions (float, optional): Width and height of a window, as a share of the map.
            None takes the whole map alone. Defaults to None.
        grid (int): Windows in each direction, evenly apart as far as whole places
            allow. Two are the corners. Defaults to 2.
        whole_share (float): The share :math:`w` of the whole map. Defaults to 0.
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
        strength: float | None = 0.2,
        num_views: int = 2,
        regions: float | None = None,
        grid: int = 2,
        whole_share: float = 0.0,
        source: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        if strength is not None and strength <= 0:
            raise ValueError(f'strength must be positive or None, got {strength}.')
        if num_views < 0:
            raise ValueError(f'num_views must not be negative, got {num_views}.')
        if regions is not None and not 0 < regions < 1:
            raise ValueError(
                f'regions must be a share between 0 and 1, or None, got {regions}.'
            )
        if not isinstance(grid, int) or grid < 2:
            raise ValueError(f'grid must be a whole number from 2, got {grid}.')
        if regions is None and (grid != 2 or whole_share != 0):
            raise ValueError(
                f'grid={grid} and whole_share={whole_share} change nothing without '
                'windows. Set regions, the size of a window.'
            )
        if not 0 <= whole_share <= 1:
            raise ValueError(f'whole_share must be between 0 and 1, got {whole_share}.')
        self.strength = strength
        self.regions = regions
        self.grid = grid
        self.whole_share = whole_share
        self.num_views = num_views
        self.source = None if source is None else MODELS.build(source)
        self.clear()

    def check_head(self, head: MultiLabelClsHead) -> None:
        """Any head will do."""

    def vectors(self, outputs: Outputs) -> Tensor:
        """Vectors ``(B, R, D)`` of the whole map and its windows.

        R is 1, or with ``regions`` 1 + ``grid`` ** 2. D is 2 C, and with ``source`` its
        classes in addition. Tokens have one vector ``(B, 1, D)``; vectors of C numbers
        stay such, beside the classes.
        """
        return self._vectors(outputs, self._windows)

    def training_vectors(self, outputs: Outputs) -> Tensor:
        """Vectors ``(B, 1, D)`` of the whole map: windows are not learned from."""
        return self._vectors(outputs, lambda maps: [maps])

    def _vectors(
        self, outputs: Outputs, parts_of: Callable[[Tensor], list[Tensor]]
    ) -> Tensor:
        """Vectors of chosen parts of the feature maps."""
        features = outputs.features
        last = features if isinstance(features, Tensor) else features[-1]
        last = last.float()
        if last.ndim == 4:
            parts = parts_of(last)
            # Windows share the classes of their places.
            classes = self._classes(last.flatten(2))
            of_parts: list[Tensor] | list[None] = [None] * len(parts)
            if classes is not None:
                of_parts = parts_of(classes.unflatten(2, last.shape[2:]))
            return torch.stack([self._pool(*pair) for pair in zip(parts, of_parts)], 1)
        if last.ndim == 3:
            last = last.transpose(1, 2)
            return self._pool(last, self._classes(last))[:, None]
        if last.ndim == 2:
            classes = self._classes(last[:, :, None])
            unit = [F.normalize(last, dim=1), *self._pool_classes(classes)]
            return torch.cat(unit, 1)[:, None]
        raise ValueError(
            'PooledLogistic takes a feature map (B, C, H, W), tokens (B, N, C) or '
            f'vectors (B, C) from the backbone, got {tuple(last.shape)}.'
        )

    def _pool(self, places: Tensor, classes: Tensor | None) -> Tensor:
        """Vectors ``(B, D)`` of places ``(B, C, ...)`` and classes ``(B, K, ...)``."""
        places = places.flatten(2)
        parts = (places.mean(2), places.amax(2))
        unit = [F.normalize(part, dim=1) for part in parts]
        return torch.cat([*unit, *self._pool_classes(classes)], dim=1)

    def _pool_classes(self, classes: Tensor | None) -> list[Tensor]:
        """The vectors ``(B, K)`` of classes ``(B, K, ...)``, if there are any."""
        return [] if classes is None else [SourceClasses.pool(classes.flatten(2))]

    def _classes(self, places: Tensor) -> Tensor | None:
        """Probabilities ``(B, K, N)`` of classes at places, if there are any."""
        if self.source is None:
            return None
        with torch.autocast(places.device.type, enabled=False):
            return self.source.probabilities(places)

    def _windows(self, maps: Tensor) -> list[Tensor]:
        """The whole maps ``(B, C, H, W)``, and their windows by rows."""
        if self.regions is None:
            return [maps]
        spans = []
        for size in maps.shape[2:]:
            length = math.ceil(self.regions * size)
            room, last = size - length, self.grid - 1
            starts = [place * room // last for place in range(self.grid)]
            spans.append([slice(start, start + length) for start in starts])
        rows, columns = spans
        return [maps, *(maps[:, :, row, column] for row in rows for column in columns)]

    def clear(self) -> None:
        """Forget the regression."""
        device = self.weight.device if 'weight' in self._buffers else None
        self.register_buffer('weight', torch.zeros(0, 0, device=device))
        self.register_buffer('bias', torch.zeros(0, device=device))
        # Labels that have a present and an absent image.
        self.register_buffer('able', torch.zeros(0, dtype=torch.bool, device=device))
        self._added: list[tuple[Tensor, Tensor, Tensor]] = []
        self._solved_at = self.strength

    @property
    def is_filled(self) -> bool:
        """Whether there is a regression."""
        return len(self.weight) > 0

    def describe(self) -> str:
        """What it holds, for the log."""
        solved = '' if self._solved_at is None else f' of strength {self._solved_at:g}'
        return f'{len(self.weight):,} regressions{solved}'

    @torch.no_grad()
    def add(self, vectors: Tensor, targets: Tensor, images: Tensor) -> None:
        """Take in a batch of views.

        Raises:
            ValueError: If shapes do not agree, targets are soft, or a vector is not
                finite.
        """
        if vectors.ndim != 3 or len(vectors) != len(targets) or targets.ndim != 2:
            raise ValueError(
                'PooledLogistic takes vectors (B, R, D) of R parts with targets '
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
        vectors, targets = LENGTH * vectors[order], targets[order]
        strength = self.strength
        if strength is None:
            # Rows of an image share it.
            strengths = [value / views for value in STRENGTHS]
            strength = views * choose_strength(vectors, targets, strengths, images)[0]
        linear = fit_logistic(vectors, targets, strength / views)
        self._solved_at = strength
        device = self.weight.device
        # In the order of a file, so that a loaded one gives the same bits.
        self.weight = (LENGTH * linear.weight).contiguous().to(device)
        self.bias = linear.bias.to(device)
        self.able = (is_present(targets).any(0) & is_absent(targets).any(0)).to(device)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Load regressions of any size."""
        # The file does not say it.
        self._solved_at = None
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
            highest = logits.amax(1)
            logits = torch.lerp(highest, logits[:, 0], self.whole_share)
        votes = (F.logsigmoid(logits), F.logsigmoid(-logits))
        return Votes(*(vote.masked_fill(~self.able, torch.nan) for vote in votes))

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'strength={self.strength}, num_views={self.num_views}, '
            f'regions={self.regions}, grid={self.grid}, '
            f'whole_share={self.whole_share}, labels={len(self.weight)}'
        )
