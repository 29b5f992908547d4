"""Compiled verification: every document of a component is compared with the representatives chosen before it.

Sets of shingles are sorted arrays of 64-bit hashes, so a comparison is one merge. Where a component has more
representatives than may be compared, those are tried first that share most of the smallest hashes (a bottom-k
sketch, Broder 1997), found through a table from hash to representatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.text.compiled import entry, inner

JACCARD, CONTAINMENT = 0, 1
SKETCH = 16
"""Smallest hashes of a set by which likely representatives are found."""
LONGEST_CHAIN = 64
"""Representatives with one hash that are looked at: text that all pages of a site share would name them all."""

OF_INDEX, REPRESENTATIVE, COPY, SIMILAR = 0, 1, 2, 3
"""What became of a document: kept before, kept, removed as a copy, removed as similar."""


@inner
def _similarity(values: Any, a: int, a_stop: int, b: int, b_stop: int, measure: int) -> float:
    """Of two sets; or the share of the first that is in the second."""
    first, second = a_stop - a, b_stop - b
    if first == 0 or second == 0:
        return 0.0
    common = 0
    while a < a_stop and b < b_stop:
        x, y = values[a], values[b]
        common += x == y
        a += x <= y
        b += y <= x
    if measure == CONTAINMENT:
        return common / first
    return common / (first + second - common)


@inner
def _slot(table: Any, heads: Any, value: Any) -> Any:
    """Place of a hash in an open table of a power of two."""
    mask = len(table) - 1
    place = (value * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(20)) & np.uint64(mask)
    while heads[place] >= 0 and table[place] != value:
        place = (place + np.uint64(1)) & np.uint64(mask)
    return np.int64(place)


@inner
def _likely(values: Any, start: int, stop: int, known: Any, hits: Any, touched: Any, most: int, out: Any) -> int:
    """The representatives that share most of the sketch of a document, best first; how many there are."""
    table, heads, chain_next, chain_rep, _ = known
    count = 0
    for place in range(start, min(stop, start + SKETCH)):
        slot = _slot(table, heads, values[place])
        link = heads[slot]
        walked = 0
        while link >= 0 and walked < LONGEST_CHAIN:
            rep = chain_rep[link]
            if hits[rep] == 0:
                touched[count] = rep
                count += 1
            hits[rep] += 1
            link = chain_next[link]
            walked += 1
    found = 0
    while found < most:
        best = -1
        for place in range(count):
            rep = touched[place]
            if hits[rep] > 0 and (best < 0 or hits[rep] > hits[best] or (hits[rep] == hits[best] and rep < best)):
                best = rep
        if best < 0:
            break
        out[found] = best
        found += 1
        hits[best] = 0
    for place in range(count):
        hits[touched[place]] = 0
    return found


@inner
def _remember(values: Any, start: int, stop: int, known: Any, rep: int) -> None:
    table, heads, chain_next, chain_rep, used = known
    for place in range(start, min(stop, start + SKETCH)):
        slot = _slot(table, heads, values[place])
        table[slot] = values[place]
        link = used[0]
        used[0] += 1
        chain_rep[link] = rep
        chain_next[link] = heads[slot]
        heads[slot] = link


@inner
def _room(source: Any, old: Any, start: int, stop: int, most: int) -> Any:
    """Tables for finding likely representatives of a component; next to nothing where all can be compared.

    Every document of the index is one, also where two indexes hold the same text.
    """
    sets = 0
    for document in range(start, stop):
        sets += source[document] == document or (old[document] and source[document] >= 0)
    links = SKETCH * sets if stop - start > most + 1 else 1
    slots = 1
    while slots < 2 * links:
        slots *= 2
    return (
        np.empty(slots, np.uint64),
        np.full(slots, -1, np.int64),
        np.empty(links, np.int64),
        np.empty(links, np.int64),
        np.zeros(1, np.int64),
    )


@inner
def _compare(sets: Any, source: Any, document: int, tries: Any, wanted: float, evidence: Any, compared: int) -> Any:
    """(the first of `tries` that is similar enough or -1, its score, comparisons so far)."""
    values, starts, stops, measure = sets
    own = source[document]
    for rep in tries:
        other = source[rep]
        if other < 0:
            continue
        found = _similarity(values, starts[own], stops[own], starts[other], stops[other], measure)
        evidence[0][compared] = document
        evidence[1][compared] = rep
        evidence[2][compared] = found
        evidence[3][compared] = found >= wanted
        compared += 1
        if found >= wanted:
            return rep, found, compared
    return -1, 0.0, compared


def _make_verify(digest: str) -> Callable[..., Any]:
    def verify(bounds: Any, source: Any, old: Any, sets: Any, limits: Any, out: Any, evidence: Any) -> int:
        """Choose representatives. Documents are in order of component and, within it, of preference.

        bounds: (components + 1,). source: (n,) the document whose set stands for this one's: itself or an exact copy
        of it; -1 where there is none. old: (n,) of the index. sets: (values, starts (n,), stops (n,), measure).
        limits: (4,) least similarity, size of a large component, least similarity there, most comparisons.
        out: (representative int64, score, outcome int8), arrays of (n,). evidence: (document, compared with, score,
        accepted), arrays of (n * most comparisons,). Gives the number of comparisons.
        """
        assert digest
        representative, score, outcome = out
        values, starts, stops, _ = sets
        most = int(limits[3])
        compared = 0
        decided = np.full(len(source), -1, np.int64)
        decided_score = np.zeros(len(source), np.float64)
        hits = np.zeros(len(source), np.int32)
        touched = np.empty(SKETCH * LONGEST_CHAIN, np.int64)
        likely = np.empty(most, np.int64)
        for component in range(len(bounds) - 1):
            start, stop = bounds[component], bounds[component + 1]
            wanted = limits[2] if stop - start > limits[1] else limits[0]
            known = _room(source, old, start, stop, most)
            searching = stop - start > most + 1
            reps = np.empty(stop - start, np.int64)
            count = 0
            for document in range(start, stop):
                own = source[document]
                chosen, found = -1, 0.0
                if own >= 0 and not old[document]:
                    if decided[own] >= 0:  # the same text has been decided
                        chosen, found = decided[own], decided_score[own]
                    elif count <= most:
                        chosen, found, compared = _compare(
                            sets, source, document, reps[:count], wanted, evidence, compared
                        )
                    else:
                        tries = _likely(values, starts[own], stops[own], known, hits, touched, most, likely)
                        chosen, found, compared = _compare(
                            sets, source, document, likely[:tries], wanted, evidence, compared
                        )
                if chosen >= 0:
                    representative[document], score[document] = chosen, found
                    outcome[document] = COPY if source[chosen] == own else SIMILAR
                else:
                    chosen, found = document, 1.0
                    representative[document], score[document] = document, 1.0
                    outcome[document] = OF_INDEX if old[document] else REPRESENTATIVE
                    reps[count] = document
                    count += 1
                    if searching and own >= 0:
                        _remember(values, starts[own], stops[own], known, document)
                if own >= 0 and decided[own] < 0:
                    decided[own], decided_score[own] = chosen, found
        return compared

    return verify


verify = entry(_make_verify)
