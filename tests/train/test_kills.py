"""A process that is killed at any moment: what it leaves is gone on with, to the same bits."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.runs import make_settings, make_view, run, traces

SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.train.runs import make_settings, run
from tokenmill.tokens.views import WholeView
settings = make_settings(steps=240, warmup_steps=20, decay_steps=40, checkpoint_every=3, log_every=7, spikes="skip",
                         optimizer=sys.argv[3], precision=sys.argv[4])
run(WholeView(Path(sys.argv[1]) / "tokens"), Path(sys.argv[2]), settings, eval_steps=range(0, 241, 50))
"""


@pytest.mark.ci
@pytest.mark.parametrize(
    ("optimizer", "precision"), [("adamw", "fp32"), pytest.param("muon", "bf16", marks=pytest.mark.slow)]
)
def test_killed_at_random_times(optimizer: str, precision: str, tmp_path: Path) -> None:
    view = make_view(tmp_path / "set")
    settings = make_settings(
        steps=240,
        warmup_steps=20,
        decay_steps=40,
        checkpoint_every=3,
        log_every=7,
        spikes="skip",
        optimizer=optimizer,
        precision=precision,
    )
    run(view, tmp_path / "whole", settings, eval_steps=range(0, 241, 50))
    chance, kills = random.Random(5), 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "set"), str(tmp_path / "cut"), optimizer, precision]
    for _ in range(12):
        process = subprocess.Popen(command)
        while process.poll() is None and not (tmp_path / "cut" / "checkpoints").exists():
            time.sleep(0.02)  # until there is something to lose
        log = tmp_path / "cut" / "log.jsonl"
        size = log.stat().st_size
        while process.poll() is None and log.stat().st_size == size:
            time.sleep(0.005)  # until it goes on from there
        time.sleep(chance.random() * 0.4)
        if process.poll() is None and kills < 3:
            process.send_signal(signal.SIGKILL)
            kills += 1
        if process.wait(timeout=120) == 0:
            break
    assert process.returncode == 0
    assert kills == 3
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")
