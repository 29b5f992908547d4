"""A run on Ray whose workers, watched children and machines are killed has the bytes of a local run (T12)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.executors.ray_cluster import Nemesis, cluster, descendants, no_noise, run_on, wait_for
from tests.executors.support import digests
from tokenmill.cli.recipes import load_recipe
from tokenmill.core.pipeline import load_file
from tokenmill.executors.base import ShardRetry
from tokenmill.executors.local import InlineExecutor

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("ray")

from tokenmill.executors.ray import RayExecutor  # noqa: E402 - needs Ray

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.mark.slow
def test_killed_workers_and_children(tmp_path: Path) -> None:
    """A sample of what follows."""
    check_chaos(tmp_path, ROOT / "examples/data", span=300_000, kills=3, pause=(0.3, 1.2), machines=0.0, seed=1)


@pytest.mark.faults
def test_killed_fifty_times(tmp_path: Path, shared: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.warc.gz").symlink_to(shared / f"crawl/crawl-{number:05d}.warc.gz")
    check_chaos(tmp_path, source, span=200_000, kills=50, pause=(0.1, 2.0), machines=0.2, seed=2)


def check_chaos(
    tmp_path: Path, source: Path, *, span: int, kills: int, pause: tuple[float, float], machines: float, seed: int
) -> None:
    fineweb = load_recipe("fineweb").pipeline
    run_on(InlineExecutor(), fineweb, source, tmp_path / "local", span, seconds=8.0)
    with cluster((1, 0), (1, 0), impatient=True) as found:
        with Nemesis(found, seed=seed, kills=kills, pause=pause, machines=machines) as nemesis:
            outcome, events = run_on(RayExecutor(), fineweb, source, tmp_path / "ray", span, seconds=8.0)
    print(f"killed {Counter(nemesis.killed)}, {sum(isinstance(e, ShardRetry) for e in events)} shards tried again")
    assert outcome.failures == {}
    assert len(nemesis.killed) == kills, "the run was over before all kills"
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")
    assert not list((tmp_path / "ray").glob("phases/*/attempts"))


@pytest.mark.slow
def test_sigterm_ends_in_order_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for shard in range(40):
        lines = [json.dumps({"text": f"document {n} of {shard}"}) for n in range(40)]
        (source / f"part-{shard}.jsonl").write_text("\n".join(lines))
    pipeline = load_file(str(ROOT / "tests/data/model_recipe.py")).slow
    run_on(InlineExecutor(), pipeline, source, tmp_path / "local")
    command = [sys.executable, "-m", "tokenmill", "run", f"{ROOT}/tests/data/model_recipe.py:slow"]
    command += ["--input", str(source), "--output", str(tmp_path / "ray")]
    command += ["--executor", "ray", "--ray-address", "local", "--workers", "2"]
    no_noise()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: len(list((tmp_path / "ray/data").glob("*.parquet"))) > 2, 90)
    below = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "run the same command again" in said
    assert 2 < len(list((tmp_path / "ray/data").glob("*.parquet"))) < 40
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in below), 30)
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert published(tmp_path / "ray") == published(tmp_path / "local")


def published(out: Path) -> dict[str, str]:
    """Without README.md, which the command writes, and run.json, which has the limits of the command."""
    return {path: digest for path, digest in digests(out).items() if path not in ("README.md", "run.json")}
