"""Rotary positions (arXiv:2104.09864): queries and keys are turned, so that their products depend on distance."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(length: int, head_width: int, theta: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """(2, T, D): cosines and sines by which position t turns the pairs (i, i + D/2) of a head.

    Sines of the first half are negative, so that a turn is x * cos + swapped(x) * sin (the halves as in
    transformers, so that weights need no permutation).
    """
    frequencies = theta ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    sines = angles.sin()
    return torch.stack([angles.cos().repeat(1, 2), torch.cat([-sines, sines], dim=1)]).to(dtype)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn (B, T, heads, D) by `rotary_table`; in the dtype of the table or a wider one."""
    cosines, sines = table[:, : x.shape[1], None]
    turned: Tensor = x * cosines + x.roll(x.shape[-1] // 2, dims=-1) * sines
    return turned
