"""Text from data and recipes inside Markdown and YAML, so that it can be nothing but text.

In Markdown it stands as code, where no dialect knows markup, elements, formulas, mentions or links. Escapes would not
do: some renderers look for addresses in the text that is left when escapes are resolved.
"""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*|\d+(?:\.\d+)+")
"""Names such as `c4_lines` and versions, in which nothing means anything to Markdown."""
_TAG = re.compile(r"[^a-z0-9._-]+")
_IN_CODE = str.maketrans({"`": "'", "|": "\N{BROKEN BAR}"})
"""What would end the code, or the cell of a table."""
MAX_CHARS = 200


def plain(text: object, limit: int = MAX_CHARS) -> str:
    """One line without control characters, marks of direction and lone surrogates; cut behind `limit` characters."""
    line = "".join(char if char.isprintable() else " " for char in str(text)[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def code(text: object, limit: int = MAX_CHARS) -> str:
    """The text as code; empty where nothing is left of it."""
    line = plain(text, limit).translate(_IN_CODE)
    return f"`{line}`" if line else ""


def md(text: object, limit: int = MAX_CHARS) -> str:
    """A name or version as it is where that is harmless, else as code."""
    line = plain(text, limit)
    return line if _WORDS.fullmatch(line) else code(line, limit)


def tag(text: object) -> str:
    """A tag of the Hub: lower case, digits and `._-`; empty where nothing is left."""
    return _TAG.sub("-", plain(text, 60).lower()).strip("-._")
