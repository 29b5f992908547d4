"""From the blocks that are kept to the text of a page, plain or as Markdown.

Plain text has one line per block, as trafilatura's: items begin with `- `, nested ones two blanks further in; the kept
cells of a row stand on one line between ` | `, unless the table makes a layout; preformatted text keeps its lines;
raised and lowered characters that carry meaning are written `^` and `_`. A kernel writes the text; Python only reads
what Markdown needs from attributes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from tokenmill.extract.charset import attributes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tokenmill.extract.skim.scan import Scan

MOST_TARGET = 2_000
"""Bytes of the address of a link or image; those with longer ones lose it."""
_LANGUAGE = re.compile(
    rb"(?:^|[\s_-])(?:language|lang|highlight-source|brush:)[-\s]{1,2}([a-z0-9+#]{1,16})", re.IGNORECASE
)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}:")
_START_DIGITS = 6
_CODE_PARENTS = 2  # elements around preformatted text whose class may name the language


def assemble(scan: Scan, keep: NDArray[np.bool_], markdown: bool = False) -> str:
    """Text of the blocks where `keep` [B] is true, in page order; "" where none is.

    markdown: with headings, emphasis, links, images that have an alternative text, fenced code, quotes, numbered
    lists and tables with a header. No line ends with a blank, no more than one is blank in a row (two in code).
    """
    import numpy as np

    from tokenmill.extract.skim import assemble_kernel as k
    from tokenmill.extract.skim import scan_tables as t

    kept = np.ascontiguousarray(keep, np.bool_)
    if len(kept) != len(scan.bl_el):
        raise ValueError(f"{len(kept)} verdicts for {len(scan.bl_el)} blocks")
    kinds = scan.mk_kind.tobytes()
    mk_pos, mk_kind, mk_el = scan.mk_pos, scan.mk_kind, scan.mk_el
    if markdown:
        targets, pool, lists, code = _targets(scan, kept)
    else:
        targets, pool, lists, code = _no_targets()
        if t.SUP not in kinds and t.SUB not in kinds:
            mk_pos, mk_kind, mk_el = mk_pos[:0], mk_kind[:0], mk_el[:0]
    formulas = t.SUB in kinds and _has_formulas(scan)
    out, size = k.assemble(
        scan.text, scan.el_tag, scan.el_parent, scan.bl_el, scan.bl_start, scan.bl_end, scan.bl_flags, kept, mk_pos,
        mk_kind, mk_el, targets, pool, lists, code, formulas, markdown,
    )  # fmt: skip
    return str(memoryview(out)[:size], "utf-8", "replace")


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    import numpy as np

    from tokenmill.extract.skim.scan import Scan

    assemble(Scan.blank(), np.ones(0, np.bool_))  # the scanner's kernel is no part of this one


def warm_up_markdown() -> None:
    """The same for the kernel that only Markdown needs beside that one."""
    import numpy as np

    from tokenmill.extract.skim.scan import Scan

    _targets(Scan.blank(), np.ones(0, np.bool_))


def _has_formulas(scan: Scan) -> bool:
    """Whether the page has TeX: delimiters in its text, or scripts."""
    text = scan.text.tobytes()
    return any(mark in text for mark in (b"$$", b"\\(", b"\\[")) or b"math/tex" in scan.page.tobytes()


@cache
def _no_targets() -> tuple[Any, Any, Any, Any]:
    import numpy as np

    return np.empty((0, 2), np.int32), np.empty(0, np.uint8), np.empty((0, 2), np.int32), np.empty((0, 3), np.int32)


def _targets(scan: Scan, kept: NDArray[np.bool_]) -> tuple[Any, Any, Any, Any]:
    """What Markdown writes of attributes: the part of the pool of each mark [K, 2], the pool, the number before the
    first item of each ordered list [E, 2] (in the second column), and the part of each kept code [n, 3]."""
    import numpy as np

    from tokenmill.extract.skim import scan_tables as t
    from tokenmill.extract.skim import target_kernel

    parts = np.zeros((len(scan.mk_pos), 2), np.int32)
    odd = np.empty(len(scan.mk_pos) + len(scan.el_tag), np.int32)
    room = np.empty(len(scan.page), np.uint8)
    size, marks, elements = target_kernel.targets(
        scan.page, scan.el_tag, scan.el_attrs, scan.el_attrs_end, scan.bl_start, scan.bl_end, kept, scan.mk_pos,
        scan.mk_kind, scan.mk_el, parts, odd, room,
    )  # fmt: skip
    pieces = [room[:size].tobytes()]
    page = scan.page.data

    def raw(element: int) -> bytes:
        return bytes(page[scan.el_attrs[element] : scan.el_attrs_end[element]])

    for mark in odd[:marks].tolist():
        target = (_link if scan.mk_kind[mark] == t.LINK else _image)(attributes(raw(scan.mk_el[mark])))
        parts[mark] = size, size + len(target)
        pieces.append(target)
        size += len(target)
    code = []
    for element in sorted(_code_elements(scan, kept)) if t.IN_PRE & int(np.bitwise_or.reduce(scan.bl_flags)) else ():
        language = _language(scan, raw, element)
        code.append((element, size, size + len(language)))
        pieces.append(language)
        size += len(language)
    lists = np.zeros((len(scan.el_tag), 2), np.int32)
    for element in odd[marks : marks + elements].tolist():
        start = attributes(raw(element)).get(b"start", b"").strip()
        if start.isdigit() and len(start) <= _START_DIGITS:
            lists[element, 1] = int(start) - 1
    return parts, np.frombuffer(bytearray(b"".join(pieces)), np.uint8), lists, np.array(code, np.int32).reshape(-1, 3)


def _address(raw: bytes) -> str:
    """An address as Markdown takes it; empty for one that does not lead to a page (scripts, data, mail)."""
    address = html.unescape(raw.decode("utf-8", "replace")).strip()
    address = "".join(address.split()) if "\n" in address or "\t" in address else address
    scheme = _SCHEME.match(address)
    if len(raw) > MOST_TARGET or (scheme is not None and scheme[0].lower() not in ("http:", "https:")):
        return ""
    address = _printable(address).replace(" ", "%20").replace("|", "%7C")
    address = address.replace("<", "%3C").replace(">", "%3E")
    return address if _is_balanced(address) else f"<{address}>"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def _is_balanced(address: str) -> bool:
    """Whether every parenthesis has its partner, so that the address needs no brackets around it."""
    depth = 0
    for character in address if "(" in address or ")" in address else "":
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _link(attrs: dict[bytes, bytes]) -> bytes:
    return _address(attrs.get(b"href", b"")).encode()


def _image(attrs: dict[bytes, bytes]) -> bytes:
    alt = " ".join(html.unescape(attrs.get(b"alt", b"")[:MOST_TARGET].decode("utf-8", "ignore")).split())
    alt = _printable(alt).replace("[", "").replace("]", "")
    source = _address(attrs.get(b"src", b"")) if alt else ""
    return f"![{alt}]({source})".replace("|", "\\|").encode() if alt and source else b""


def _code_elements(scan: Scan, kept: NDArray[np.bool_]) -> set[int]:
    """The `<pre>` elements around kept blocks."""
    import numpy as np

    from tokenmill.extract.skim import scan_tables as t

    found: set[int] = set()
    names = {t.TAGS.index(name) for name in ("pre", "listing", "xmp")}
    inside = kept & ((scan.bl_flags & np.uint32(t.IN_PRE)) != 0)
    for element in np.unique(scan.bl_el[inside]).tolist():
        while element > 0 and scan.el_tag[element] not in names:
            element = int(scan.el_parent[element])
        if element > 0:
            found.add(element)
    return found


def _language(scan: Scan, raw: Callable[[int], bytes], element: int) -> bytes:
    """The language that the class of the element, of the `<code>` in it or of those around it names."""
    from tokenmill.extract.skim import scan_tables as t

    candidates = [element]
    if element + 1 < len(scan.el_tag) and scan.el_parent[element + 1] == element:
        if scan.el_tag[element + 1] == t.TAGS.index("code"):
            candidates.append(element + 1)
    around = element
    for _ in range(_CODE_PARENTS):
        around = int(scan.el_parent[around])
        if around > 0:
            candidates.append(around)
    for candidate in candidates:
        source = raw(candidate)
        match = _LANGUAGE.search(attributes(source).get(b"class", b"")[:400]) if b"class" in source else None
        if match is not None and match[1].lower() not in (b"none", b"plaintext"):
            return match[1].lower()
    return b""
