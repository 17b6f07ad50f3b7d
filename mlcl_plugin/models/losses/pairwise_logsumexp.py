# SPDX-License-Identifier: Apache-2.0
"""Log-sum-exp over all pairs of embeddings, without the matrix of pairs."""

import math
from collections.abc import Callable, Iterator

import torch
from torch.autograd.function import once_differentiable

# Up to this similarity exp() and its sums stay far from the limits of the type, so that
# no maximum of a row is needed.
SAFE_SIMILARITY = {torch.float32: 40.0, torch.float64: 300.0}
BLOCK_SIZE = 1024


@torch.compiler.disable
def pairwise_logsumexp(
    rows: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
    keys: torch.Tensor | None = None,
    remote: torch.Tensor | None = None,
    remote_weights: torch.Tensor | None = None,
    exchange: Callable[[torch.Tensor], torch.Tensor] | None = None,
    block_size: int = BLOCK_SIZE,
) -> torch.Tensor:
    r"""Weighted sum over rows of the log-sum-exp over all others.

    .. math::
        \sum_i w_i \log \sum_{a \ne i} \exp(z_i \cdot z_a / \tau)

    where :math:`a` runs over the other rows, the rows of other processes and
    ``keys``, and :math:`i` over the rows here and on other processes. This is the
    part of a supervised contrastive loss that needs pairs; the rest is linear in the
    similarities.

    No N x N matrix is formed: similarities are computed in square blocks, once in
    the forward and once more in the backward pass, so that memory is
    O(N x ``block_size``). The similarities between rows are symmetric. Half of their
    blocks are computed where no similarity is too large for ``exp`` without a maximum
    per row (40 in float32: a temperature of 0.025 or more for unit vectors). Otherwise
    all blocks are computed, with a maximum per row.

    In a run of several processes each computes the log-sum-exp of its own rows. These
    N scalars are exchanged in the forward pass. They suffice for the whole gradient of
    a process's rows, so that the backward pass needs no communication.

    Not differentiable twice. Under ``torch.compile`` it is a break in the graph: the
    number of rows changes from step to step and decides the number of blocks.

    Args:
        rows (Tensor): ``(N, D)`` float32 or float64.
        weights (Tensor): ``(N,)``, not negative. A row of weight 0 counts for the
            others only. No gradient flows to the weights.
        temperature (float): :math:`\tau > 0`.
        keys (Tensor, optional): ``(M, D)`` further vectors that all rows are
            compared with, without gradient.
        remote (Tensor, optional): ``(R, D)`` the rows of other processes.
        remote_weights (Tensor, optional): ``(R,)`` their weights.
        exchange (Callable, optional): Turns ``(N,)`` numbers of the rows here into
            ``(R,)`` of the rows of other processes. Needed with ``remote``.
        block_size (int): Side of a block. Defaults to 1024.

    Returns:
        Tensor: A scalar, the same on all processes. Its gradient is that of the
        whole sum with respect to the rows of this process.
    """
    return _PairwiseLogSumExp.apply(
        rows,
        weights,
        temperature,
        keys,
        remote,
        remote_weights,
        exchange,
        block_size,
    )


class _PairwiseLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, rows, weights, temperature, keys, remote, remote_weights, exchange, block
    ):
        pairs = _Pairs(rows, temperature, keys, remote, block)
        lse, exponentials = pairs.logsumexp()
        total = _weighted_sum(weights, lse)
        remote_lse = None
        if remote is not None:
            remote_lse = exchange(lse)
            total = total + _weighted_sum(remote_weights, remote_lse)
        ctx.pairs = pairs
        ctx.save_for_backward(weights, lse, remote_weights, remote_lse, exponentials)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weights, lse, remote_weights, remote_lse, exponentials = ctx.saved_tensors
        # The common factor multiplies the smallest tensors.
        scale = grad / ctx.pairs.temperature
        if remote_weights is not None:
            remote_weights = remote_weights * scale
        grad_rows = ctx.pairs.gradient(
            weights * scale, lse, remote_weights, remote_lse, exponentials
        )
        return grad_rows, *[None] * 7


def _weighted_sum(weights: torch.Tensor, lse: torch.Tensor) -> torch.Tensor:
    """Sum of the products. A row without others is -inf and has the weight 0."""
    if len(lse) > 1:
        return weights @ lse
    return (weights * lse).where(weights != 0, 0).sum()


class _Pairs:
    """Similarities of rows with one another and with keys, block by block."""

    def __init__(self, rows, temperature, keys, remote, block):
        self.rows = rows
        self.scaled = rows / temperature
        self.temperature = temperature
        self.keys = keys
        self.remote = remote
        self.block = block
        self.safe = self._largest_similarity() <= SAFE_SIMILARITY[rows.dtype]
        self._buffers = {}

    def _largest_similarity(self) -> float:
        """A bound by the norms. It is nan, which is not safe, if an entry is nan."""
        norms = [
            torch.linalg.vector_norm(x, dim=1).max()
            for x in (self.rows, self.keys, self.remote)
            if x is not None and len(x)
        ]
        if not norms or not len(self.rows):
            return 0.0
        largest = norms[0] if len(norms) == 1 else torch.stack(norms).max()
        return float(norms[0] * largest) / self.temperature

    def _buffer(self, name: str, *shape: int) -> torch.Tensor:
        """Memory that the blocks share: new memory costs more than the products."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name] = self.rows.new_empty(size)
        return buffer[:size].view(shape)

    def _starts(self, x: torch.Tensor, first: int = 0) -> Iterator[slice]:
        for start in range(first, len(x), self.block):
            yield slice(start, min(start + self.block, len(x)))

    def _similarities(self, i: slice, others: torch.Tensor) -> torch.Tensor:
        scaled = self.scaled[i]
        out = self._buffer('similarities', len(scaled), len(others))
        return torch.mm(scaled, others.T, out=out)

    def _others(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, others in (('keys', self.keys), ('remote', self.remote)):
            if others is not None:
                yield name, others

    def logsumexp(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-sum-exp of every row ``(N,)``; -inf for a row that has no other.

        Also the exponentials of the similarities where a single block is all.
        """
        if not self.safe:
            return self._logsumexp_with_maximum(), None
        rows = self.rows
        if len(rows) <= self.block and self.keys is None and self.remote is None:
            block = self._similarities(slice(None), rows).exp_().fill_diagonal_(0)
            del self._buffers['similarities']
            return block.sum(dim=1).log_(), block
        sums = rows.new_zeros(len(rows))
        for i in self._starts(rows):
            for j in self._starts(rows, i.start):
                block = self._similarities(i, rows[j]).exp_()
                if i == j:
                    block.fill_diagonal_(0)
                else:
                    sums[j] += block.sum(dim=0)
                sums[i] += block.sum(dim=1)
            for _, others in self._others():
                for j in self._starts(others):
                    sums[i] += self._similarities(i, others[j]).exp_().sum(dim=1)
        return sums.log_(), None

    def _logsumexp_with_maximum(self) -> torch.Tensor:
        rows = self.rows
        lse = rows.new_full((len(rows),), -math.inf)
        for i in self._starts(rows):
            for j in self._starts(rows):
                block = self._similarities(i, rows[j])
                if i == j:
                    block.fill_diagonal_(-math.inf)
                lse[i] = torch.logaddexp(lse[i], block.logsumexp(dim=1))
            for _, others in self._others():
                for j in self._starts(others):
                    block = self._similarities(i, others[j])
                    lse[i] = torch.logaddexp(lse[i], block.logsumexp(dim=1))
        return lse

    def gradient(
        self, weights, lse, remote_weights, remote_lse, exponentials
    ) -> torch.Tensor:
        r"""Gradient of the weighted sum with respect to the rows, times :math:`\tau`.

        With :math:`u_i = w_i \exp(-\mathrm{lse}_i)` it is :math:`\sum_a (u_i + u_a)
        \exp(z_i \cdot z_a / \tau)\, z_a`, and the matrix in it is symmetric.
        """
        if not self.safe:
            return self._gradient_with_maximum(weights, lse, remote_weights, remote_lse)
        rows = self.rows
        factors = _factors(weights, lse)
        if exponentials is not None:
            return self._times_sum(exponentials, factors, factors) @ rows
        other_factors: dict[str, torch.Tensor | None] = dict(keys=None, remote=None)
        if self.remote is not None:
            other_factors['remote'] = _factors(remote_weights, remote_lse)
        grad = torch.zeros_like(rows)
        for i in self._starts(rows):
            for j in self._starts(rows, i.start):
                block = self._similarities(i, rows[j]).exp_()
                if i == j:
                    block.fill_diagonal_(0)
                block = self._times_sum(block, factors[i], factors[j])
                grad[i].addmm_(block, rows[j])
                if i != j:
                    grad[j].addmm_(block.T, rows[i])
            for name, others in self._others():
                for j in self._starts(others):
                    block = self._similarities(i, others[j]).exp_()
                    others_own = other_factors[name]
                    if others_own is None:
                        block.mul_(factors[i, None])
                    else:
                        block = self._times_sum(block, factors[i], others_own[j])
                    grad[i].addmm_(block, others[j])
        return grad

    def _times_sum(self, block, left, right) -> torch.Tensor:
        """The block with entry (i, j) multiplied by ``left[i] + right[j]``."""
        out = self._buffer('products', *block.shape)
        torch.add(left[:, None], right, out=out)
        return out.mul_(block)

    def _gradient_with_maximum(self, weights, lse, remote_weights, remote_lse):
        rows = self.rows
        # A row without weight takes no part, even if it is -inf since it has no others.
        lse = lse.where(weights != 0, math.inf)
        if self.remote is not None:
            remote_lse = remote_lse.where(remote_weights != 0, math.inf)
        grad = torch.zeros_like(rows)
        for i in self._starts(rows):
            for j in self._starts(rows):
                block = self._similarities(i, rows[j])
                if i == j:
                    block.fill_diagonal_(-math.inf)
                share = (block - lse[i, None]).exp_().mul_(weights[i, None])
                share += block.sub_(lse[j]).exp_().mul_(weights[j])
                grad[i].addmm_(share, rows[j])
            for name, others in self._others():
                for j in self._starts(others):
                    block = self._similarities(i, others[j])
                    share = (block - lse[i, None]).exp_().mul_(weights[i, None])
                    if name == 'remote':
                        block = block.sub_(remote_lse[j]).exp_()
                        share += block.mul_(remote_weights[j])
                    grad[i].addmm_(share, others[j])
        return grad


def _factors(weights: torch.Tensor, lse: torch.Tensor) -> torch.Tensor:
    factors = weights * torch.exp(-lse)
    return factors if len(lse) > 1 else factors.where(weights != 0, 0)
