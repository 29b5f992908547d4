"""Which positions see which: causal, and within documents where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

_flex: Callable[..., Any] = flex_attention

Mask = Tensor | BlockMask | None
"""None: causal. A tensor: (B, 1, T, T) bool, true where the key is seen. A BlockMask: the same, for flex attention."""


def document_mask(document: Tensor) -> Mask:
    """The mask that keeps attention within documents. document: (B, T), their numbers within each row, -1 at padding.

    On a GPU it is made of blocks: those without a pair to be seen are never computed. Padding is a document of its
    own, so every position sees itself at least and no row of the softmax is empty.
    """
    if document.is_cuda:
        return block_mask(document)
    return visible(document.shape[1], document, document.device)


def visible(length: int, document: Tensor | None, device: torch.device) -> Tensor:
    """(B or 1, 1, T, T) bool: whether the query (third) sees the key (fourth)."""
    causal = torch.ones(1, 1, length, length, dtype=torch.bool, device=device).tril()
    return causal if document is None else causal & (document[:, None, :, None] == document[:, None, None, :])


def max_logit(query: Tensor, key: Tensor, seen: Tensor) -> Tensor:
    """The largest logit of the softmax of `attend` among the pairs of `visible`; a scalar."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits = (query @ key.transpose(2, 3)).masked_fill(~seen, -torch.inf)
    found: Tensor = logits.max() / query.shape[-1] ** 0.5
    return found


def block_mask(document: Tensor) -> BlockMask:
    """`document_mask` for flex attention, on any device."""

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (document[row, query] == document[row, key])

    rows, length = document.shape
    make: Callable[..., BlockMask] = _compiled(create_block_mask) if document.is_cuda else create_block_mask
    return make(seen, rows, None, length, length, device=document.device)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
    """Softmax attention. query: (B, heads, T, D); key and value: (B, kv_heads, T, D). (B, heads, T, D)."""
    shared = query.shape[1] != key.shape[1]
    if isinstance(mask, BlockMask):
        flex = _compiled(flex_attention) if query.is_cuda and not torch.compiler.is_compiling() else _flex
        found: Tensor = flex(query, key, value, block_mask=mask, enable_gqa=shared)
        return found
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=shared)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False)
    return compiled
