"""Where keys are looked for: only at the beginnings of words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenmill.text.pii.keys import _JOINED, _KEYS, _end_of_key, find_keys
from tokenmill.text.pii.scan import ascii_image

PREFIXES = [prefix for prefixes, _ in _KEYS for prefix in prefixes.split()]
BODIES = ["0a1B2c3D4e5F6a7B8c9D0e1F2a3B4c5D", "0a1b2c3d4e5f6071829304a5b6c7d8e9", "T0A1B2C3/B0A1B2C3/x9Y8z7W6v5U4t3S2"]
PIECES = st.sampled_from([*PREFIXES, *BODIES, " ", "\n", ".", "/", "-", "_", "a", "é", "\U0001f511"])


def spans_by_every_place(text: str) -> list[tuple[int, int]]:
    """The definition: at every prefix that begins a word, the longest key, unless it is inside the one before."""
    found: list[tuple[int, int]] = []
    for start in range(len(text)):
        inside = bool(found) and start < found[-1][1]
        if inside or (start and text[start - 1] in _JOINED) or not text.startswith(tuple(PREFIXES), start):
            continue
        if end := _end_of_key(text, start):
            found.append((start, end))
    return found


@given(st.lists(PIECES, max_size=12).map("".join))
def test_keys_are_those_at_beginnings_of_words(text: str) -> None:
    assert [(span.start, span.end) for span in find_keys(text, ascii_image(text))] == spans_by_every_place(text)


def test_one_separator_is_enough_between_keys() -> None:
    key = "SK" + "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
    text = f"{key}\n{key}.{key}é{key}"
    assert len(find_keys(text, ascii_image(text))) == 4
    assert spans_by_every_place(text) == [(span.start, span.end) for span in find_keys(text, ascii_image(text))]
    assert find_keys("A" + key, ascii_image("A" + key)) == []
