"""Phases without a barrier between them are under way together, on the local executor as well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.executors.ray_cluster import run_on
from tests.executors.support import digests
from tokenmill.cli.recipes import load_recipe
from tokenmill.core.errors import ShardError
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.plan import make_plan
from tokenmill.executors.base import PhaseEnd, PhaseStart, ShardResult
from tokenmill.executors.local import InlineExecutor, LocalExecutor
from tokenmill.executors.process import visible_gpus
from tokenmill.executors.run import stretches

MODEL = Path(__file__).resolve().parents[1] / "data/model_recipe.py"


@pytest.fixture
def model() -> Pipeline:
    found: Pipeline = load_file(str(MODEL)).model
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for shard in range(8):
        lines = [json.dumps({"text": f"document {n} of {shard}" if n % 5 else "abc"}) for n in range(24)]
        (folder / f"part-{shard}.jsonl").write_text("\n".join(lines))
    return folder


def test_stretches_end_at_barriers(model: Pipeline) -> None:
    assert [len(found) for found in stretches(make_plan(model, []).phases)] == [3]
    fineweb = make_plan(load_recipe("fineweb").pipeline, []).phases
    assert [len(found) for found in stretches(fineweb)] == [1] * len(fineweb)


@pytest.mark.parametrize(
    ("devices", "loads"), [pytest.param("3", 2, marks=pytest.mark.ci), pytest.param("", 1, marks=pytest.mark.ci)]
)
def test_filters_go_on_while_the_model_scores(
    tmp_path: Path, source: Path, model: Pipeline, monkeypatch: pytest.MonkeyPatch, devices: str, loads: int
) -> None:
    """Two workers share a GPU of which each wants half; without a GPU one worker runs on what there is."""
    run_on(InlineExecutor(), model, source, tmp_path / "inline", seconds=30)
    diary = tmp_path / "diary"
    diary.mkdir()
    (diary / "wait").touch()
    monkeypatch.setenv("TOKENMILL_TEST_DIARY", str(diary))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    visible_gpus.cache_clear()
    outcome, events = run_on(LocalExecutor(2), model, source, tmp_path / "local", seconds=30)
    visible_gpus.cache_clear()
    assert outcome.failures == {}
    assert outcome.documents == 192
    assert digests(tmp_path / "local") == digests(tmp_path / "inline")
    entries = [line.split() for path in diary.glob("*.txt") for line in path.read_text().splitlines()]
    loaded = [entry for entry in entries if entry[0] == "load"]
    assert 1 <= len(loaded) <= loads
    assert {entry[2] for entry in loaded} == {devices or "-"}
    scored = [float(time) for what, time, *_ in entries if what == "score"]
    filtered = [float(time) for what, time, *_ in entries if what == "filter"]
    assert min(scored) < max(filtered), "the model waited for the filters to end"
    starts = [event for event in events if isinstance(event, PhaseStart)]
    ends = [event for event in events if isinstance(event, PhaseEnd)]
    assert (len(starts), len(ends)) == (3, 3)


@pytest.mark.ci
def test_a_shard_that_fails_in_one_phase_goes_no_further(tmp_path: Path, source: Path, model: Pipeline) -> None:
    class Unlucky(InlineExecutor):
        """Fails one shard of the phase with the model."""

        def map(self, jobs):  # type: ignore[no-untyped-def]
            for event in super().map(jobs):
                if isinstance(event, ShardResult) and (event.phase, event.index) == (1, 3):
                    event = ShardResult(1, 3, None, ShardError("it was not to be"))
                yield event

    outcome, events = run_on(Unlucky(), model, source, tmp_path / "out")
    assert list(outcome.failures) == ["part-3"]
    done = [(event.phase, event.index) for event in events if isinstance(event, ShardResult) and event.manifest]
    assert (2, 3) not in done
    assert len(done) == 8 + 7 + 7
    assert not (tmp_path / "out/data/part-3.parquet").exists()
    outcome, _ = run_on(InlineExecutor(), model, source, tmp_path / "out")
    assert outcome.failures == {}
    run_on(InlineExecutor(), model, source, tmp_path / "whole")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
