"""Which shape a model of so many parameters has.

Candidates are all widths in steps of 64 with as many layers as keep width / layers between 32 and 64; the one with the
nearest number of parameters is taken, so more parameters asked for never give fewer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig

TIED_BELOW = 60_000_000
"""Parameters up to which the embedding is the output matrix too: beyond, its share is small."""
MAX_WIDTH = 4096
_NEAR = 1.3
"""Most that a shape may differ from what was asked for, as a factor."""


class Shape(NamedTuple):
    layers: int
    width: int
    heads: int
    hidden: int
    tied: bool


def shape_for(parameters: int, vocab_size: int) -> Shape:
    """The shape with the number of parameters nearest to this (as a ratio). ConfigError where none is near."""
    table = _candidates(vocab_size)
    found, shape = min(table, key=lambda one: (abs(math.log(one[0] / parameters)), one))
    if not 1 / _NEAR <= found / parameters <= _NEAR:
        least, most = table[0][0], table[-1][0]
        raise ConfigError(
            f"there is no model of about {parameters:,} parameters with a vocabulary of {vocab_size:,}",
            why=f"shapes have from {least:,} to {most:,} parameters; the nearest has {found:,}",
            fix="ask for more parameters, or take a tokenizer with a smaller vocabulary"
            if parameters < found
            else "ask for fewer parameters",
        )
    return shape


@lru_cache(maxsize=8)
def _candidates(vocab_size: int) -> tuple[tuple[int, Shape], ...]:
    """(parameters, shape), in order."""
    found = []
    for width in range(64, MAX_WIDTH + 1, 64):
        hidden = math.ceil(width * 8 / 3 / 64) * 64
        for layers in range(max(2, math.ceil(width / 64)), max(2, width // 32) + 1):
            for tied in (True, False):
                shape = Shape(layers, width, width // 64, hidden, tied)
                count = parameters_of(shape, vocab_size)
                if (count <= TIED_BELOW) == tied:
                    found.append((count, shape))
    return tuple(sorted(found))


def parameters_of(shape: Shape, vocab_size: int) -> int:
    """All weights of a model of this shape."""
    return ModelConfig(vocab_size=vocab_size, context=1, **shape._asdict()).parameters
