# SPDX-License-Identifier: Apache-2.0
"""Parts of a model that only training needs, declared by the modules that own them."""

from torch import nn


class TrainingOnlyParts:
    """Mixin of modules with parts that only training needs, named before the module.

    Such parts are projectors, prototypes and memories. A class names its own in
    ``training_only``; those of its parents count too. A later training step may add
    such parts to the weights of an earlier one, see :func:`training_only_prefixes`.

    A module takes a checkpoint that has such parts where it has none: it leaves out
    what its class, a parent or a subclass declares. So a head takes the checkpoints of
    heads that derive from it.
    """

    training_only: tuple[str, ...] = ()
    """Names of submodules, parameters and buffers that only training needs.

    A module that is built without such a part has None instead.
    """

    @classmethod
    def training_only_names(cls) -> set[str]:
        """Names that the class and its parents declare."""
        return {
            name for kind in cls.__mro__ for name in vars(kind).get('training_only', ())
        }

    @classmethod
    def _family_names(cls) -> set[str]:
        """Names that the class, its parents and its subclasses declare."""
        return cls.training_only_names().union(
            *(kind._family_names() for kind in cls.__subclasses__())
        )

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Load, without the training-only parts that this module does not have."""
        for name in self._family_names():
            if getattr(self, name, None) is None:
                for key in [k for k in state_dict if is_part(k, f'{prefix}{name}')]:
                    del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def is_part(key: str, name: str) -> bool:
    """Whether the weight ``key`` is the part ``name`` or belongs to it."""
    return key == name or key.startswith(f'{name}.')


def training_only_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Names of all parts of a model that only training needs.

    Args:
        model (nn.Module): Any model. Modules that are no :class:`TrainingOnlyParts`
            declare nothing.

    Returns:
        tuple[str, ...]: Such as ``('head.projector',)``, the full name of each part, as
        the keys of ``model.state_dict()`` begin, see :func:`is_part`. The names of a
        wrapped model (DDP) begin with ``'module.'``, as its keys do.
    """
    return tuple(
        f'{prefix}.{name}' if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, TrainingOnlyParts)
        for name in sorted(module.training_only_names())
    )
