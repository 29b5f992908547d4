"""An encoder as a stage that wants a part of a GPU: on Ray's actors and on the local executor, with the same bytes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.executors.ray_cluster import cluster, run_on
from tests.executors.support import digests, rows
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.executors.base import ShardStart
from tokenmill.executors.local import InlineExecutor, LocalExecutor

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("ray")

from tests.classifiers.encoder import support
from tokenmill.classifiers.encoder.engine import Encoder
from tokenmill.executors.ray import RayExecutor

RECIPE = Path(__file__).resolve().parents[1] / "data/encoder_recipe.py"

pytestmark = [
    pytest.mark.ci,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a model, a diary, eight shards, and what the inline executor makes of them."""
    folder = tmp_path_factory.mktemp("encoder")
    support.model_folder(folder / "model", num_labels=1)
    (folder / "diary").mkdir()
    (folder / "in").mkdir()
    texts = support.texts(160, longest=60, seed=3)
    for shard in range(8):
        mark = "last shard " if shard == 7 else ""
        lines = [json.dumps({"text": mark + text}) for text in texts[shard * 20 : shard * 20 + 20]]
        (folder / "in" / f"part-{shard}.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENMILL_TEST_MODEL", str(folder / "model"))
        patch.setenv("TOKENMILL_TEST_LEAST", str(np.median(Encoder(str(folder / "model")).score(texts)["classifier"])))
        run_on(InlineExecutor(), recipe(), folder / "in", folder / "inline", seconds=120)
        yield folder


def recipe() -> Pipeline:
    found: Pipeline = load_file(str(RECIPE)).encoder
    return found.with_settings([("score_filter", "min_score", float(os.environ["TOKENMILL_TEST_LEAST"]))])


@pytest.fixture
def diary(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in (place / "diary").iterdir():
        file.unlink()
    (place / "diary/wait").touch()
    monkeypatch.setenv("TOKENMILL_TEST_DIARY", str(place / "diary"))
    return place / "diary"


def times(diary: Path, what: str) -> list[float]:
    lines = [line.split() for path in diary.glob("*.txt") for line in path.read_text().splitlines()]
    return [float(time) for kind, time, _ in lines if kind == what]


def test_the_local_executor_overlaps_filters_and_the_model(place: Path, diary: Path, tmp_path: Path) -> None:
    outcome, _ = run_on(LocalExecutor(2), recipe(), place / "in", tmp_path / "out", seconds=120)
    assert outcome.failures == {}
    assert digests(tmp_path / "out") == digests(place / "inline")
    assert min(times(diary, "score")) < max(times(diary, "filter"))
    found = rows(tmp_path / "out", "data")
    assert 10 < len(found) < 150
    assert all(row["edu_score"] >= float(os.environ["TOKENMILL_TEST_LEAST"]) for row in found)


@pytest.mark.slow
def test_ray_s_actors_share_a_gpu_and_a_killed_one_is_replaced(place: Path, diary: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    class Unlucky(RayExecutor):
        """Loses an actor with a model while it works."""

        def map(self, jobs: Any) -> Any:
            for event in super().map(jobs):
                if isinstance(event, ShardStart) and event.phase == 1 and not killed:
                    killed.append(int(event.where.split()[-1]))
                    os.kill(killed[0], signal.SIGKILL)
                yield event

    with cluster((1, 0), (2, 1)):
        outcome, _ = run_on(Unlucky(), recipe(), place / "in", tmp_path / "out", seconds=120)
    assert killed
    assert outcome.failures == {}
    assert digests(tmp_path / "out") == digests(place / "inline")
    assert min(times(diary, "score")) < max(times(diary, "filter")), "the model waited for the filters to end"
    assert 1 <= len(times(diary, "load")) <= 4, "8 shards, but a GPU for two actors, and one was killed"


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_what_is_left(place: Path, diary: Path, tmp_path: Path) -> None:
    (diary / "wait").unlink()

    class Stopped(InlineExecutor):
        """Ends after three shards of the model's phase."""

        def map(self, jobs: Any) -> Any:
            done = 0
            for event in super().map(jobs):
                yield event
                done += type(event).__name__ == "ShardResult" and event.phase == 1
                if done == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on(Stopped(), recipe(), place / "in", tmp_path / "out", seconds=120)
    before = len(times(diary, "score"))
    assert before >= 3
    run_on(LocalExecutor(1), recipe(), place / "in", tmp_path / "out", seconds=120)
    assert digests(tmp_path / "out") == digests(place / "inline")
    assert len(times(diary, "score")) <= 8 + 1, "what was scored is not scored again"
