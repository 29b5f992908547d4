"""Attention over packed sequences: each token sees its own sequence only, and nothing is padded.

Registered with transformers under `NAME`, so a model's own code calls it. On a CPU every sequence is one call of scaled
dot product attention of its own shape: no mask, and bits that do not depend on what else is packed. On CUDA
it is PyTorch's variable-length flash attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "tokenmill_packed"


def register() -> str:
    """Make the attention known to transformers; its name there."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    return NAME


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed sequences; the arguments are those of transformers.

    `query`, `key`, `value` are [1, heads, tokens, head size]; the result is [1, tokens, heads, head size].
    `cu_seq_lens_q`: int32, where each sequence begins, and where the last one ends; tokens behind it get zeros or
    anything finite. A token sees those less than `sliding_window` away (transformers' convention for ModernBERT).
    """
    if query.is_cuda:
        return _flash(query, key, value, scaling, sliding_window, cu_seq_lens_q, max_length_q), None
    _, heads, tokens, size = query.shape
    out = query.new_empty(tokens, heads, size)
    bounds = cu_seq_lens_q.tolist()
    out[bounds[-1] :] = 0
    attend(query, key, value, bounds, out, scaling, sliding_window)
    return out.unsqueeze(0), None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: Sequence[int],
    out: torch.Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
) -> None:
    """Attention on a CPU, one sequence after the other, into `out` [tokens, heads, head size]; else as above."""
    from torch.nn.functional import scaled_dot_product_attention

    for start, end in pairwise(bounds):
        q, k, v = (tensor[:, :, start:end] for tensor in (query, key, value))
        if query.shape[-1] % 16:  # else every sequence begins at a multiple of 64 bytes
            # kernels may choose by memory alignment, which must not depend on the place in the batch
            q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        near = _near(end - start, sliding_window, query.device) if sliding_window else None
        found = scaled_dot_product_attention(q, k, v, attn_mask=near, scale=scaling)
        out[start:end] = found[0].transpose(0, 1)


def _near(length: int, sliding_window: int, device: Any) -> torch.Tensor | None:
    """Whether two tokens see each other, [length, length]; None where all do."""
    if length <= sliding_window:
        return None
    import torch

    places = torch.arange(length, device=device)
    return (places[:, None] - places).abs() < sliding_window


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    sliding_window: int | None,
    bounds: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    import torch
    from torch.nn.attention.varlen import varlen_attn

    window = (sliding_window - 1, sliding_window - 1) if sliding_window else (-1, -1)
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    found = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=window)
    assert isinstance(found, torch.Tensor)  # a pair only where more is asked for
    return found.unsqueeze(0)


def has_packed_cuda() -> bool:
    """Whether this PyTorch and the present CUDA device have variable-length attention (compute capability 8.0)."""
    import importlib.util

    import torch

    module = importlib.util.find_spec("torch.nn.attention.varlen")
    return module is not None and torch.cuda.get_device_capability() >= (8, 0)
