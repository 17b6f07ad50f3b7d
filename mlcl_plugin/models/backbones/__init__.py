# SPDX-License-Identifier: Apache-2.0
from .identity_backbone import IdentityBackbone

__all__ = ['IdentityBackbone']
