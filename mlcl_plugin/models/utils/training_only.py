# SPDX-License-Identifier: Apache-2.0
"""Parts of a model that only training needs, declared by the modules that own them."""

from torch import nn


class TrainingOnlyParts(nn.Module):
    """Base of modules with parts that only training needs.

    Such parts are projectors, prototypes and memories. A model without them takes a
    checkpoint that has them, and a later step may add them to the weights of an earlier
    one.

    A subclass names its own parts in ``training_only``; those of its parents count too.
    """

    training_only: tuple[str, ...] = ()
    """Names of submodules, parameters and buffers that only training needs."""

    @classmethod
    def training_only_names(cls) -> set[str]:
        """Names that the class and its parents declare."""
        return {
            name for kind in cls.__mro__ for name in vars(kind).get('training_only', ())
        }


def training_only_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of all weights of a model that only training needs.

    Args:
        model (nn.Module): Any model; modules that are no :class:`TrainingOnlyParts`
            declare nothing.

    Returns:
        tuple[str, ...]: Such as ``('head.projector',)``, the full name of each part. A
        weight belongs to a part if its name is that of the part, or begins with it and
        a dot.
    """
    return tuple(
        f'{prefix}.{name}'.lstrip('.')
        for prefix, module in model.named_modules()
        if isinstance(module, TrainingOnlyParts)
        for name in sorted(type(module).training_only_names())
    )
