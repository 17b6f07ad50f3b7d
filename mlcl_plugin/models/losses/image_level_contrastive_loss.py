# SPDX-License-Identifier: Apache-2.0
"""Supervised contrast of whole images that carry sets of labels."""

import inspect
import math
from numbers import Real
from typing import NamedTuple

import torch
from mmengine.dist import is_distributed
from mmpretrain.registry import MODELS
from torch import nn

from ...targets import check_targets
from ..utils.gather import RaggedGather, scale_gradient


def image_level_contrastive_loss(
    embeddings: torch.Tensor,
    targets: torch.Tensor,
    rule: str = 'any',
    temperature: float = 0.1,
    base_temperature: float | None = None,
    keys: torch.Tensor | None = None,
    key_targets: torch.Tensor | None = None,
    memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    across_processes: bool = False,
    **rule_options,
) -> torch.Tensor:
    r"""Pull images of related label sets together, push others apart.

    Every image is an anchor :math:`i` with label set :math:`S`, held against
    candidates :math:`p` with label sets :math:`T`:

    .. math::
        \mathcal{L} = -\sum_i \sum_p w_{ip} \log \frac{\exp(z_i \cdot z_p / \tau)}
        {\sum_a \exp(z_i \cdot z_a / \tau)}

    where :math:`a` runs over all candidates, whatever their labels. The rules differ
    in the weights :math:`w_{ip}`. All but ``mulsupcon`` average: :math:`w_{ip} =
    K_{ip} / (B\,|P(i)|)` for the positives :math:`p \in P(i)`, with B the number of
    anchors, those without a positive included.

    - ``any``: :math:`P(i)` are those that share a label, :math:`K = 1`.
    - ``all``: :math:`P(i)` are those of the same label set, :math:`K = 1`.
    - ``jaccard``: :math:`P(i)` as ``any``, :math:`K = |S \cap T| / |S \cup T|`.
    - ``threshold`` (options ``threshold``, a number t, and ``jaccard_weights``, False):
      if :math:`|S| \ge t`, :math:`P(i)` are those that share more than t labels, or
      else those with :math:`S \subseteq T`, which is all of them for an anchor without
      label; :math:`K = 1`, with ``jaccard_weights`` as ``jaccard``. The inequality is
      strict: an anchor with exactly t labels has no positive.
    - ``mulsupcon`` (option ``with_weight``, False): one term for every label
      :math:`c \in S`, whose positives :math:`P_c` are those that carry it:
      :math:`w_{ip} = \sum_{c \in S \cap T} 1 / |P_c|`, divided by the sum of
      :math:`|S|` over all anchors, or ``with_weight`` by :math:`B\,|S|`.
    - ``similarity_dissimilarity`` (options ``use_similarity``, True,
      ``use_dissimilarity``, True, and ``inside_log``, False): :math:`P(i)` as ``any``,
      :math:`K = K^s K^d` with :math:`K^s = |S \cap T| / |S|` and :math:`K^d = 1 / (1 +
      |T \setminus S|)`; each can be switched off. ``inside_log`` multiplies the
      numerator inside the logarithm by K in place of the logarithm. That adds a
      number which no embedding changes: the gradient is that of ``any``.

    By default the candidates are the batch itself, of which every anchor leaves itself
    out. With ``keys`` they are these alone and nothing is left out: the keys of a
    momentum encoder, where the key of the anchor's own image is a positive. A
    ``memory`` adds to either. Only ``embeddings`` get a gradient.

    An unknown label (-1) is neither shared nor a difference: :math:`S \cap T`,
    :math:`S \setminus T` and :math:`T \setminus S` hold labels that are known in both
    images, and :math:`|S|` in :math:`K^s` and the union of ``jaccard`` are sums of
    these. Two sets without a shared label pass for equal (``all``), and one for a part
    of the other (``threshold``), only if every label of both (of the anchor) is known.
    An image without a known label takes no part: it is no anchor, no candidate and
    does not count in B. Values between 0 and 1 are known and not present.

    Sources: SupCon (`arXiv 2004.11362 <https://arxiv.org/abs/2004.11362>`_); the image
    level in the ablation of MulCon (`arXiv 2107.11626
    <https://arxiv.org/abs/2107.11626>`_) for ``any``, ``jaccard`` and ``threshold``;
    MulSupCon (`arXiv 2402.01613 <https://arxiv.org/abs/2402.01613>`_) for ``mulsupcon``
    and ``all``; Similarity-Dissimilarity loss (`arXiv 2410.13439
    <https://arxiv.org/abs/2410.13439>`_). Deviations:

    - unknown labels are this project's, as said;
    - the Jaccard weight of two images without label is 0, where MulCon has 0/0;
    - MulSupCon has keys only. Here its rule also takes the batch; a label that no
      other image of the batch carries adds 0 and still counts in the divisor;
    - ``any`` with keys gives 0 for an anchor without label, where MulSupCon's baseline
      is nan;
    - where the Similarity-Dissimilarity loss has its weight is not settled: outside
      the logarithm, the default here, it acts; inside, it does not.

    With ``across_processes`` anchors and candidates are those of all processes of the
    run. Every process computes the whole loss, with a matrix of all anchors by all
    candidates, and the gradient of its own embeddings. Gradients are multiplied by
    the number of processes, since DDP averages them: after DDP they are those of one
    process that has the joined batch. Sent by each process in a step, with n its
    number of images (the largest of all processes): 4 n (P + L) + 8 bytes, twice that
    with keys, all in the forward pass.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        embeddings (Tensor): ``(B, P)``, unit vectors, one for every image or view.
        targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.
        rule (str): Which candidates are positives, and how much they weigh.
            Defaults to ``'any'``.
        temperature (float): :math:`\tau > 0`. Defaults to 0.1.
        base_temperature (float, optional): :math:`\tau_0 > 0`; the loss is multiplied
            by :math:`\tau / \tau_0`. None leaves the factor out. Defaults to None.
        keys (Tensor, optional): ``(K, P)`` unit vectors without gradient, the
            candidates in place of the batch. Defaults to None.
        key_targets (Tensor, optional): ``(K, L)`` their targets, needed with ``keys``.
            Defaults to None.
        memory (tuple[Tensor, Tensor], optional): ``(M, P)`` further candidates without
            gradient and their targets ``(M, L)``, the same in all processes.
            Defaults to None.
        across_processes (bool): Contrast the images of all processes. All of them must
            call the function, also without an image. Of no effect in a single
            process. Defaults to False.
        **rule_options: The options of the rule.

    Returns:
        Tensor: A scalar; 0 with a live graph where no anchor has a positive.

    Raises:
        ValueError: If a temperature is not a positive number, rule and options are
            unknown or do not go together, shapes disagree, or a target is not
            from 0 to 1 or -1.
    """
    check_rule(rule, rule_options)
    _check_temperatures(temperature=temperature, base_temperature=base_temperature)
    _check_shapes(embeddings, targets, keys, key_targets, memory)
    with torch.autocast(embeddings.device.type, enabled=False):
        half = embeddings.dtype in (torch.float16, torch.bfloat16)
        own = embeddings.float() if half else embeddings
        batch = own, targets.to(own.dtype)
        candidates = None
        if keys is not None:
            candidates = keys.detach().to(own.dtype), key_targets.to(own.dtype)
        world_size = 1
        if across_processes and is_distributed():
            batch, world_size = _of_all_processes(batch)
            if candidates is not None:
                candidates, _ = _of_all_processes(candidates)
        z, y = batch = _with_known_labels(batch)
        groups = [batch if candidates is None else _with_known_labels(candidates)]
        if memory is not None:
            groups.append(
                _with_known_labels([x.detach().to(own.dtype) for x in memory])
            )
        others, other_targets = map(torch.cat, zip(*groups))

        pairs = _LabelSets(y, other_targets, in_batch=candidates is None)
        positives = RULES[rule](pairs, **rule_options)
        anchors = (positives.weights > 0).any(dim=1)
        if not anchors.any():
            # The graph stays whole for DDP.
            return own.sum() * 0
        weights = positives.weights[anchors]
        similarities = z[anchors] @ others.T / temperature
        log_sums = similarities.masked_fill(pairs.itself[anchors], -math.inf)
        log_sums = log_sums.logsumexp(dim=1, keepdim=True)
        loss = (weights * (log_sums - similarities)).sum() + positives.offset
        if base_temperature is not None:
            loss = loss * (temperature / base_temperature)
        return scale_gradient(loss, world_size)


class _Positives(NamedTuple):
    #: ``(B, K)``: what the cross-entropy of anchor and candidate counts in the loss
    weights: torch.Tensor
    #: what the loss has in addition, whatever the embeddings
    offset: torch.Tensor | float = 0.0


class _LabelSets:
    """The label sets of anchors (S) and candidates (T), compared pair by pair.

    Args:
        targets (Tensor): ``(B, L)`` of the anchors.
        other_targets (Tensor): ``(K, L)`` of the candidates.
        in_batch (bool): The first B candidates are the anchors themselves.
    """

    def __init__(
        self, targets: torch.Tensor, other_targets: torch.Tensor, in_batch: bool
    ):
        dtype = targets.dtype
        self.present = (targets == 1).to(dtype)
        self.others_present = (other_targets == 1).to(dtype)
        absent = ((targets >= 0) & (targets < 1)).to(dtype)
        others_absent = ((other_targets >= 0) & (other_targets < 1)).to(dtype)
        # Numbers of labels, all (B, K) and of labels known in both: in S and T, in S
        # but not in T, in T but not in S.
        self.shared = self.present @ self.others_present.T
        self.missing = self.present @ others_absent.T
        self.surplus = absent @ self.others_present.T
        self.wholly_known = (targets >= 0).all(dim=1, keepdim=True)
        self.others_wholly_known = (other_targets >= 0).all(dim=1)
        self.in_batch = in_batch
        self.itself = torch.zeros_like(self.shared, dtype=torch.bool)
        if in_batch:
            self.itself.fill_diagonal_(True)

    @property
    def size(self) -> torch.Tensor:
        """``(B, 1)`` numbers of labels of the anchors."""
        return self.present.sum(dim=1, keepdim=True)

    def jaccard(self) -> torch.Tensor:
        """Shared labels in all labels of a pair; 0 for two images without label."""
        union = self.shared + self.missing + self.surplus
        return self.shared / union.clamp(min=1)

    def mean(
        self, positives: torch.Tensor, factors: torch.Tensor | float = 1.0
    ) -> torch.Tensor:
        """Weights of a mean over positives, then over anchors."""
        positives = (positives & ~self.itself).to(self.shared.dtype)
        number = positives.sum(dim=1, keepdim=True).clamp(min=1)
        return positives * factors / (number * len(positives))


def _any(sets: _LabelSets) -> _Positives:
    return _Positives(sets.mean(sets.shared > 0))


def _all(sets: _LabelSets) -> _Positives:
    equal = (sets.missing == 0) & (sets.surplus == 0)
    sure = (sets.shared > 0) | (sets.wholly_known & sets.others_wholly_known)
    return _Positives(sets.mean(equal & sure))


def _jaccard(sets: _LabelSets) -> _Positives:
    return _Positives(sets.mean(sets.shared > 0, sets.jaccard()))


def _threshold(
    sets: _LabelSets, threshold: int, jaccard_weights: bool = False
) -> _Positives:
    part = (sets.missing == 0) & (
        (sets.shared > 0) | (sets.wholly_known & (sets.size == 0))
    )
    positives = torch.where(sets.size >= threshold, sets.shared > threshold, part)
    return _Positives(sets.mean(positives, sets.jaccard() if jaccard_weights else 1.0))


def _mulsupcon(sets: _LabelSets, with_weight: bool = False) -> _Positives:
    carriers = sets.others_present.sum(dim=0)
    if sets.in_batch:
        # An anchor with the label is one of them, and no positive of itself.
        carriers = carriers - 1
    weights = (sets.present / carriers.clamp(min=1)) @ sets.others_present.T
    weights = weights.masked_fill(sets.itself, 0)
    if with_weight:
        return _Positives(weights / (sets.size.clamp(min=1) * max(len(weights), 1)))
    return _Positives(weights / sets.size.sum().clamp(min=1))


def _similarity_dissimilarity(
    sets: _LabelSets,
    use_similarity: bool = True,
    use_dissimilarity: bool = True,
    inside_log: bool = False,
) -> _Positives:
    factors = torch.ones_like(sets.shared)
    if use_similarity:
        factors = sets.shared / (sets.shared + sets.missing).clamp(min=1)
    if use_dissimilarity:
        factors = factors / (1 + sets.surplus)
    positives = sets.shared > 0
    if inside_log:
        weights = sets.mean(positives)
        return _Positives(weights, -(weights * factors.where(positives, 1).log()).sum())
    return _Positives(sets.mean(positives, factors))


#: By name, a function of label sets and of the rule's options.
RULES = dict(
    any=_any,
    all=_all,
    jaccard=_jaccard,
    threshold=_threshold,
    mulsupcon=_mulsupcon,
    similarity_dissimilarity=_similarity_dissimilarity,
)


def check_rule(rule: str, options: dict) -> None:
    """Raise a ``ValueError`` unless there is such a rule and it has these options."""
    if rule not in RULES:
        raise ValueError(f'rule must be one of {", ".join(RULES)}, got {rule!r}.')
    known = dict(list(inspect.signature(RULES[rule]).parameters.items())[1:])
    for name in options:
        if name not in known:
            raise ValueError(
                f'The rule {rule!r} has no option {name!r}. Its options: '
                f'{", ".join(known) or "none"}.'
            )
    for name, parameter in known.items():
        if name not in options:
            if parameter.default is parameter.empty:
                raise ValueError(f'The rule {rule!r} needs the option {name!r}.')
        elif parameter.annotation is bool:
            if not isinstance(options[name], bool):
                raise ValueError(
                    f'{name} must be True or False, got {options[name]!r}.'
                )
        elif type(options[name]) is not int or options[name] < 0:
            raise ValueError(
                f'{name} must be a number of labels, 0 or more, got {options[name]!r}.'
            )


def _check_temperatures(**temperatures: float | None) -> None:
    for name, value in temperatures.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if name == 'base_temperature' and value is None:
            continue
        if not number or not 0 < value < math.inf:
            raise ValueError(
                f'{name} must be a positive, finite number, got {value!r}.'
            )


def _check_shapes(embeddings, targets, keys, key_targets, memory) -> None:
    if (
        embeddings.ndim != 2
        or targets.ndim != 2
        or targets.shape[:1] != embeddings.shape[:1]
    ):
        raise ValueError(
            'Expected embeddings (B, P) and targets (B, L), got '
            f'{tuple(embeddings.shape)} and {tuple(targets.shape)}.'
        )
    if (keys is None) != (key_targets is None):
        raise ValueError('keys and key_targets come together, got only one of them.')
    others = dict(keys=(keys, key_targets), memory=memory or (None, None))
    for name, (vectors, labels) in others.items():
        if vectors is None:
            continue
        expected = (
            (len(vectors), embeddings.size(1)),
            (len(vectors), targets.size(1)),
        )
        if (tuple(vectors.shape), tuple(labels.shape)) != expected:
            raise ValueError(
                f'Expected {name} of (K, {embeddings.size(1)}), as wide as the '
                f'embeddings, and of (K, {targets.size(1)}) targets, got '
                f'{tuple(vectors.shape)} and {tuple(labels.shape)}.'
            )
    for labels in (targets, key_targets):
        if labels is not None:
            check_targets(labels, soft=True)


def _of_all_processes(
    rows: tuple[torch.Tensor, torch.Tensor],
) -> tuple[tuple[torch.Tensor, torch.Tensor], int]:
    """Embeddings and targets of all, in the order of ranks, and how many processes.

    Those of this process keep their gradient.
    """
    gather = RaggedGather(len(rows[0]), rows[0].device)
    first = sum(gather.counts[: gather.rank])
    joined = []
    for own in rows:
        everything = gather.all(own)
        joined.append(
            torch.cat([everything[:first], own, everything[first + len(own) :]])
        )
    return tuple(joined), gather.world_size


def _with_known_labels(rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and targets of the images of which at least one label is known."""
    embeddings, targets = rows
    known = (targets >= 0).any(dim=1)
    return embeddings[known], targets[known]


@MODELS.register_module()
class ImageLevelContrastiveLoss(nn.Module):
    """Contrast of whole images by their label sets, see
    :func:`image_level_contrastive_loss`.

    Args:
        rule (str): ``'any'``, ``'all'``, ``'jaccard'``, ``'threshold'``,
            ``'mulsupcon'`` or ``'similarity_dissimilarity'``. Defaults to ``'any'``.
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.1.
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        base_temperature (float, optional): The loss is multiplied by temperature /
            base_temperature. None leaves the factor out. Defaults to None.
        in_batch (bool): Hold every image against the others of the batch. False holds
            it against keys that a momentum encoder made of all images of the batch,
            its own included, as MulSupCon. Defaults to True.
        across_processes (bool): Contrast the images of all processes of a run, or
            those of each process by themselves. Defaults to True.
        memory (dict, optional): Config of a memory of images of earlier batches
            (:class:`ImageEmbeddingMemory`), which are further candidates.
            Defaults to None.
        **rule_options: The options of the rule.

    Raises:
        ValueError: If an option has a value outside its range or is none of the
            rule's.
    """

    whole_images = True
    """Tells heads that it takes a vector for every image, and all its targets."""

    def __init__(
        self,
        rule: str = 'any',
        temperature: float = 0.1,
        loss_weight: float = 1.0,
        base_temperature: float | None = None,
        in_batch: bool = True,
        across_processes: bool = True,
        memory: dict | None = None,
        **rule_options,
    ):
        super().__init__()
        check_rule(rule, rule_options)
        _check_temperatures(temperature=temperature, base_temperature=base_temperature)
        if not 0 <= loss_weight < math.inf:
            raise ValueError(
                f'loss_weight must be finite and not negative, got {loss_weight}.'
            )
        self.rule = rule
        self.rule_options = rule_options
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.base_temperature = base_temperature
        self.in_batch = in_batch
        self.across_processes = across_processes
        self.memory = None if memory is None else MODELS.build(memory)

    def forward(
        self,
        embeddings: torch.Tensor,
        targets: torch.Tensor,
        keys: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Weighted loss of ``(B, P)`` embeddings with ``(B, L)`` targets.

        Args:
            embeddings (Tensor): ``(B, P)`` unit vectors of images.
            targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.
            keys (Tensor, optional): ``(B, P)`` unit vectors of the same images from a
                momentum encoder, to be remembered in place of ``embeddings`` and, with
                ``in_batch=False``, to hold the embeddings against. Defaults to None.

        Returns:
            Tensor: A scalar.

        Raises:
            ValueError: If there are no keys though ``in_batch`` is False.
        """
        if keys is None and not self.in_batch:
            raise ValueError(
                'With in_batch=False images are held against keys of a momentum '
                "encoder, got none. Use type='MomentumClassifier' for the model, or "
                'in_batch=True.'
            )
        against_keys = not self.in_batch
        loss = image_level_contrastive_loss(
            embeddings,
            targets,
            self.rule,
            self.temperature,
            self.base_temperature,
            keys=keys if against_keys else None,
            key_targets=targets if against_keys else None,
            memory=None if self.memory is None else self.memory.read(),
            across_processes=self.across_processes,
            **self.rule_options,
        )
        if self.memory is not None and self.training:
            self.memory.write(embeddings if keys is None else keys, targets)
        return self.loss_weight * loss

    def extra_repr(self) -> str:
        options = dict(
            rule=self.rule,
            **self.rule_options,
            temperature=self.temperature,
            loss_weight=self.loss_weight,
            base_temperature=self.base_temperature,
            in_batch=self.in_batch,
            across_processes=self.across_processes,
        )
        return ', '.join(f'{name}={value!r}' for name, value in options.items())
