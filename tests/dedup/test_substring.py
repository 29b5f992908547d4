"""Repeated runs of words: what is left against a plain twin that looks at every window, and the same bytes always."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dedup.passages import (
    NoDrop,
    Write,
    annotated,
    crawl,
    cut_small,
    dropped,
    facts_of,
    in_shards,
    kept,
    long_runs,
    shown,
    tasks_of,
)
from tests.dedup.support import WORDS, check_interrupted, deduplicate, table
from tests.executors.support import rows
from tests.text.test_substring import left, strings, words_of
from tokenmill.core.errors import ConfigError
from tokenmill.dedup import repeats, runs
from tokenmill.dedup.substring import SubstringDedup


class Twin:
    """The stage as its documentation says it: every window of every text, without fingerprints."""

    def __init__(self, texts: Sequence[str], stage: SubstringDedup, scope: Sequence[object] | None = None) -> None:
        size = stage.min_words
        self.places = defaultdict(list)
        for i, text in enumerate(texts):
            words = strings(text)
            for at in range(len(words) - size + 1):
                self.places[scope[i] if scope else None, tuple(words[at : at + size])].append((i, at))
        repeated = [found for found in self.places.values() if len(found) > 1]
        self.stays = [found[0] for found in repeated]
        gone = covered([place for found in repeated for place in found[1:]], size)
        gone = long_runs(gone - covered(self.stays, size), size)
        self.runs: list[list[tuple[int, int]]] = []
        self.left = []
        for i, text in enumerate(texts):
            mine = sorted(n for j, n in gone if i == j)
            starts = [n for n in mine if (i, n - 1) not in gone]
            stops = [n for n in mine if (i, n + 1) not in gone]
            places = words_of(text)
            pairs = [
                (first, last - first + 1)
                for first, last in zip(starts, stops, strict=True)
                if len(text[places[first][0] : places[last][1]].encode()) >= stage.min_bytes
            ]
            self.runs.append(pairs)
            self.left.append(left(text, {n for first, many in pairs for n in range(first, first + many)}))


def covered(windows: list[tuple[int, int]], size: int) -> set[tuple[int, int]]:
    return {(i, at + k) for i, at in windows for k in range(size)}


def copying(count: int, seed: int, *, words: int = 12) -> list[str]:
    """Texts made of pieces of earlier ones, of chance, and of a few words again and again."""
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        parts: list[str] = []
        for _ in range(rng.randrange(1, 5)):
            kind = rng.random()
            if kind < 0.55 and texts:
                source = rng.choice(texts[-40:]).split()
                start = rng.randrange(len(source))
                parts += source[start : start + rng.randrange(1, 5 * words)]
            elif kind < 0.65:
                parts += rng.choices(WORDS[:2], k=rng.randrange(1, 4 * words))
            elif kind < 0.7:
                parts += list("我们的数学是好的语言")[: rng.randrange(1, 10)] * rng.randrange(1, 4)
            else:
                parts += rng.choices(WORDS, k=rng.randrange(1, 3 * words))
        texts.append("".join(part + rng.choice([" ", " ", " ", "\n"]) for part in parts))
    return texts


CASES = [SubstringDedup(min_words=12, min_bytes=0), SubstringDedup(min_words=5, min_bytes=60)]


def runs_in(found: dict[str, dict[str, Any]]) -> list[list[tuple[int, int]]]:
    return [list(zip(row["first_words"], row["words"], strict=True)) for row in found.values()]


@pytest.mark.parametrize(
    "stage", [CASES[0], pytest.param(CASES[1], marks=pytest.mark.ci)], ids=lambda stage: str(stage.min_words)
)
def test_what_is_left_is_what_the_twin_leaves(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: SubstringDedup
) -> None:
    texts = copying(150, seed=1)
    source, ids = in_shards(write_jsonl, [{"text": text} for text in texts])
    twin = Twin(texts, stage)
    assert sum(map(len, twin.runs)) > 50
    cut_small(monkeypatch, records=200)
    found = deduplicate(source, tmp_path / "out", stage)
    assert list(found) == ids
    assert runs_in(found) == twin.runs
    survivors = [n for n, text in enumerate(twin.left) if text.strip() or not twin.runs[n]]
    assert kept(tmp_path / "out") == [twin.left[n] for n in survivors]
    assert [tasks_of(tmp_path / "out", step) for step in ("keys", "windows", "table")] == [4, 4, 4]
    assert min(tasks_of(tmp_path / "out", step) for step in ("anchors", "repeats")) > 1
    data, out = rows(tmp_path / "out", "data"), dropped(tmp_path / "out", "substring_dedup")
    total = removed_words(twin)
    assert sum(fact["removed"]["words"] for fact in facts_of(tmp_path / "out", "table")) == total
    gone = sum(int(row["detail"].split()[0]) for row in out)
    assert sum(row["repeated_words_removed"] for row in data) + gone == total
    check_safe(texts, twin, stage.min_words)


def removed_words(twin: Twin) -> int:
    return sum(words for some in twin.runs for _, words in some)


def check_safe(texts: list[str], twin: Twin, size: int) -> None:
    """Every window that was there is still there, in one piece, if its text is."""
    gone = {(i, n) for i, some in enumerate(twin.runs) for first, words in some for n in range(first, first + words)}
    for i, at in twin.stays:
        assert not any((i, at + k) in gone for k in range(size))
        run = strings(texts[i])[at : at + size]
        after = strings(twin.left[i])
        assert any(after[n : n + size] == run for n in range(len(after)))


def test_within_a_scope(write_jsonl: Write, tmp_path: Path) -> None:
    texts = copying(80, seed=2)
    dumps = [("CC-1", "CC-2", None)[n * n % 3] for n in range(80)]
    stage = SubstringDedup(min_words=8, min_bytes=0, scope=("dump",))
    source, _ = in_shards(write_jsonl, [{"text": text, "dump": dump} for text, dump in zip(texts, dumps, strict=True)])
    found = deduplicate(source, tmp_path / "out", stage)
    twin = Twin(texts, stage, scope=dumps)
    assert runs_in(found) == twin.runs
    assert 0 < removed_words(twin) < removed_words(Twin(texts, stage))


TABLE = [
    ({}, ["a b c d e", "x a b c d y"], ["a b c d e", "x y"]),
    ({}, ["a b c d e", "x a b c y"], [..., ...]),
    ({}, ["a b c d", "a b c d", "A b c d"], ["a b c d", "A b c d"]),
    ({}, ["a b\nc d", "x\na  b c\td\ny"], ["a b\nc d", "x\ny"]),
    ({}, ["x y a b a b a b z"], ["x y a b a b a b z"]),
    ({}, ["x a b a b a b a b a b z"], ["x a b a b a z"]),
    # the second is the first to have "b c d e": only what is before it could go, and that is too short
    ({}, ["a b c d", "x a b c d e", "z b c d e"], ["a b c d", "x a b c d e", "z"]),
    ({"min_bytes": 8}, ["a b c d x", "a b c d y", "aa b c d", "aa b c d z"], [..., ..., ..., "z"]),
    ({"min_bytes": 0}, ["我们的数学", "是我们的数"], [..., "是"]),
    ({"min_bytes": 13}, ["我们的数学", "是我们的数"], [..., ...]),
    ({"min_words_left": 2}, ["a b c d", "x a b c d", "x y a b c d", "x"], ["a b c d", "x y", "x"]),
    ({}, [], []),
]


@pytest.mark.parametrize(("settings", "texts", "expected"), TABLE)
def test_what_goes(
    write_jsonl: Write, tmp_path: Path, settings: dict[str, Any], texts: list[str], expected: list[Any]
) -> None:
    deduplicate(write_jsonl(texts), tmp_path / "out", SubstringDedup(**{"min_words": 4, "min_bytes": 0, **settings}))
    wanted = [text if new is ... else new for text, new in zip(texts, expected, strict=False)]
    assert kept(tmp_path / "out") == wanted


def test_samples_show_what_was_removed(write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SHOWN", 5)
    texts = copying(120, seed=3)
    source, ids = in_shards(write_jsonl, [{"text": text} for text in texts])
    stage = SubstringDedup(min_words=8, min_bytes=0)
    deduplicate(source, tmp_path / "out", stage)
    twin = Twin(texts, stage)
    found = shown(tmp_path / "out", "substring_dedup", "passages")
    assert {passage["chosen"] for passage in found} == {"frequent", "drawn"}
    assert 5 < len(found) <= 10
    most = 0
    for passage in found:
        at = ids.index(passage["doc_id"])
        assert (passage["first_word"], passage["words"]) in twin.runs[at]
        words = strings(texts[at])[passage["first_word"] :][: passage["words"]]
        assert strings(passage["text"]) == words
        most = max(most, len(twin.places[None, tuple(words[:8])]))
    assert max(passage["times"] for passage in found) >= most > 1


def test_in_annotate_mode_documents_that_would_be_gone_take_no_part(write_jsonl: Write, tmp_path: Path) -> None:
    texts = [f"{text}\nMARK" if n % 4 == 1 else text for n, text in enumerate(copying(60, seed=4))]
    source, _ = in_shards(write_jsonl, [{"text": text} for text in texts])
    stage = SubstringDedup(min_words=8, min_bytes=0)
    stored = annotated(source, tmp_path / "annotated", NoDrop(), stage)
    deduplicate(source, tmp_path / "plain", NoDrop(), stage)
    wanted = {row["id"]: row for row in rows(tmp_path / "plain", "data")}
    found = table(tmp_path / "annotated", "substring_dedup")
    for row, text in zip(stored, texts, strict=True):
        if "MARK" in text:
            assert (row["text"], row["repeated_words_removed"]) == (text, None)
            assert found[row["doc_id"]]["words"] is None
        elif row["substring_dedup_verdict"]:
            assert (row["text"], row["id"] in wanted) == (text, False)
        else:
            assert {name: row[name] for name in wanted[row["id"]]} == wanted[row["id"]]
    assert sum(row["repeated_words_removed"] or 0 for row in stored) > 100


def test_interrupted_at_every_commit_and_resumed(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = in_shards(write_jsonl, [{"text": text} for text in copying(40, seed=5)], count=2)
    cut_small(monkeypatch, documents=20, records=1000)
    assert check_interrupted(source, tmp_path, [SubstringDedup(min_words=8, min_bytes=0)], monkeypatch) > 10


def test_windows_with_one_key_are_told_apart_by_their_checks() -> None:
    high = np.uint64(1 << 40)
    keys = np.array([7, 5, 7, 7, 7, 5], np.uint64)
    checks = np.array([2, 1, 1, 3, 2, 1], np.uint64) * high
    found, numbers = repeats.distinct_checked(keys, checks)
    assert found.tolist() == [5, 7, 7, 7]
    assert [(n >> 8, n & 255) for n in numbers.tolist()] == [(1, 2), (1, 1), (2, 2), (3, 1)]
    first = np.array([True, False, True, True])
    marks = repeats.Marks(found, numbers >> np.uint32(8), first, numbers)
    places = marks.find(np.array([7, 7, 6, 5, 7], np.uint64), np.array([3, 4, 1, 1, 1], np.uint64) * high)
    assert places.tolist() == [3, -1, -1, 0, 1]
    assert marks.firsts(places).tolist() == [True, False, False, True, False]
    assert not marks.firsts(places).any()


@pytest.mark.ci  # sample: test_lines.test_on_a_crawl
def test_on_a_crawl(write_jsonl: Write, tmp_path: Path) -> None:
    source, texts = crawl(write_jsonl, 400)
    stage = SubstringDedup()
    found = deduplicate(source, tmp_path / "out", stage)
    twin = Twin(texts.to_pylist(), stage)
    assert runs_in(found) == twin.runs
    assert sum(map(len, twin.runs)) > 20


@pytest.mark.parametrize("settings", [{"min_words": 1}, {"min_bytes": -1}, {"min_words_left": -1}])
def test_wrong_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="is too small"):
        SubstringDedup(**settings)


def test_the_plan_says_what_settings_mean() -> None:
    lines = SubstringDedup(scope=("dump",), min_words_left=50).describe()
    assert lines[0].startswith("passages of at least 50 words and 200 bytes")
    assert lines[1:] == [
        "documents that lose some and have fewer than 50 words left are dropped",
        "compared within equal dump",
    ]
