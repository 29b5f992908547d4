"""A Llama of two layers whose weights are set, not trained, so that it copies from its prompt.

Models learn to copy by a circuit of two layers (induction heads, arXiv:2209.11895): heads of the first look at the
tokens just before, heads of the second find the place whose predecessors are those of the present token, and say what
stands there. Training takes minutes to find it; here it is written down. It says nothing of what a language model
knows, and is all that tests and demonstrations of rewriting need: real prompts in, real answers out, of a real server.
"""

from __future__ import annotations

import torch

from tokenmill.train.config import ModelConfig
from tokenmill.train.model import Decoder
from tokenmill.train.rotary import rotate

OWN = 128
"""Dimensions of the stream that hold the token itself."""
PART = 64
"""Dimensions for each of the tokens before it."""


def lookup_model(vocab_size: int, *, back: int = 2, context: int = 1024) -> Decoder:
    """A model that goes on as the prompt went on behind the same `back` tokens.

    The head is not tied to the embedding: exchange rows of the one, and other tokens are said for those that are found.
    """
    config = ModelConfig(
        vocab_size=vocab_size, layers=2, width=128 * back, heads=back, hidden=64, context=context, rope_theta=1e8,
        qk_norm=False, tied=False, z_loss=0.0,
    )  # fmt: skip
    model = Decoder(config)
    set_lookup(model)
    return model.eval()


@torch.no_grad()
def set_lookup(model: Decoder) -> None:
    """First layer: head h attends to h + 1 positions back, by a product of constant vectors that only the fast pairs of
    dimensions of the rotary positions turn. Second layer: all heads compare (own, one before, ...) with (one before,
    two before, ...) in the slow pairs, which hardly turn over the length of a prompt; each adds a part of the token.
    """
    config, random = model.config, torch.Generator().manual_seed(1)
    heads, width, half = config.heads, config.head_width, config.head_width // 2

    def drawn(*shape: int) -> torch.Tensor:
        return torch.empty(shape).normal_(generator=random)

    embedding = model.embedding.weight
    embedding.zero_()
    rows = drawn(len(embedding), OWN - 1)
    embedding[:, 1:OWN] = rows / rows.norm(dim=1, keepdim=True) * (OWN - 1) ** 0.5
    model.head_weight.copy_(embedding)
    model.norm.weight.fill_(0.5)
    embedding[:, 0] = 3.0  # what is the same for all tokens

    first, second = (block.attention for block in model.blocks)
    mixed, output = first.qkv.weight.view(3, heads, width, -1), first.output.weight.view(-1, heads, width)
    mixed.zero_()
    seen = drawn(PART, OWN - 1) / (OWN - 1) ** 0.5
    for head in range(heads):
        query = torch.zeros(width)
        query[: half * 3 // 8] = 3.0
        moved = rotate(query.expand(1, head + 2, 1, width).clone(), model.table)[0, head + 1, 0]
        mixed[0, head, :, 0], mixed[1, head, :, 0] = query, moved
        mixed[2, head, :PART, 1:OWN] = seen
        start = OWN + PART * head
        output[start : start + PART, head, :PART] = torch.eye(PART)

    mixed, output = second.qkv.weight.view(3, heads, width, -1), second.output.weight.view(-1, heads, width)
    mixed.zero_()
    slow = [pair for pair in range(half) if config.rope_theta ** (-pair / half) < 0.003]
    places = torch.tensor(slow + [pair + half for pair in slow])
    share = len(places) // heads
    for head in range(heads):
        for place in range(heads):  # 0: the token itself against the one before, and so on
            match = drawn(share, PART) / share**0.5 * (3.0 if place == 0 else 1.8)
            into = places[place * share : (place + 1) * share]
            start = OWN + PART * place
            if place == 0:
                mixed[0, head, into, 1:OWN] += match @ seen
            else:
                mixed[0, head, into, start - PART : start] += match
            mixed[1, head, into, start : start + PART] += match
        held = slice(OWN * head // heads, OWN * (head + 1) // heads)
        count = held.stop - held.start
        mixed[2, head, :count, held] = torch.eye(count)
        output[held, head, :count] = torch.eye(count) * 3.0
    output[0] = 0.0  # the constant is for the first layer alone


@torch.no_grad()
def begin_like(model: Decoder, token: int, other: int) -> None:
    """Read `token` as `other`, whatever stands before it: norms take the factor away, the stream keeps it."""
    model.embedding.weight[token] = 3.0 * model.embedding.weight[other]
