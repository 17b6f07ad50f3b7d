# SPDX-License-Identifier: Apache-2.0
"""A config that formats its text once."""

from mmengine.config import Config


class FormattedConfig(Config):
    """Config whose text is formatted again only after the config has changed.

    MMEngine writes the text into every checkpoint. To format it takes longer than to
    write the weights of a small model.
    """

    @classmethod
    def of(cls, cfg: Config) -> 'FormattedConfig':
        """Copy a config; both share their fields."""
        other = cls.__new__(cls)
        other.__dict__.update(cfg.__dict__)
        return other

    @property
    def pretty_text(self) -> str:
        """The text, formatted by yapf."""
        content = repr(self._cfg_dict)
        known = self.__dict__.get('_formatted')
        if known is None or known[0] != content:
            known = content, super().pretty_text
            # Config's own assignment would add a field.
            self.__dict__['_formatted'] = known
        return known[1]
