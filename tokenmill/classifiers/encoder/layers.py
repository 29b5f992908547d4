"""The layers of BERT and its kin on packed sequences on a CPU: transformers' arithmetic with fewer passes over memory.

Beside the products of matrices, time goes into memory that is fresh or has left the caches. So what layers write into
is kept from batch to batch, residuals are added where they stand, the three products before attention are one, and
all that lies between two attentions is done for `ROWS` tokens at a time. Where the first token of a sequence is all
that is wanted, the last layer computes nothing else.

A row of a product depends on the number of rows and not on its place or on the other rows, so these numbers are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from tokenmill.classifiers.encoder.attention import attend

ROWS = 512
"""Tokens that are taken through a layer together; a batch that is no multiple of it is taken as a whole."""
FIRSTS = 64
"""First tokens that are taken through the last layer together, fillers included."""

_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "middle": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "last": "output.LayerNorm",
}
_DISTILBERT = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "out": "attention.out_lin",
    "middle": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "last": "output_layer_norm",
}
_FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), ("encoder", "hidden_act", _BERT)),
    "distilbert": ("transformer", "activation", _DISTILBERT),
}


@dataclass(frozen=True)
class Layer:
    """One layer; weights are [inputs, outputs]."""

    into: torch.Tensor
    """[hidden, 3 * hidden]: queries, keys and values."""
    into_bias: torch.Tensor
    out: Any
    middle: Any
    up: Any
    down: Any
    last: Any

    def finish(self, rows: torch.Tensor, context: torch.Tensor, space: Space) -> None:
        """From the layer's input `rows` and the attention's output to the layer's output, in the place of `rows`."""
        torch.add(rows, self.out.bias, out=space.sums[: len(rows)])
        middle = self.middle(space.sums[: len(rows)].addmm_(context, self.out.weight.t()))
        wide = torch.addmm(self.up.bias, middle, self.up.weight.t(), out=space.wide[: len(rows)])
        torch.ops.aten.gelu_(wide)
        middle.add_(self.down.bias).addmm_(wide, self.down.weight.t())
        rows.copy_(self.last(middle))


@dataclass(frozen=True)
class Space:
    """What the layers of one batch write into, float32."""

    triples: torch.Tensor
    """[tokens, 3 * hidden]: queries, keys, values."""
    context: torch.Tensor
    """[tokens, hidden]: what attention gives."""
    wide: torch.Tensor
    """[rows, intermediate size]."""
    sums: torch.Tensor
    """[rows, hidden]."""


class Layers:
    """All layers of a model. Several threads may run it at a time."""

    def __init__(self, encoder: Any, layers: Sequence[Layer]) -> None:
        self._encoder = encoder
        self._layers = layers
        self._heads = int(encoder.config.num_attention_heads)
        self._free: list[Space] = []

    def run(
        self, ids: torch.Tensor, positions: torch.Tensor, bounds: Sequence[int], wanted: Sequence[int], firsts: bool
    ) -> list[torch.Tensor]:
        """The hidden states `wanted` (0 is the embeddings; none: the last), [tokens, hidden] each.

        `ids`, `positions`: int64 [1, tokens]. `bounds`: where each sequence begins, and where the last one ends.
        `firsts`: one state, the last one, and of first tokens only: [sequences, hidden].
        """
        states = self._embeddings(ids, positions)
        found = {0: states.clone()} if 0 in wanted else {}
        space = self._space(len(states))
        step = len(space.wide)
        for number, layer in enumerate(self._layers, start=1):
            last = number == len(self._layers)
            if firsts and last:
                found[number] = self._firsts(layer, states, bounds, space)
                break
            for start in range(0, len(states), step):
                rows = slice(start, start + step)
                torch.addmm(layer.into_bias, states[rows], layer.into, out=space.triples[rows])
            query, key, value = self._split(space.triples)
            attend(query, key, value, bounds, space.context.view(len(states), self._heads, -1))
            for start in range(0, len(states), step):
                rows = slice(start, start + step)
                layer.finish(states[rows], space.context[rows], space)
            if last or number in wanted:
                found[number] = states if last else states.clone()
        self._free.append(space)
        return [found[number] for number in wanted or (len(self._layers),)]

    def _embeddings(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        states = self._encoder.embeddings(input_ids=ids, position_ids=positions)
        project = getattr(self._encoder, "embeddings_project", None)  # ELECTRA's may be narrower than its layers
        found = (project(states) if project else states)[0]
        assert isinstance(found, torch.Tensor)
        return found

    def _space(self, tokens: int) -> Space:
        """Memory for a batch: that of an earlier one of the same size, if there is one."""
        while self._free:
            space = self._free.pop()
            if len(space.context) == tokens:
                return space
        layer = self._layers[0]
        hidden, wide = layer.into.shape[0], layer.up.out_features
        rows = tokens if tokens % ROWS else ROWS
        new = layer.into.new_empty
        # what attention does not reach are fillers: any number does that is finite
        return Space(new(tokens, 3 * hidden), new(tokens, hidden).zero_(), new(rows, wide), new(rows, hidden))

    def _split(self, triples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each [1, heads, tokens, head size], in the memory of [tokens, 3 * hidden]."""
        query, key, value = triples.view(len(triples), 3, self._heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
        return query, key, value

    def _firsts(self, layer: Layer, states: torch.Tensor, bounds: Sequence[int], space: Space) -> torch.Tensor:
        """The layer's output for the first token of every sequence, [sequences, hidden]."""
        hidden = states.shape[1]
        for start in range(0, len(states), len(space.wide)):
            rows = slice(start, start + len(space.wide))
            into, bias = layer.into[:, hidden:], layer.into_bias[hidden:]
            torch.addmm(bias, states[rows], into, out=space.triples[rows, hidden:])
        _, keys, values = self._split(space.triples)
        count = len(bounds) - 1
        firsts = states.new_zeros(-(-count // FIRSTS) * FIRSTS, hidden)
        firsts[:count] = states[torch.tensor(bounds[:-1])]
        context = torch.zeros_like(firsts)
        queries = torch.empty_like(firsts)
        spare = Space(
            queries, context, states.new_empty(FIRSTS, layer.up.out_features), torch.empty_like(firsts[:FIRSTS])
        )
        for start in range(0, len(firsts), FIRSTS):
            rows = slice(start, start + FIRSTS)
            torch.addmm(layer.into_bias[:hidden], firsts[rows], layer.into[:, :hidden], out=queries[rows])
        for number, (start, end) in enumerate(pairwise(bounds)):
            query = queries[number].view(1, self._heads, 1, -1)
            found = scaled_dot_product_attention(query, keys[:, :, start:end], values[:, :, start:end])
            context[number] = found.flatten()
        for start in range(0, len(firsts), FIRSTS):
            rows = slice(start, start + FIRSTS)
            layer.finish(firsts[rows], context[rows], spare)
        return firsts[:count]


def known_layers(encoder: Any) -> Layers | None:
    """The encoder's layers, where they are of a form that is known here; None: transformers' code has to run them.

    Known are float32 layers of BERT's form with the exact GELU, whose width is a multiple of 16: then every
    sequence begins at a multiple of 64 bytes.
    """
    config = encoder.config
    if config.model_type not in _FAMILIES or encoder.dtype != torch.float32:
        return None
    stack, activation, names = _FAMILIES[config.model_type]
    if getattr(config, activation) != "gelu" or config.hidden_size % 16 or getattr(config, "is_decoder", False):
        return None
    layers = []
    for module in getattr(encoder, stack).layer:
        part = {name: module.get_submodule(path) for name, path in names.items()}
        for name in ("out", "up", "down"):  # as a product reads them; the modules themselves see no difference
            part[name].weight.data = part[name].weight.t().contiguous().t()
        three = [part.pop(name) for name in ("query", "key", "value")]
        into = torch.cat([linear.weight for linear in three]).t().contiguous()
        layers.append(Layer(into=into, into_bias=torch.cat([linear.bias for linear in three]), **part))
    return Layers(encoder, layers)
