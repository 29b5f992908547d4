"""The scanner: one linear pass over a page gives its elements, its blocks of text and the facts that it states.

A tokenizer after the HTML standard, not a tree builder: a bounded stack of open elements, implied ends looked for a
bounded way up, misnested inline elements left alone. Elements and blocks stand in arrays in page order, children
behind parents, so that sums over subtrees are one pass backwards and what is inherited one pass forwards.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.extract.skim.scan_tables import MOST_FACTS, TAGS, tables

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What a page consists of. E elements, B blocks, T tokens, K marks, F facts; offsets are bytes."""

    page: Bytes
    """[n] The page, UTF-8."""
    text: Bytes
    """The text of all blocks, one behind the other without anything between: UTF-8, character references decoded,
    white space collapsed, `<br>` a newline, preformatted text as it stands, formulas between dollars."""
    el_tag: Bytes
    """[E] Place of the element's name in `scan_tables.TAGS`, 0 for other names. Element 0 is the root of all."""
    el_parent: Numbers
    """[E] The element around it, which has a smaller number; -1 for the root."""
    el_flags: npt.NDArray[np.uint32]
    """[E] Context flags (`scan_tables.NAV`, ...), its own and those of the elements around it."""
    el_start: Numbers
    """[E] Offset of its `<` in the page."""
    el_attrs: Numbers
    """[E] Offsets in the page between which its attributes stand."""
    el_attrs_end: Numbers
    el_token: Numbers
    """[E + 1] The tokens of element e are `tokens[el_token[e]:el_token[e + 1]]`."""
    tokens: npt.NDArray[np.uint16]
    """[T] 14-bit hashes of the words of class, id, role and itemprop, and of pairs of words of one name."""
    bl_el: Numbers
    """[B] Innermost block element around the block, a run of text between the bounds of block elements."""
    bl_inner: Numbers
    """[B] Innermost element of any kind at its first character."""
    bl_start: Numbers
    """[B] Offsets in the text."""
    bl_end: Numbers
    bl_link: Numbers
    """[B] Bytes of its text, white space left out, in links."""
    bl_src: Numbers
    """[B] Offsets in the page, of its first character and behind its last."""
    bl_src_end: Numbers
    bl_flags: npt.NDArray[np.uint32]
    """[B] Context flags of `bl_inner`."""
    bl_break: Bytes
    """[B] 1 where two `<br>` divide it from the block before."""
    mk_pos: Numbers
    """[K] Offset in the text where an inline element begins or ends; a beginning may stand before white space."""
    mk_kind: Bytes
    """[K] `scan_tables.LINK`, ...; with END where it ends."""
    mk_el: Numbers
    """[K] The element."""
    fc_kind: Bytes
    """[F] Place of the fact's kind in `scan_tables.FACTS`."""
    fc_start: Numbers
    """[F] Offsets in the page between which the value stands, as written."""
    fc_end: Numbers
    elements: int
    """Start tags."""
    depth: int
    """Greatest number of elements open at once; those below STACK are not in the table."""
    attribute_bytes: int
    """Most bytes between the name and the end of one tag."""
    attributes: int
    """Most attributes of one tag."""
    unended: int = 0
    """Bytes of the page that a comment, tag or raw text element without an end took: nothing of them is in the text."""

    @classmethod
    def blank(cls) -> Scan:
        """The scan of an empty page, made without a scan."""
        one, none = np.zeros(1, np.int32), np.zeros(0, np.int32)
        flags, no_flags = one.astype(np.uint32), none.astype(np.uint32)
        small, no_small = one.astype(np.uint8), none.astype(np.uint8)
        return cls(
            np.frombuffer(b"", np.uint8), no_small.copy(), small, one - 1, flags, one, one.copy(), one.copy(),
            np.zeros(2, np.int32), np.zeros(0, np.uint16), *(none.copy() for _ in range(7)), no_flags, no_small,
            none, no_small.copy(), none.copy(), no_small.copy(), none.copy(), none.copy(), 0, 0, 0, 0,
        )  # fmt: skip

    def block_text(self, block: int) -> str:
        """The text of one block."""
        return bytes(self.text[self.bl_start[block] : self.bl_end[block]]).decode("utf-8", "replace")

    def tag_name(self, element: int) -> str:
        """The name of an element as far as it is known; "" for others."""
        return TAGS[self.el_tag[element]]


def scan(page: bytes) -> Scan:
    """The scan of a page given as UTF-8; other bytes pass as they are. Memory: 5/4 of the page's size and at most
    290 bytes for each of its `<`. Time: linear in the size.

    Left out on purpose: content of `scan_tables` SKIP elements (svg, select, template, media, ...), of raw text
    elements (script, style, iframe, textarea, noframes, ...) but for formulas and `<xmp>`, comments, and, as in
    browsers, what a comment, a tag or a raw text element without an end takes: `unended` counts that. What follows
    `</body>` stays, and so does what follows a `<title>` without an end.
    """
    from tokenmill.extract.skim import scan_kernel
    from tokenmill.extract.skim import text_kernel as t

    source = np.frombuffer(page, np.uint8)
    room = _room(page)
    scan_kernel.scan(source, room)
    rows = room.rows
    state = room.s[: t.STACK_EL].tolist()
    e, b, m, f = state[t.ELEMENTS], state[t.BLOCKS], state[t.MARKS], state[t.FACTS]
    element = rows[: t.EL_TOKEN, :e].copy()
    block = rows[t.BL_EL : t.MK_POS, :b].copy()
    mark = rows[t.MK_POS : t.FC_KIND, :m].copy()
    fact = rows[t.FC_KIND :, :f].copy()
    return Scan(
        source, room.text[: state[t.W]].copy(), element[0].astype(np.uint8), element[1], element[2].view(np.uint32),
        element[3], element[4], element[5], rows[t.EL_TOKEN, : e + 1].copy(), room.tokens[: state[t.TOKENS]].copy(),
        block[0], block[1], block[2], block[3], block[4], block[5], block[6], block[7].view(np.uint32),
        block[8].astype(np.uint8), mark[0], mark[1].astype(np.uint8), mark[2], fact[0].astype(np.uint8), fact[1],
        fact[2], state[t.TAGS_SEEN], state[t.DEEPEST], state[t.WIDEST], state[t.MOST], state[t.UNENDED],
    )  # fmt: skip


_KEPT_BYTES = 1 << 18
_kept = threading.local()


def _room(page: bytes) -> Any:
    """Arrays with room for all that the page can hold; those for pages of usual size are kept for the next one."""
    if len(page) > _KEPT_BYTES:
        return _new_room(len(page), page.count(b"<"))
    if not hasattr(_kept, "room"):
        _kept.room = _new_room(_KEPT_BYTES, _KEPT_BYTES // 3)  # no tag has fewer bytes
    return _kept.room


def _new_room(size: int, tags: int) -> Any:
    """What is not written to costs no memory. `scan_kernel` and `text_kernel` say why it is enough."""
    from tokenmill.extract.skim import text_kernel as t

    return t.Out(
        text=np.empty(size + size // 4 + 64, np.uint8),
        rows=np.empty((t.COLUMNS, max(2 * tags + 4, MOST_FACTS)), np.int32),
        tokens=np.empty(min(size, 56 * tags) + 64, np.uint16),
        s=np.empty(t.STATE, np.int64),
        names=tables().names,
    )


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    scan(b"<p>a<br>b</p>")
