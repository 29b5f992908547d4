"""The Ray executor on a cluster of several machines in one: the bytes of a local run, whatever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import in_process_of_its_own
from tests.executors.ray_cluster import cluster, run_on, wait_for
from tests.executors.support import digests, recipe, rows
from tokenmill.cli.recipes import load_recipe
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.stage import Resources
from tokenmill.executors.base import Executor, ShardRetry, ShardStart
from tokenmill.executors.local import InlineExecutor, LocalExecutor

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/data/model_recipe.py"

ray = pytest.importorskip("ray")

from tokenmill.executors.ray import RayExecutor, _Lane, _Shift  # noqa: E402 - needs Ray

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A machine with a CPU, one with two and a GPU in name, and a session of the user's; gives the diary of stages."""
    diary = tmp_path_factory.mktemp("diary")
    os.environ["TOKENMILL_TEST_DIARY"] = str(diary)
    with cluster((1, 0), (2, 1)):
        yield diary
    del os.environ["TOKENMILL_TEST_DIARY"]


def jsonl(folder: Path, shards: int, documents: int) -> Path:
    folder.mkdir()
    for shard in range(shards):
        lines = [json.dumps({"text": f"document {n} of {shard}" if n % 5 else "abc"}) for n in range(documents)]
        (folder / f"part-{shard}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_fineweb_with_minhash_has_the_bytes_of_a_local_run(tmp_path: Path, machines: Path) -> None:
    fineweb, source, span = load_recipe("fineweb").pipeline, ROOT / "examples/data", 300_000
    run_on(InlineExecutor(), fineweb, source, tmp_path / "local", span)
    outcome, events = run_on(RayExecutor(), fineweb, source, tmp_path / "ray", span)
    assert outcome.failures == {}
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")
    assert len(list((tmp_path / "ray/data").iterdir())) == 6
    assert ray.is_initialized(), "the session was the user's"
    assert any(isinstance(event, ShardStart) and "process" in event.where for event in events)


@pytest.mark.ci  # as test_ray_encoder
def test_a_model_is_loaded_once_an_actor_and_filters_go_on_beside_it(tmp_path: Path, machines: Path) -> None:
    pipeline: Pipeline = load_file(str(MODEL)).model
    source = jsonl(tmp_path / "in", 8, 24)
    (machines / "wait").touch()
    outcome, _ = run_on(RayExecutor(), pipeline, source, tmp_path / "ray", seconds=30)
    (machines / "wait").unlink()
    assert outcome.failures == {}
    run_on(InlineExecutor(), pipeline, source, tmp_path / "local", seconds=30)
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")
    diaries = [path.read_text().splitlines() for path in machines.iterdir() if "model" not in path.stem]
    entries = [line.split() for diary in diaries for line in diary]
    loads = [entry for entry in entries if entry[0] == "load" and entry[2] != "-"]
    assert 1 <= len(loads) <= 2, "8 shards, but a GPU for two actors"
    assert {entry[2] for entry in loads} <= {"0"}, "an actor sees the GPU that it was given"
    scored = [float(time) for what, time, gpu in entries if what == "score" and gpu != "-"]
    filtered = [float(time) for what, time, gpu in entries if what == "filter"]
    assert min(scored) < max(filtered), "the model waited for the filters to end"


@pytest.mark.ci  # a cluster takes 20 s to start: all its tests are there
def test_a_shard_that_fails_makes_the_run_fail(tmp_path: Path, machines: Path) -> None:
    source = jsonl(tmp_path / "in", 3, 20)

    class Vanishing(RayExecutor):
        """Loses an input after the plan was made."""

        def map(self, jobs: Any) -> Any:
            (source / "part-1.jsonl").unlink(missing_ok=True)
            return super().map(jobs)

    outcome, events = run_on(Vanishing(), recipe("trap"), source, tmp_path / "out")
    assert list(outcome.failures) == ["part-1"]
    assert "part-1.jsonl" in str(outcome.failures["part-1"])
    assert sum(isinstance(event, ShardRetry) for event in events) == 2
    assert not (tmp_path / "out/data/part-1.parquet").exists()
    assert len(rows(tmp_path / "out", "data")) == 32, "the others are committed"


@pytest.mark.ci  # sample: test_a_shard_that_fails_makes_the_run_fail, and test_poison
def test_poison_costs_only_itself_there_too(tmp_path: Path, machines: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    texts = [f"document {n}" for n in range(40)]
    texts[7], texts[21] = "segfault", "kill"
    (source / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    outcome, _ = run_on(RayExecutor(), recipe("trap"), source, tmp_path / "out")
    assert outcome.failures == {}
    assert [row["cause"] for row in rows(tmp_path / "out", "quarantine")] == ["killed_sigsegv", "killed_sigkill"]


@pytest.mark.ci
@pytest.mark.parametrize(("workers", "most"), [(1, 1), (4, 4), (0, 6)])
def test_a_bounded_number_is_in_flight(
    tmp_path: Path, machines: Path, monkeypatch: pytest.MonkeyPatch, workers: int, most: int
) -> None:
    """Without a bound of the user's: twice what three CPUs can run."""
    flying: list[int] = []
    ready = _Shift._ready

    def counted(shift: _Shift) -> list[Any]:
        flying.append(len(shift._flights))
        return ready(shift)

    monkeypatch.setattr(_Shift, "_ready", counted)
    outcome, _ = run_on(RayExecutor(workers=workers), recipe("trap"), jsonl(tmp_path / "in", 12, 5), tmp_path / "out")
    assert outcome.failures == {}
    assert max(flying) == most


@pytest.mark.slow
def test_another_recipe_in_the_same_session_and_folder(tmp_path: Path, machines: Path) -> None:
    """The processes of the session have read the first one."""
    source = jsonl(tmp_path / "in", 4, 20)
    for name in ("trap", "batch_trap"):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        run_on(RayExecutor(), recipe(name), source, tmp_path / "out")
        run_on(InlineExecutor(), recipe(name), source, tmp_path / name)
        assert digests(tmp_path / "out") == digests(tmp_path / name)


@pytest.mark.ci
def test_an_actor_that_is_killed_is_replaced(tmp_path: Path, machines: Path) -> None:
    pipeline: Pipeline = load_file(str(MODEL)).model
    source = jsonl(tmp_path / "in", 6, 60)
    killed: list[int] = []

    class Unlucky(RayExecutor):
        """Loses a process with a model while it works."""

        def map(self, jobs: Any) -> Any:
            for event in super().map(jobs):
                if isinstance(event, ShardStart) and event.phase == 1 and not killed:
                    killed.append(int(event.where.split()[-1]))
                    os.kill(killed[0], signal.SIGKILL)
                yield event

    outcome, _ = run_on(Unlucky(), pipeline, source, tmp_path / "ray")
    assert killed
    assert outcome.failures == {}
    run_on(InlineExecutor(), pipeline, source, tmp_path / "local")
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")


@pytest.mark.ci
def test_an_actor_is_not_trusted_after_a_loss_of_any_kind(machines: Path) -> None:
    """For one that the memory monitor has killed, Ray 2.60 raises OutOfMemoryError, and the actor is dead."""
    lane = _Lane(Resources(cpus=0, gpus=0.5))
    actor = object()
    lane._actors.append(actor)
    lane._in_flight = 1
    lane.lost(actor)
    assert lane._actors == lane._idle == []
    assert not lane.free(), "the next job waits a little"
    wait_for(lane.free, 2)


@pytest.mark.ci
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_no_cluster_is_one_clear_error(tmp_path: Path, address: str) -> None:
    command = ["run", "fineweb", "--input", ROOT / "examples/data", "--output", tmp_path / "out"]
    found = in_process_of_its_own(*command, "--executor", "ray", "--ray-address", address)
    assert found.returncode == 2
    assert f"no Ray cluster at {address}" in found.stderr
    assert "Connection refused" in found.stderr


@pytest.mark.faults
def test_the_crawl_has_the_same_bytes_with_one_and_two_workers_and_on_ray(
    tmp_path: Path, machines: Path, shared: Path
) -> None:
    fineweb, crawl = load_recipe("fineweb").pipeline, shared / "crawl"
    ways: dict[str, Executor] = {"one": LocalExecutor(1), "two": LocalExecutor(2), "ray": RayExecutor(workers=2)}
    found = {}
    for name, executor in ways.items():
        outcome, _ = run_on(executor, fineweb, crawl, tmp_path / name, seconds=8.0)
        assert outcome.failures == {}
        found[name] = digests(tmp_path / name)
    print(f"{outcome.documents} documents, {outcome.kept} kept, {len(found['one'])} files")
    assert outcome.documents > 12_000
    assert found["one"] == found["two"] == found["ray"]
