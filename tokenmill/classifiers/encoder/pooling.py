"""From the vectors of tokens to one vector per sequence, in float32, each sequence by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tokenmill.classifiers.encoder.settings import Pooling


def pool(states: Sequence[torch.Tensor], lengths: torch.Tensor, pooling: Pooling, normalize: bool) -> torch.Tensor:
    """One vector per sequence, float32 [n, width]: per hidden state what `pooling` says, one behind the other.

    `states`: hidden states [tokens, hidden] of the sequences only, one behind the other. `lengths`: int64 [n], none 0.
    A sequence's numbers are added up in order, so they do not depend on the other sequences.
    """
    parts: list[torch.Tensor] = []
    for state in states:
        if pooling == "cls":
            parts.append(state[lengths.cumsum(0) - lengths].float())
            continue
        wide = state.float()
        for reduce in ("mean", "max"):
            if reduce in pooling:
                parts.append(torch.segment_reduce(wide, reduce, lengths=lengths, axis=0))
    vectors = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return torch.nn.functional.normalize(vectors, dim=1) if normalize else vectors
