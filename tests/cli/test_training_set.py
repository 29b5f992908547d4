"""`tokenmill training-set`: what it writes, and what it tells."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.classifiers.corpus.support import jsonl, warc
from tokenmill.classifiers.corpus.build import SetSettings
from tokenmill.cli.training_set import make_training_set


def test_pages_that_are_stored_as_they_were_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = b"<a href='https://cited.org/1'>x</a>"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(page), page)
    reference = warc(
        tmp_path / "a.warc.gz",
        [
            ("http://a.org/", gzip.compress(page), {"Content-Encoding": "gzip"}),
            ("http://b.org/", chunked, {"Transfer-Encoding": "chunked"}),
            ("http://c.org/", b"no gzip", {"Content-Encoding": "gzip"}),
            ("http://d.org/", gzip.compress(bytes(6 << 20)), {"Content-Encoding": "gzip"}),
        ],
    )
    rows = [{"url": f"http://cited.org/{n}", "text": f"page {n}"} for n in range(4)]
    settings = SetSettings(linked_from=reference, negative=jsonl(tmp_path / "pool.jsonl", rows))
    make_training_set(str(tmp_path / "set.parquet"), settings, as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["labels"] == {"hq": 1, "cc": 1}
    assert facts["linked_from"]["counted"] == 2
    assert facts["linked_from"]["pages_not_read"]["undecodable"] >= 1
    table = pq.read_table(tmp_path / "set.parquet")
    assert {row["label"]: row["text"] for row in table.to_pylist()}["hq"] == "page 1"


def test_what_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = jsonl(tmp_path / "good.jsonl", [{"text": f"good {n}"} for n in range(3)])
    pool = jsonl(tmp_path / "pool.jsonl", [{"text": f"bad {n}"} for n in range(5)] + [{"text": "good 1"}])
    make_training_set(str(tmp_path / "set.parquet"), SetSettings(positives=(good,), negative=pool))
    told = capsys.readouterr()
    assert "3 hq, 3 cc" in told.out
    assert "in_other_class 1" in " ".join(told.out.split())
    assert told.err == ""
    (tmp_path / "urls.txt").write_text("e.org/1\n")
    rows = jsonl(tmp_path / "e.jsonl", [{"url": f"http://e.org/{n}", "text": f"page {n}"} for n in range(4)])
    make_training_set(str(tmp_path / "set.parquet"), SetSettings(linked_from=str(tmp_path / "urls.txt"), negative=rows))
    assert "worse models than no classifier" in " ".join(capsys.readouterr().err.split())
