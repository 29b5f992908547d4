"""Compiled part of the scanner: the next place of a byte, sixteen bytes at a time."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from tokenmill.text.compiled import lean_forced

U = np.uint64
"""Positions are never negative: as unsigned numbers they are not checked for that."""
_BYTE, _LONG = ir.IntType(8), ir.IntType(64)
_SIXTEEN = ir.VectorType(_BYTE, 16)


def _same_16(_: Any, page: Any, i: Any, byte: Any) -> Any:
    """How many of the sixteen bytes from i on come before the first that equals `byte`; 16 where none does.

    All sixteen must lie in the page: the load is not checked.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), _SIXTEEN.as_pointer())
        wanted = builder.insert_element(ir.Constant(_SIXTEEN, ir.Undefined), arguments[2], ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 16), None)
        same = builder.icmp_unsigned("==", builder.load(place, align=1), builder.shuffle_vector(wanted, wanted, zeros))
        bits = builder.bitcast(
            same, ir.IntType(16)
        )  # the first byte is the lowest bit, on big-endian machines the highest
        count = builder.cttz if sys.byteorder == "little" else builder.ctlz
        return builder.zext(count(bits, ir.IntType(1)(0)), _LONG)

    return types.int64(page, types.int64, types.uint8), generate


_same_from: Any = intrinsic(_same_16)


@lean_forced
def find(page: Any, i: int, byte: Any) -> Any:
    """The first place of a byte from i on; the length where there is none."""
    n = len(page)
    while i + 16 <= n:
        before = _same_from(page, i, byte)
        if before < 16:
            return i + before
        i += 16
    while i < n and page[U(i)] != byte:
        i += 1
    return i
