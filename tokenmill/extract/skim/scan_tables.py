"""What the scanner knows of HTML: elements, attributes, character references and the facts that a page states.

Elements and what may stand where: the HTML standard (html.spec.whatwg.org), sections 4 and 13.
"""

from __future__ import annotations

import html.entities
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# What an element is to the scanner: bits of its kind.
VOID, RAW, SKIP, BLOCK, CLOSES_P, PRE, SCOPE, TABLE_SCOPE = 1, 2, 4, 8, 16, 32, 64, 128
IGNORED, ONCE, RUBY_TEXT, MARKED, FACTUAL, TITLE_RANK, PHRASING = 256, 512, 1024, 2048, 4096, 8192, 16384
GROUP_SHIFT, GROUP_MASK = 16, 0xF
MARK_SHIFT, MARK_MASK = 20, 7
TAG_SHIFT = 24
P_GROUP, CELL_GROUP, LAST_TABLE_GROUP, RUBY_GROUP = 1, 5, 7, 8
"""Groups of elements that end each other by implication; cells, rows and groups of rows look through everything but
a table."""

# Where a text stands: bits of the context flags, inherited by descendants.
NAV, HEADER, FOOTER, ASIDE, MAIN, ARTICLE, FORM, LIST, ITEM, TABLE, CELL, TH, HEADING, IN_PRE, CODE, QUOTE = (
    1 << bit for bit in range(16)
)
FIGURE, CAPTION, HIDDEN, BUTTON, PARA, DETAILS, NOSCRIPT, ADDRESS, DL, LABEL, IN_LINK = (
    1 << bit for bit in range(16, 27)
)

CONTEXTS = {
    "nav": NAV, "header": HEADER, "footer": FOOTER, "aside": ASIDE, "main": MAIN, "article": ARTICLE, "form": FORM,
    "ul": LIST, "ol": LIST, "menu": LIST, "dir": LIST, "dl": DL, "li": ITEM, "dt": ITEM, "dd": ITEM, "table": TABLE,
    "td": CELL, "th": CELL | TH, "h1": HEADING, "h2": HEADING, "h3": HEADING, "h4": HEADING, "h5": HEADING,
    "h6": HEADING, "pre": IN_PRE, "listing": IN_PRE, "xmp": IN_PRE, "code": CODE, "tt": CODE, "kbd": CODE,
    "samp": CODE, "blockquote": QUOTE, "q": QUOTE, "figure": FIGURE, "figcaption": CAPTION, "caption": CAPTION,
    "button": BUTTON, "p": PARA, "details": DETAILS, "noscript": NOSCRIPT, "address": ADDRESS, "label": LABEL,
}  # fmt: skip

TAGS = (
    "", "html", "body", "div", "p", "span", "a", "ul", "ol", "li", "table", "tbody", "thead", "tfoot", "tr", "td",
    "th", "h1", "h2", "h3", "h4", "h5", "h6", "article", "section", "main", "nav", "header", "footer", "aside",
    "form", "blockquote", "pre", "code", "dl", "dt", "dd", "figure", "figcaption", "caption", "b", "strong", "i",
    "em", "u", "small", "big", "font", "center", "sup", "sub", "tt", "kbd", "samp", "var", "cite", "q", "abbr",
    "time", "label", "button", "fieldset", "legend", "details", "summary", "address", "noscript", "iframe", "img",
    "menu", "dir", "dialog", "hgroup", "mark", "del", "ins", "s", "strike", "ruby", "rt", "rb", "rp", "bdi", "bdo",
    "listing", "xmp", "math", "output", "data", "picture", "nobr", "acronym", "dfn", "search", "map", "frameset",
    "template", "svg", "select", "option", "optgroup", "datalist", "object", "audio", "video", "canvas", "applet",
    "script", "style", "textarea", "title", "noembed", "noframes", "head", "br", "hr", "wbr", "meta", "link", "base",
    "input", "area", "basefont", "bgsound", "col", "colgroup", "embed", "frame", "keygen", "param", "source", "track",
    "progress", "meter",
)  # fmt: skip
"""Names of elements; a place in it is the number in `el_tag`, 0 for every other name."""

_VOID = "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
_RAW = "iframe noembed noframes script style textarea title xmp"
_SKIP = "template svg audio video canvas object applet select datalist rp progress meter"
_BLOCK = (
    "address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption"
    " figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li listing main menu nav noscript ol"
    " p pre search section summary table tbody td tfoot th thead tr ul xmp"
)
_CLOSES_P = (
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form h1 h2 h3"
    " h4 h5 h6 header hgroup hr li listing main menu nav ol p pre search section summary table ul xmp dt dd"
)
_SCOPE = "ul ol menu dir dl td th caption button object select template html body section article"
_GROUPS = ("p", "li", "dt dd", "option optgroup", "td th", "tr", "tbody thead tfoot", "rt rp")
_KINDS = (
    (_VOID, VOID), (_RAW, RAW), (_SKIP, SKIP), (_BLOCK, BLOCK), (_CLOSES_P, CLOSES_P), ("pre listing", PRE),
    (_SCOPE, SCOPE), ("table", TABLE_SCOPE), ("head colgroup", IGNORED), ("html body", ONCE), ("rt", RUBY_TEXT),
    ("a b strong i em code tt kbd samp sup sub", MARKED), ("html meta link a time title script", FACTUAL),
    ("h1 h2 h3 h4 h5 h6", TITLE_RANK), ("svg rp datalist progress meter", PHRASING),
)  # fmt: skip

LINK, EM, STRONG, CODE_MARK, SUP, SUB, IMG = range(1, 8)
"""Kinds of marks in a text; with END they end what they began."""
END = 128
_MARKS = {
    "a": LINK, "b": STRONG, "strong": STRONG, "i": EM, "em": EM, "code": CODE_MARK, "tt": CODE_MARK,
    "kbd": CODE_MARK, "samp": CODE_MARK, "sup": SUP, "sub": SUB,
}  # fmt: skip

ATTRIBUTES = (
    "class", "id", "role", "itemprop", "href", "type", "style", "hidden", "aria-hidden", "lang", "content", "name",
    "property", "rel", "datetime", "alt", "http-equiv",
)  # fmt: skip
"""Attributes that are looked at."""
(A_CLASS, A_ID, A_ROLE, A_ITEMPROP, A_HREF, A_TYPE, A_STYLE, A_HIDDEN, A_ARIA, A_LANG, A_CONTENT, A_NAME,
 A_PROPERTY, A_REL, A_DATETIME, A_ALT, A_EQUIV) = range(len(ATTRIBUTES))  # fmt: skip

ENDS = len(ATTRIBUTES)
"""The end of attribute a stands ENDS places behind its start."""

FACTS = (
    "", "title", "html_lang", "canonical", "license", "robots", "published", "modified", "time", "json_ld",
    "description", "author", "sitename", "og_title", "og_url", "og_locale", "tdm",
)  # fmt: skip
"""Kinds of facts; a place in it is the number in `fc_kind`."""
FACT = {name: number for number, name in enumerate(FACTS) if name}
FACT_NAMES: Mapping[str, str] = {
    "robots": "robots", "googlebot": "robots", "ccbot": "robots", "tdm-reservation": "tdm",
    "article:published_time": "published", "og:published_time": "published", "datepublished": "published",
    "date": "published", "dc.date": "published", "dc.date.issued": "published", "dcterms.date": "published",
    "dcterms.issued": "published", "dcterms.created": "published", "pubdate": "published", "publishdate": "published",
    "publish-date": "published", "publish_date": "published", "publication_date": "published",
    "citation_publication_date": "published", "citation_date": "published", "parsely-pub-date": "published",
    "sailthru.date": "published", "article.published": "published", "datecreated": "published",
    "article:modified_time": "modified", "og:updated_time": "modified", "datemodified": "modified",
    "last-modified": "modified", "dcterms.modified": "modified", "revised": "modified", "lastmod": "modified",
    "description": "description", "og:description": "description", "author": "author", "article:author": "author",
    "dc.creator": "author", "dcterms.creator": "author", "citation_author": "author", "og:site_name": "sitename",
    "application-name": "sitename", "og:title": "og_title", "og:url": "og_url", "og:locale": "og_locale",
    "dc.rights": "license", "dcterms.license": "license", "dcterms.rights": "license", "dc.rights.license": "license",
    "license": "license", "copyright": "license", "canonical": "canonical",
}  # fmt: skip
"""Names (name, property, itemprop, http-equiv) of `<meta>`, and relations of links, that give a fact."""
MOST_FACTS = 96
ROLES = {
    "navigation": NAV, "menu": NAV, "menubar": NAV, "menuitem": NAV, "menuitemcheckbox": NAV, "menuitemradio": NAV,
    "banner": HEADER, "main": MAIN, "contentinfo": FOOTER, "complementary": ASIDE, "search": ASIDE,
    "searchbox": ASIDE, "heading": HEADING, "button": BUTTON, "list": LIST, "listbox": LIST, "listitem": LIST,
}  # fmt: skip
"""What the first word of a role attribute says about the context."""
STACK = 256
KEYS = 512
NAME_SLOTS = 8192
SPREAD = 0x9E3779B97F4A7C15
HASH_START, HASH_STEP = 0xCBF29CE484222325, 0x100000001B3
_MASK = (1 << 64) - 1

WHITE, TEXT_STOP, LETTER, ALNUM, TAG_NAME_END, NAME_END, GAP = 1, 2, 4, 8, 16, 32, 64
"""Bits of `Tables.classes`: white space, what ends a run of plain text, letter, letter or digit, what ends the name
of a tag and of an attribute, white space or slash (what stands between attributes)."""


class Tables(NamedTuple):
    """The tables as arrays; keys stand in open addressing, 0 where a place is free."""

    element_keys: npt.NDArray[np.uint64]
    """[KEYS]: `name_code` of the name."""
    element_values: npt.NDArray[np.int64]
    """[KEYS, 2]: kind, context flags."""
    attribute_keys: npt.NDArray[np.uint64]
    attribute_values: npt.NDArray[np.int64]
    """[KEYS, 1]: place in ATTRIBUTES."""
    fact_keys: npt.NDArray[np.uint64]
    """[KEYS]: `name_hash` of the name."""
    fact_values: npt.NDArray[np.int64]
    """[KEYS, 1]: place in FACTS."""
    role_keys: npt.NDArray[np.uint64]
    role_values: npt.NDArray[np.int64]
    """[KEYS, 1]: context flags."""
    names: npt.NDArray[np.uint64]
    """[NAME_SLOTS, 2]: hash of the name of a character reference (those that need no semicolon have two rows), and
    the UTF-8 of the characters, first byte lowest."""
    classes: npt.NDArray[np.uint8]
    """[256]: bits of what a byte is."""
    lower: npt.NDArray[np.uint8]
    """[256]: the byte in lower case."""


def name_hash(name: bytes) -> int:
    """FNV-1a of 64 bits; never 0, which marks free slots."""
    found = HASH_START
    for byte in name:
        found = ((found ^ byte) * HASH_STEP) & _MASK
    return found or 1


def name_code(name: bytes) -> int:
    """The first eight bytes of a name, and what follows hashed onto them."""
    found = int.from_bytes(name[:8], "big")
    for byte in name[8:]:
        found = (found * HASH_STEP + byte) & _MASK
    return found


def _slots(keys: Iterable[int], size: int) -> list[int]:
    """Places in a table with open addressing; that of a key is the top bits of its product with a constant."""
    shift = 64 - size.bit_length() + 1
    taken: dict[int, None] = {}
    for key in keys:
        slot = (key * SPREAD & _MASK) >> shift
        while slot in taken:
            slot = (slot + 1) % size
        taken[slot] = None
    return list(taken)


def _table(entries: Mapping[int, tuple[int, ...]]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    keys, values = np.zeros(KEYS, np.uint64), np.zeros((KEYS, len(next(iter(entries.values())))), np.int64)
    for slot, (key, row) in zip(_slots(entries, KEYS), entries.items(), strict=True):
        keys[slot], values[slot] = key, row
    return keys, values


def kinds() -> dict[str, int]:
    """The kind of every element that is known: its bits, group, mark and place in TAGS."""
    found = {name: number << TAG_SHIFT for number, name in enumerate(TAGS) if name}
    for names, bit in (*_KINDS, *((names, group << GROUP_SHIFT) for group, names in enumerate(_GROUPS, 1))):
        for name in names.split():
            found[name] |= bit
    for name, mark in _MARKS.items():
        found[name] |= mark << MARK_SHIFT
    return found


def _references() -> npt.NDArray[np.uint64]:
    """By hash of the name without semicolon; `name_hash(name + b"=")` where the semicolon may be missing."""
    found = {}
    for name, characters in html.entities.html5.items():
        value = int.from_bytes(characters.encode(), "little")
        if name.endswith(";"):
            found[name_hash(name[:-1].encode())] = value
        else:
            found[name_hash(name.encode() + b"=")] = value
    table = np.zeros((NAME_SLOTS, 2), np.uint64)
    table[_slots(found, NAME_SLOTS)] = list(found.items())
    return table


def _classes() -> npt.NDArray[np.uint8]:
    classes = np.zeros(256, np.uint8)
    for byte in range(256):
        character = chr(byte)
        white = character in "\t\n\v\f\r "
        letter = character.isascii() and character.isalpha()
        classes[byte] = (
            WHITE * white
            | TEXT_STOP * (white or character in "<&\u00c2")
            | LETTER * letter
            | ALNUM * (letter or "0" <= character <= "9")
            | TAG_NAME_END * (white or character in "/>")
            | NAME_END * (white or character in "/>=")
            | GAP * (white or character == "/")
        )
    return classes


@cache
def tables() -> Tables:
    """Made once per process, in some 20 ms."""
    return Tables(
        *_table({name_code(n.encode()): (kind, CONTEXTS.get(n, 0)) for n, kind in kinds().items()}),
        *_table({name_code(name.encode()): (number,) for number, name in enumerate(ATTRIBUTES)}),
        *_table({name_hash(name.encode()): (FACT[kind],) for name, kind in FACT_NAMES.items()}),
        *_table({name_hash(name.encode()): (flag,) for name, flag in ROLES.items()}),
        _references(),
        _classes(),
        np.frombuffer(bytes(range(256)).lower(), np.uint8),
    )
