"""Texts that try the kernels: any Unicode, and the characters on which they take turns."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = [
    *"aZé5.,;:!?-–—'’\"”()[]{}/@#&$€%+*^~<>=_|\\…•。、 \n\n",
    *"日本ノ・かなไทยДжş\u0301\u0300\u00a0\u2028\x85\r\x0b\x00\x1c\ufffd\ue000\u0378\U0001f600²⅓Ⅷº〇K\u200b",
    *"\r\n|...|..|--|---|——|don't|they'd've|U.S.|e.g.|Mr.|a.m.|http://|https://|www.e-x.org/a-b|a@b.org:80".split("|"),
    *"5km|US$|[1]|[edit]|[citation needed]|[|lorem ipsum|LOREM ipsum|javascript|JavaScript|Terms of Use".split("|"),
    *"privacy policy|uses cookies|cooKie policy|the|be|to|of|and | that |have|with|word|WORD |ab|ba".split("|"),
    *("\n\n", " \n", "- ", "• ", "これは。", "漢字カタカナ", "ภาษา"),
]

ODD = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
"""Texts of characters and words that rules look at."""
REPETITIVE = st.lists(st.sampled_from(["a", "b", "ab", "a b", " ", "\n", ". "]), max_size=150).map("".join)
"""Texts in which n-grams, lines and paragraphs repeat."""
ANY = st.text(st.characters(exclude_categories=("Cs",)))
TEXTS = st.one_of(ANY, ODD, REPETITIVE)
