"""Annotate mode, and filtering again: the same bytes as a fresh run, without the archives."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.executors.support import digests, rows
from tokenmill.cli.main import app
from tokenmill.cli.refilter import refilter_run
from tokenmill.cli.run import RunRequest, run_recipe
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"
RULES = """
import pyarrow as pa
from tokenmill import (C4Lines, Doc, Filter, FineWebQuality, GopherQuality, Pipeline, ReadJsonl, Rewrite, Rule,
                       WriteParquet, signal)

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

class SetUrl(Rewrite):
    adds = {"url": pa.string()}
    keeps_text = True
    def rewrite(self, doc):
        return {"url": "http://same.org/"}

class Sneaky(Rewrite):
    def rewrite(self, doc):
        return {"url": "http://same.org/"}

class Both(Filter):
    reads = ("url",)
    min_words: int | None = 3
    def rules(self):
        return (Rule("gopher_word_count", "<", self.min_words, "few"),)
    def judge(self, doc):
        return super().judge(doc)

loose = {name: None for name in GopherQuality().config() if name not in ("min_words", "min_stop_words")}
mine = Pipeline("mine", [ReadJsonl(), NoExample(), Early(), Vowels(),
    GopherQuality(min_words=4, min_stop_words=1, **loose),
    C4Lines(terminal_punctuation=False), GopherQuality(min_words=3, min_stop_words=1, **loose),
    FineWebQuality(max_short_line_share=None, max_dup_line_char_share=None), Late(), WriteParquet()])
overwrites = Pipeline("overwrites", [ReadJsonl(), NoExample(), SetUrl(), WriteParquet()])
sneaky = Pipeline("sneaky", [ReadJsonl(), NoExample(), Sneaky(), WriteParquet()])
both = Pipeline("both", [ReadJsonl(), Both(), C4Lines(), WriteParquet()])
edited = Pipeline("edited", [ReadJsonl(), SetUrl(), Vowels(), WriteParquet()])
"""


FAST = "extract_text.extractor=resiliparse"
"""Nothing here is about the extraction, and the other extractor takes ten times as long."""


def command(recipe: str, source: Path | None, output: Path, *settings: str, **options: Any) -> int:
    given = str(source) if source else None
    settings = (FAST, *settings) if recipe == "fineweb" else settings
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


@pytest.mark.parametrize(
    "settings",
    [*(pytest.param(one, marks=pytest.mark.ci) for one in SETTINGS[:-1]), SETTINGS[-1]],
    ids=lambda settings: " ".join(settings) or "unchanged",
)
def test_the_same_bytes_as_a_fresh_run(annotated: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    assert refilter_run(str(annotated), str(tmp_path / "again"), settings, 0) == 0
    assert command("fineweb", EXAMPLE, tmp_path / "fresh", *settings) == 0
    assert data(tmp_path / "again") == data(tmp_path / "fresh")
    again, fresh = fold(RunFolder(str(tmp_path / "again"))), fold(RunFolder(str(tmp_path / "fresh")))
    assert (again.records, again.kept, again.balance) == (fresh.records, fresh.kept, 0)
    ours = {key: count for key, count in again.dropped.items() if not key.startswith("read_annotated")}
    theirs = {key: count for key, count in fresh.dropped.items() if key in ours}
    assert ours == theirs


@pytest.mark.ci
def test_the_refiltered_run_holds_its_recipe(annotated: Path, tmp_path: Path) -> None:
    assert refilter_run(str(annotated), str(tmp_path / "again"), ("gopher_quality.min_words=60",), 0) == 0
    assert command(str(tmp_path / "again" / "run.json"), None, tmp_path / "fresh") == 0
    assert data(tmp_path / "again") == data(tmp_path / "fresh")


def test_the_check_of_the_disk_can_be_left_out(
    annotated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> list[str]:
        raise ConfigError("there is no room for this run", fix="--no-preflight")

    monkeypatch.setattr("tokenmill.cli.run.check_space", full)
    arguments = ["refilter", str(annotated), "--output", str(tmp_path / "again"), "--workers", "0"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, ConfigError)
    done = CliRunner().invoke(app, [*arguments, "--no-preflight"])
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_worker_processes_give_the_same(annotated: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        assert refilter_run(str(annotated), str(tmp_path / str(workers)), SETTINGS[2], workers) == 0
    assert digests(tmp_path / "0") == digests(tmp_path / "1")
    before = digests(tmp_path / "1")
    assert refilter_run(str(annotated), str(tmp_path / "1"), SETTINGS[2], 1) == 0  # nothing left to do
    assert digests(tmp_path / "1") == before
    with pytest.raises(ConfigError, match="another run"):
        refilter_run(str(annotated), str(tmp_path / "1"), (), 0)


@pytest.mark.ci  # sample: overlap equals a count by hand
def test_annotated_data_has_every_document_with_its_verdicts(annotated: Path, tmp_path: Path) -> None:
    command("fineweb", EXAMPLE, tmp_path / "fresh")
    fresh = rows(tmp_path / "fresh", "dropped")
    verdicts = {row["id"]: f"{row['stage']}.{row['reason']}" for row in fresh}
    labels = ["url_filter", "language_gate", "language_filter", "gopher_repetition", "gopher_quality", "c4_quality"]
    labels += ["fineweb_quality", "minhash_dedup"]
    for row in rows(annotated, "data"):
        first = next((f"{x}.{row[f'{x}_verdict']}" for x in labels if row[f"{x}_verdict"]), None)
        assert first == verdicts.get(row["id"])
        assert row["text_word_count"] is not None or row["text_unspaced_share"] > 0.1


def test_overlap_equals_a_count_by_hand(annotated: Path) -> None:
    overlap = fold(RunFolder(str(annotated))).overlap
    assert overlap is not None
    table = rows(annotated, "data")
    assert (overlap.documents, overlap.kept) == (len(table), 42)
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
    assert sum(overlap.first.values()) == len(table) - 42
    assert all(overlap.only[rule] <= overlap.removes(rule) for rule in overlap.rules)
    assert overlap.rules[0] == max(overlap.rules, key=overlap.removes)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("c4_lines.min_words=5", "cannot be changed after the run"),
        ("extract_text.extractor=trafilatura", "cannot be changed after the run"),
        ("language_gate.min_score=0.5", "html"),
        ("gopher_quality.min_word=3", "min_words"),
    ],
)
def test_what_is_not_stored_is_refused(annotated: Path, tmp_path: Path, setting: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        refilter_run(str(annotated), str(tmp_path / "out"), (setting,), 0)
    assert why in str(error.value)
    assert not (tmp_path / "out").exists()


def test_only_finished_annotated_runs_are_refiltered(
    annotated: Path, my: Path, tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    assert command(f"{my}:mine", write_jsonl(some_texts()), tmp_path / "plain") == 0
    with pytest.raises(ConfigError, match="no signals stored"):
        refilter_run(str(tmp_path / "plain"), str(tmp_path / "out"), (), 0)
    with pytest.raises(ConfigError, match="no run"):
        refilter_run(str(tmp_path / "nothing"), str(tmp_path / "out"), (), 0)
    with pytest.raises(ConfigError, match="in the run itself"):
        refilter_run(str(annotated), str(annotated), (), 0)


@pytest.mark.ci
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
def my(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mine") / "my.py"
    file.write_text(RULES)
    return file


def some_texts() -> list[dict[str, str]]:
    words = "the and of red fish blue stone runs sky to try my".split()
    texts = [
        " ".join(words[(i * k) % 12] for k in range(1, 4 + i % 9)) + (" {." if i % 5 == 0 else ".") for i in range(80)
    ]
    texts += ["aeiou aei the and to", "the and x [1] y\nthe and z", "日本語の本です。" * 5]
    return [{"text": text, "url": f"http://{'spam' if i % 7 == 0 else 'ham'}.org/{i}"} for i, text in enumerate(texts)]


def kept(output: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (output / "data").glob("*.parquet"))


@pytest.mark.ci
def test_filters_of_ones_own(my: Path, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(some_texts())
    out, counts = tmp_path / "annotated", []
    assert command(f"{my}:mine", source, out, mode="annotate") == 0
    for number, settings in enumerate(
        [
            (),
            ("vowels.max_share=0.25", "gopher_quality.min_words=6"),
            ("gopher_quality_2.min_words=9", "gopher_quality.min_words=2"),
            ("no_example.word=ham/1",),
            ("late.word=stone", "fineweb_quality.min_line_punct_share=none"),
        ]
    ):
        again, fresh = tmp_path / f"again{number}", tmp_path / f"fresh{number}"
        assert refilter_run(str(out), str(again), settings, 0) == 0
        assert command(f"{my}:mine", source, fresh, *settings) == 0
        assert data(again) == data(fresh), settings
        counts.append(kept(again))
    assert min(counts) > 0
    assert len(set(counts)) == len(counts), counts
    with pytest.raises(ConfigError, match="early cannot be decided again"):
        refilter_run(str(out), str(tmp_path / "no"), ("early.mark=x",), 0)


def test_what_made_a_stage_fail_is_not_forgotten(my: Path, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([*some_texts(), {"text": "poison the and of to", "url": "u"}])
    out = tmp_path / "annotated"
    assert command(f"{my}:mine", source, out, mode="annotate") == 0
    assert [row["stage"] for row in rows(out, "quarantine")] == ["text_signals"]
    assert refilter_run(str(out), str(tmp_path / "again"), ("vowels.max_share=0.3",), 0) == 0
    assert fold(RunFolder(str(tmp_path / "again"))).records == 84
    with pytest.raises(ConfigError, match="put documents into quarantine"):
        refilter_run(str(out), str(tmp_path / "off"), ("vowels.max_share=none",), 0)


def test_columns_that_change_later(my: Path, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(some_texts())
    for name, setting in (("overwrites", "no_example.word=ham"), ("both", "both.min_words=9")):
        out = tmp_path / name
        assert command(f"{my}:{name}", source, out, mode="annotate") == 0
        with pytest.raises(ConfigError, match="cannot be decided again"):
            refilter_run(str(out), str(tmp_path / "no"), (setting,), 0)
        assert command(f"{my}:{name}", source, tmp_path / f"{name}-fresh") == 0
        assert refilter_run(str(out), str(tmp_path / f"{name}-same"), (), 0) == 0
        assert data(tmp_path / f"{name}-same") == data(tmp_path / f"{name}-fresh")
    with pytest.raises(ConfigError, match="does not declare"):
        command(f"{my}:sneaky", source, tmp_path / "sneaky")


@pytest.mark.slow
def test_changed_code_and_moved_folders(my: Path, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    file, out = tmp_path / "mine2.py", tmp_path / "annotated"
    file.write_text(re.sub(r"class (\w+)\(", r"class \1Again(", RULES).replace('"vowel_share"', '"vowels_again"'))
    for name in re.findall(r"class (\w+)\(", RULES):
        file.write_text(re.sub(rf"\b{name}\(\)", f"{name}Again()", file.read_text()))
    source = write_jsonl(some_texts())
    script = [sys.executable, "-m", "tokenmill"]

    def tokenmill(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*script, *map(str, arguments), "--workers", "0"]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = tokenmill("run", f"{file}:edited", "--input", source, "--output", out, "--mode", "annotate")
    assert done.returncode == 0, done.stderr
    moved = tmp_path / "moved"
    out.rename(moved)
    assert tokenmill("refilter", "moved/", "--output", "again").returncode == 0
    assert tokenmill("refilter", moved, "--output", "again").returncode == 0  # the same run, in other words
    original = file.read_text()
    file.write_text(original.replace("same.org", "other.org"))
    changed = tokenmill("refilter", moved, "--output", "no")
    assert changed.returncode == 2
    assert "no longer what made the run" in changed.stderr
    file.unlink()
    assert tokenmill("refilter", moved, "--output", "from-the-copy").returncode == 0
    assert data(tmp_path / "from-the-copy") == data(tmp_path / "again")
