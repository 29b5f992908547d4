"""Numbers that a text says in words, letters or fractions: what digits elsewhere may stand for.

Generous on purpose: these values only excuse numbers of another text, so that a word that is a number in one of
several languages counts as one in all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("words_for_numbers.yaml")
_WORD = re.compile(r"[^\W\d_]{1,60}")
_ROMAN = re.compile(r"\b[IVXLCDM]{1,12}(?=(?:e|er|è|ème|º|th|st|nd|rd)?\b)")
_DIGITS_OF = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_FRACTION = re.compile(r"(?<![\d/])(\d{1,3})\s?/\s?(\d{1,3})(?![\d/])|([½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞])")
_BETWEEN = frozenset("and und et y e i".split())
"""Words inside numbers: one hundred and fifty, treinta y cinco, vingt et un."""
_LONGEST = 12
"""Words of a number."""


def said_in(text: str) -> frozenset[str]:
    """Values, as `numbers.canonical` writes them, of all that may be meant as a number and is not written in digits."""
    words = _WORD.findall(text.lower())
    found = {str(value) for value in _runs(words)}
    found.update(_parts_of_hundred(words))
    for roman in _ROMAN.findall(text):
        found.add(str(_roman(roman)))
    for over, under, sign in _FRACTION.findall(text):
        share = unicodedata.numeric(sign) if sign else int(over) / int(under) if int(under) else 0.0
        found.update(_percent(share))
    return frozenset(found)


def _runs(words: list[str]) -> Iterator[int]:
    """Values of words and of runs of words for numbers, those of their beginnings and ends included."""
    values = _values()
    run: list[int] = []
    for word in words:
        own = _glued(word)
        if own:
            yield from own
            run.append(own[-1])
        elif not (run and word in _BETWEEN):
            yield from _sums(run)
            run = []
        yield from values.get(word, ())
    yield from _sums(run)


def _sums(run: list[int]) -> Iterator[int]:
    """The number that a run of words says, from each of its first words on: "nineteen hundred two" is 1902 and 2."""
    if len(run) < 2:
        return
    run = run[:_LONGEST]
    for start in range(len(run) - 1):
        for end in range(start + 2, len(run) + 1):
            yield _together(run[start:end])


def _together(run: list[int]) -> int:
    total = current = 0
    for value in run:
        if value >= 1000:
            total, current = total + max(current, 1) * value, 0
        elif value == 100 and current < 100:
            current = max(current, 1) * 100
        elif value == 20 and current % 100 == 4:  # quatre-vingts
            current += 76
        else:
            current += value
    return total + current


def _glued(word: str) -> tuple[int, ...]:
    """Values of one word: one, or of a German one its parts and their sum (zweihundertfünfzig, einundzwanzig)."""
    known = _values().get(word)
    if known:
        return known
    if len(word) < 8 or not _GERMAN.fullmatch(word):
        return ()
    parts = [_values()[part][0] for part in _GERMAN_PART.findall(word) if part != "und"]
    if "und" in word and len(parts) > 1 and parts[-1] < 100 and parts[-2] < 10:
        parts[-2:] = [parts[-2] + parts[-1]]
    return (_together(parts),)


_PARTS = (
    "sechzehn siebzehn dreizehn vierzehn fünfzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig"
    " siebzig achtzig neunzig hundert tausend zwölf elf zehn eins ein zwei drei vier fünf sechs sieben acht neun und"
)
_GERMAN_PART = re.compile("|".join(_PARTS.split()))
_GERMAN = re.compile(f"(?:{'|'.join(_PARTS.split())}){{2,9}}")


@cache
def _values() -> Mapping[str, tuple[int, ...]]:
    """Word -> the numbers that it stands for, in any of the languages."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["numbers"]
    found: dict[str, tuple[int, ...]] = {}
    for number, words in content.items():
        for word in words.split():
            if "-" not in word:  # texts are cut at hyphens, and the parts are there
                found[word] = (*found.get(word, ()), int(number))
    return found


@cache
def _shares() -> Mapping[str, float]:
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["fractions"]
    return {word: 1 / int(number) for number, words in content.items() for word in words.split()}


def _parts_of_hundred(words: list[str]) -> Iterator[str]:
    """Percents of fractions: a quarter is 25, two thirds are 66.7 or 67; of an hour, a half is 30 and a quarter 15."""
    shares, values = _shares(), _values()
    before = ""
    for word in words:
        share = shares.get(word)
        if share is not None:
            yield from _percent(share)
            count = values.get(before, (1,))[0]
            if 1 < count < 10:
                yield from _percent(count * share)
            if share in (0.5, 0.25):
                yield from ("30",) if share == 0.5 else ("15", "45")
        before = word


def _percent(share: float) -> Iterator[str]:
    """Spellings of a share and of it in percent."""
    for value in (share, 100 * share):
        for digits in range(4):
            text = f"{value:.{digits}f}"
            yield (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
            cut = f"{int(value * 10**digits) / 10**digits:.{digits}f}"
            yield (cut.rstrip("0").rstrip(".") if "." in cut else cut) or "0"


def _roman(letters: str) -> int:
    total = 0
    for letter, following in zip(letters, [*letters[1:], ""], strict=True):
        value = _DIGITS_OF[letter]
        total += -value if following and value < _DIGITS_OF[following] else value
    return total
