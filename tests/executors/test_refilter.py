"""Annotate mode, and filtering again: the same bytes as a fresh run, without the archives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.executors.support import digests, rows
from tokenmill.cli.refilter import refilter_run
from tokenmill.cli.run import RunRequest, run_recipe
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"
RULES = """
from tokenmill import (C4Lines, Doc, Filter, FineWebQuality, GopherQuality, GopherRepetition, Pipeline, ReadJsonl,
                       RedactPii, Rule, WriteParquet, signal)

@signal("vowel_share", unit="share", source="test")
def vowels(doc):
    "Vowels among all characters."
    if "poison" in doc.text:
        raise ValueError("poison")
    return sum(char in "aeiou" for char in doc.text) / len(doc.text)

class Vowels(Filter):
    max_share: float | None = 0.4
    def rules(self):
        return (Rule("vowel_share", ">", self.max_share, "vowels"),)

class NoExample(Filter):
    reads = ("url",)
    word: str = "spam"
    def judge(self, doc):
        return "word" if self.word in doc.url else None

class Early(Filter):
    reads = ("text",)
    mark: str = "{"
    def judge(self, doc):
        return "mark" if self.mark in doc.text else None

class Late(Filter):
    reads = ("text",)
    word: str = "fish"
    def judge(self, doc):
        return "word" if self.word in doc.text else None

mine = Pipeline("mine", [ReadJsonl(), NoExample(), Early(), Vowels(), GopherQuality(min_words=4, min_stop_words=1),
    GopherRepetition(), C4Lines(terminal_punctuation=False), GopherQuality(min_words=3, min_stop_words=1),
    FineWebQuality(max_short_line_share=None), Late(), WriteParquet()])
"""


def command(recipe: str, source: Path | None, output: Path, *settings: str, **options: Any) -> int:
    given = str(source) if source else None
    return run_recipe(RunRequest(recipe, given, str(output), settings=settings, **{"workers": 0, **options}))


def data(output: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(output).items() if name.startswith("data/")}


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("annotated") / "out"
    assert command("fineweb", EXAMPLE, out, mode="annotate") == 0
    return out


SETTINGS = [
    (),
    ("gopher_quality.min_words=30",),
    ("gopher_quality.min_alpha_word_share=0.5", "fineweb_quality.max_dup_line_char_share=none"),
    ("language_filter.min_score=0.2", 'language_filter.languages=["en", "de", "fr"]'),
    ("url_filter.min_soft_words=1", "c4_quality.min_sentences=9", "gopher_repetition.max_top_2gram_char_share=0.05"),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(settings) or "unchanged")
def test_the_same_bytes_as_a_fresh_run(annotated: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    assert refilter_run(str(annotated), str(tmp_path / "again"), settings, 0) == 0
    assert command("fineweb", EXAMPLE, tmp_path / "fresh", *settings) == 0
    assert data(tmp_path / "again") == data(tmp_path / "fresh")
    again, fresh = fold(RunFolder(str(tmp_path / "again"))), fold(RunFolder(str(tmp_path / "fresh")))
    assert (again.records, again.kept, again.balance) == (fresh.records, fresh.kept, 0)
    ours = {key: count for key, count in again.dropped.items() if not key.startswith("read_annotated")}
    theirs = {key: count for key, count in fresh.dropped.items() if key in ours}
    assert ours == theirs


def test_the_refiltered_run_holds_its_recipe(annotated: Path, tmp_path: Path) -> None:
    assert refilter_run(str(annotated), str(tmp_path / "again"), ("gopher_quality.min_words=60",), 0) == 0
    assert command(str(tmp_path / "again" / "run.json"), None, tmp_path / "fresh") == 0
    assert data(tmp_path / "again") == data(tmp_path / "fresh")


def test_worker_processes_give_the_same(annotated: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        assert refilter_run(str(annotated), str(tmp_path / str(workers)), SETTINGS[2], workers) == 0
    assert digests(tmp_path / "0") == digests(tmp_path / "1")
    before = digests(tmp_path / "1")
    assert refilter_run(str(annotated), str(tmp_path / "1"), SETTINGS[2], 1) == 0  # nothing left to do
    assert digests(tmp_path / "1") == before
    with pytest.raises(ConfigError, match="another run"):
        refilter_run(str(annotated), str(tmp_path / "1"), (), 0)


def test_annotated_data_has_every_document_with_its_verdicts(annotated: Path, tmp_path: Path) -> None:
    command("fineweb", EXAMPLE, tmp_path / "fresh")
    fresh = rows(tmp_path / "fresh", "dropped")
    verdicts = {row["id"]: f"{row['stage']}.{row['reason']}" for row in fresh}
    labels = ["url_filter", "language_gate", "language_filter", "gopher_repetition", "gopher_quality", "c4_quality"]
    labels.append("fineweb_quality")
    for row in rows(annotated, "data"):
        first = next((f"{x}.{row[f'{x}_verdict']}" for x in labels if row[f"{x}_verdict"]), None)
        assert first == verdicts.get(row["id"])
        assert row["text_word_count"] is not None or row["text_unspaced_share"] > 0.1


def test_overlap_equals_a_count_by_hand(annotated: Path) -> None:
    overlap = fold(RunFolder(str(annotated))).overlap
    assert overlap is not None
    table = rows(annotated, "data")
    assert (overlap.documents, overlap.kept) == (len(table), 46)
    reasons = {
        "gopher_quality.too_few_stop_words": lambda row: (row["gopher_stop_words"] or 9) < 2,
        "gopher_quality.too_few_alpha_words": lambda row: row["gopher_alpha_word_share"] < 0.8,
        "fineweb_quality.duplicate_lines": lambda row: row["fineweb_dup_line_char_share"] > 0.01,
        "language_filter.other_language": lambda row: row["language"] != "en",
        "language_gate.language": lambda row: row["language_gate_verdict"] == "language",
    }
    reasons["gopher_quality.too_few_stop_words"] = lambda row: row["gopher_stop_words"] < 2
    for a, b in itertools.product(reasons, reasons):
        assert overlap.both(a, b) == sum(reasons[a](row) and reasons[b](row) for row in table), (a, b)
    assert sum(overlap.first.values()) == len(table) - 46
    assert all(overlap.only[rule] <= overlap.removes(rule) for rule in overlap.rules)
    assert overlap.rules[0] == max(overlap.rules, key=overlap.removes)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("c4_lines.min_words=5", "cannot be changed after the run"),
        ("extract_text.extractor=resiliparse", "cannot be changed after the run"),
        ("language_gate.min_score=0.5", "html"),
        ("gopher_quality.min_word=3", "min_words"),
    ],
)
def test_what_is_not_stored_is_refused(annotated: Path, tmp_path: Path, setting: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        refilter_run(str(annotated), str(tmp_path / "out"), (setting,), 0)
    assert why in str(error.value)
    assert not (tmp_path / "out").exists()


def test_only_finished_annotated_runs_are_refiltered(annotated: Path, tmp_path: Path) -> None:
    command("fineweb", EXAMPLE, tmp_path / "plain")
    with pytest.raises(ConfigError, match="no signals stored"):
        refilter_run(str(tmp_path / "plain"), str(tmp_path / "out"), (), 0)
    with pytest.raises(ConfigError, match="no run"):
        refilter_run(str(tmp_path / "nothing"), str(tmp_path / "out"), (), 0)
    with pytest.raises(ConfigError, match="the run itself"):
        refilter_run(str(annotated), str(annotated), (), 0)


def test_enforced_filters_drop_and_stay_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("fineweb", EXAMPLE, out, mode="annotate", enforce=("language_gate", "language_filter")) == 0
    table = pq.read_table(out / "data" / "example.parquet")
    assert table.num_rows == 143
    assert "language_filter_verdict" not in table.schema.names
    with pytest.raises(ConfigError, match="enforced"):
        refilter_run(str(out), str(tmp_path / "x"), ("language_filter.min_score=0.1",), 0)
    assert refilter_run(str(out), str(tmp_path / "again"), ("gopher_quality.min_words=90",), 0) == 0
    assert command("fineweb", EXAMPLE, tmp_path / "fresh", "gopher_quality.min_words=90") == 0
    assert data(tmp_path / "again") == data(tmp_path / "fresh")
    with pytest.raises(ConfigError, match="--enforce belongs"):
        command("fineweb", EXAMPLE, tmp_path / "y", enforce=("language_gate",))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my.py").write_text(RULES)
    return f"{folder / 'my.py'}:mine", folder / "in", folder / "annotated"


def test_filters_of_ones_own(mine: tuple[str, Path, Path], tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    recipe, _, _ = mine
    words = "the and of red fish blue stone runs over to one two".split()
    texts = [
        " ".join(words[(i * k) % 12] for k in range(1, 3 + i % 9)) + (". {" if i % 5 == 0 else ".") for i in range(80)
    ]
    texts += ["aeiou aei the and to", "poison the and of to", "the and x [1] y\nthe and z", "日本語の本です。" * 5]
    rows_ = [{"text": text, "url": f"http://{'spam' if i % 7 == 0 else 'ham'}.org/{i}"} for i, text in enumerate(texts)]
    source = write_jsonl(rows_)
    out = tmp_path / "annotated"
    assert command(recipe, source, out, mode="annotate", max_quarantined=1.0) == 0
    for number, settings in enumerate(
        [
            (),
            ("vowels.max_share=0.3", "gopher_quality.min_words=6"),
            ("gopher_quality_2.min_words=9", "gopher_quality.min_words=2"),
            ("no_example.word=ham",),
            ("late.word=stone",),
        ]
    ):
        again, fresh = tmp_path / f"again{number}", tmp_path / f"fresh{number}"
        assert refilter_run(str(out), str(again), settings, 0) == 0
        assert command(recipe, source, fresh, *settings, max_quarantined=1.0) == 0
        assert data(again) == data(fresh), settings
    with pytest.raises(ConfigError, match="early cannot be judged again"):
        refilter_run(str(out), str(tmp_path / "no"), ("early.mark=x",), 0)
    assert [row["stage"] for row in rows(out, "quarantine")] == ["text_signals"]
