"""Where the plan measures signals, and under which names."""

from __future__ import annotations

import pytest

from tokenmill import (
    C4Lines,
    ExtractText,
    Filter,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    NsfwWords,
    Pipeline,
    ReadJsonl,
    ReadWarc,
    Rule,
    TextSignals,
    WriteParquet,
)
from tokenmill.core.errors import ConfigError
from tokenmill.core.measuring import measured_columns
from tokenmill.core.plan import Annotation, Plan, make_plan
from tokenmill.core.stage import Stage
from tokenmill.text.signals import NAMES


def planned(*stages: Stage, annotate: bool = False) -> Plan:
    pipeline = Pipeline("test", [ReadJsonl(), *stages, WriteParquet()])
    return make_plan(pipeline, [], Annotation() if annotate else None)


def columns(plan: Plan, label: str) -> tuple[str, ...]:
    stage = dict(zip(plan.pipeline.labels, plan.pipeline.stages, strict=True))[label]
    return tuple(stage.columns_added())


def test_filters_on_one_text_share_one_measurement() -> None:
    plan = planned(GopherRepetition(), GopherQuality(), FineWebQuality())
    assert plan.pipeline.labels[1:5] == ("text_signals", "gopher_repetition", "gopher_quality", "fineweb_quality")
    added = columns(plan, "text_signals")
    assert len(added) == len(set(added)) == 14 + 8 + 5
    assert plan.inserted == ("text_signals",)
    assert not set(added) & set(plan.schema.names)


def test_a_changed_text_is_measured_again_under_another_name() -> None:
    plan = planned(GopherQuality(), C4Lines(), GopherQuality(min_words=30), FineWebQuality())
    assert plan.pipeline.labels[1:7] == (
        *("text_signals", "gopher_quality", "c4_lines", "text_signals_2", "text_signals_3", "gopher_quality_2"),
    )
    rules = plan.phases[0].rules
    assert rules["gopher_quality"].measured["gopher_word_count"] == "gopher_word_count"
    assert rules["gopher_quality_2"].measured["gopher_word_count"] == "gopher_word_count_2"
    assert rules["fineweb_quality"].measured["fineweb_line_count"] == "fineweb_line_count"
    assert rules["c4_lines"].measured["gopher_word_count"] == "gopher_word_count"


def test_rules_that_are_off_measure_nothing() -> None:
    only = {name: None for name in GopherQuality().config() if name != "min_words"}
    plan = planned(GopherQuality(**only))
    assert columns(plan, "text_signals") == ("gopher_word_count",)


def test_a_measurement_of_ones_own_is_used_and_published() -> None:
    plan = planned(TextSignals(signals=("gopher_word_count",)), GopherQuality())
    assert plan.pipeline.labels[1:4] == ("text_signals", "text_signals_2", "gopher_quality")
    assert "gopher_word_count" not in columns(plan, "text_signals_2")
    assert "gopher_word_count" in plan.schema.names


def test_columns_of_an_earlier_run_count_as_measured() -> None:
    only = {name: None for name in GopherQuality().config() if name != "min_words"}
    carried = measured_columns([TextSignals(signals=("gopher_word_count",)), GopherQuality(**only)])
    assert carried == [{}, {"gopher_word_count": "gopher_word_count"}]


def test_annotate_mode_measures_everything_once_and_publishes_it() -> None:
    plan = planned(GopherQuality(), C4Lines(), FineWebQuality(), annotate=True)
    first, second = columns(plan, "text_signals"), columns(plan, "text_signals_2")
    assert set(second) == {signal for signal in NAMES if signal.startswith("fineweb_") and "or_one" not in signal}
    assert not set(first) & set(second)
    assert set(first) | set(second) == set(NAMES)
    published = set(plan.schema.names)
    assert published.issuperset({*first, *second, "gopher_quality_verdict", "fineweb_quality_verdict", "doc_id"})


def test_what_a_filter_enforces_has_no_verdict() -> None:
    pipeline = Pipeline("test", [ReadJsonl(), GopherQuality(), FineWebQuality(), WriteParquet()])
    plan = make_plan(pipeline, [], Annotation(("gopher_quality",)))
    assert "gopher_quality_verdict" not in plan.schema.names
    assert plan.fingerprint != make_plan(pipeline, [], Annotation()).fingerprint
    with pytest.raises(ConfigError, match="gopher_quality"):
        make_plan(pipeline, [], Annotation(("gopher_qality",)))


def test_providers_of_providers_are_inserted() -> None:
    pipeline = Pipeline("test", [ReadWarc(), ExtractText(), NsfwWords(), WriteParquet()])
    labels = make_plan(pipeline, []).pipeline.labels
    assert labels[1:6] == ("decode_html", "extract_text", "language_id", "nsfw_signals", "nsfw_words")


def test_thresholds_by_a_column_need_the_column() -> None:
    class ByLanguage(Filter):
        """Drops by language."""

        def rules(self) -> tuple[Rule, ...]:
            return (Rule("text_characters", "<", {"en": 3}, "short", by="no_such_column"),)

    with pytest.raises(ConfigError, match="no_such_column"):
        planned(ByLanguage())
