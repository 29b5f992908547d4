"""`explain_document`: what it says of pages of a run is what the run has recorded, with the numbers behind it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import in_process_of_its_own
from tests.executors.explore import EXAMPLE, example_run, pipeline, published, run_example, sampled
from tests.executors.support import recipe, run
from tokenmill.core.errors import ConfigError
from tokenmill.executors.explain import Explainer, explain_document, explain_page
from tokenmill.executors.explanation import Explanation, RuleNumber, Step
from tokenmill.executors.host import Limits
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.refilter import refilter_spec
from tokenmill.executors.run import execute
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.diff import diff_runs

PAGE = """<html><head><title>A page</title></head><body><p>{}</p></body></html>"""
PROSE = (
    "The committee met on Tuesday to discuss the budget for the coming year, and after a long debate it agreed to "
    "spend more on the library than on the road that leads to it. "
)


@pytest.fixture(scope="module")
def explainer() -> Iterator[Explainer]:
    with Explainer(example_run()) as found:
        yield found


def step(found: Explanation, stage: str) -> Step:
    return next(one for one in found.steps if one.stage == stage)


def check_against_the_run(found: Explanation) -> None:
    """What the run has recorded is what the replay says, and the steps bear it out."""
    assert found.source == "replay", found.notes
    assert found.agrees, (found.doc_id, found.recorded, found.replayed, found.differences)
    assert found.recorded is not None
    if found.recorded.outcome == "kept":
        assert [one.stage for one in found.steps if one.outcome == "drop"] == []
        return
    end = step(found, found.recorded.stage)
    assert (end.outcome, end.reason) == ("drop", found.recorded.reason)
    decided = [rule for rule in end.rules if rule.decided]
    if found.recorded.value is not None and end.kind == "filter":
        (rule,) = decided
        assert rule.value == pytest.approx(found.recorded.value)
        assert rule.margin is None or rule.margin <= 0
    for one in found.steps[: found.steps.index(end)]:
        assert one.outcome == "pass"
        assert not any(rule.holds for rule in one.rules)


@pytest.mark.ci
def test_pages_of_every_stage_agree_with_the_run(explainer: Explainer) -> None:
    ids = sampled(example_run(), 1, 9)
    stages = set()
    for id in ids:
        found = explainer.explain(id)
        check_against_the_run(found)
        assert found.recorded is not None
        stages.add(found.recorded.stage)
        json.dumps(found.to_json(full=True), allow_nan=False)
    assert {"", "read_warc", "extract_text", "language_filter", "gopher_repetition", "minhash_dedup"} <= stages


@pytest.mark.ci  # sample: test_pages_of_every_stage_agree_with_the_run
@pytest.mark.parametrize("mode", ["filter", "annotate"])
def test_many_pages_agree_in_both_modes(mode: str) -> None:
    with Explainer(example_run(mode)) as explainer:
        for id in sampled(example_run(mode), 2, 20):
            found = explainer.explain(id)
            assert found.agrees, (found.doc_id, found.recorded, found.replayed, found.differences)


def test_a_page_is_found_by_all_its_names(explainer: Explainer) -> None:
    row = published(example_run(), "data")[5]
    doc_id = f"{row['file_path']}#{row['warc_offset']}"
    bare = row["id"].removeprefix("<urn:uuid:").removesuffix(">")
    found = [explainer.explain(query) for query in (row["url"], row["id"], bare, doc_id)]
    assert {one.doc_id for one in found} == {doc_id}
    assert {one.id for one in found} == {row["id"]}
    assert found[0].text == row["text"]
    rewritten = step(found[0], "extract_text")
    assert rewritten.before is None
    assert rewritten.after
    assert rewritten.html


def test_a_near_duplicate_is_told_with_what_was_kept(explainer: Explainer) -> None:
    row = next(row for row in published(example_run(), "dropped") if row["stage"] == "minhash_dedup")
    found = step(explainer.explain(row["id"]), "minhash_dedup")
    kept = found.duplicate
    assert kept is not None
    assert not kept.keep
    assert kept.representative_id != row["doc_id"]
    assert kept.cluster_size > 1
    assert kept.representative_url in {one["url"] for one in published(example_run(), "data")}
    if kept.rule == "jaccard":
        (rule,) = found.rules
        assert rule.value >= rule.threshold == 0.5


def test_stages_behind_the_verdict_are_told_as_what_they_would_say(explainer: Explainer) -> None:
    row = next(row for row in published(example_run(), "dropped") if row["stage"] == "gopher_repetition")
    found = explainer.explain(row["id"])
    later = found.steps[[one.stage for one in found.steps].index("gopher_repetition") + 1 :]
    assert all(one.would for one in later if one.kind != "sink")
    assert any(rule.value is not None for one in later for rule in one.rules)
    assert later[-1].outcome == "not_reached"
    assert step(found, "minhash_dedup").outcome == "unknown"


def test_what_is_not_in_the_run_is_told_with_the_nearest_address(explainer: Explainer) -> None:
    url = published(example_run(), "data")[0]["url"]
    with pytest.raises(ConfigError) as error:
        explainer.explain(url + "x")
    assert url in error.value.why
    assert "241 rows in 3 files of 1 shards" in error.value.where
    with pytest.raises(ConfigError, match="has no document 'nothing'"):
        explainer.explain("nothing")


@pytest.mark.ci  # sample: test_pages_of_every_stage_agree_with_the_run
def test_other_settings_are_told_beside_the_record() -> None:
    row = next(row for row in published(example_run(), "dropped") if row["reason"] == "dup_line_share")
    found = explain_document(example_run(), row["id"], settings=[("gopher_repetition", "max_dup_line_share", 1.0)])
    assert found.what_if
    assert found.agrees is None
    assert found.recorded is not None
    assert found.recorded.reason == "dup_line_share"
    assert found.replayed is not None
    assert found.replayed.reason != "dup_line_share"


@pytest.mark.ci  # sample: test_an_archive_that_is_gone
def test_an_archive_that_has_changed_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(EXAMPLE / "example.warc.gz", source / "example.warc.gz")
    output = run_example(tmp_path / "out", source=source)
    rows = published(output, "dropped")
    row = next(row for row in rows if row["stage"] == "gopher_repetition")
    (source / "example.warc.gz").write_bytes((EXAMPLE / "example.warc.gz").read_bytes()[1000:])
    found = explain_document(output, row["id"])
    assert found.source == "stored"
    assert "not where it was" in found.notes[0]
    found = explain_document(output, row["id"], archives=[str(EXAMPLE)])
    assert (found.source, found.agrees) == ("replay", True)


def test_an_archive_that_is_gone(tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(example_run(), output)
    data = json.loads((output / "run.json").read_text())
    data["input"]["location"] = str(tmp_path / "gone")
    for shard in data["input"]["shards"]:
        shard["path"] = str(tmp_path / "gone" / shard["name"])
    (output / "run.json").write_text(json.dumps(data))
    dropped = next(row for row in published(output, "dropped") if row["signal"] and row["value"] is not None)
    with Explainer(str(output)) as explainer:
        found = explainer.explain(dropped["id"])
        assert found.source == "stored"
        assert "is not there" in found.notes[0]
        assert found.replayed is None
        end = step(found, dropped["stage"])
        assert end.outcome == "drop"
        (decided,) = [rule for rule in end.rules if rule.decided]
        assert (decided.value, decided.threshold) == (dropped["value"], dropped["threshold"])
        kept = explainer.explain(published(output, "data")[0]["id"])
    assert kept.recorded is not None
    assert kept.recorded.outcome == "kept"
    # signals that are handed from phase to phase are numbers too
    assert any(rule.value is not None for rule in step(kept, "gopher_quality").rules)


def test_a_stage_that_is_gone_leaves_what_is_stored(tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(example_run(), output)
    data = json.loads((output / "run.json").read_text())
    next(entry for entry in data["stages"] if entry["stage"] == "redact_pii")["class"] = "tokenmill.filters.pii:Gone"
    (output / "run.json").write_text(json.dumps(data))
    dropped = next(row for row in published(output, "dropped") if row["signal"] and row["value"] is not None)
    found = explain_document(str(output), dropped["id"])
    assert found.source == "stored"
    assert "has no stage redact_pii" in found.notes[0]
    (rule,) = step(found, dropped["stage"]).rules
    assert (rule.value, rule.threshold, rule.decided) == (dropped["value"], dropped["threshold"], True)


def test_code_that_came_with_a_run_is_not_executed(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    output = tmp_path / "out"
    run(recipe("trap"), write_jsonl(["a good text"]), output, workers=0)
    data = json.loads((output / "run.json").read_text())
    (name,) = {Path(entry["file"]).name for entry in data["stages"] if "file" in entry}
    for entry in data["stages"]:
        if "file" in entry:
            entry["file"] = f"/on/another/machine/{name}"
    (output / "run.json").write_text(json.dumps(data))
    mark = tmp_path / "executed"
    code = output / "recipe" / name
    code.write_text(f"{code.read_text()}\nopen({str(mark)!r}, 'w').close()\n")
    found = explain_document(str(output), "a.jsonl#0")
    assert found.source == "stored"
    assert "--trust-code" in "\n".join(found.notes)
    assert not mark.exists()
    # in a process of its own: this one has the stages from where they were
    done = in_process_of_its_own("explain", "a.jsonl#0", "--run", output, "--trust-code", "--json")
    assert json.loads(done.stdout)["source"] == "replay", done.stderr
    assert mark.exists()


@pytest.mark.ci  # sample: test_pages_of_every_stage_agree_with_the_run
def test_a_run_of_other_code_says_what_differs(tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(example_run(), output)
    data = json.loads((output / "run.json").read_text())
    entries = {entry["stage"]: entry for entry in data["stages"]}
    entries["gopher_quality"]["version"] += 1
    entries["gopher_quality"]["config"]["gone_setting"] = 7
    entries["gopher_quality"]["config"]["min_words"] = 100_000_000
    data["digests"]["extract_text"]["resiliparse"] = "0.0.0"
    (output / "run.json").write_text(json.dumps(data))
    found = explain_document(str(output), published(output, "data")[0]["id"])
    assert found.agrees is False
    assert found.replayed is not None
    assert (found.replayed.stage, found.replayed.reason) == ("gopher_quality", "too_few_words")
    told = "\n".join(found.differences)
    for part in ("gopher_quality was version", "gone_setting was 7", "resiliparse was 0.0.0"):
        assert part in told


def test_a_quarantined_document_fails_again_and_the_command_lives(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    output = tmp_path / "out"
    run(recipe("trap"), write_jsonl(["a good text", "raise", "abc"]), output, workers=0)
    with Explainer(str(output), limits=Limits(document_seconds=1.0)) as explainer:
        died, kept, short = (explainer.explain(f"a.jsonl#{number}") for number in (1, 0, 2))
    assert died.recorded is not None
    assert (died.recorded.outcome, died.recorded.reason) == ("quarantined", "ValueError")
    assert died.agrees
    assert [one.outcome for one in died.steps] == ["pass", "quarantine", "not_reached", "not_reached"]
    assert kept.agrees
    upper = step(kept, "upper")
    assert (upper.before, upper.after) == ("a good text", "A GOOD TEXT")
    assert upper.columns == {"upper_length": 11}
    assert short.agrees


@pytest.mark.ci  # sample: test_a_quarantined_document_fails_again_and_the_command_lives
@pytest.mark.parametrize("harm", ["hang", "segfault", "memory", "exit"])
def test_every_harm_becomes_the_explanation(tmp_path: Path, write_jsonl: Callable[..., Path], harm: str) -> None:
    output = tmp_path / "out"
    run(recipe("trap"), write_jsonl(["a good text", harm]), output, workers=1)
    found = explain_document(str(output), "a.jsonl#1", limits=Limits(document_seconds=1.0))
    assert found.agrees, (found.recorded, found.replayed)


@pytest.mark.ci  # sample: tests/cli/test_explain.py
def test_a_file_goes_through_a_recipe() -> None:
    found = explain_page(PAGE.format(PROSE * 8).encode(), pipeline([("gopher_quality", "min_words", 1000)]))
    assert found.recorded is None
    assert found.replayed is not None
    assert (found.replayed.stage, found.replayed.reason) == ("language_filter", "low_score") or found.replayed.stage
    assert any("no address" in note for note in found.notes)
    assert any(
        rule.signal == "gopher_word_count" and rule.threshold == 1000 for rule in step(found, "gopher_quality").rules
    )
    assert step(found, "minhash_dedup").outcome == "unknown"


@pytest.mark.parametrize(
    ("comparison", "threshold", "value", "margin", "share"),
    [
        ("<", 50, 40, -10.0, -0.2),
        ("<", 50, 60, 10.0, 0.2),
        (">", 0.2, 0.3, pytest.approx(-0.1), pytest.approx(-0.5)),
        (">=", 0.5, 0.5, 0.0, 0.0),
        (">", 0, 1, -1.0, None),
        ("<", 50, None, None, None),
        ("not in", ("en",), "de", None, None),
        ("==", 1, 2, None, None),
        ("<", 1.0, float("nan"), None, None),
    ],
)
def test_margins(comparison: str, threshold: Any, value: Any, margin: Any, share: Any) -> None:
    rule = RuleNumber("reason", "signal", comparison, threshold, value, holds=False)
    assert rule.margin == margin
    assert rule.margin_share == share


@pytest.mark.ci  # sample: test_pages_of_every_stage_agree_with_the_run
def test_a_refiltered_run_is_explained_and_compared_as_a_fresh_one(tmp_path: Path) -> None:
    setting = ("gopher_quality", "min_words", 300)
    spec = refilter_spec(example_run("annotate"), [setting])
    assert not execute(spec, RunFolder(str(tmp_path / "again")), InlineExecutor()).failures
    again, fresh = str(tmp_path / "again"), run_example(tmp_path / "fresh", [setting])
    found = diff_runs(again, fresh)
    assert (found.changed, found.texts_changed) == ([], 0)
    assert found.verdicts.total() + found.untold.total() == 241
    assert not found.only_a
    assert not found.only_b
    with Explainer(again) as explainer:
        for id in sampled(again, 3, 16):
            one = explainer.explain(id)
            assert one.source == "replay", one.notes
            assert one.agrees, (one.doc_id, one.recorded, one.replayed, one.notes, one.differences)
