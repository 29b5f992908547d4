"""Where pipelines are cut so that what they share is done once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.ablate.share import with_shared_phases
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Stage
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.pii import RedactPii
from tokenmill.filters.repetition import GopherRepetition
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.pipelines import recipe

CHOICES: list[Stage] = [GopherQuality(), GopherQuality(min_words=9), GopherRepetition(), RedactPii()]


def phases(pipeline: Pipeline) -> list[str]:
    return [phase.directory for phase in make_plan(pipeline, []).phases]


def test_variants_of_fineweb_share_what_they_can() -> None:
    fineweb = recipe("fineweb")
    found = with_shared_phases(
        {
            "fineweb": fineweb,
            "again": fineweb,
            "no_dedup": fineweb.without(["minhash_dedup"]),
            "loose": fineweb.with_settings([("gopher_quality", "min_words", 9)]),
            "raw": recipe("raw"),
        }
    )
    plans = {name: phases(pipeline) for name, pipeline in found.items()}
    assert plans["fineweb"] == plans["again"]
    assert len(set(plans["fineweb"]) & set(plans["no_dedup"])) == 2
    assert set(plans["fineweb"]) & set(plans["loose"]) == {plans["fineweb"][0]}
    assert not set(plans["fineweb"]) & set(plans["raw"])
    stages = make_plan(found["loose"], []).phases[0].labels
    assert stages[-1] == "gopher_repetition"
    assert "materialize" not in found["raw"].labels


def test_measurements_are_part_of_what_must_be_equal() -> None:
    """Without the rules on repetition other signals are measured: the stage before the first filter differs already."""
    both = [GopherQuality(), GopherRepetition()]
    found = with_shared_phases(
        {
            "both": Pipeline("a", [ReadJsonl(), RedactPii(), *both, WriteParquet()]),
            "one": Pipeline("a", [ReadJsonl(), RedactPii(), both[0], WriteParquet()]),
        }
    )
    assert [make_plan(pipeline, []).phases[0].labels for pipeline in found.values()] == [
        ("read_jsonl", "redact_pii"),
        ("read_jsonl", "redact_pii"),
    ]


@examples(5, 15)
@settings(max_examples=15, deadline=None)
@given(arms=st.lists(st.lists(st.sampled_from(CHOICES), max_size=3), min_size=2, max_size=3))
def test_arms_share_exactly_what_they_begin_with(arms: list[list[Stage]]) -> None:
    """The phases of two arms are the same up to the place where their resolved stages part, and published data too."""
    pipelines = {
        str(number): Pipeline("p", [ReadJsonl(), *stages, WriteParquet()]) for number, stages in enumerate(arms)
    }
    found = with_shared_phases(pipelines)
    for name, pipeline in found.items():
        alone, shared = make_plan(pipelines[name], []), make_plan(pipeline, [])
        assert shared.schema == alone.schema
        assert [s for s in shared.pipeline.stages if s.name != "materialize"] == list(alone.pipeline.stages)
    plans = {name: make_plan(pipeline, []) for name, pipeline in found.items()}
    for one in plans.values():
        for other in plans.values():
            stages = [[s for s in plan.pipeline.stages if s.name != "materialize"] for plan in (one, other)]
            common = next((n for n, (a, b) in enumerate(zip(*stages, strict=False)) if a != b), len(stages[0]))
            same = {phase.directory for phase in one.phases} & {phase.directory for phase in other.phases}
            done = sum(
                sum(s.name != "materialize" for s in phase.stages) for phase in one.phases if phase.directory in same
            )
            assert done == (common if common > 1 else 0)
