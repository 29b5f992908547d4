"""The kernel's tokens of a text as strings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tokenmill.text.compiled import entry
from tokenmill.text.tables import tables
from tokenmill.text.tokens_kernel import decode, look_up, tokens_between  # in a closure they would spoil numba's cache


@cache
def _kernel() -> Callable[..., Any]:
    def make(digest: str) -> Callable[..., Any]:
        def tokens(data: Any, t: Any, f: Any, starts: Any, ends: Any, known: Any) -> int:
            assert digest
            n = decode(data, 0, len(data), t)
            look_up(t, n, known.pages, known.flags, f)
            return tokens_between(t, f, 0, n, starts, ends, 0, known.lexicon)  # type: ignore[no-any-return]

        return tokens

    return entry(make)


def kernel_words(text: str) -> list[str]:
    data = np.array(list(text.encode()), np.uint8)
    size = len(data) + 2
    t, f = np.zeros(size, np.int32), np.zeros(size, np.uint32)
    starts, ends = np.zeros(size, np.int32), np.zeros(size, np.int32)
    count = _kernel()(data, t, f, starts, ends, tables())
    return [text[s:e] for s, e in zip(starts[:count], ends[:count], strict=True)]
