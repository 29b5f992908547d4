"""The recipes refinedweb, dclm-refinedweb and fineweb2 on the bundled archive, and on pages of many languages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.executors.support import rows, run
from tests.pipelines.test_recipes import EXAMPLE
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import make_plan
from tokenmill.filters.fineweb2 import builtin_languages
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import recipe
from tokenmill.report.funnel import fold

GOLDEN: dict[str, dict[str, tuple[int, int]]] = {
    "refinedweb": {
        "refinedweb_format": (160, 160),
        "language_filter": (160, 143),
        "gopher_repetition": (143, 129),
        "gopher_quality": (129, 73),
        "refinedweb_lines": (73, 73),
        "refinedweb_quality": (73, 73),
    },
    "dclm-refinedweb": {
        "refinedweb_format": (160, 160),
        "language_filter": (160, 143),
        "gopher_quality": (143, 88),
        "gopher_repetition": (88, 83),
        "refinedweb_lines": (83, 83),
        "refinedweb_quality": (83, 80),
        "minhash_dedup": (80, 77),
    },
    "fineweb2": {
        "extract_text": (234, 228),
        "language_filter": (228, 198),
        "minhash_dedup": (198, 190),
        "fineweb2_repetition": (190, 170),
        "fineweb2_quality": (170, 118),
        "fineweb2_gopher": (118, 88),
        "redact_pii": (88, 88),
    },
}
"""Stage -> documents (into, out) of it, for the stages that drop or change documents after the extraction."""


@pytest.fixture(
    scope="module",
    params=[name if name == "dclm-refinedweb" else pytest.param(name, marks=pytest.mark.ci) for name in sorted(GOLDEN)],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    name: str = request.param
    out = tmp_path_factory.mktemp(name) / "out"
    assert run(recipe(name), EXAMPLE, out, seconds=8).failures == {}
    return name, out


def test_the_funnel_is_what_it_was(made: tuple[str, Path]) -> None:
    """Golden counts: a change here is a change of the data and belongs in the CHANGELOG."""
    name, out = made
    funnel = fold(RunFolder(str(out)))
    assert funnel.balance == 0
    counts = {stage.stage: (stage.into, stage.out) for stage in funnel.stages}
    assert {stage: counts[stage] for stage in GOLDEN[name]} == GOLDEN[name]
    assert counts["write_parquet"][1] == len(rows(out, "data")) > 0


def test_what_was_kept(made: tuple[str, Path]) -> None:
    name, out = made
    for row in rows(out, "data"):
        assert row["text"].strip() == row["text"] != ""
        assert row["language_score"] > 0.65
        assert row["language"] in (builtin_languages() if name == "fineweb2" else ("en",))
        if name != "fineweb2":
            assert row["refinedweb_removed_word_share"] <= 0.05
            assert "http://" not in row["text"]


def test_the_order_of_the_papers() -> None:
    lines = ["refinedweb_lines", "refinedweb_quality", "write_parquet"]
    assert recipe("refinedweb").labels[-5:] == ("gopher_repetition", "gopher_quality", *lines)
    filters = ("gopher_quality", "gopher_repetition", *lines[:-1])
    assert recipe("dclm-refinedweb").labels[-6:] == (*filters, "minhash_dedup", "write_parquet")
    quality = ["fineweb2_repetition", "fineweb2_quality", "fineweb2_gopher"]
    assert recipe("fineweb2").labels[-6:] == ("minhash_dedup", *quality, "redact_pii", "write_parquet")


def test_the_thresholds_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fingerprints = set()
    for value in (0.1, 0.2):
        path.write_text(f"de: {{quality: {{max_newline_ratio: {value}}}}}")
        mine = recipe("fineweb2").with_settings([("fineweb2_quality", "thresholds", str(path))])
        fingerprints.add(make_plan(mine, []).fingerprint)
    assert len(fingerprints) == 2


def test_a_language_without_thresholds_is_refused() -> None:
    mine = recipe("fineweb2").with_settings([("fineweb2_quality", "languages", ["de", "deu"])])
    with pytest.raises(ConfigError, match="did you mean 'de'"):
        make_plan(mine, [])


def test_a_recipe_by_a_wrong_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'dclm-baseline'"):
        recipe("dclm_baseline")


@pytest.mark.slow
def test_pages_in_many_languages(shared: Path, tmp_path: Path) -> None:
    """Real pages: of each larger language some are kept and some are dropped. The counts are printed (-s)."""
    crawl = shared / "crawl" / "crawl-00003.warc.gz"
    if not crawl.is_file():
        pytest.skip("the mini crawl is not among the shared data")
    assert run(recipe("fineweb2"), crawl, tmp_path / "out", seconds=8).failures == {}
    kept = Counter(row["language"] for row in rows(tmp_path / "out", "data"))
    print("kept:", dict(kept.most_common()))
    dropped = Counter(f"{row['stage']}.{row['reason']}" for row in rows(tmp_path / "out", "dropped"))
    print("dropped:", dict(dropped.most_common(20)))
    assert {"en", "de", "fr", "es", "ru", "ja", "zh"} <= set(kept)
