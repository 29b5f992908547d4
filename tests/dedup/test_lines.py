"""Repeated lines, paragraphs and sentences: what is left against a plain twin, and the same bytes however it is run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    passages,
    shown,
    tasks_of,
)
from tests.dedup.support import check_interrupted, deduplicate, table
from tests.dedup.test_documents import published
from tests.executors.support import rows
from tests.text.test_spans import compared, left, spans
from tokenmill.core.errors import ConfigError
from tokenmill.dedup import repeats
from tokenmill.dedup.lines import LineDedup
from tokenmill.dedup.substring import SubstringDedup


class Twin:
    """The stage as its documentation says it, one span at a time."""

    def __init__(self, texts: Sequence[str], stage: LineDedup, scope: Sequence[object] | None = None) -> None:
        self.times: Counter[Any] = Counter()
        places = defaultdict(list)
        for i, text in enumerate(texts):
            for number, span in enumerate(spans(text, stage.unit, stage.sentences)):
                key = compared(span)
                size = sum(len(piece) for piece in key or () if any(map(str.isalnum, piece)))
                if key is not None and size >= stage.min_characters:
                    places[scope[i] if scope else None, key].append((i, number))
        gone, stays = set(), set()
        self.repeated = {}
        for key, found in places.items():
            if len(found) > stage.more_than:
                self.repeated[key[1]] = found
                first = stage.keep == "first"
                gone.update(found[first:])
                stays.update(found[:first])
        if stage.unit == "sentences":
            gone, stays = ({(i, n + k) for i, n in some for k in range(stage.sentences)} for some in (gone, stays))
            gone = long_runs(gone - stays, stage.sentences)
        self.gone = [sorted(n for j, n in gone if i == j) for i in range(len(texts))]
        self.left = [left(text, stage.unit, set(some)) for text, some in zip(texts, self.gone, strict=True)]


CASES = [
    LineDedup(unit="line", min_characters=0),
    LineDedup(unit="line", min_characters=12, more_than=3),
    LineDedup(unit="line", min_characters=0, keep="none"),
    LineDedup(min_characters=0),
    LineDedup(min_characters=30, keep="none", more_than=2),
    LineDedup(unit="sentences", min_characters=0),
    LineDedup(unit="sentences", sentences=2, min_characters=40, more_than=2),
    LineDedup(unit="sentences", sentences=2, keep="none"),
]


MORE = [pytest.param(CASES[number], marks=pytest.mark.ci) for number in (0, 1, 3, 5, 6)]


@pytest.mark.parametrize(
    "stage", [CASES[2], CASES[4], CASES[7], *MORE], ids=lambda stage: f"{stage.unit}-{stage.keep}-{stage.more_than}"
)
def test_what_is_left_is_what_the_twin_leaves(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: LineDedup
) -> None:
    texts = passages(120, seed=1)
    source, ids = in_shards(write_jsonl, [{"text": text} for text in texts])
    twin = Twin(texts, stage)
    assert sum(map(len, twin.gone)) > 50
    cut_small(monkeypatch)
    found = deduplicate(source, tmp_path / "out", stage)
    assert [row["removed"] for row in found.values()] == twin.gone
    assert list(found) == ids
    survivors = [n for n, text in enumerate(twin.left) if text.strip() or not twin.gone[n]]
    assert kept(tmp_path / "out") == [twin.left[n] for n in survivors]
    assert tasks_of(tmp_path / "out", "table") == 4
    assert tasks_of(tmp_path / "out", "counts") > 4
    check_books(tmp_path / "out", texts, stage, twin)


def check_books(output: Path, texts: list[str], stage: LineDedup, twin: Twin) -> None:
    """What the columns, the tables and the facts of the tasks say adds up."""
    removed, lost = stage.columns_added()
    data, out = rows(output, "data"), dropped(output, "line_dedup")
    assert {row["reason"] for row in out} <= {"all_repeated"}
    total = sum(map(len, twin.gone))
    assert sum(fact["removed"] for fact in facts_of(output, "table")) == total
    if stage.unit != "sentences":
        assert sum(fact["removed"] for fact in facts_of(output, "counts")) == total
    gone = [row["detail"].split() for row in out]
    assert sum(row[removed] for row in data) + sum(int(words[0]) for words in gone) == total
    bytes_gone = sum(row[lost] for row in data) + sum(int(words[-2]) for words in gone)
    assert bytes_gone == len("".join(texts).encode()) - len("".join(twin.left).encode())
    assert sum(fact["repeated"] for fact in facts_of(output, "counts")) == len(twin.repeated)


def test_within_a_scope(write_jsonl: Write, tmp_path: Path) -> None:
    texts = passages(80, seed=2)
    dumps = [("CC-1", "CC-2", None)[n * n % 3] for n in range(80)]
    stage = LineDedup(unit="line", scope=("dump",), min_characters=0)
    source, _ = in_shards(write_jsonl, [{"text": text, "dump": dump} for text, dump in zip(texts, dumps, strict=True)])
    found = deduplicate(source, tmp_path / "out", stage)
    gone = Twin(texts, stage, scope=dumps).gone
    assert [row["removed"] for row in found.values()] == gone
    assert 0 < sum(map(len, gone)) < sum(map(len, Twin(texts, stage).gone))


ROW = "a line of text 12345"
TABLE = [
    ({"unit": "line"}, [f"{ROW}\nx\n{ROW}", f"b\n{ROW} "], [f"{ROW}\nx", "b"]),
    ({"unit": "line"}, [f"{ROW[1:]}\nx", f"{ROW[1:]}\nx"], [f"{ROW[1:]}\nx", f"{ROW[1:]}\nx"]),
    ({"unit": "line", "more_than": 2}, [ROW, f"{ROW}\nx"], [ROW, f"{ROW}\nx"]),
    ({"unit": "line", "more_than": 2}, [ROW, f"{ROW}\nx", f"y\n{ROW.upper()}"], [ROW, "x", "y"]),
    ({"unit": "line", "more_than": 2, "keep": "none"}, [f"{ROW}\ny", f"{ROW}\n{ROW}\nx"], ["y", "x"]),
    ({"unit": "line"}, [ROW, ROW, "x"], [ROW, "x"]),
    ({}, [f"{ROW}\nmore\n\nx", f"y\n\n{ROW}\nmore", f"{ROW}\n\nz"], [f"{ROW}\nmore\n\nx", "y", f"{ROW}\n\nz"]),
    ({}, [f"{ROW}\nx", f"{ROW}\ny"], [f"{ROW}\nx", "y"]),
    ({"unit": "sentences"}, ["A is. B is. C is here. D", "Xx yy. A is. B is. C is here."], [..., "Xx yy."]),
    ({"unit": "sentences"}, ["A is. B is. C is too", "A is. B is. C is two"], [..., ...]),
    ({"unit": "sentences"}, ["A is. B is. C is here.\nD is. E is. F is here."] * 2, [...]),
    # the second holds the first "B. C. D.", which must stay; a sentence alone is no reason to cut
    (
        {"unit": "sentences", "min_characters": 0},
        ["A1. B1. C1. Z", "A1. B1. C1. D1. E1", "B1. C1. D1. Y"],
        [..., ..., "Y"],
    ),
    ({"unit": "line", "min_words_left": 3}, [f"{ROW}\nx", f"{ROW}\na b", f"{ROW}\na b c"], [f"{ROW}\nx", "a b c"]),
    ({"unit": "line", "min_words_left": 3}, ["a b", f"{ROW}\na b", f"a\n{ROW}\nb\nc"], [..., ..., "a\nb\nc"]),
    ({"unit": "line"}, ["--\n" * 30, "--\n" * 30], [..., ...]),
    ({"unit": "line"}, [], []),
]


@pytest.mark.parametrize(("settings", "texts", "expected"), TABLE)
def test_what_goes(
    write_jsonl: Write, tmp_path: Path, settings: dict[str, Any], texts: list[str], expected: list[Any]
) -> None:
    stage = LineDedup(**settings)
    deduplicate(write_jsonl(texts), tmp_path / "out", stage)
    wanted = [text if new is ... else new for text, new in zip(texts, expected, strict=False)]
    assert kept(tmp_path / "out") == wanted


def test_documents_that_are_dropped_say_why_and_keep_their_text(write_jsonl: Write, tmp_path: Path) -> None:
    source = write_jsonl([f"{ROW}\none two", f"{ROW}\n{ROW}", f"{ROW}\ntwo words", "two words"])
    deduplicate(source, tmp_path / "out", LineDedup(unit="line", min_words_left=3))
    found = dropped(tmp_path / "out", "line_dedup")
    assert [(row["reason"], row["detail"], row["text"]) for row in found] == [
        ("all_repeated", "2 lines, 41 bytes", f"{ROW}\n{ROW}"),
        ("too_short", "1 lines, 21 bytes", f"{ROW}\ntwo words"),
    ]


@pytest.mark.parametrize("unit", [pytest.param("line", marks=pytest.mark.ci), "sentences"])
def test_samples_show_what_was_removed(write_jsonl: Write, tmp_path: Path, unit: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(repeats, "SAMPLED", 8)
    texts = passages(150, seed=3)
    cut_small(monkeypatch)
    source, ids = in_shards(write_jsonl, [{"text": text} for text in texts])
    stage = LineDedup(unit=unit, min_characters=10)
    deduplicate(source, tmp_path / "out", stage)
    repeated = Twin(texts, stage).repeated
    found = shown(tmp_path / "out", "line_dedup", "spans")
    assert Counter(span["chosen"] for span in found) == {"frequent": 8, "drawn": 8}
    for span in found:
        key = compared(spans(texts[ids.index(span["doc_id"])], unit, 3)[span["number"]])
        places = repeated[key]
        assert span["times"] == len(places)
        assert (span["doc_id"], span["number"]) == (ids[places[0][0]], places[0][1])
        assert compared(spans(span["text"], unit, 3)[0]) == key
    frequent = sorted((len(places) for places in repeated.values()), reverse=True)[:8]
    assert sorted((s["times"] for s in found if s["chosen"] == "frequent"), reverse=True) == frequent


def test_in_annotate_mode_documents_that_would_be_gone_take_no_part(write_jsonl: Write, tmp_path: Path) -> None:
    texts = [f"{text}\nMARK" if n % 4 == 1 else text for n, text in enumerate(passages(60, seed=4))]
    source, ids = in_shards(write_jsonl, [{"text": text} for text in texts])
    stage = LineDedup(unit="line", min_characters=0, min_words_left=20)
    stored = annotated(source, tmp_path / "annotated", NoDrop(), stage)
    assert [row["doc_id"] for row in stored] == ids
    deduplicate(source, tmp_path / "plain", NoDrop(), stage)
    wanted = {row["id"]: row for row in rows(tmp_path / "plain", "data")}
    reasons = {row["doc_id"]: row["reason"] for row in dropped(tmp_path / "plain", "line_dedup")}
    assert {"all_repeated", "too_short"} == set(reasons.values())
    for row, text in zip(stored, texts, strict=True):
        if "MARK" in text:
            assert row["text"] == text
            assert (row["repeated_lines_removed"], row["line_dedup_verdict"]) == (None, None)
            assert table(tmp_path / "annotated", "line_dedup")[row["doc_id"]]["removed"] is None
        elif row["doc_id"] in reasons:
            assert (row["text"], row["line_dedup_verdict"]) == (text, reasons[row["doc_id"]])
        else:
            assert {name: row[name] for name in wanted[row["id"]]} == wanted[row["id"]]


def test_interrupted_at_every_commit_and_resumed(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = in_shards(write_jsonl, [{"text": text} for text in passages(40, seed=5)], count=2)
    cut_small(monkeypatch, documents=20, records=500)
    assert check_interrupted(source, tmp_path, [LineDedup(unit="line", min_characters=5)], monkeypatch) > 10


@pytest.mark.slow
def test_the_same_bytes_with_workers(write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = in_shards(write_jsonl, [{"text": text} for text in passages(60, seed=5)])
    stages = LineDedup(unit="sentences"), SubstringDedup(min_words=8, min_bytes=0)
    deduplicate(source, tmp_path / "out0", *stages)
    monkeypatch.setattr("tokenmill.executors.run.SMALL_ROWS", 0)
    for workers in (1, 2):
        deduplicate(source, tmp_path / f"out{workers}", *stages, workers=workers)
        assert published(tmp_path / f"out{workers}") == published(tmp_path / "out0")


def test_two_of_them_in_one_recipe(write_jsonl: Write, tmp_path: Path) -> None:
    source = write_jsonl([f"{ROW}\nfooter 2024", f"{ROW}\nx\nfooter 2024", "y\nfooter 2024"])
    stages = LineDedup(unit="line", keep="none", more_than=2, min_characters=5), LineDedup()
    deduplicate(source, tmp_path / "out", *stages)
    found = rows(tmp_path / "out", "data")
    assert [row["text"] for row in found] == [ROW, "x", "y"]
    assert [row["repeated_lines_removed"] for row in found] == [1, 1, 1]
    assert [row["repeated_paragraphs_removed"] for row in found] == [0, 1, 0]


def test_on_a_crawl(write_jsonl: Write, tmp_path: Path) -> None:
    source, texts = crawl(write_jsonl, 400)
    size = len("".join(texts.to_pylist()).encode())
    for unit in ("line", "paragraph", "sentences"):
        stage = LineDedup(unit=unit)
        deduplicate(source, tmp_path / unit, stage)
        gone = 1 - len("".join(kept(tmp_path / unit)).encode()) / size
        assert 0.02 < gone < 0.3
    again = LineDedup(unit="line")
    assert not any(Twin(kept(tmp_path / "line"), again).gone)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "lines"}, "did you mean 'line'"),
        ({"keep": "last"}, "keep='last' is not known"),
        ({"more_than": 0}, "more_than=0 is too small"),
        ({"sentences": 0}, "at least 1"),
        ({"min_words_left": -1}, "at least 0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LineDedup(**settings)


def test_the_plan_says_what_settings_mean() -> None:
    assert LineDedup(scope=("dump",)).describe() == [
        "paragraphs of at least 20 characters that occur more than 1 times: all but the first go",
        "compared within equal dump",
    ]
    lines = LineDedup(unit="sentences", keep="none", min_words_left=50).describe()
    assert lines[0].startswith("runs of 3 sentences")
    assert len(lines) == 3
