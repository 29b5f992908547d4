"""The loop: it learns, says what happened, goes on bit by bit, and refuses what cannot be."""

from __future__ import annotations

import gc
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.runs import (
    CONFIG,
    CONTEXT,
    bytes_of,
    evaluate,
    lines_of,
    make_model,
    make_settings,
    make_view,
    run,
    traces,
)
from tests.train.test_monitor import STAND_IN
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.tokens.views import TokenView
from tokenmill.train import checkpoint as checkpoints
from tokenmill.train.loop import Progress, Start, load_weights
from tokenmill.train.model import Decoder
from tokenmill.train.results import StepLog


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> TokenView:
    return make_view(tmp_path_factory.mktemp("set"))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_learns_and_tells(view: TokenView, tmp_path: Path) -> None:
    settings = make_settings(steps=40, warmup_steps=4, decay_steps=8, log_every=10, checkpoint_every=0)
    seen: list[StepLog] = []
    result = run(view, tmp_path, settings, observe=seen.append, eval_steps=(0, 20, 40, 99))
    assert result.steps == 40
    assert result.tokens == 40 * 8 * CONTEXT
    assert result.flops == result.tokens * CONFIG.flops_per_token
    assert result.epochs == pytest.approx(result.tokens / view.tokens, rel=0.05)
    assert result.final_loss < math.log(64) - 1
    assert result.tokens_per_second is not None
    assert result.tokens_per_second > 0
    assert result.mfu is None  # of a CPU nothing is known
    assert result.peak_bytes > 10**7
    log = rows(tmp_path / "log.jsonl")
    assert [line["step"] for line in log] == lines_of(seen) == [10, 20, 30, 40]
    assert log[0]["loss"] > log[-1]["loss"]
    assert log[1]["lr"] == settings.lr
    assert log[-1]["lr"] == pytest.approx(settings.lr / 8)
    assert all(0 < line["logit_max"] < 100 and line["grad_norm"] > 0 and line["z"] > 0 for line in log)
    assert [row["step"] for row in rows(tmp_path / "evals.jsonl")] == [0, 20, 40]
    assert result.evals == rows(tmp_path / "evals.jsonl")
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 40
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000040"]


def test_the_first_loss_is_that_of_a_model_that_knows_nothing(view: TokenView, tmp_path: Path) -> None:
    run(view, tmp_path, make_settings(steps=1, warmup_steps=0, decay_steps=0, log_every=1))
    assert rows(tmp_path / "log.jsonl")[0]["loss"] == pytest.approx(math.log(64), rel=0.01)


CASES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {"optimizer": "muon"},
    "bf16": {"precision": "bf16"},
    "cosine, recomputed": {"schedule": "cosine", "activation_checkpointing": True, "packing": "best_fit"},
    "compiled": {"compile": True, "steps": 4},
    "no spikes, one micro-batch": {"spikes": "none", "micro_tokens": 8 * CONTEXT, "log_every": 5},
}


MARKS: dict[str, list[Any]] = {
    "adamw": [],
    "compiled": [pytest.mark.slow, pytest.mark.filterwarnings("ignore")],
}
SLOWER = [pytest.mark.ci, pytest.mark.filterwarnings("ignore")]  # the compiler's own warnings


@pytest.mark.parametrize("case", [pytest.param(case, marks=MARKS.get(case, SLOWER)) for case in CASES])
def test_stopped_and_resumed_at_every_step_it_is_bit_by_bit_the_same(
    case: str, view: TokenView, tmp_path: Path
) -> None:
    settings = make_settings(**CASES[case])
    run(view, tmp_path / "whole", settings)
    for stop in range(1, settings.steps + 1):
        stopped = run(view, tmp_path / "cut", settings, stop_after=stop)
        assert stopped.steps == stop
        assert (tmp_path / "cut" / "result.json").exists() == (stop == settings.steps)
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.ci), 5])
def test_what_was_done_behind_a_checkpoint_is_done_again(stop: int, view: TokenView, tmp_path: Path) -> None:
    settings = make_settings(checkpoint_every=2, keep_steps=(1,))
    run(view, tmp_path / "whole", settings)
    run(view, tmp_path / "cut", settings, stop_after=stop)
    shutil.rmtree(checkpoints.path_of(tmp_path / "cut", stop))
    with open(tmp_path / "cut" / "log.jsonl", "a") as stream:
        stream.write(json.dumps({"step": stop + 1, "loss": 0.0}) + '\n{"st')
    with open(tmp_path / "cut" / "evals.jsonl", "a") as stream:
        stream.write(json.dumps({"step": stop + 1, "tokens": 0, "metrics": {}}) + "\n")
    run(view, tmp_path / "cut", settings)
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")


@pytest.mark.ci  # samples: a spike is skipped; resumed at every step
def test_skipped_steps_and_what_they_are_measured_against_are_resumed(view: TokenView, tmp_path: Path) -> None:
    settings = make_settings(steps=76, spikes="skip", decay_steps=8, log_every=16, checkpoint_every=0)
    whole = run(view, tmp_path / "whole", settings, model=Broken({66, 70}, 1000.0))
    assert (whole.skipped_steps, whole.spikes) == (2, 2)
    run(view, tmp_path / "cut", settings, model=Broken({66, 70}, 1000.0), stop_after=66)
    for stop in (67, 71, 76):  # the first without the spike in its history, the others with it
        model = Broken({66, 70}, 1000.0)
        model.step = sorted(checkpoints.step_of(path) for path in (tmp_path / "cut" / "checkpoints").iterdir())[-1] - 1
        run(view, tmp_path / "cut", settings, model=model, stop_after=stop)
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")


def test_a_damaged_checkpoint_costs_steps_and_nothing_else(view: TokenView, tmp_path: Path) -> None:
    run(view, tmp_path / "whole")
    run(view, tmp_path / "cut", stop_after=4)
    path = checkpoints.path_of(tmp_path / "cut", 4) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    run(view, tmp_path / "cut")
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")


@pytest.mark.ci  # sample: a finished run is not made again, with one model
def test_runs_that_share_a_model_are_as_alone(view: TokenView, tmp_path: Path) -> None:
    """One model object, other seeds, optimizers and settings in between: nothing of them stays."""
    run(view, tmp_path / "alone")
    model = make_model()
    changes: list[dict[str, Any]] = [
        {"optimizer": "muon", "activation_checkpointing": True},
        {"precision": "bf16"},
    ]
    for number, change in enumerate(changes):
        run(view, tmp_path / str(number), make_settings(**change), model=model, seed=number + 1)
    before = torch.get_rng_state(), gc.isenabled(), torch.get_float32_matmul_precision()
    model.eval()
    run(view, tmp_path / "shared", model=model)
    assert traces(tmp_path / "shared") == traces(tmp_path / "alone")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (gc.isenabled(), torch.get_float32_matmul_precision()) == before[1:]
    assert not model.training
    assert "forward" not in vars(model.blocks[0])


def test_a_finished_run_is_not_made_again(view: TokenView, tmp_path: Path) -> None:
    model = make_model()
    first = run(view, tmp_path, model=model)
    trained = bytes_of(dict(model.state_dict()))
    model.initialise(5)
    assert run(view, tmp_path, model=model).to_json() == first.to_json()
    assert bytes_of(dict(model.state_dict())) != trained
    assert load_weights(model, tmp_path) == 6
    assert bytes_of(dict(model.state_dict())) == trained
    with pytest.raises(ConfigError, match="another shape"):
        load_weights(make_model(width=32), tmp_path)


def test_another_run_in_the_folder_is_refused(view: TokenView, tmp_path: Path) -> None:
    run(view, tmp_path / "a", stop_after=2)
    run(view, tmp_path / "a", make_settings(log_every=3, checkpoint_every=2), stop_after=3)  # these do not matter
    for options, said in (
        ({"settings": make_settings(lr=0.03)}, "settings.lr was 0.02, now it is 0.03"),
        ({"seed": 4}, "seed was 0, now it is 4"),
        ({"model": make_model(qk_norm=False)}, "model.qk_norm was True, now it is False"),
        ({"view": make_view(tmp_path / "other", seed=3)}, "data was"),
        ({"eval_steps": (1,)}, "eval_steps was"),
    ):
        with pytest.raises(ConfigError, match="with other settings") as caught:
            run(**{"view": view, "folder": tmp_path / "a", **options})
        assert said in caught.value.why


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_tokens": 8 * CONTEXT + 1}, "cannot be shared out"),
        ({"micro_tokens": 3 * CONTEXT}, "does not divide"),
        ({"micro_tokens": CONTEXT - 1}, "does not divide"),
        ({"batch_tokens": 512 * CONTEXT, "micro_tokens": CONTEXT}, "the view has"),
    ],
)
def test_what_cannot_be_is_refused_before_anything(
    view: TokenView, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(view, tmp_path / "a", make_settings(**changes))
    assert not (tmp_path / "a").exists()


def test_a_vocabulary_that_is_too_small_is_refused(view: TokenView, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="knows 63 ids"):
        run(view, tmp_path, model=make_model(vocab_size=63))


class TestStart:
    """Branches and anneals, from a checkpoint of another run."""

    trunk = make_settings(steps=12, decay_steps=4, keep_steps=(4,), checkpoint_every=0)

    def test_a_branch_of_the_same_settings_is_the_trunk(self, view: TokenView, tmp_path: Path) -> None:
        run(view, tmp_path / "trunk", self.trunk)
        start = Start(checkpoints.path_of(tmp_path / "trunk", 4))
        branch = run(view, tmp_path / "branch", self.trunk, start=start)
        one, other = traces(tmp_path / "trunk"), traces(tmp_path / "branch")
        assert other["model"] == one["model"]
        assert other["optimizer"] == one["optimizer"]
        assert branch.tokens == 12 * self.trunk.batch_tokens
        assert [row["step"] for row in other["log"]] == [6, 8, 10, 12]
        assert other["log"] == one["log"][2:]

    @pytest.mark.ci
    def test_a_branch_decays_earlier(self, view: TokenView, tmp_path: Path) -> None:
        """As a run that was meant to be so short from the start: the stable part is the same."""
        run(view, tmp_path / "trunk", self.trunk)
        short = make_settings(steps=8, decay_steps=4, checkpoint_every=0)
        start = Start(checkpoints.path_of(tmp_path / "trunk", 4))
        run(view, tmp_path / "branch", short, start=start)
        run(view, tmp_path / "whole", short)
        one, other = traces(tmp_path / "whole"), traces(tmp_path / "branch")
        assert other["model"] == one["model"]
        assert other["evals"].splitlines() == [line for line in one["evals"].splitlines() if '"step": 8' in line]

    @pytest.mark.ci  # sample: a branch of the same settings
    def test_an_anneal_sees_other_data_and_resumes(self, view: TokenView, tmp_path: Path) -> None:
        run(view, tmp_path / "trunk", self.trunk)
        other = make_view(tmp_path / "other", seed=9)
        start = Start(checkpoints.path_of(tmp_path / "trunk", 4), data="new")
        settings = make_settings(steps=8, decay_steps=4)
        result = run(other, tmp_path / "whole", settings, start=start, seed=3, eval_steps=(4, 8))
        assert [row["step"] for row in result.evals] == [4, 8]
        assert result.epochs == pytest.approx(4 * settings.batch_tokens / other.tokens, rel=0.05)
        run(other, tmp_path / "cut", settings, start=start, seed=3, eval_steps=(4, 8), stop_after=5)
        run(other, tmp_path / "cut", settings, start=start, seed=3, eval_steps=(4, 8))
        assert traces(tmp_path / "cut") == traces(tmp_path / "whole")

    def test_what_cannot_be(self, view: TokenView, tmp_path: Path) -> None:
        run(view, tmp_path / "trunk", self.trunk)
        path = checkpoints.path_of(tmp_path / "trunk", 12)
        with pytest.raises(ConfigError, match="would end at step 8"):
            run(view, tmp_path / "a", make_settings(steps=8), start=Start(path))
        longer = make_settings(steps=20)
        with pytest.raises(ConfigError, match="other data or settings"):
            run(make_view(tmp_path / "o", seed=2), tmp_path / "b", longer, start=Start(path))
        with pytest.raises(ConfigError, match="another optimizer"):
            run(view, tmp_path / "c", make_settings(steps=20, optimizer="muon"), start=Start(path))
        with pytest.raises(ConfigError, match="no checkpoint"):
            run(view, tmp_path / "d", longer, start=Start(tmp_path / "step-00000003"))
        with pytest.raises(ConfigError, match="not known"):
            run(view, tmp_path / "e", longer, start=Start(path, data="both"))


class Broken(Decoder):
    """Gives a loss that is no number, or far too high, at some steps."""

    def __init__(self, steps: set[int], factor: float) -> None:
        super().__init__(CONFIG)
        self.steps, self.factor, self.step = steps, factor, -1

    def begin_batch(self) -> None:
        super().begin_batch()
        self.step += 1

    def forward(self, *given: Any, **named: Any) -> Any:
        found = super().forward(*given, **named)
        if isinstance(found, torch.Tensor) or self.step not in self.steps:
            return found
        return found._replace(total=found.total * self.factor, cross_entropy=found.cross_entropy * self.factor)


def test_steps_without_a_finite_loss_change_nothing(view: TokenView, tmp_path: Path) -> None:
    weights: list[bytes] = []

    def look(model: Decoder, progress: Progress) -> dict[str, float]:
        weights.append(bytes_of(dict(model.state_dict())))
        return {}

    settings = make_settings(checkpoint_every=0)
    model = Broken({3}, math.nan)
    result = run(view, tmp_path, settings, model=model, evaluate=look, eval_steps=(2, 3, 4, 5))
    assert (result.skipped_steps, result.spikes) == (1, 0)
    assert weights[1] == weights[2]
    assert weights[0] != weights[1]
    assert weights[2] != weights[3]
    assert [line["skipped"] for line in rows(tmp_path / "log.jsonl")] == [0, 1, 1]
    assert all(math.isfinite(line["loss"]) for line in rows(tmp_path / "log.jsonl"))


def test_ten_in_a_row_end_the_run_and_name_the_tokens(view: TokenView, tmp_path: Path) -> None:
    settings = make_settings(steps=30, checkpoint_every=0)
    with pytest.raises(TokenmillError, match="10 steps in a row") as caught:
        run(view, tmp_path, settings, model=Broken(set(range(5, 30)), math.nan))
    shard = view.pool.shards[0].name
    assert f"step 15; its first tokens: shard {shard} from token" in caught.value.where
    few = run(view, tmp_path / "few", settings, model=Broken({*range(3, 12), *range(13, 20)}, math.inf))
    assert few.skipped_steps == 16


@pytest.mark.parametrize("spikes", ["skip", pytest.param("clip", marks=pytest.mark.ci)])
def test_a_spike_is_skipped_where_that_is_asked_for(spikes: str, view: TokenView, tmp_path: Path) -> None:
    settings = make_settings(steps=72, spikes=spikes, decay_steps=0, checkpoint_every=0, log_every=72)
    result = run(view, tmp_path, settings, model=Broken({70}, 1000.0))
    assert (result.skipped_steps, result.spikes) == ((1, 1) if spikes == "skip" else (0, 0))


def test_utilisation_is_of_a_device_that_is_known(
    view: TokenView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenmill.train.loop.device_name", lambda device: "NVIDIA L4")
    result = run(view, tmp_path / "bf16", make_settings(precision="bf16"))
    assert result.tokens_per_second is not None
    assert result.mfu == pytest.approx(result.tokens_per_second * CONFIG.flops_per_token / 121e12)
    assert result.device == "NVIDIA L4"
    assert run(view, tmp_path / "fp32").mfu is None  # its peak is another


def test_evaluations_see_a_model_that_is_not_training(view: TokenView, tmp_path: Path) -> None:
    seen: list[tuple[bool, bool, int, int]] = []

    def look(model: Decoder, progress: Progress) -> dict[str, float]:
        seen.append((model.training, torch.is_grad_enabled(), progress.tokens, progress.steps))
        return {"x": 1}

    run(view, tmp_path, evaluate=look, eval_steps=(0, 3))
    assert seen == [(False, False, 0, 6), (False, False, 3 * 8 * CONTEXT, 6)]


def test_a_tracker_hears_log_and_evaluations(view: TokenView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackio.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    run(view, tmp_path / "run", make_settings(track="trackio"))
    calls = sys.modules.pop("trackio").calls
    steps = [call[1] for call in calls if call[0] == "log"]
    assert sorted(steps) == [0, 2, 2, 3, 4, 6, 6]
    assert calls[-1] == ("finish",)


def test_evaluation_is_of_this_module() -> None:
    """The helper really depends on the weights: else the tests above could not fail."""
    one, other = make_model(), make_model()
    one.initialise(0)
    other.initialise(1)
    with torch.no_grad():
        assert evaluate(one, Progress(0, 0, 1)) != evaluate(other, Progress(0, 0, 1))
