"""The layers of BERT and its kin on packed sequences on a CPU: transformers' arithmetic with fewer passes over memory.

The three products before attention are one, residuals and activations are computed where they stand, and what layers
write into is kept from batch to batch. Where the first token of a sequence is all that is wanted, the last layer
computes nothing else: `FIRSTS` rows at a time, for a row of a product depends on the number of rows (not on its place).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from tokenmill.classifiers.encoder.attention import attend
from tokenmill.classifiers.encoder.inputs import Inputs

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
    """One layer: its modules, and the three before attention as one product."""

    into: torch.Tensor
    """[hidden, 3 * hidden]: queries, keys and values."""
    into_bias: torch.Tensor
    """[3 * hidden]."""
    out: Any
    middle: Any
    up: Any
    down: Any
    last: Any

    def finish(self, rows: torch.Tensor, context: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        """From the layer's input and what attention gave, [rows, hidden] each, to its output. `rows` is overwritten.

        `wide`: memory, [rows, intermediate size].
        """
        middle = self.middle(rows.add_(self.out.bias).addmm_(context, self.out.weight.t()))
        torch.addmm(self.up.bias, middle, self.up.weight.t(), out=wide)
        torch.ops.aten.gelu_(wide)
        found = self.last(torch.add(middle, self.down.bias, out=rows).addmm_(wide, self.down.weight.t()))
        assert isinstance(found, torch.Tensor)
        return found


@dataclass(frozen=True)
class Space:
    """What the layers of one batch write into; the model's dtype."""

    triples: torch.Tensor
    """[tokens, 3 * hidden]: queries, keys, values."""
    context: torch.Tensor
    """[tokens, hidden]: what attention gives."""
    wide: torch.Tensor
    """[tokens, intermediate size]."""


class Layers:
    """All layers of a model. Several threads may run it at a time."""

    def __init__(self, encoder: Any, layers: Sequence[Layer]) -> None:
        self._encoder = encoder
        self._layers = layers
        self._heads = int(encoder.config.num_attention_heads)
        self._free: list[Space] = []

    def run(self, inputs: Inputs, wanted: Sequence[int], firsts: bool) -> list[torch.Tensor]:
        """The hidden states `wanted` of packed inputs (0 is the embeddings; none: the last), [tokens, hidden] each.

        Fillers are left out. `firsts`: only the last state, and of first tokens only, [sequences, hidden].
        """
        assert inputs.bounds is not None
        bounds = inputs.bounds.tolist()
        states = self._embeddings(torch.from_numpy(inputs.ids), torch.from_numpy(inputs.positions))
        space = self._space(len(states))
        found = {}
        for number, layer in enumerate(self._layers):
            if number in wanted:
                found[number] = states[: bounds[-1]].clone()
            if firsts and layer is self._layers[-1]:
                states = self._firsts(layer, states, bounds, space)
                break
            torch.addmm(layer.into_bias, states, layer.into, out=space.triples)
            query, key, value = self._split(space.triples)
            attend(query, key, value, bounds, space.context.view(len(states), self._heads, -1))
            states = layer.finish(states, space.context, space.wide)
        self._free.append(space)
        depth = len(self._layers)
        found[depth] = states if firsts else states[: bounds[-1]]
        return [found[number] for number in wanted or (depth,)]

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
        new = layer.into.new_empty
        # what attention does not reach are fillers: any number does that is finite
        return Space(new(tokens, 3 * hidden), new(tokens, hidden).zero_(), new(tokens, wide))

    def _split(self, triples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each [1, heads, tokens, head size], in the memory of [tokens, 3 * hidden]."""
        query, key, value = triples.view(len(triples), 3, self._heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
        return query, key, value

    def _firsts(self, layer: Layer, states: torch.Tensor, bounds: Sequence[int], space: Space) -> torch.Tensor:
        """The layer's output for the first token of every sequence, [sequences, hidden]."""
        hidden = states.shape[1]
        torch.addmm(layer.into_bias[hidden:], states, layer.into[:, hidden:], out=space.triples[:, hidden:])
        _, keys, values = self._split(space.triples)
        found = []
        for begin in range(0, len(bounds) - 1, FIRSTS):
            part = bounds[begin : begin + FIRSTS + 1]
            rows = states.new_zeros(FIRSTS, hidden)
            rows[: len(part) - 1] = states[torch.tensor(part[:-1])]
            queries = torch.addmm(layer.into_bias[:hidden], rows, layer.into[:, :hidden])
            context = torch.zeros_like(rows)
            for number, (start, end) in enumerate(pairwise(part)):
                query = queries[number].view(1, self._heads, 1, -1)
                seen = scaled_dot_product_attention(query, keys[:, :, start:end], values[:, :, start:end])
                context[number] = seen.flatten()
            wide = rows.new_empty(FIRSTS, layer.up.out_features)
            found.append(layer.finish(rows, context, wide)[: len(part) - 1])
        return torch.cat(found)


def known_layers(encoder: Any) -> Layers | None:
    """The encoder's layers, where they are of a form that is known here; None: transformers' code has to run them.

    Known are layers of BERT's form with the exact GELU, whose width is a multiple of 16: then every
    sequence begins at a multiple of 64 bytes.
    """
    config = encoder.config
    if config.model_type not in _FAMILIES:
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
