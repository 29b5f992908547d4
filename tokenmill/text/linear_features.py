"""Why a linear model scores a text as it does: what each word and run of words gives, exactly.

Written for people and not for speed, without the kernels: also their oracle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenmill.text.linear import LINES, LinearModel

END = "</s>"
"""The word that ends every text."""
_SPACES = re.compile(rb"[ \t-\r\0]+")
_LABEL = b"__label__"


class Feature(NamedTuple):
    """Something that the model has weights for, at one place of a text."""

    text: str
    """The word, or the words of a run."""
    logits: npt.NDArray[np.float64]
    """[labels] (hs: [nodes]): its share of the logits."""


@dataclass(frozen=True)
class Contribution:
    """What a word or run of words gives to a label, all its places together."""

    text: str
    weight: float
    """Its share of the logit; that of a model of two labels, of the logit of one over the other."""
    count: int
    """At how many places it stands."""


def explain(model: LinearModel, text: str, label: str, preparation: str = "spaces") -> list[Contribution]:
    """What the words and runs of words of a text give to a label, the strongest first.

    The weights add up to the label's logit; for two labels, to its logit less that of the other, whose logistic
    function is the probability. ValueError for hierarchical softmax, whose labels have no logit of their own.
    """
    if model.loss == "hs":
        raise ValueError("a label of hierarchical softmax has no weights of its own")
    place = model.labels.index(label)
    direction = np.zeros(len(model.labels))
    direction[place] = 1.0
    if model.loss == "softmax" and len(model.labels) == 2:
        direction[1 - place] = -1.0
    weights: dict[str, float] = {}
    counts: dict[str, int] = {}
    for feature in features(model, text, preparation):
        weights[feature.text] = weights.get(feature.text, 0.0) + float(feature.logits @ direction)
        counts[feature.text] = counts.get(feature.text, 0) + 1
    found = [Contribution(name, weight, counts[name]) for name, weight in weights.items()]
    return sorted(found, key=lambda one: (-abs(one.weight), one.text))


def features(model: LinearModel, text: str, preparation: str = "spaces") -> list[Feature]:
    """All features of a text in order; their logits add up to those of `LinearModel.logits`."""
    rows = list(_rows(model, _words(text, LINES[preparation])))
    total = sum(size for _, _, size in rows)
    output = np.eye(len(model.table.word_rows.T)) if model.output is None else model.output.astype(np.float64)
    return [Feature(name, output @ row / max(total, 1)) for name, row, _ in rows]


def _words(text: str, lines: bool) -> list[bytes]:
    """The words as the library finds them in a line; it reads a line until `</s>`."""
    prepared = " ".join(text.strip().splitlines()) if lines else text
    words = [word for word in _SPACES.split(prepared.encode("utf-8", "replace")) if word]
    return words[: words.index(END.encode())] if END.encode() in words else words


def _rows(model: LinearModel, words: list[bytes]) -> Iterator[tuple[str, npt.NDArray[np.float64], int]]:
    """(name, sum of rows, how many rows) of each feature."""
    table = model.table
    entries = _entries(model)
    hashes: list[int] = []
    known: list[str] = []
    for word in [*words, END.encode()]:
        entry = entries.get(word, -1)
        ends = word == END.encode()
        if not ends and (entry >= table.words or (entry < 0 and word.startswith(_LABEL))):
            continue  # a label is no word
        name = word.decode("utf-8", "replace")
        if 0 <= entry < table.words:
            yield name, table.word_rows[entry].astype(np.float64), int(table.word_sizes[entry])
        elif table.maxn > 0 and not ends:
            found = [_bucket(model, _hash(gram) % table.bucket) for gram in _ngrams(word, table.minn, table.maxn)]
            rows = [row for row in found if row is not None]
            yield name, np.sum(rows, axis=0) if rows else np.zeros(table.word_rows.shape[1]), len(rows)
        hashes.append(_signed(_hash(word)))
        known.append(name)
        if table.bucket > 0:
            yield from _runs(model, hashes, known)


def _runs(
    model: LinearModel, hashes: list[int], words: list[str]
) -> Iterator[tuple[str, npt.NDArray[np.float64], int]]:
    """The runs of two and more words that end with the last one, the longest first."""
    for size in range(min(model.table.word_ngrams, len(hashes)), 1, -1):
        h = hashes[-size] % (1 << 64)
        for one in hashes[len(hashes) - size + 1 :]:
            h = (h * 116049371 + one) % (1 << 64)
        row = _bucket(model, h % model.table.bucket)
        if row is not None:
            yield " ".join(words[-size:]), row, 1


def _bucket(model: LinearModel, number: int) -> npt.NDArray[np.float64] | None:
    """The row of a hash value; None where it was pruned."""
    table = model.table
    if not len(table.kept_bits):
        return np.asarray(table.bucket_rows[number], np.float64)
    bits = int(table.kept_bits[number // 64])
    if not bits >> (number % 64) & 1:
        return None
    below = (bits & ((1 << (number % 64)) - 1)).bit_count()
    return np.asarray(table.bucket_rows[int(table.kept_before[number // 64]) + below], np.float64)


def _entries(model: LinearModel) -> dict[bytes, int]:
    places, letters = model.table.places, bytes(model.table.letters)
    found: dict[bytes, int] = {}
    for number in range(len(places) - 1):
        found.setdefault(letters[places[number] : places[number + 1]], number)
    return found


def _ngrams(word: bytes, minn: int, maxn: int) -> Iterator[bytes]:
    """Character n-grams of "<" + word + ">", without "<" and ">" alone."""
    padded = b"<" + word + b">"
    starts = [place for place, byte in enumerate(padded) if byte & 0xC0 != 0x80]
    ends = [*starts[1:], len(padded)]
    for first in range(len(starts)):
        for last in range(first, min(first + maxn, len(starts))):
            size = last - first + 1
            alone = size == 1 and (starts[first] == 0 or ends[last] == len(padded))
            if size >= minn and not alone:
                yield padded[starts[first] : ends[last]]


def _hash(word: bytes) -> int:
    """FNV-1a over signed bytes, 32 bits."""
    h = 2166136261
    for byte in word:
        h = ((h ^ (byte | 0xFFFFFF00 if byte >= 128 else byte)) * 16777619) & 0xFFFFFFFF
    return h


def _signed(h: int) -> int:
    return h - (1 << 32) if h >= 1 << 31 else h
