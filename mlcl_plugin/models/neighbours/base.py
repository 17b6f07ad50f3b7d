# SPDX-License-Identifier: Apache-2.0
"""A memory of training images whose nearest entries vote for labels."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...targets import ABSENT, PRESENT, UNKNOWN, check_targets, is_absent, is_present
from ..losses.base import check_temperature
from .exact_products import (
    STORAGE,
    exact_products,
    quantise_keys,
    quantise_queries,
    query_scale,
    unit_vectors,
)
from .kernel import Votes, kernel_shares, kernel_votes
from .member import Member, Neighbour
from .principal_axes import principal_axes
from .prototypes import spherical_kmeans

# Images that principal axes are computed from.
AXES_SAMPLE = 2048


class _Batch(NamedTuple):
    """Vectors of a batch that is added, with targets and indices of its images."""

    vectors: Tensor
    targets: Tensor
    images: Tensor


class Neighbours(Member):
    r"""Base of memories whose nearest entries vote for labels.

    An entry is the unit vector of a training image, with its targets. A query gets for
    each label the votes of the nearest entries that are known, weighed by
    :math:`\exp(\cos / \tau)`, see :func:`kernel_votes`. A label without a present or
    without an absent entry gets no vote.

    The memory is empty until :meth:`fill`, or :meth:`add` for each batch and then
    :meth:`build`. It is made of buffers and part of the checkpoint: a module takes the
    sizes of the memory that it loads. Vectors are stored as whole numbers in float16 or
    int8, see :mod:`~mlcl_plugin.models.neighbours.exact_products`.

    A subclass writes :meth:`vectors` and :meth:`check_head`.

    Args:
        temperature (float): The divisor :math:`\tau` of cosines. Defaults to 0.05.
        num_neighbours (int, optional): Number of nearest entries that vote. Defaults to
            None: :attr:`default_neighbours`. Centres all vote.
        source (str): Which vectors are compared, see the subclass.
        dims (int, optional): Project vectors to this number of principal axes. None
            stores them as they are. Defaults to None.
        storage (str): ``'float16'`` or ``'int8'``, the type of a stored number. A
            cosine is off by about 0.0002 with the first and 0.002 with the second.
            Defaults to ``'float16'``.
        prototypes (Sequence[int], optional): Store at most this number of k-means
            centres of present and of absent entries per label, each counting for its
            entries; then all vote. None stores every entry. Defaults to None.
        init_cfg (dict | list, optional): Initialization config. Defaults to None.

    Raises:
        ValueError: If an option is out of range, or if ``num_neighbours`` is set for
            centres.
    """

    sources: tuple[str, ...] = ()
    """The values that ``source`` may have."""

    default_neighbours: int
    """How many of the nearest entries vote, unless it is said."""

    keys: Tensor
    targets: Tensor
    images: Tensor
    counts: Tensor
    axes: Tensor
    names: Tensor

    def __init__(
        self,
        temperature: float = 0.05,
        num_neighbours: int | None = None,
        source: str = 'embeddings',
        dims: int | None = None,
        storage: str = 'float16',
        prototypes: Sequence[int] | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        check_temperature(temperature)
        for name, value in dict(num_neighbours=num_neighbours, dims=dims).items():
            if value is not None and value < 1:
                raise ValueError(f'{name} must be positive or None, got {value}.')
        if source not in self.sources:
            raise ValueError(f'source must be one of {self.sources}, got {source!r}.')
        if storage not in STORAGE:
            raise ValueError(
                f'storage must be one of {tuple(STORAGE)}, got {storage!r}.'
            )
        if prototypes is not None:
            prototypes = tuple(prototypes)
            if len(prototypes) != 2 or min(prototypes) < 1:
                raise ValueError(
                    'prototypes must be two positive numbers, those of present and of '
                    f'absent entries, or None, got {prototypes}.'
                )
            if num_neighbours is not None:
                raise ValueError(
                    f'num_neighbours={num_neighbours} has no effect with '
                    f'prototypes={prototypes}: centres all vote. Leave it out, or '
                    'store every entry with prototypes=None.'
                )
        self.temperature = temperature
        self.num_neighbours = num_neighbours or self.default_neighbours
        self.source = source
        self.dims = dims
        self.storage = storage
        self.prototypes = prototypes
        self.clear()

    # Filling.

    def clear(self) -> None:
        """Empty the memory."""
        device = self.keys.device if 'keys' in self._buffers else None

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        # (G, N, P), G labels or 1, N entries.
        self.register_buffer('keys', empty(0, 0, 0, dtype=STORAGE[self.storage]))
        # (L, N) int8, -1 also for places without an entry.
        self.register_buffer('targets', empty(0, 0, dtype=torch.int8))
        # (G, N), or (1, N): the index of the image of each entry.
        self.register_buffer('images', empty(0, 0))
        # (L, N) of prototypes, else (0, 0).
        self.register_buffer('counts', empty(0, 0))
        # (G, P, D) with a projection, else (0, 0, 0).
        self.register_buffer('axes', empty(0, 0, 0, dtype=torch.float16))
        # The bytes of a JSON list: a checkpoint holds tensors only.
        self.register_buffer('names', empty(0, dtype=torch.uint8))
        self._waiting: list[_Batch] = []
        self._added: list[_Batch] = []

    @property
    def is_filled(self) -> bool:
        """Whether there is a memory."""
        return self.keys.shape[1] > 0

    def describe(self) -> str:
        """What it holds, for the log."""
        return f'{self.keys.shape[1]:,} entries per label'

    @property
    def image_names(self) -> list[str]:
        """Names of the images that entries point to."""
        return json.loads(bytes(self.names.tolist())) if len(self.names) else []

    @torch.no_grad()
    def fill(
        self, vectors: Tensor, targets: Tensor, names: Sequence[str] | None = None
    ) -> None:
        """Replace the memory by the vectors of all training images.

        Args:
            vectors (Tensor): ``(N, L, D)``, or ``(N, 1, D)`` for one per image.
            targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
            names (Sequence[str], optional): Names of the N images, for
                :meth:`explain`. Defaults to their numbers.

        Raises:
            ValueError: As :meth:`add` and :meth:`build`.
        """
        self.clear()
        self.add(vectors, targets, torch.arange(len(targets)))
        self.build(names or [str(number) for number in range(len(targets))])

    @torch.no_grad()
    def add(self, vectors: Tensor, targets: Tensor, images: Tensor) -> None:
        """Take in a batch of training images.

        With a projection, the axes come from the first 2,048 images: add images in
        random order.

        Args:
            vectors (Tensor): ``(B, L, D)``, or ``(B, 1, D)`` for one per image.
            targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.
            images (Tensor): ``(B,)`` the index of each image among the names.

        Raises:
            ValueError: If shapes do not agree, targets are soft, a vector is not
                finite, or ``dims`` is larger than the width of the vectors.
        """
        self._check_batch(vectors, targets)
        batch = _Batch(
            unit_vectors(vectors.detach()).cpu(),
            targets.detach().to('cpu', torch.int8),
            images.detach().to('cpu', torch.int32),
        )
        if self.dims is None:
            self._added.append(self._to_keys(batch))
            return
        self._waiting.append(batch)
        if sum(len(b.images) for b in self._waiting) >= AXES_SAMPLE or len(self.axes):
            self._project_waiting()

    def _check_batch(self, vectors: Tensor, targets: Tensor) -> None:
        groups = {'label': targets.shape[-1], 'image': 1}[self.kind]
        if (
            targets.ndim != 2
            or vectors.ndim != 3
            or tuple(vectors.shape[:2]) != (len(targets), groups)
        ):
            text = 'one vector per image and label (B, L, D)'
            if self.kind == 'image':
                text = 'one vector per image (B, 1, D)'
            raise ValueError(
                f'{type(self).__name__} takes {text} with targets (B, L), got '
                f'{tuple(vectors.shape)} and {tuple(targets.shape)}.'
            )
        check_targets(targets, name='Targets of neighbours')
        if not vectors.isfinite().all():
            raise ValueError(
                'A vector for neighbours is not finite. Has the model diverged?'
            )

    def _project_waiting(self) -> None:
        """Compute the axes if there are none, and project the batches that wait."""
        if not len(self.axes) and self._waiting:
            sample = torch.cat([batch.vectors for batch in self._waiting])
            axes = principal_axes(sample[:AXES_SAMPLE], self.dims or 0)
            self.axes = quantise_keys(axes).to(self.axes.device)
        for batch in self._waiting:
            vectors = self._project(batch.vectors.to(self.axes.device)).cpu()
            self._added.append(self._to_keys(batch._replace(vectors=vectors)))
        self._waiting.clear()

    def _to_keys(self, batch: _Batch) -> _Batch:
        dtype = STORAGE[self.storage]
        return batch._replace(vectors=quantise_keys(batch.vectors, dtype))

    @torch.no_grad()
    def build(self, names: Sequence[str]) -> None:
        """Make the memory of what was added.

        Args:
            names (Sequence[str]): Names of the images.

        Raises:
            ValueError: If nothing was added.
        """
        self._project_waiting()
        if not self._added:
            raise ValueError('There is no image to fill the memory of neighbours with.')
        # In the order of the names, whatever the order of the batches.
        images = torch.cat([batch.images for batch in self._added])
        images, order = images.sort(stable=True)
        keys = torch.cat([batch.vectors for batch in self._added])
        targets = torch.cat([batch.targets for batch in self._added])[order]
        self._added.clear()
        keys = keys.transpose(0, 1)[:, order]
        content = _Content(keys, targets.T, images[None])
        if self.prototypes is not None:
            content = self._centres(content)
        elif self.kind == 'label':
            content = _pack_known(content)
        device = self.keys.device
        self.keys = content.keys.contiguous().to(device)
        self.targets = content.targets.contiguous().to(device)
        self.images = content.images.contiguous().to(device)
        if content.counts is not None:
            self.counts = content.counts.contiguous().to(device)
        text = json.dumps(list(names)).encode()
        self.names = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(device)

    def _centres(self, content: '_Content') -> '_Content':
        """Replace the entries of each label by centres."""
        sizes = dict(zip((PRESENT, ABSENT), self.prototypes or ()))
        labels, width = len(content.targets), sum(sizes.values())
        dims, dtype = content.keys.shape[2], content.keys.dtype
        keys = torch.zeros(labels, width, dims, dtype=dtype)
        targets = torch.full((labels, width), UNKNOWN, dtype=torch.int8)
        images = torch.zeros(labels, width, dtype=torch.int32)
        counts = torch.zeros(labels, width, dtype=torch.int32)
        used = 0
        for label in range(labels):
            own = content.keys[label if len(content.keys) > 1 else 0]
            place = 0
            for target, size in sizes.items():
                chosen = (content.targets[label] == target).nonzero()[:, 0]
                if len(chosen) == 0:
                    continue
                vectors = unit_vectors(own[chosen])
                centres, owners = spherical_kmeans(vectors, size)
                part = slice(place, place + len(centres))
                keys[label, part] = quantise_keys(centres, dtype)
                targets[label, part] = target
                counts[label, part] = owners.bincount(minlength=len(centres)).int()
                typical = (centres @ vectors.T).argmax(dim=1)
                images[label, part] = content.images[0, chosen[typical]]
                place += len(centres)
            used = max(used, place)
        # Few images have fewer centres than there is room for.
        return _Content(
            keys[:, :used], targets[:, :used], images[:, :used], counts[:, :used]
        )

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Load a memory of any size."""
        for name, buffer in list(self._buffers.items()):
            stored = state_dict.get(prefix + name)
            if isinstance(stored, Tensor) and buffer is not None:
                self._buffers[name] = torch.empty_like(stored, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # Voting.

    def _project(self, vectors: Tensor) -> Tensor:
        """Unit vectors ``(B, G, P)`` of unit vectors ``(B, G, D)``."""
        if not self.axes.shape[0]:
            return vectors
        groups, rows, width = self.axes.shape
        scale = query_scale(width, self.axes.dtype)
        queries = quantise_queries(vectors, scale).transpose(0, 1)
        offsets = queries.new_zeros(groups, rows)
        return unit_vectors(exact_products(queries, self.axes, offsets).transpose(0, 1))

    def forward(self, vectors: Tensor) -> Votes:
        """Votes of the memory.

        Args:
            vectors (Tensor): ``(B, L, D)``, or ``(B, 1, D)`` for one per image.

        Returns:
            Votes: ``(B, L)`` float32, nan for labels without a present or an absent
            entry.

        Raises:
            ValueError: If the memory is empty or holds vectors of another shape.
        """
        self._check_queries(vectors)
        # Autocast would round the whole numbers.
        with torch.autocast(vectors.device.type, enabled=False):
            queries = self._project(unit_vectors(vectors.detach()))
            # Centres of images differ between labels.
            queries = queries.expand(-1, len(self.keys), -1)
            votes = kernel_votes(
                queries,
                self.keys,
                self.targets,
                self.temperature,
                self.num_neighbours,
                self.counts if self.counts.shape[0] else None,
            )
        able = is_present(self.targets).any(1) & is_absent(self.targets).any(1)
        return Votes(*(vote.masked_fill(~able, torch.nan) for vote in votes))

    def _check_queries(self, vectors: Tensor) -> None:
        if not self.is_filled:
            raise ValueError(
                f'The memory of {type(self).__name__} is empty. Fill it with '
                'mlcl_plugin.apis.fit_neighbours.'
            )
        groups, width = len(self.keys), self.keys.shape[2]
        if self.kind == 'image':
            groups = 1
        if self.axes.shape[0]:
            width = self.axes.shape[2]
        if tuple(vectors.shape[1:]) != (groups, width):
            raise ValueError(
                f'The memory of {type(self).__name__} holds vectors (B, {groups}, '
                f'{width}), got {tuple(vectors.shape)}. Fill it with the same model.'
            )

    @torch.no_grad()
    def explain(
        self, vectors: Tensor, label: int, number: int = 5, present: bool = True
    ) -> list[Neighbour]:
        """The entries that speak most for a label, or most against it.

        Args:
            vectors (Tensor): ``(L, D)``, or ``(1, D)`` for one per image: those of one
                query.
            label (int): The index of the label.
            number (int): The greatest number of entries. Defaults to 5.
            present (bool): Entries for the label (True) or against it (False).
                Defaults to True.

        Returns:
            list[Neighbour]: By falling share of the votes, without entries that do not
            vote.

        Raises:
            ValueError: As :meth:`forward`, or if there is no such label.
        """
        self._check_queries(vectors[None])
        if not 0 <= label < len(self.targets):
            raise ValueError(
                f'label must be from 0 to {len(self.targets) - 1}, got {label}.'
            )
        queries = self._project(unit_vectors(vectors[None]))[0]
        row = label if len(self.keys) > 1 else 0
        counts = self.counts[label] if len(self.counts) else None
        cosines, shares = kernel_shares(
            queries[label if len(queries) > 1 else 0],
            self.keys[row],
            self.targets[label],
            self.temperature,
            self.num_neighbours,
            counts,
        )
        vote = is_present(self.targets[label]) == present
        order = shares.where(vote, 0).sort(descending=True, stable=True).indices
        images = self.images[label if len(self.images) > 1 else 0]
        names = self.image_names
        return [
            Neighbour(
                names[int(images[place])],
                float(shares[place]),
                float(cosines[place]),
                present,
                1 if counts is None else int(counts[place]),
            )
            for place in order[:number].tolist()
            if vote[place] and shares[place] > 0
        ]

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'temperature={self.temperature}, num_neighbours={self.num_neighbours}, '
            f'source={self.source!r}, dims={self.dims}, storage={self.storage!r}, '
            f'prototypes={self.prototypes}, entries={self.keys.shape[1]}'
        )


class _Content(NamedTuple):
    """A memory: keys ``(G, N, P)``, targets ``(L, N)``, images, perhaps counts."""

    keys: Tensor
    targets: Tensor
    images: Tensor
    counts: Tensor | None = None


def _pack_known(content: _Content) -> _Content:
    """Leave out unknown entries, so that a label takes room for its known ones only."""
    known = content.targets != UNKNOWN
    number = int(known.sum(dim=1).max())
    if number == known.shape[1]:
        return content
    # Known ones first, in their order.
    order = (~known).to(torch.int8).sort(dim=1, stable=True).indices[:, :number]
    keys = content.keys.gather(1, order[..., None].expand(-1, -1, content.keys.size(2)))
    images = content.images.expand(len(known), -1).gather(1, order)
    return _Content(keys, content.targets.gather(1, order), images)
