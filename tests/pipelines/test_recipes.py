"""The built-in recipes on the bundled archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.executors.support import digests, rows, run
from tests.pipelines.test_crawl import check
from tokenmill import ExtractText, GopherQuality, LanguageFilter, Pipeline, ReadWarc, WriteParquet
from tokenmill.core.plan import make_plan
from tokenmill.core.schema import FINEWEB
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import RECIPES, WITH_MODELS, recipe
from tokenmill.report.funnel import fold

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


@pytest.fixture(scope="module")
def fineweb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fineweb") / "out"
    outcome = run(recipe("fineweb"), EXAMPLE, out, workers=1, seconds=8)
    assert outcome.failures == {}
    return out


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(WITH_MODELS)))
def test_every_recipe_can_be_planned(name: str) -> None:
    plan = make_plan(recipe(name), [])
    assert plan.schema.names[:9] == list(FINEWEB)
    assert plan.pipeline.name == name


def test_the_plan_inserts_what_a_short_recipe_leaves_out() -> None:
    short = Pipeline("mine", [ReadWarc(), ExtractText(), LanguageFilter(), GopherQuality(min_words=40), WriteParquet()])
    labels = make_plan(short, []).pipeline.labels
    assert labels == (
        *("read_warc", "decode_html", "extract_text", "language_id", "language_filter", "text_signals"),
        *("gopher_quality", "write_parquet"),
    )


def test_cheap_stages_stand_before_dear_ones() -> None:
    labels = recipe("fineweb").labels
    order = ["url_filter", "language_gate", "extract_text", "language_filter", "gopher_repetition", "gopher_quality"]
    order += ["c4_quality", "fineweb_quality", "redact_pii", "minhash_dedup"]
    assert [label for label in labels if label in order] == order


@pytest.mark.ci
def test_raw_has_all_text_of_what_fineweb_keeps(fineweb: Path, tmp_path: Path) -> None:
    """The baseline of an ablation: more pages, and of each page more text; English all the same."""
    assert run(recipe("raw"), EXAMPLE, tmp_path, seconds=8).failures == {}
    raw = {row["id"]: row for row in rows(tmp_path, "data")}
    kept = {row["id"]: row for row in rows(fineweb, "data")}
    both = raw.keys() & kept.keys()
    assert len(raw) > len(kept)
    assert len(both) > 0.9 * len(kept)
    assert {row["language"] for row in raw.values()} == {"en"}
    longer = sum(len(raw[name]["text"]) > len(kept[name]["text"]) for name in both)
    assert longer > 0.9 * len(both)


def test_the_funnel_of_the_example_is_what_it_was(fineweb: Path) -> None:
    """Golden counts: a change here is a change of the data and belongs in the CHANGELOG."""
    funnel = fold(RunFolder(str(fineweb)))
    assert funnel.balance == 0
    assert {stage.stage: (stage.into, stage.out) for stage in funnel.stages} == GOLDEN


@pytest.mark.ci  # sample: the golden funnel of the same run; a fixture less in the other worker
def test_every_document_has_its_provenance(fineweb: Path) -> None:
    table = rows(fineweb, "data")
    assert len({row["id"] for row in table}) == len(table)
    for row in table:
        assert row["id"].startswith("<urn:uuid:")
        assert row["url"].startswith("http")
        assert row["language"] == "en"
        assert row["language_score"] > 0.65
        assert row["warc_offset"] >= 0
        assert row["warc_length"] > 0
        assert row["file_path"] == "example.warc.gz"
        assert row["text"].strip() == row["text"] != ""


@pytest.mark.ci
def test_the_recorded_offset_and_length_are_the_record(fineweb: Path) -> None:
    from fastwarc.warc import ArchiveIterator

    archive = (EXAMPLE / "example.warc.gz").read_bytes()
    for row in rows(fineweb, "data")[:5]:
        member = archive[row["warc_offset"] : row["warc_offset"] + row["warc_length"]]
        import io

        (record,) = list(ArchiveIterator(io.BytesIO(member)))
        assert record.headers["WARC-Record-ID"] == row["id"]


@pytest.mark.ci
def test_published_data_opens_with_duckdb(fineweb: Path) -> None:
    (count,) = duckdb.sql(f"select count(distinct url) from '{fineweb}/data/*.parquet'").fetchall()[0]
    assert count == pq.read_table(fineweb / "data").num_rows


@pytest.mark.ci
def test_dropped_rows_name_the_rule_that_decided(fineweb: Path) -> None:
    by_reason: dict[str, dict[str, Any]] = {}
    for row in rows(fineweb, "dropped"):
        by_reason.setdefault(f"{row['stage']}.{row['reason']}", row)
    row = by_reason["gopher_quality.too_few_alpha_words"]
    assert row["threshold"] == 0.8
    assert row["value"] < 0.8
    assert row["text"]
    assert by_reason["read_warc.not_200"]["url"].startswith("http")


@pytest.mark.ci  # sample: tests/executors/test_run.py
def test_inline_and_child_process_give_the_same_bytes(fineweb: Path, tmp_path: Path) -> None:
    run(recipe("fineweb"), EXAMPLE, tmp_path / "out", workers=0)
    assert digests(tmp_path / "out") == digests(fineweb)


@pytest.mark.ci  # sample: tests/executors/test_run.py
def test_conservation_order_and_ids(fineweb: Path) -> None:
    check(EXAMPLE, fineweb)


GOLDEN: dict[str, tuple[int, int]] = {
    "read_warc": (242, 234),
    "url_filter": (234, 234),
    "decode_html": (234, 234),
    "language_gate": (234, 166),
    "extract_text": (166, 160),
    "language_id": (160, 160),
    "language_filter": (160, 143),
    "text_signals": (143, 143),
    "gopher_repetition": (143, 129),
    "gopher_quality": (129, 73),
    "c4_lines": (73, 73),
    "c4_quality": (73, 55),
    "text_signals_2": (55, 55),
    "fineweb_quality": (55, 46),
    "redact_pii": (46, 46),
    "minhash_dedup.prepare": (46, 46),
    "minhash_dedup": (46, 46),
    "write_parquet": (46, 46),
}
