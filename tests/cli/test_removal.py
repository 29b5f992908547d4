"""`tokenmill forget` and `tokenmill gc`: what they print, and that the report is written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import tokenmill
from tests.executors.removal import check_digests, copied, finished_run, mentions, table
from tests.executors.trees import tree
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.write import write_report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = finished_run(tmp_path_factory.mktemp("made"), sample_dropped=1.0)
    write_report(RunFolder(str(out)))
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path)


@pytest.mark.ci
def test_forget_a_dropped_sample_and_its_report(out: Path) -> None:
    rows = [row for row in table(out, "dropped") if row["text"]]
    urls = [row["url"] for kind in ("data", "dropped") for row in table(out, kind)]
    row = next(row for row in rows if urls.count(row["url"]) == 1)
    assert "report.html" in mentions(out, row["url"])
    shown = tokenmill("forget", out, "--url", row["url"], "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "1 document would be removed (1 dropped), in 1 shard" in shown.stdout
    done = tokenmill("forget", out, "--url", row["url"], "--reason", "by mail", "--time", "2026-03-01")
    assert done.returncode == 0, done.stderr
    assert "1 document removed (1 dropped)" in done.stdout
    assert f"https:{row['url'].partition(':')[2]}".rstrip("/") in done.stdout  # the line for a block list
    assert "models that were trained on it" in done.stderr
    assert mentions(out, row["url"], row["text"][:60]) == []
    assert (out / "report.html").exists()
    check_digests(out)
    again = tokenmill("forget", out, "--url", row["url"])
    assert "nothing found" in again.stdout


@pytest.mark.ci
def test_forget_as_json_and_in_the_funnel(out: Path) -> None:
    row = table(out, "data")[0]
    done = tokenmill("forget", out, "--id", row["id"], "--json")
    values = json.loads(done.stdout)
    assert values["counts"] == {"kept": 1}
    assert values["block_list"][0].startswith("sha256:")
    status = json.loads(tokenmill("status", out, "--json").stdout)
    assert status["complete"]
    assert status["funnel"]["unaccounted"] == 0
    assert status["funnel"]["stages"][-1]["dropped"] == {"forgotten": 1}
    assert "forgotten" in tokenmill("report", out).stdout
    assert tokenmill("clusters", out).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("forget",), "nothing is asked"),
        (("forget", "--domain", "co.uk"), "public suffix"),
        (("forget", "--id", "x"), "holds no run"),
        (("gc",), "holds no run"),
    ],
)
def test_wrong_requests(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    refused = tokenmill(arguments[0], tmp_path, *arguments[1:])
    assert refused.returncode == 2
    assert words in refused.stderr


@pytest.mark.ci
def test_gc(out: Path) -> None:
    (out / "data" / "mine.parquet").write_bytes(b"12")
    before = tree(out)
    shown = tokenmill("gc", out, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "would be freed" in shown.stdout
    assert "data/mine.parquet" in shown.stdout
    assert tree(out) == before
    values = json.loads(tokenmill("gc", out, "--json").stdout)
    assert values["bytes"] == sum(file["bytes"] for file in values["files"]) > 0
    assert "0 files" in tokenmill("gc", out).stdout
    assert (out / "data" / "mine.parquet").exists()
    assert [file["path"] for file in json.loads(tokenmill("gc", out, "--orphans", "--json").stdout)["files"]] == [
        "data/mine.parquet"
    ]
    check_digests(out)
