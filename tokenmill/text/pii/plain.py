"""A text with the usual digits and separators in the places of their look-alikes."""

from __future__ import annotations

import re

_SPACES = "\u00a0\u2007\u2009\u202f"
_DASHES = "\u2010\u2011\u2012\u2013\u2212"
_WIDE = {0xFF01 + i: 0x21 + i for i in range(94)}
_WIDE_DIGIT = re.compile("[\uff10-\uff19]")


def plain(text: str) -> str:
    """The text, character for character, with ASCII for no-break spaces, short dashes and full-width forms.

    Positions stay the same. Full-width forms are looked at only in texts that have full-width digits.
    """
    if text.isascii():
        return text
    for characters, ascii_form in ((_SPACES, " "), (_DASHES, "-"), ("\uff20", "@")):
        for character in characters:
            if character in text:
                text = text.replace(character, ascii_form)
    return text.translate(_WIDE) if _WIDE_DIGIT.search(text) else text
