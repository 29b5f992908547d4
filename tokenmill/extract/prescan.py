"""One linear pass over a page before any parser sees it: its shape, and its visible text at almost no cost.

Parsers have quadratic corners and libxml2 drops everything below 256 nested elements, so the shape decides
which extractor gets the page. The text is what the language gate judges. The pass builds no tree: a stack of
names (8,192; deeper elements are only counted) is enough to know the depth to within a few elements, if

- elements without content (`br`, `img`, ...) and those written `<x/>` are not pushed;
- `p li dt dd td th tr tbody option a` end the open element of their kind, found at most 32 entries up and not
  through a list, table or cell, since pages leave them unclosed by the thousand;
- an end tag closes the nearest element of its name at most 64 entries up and not through a table; a stray one
  closes nothing.

Every search moves the position forward or looks a bounded way up, so the time is linear in the bytes whatever
they are. An unfinished comment, quote or script runs to the end of the page, as in browsers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tokenmill.core.kernels import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tokenmill.core.doc import Doc

STACK = 8192
"""Elements whose names are known; those below are counted, with every end tag closing one."""

_VOID = "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
_RAW = "iframe noembed noframes script style textarea title xmp"
_HIDDEN = "noscript template svg math select datalist object audio video canvas"
_BLOCK = (
    "address article aside blockquote body br button caption center dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe legend li main menu nav"
    " noscript ol optgroup option p pre script section select style summary table tbody td template textarea"
    " tfoot th thead title tr ul"
)
_CLOSES_P = (
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form"
    " h1 h2 h3 h4 h5 h6 header hgroup hr main menu nav ol pre section table ul"
)
_SCOPE = "ul ol menu dir dl td th caption button object select template html body section article"
_GROUPS = ("p", "li", "dt dd", "option optgroup a", "td th", "tr", "tbody thead tfoot")


@dataclass(frozen=True)
class Shape:
    """What the pre-scan found: counts of the whole page, and its visible text up to the limit."""

    elements: int
    """Start tags."""
    depth: int
    """Greatest number of elements open at once."""
    attribute_bytes: int
    """Most bytes between the name and the end of one tag."""
    attributes: int
    """Most attributes of one tag."""
    text: str
    """Visible text, white space collapsed, a newline between blocks, character references as written."""


def prescan(page: bytes, max_text: int = 0) -> Shape:
    """Shape of a page given as UTF-8, with at most `max_text` bytes of its text."""
    import numpy as np

    kernel, keys, flags = _tools()
    out = np.empty(min(max_text, len(page)), np.uint8)
    stack, kinds = np.empty(STACK, np.uint64), np.empty(STACK, np.int64)
    elements, depth, widest, most, written = kernel(np.frombuffer(page, np.uint8), out, stack, kinds, keys, flags)
    return Shape(elements, depth, widest, most, out[:written].tobytes().decode("utf-8", "ignore"))


def shape_of(doc: Doc, max_text: int = 0) -> Shape:
    """`prescan` of the page of a document, once for all stages. The first to ask decides how much text there is."""
    shape: Shape = doc.cached("html_shape", lambda doc: prescan(doc["html"].encode("utf-8", "replace"), max_text))
    return shape


KERNEL = Kernel("tokenmill.extract.prescan:warm_up", 5)


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    prescan(b"<p>a<br>b</p>", 10)


def element_flags() -> dict[bytes, int]:
    """Flags of the elements that matter, by the first eight letters of the name."""
    from tokenmill.extract import prescan_kernel as k

    found: dict[bytes, int] = {}
    for names, flag in (
        *((_VOID, k.VOID), (_RAW, k.RAW), (_HIDDEN, k.HIDDEN), (_BLOCK, k.BLOCK), (_CLOSES_P, k.CLOSES_P)),
        *(("pre listing", k.PRE), (_SCOPE, k.SCOPE), ("table", k.TABLE)),
        *((names, group << k.GROUP_SHIFT) for group, names in enumerate(_GROUPS, 1)),
    ):
        for name in names.split():
            key = name.encode()[:8]
            found[key] = found.get(key, 0) | flag
    return found


@cache
def _tools() -> tuple[Any, NDArray[Any], NDArray[Any]]:
    import numpy as np

    from tokenmill.extract import prescan_kernel as k

    keys, flags = np.zeros(k.KEYS, np.uint64), np.zeros(k.KEYS, np.int64)
    for name, flag in element_flags().items():
        code = int.from_bytes(name, "big")
        slot = (code * 0x9E3779B97F4A7C15 % (1 << 64)) >> 56
        while keys[slot]:
            slot = (slot + 1) % k.KEYS
        keys[slot], flags[slot] = code, flag
    return k.scan, keys, flags
