"""`tokenmill label` as a user meets it: estimate, labels, stops, kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.classifiers.label.server import MODEL, serving
from tests.classifiers.published_runs import page, published
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.cli.label import label_documents
from tokenmill.core.errors import ConfigError, FatalError

pytest.importorskip("httptools")
ROWS = [{"id": f"d{n}", "text": f"page {n}. " + "learn " * (n % 5), "n": n % 5} for n in range(60)]


def arguments(source: Path, output: Path, url: str, **changes: Any) -> dict[str, Any]:
    fields = {"rubric": "educational", "model": MODEL, "base_url": url, "documents": 20, "strata": "n"}
    return {"input": str(source), "output": str(output), **fields, **changes}


def test_a_dry_run_asks_nothing(
    tmp_path: Path,
    write_jsonl: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_jsonl(ROWS)
    fields = arguments(source, tmp_path / "out", "http://127.0.0.1:9/v1", price_in=1.0, api_key_env="NO_SUCH_KEY")
    label_documents(**fields, dry_run=True, as_json=True, passes=2)
    told = json.loads(capsys.readouterr().out)
    assert (told["requests"], told["measured"]) == (40, False)
    assert told["dollars"] == pytest.approx(told["tokens_in"] / 1e6, abs=1e-4)
    assert not (tmp_path / "out").exists()
    label_documents(**fields, dry_run=True)
    assert "20 requests to make" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        label_documents(**fields)


def test_labels_and_what_is_told(
    tmp_path: Path, write_jsonl: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_jsonl(ROWS), tmp_path / "out"
    with serving() as rater:
        fields = arguments(source, out, rater.url, passes=2, sampling=["temperature=0.2", "max_tokens=null"])
        label_documents(**fields)
        shown = capsys.readouterr()
        assert "pass1~pass2: 100.0% equal, kappa 1.000, quadratic-weighted" in shown.out
        assert "failures: none" in shown.out
        assert "label: 40 of 40 requests" in shown.err
        assert rater.payloads[0]["temperature"] == 0.2
        assert "max_tokens" not in rater.payloads[0]
        label_documents(**fields, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((out / "labels.json").read_text())
    assert told["sample"]["strata"] == {str(n): {"input": 12, "drawn": 4} for n in range(5)}
    table = pq.read_table(out / "labels.parquet")
    assert table["edu"].to_pylist() == [float(name) for name in table["stratum"].to_pylist()]
    assert len(rater.prompts) == 40


def test_answers_that_are_paid_for_are_published(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    with serving() as rater, pytest.raises(FatalError, match="max-cost"):
        label_documents(**arguments(write_jsonl(ROWS), out, rater.url, price_in=1.0, max_cost=0.001, concurrency=1))
    told = json.loads((out / "labels.json").read_text())
    table = pq.read_table(out / "labels.parquet")
    assert not told["complete"]
    assert 0 < told["answered"] == 20 - table["edu"].null_count < 20
    assert set(table["failure"].to_pylist()) == {None, "pass 1: not asked"}


def test_documents_that_filters_have_judged_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [page(n, n / 10, text=f"page {n}. " + "learn " * (n % 5)) for n in range(20)]
    run = published(given, tmp_path, ScoreFilter(min_score=1.0), annotate=True)
    fields = arguments(run, tmp_path / "labels", "http://127.0.0.1:9/v1", strata=None)
    label_documents(**fields, dry_run=True)
    shown = capsys.readouterr().err
    assert "left out: filtered 10" in shown
    assert "10 requests to make" in shown
    with serving() as rater:
        label_documents(**{**fields, "base_url": rater.url}, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["sample"]["strata"] == {"all": {"input": 10, "drawn": 10}}
    assert told["sample"]["skipped"] == {"filtered": 10}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rubric": "educatonal"}, "no rubric"),
        ({"edges": "a,b"}, "cannot read the edges"),
        ({"sampling": ["temperature"]}, "cannot read the setting"),
        ({"output": "s3://bucket/labels"}, "a folder of this machine"),
        ({"strata": "none"}, "no document has a value"),
        ({"model": ""}, "no model"),
    ],
)
def test_settings_that_cannot_work(
    tmp_path: Path, write_jsonl: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    fields = arguments(write_jsonl(ROWS), tmp_path / "out", "http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match=message):
        label_documents(**{**fields, **changes})
    assert not (tmp_path / "out").exists()


def test_a_wrong_model_is_told_before_work(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    with serving() as rater, pytest.raises(ConfigError, match="did you mean 'rater-1'"):
        label_documents(**arguments(write_jsonl(ROWS), tmp_path / "out", rater.url, model="rater-l"))
    assert not rater.prompts


@pytest.mark.slow
def test_killed_again_and_again_the_labels_are_the_same(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([{**row, "id": f"{row['id']}-{n}", "url": f"http://h{n}/"} for n in range(5) for row in ROWS])

    def slow(prompt: str, before: int) -> str:
        time.sleep(0.01)
        return ("429 0.01", "cut", "")[before % 3] if "page 7." in prompt else ""

    def command(output: str, url: str) -> list[str]:
        fields = arguments(source, tmp_path / output, url, documents=300, concurrency=4, passes=2)
        code = "import sys, json; from tokenmill.cli.label import label_documents as f; f(**json.loads(sys.argv[1]))"
        return [sys.executable, "-c", code, json.dumps(fields)]

    with serving() as calm:
        subprocess.run(command("calm", calm.url), check=True, capture_output=True)
    kills = 0
    with serving(slow) as rater:
        while True:
            child = subprocess.Popen(command("killed", rater.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with child:
                start = len(rater.prompts)
                while child.poll() is None and len(rater.prompts) < start + 120:
                    time.sleep(0.01)
                if child.poll() is None:
                    child.send_signal(signal.SIGKILL)
                    kills += 1
                child.communicate()
            if child.returncode == 0:
                break
            assert child.returncode == -signal.SIGKILL
            assert kills < 20
    assert kills >= 3
    killed, whole = (pq.read_table(tmp_path / name / "labels.parquet") for name in ("killed", "calm"))
    assert killed == whole
    # a kill costs what was under way: at most the requests at once, and what waited for the disk
    assert sum(rater.answered.values()) <= 2 * 300 + kills * 4 * 2
