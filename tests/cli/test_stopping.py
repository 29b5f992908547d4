"""SIGINT and SIGTERM end a run that waits for a model, and it can be resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("httptools")

from tests.rephrase.test_stage import STYLE, documents, rows_of

SERVER = Path(__file__).resolve().parents[1] / "rephrase" / "page_server.py"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_requests_are_under_way_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    documents(tmp_path / "in", 40)
    (tmp_path / "words.md").write_text(STYLE)
    log = tmp_path / "log"
    log.touch()

    def command(delay: float) -> list[str]:
        serve = f"{sys.executable} {SERVER} {{model}} --port {{port}} --host {{host}} --log {log} --delay {delay}"
        options = ["--style", str(tmp_path / "words.md"), "--model", "page", "--workers", "0", "--concurrency", "2"]
        where = [str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--serve", serve]
        return [sys.executable, "-m", "tokenmill", "rephrase", *where, *options]

    process = subprocess.Popen(command(0.5), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(log.read_text().splitlines()) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 75, told
    assert "run the same command again to resume" in told
    assert "Traceback" not in told
    asked = len(log.read_text().splitlines())
    time.sleep(1.5)
    assert len(log.read_text().splitlines()) <= asked + 2  # nobody goes on asking
    subprocess.run(command(0.5), check=True, capture_output=True, timeout=120)
    assert len({row["parent_id"] for kind in ("data", "rejected") for row in rows_of(tmp_path / "out", kind)}) == 40
