from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tokenmill import Doc, Filter, Pipeline, Rule
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Annotate, InputShard, Resources
from tokenmill.executors.runspec import Options, RunSpec, freeze
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder


class AddScore(Annotate):
    """Adds a score."""

    reads = ("text",)
    adds = {"plan_score": pa.float64()}
    factor: float = 1.0

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"plan_score": pa.array([self.factor] * batch.num_rows, pa.float64())}


class NeedScore(Filter):
    """Reads the score."""

    reads = ("plan_score",)
    low: float = 0.5

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("plan_score", "<", self.low, "low"),)


class BadSignal(Filter):
    """Has a rule on nothing."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("plan_scor", "<", 1, "low"),)


class OnGpu(NeedScore):
    """Needs another machine."""

    resources = Resources(gpus=1)


class Anything(Filter):
    def judge(self, doc: Doc) -> str | None:
        return None


def plan_of(*stages: Any, inputs: tuple[InputShard, ...] = ()) -> Any:
    return make_plan(Pipeline("p", [ReadJsonl(), *stages, WriteParquet()]), inputs)


def test_published_columns_are_those_of_fineweb_then_provenance_then_signals() -> None:
    names = plan_of(AddScore(), NeedScore()).schema.names
    fineweb = "text id dump url date file_path language language_score token_count".split()
    assert names[:9] == fineweb
    assert names[9:] == ["warc_offset", "warc_length", "content_type", "robots", "license", "plan_score"]


def test_a_stage_that_reads_what_is_not_there_is_refused_before_work() -> None:
    with pytest.raises(ConfigError, match=r"need_score reads \['plan_score'\], which no earlier stage adds") as caught:
        plan_of(NeedScore(), AddScore())
    assert "available at this point" in str(caught.value)


def test_a_rule_on_an_unknown_signal_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'plan_score'"):
        plan_of(AddScore(), BadSignal())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "does not begin with a source"),
        ([AddScore(), WriteParquet()], "does not begin with a source"),
        ([ReadJsonl(), AddScore()], "does not end with a sink"),
        ([ReadJsonl(), ReadJsonl(), WriteParquet()], "stands in the middle"),
    ],
)
def test_ends_of_a_pipeline(stages: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(Pipeline("p", stages), [])


def test_the_fingerprint_changes_with_a_setting_and_only_from_there_on() -> None:
    one, two = plan_of(AddScore(), NeedScore()), plan_of(AddScore(), NeedScore(low=0.6))
    assert one.fingerprint == plan_of(AddScore(), NeedScore()).fingerprint
    assert one.fingerprint != two.fingerprint
    split_one = plan_of(AddScore(), OnGpu())
    split_two = plan_of(AddScore(), OnGpu(low=0.6))
    assert split_one.phases[0].fingerprint == split_two.phases[0].fingerprint
    assert split_one.phases[1].fingerprint != split_two.phases[1].fingerprint


def test_phases_are_cut_where_resources_change() -> None:
    plan = plan_of(AddScore(), OnGpu(), Anything())
    assert [phase.labels for phase in plan.phases] == [
        ("read_jsonl", "add_score"),
        ("on_gpu",),
        ("anything", "write_parquet"),
    ]
    assert plan.phases[1].resources == Resources(gpus=1)


def test_settings_are_changed_by_label_and_a_second_stage_of_a_class_has_its_own() -> None:
    pipeline = Pipeline("p", [ReadJsonl(), AddScore(), NeedScore(), NeedScore(), WriteParquet()])
    assert pipeline.labels == ("read_jsonl", "add_score", "need_score", "need_score_2", "write_parquet")
    changed = pipeline.with_settings([("need_score_2", "low", 0.9)])
    assert [stage.config().get("low") for stage in changed.stages] == [None, None, 0.5, 0.9, None]
    with pytest.raises(ConfigError, match="did you mean 'need_score'"):
        pipeline.with_settings([("need_scor", "low", 0.9)])


def test_a_pipeline_survives_json() -> None:
    pipeline = Pipeline("p", [ReadJsonl(), AddScore(factor=2.0), NeedScore(), WriteParquet()])
    again = Pipeline.from_json(pipeline.to_json())
    assert (again.name, again.labels, again.stages) == (pipeline.name, pipeline.labels, pipeline.stages)


def test_a_whole_number_for_a_share_is_the_same_plan_and_a_wrong_type_is_refused() -> None:
    assert plan_of(AddScore(factor=2)).fingerprint == plan_of(AddScore(factor=2.0)).fingerprint
    with pytest.raises(ConfigError, match=r"add_score\.factor = 'x' has the wrong type"):
        plan_of(AddScore(factor="x"))


def test_two_inputs_of_one_name_are_refused() -> None:
    shard = InputShard("/a/x", "x", 1, "")
    with pytest.raises(ConfigError, match="two inputs are named 'x'"):
        plan_of(inputs=(shard, shard))


def test_what_is_no_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a stage"):
        Pipeline("p", [ReadJsonl(), "gopher"])  # type: ignore[list-item]


class Numbers(Annotate):
    """Wants a column of numbers."""

    reads = ("plan_score", "url")
    column: str = "plan_score"

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        if not pa.types.is_floating(types[self.column]):
            raise ConfigError(f"{self.column} is of type {types[self.column]}")

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {}


def test_any_stage_may_check_the_types_of_its_columns() -> None:
    plan_of(AddScore(), Numbers())
    with pytest.raises(ConfigError, match="url is of type string"):
        plan_of(AddScore(), Numbers(column="url"))


class WritesElsewhere(WriteParquet):
    """A sink with a setting that says only where the work is done."""

    incidental = frozenset({"address"})

    address: str = "here"
    """Where."""


def test_incidental_settings_are_no_part_of_the_fingerprint_and_may_change_on_resume(tmp_path: Path) -> None:
    def spec(**settings: Any) -> RunSpec:
        plan = make_plan(Pipeline("p", [ReadJsonl(), WritesElsewhere(**settings)]), [])
        return RunSpec.of(plan, Options(), str(tmp_path))

    one, two, other = spec(), spec(address="there"), spec(compression_level=9)
    assert one.plan.fingerprint == two.plan.fingerprint != other.plan.fingerprint
    folder = RunFolder(str(tmp_path / "out"))
    assert freeze(folder, one) is False
    assert freeze(folder, two) is True
    assert folder.read_json("run.json")["stages"][-1]["config"]["address"] == "there"  # what workers will read
    with pytest.raises(ConfigError, match="compression_level"):
        freeze(folder, other)
