# SPDX-License-Identifier: Apache-2.0
"""What "the same" means for two devices."""

import torch
from torch import Tensor


def assert_near(
    got: Tensor, expected: Tensor, tolerance: float, name: str = ''
) -> None:
    """Compare values by the largest of them.

    Args:
        got (Tensor): Of the device.
        expected (Tensor): Of the CPU.
        tolerance (float): The largest difference, as a fraction of the largest
            absolute value expected.
        name (str): What it is, for the message. Defaults to ''.
    """
    got, expected = got.detach().cpu().double(), expected.detach().cpu().double()
    limit = tolerance * max(float(expected.abs().max()), 1e-6)
    torch.testing.assert_close(
        got, expected, rtol=0, atol=limit, msg=lambda text: f'{name}: {text}'
    )
