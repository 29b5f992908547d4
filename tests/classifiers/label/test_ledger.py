"""The ledger: whatever a killed process leaves, whole lines count and nothing else does."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.classifiers.label.ledger import Ledger, read_entries
from tokenmill.core.errors import ConfigError, FatalError


def line(key: str, event: str = "answer", **fields: Any) -> dict[str, Any]:
    row = {
        "key": key,
        "event": event,
        "response": "a\u2028\ud800",
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
        "finish_reason": "stop",
        "latency_s": 0.5,
        "faults": {"500": 1},
        "prompt_chars": 40,
    }
    if event == "answer":
        row |= {"answer": {"edu": "3"}, "reason": "r"}
    else:
        row["error"] = {"kind": "value", "detail": "d"}
    return {**row, **fields}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_cut_leaves_the_whole_lines(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("ledger") / "new" / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append([line("a"), line("b", "unparsable")])
        ledger.append([line("c", "failed")])
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    left = whole[:cut].count(b"\n")
    assert len(read_entries(path)) == left
    with Ledger(path) as ledger:
        assert ledger.cut_bytes == cut - (whole[:cut].rfind(b"\n") + 1)
        assert sorted(ledger.entries) == ["a", "b", "c"][:left]
        ledger.append([line("d")])
    assert sorted(read_entries(path)) == [*["a", "b", "c"][:left], "d"]
    assert all(json.loads(one) for one in path.read_text().splitlines())


def test_what_is_known_of_a_request(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.jsonl") as ledger:
        ledger.append([line("a", "unparsable", finish_reason="length")])
        ledger.append([line("a", "failed", faults={"429": 2, "500": 1})])
        assert (ledger.entries["a"].failure, ledger.entries["a"].length_hit) == ("value", True)
        ledger.append([line("a", usage={})])
        entry = ledger.entries["a"]
    assert entry == read_entries(tmp_path / "l.jsonl")["a"]
    assert (entry.answer, entry.failure, entry.attempts) == ({"edu": "3"}, "", 2)
    assert dict(entry.faults) == {"500": 3, "429": 2}
    assert (entry.tokens_in, entry.tokens_out, entry.without_usage) == (7 + 10, 2 + 1, 1)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.jsonl"):
        with pytest.raises(ConfigError, match="in use"), Ledger(tmp_path / "l.jsonl"):
            pass
    with Ledger(tmp_path / "l.jsonl"):
        pass


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append([line("a"), line("b")])
    path.write_bytes(path.read_bytes().replace(b'"key": "b"', b'"kex": "b"'))
    with pytest.raises(ConfigError, match="line 2 of the ledger is damaged"), Ledger(path):
        pass
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with Ledger(path) as ledger:  # the failed start has let go of the file
        assert list(ledger.entries) == ["a"]


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path / "l.jsonl") as ledger:
        ledger.append([line("a")])
        before = ledger.path.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(FatalError, match="free some space"):
                ledger.append([line("b")])
        assert ledger.path.read_bytes() == before
        ledger.append([line("c")])
    assert list(read_entries(ledger.path)) == ["a", "c"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot open the ledger"), Ledger(tmp_path / "file" / "l.jsonl"):
        pass
    with pytest.raises(FatalError, match="not open"):
        Ledger(tmp_path / "l.jsonl").append([line("a")])
