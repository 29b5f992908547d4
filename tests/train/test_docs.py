"""docs/training.md and docs/evaluation.md: what is shown runs as it stands there, and names what exists."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tokens.bpe_tokenizer import save_bpe
from tests.train.runs import make_model
from tokenmill.train.config import ModelConfig
from tokenmill.train.results import StepLog
from tokenmill.train.settings import SCHEDULES, TrainSettings

ROOT = Path(__file__).resolve().parents[2]
TRAINING = (ROOT / "docs/training.md").read_text()
EVALUATION = (ROOT / "docs/evaluation.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return found


def shell(code: str, folder: Path) -> str:
    """What its commands print; packages are here already."""
    lines = [line for line in code.splitlines() if not line.startswith("pip ")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    command = ["bash", "-e", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_file(code: str) -> str | None:
    """The name of the file that a block shows, from its first line."""
    found = re.match(r"# (\w+\.py)\n", code)
    return found[1] if found else None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of transformers
def test_the_code_for_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = blocks(TRAINING, "sh")
    shell(commands[0], tmp_path)
    names: dict[str, Any] = {}
    for code in blocks(TRAINING, "python"):
        if name := is_file(code):
            (tmp_path / name).write_text(code)
        else:
            exec(code, names)
    first, again, branch = names["result"], names["again"], names["branch"]
    assert first.final_loss < math.log(1024) - 0.3
    assert (again.steps, again.final_loss) == (first.steps, first.final_loss)
    assert (names["step"], branch.steps) == (39, 20)
    bits = [row["metrics"]["text/neutral/bpb"] for row in names["measured"].evals]
    assert bits[1] < bits[0] - 0.3
    assert names["difference"] < 1e-4
    use = names["mixture"].expert_use()
    assert use.shape == (4, 4)
    assert torch.allclose(use.sum(dim=1), torch.ones(4))
    for folder, steps in (("trunk", first.steps), ("nadam", first.steps), ("sparse", 6)):
        assert json.loads((tmp_path / "runs" / folder / "result.json").read_text())["steps"] == steps
    (only,) = commands[1:]
    assert float(shell(only, tmp_path)) < math.log(1024)


@pytest.mark.ci
def test_the_code_for_evaluation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    save_bpe(tmp_path, vocab_size=500)
    model = make_model(vocab_size=600, context=1024)
    torch.nn.init.normal_(model.get_parameter("blocks.0.feed.down.weight"))

    def transformers_model(ids: torch.Tensor) -> Any:
        class Output:
            logits = model(ids)

        return Output

    names: dict[str, Any] = {"model": model, "transformers_model": transformers_model}
    for code in blocks(EVALUATION, "python"):
        exec(code, names)
    assert names["metrics"]["text/neutral/bpb"] > 0
    assert names["theirs"] == pytest.approx(names["metrics"], rel=1e-4)
    assert names["table"].num_rows > 100


def test_blocks_are_python() -> None:
    for code in (*blocks(TRAINING, "python"), *blocks(EVALUATION, "python")):
        compile(code, "docs", "exec")


def test_every_field_of_the_log_and_every_schedule_is_explained() -> None:
    log = TRAINING.partition("## The log")[2].partition("## MFU")[0]
    cells = " ".join(line.split("|")[1] for line in log.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", cells)) == {one.name for one in dataclasses.fields(StepLog)}
    assert all(f"`{name}`" in TRAINING for name in SCHEDULES)


def test_settings_that_are_named_exist() -> None:
    known = {one.name for of in (ModelConfig, TrainSettings) for one in dataclasses.fields(of)}
    given = re.findall(r"`(\w+)=[^`]*`", TRAINING)
    assert len(given) > 8
    assert set(given) - known <= {"observe", "model_name", "experts_per_token"}


def test_what_the_pages_name_is_there() -> None:
    for text in (TRAINING, EVALUATION):
        for path in re.findall(r"`((?:tokenmill|examples|benchmarks)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), path
        for link in re.findall(r"\]\((\w[\w-]*\.md)\)", text):
            assert (ROOT / "docs" / link).exists(), link
