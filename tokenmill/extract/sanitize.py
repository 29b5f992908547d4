"""Which characters a text may hold, made true once where bytes become text and once where text comes out.

- NUL, the other C0 controls and DEL are removed; tab and newline stay; CR LF and a lone CR become a newline.
- Lone surrogates become U+FFFD: pyarrow, orjson, lxml and every tokenizer fail on them.
- U+FFFE and U+FFFF become U+FFFD: XML forbids them, so lxml raises on them.
- Everything else stays, the other noncharacters and the C1 controls too: they are valid in UTF-8 and harmless.
"""

from __future__ import annotations

import re

_CONTROLS = bytes(c for c in [*range(0x20), 0x7F] if c not in b"\t\n\r")
_FORBIDDEN = {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}

_REFERENCE = re.compile(
    r"&#(?:0*(?:[1-8]|1[124-9]|2\d|3[01]|6553[45])(?!\d)"
    r"|[xX]0*(?:[1-8bBcCeEfF]|1[\da-fA-F]|[fF]{3}[eEfF])(?![\da-fA-F]));?"
)


def sanitize(text: str) -> str:
    """The text without characters that later steps cannot take; the same object when it has none.

    >>> sanitize("a\\x00b\\r\\nc\\ud800")
    'ab\\nc\\ufffd'
    """
    return sanitize_encoded(text)[0]


def sanitize_encoded(text: str) -> tuple[str, bytes]:
    """`sanitize(text)` and its UTF-8, which is made on the way.

    The tests run on the UTF-8, where C0 controls and DEL are single bytes: `bytes.translate` reads 40 KB in
    15 us, a regular expression over the string takes 20 times as long.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        encoded = text.encode()
    clean = encoded.translate(None, _CONTROLS)
    if b"\r" in clean:
        clean = clean.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if len(clean) != len(encoded) or clean != encoded:
        encoded, text = clean, clean.decode()
    if b"\xef\xbf\xbe" in encoded or b"\xef\xbf\xbf" in encoded:
        text = text.translate(_FORBIDDEN)
        encoded = text.encode()
    return text, encoded


def without_forbidden_references(html: str) -> str:
    """The page with a space for every numeric reference to a forbidden character.

    libxml2 hands them through, lxml then refuses the text: one `&#12;` makes trafilatura discard a page.
    """
    return _REFERENCE.sub(" ", html) if "&#" in html else html
