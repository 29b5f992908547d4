"""The printed command does what the answer has counted: every one is run, and the documents are compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from tests.classifiers.published_runs import pages, published
from tests.executors.support import rows
from tokenmill.classifiers.bins import ScoreBins
from tokenmill.classifiers.decide import RoundScore, ScoreFilter
from tokenmill.classifiers.ensemble import Ensemble
from tokenmill.classifiers.published import Published
from tokenmill.cli.refilter import refilter_run
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import Annotate, Filter, Stage
from tokenmill.dedup.exact import ExactDedup
from tokenmill.report.keep import Keep
from tokenmill.report.moving import made_from, moving
from tokenmill.report.thresholds import Answer, Question, ask

EDU = "edu_score"
PER = ScoreFilter(per="topic", thresholds={"science": 3.0, "sports": 0.5})
TWO = ScoreFilter(max_score=3.0), ScoreFilter(min_score=1.0)
DCLM = ScoreFilter(column="dclm_score", max_score=0.4)


class Limit(Filter):
    """A filter with the settings of one that limits a score, of another class."""

    reads = (EDU,)
    column: str = EDU
    min_score: float | None = 1.0

    def judge(self, doc: Doc) -> str | None:
        return "low" if (doc[EDU] or 0) < (self.min_score or 0) else None


class Measured(Annotate):
    """Stands for a model that reads a score: not derived."""

    reads = (EDU,)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"measured": pa.float32()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"measured": batch.column(EDU)}


def asked(out: Path, without: tuple[str, ...] = (), per: str = "") -> Answer:
    question = Question(EDU, Keep.parse("30%-of-documents"), per, least_group=10, without=without)
    return ask(Published.open(str(out)), question)


@pytest.mark.parametrize(
    ("stages", "without", "left_aside"),
    [
        ((PER,), (), ("score_filter",)),
        ((ScoreFilter(max_score=2.0),), (), ("score_filter",)),
        ((ScoreFilter(min_score=1.0, keep_null=True),), (), ("score_filter",)),
        (TWO, (), ("score_filter_2",)),
        (TWO, ("score_filter",), ("score_filter_2", "score_filter")),
        (TWO, ("score_filter_2",), ("score_filter", "score_filter_2")),
        ((ScoreFilter(), PER, DCLM), ("score_filter_3",), ("score_filter_2", "score_filter_3")),
        ((RoundScore(), ScoreFilter(column="edu_score_int", min_score=2)), (), ("score_filter",)),
    ],
)
def test_the_command_keeps_what_was_counted(
    tmp_path: Path, stages: tuple[Stage, ...], without: tuple[str, ...], left_aside: tuple[str, ...]
) -> None:
    out = published(pages(120), tmp_path / "run", *stages, annotate=True)
    answer = asked(out, without)
    assert answer.without == left_aside
    assert answer.refilter[:6] == ("tokenmill", "refilter", str(out), "--output", "NEW", "--set")
    assert refilter_run(str(out), str(tmp_path / "kept"), answer.refilter[6::2], 0) == 0
    found = rows(tmp_path / "kept", "data")
    assert len(found) == answer.kept.documents
    assert sum(row["token_count"] for row in found) == answer.kept.tokens


def test_filters_on_what_follows_from_the_score_are_left_aside_and_others_told(tmp_path: Path) -> None:
    stages = (
        RoundScore(),
        Ensemble(expression="edu_score_int + dclm_score"),
        ScoreFilter(column="edu_score_int", min_score=3),
        ScoreFilter(column="ensemble_score", min_score=1),
    )
    out = published(pages(120), tmp_path / "run", *stages, annotate=True)
    answer = asked(out)
    notes = "; ".join(answer.notes)
    assert answer.without == ("score_filter",)
    assert "score_filter decides by edu_score_int, which follows from edu_score" in notes
    assert "score_filter_2 limits ensemble_score (made from edu_score) and stays as it is" in notes
    both = asked(out, ("score_filter_2",))
    assert both.total.documents == 120 > answer.total.documents
    assert "stays as it is" not in "; ".join(both.notes)


def test_what_follows_from_a_score(tmp_path: Path) -> None:
    stages = (
        ScoreBins(columns=(EDU, "dclm_score")),
        Ensemble(expression="2 * edu_score_bin", column="twice"),
        RoundScore(column="twice"),
        Ensemble(expression="max(twice, dclm_score_bin)"),
        Measured(),
        RoundScore(column="measured"),
    )
    found = Published.open(str(published(pages(3), tmp_path, *stages)))
    alone, mixed = made_from(found, EDU)
    assert alone == {EDU, "edu_score_bin", "twice", "twice_int"}
    assert mixed == {"ensemble_score"}
    assert made_from(found, "measured") == ({"measured", "measured_int"}, set())


def test_no_command_where_refilter_would_do_something_else(tmp_path: Path) -> None:
    out = published(pages(40), tmp_path / "own", Limit(), DCLM, annotate=True)
    answer = asked(out)
    assert (answer.without, answer.refilter) == (("limit",), ())
    assert "limit: no ScoreFilter" in "; ".join(answer.notes)
    assert asked(out, per="domain").refilter == ()
    filtered = published(
        pages(40), tmp_path / "filtered", RoundScore(), ScoreFilter(column="edu_score_int", min_score=2)
    )
    answer = asked(filtered)
    assert (answer.without, answer.refilter) == ((), ())
    assert "score_filter has dropped pages by edu_score_int before" in "; ".join(answer.notes)


def test_deduplication_behind_the_filter_is_told(tmp_path: Path) -> None:
    out = published(pages(20), tmp_path / "run", ScoreFilter(min_score=1), ExactDedup(), annotate=True)
    assert "exact_dedup: done again" in "; ".join(asked(out).notes)


def test_only_filters_with_a_verdict_can_be_left_aside(tmp_path: Path) -> None:
    found = Published.open(str(published(pages(5), tmp_path / "run", ScoreFilter(), annotate=True)))
    with pytest.raises(ConfigError, match="did you mean 'score_filter'"):
        moving(found, EDU, without=("score_filte",))
    plain = Published.open(str(published(pages(5), tmp_path / "plain", ScoreFilter())))
    with pytest.raises(ConfigError, match="only a run in annotate mode"):
        moving(plain, EDU, without=("score_filter",))


def test_columns_whose_names_are_json_are_quoted(tmp_path: Path) -> None:
    out = published(
        pages(40), tmp_path / "run", Ensemble(expression="2 * edu_score", column="12"), RoundScore(column="12"),
        ScoreFilter(column="12_int", min_score=2), annotate=True,
    )  # fmt: skip
    answer = ask(Published.open(str(out)), Question("12", Keep.parse("30%-of-documents")))
    assert 'score_filter.column="12"' in answer.refilter
    assert refilter_run(str(out), str(tmp_path / "kept"), answer.refilter[6::2], 0) == 0
    assert len(rows(tmp_path / "kept", "data")) == answer.kept.documents
