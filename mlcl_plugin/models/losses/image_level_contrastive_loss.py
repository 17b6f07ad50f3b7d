# SPDX-License-Identifier: Apache-2.0
"""Supervised contrast of whole images that carry sets of labels."""

import math

import torch
from mmengine.dist import is_distributed
from mmpretrain.registry import MODELS

from ...targets import check_targets, is_known
from ..utils.gather import RaggedGather, scale_gradient
from .base import ImageContrast, at_least_float32, check_temperature
from .label_set_rules import RULES, LabelSets, check_rule


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

    Every image is an anchor :math:`i` with label set :math:`S`, compared with
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
      numerator inside the logarithm by K, not the logarithm. That adds a number which
      does not depend on the embeddings: the gradient is that of ``any``.

    By default the candidates of an anchor are the other images of the batch. With
    ``keys`` of a momentum encoder, the candidates are all keys, and that of the
    anchor's own image is a positive. A ``memory`` adds to either. Only ``embeddings``
    get a gradient.

    An unknown label (-1) is neither shared nor a difference: :math:`S \cap T`,
    :math:`S \setminus T` and :math:`T \setminus S` hold labels that are known in both
    images, and :math:`|S|` in :math:`K^s` and the union of ``jaccard`` are sums of
    these. Two sets without a shared label count as equal (``all``) only if every label
    of both images is known; one counts as a part of the other (``threshold``) only if
    every label of the anchor is known. An image without a known label takes no part: it
    is no anchor, no candidate and does not count in B. Values between 0 and 1 are known
    and not present.

    Sources: SupCon (`arXiv 2004.11362 <https://arxiv.org/abs/2004.11362>`_); the image
    level in the ablation of MulCon (`arXiv 2107.11626
    <https://arxiv.org/abs/2107.11626>`_) for ``any``, ``jaccard`` and ``threshold``;
    MulSupCon (`arXiv 2402.01613 <https://arxiv.org/abs/2402.01613>`_) for ``mulsupcon``
    and ``all``; Similarity-Dissimilarity loss (`arXiv 2410.13439
    <https://arxiv.org/abs/2410.13439>`_). Deviations:

    - unknown labels, as described above;
    - the Jaccard weight of two images without label is 0, where MulCon has 0/0;
    - MulSupCon has keys only. Here its rule also takes the batch; a label that no
      other image of the batch carries adds 0 and still counts in the divisor;
    - ``any`` with keys gives 0 for an anchor without label, where MulSupCon's baseline
      is nan;
    - the place of the weight in the Similarity-Dissimilarity loss is not settled:
      outside the logarithm, the default here, it has an effect; inside, it has none.

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
            candidates instead of the batch. Defaults to None.
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
    check_temperature(temperature)
    if base_temperature is not None:
        check_temperature(base_temperature, 'base_temperature')
    _check_shapes(embeddings, targets, keys, key_targets, memory)
    with torch.autocast(embeddings.device.type, enabled=False):
        own = at_least_float32(embeddings)
        batch = own, targets.to(own.dtype)
        candidates = None
        if keys is not None and key_targets is not None:
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

        pairs = LabelSets(y, other_targets, in_batch=candidates is None)
        positives = RULES[rule](pairs, **rule_options)
        anchors = (positives.weights > 0).any(dim=1)
        if not anchors.any():
            # A live graph, since DDP waits for gradients.
            return own.sum() * 0
        weights = positives.weights[anchors]
        similarities = z[anchors] @ others.T / temperature
        log_sums = similarities.masked_fill(pairs.itself[anchors], -math.inf)
        log_sums = log_sums.logsumexp(dim=1, keepdim=True)
        loss = (weights * (log_sums - similarities)).sum() + positives.offset
        if base_temperature is not None:
            loss = loss * (temperature / base_temperature)
        return scale_gradient(loss, world_size)


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
    others = dict(memory=memory)
    if keys is not None:
        others['keys'] = keys, key_targets
    for name, candidates in others.items():
        if candidates is None:
            continue
        vectors, labels = candidates
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
    embeddings, targets = rows
    gather = RaggedGather(len(targets), targets.device)
    first = sum(gather.counts[: gather.rank])

    def join(own: torch.Tensor) -> torch.Tensor:
        everything = gather.all(own)
        return torch.cat([everything[:first], own, everything[first + len(own) :]])

    return (join(embeddings), join(targets)), gather.world_size


def _with_known_labels(rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and targets of the images of which at least one label is known."""
    embeddings, targets = rows
    known = is_known(targets).any(dim=1)
    return embeddings[known], targets[known]


@MODELS.register_module()
class ImageLevelContrastiveLoss(ImageContrast):
    """Contrast of images by their labels, see :func:`image_level_contrastive_loss`.

    Args:
        rule (str): ``'any'``, ``'all'``, ``'jaccard'``, ``'threshold'``,
            ``'mulsupcon'`` or ``'similarity_dissimilarity'``. Defaults to ``'any'``.
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.1.
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        base_temperature (float, optional): The loss is multiplied by temperature /
            base_temperature. None leaves the factor out. Defaults to None.
        in_batch (bool): Compare every image with the others of the batch. False
            compares it with keys that a momentum encoder made of all images of the
            batch, its own included, as MulSupCon does. Defaults to True.
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
        check_rule(rule, rule_options)
        if base_temperature is not None:
            check_temperature(base_temperature, 'base_temperature')
        super().__init__(temperature, loss_weight, across_processes, memory)
        self.rule = rule
        self.rule_options = rule_options
        self.base_temperature = base_temperature
        self.in_batch = in_batch

    def compute(
        self,
        embeddings: torch.Tensor,
        targets: torch.Tensor,
        keys: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of ``(B, P)`` embeddings with ``(B, L)`` targets.

        Writes the batch into the memory.

        Args:
            embeddings (Tensor): ``(B, P)`` unit vectors of images.
            targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.
            keys (Tensor, optional): ``(B, P)`` unit vectors of the same images from a
                momentum encoder, to be remembered instead of ``embeddings`` and, with
                ``in_batch=False``, to be compared with them. Defaults to None.

        Returns:
            Tensor: A scalar, without ``loss_weight``.

        Raises:
            ValueError: If there are no keys though ``in_batch`` is False.
        """
        if keys is None and not self.in_batch:
            raise ValueError(
                'in_batch=False compares images with the keys of a momentum encoder, '
                "got none. Use type='MomentumClassifier' for the model, or "
                'in_batch=True.'
            )
        loss = image_level_contrastive_loss(
            embeddings,
            targets,
            self.rule,
            self.temperature,
            self.base_temperature,
            keys=None if self.in_batch else keys,
            key_targets=None if self.in_batch else targets,
            memory=self.recall(),
            across_processes=self.across_processes,
            **self.rule_options,
        )
        self.remember(embeddings if keys is None else keys, targets)
        return loss

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
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
