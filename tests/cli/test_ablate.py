"""`tokenmill ablate`: what it prints, and its exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ablate.small import small_ablation, small_yaml
from tokenmill.cli.ablate import AblateRequest, read_ablation, run_ablation, show_ablation_plan
from tokenmill.cli.mixture_files import is_ablation, is_mixture
from tokenmill.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHAPELESS = dict.fromkeys(("layers", "width", "heads", "hidden"))
"""The size decides."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    small_ablation(tmp_path)  # its inputs
    return write(tmp_path)


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(small_yaml(**changes), sort_keys=False))
    return path


def test_the_plan_shows_arms_protocol_and_cost(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_ablation(AblateRequest(str(file), None, plan_only=True, device="cpu")) == 0
    out = capsys.readouterr().out
    assert "junk (baseline)" in out
    assert "lr = 0.01 (given)" in out
    assert "runs: 2 arms x 2 seeds: 6,144 tokens" in out


def test_the_plan_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_ablation_plan(read_ablation(str(file), ["seeds=5"]), "cpu", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 10
    assert found["protocol"]["seeds"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("study", "changes", "runs", "lines"),
    [
        ("anneal", {"tokens": 8192}, 5, ["1 x trunk", "from step 26 of runs/trunk/junk/seed-0", "runs of anneal: 5"]),
        (
            "mix",
            {"mix": {"mixtures": 6}},
            9,
            ["the weights of the proposal follow from the other runs", "runs of mix: 9"],
        ),
        (
            "ladder",
            {"ladder": {"sizes": ["130k", "470k"], "ratios": [0.02, 0.05, 0.1]}, "train": SHAPELESS},
            12,
            ["from step 20 of its trunk", "runs of ladder: 12"],
        ),
    ],
)
def test_the_plan_shows_the_runs_of_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], study: str, changes: dict[str, Any], runs: int, lines: list[str]
) -> None:
    small_ablation(tmp_path)
    file = write(tmp_path, **changes)
    request = AblateRequest(str(file), None, study, plan_only=True, device="cpu")
    assert run_ablation(request) == 0
    shown = capsys.readouterr().out
    assert [line for line in lines if line not in shown] == []
    assert run_ablation(dataclasses.replace(request, as_json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == len(found["jobs"]) == runs
    assert found["tokens"] == sum(job["tokens"] for job in found["jobs"])
    branches = [job for job in found["jobs"] if job["folder"].endswith("-steps")]
    assert all(job["steps"] < 20 for job in branches), "what another run has trained is not counted again"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate": {"tasks": ["next_wrod"]}}, "next_wrod"),
        ({"input": ".", "arms": {"a": {"recipe": "finweb"}}}, "finweb"),
        ({"anneal": {"base": "cleen"}}, "cleen"),
        ({"arms": {"a": {"documents": "nowhere"}}}, "nowhere"),
    ],
)
def test_the_plan_tells_what_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    small_ablation(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run_ablation(AblateRequest(str(write(tmp_path, **changes)), None, plan_only=True, device="cpu"))


def test_settings_of_a_recipe_are_changed_by_their_path(tmp_path: Path) -> None:
    file = write(tmp_path, input=".", arms={"x": {"recipe": "fineweb"}, "y": {"recipe": "raw"}})
    found = read_ablation(str(file), ["arms.x.set.gopher_quality.min_words=20", "arms.y.without=[minhash_dedup]"])
    assert found.arms["x"].set == {"gopher_quality.min_words": 20}
    assert found.arms["y"].without == ("minhash_dedup",)
    assert read_ablation(str(file), ["arms.x.set={url_filter.lists: none}"]).arms["x"].set == {
        "url_filter.lists": "none"
    }


def test_settings_are_changed_by_their_path(file: Path) -> None:
    found = read_ablation(str(file), ["train.lr=0.5", "evaluate.evals=7", "match=pool", "margin=0.01"])
    assert found.train["lr"] == 0.5
    assert found.evaluate.evals == 7
    assert (found.match, found.margin) == ("pool", 0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [("seeds", "no key=value"), ("sead=2", "sead"), ("name.x=2", "no keys below"), ("tokens=[", "cannot be read")],
)
def test_wrong_settings_are_refused(file: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_ablation(str(file), [text])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "no output given"),
        ({"output": "out", "minutes": 0.0}, "above 0"),
        ({"output": "out", "candidate": "clean"}, "--fail-on"),
        ({"output": "out", "fail_on": "worse", "candidate": "cleen"}, "cleen"),
        ({"output": "out", "fail_on": "worse", "candidate": "junk"}, "junk"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(file: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_ablation(AblateRequest(str(file), **{"output": None, "device": "cpu", **changes}))


@pytest.mark.parametrize(
    ("study", "arms", "candidate", "message"),
    [
        ("compare", ["clean"], None, "needs two arms"),
        ("ladder", ["junk", "clean"], "cleen", "cleen"),
        ("mix", ["junk", "clean"], "clean", "clean"),
        ("anneal", ["junk", "clean"], "junk", "junk"),
    ],
)
def test_gates_that_cannot_be_are_refused_in_every_study(
    tmp_path: Path, study: str, arms: list[str], candidate: str | None, message: str
) -> None:
    small_ablation(tmp_path)
    file = write(tmp_path, arms={name: {"documents": name} for name in arms})
    request = AblateRequest(str(file), str(tmp_path / "out"), study, fail_on="worse", candidate=candidate)
    with pytest.raises(ConfigError, match=message):
        run_ablation(request)
    assert not (tmp_path / "out").exists()


def test_ablations_are_told_from_mixtures(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text("sources: {}\n")
    assert (is_ablation(str(file)), is_mixture(str(file))) == (True, False)
    assert (is_ablation(str(tmp_path / "mixture.yaml")), is_mixture(str(tmp_path / "mixture.yaml"))) == (False, True)
    assert not is_ablation("fineweb")


@pytest.mark.parametrize("path", sorted((ROOT / "examples/ablation").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_can_be_planned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_ablation_plan(read_ablation(str(path)), "cpu")
    assert "runs:" in capsys.readouterr().out


@pytest.mark.ci
def test_verdict_gate_and_stop_from_the_command_line(file: Path, tmp_path: Path) -> None:
    def ablate(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tokenmill", "ablate", str(file), "--output", str(tmp_path / "out")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
        )

    left = ablate("--workers", "0", "--minutes", "0.00001")
    assert left.returncode == 75, left.stderr
    assert "the time is over: 4 runs are left, first junk, seed 0" in left.stderr
    done = ablate("--workers", "0", "--fail-on", "not-better", "--candidate", "clean")
    assert done.returncode in (0, 1), done.stderr
    assert "run 4/4 clean, seed 1" in done.stderr
    assert "clean against junk" in done.stdout or "junk against clean" in done.stdout
    again = ablate("--report", "--json")
    decision = json.loads(again.stdout)
    assert again.returncode == 0
    won = any(pair["verdict"] == "WIN" and pair["better"] == "clean" for pair in decision["pairs"])
    assert done.returncode == (0 if won else 1)


@pytest.mark.slow
def test_a_signal_stops_and_the_command_goes_on(tmp_path: Path) -> None:
    small_ablation(tmp_path)
    file = write(tmp_path, tokens=400_000, train={"checkpoint_every": 20})
    command = [sys.executable, "-m", "tokenmill", "ablate", str(file), "--output", str(tmp_path / "out")]
    log = tmp_path / "out/runs/main/junk/seed-0/checkpoints"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--workers", "0"], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    for _ in range(600):
        if log.is_dir() and any(log.glob("step-*")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75, error
    assert b"go on" in error
    assert not (log.parent / "result.json").exists()
