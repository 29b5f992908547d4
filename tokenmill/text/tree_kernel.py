"""Kernels: scores of labels of hierarchical softmax straight from a text's bytes, with next to nothing beside the sums.

Only the inner nodes that the answer needs are looked at: those above the labels that are asked for, or those that are
likelier than the best label so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from tokenmill.text.compiled import entry, lean, lean_inlined
from tokenmill.text.fasttext_kernel import Table, _stripped
from tokenmill.text.linear_kernel import Paths, label_probability, likeliest_label
from tokenmill.text.ngram_kernel import Memory, sum_text


def bind(table: Any, memory: Any, output: Any, paths: Any) -> Any:
    """Where a model's arrays are, int64 [arrays + numbers, 3]: numba takes 0.2 µs for each array that it is handed.

    The caller keeps the arrays alive.
    """
    arrays = [array for part in (table, memory, (output,), paths) for array in part if isinstance(array, np.ndarray)]
    places = [(array.ctypes.data, array.shape[0], array.shape[-1]) for array in arrays]
    numbers = [(int(value), 0, 0) for value in table if not isinstance(value, np.ndarray)]
    return np.array(places + numbers, np.int64)


def _view(dtype: Any, dimensions: int) -> Any:
    """Function of kernels: the array [rows, columns], or [rows], at an address."""
    kind = types.Array(dtype, dimensions, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, rows, columns = arguments
        number = rows.type
        size = context.get_abi_sizeof(context.get_data_type(dtype))
        array = context.make_array(kind)(context, builder)
        shape, strides = [rows], [number(size)]
        if dimensions == 2:
            shape, strides = [rows, columns], [builder.mul(columns, number(size)), number(size)]
        populate_array(  # type: ignore[no-untyped-call]
            array,
            data=builder.inttoptr(address, array.data.type),
            shape=cgutils.pack_array(builder, shape),  # type: ignore[no-untyped-call]
            strides=cgutils.pack_array(builder, strides),  # type: ignore[no-untyped-call]
            itemsize=number(size),
            meminfo=None,
        )
        return array._getvalue()

    def view(typing: Any, address: Any, rows: Any, columns: Any) -> Any:
        return kind(types.int64, types.int64, types.int64), generate

    return intrinsic(view)


_u8, _u64, _i32, _i64, _f64 = (
    _view(dtype, 1) for dtype in (types.uint8, types.uint64, types.int32, types.int64, types.float64)
)
_u64s, _i32s, _f32s, _f64s = (_view(dtype, 2) for dtype in (types.uint64, types.int32, types.float32, types.float64))


@lean_inlined
def _model(bound: Any) -> Any:
    """(table, memory, output, paths) of what `bind` gave, in the order of their fields; numbers come last."""
    table = Table(
        _u64(bound[0, 0], bound[0, 1], 1),
        _i64(bound[1, 0], bound[1, 1], 1),
        _u8(bound[2, 0], bound[2, 1], 1),
        bound[22, 0],
        _f32s(bound[3, 0], bound[3, 1], bound[3, 2]),
        _i32(bound[4, 0], bound[4, 1], 1),
        _f32s(bound[5, 0], bound[5, 1], bound[5, 2]),
        _u64(bound[6, 0], bound[6, 1], 1),
        _i32(bound[7, 0], bound[7, 1], 1),
        bound[23, 0],
        bound[24, 0],
        bound[25, 0],
        bound[26, 0],
    )
    memory = Memory(
        _u64s(bound[8, 0], bound[8, 1], bound[8, 2]),
        _f64s(bound[9, 0], bound[9, 1], bound[9, 2]),
        _i64(bound[10, 0], bound[10, 1], 1),
        _i64(bound[11, 0], bound[11, 1], 1),
        _i64(bound[12, 0], bound[12, 1], 1),
        _i64(bound[13, 0], bound[13, 1], 1),
        _u8(bound[14, 0], bound[14, 1], 1),
        _u64(bound[15, 0], bound[15, 1], 1),
        _f64(bound[16, 0], bound[16, 1], 1),
    )
    paths = Paths(
        _i64(bound[18, 0], bound[18, 1], 1),
        _i32(bound[19, 0], bound[19, 1], 1),
        _u8(bound[20, 0], bound[20, 1], 1),
        _i32s(bound[21, 0], bound[21, 1], bound[21, 2]),
    )
    return table, memory, _f32s(bound[17, 0], bound[17, 1], bound[17, 2]), paths


@lean
def _blank(data: Any, start: int, stop: int) -> bool:
    at = start
    while at < stop:
        size = _stripped(data, at, stop)
        if size == 0:
            return False
        at += size
    return True


def _blanks_of(digest: str) -> Callable[..., None]:
    def blanks(data: Any, offsets: Any, found: Any) -> None:
        """found [n]: whether each text is white space only, as `str.isspace` sees it."""
        _ = digest
        for i in range(len(offsets) - 1):
            found[i] = _blank(data, offsets[i], offsets[i + 1])

    return blanks


def _label_scores_of(digest: str) -> Callable[..., None]:
    def label_scores(data: Any, offsets: Any, bound: Any, wanted: Any, found: Any) -> None:
        """found [n, k]: the probabilities of the labels `wanted` [k] of a tree; 0 for texts that are not judged.

        bound: what `bind` gave.
        """
        _ = digest
        table, memory, output, paths = _model(bound)
        for i in range(len(offsets) - 1):
            rows, words = sum_text(table, memory, data, offsets[i], offsets[i + 1])
            judged = rows > 0 and words > 0
            for k in range(len(wanted)):
                found[i, k] = 0.0
                if judged:
                    found[i, k] = label_probability(
                        memory.total, rows, output, paths.starts, paths.nodes, paths.rights, wanted[k]
                    )

    return label_scores


def _likeliest_of(digest: str) -> Callable[..., None]:
    def likeliest(data: Any, offsets: Any, bound: Any, labels: Any, found: Any) -> None:
        """labels, found [n]: the likeliest label of a tree and its probability; 0 and 0 where a text is not judged."""
        _ = digest
        table, memory, output, paths = _model(bound)
        open_nodes, chances = np.empty(len(paths.starts) + 1, np.int64), np.empty(len(paths.starts) + 1)
        for i in range(len(offsets) - 1):
            rows, words = sum_text(table, memory, data, offsets[i], offsets[i + 1])
            labels[i], found[i] = 0, 0.0
            if rows > 0 and words > 0:
                labels[i], found[i] = likeliest_label(memory.total, rows, output, paths.children, open_nodes, chances)

    return likeliest


blanks = entry(_blanks_of, _nrt=False)
label_scores = entry(_label_scores_of, _nrt=False)
likeliest = entry(_likeliest_of)
