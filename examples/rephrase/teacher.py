"""What the demo's model is taught: plainer words for those of a list, `plain_words.txt`, and some words left out.

A rule that is written down shows what the model gets wrong. No real data set is made like that: there the model knows
more than its makers wrote down, and nobody has the right answer.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

WORDS = Path(__file__).with_name("plain_words.txt")
_WORD = re.compile(r"(?<![\w./@#'’-])[^\W\d_]+(?![\w/@'’(-]|\.\w)")
_DROPPED = re.compile(r"(?<=[^\W\d_]) ([^\W\d_]+)(?= [^\W\d_])")


@cache
def plain_words() -> dict[str, str]:
    """Word -> a plainer one, "-" for one that is left out; all in small letters."""
    lines = [line.split() for line in WORDS.read_text().splitlines() if line and not line.startswith("#")]
    return {word: plain for word, plain in lines}


def plain(text: str, *, left_out: str = "") -> str:
    """The text with plain words, and without those that add nothing; `left_out` stands where they were."""
    known = plain_words()
    text = _DROPPED.sub(lambda found: left_out if known.get(found[1]) == "-" else found[0], text)

    def plainer(found: re.Match[str]) -> str:
        word = known.get(found[0].lower(), "-")
        if word == "-":
            return found[0]
        return word.capitalize() if found[0][0].isupper() else word

    return _WORD.sub(plainer, text)
