"""Whole runs with input and output on S3, while requests fail at random, publish the bytes of a local run."""
# ruff: noqa: F811 - fixtures are imported

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.executors.support import run
from tests.io.s3 import Bucket, bucket, store  # noqa: F401
from tokenmill import Pipeline, ReadJsonl, WriteParquet
from tokenmill.core.stage import Barrier
from tokenmill.dedup.exact import ExactDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import recipe
from tokenmill.report.funnel import fold

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data" / "example.warc.gz"
KINDS = ("data", "dropped", "quarantine", "dedup")
RATES = {"slow_down": 0.03, "error": 0.02, "reset": 0.03, "lost": 0.03, "cut": 0.03}


def local_digests(output: Path) -> dict[str, str]:
    found = [path for kind in KINDS for path in (output / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def remote_digests(bucket: Bucket, prefix: str) -> dict[str, str]:
    keys = [key for kind in KINDS for key in bucket.keys(f"{prefix}/{kind}/")]
    return {key.removeprefix(f"{prefix}/"): hashlib.sha256(bucket.get(key)).hexdigest() for key in keys}


def check_like_local(pipeline: Pipeline, bucket: Bucket, source: Path, tmp_path: Path, workers: int) -> None:
    for path in source.iterdir():
        bucket.put(f"in/{path.name}", path.read_bytes())
    local = tmp_path / "local"
    assert run(pipeline, source, local, seconds=8).failures == {}
    bucket.proxy.at_random(17, **RATES)
    outcome = run(pipeline, bucket.url("in"), bucket.url("out"), workers, seconds=8)  # type: ignore[arg-type]
    assert outcome.failures == {}
    assert sum(one.fault is not None for one in bucket.proxy.log) >= 3
    bucket.proxy.clear()
    assert remote_digests(bucket, "out") == local_digests(local)
    folder = RunFolder(bucket.url("out"))
    assert fold(folder).kept == fold(RunFolder(str(local))).kept
    assert folder.abandoned_uploads() == []
    assert not [key for key in bucket.keys("out/") if "/attempts/" in key]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize(
    "barriers",
    [
        pytest.param([], id="none"),
        pytest.param([ExactDedup()], id="exact", marks=pytest.mark.slow),
        pytest.param([MinHashDedup()], id="near", marks=pytest.mark.slow),
    ],
)
def test_a_run_with_barriers_on_s3(bucket: Bucket, tmp_path: Path, temporary: Path, barriers: list[Barrier]) -> None:
    chance = random.Random(3)
    words = [f"w{number}" for number in range(500)]
    texts = [" ".join(chance.choices(words, k=60)) for _ in range(60)]
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        lines = [json.dumps({"text": text, "id": f"{name}{row}"}) for row, text in enumerate(chance.sample(texts, 40))]
        (source / f"{name}.jsonl").write_text("\n".join(lines))
    pipeline = Pipeline("mine", [ReadJsonl(), *barriers, WriteParquet()])
    check_like_local(pipeline, bucket, source, tmp_path, workers=0)
    assert [path for path in temporary.iterdir() if "attempt" in path.name] == []


@pytest.mark.slow
def test_fineweb_on_s3_with_two_workers(bucket: Bucket, tmp_path: Path, temporary: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        shutil.copy(EXAMPLE, source / f"{name}.warc.gz")
    check_like_local(recipe("fineweb"), bucket, source, tmp_path, workers=2)
    assert [path for path in temporary.iterdir() if "attempt" in path.name] == []
