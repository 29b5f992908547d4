"""`diff_runs` against brute force on two real runs."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.executors.explore import CHANGED, EXAMPLE, example_run, published, run_example
from tokenmill.core.errors import ConfigError
from tokenmill.report.diff import diff_runs, stage_of
from tokenmill.report.diff_documents import SIDE, join


def verdicts(run: str) -> dict[tuple[int, str], tuple[str, str | None]]:
    """(offset, id) -> (verdict, text), row by row."""
    found: dict[tuple[int, str], tuple[str, str | None]] = {}
    for kind in ("data", "dropped", "quarantine"):
        for row in published(run, kind):
            noted = [f"{n.removesuffix('_verdict')}.{v}" for n, v in row.items() if n.endswith("_verdict") and v]
            verdict = noted[0] if noted else "kept" if kind == "data" else f"{row['stage']}.{row.get('reason')}"
            found[row["warc_offset"], row["id"]] = (verdict, row["text"])
    return found


@pytest.mark.ci
def test_counts_are_those_of_brute_force() -> None:
    a, b = verdicts(example_run()), verdicts(example_run("changed"))
    found = diff_runs(example_run(), example_run("changed"), samples=3)
    assert a.keys() == b.keys()
    pairs = Counter((a[key][0], b[key][0]) for key in a)
    assert found.verdicts == pairs
    assert {(x, y): n for x, y, n in found.changed} == {pair: n for pair, n in pairs.items() if pair[0] != pair[1]}
    assert not found.only_a
    assert not found.only_b
    both = [key for key in a if a[key][0] == b[key][0] == "kept"]
    other = {key for key in both if a[key][1] != b[key][1]}
    assert (found.texts, found.texts_changed) == (len(both), len(other))
    assert other  # else the test says nothing
    assert {one.what: (one.a, one.b) for one in found.settings.settings} == {
        "gopher_quality.min_words": (50, 300),
        "c4_lines.min_words": (3, 6),
    }
    assert {(stage, field) for stage, field, _ in CHANGED} == {
        tuple(one.what.split(".")) for one in found.settings.settings
    }
    assert not found.same
    json.dumps(found.to_json(), allow_nan=False)


def test_the_funnel_adds_up_on_both_sides() -> None:
    found = diff_runs(example_run(), example_run("changed"))
    for side, run in (("a", example_run()), ("b", example_run("changed"))):
        first, *rest = found.funnel
        lost = sum(getattr(row, side) for row in rest if row.reason)
        assert lost == sum(getattr(row, side) for row in rest if not row.reason)
        assert getattr(first, f"left_{side}") - lost == len(published(run, "data"))
        dropped = Counter((row["stage"], row["reason"]) for row in published(run, "dropped"))
        told = {(row.stage, row.reason): getattr(row, side) for row in rest if row.reason and getattr(row, side)}
        # records that are no documents are counted and not listed
        assert {key: n for key, n in told.items() if key[1] != "not_response"} == dropped


def test_samples_are_documents_of_their_kind() -> None:
    a, b = verdicts(example_run()), verdicts(example_run("changed"))
    by_id = {id: (a[offset, id], b[offset, id]) for offset, id in a}
    found = diff_runs(example_run(), example_run("changed"), samples=2)
    assert found.samples
    for sample in found.samples:
        assert (sample.verdict_a, sample.verdict_b) == tuple(one[0] for one in by_id[sample.id])
    of_words = [one for one in found.samples if one.verdict_b == "gopher_quality.too_few_words"]
    assert all(one.b["signal"] == "gopher_word_count" and one.b["value"] < 300 for one in of_words)
    assert of_words
    kinds = Counter((one.verdict_a, one.verdict_b) for one in found.samples)
    assert max(kinds.values()) == 2
    for text in found.text_samples:
        one, other = (side[1] for side in by_id[text.id])
        assert one != other
        assert one is not None
        assert other is not None
        assert (text.chars_a, text.chars_b) == (len(one), len(other))
        assert text.difference.gone + text.difference.new > 0
    assert [one.id for one in diff_runs(example_run(), example_run("changed"), samples=2).samples] == [
        one.id for one in found.samples
    ]


def test_a_run_does_not_differ_from_itself() -> None:
    found = diff_runs(example_run(), example_run())
    assert found.same
    assert found.settings.same
    assert not found.settings.versions
    assert not found.samples
    assert not found.text_samples
    assert found.documents == len(verdicts(example_run()))
    assert found.texts == len(published(example_run(), "data"))


def test_one_stage_alone() -> None:
    found = diff_runs(example_run(), example_run("changed"), stage="gopher_quality")
    assert found.changed
    assert all("gopher_quality" in (stage_of(a), stage_of(b)) for a, b, _ in found.changed)
    assert all("gopher_quality" in (stage_of(s.verdict_a), stage_of(s.verdict_b)) for s in found.samples)
    with pytest.raises(ConfigError, match="no stage 'gopher'"):
        diff_runs(example_run(), example_run(), stage="gopher")


@pytest.mark.ci  # sample: test_counts_are_those_of_brute_force
def test_verdict_columns_are_verdicts() -> None:
    found = diff_runs(example_run(), example_run("annotate"))
    assert [change.what for change in found.settings.options] == ["mode"]
    assert found.changed == []
    assert found.texts_changed == 0
    assert found.same
    assert found.verdicts.total() + found.untold.total() == len(verdicts(example_run()))
    other_way = diff_runs(example_run("annotate"), example_run())
    assert other_way.untold == Counter({(b, a): n for (a, b), n in found.untold.items()})


@pytest.mark.ci  # sample: test_keys_that_come_several_times, and the other tests for what happens behind the join
def test_the_same_records_under_another_name_are_joined_by_id(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(EXAMPLE / "example.warc.gz", tmp_path / "in" / "other.warc.gz")
    output = run_example(tmp_path / "out", CHANGED, source=tmp_path / "in")
    found = diff_runs(example_run(), output)
    same = diff_runs(example_run(), example_run("changed"))
    assert found.verdicts == same.verdicts
    assert (found.texts, found.texts_changed) == (same.texts, same.texts_changed)
    assert found.settings.inputs["only_a"] == found.settings.inputs["only_b"] == 1


@pytest.mark.ci  # sample: test_counts_are_those_of_brute_force
def test_documents_of_one_run_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("example.warc.gz", "second.warc.gz"):
        shutil.copy(EXAMPLE / "example.warc.gz", tmp_path / "in" / name)
    output = run_example(tmp_path / "out", source=tmp_path / "in")
    found = diff_runs(example_run(), output)
    rows = [row for row in verdicts_of_file(output, "second.warc.gz")]
    assert found.only_b == Counter(rows)
    assert not found.only_a
    # the copies in the second file have gone as duplicates, or have taken the others with them
    assert all("minhash_dedup" in (stage_of(a), stage_of(b)) for a, b, _ in found.changed)


def verdicts_of_file(run: str, name: str) -> list[str]:
    kept = ["kept" for row in published(run, "data") if row["file_path"] == name]
    return kept + [f"{r['stage']}.{r['reason']}" for r in published(run, "dropped") if r["file_path"] == name]


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    shutil.copytree(example_run(), tmp_path / "out")
    for path in (tmp_path / "out" / "phases").glob("*/_SUCCESS.json"):
        path.unlink()
    with pytest.raises(ConfigError, match="is not finished"):
        diff_runs(example_run(), str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="holds no run"):
        diff_runs(str(tmp_path), example_run())


def side(*rows: tuple[str, str]) -> pa.Table:
    values: list[dict[str, Any]] = [
        {"key": key, "verdict": verdict, "text": 0, "file": 0, "row": place}
        for place, (key, verdict) in enumerate(rows)
    ]
    return pa.Table.from_pylist(values, schema=SIDE)


def test_keys_that_come_several_times() -> None:
    a = side(("x", "1"), ("y", "2"), ("x", "3"), ("z", "4"))
    b = side(("x", "5"), ("w", "6"), ("x", "7"), ("x", "8"), ("y", "9"))
    found = join(a, b)
    pairs = zip(found.a.column("verdict").to_pylist(), found.b.column("verdict").to_pylist(), strict=True)
    assert set(pairs) == {("1", "5"), ("2", "9"), ("3", "7")}
    assert found.only_a.column("verdict").to_pylist() == ["4"]
    assert sorted(found.only_b.column("verdict").to_pylist()) == ["6", "8"]
