"""The ledger: what is on the disk after any end of its writer, and what its rows say in any order."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError, FatalError, ShardError
from tokenmill.rephrase.ledger import Ledger, part_of, read_entries
from tokenmill.rephrase.ledger_rows import Entry
from tokenmill.rephrase.segments import SegmentReader, SegmentWriter, line_of


def row(key: str = "k", event: str = "answer", part: str = "8000", attempt: int = 1, **more: Any) -> dict[str, Any]:
    """A row of the ledger with the fields that readers need."""
    came = event in ("answer", "attempt") or "response" in more
    found = {
        "key": key, "part": part, "event": event, "run": "r", "task": "t", "style": "s", "doc_id": "d",
        "passage": [0, 0, 5], "attempt": attempt, "model": {"model": "m"}, "sampling": {"seed": 1},
        "response": f"answer {attempt}" if came else None, "finish_reason": "stop" if came else None,
        "usage": {} if came else None, "latency_s": 0.5 if came else None, "tokens": [10, 4, 2] if came else [0, 0, 0],
        "told": came, "faults": {}, "error": None, "parts": None, "time": 100.0,
    }  # fmt: skip
    if event in ("failed", "attempt"):
        found["error"] = {"kind": more.pop("kind", "parse"), "detail": "why"}
    return {**found, **more}


def test_rows_come_back_and_readers_need_no_lock(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a"), row("b", "attempt", kind="empty", faults={"429": 2})])
        ledger.append([row("b", attempt=2)])
        held = ledger.entries
        assert read_entries(tmp_path) == (held, 0)
    with Ledger(tmp_path) as again:
        assert again.entries == held
        assert again.paid["r", "t"].requests == 3
        assert again.paid["r", "t"].tokens_in == 30
    entry = held["b"]
    assert (entry.response, entry.attempts, entry.tokens_out, entry.faults) == ("answer 2", 2, 8, {"429": 2})
    assert entry.hits("empty") == 1


def test_nothing_said_leaves_no_segment(tmp_path: Path) -> None:
    with Ledger(tmp_path):
        pass
    assert not (tmp_path / "segments").exists()
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["mutex"]


ROWS = [
    row("k", "attempt", 1 * "8000", 1),
    row("k", "failed", attempt=3, kind="parse", time=110.0),
    row("k", "failed", attempt=3, kind="server", time=120.0),
    row("k", "split", attempt=3, time=130.0, parts=[["c1", 0, 2], ["c2", 2, 5]]),
    row("k", attempt=5, time=150.0),
    row("k", attempt=4, time=160.0),
]


@pytest.mark.parametrize(
    ("which", "outcome", "told"),
    [
        ((0,), "", ""),
        ((0, 1), "failed", "parse"),
        ((1, 2), "failed", "server"),  # the later one
        ((1, 2, 3), "split", ""),
        ((2, 3, 4), "answer", "answer 5"),
        ((0, 1, 2, 3, 4, 5), "answer", "answer 4"),  # the earlier attempt, though it was written later
    ],
)
def test_the_outcome_does_not_depend_on_the_order_of_rows(which: tuple[int, ...], outcome: str, told: str) -> None:
    for order in itertools.islice(itertools.permutations([ROWS[number] for number in which]), 60):
        entry = Entry("k")
        for one in order:
            entry.add(one)
        assert (entry.outcome, entry.response or entry.kind) == (outcome, told)
    assert entry.settled == (3 if 1 in which else 0)


def test_equal_answers_of_two_writers_are_told_apart_by_digest() -> None:
    one, two = row("k", response="one"), row("k", response="two")
    found = set()
    for order in ((one, two), (two, one)):
        entry = Entry("k")
        for each in order:
            entry.add(each)
        found.add(entry.response)
    assert len(found) == 1


def _segment(folder: Path) -> Path:
    return next((folder / "segments").iterdir())


@pytest.mark.parametrize("left", [1, 19, 20, 21, 60, -1])
def test_a_cut_frame_is_passed_over_and_counted(tmp_path: Path, left: int) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a")])
        whole = _segment(tmp_path).stat().st_size
        ledger.append([row("b")])
    path = _segment(tmp_path)
    end = path.stat().st_size + left if left < 0 else whole + left
    os.truncate(path, end)
    with Ledger(tmp_path) as again:
        assert set(again.entries) == {"a"}
        assert again.cut_bytes == end - whole
        again.append([row("b")])
    assert set(read_entries(tmp_path)[0]) == {"a", "b"}


def test_zeros_behind_the_last_frame_are_a_cut(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a")])
    with open(_segment(tmp_path), "ab") as stream:
        stream.write(bytes(4096))
    entries, cut = read_entries(tmp_path)
    assert (set(entries), cut) == ({"a"}, 4096)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_damage_is_found_or_costs_the_last_frame_alone(tmp_path: Path, place: float, bit: int) -> None:
    path = tmp_path / "segment.jsonl.zst"
    path.unlink(missing_ok=True)
    writer = SegmentWriter(path)
    sizes = []
    for number in range(3):
        writer.append([line_of(row(f"k{number}", response="word " * 50))])
        sizes.append(path.stat().st_size)
    writer.close()
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    data[at] ^= 1 << bit
    path.write_bytes(data)
    try:
        keys = [one["key"] for one in SegmentReader(path).rows()]
    except ConfigError as error:
        found = error
    else:  # bits of a header that zstd does not use change nothing; the last frame may never have been whole
        assert keys[:2] == ["k0", "k1"]
        assert keys == ["k0", "k1", "k2"] or at >= sizes[1]
        return
    assert str(path) in found.where
    assert "asked again" in found.fix


def test_zstd_reads_a_segment_as_json_lines(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a"), row("b", response="é \ud800 \n \u2028")])
        ledger.append([row("c")])
    with open(_segment(tmp_path), "rb") as stream:
        raw = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True).read()
    assert [json.loads(line)["key"] for line in raw.splitlines()] == ["a", "b", "c"]
    assert read_entries(tmp_path)[0]["b"].response == "é \ud800 \n \u2028"


def test_ranges_see_their_rows_in_segments_of_any_range(tmp_path: Path) -> None:
    with Ledger(tmp_path) as everything:
        everything.append([row("low", part="0fff", response='says "part":"9999" in passing'), row("high", part="1000")])
    with Ledger(tmp_path, ("0000", "0fff")) as low, Ledger(tmp_path, ("1000", "ffff")) as high:
        assert (set(low.entries), set(high.entries)) == ({"low"}, {"high"})
        low.append([row("more", part="0001")])
    assert set(read_entries(tmp_path, ("0000", "0001"))[0]) == {"more"}


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        (("0000", "7fff"), ("8000", "ffff"), True),
        (("0000", "8000"), ("8000", "ffff"), False),
        (("0000", "ffff"), ("4000", "4fff"), False),
        (("4000", "4fff"), ("4000", "4fff"), False),
    ],
)
def test_a_range_has_one_writer(tmp_path: Path, held: tuple[str, str], wanted: tuple[str, str], free: bool) -> None:
    with Ledger(tmp_path, held, "the first"):
        other = Ledger(tmp_path, wanted, "the second", patience=0)
        if free:
            with other:
                pass
        else:
            with pytest.raises(FatalError, match=f"the first, process {os.getpid()}"):
                other.__enter__()
    with Ledger(tmp_path, wanted, patience=0):
        pass


def test_a_lock_ends_with_its_process_and_is_waited_for(tmp_path: Path) -> None:
    code = (
        "import sys, time; from tokenmill.rephrase.ledger import Ledger\n"
        "with Ledger(sys.argv[1], ('0000', '7fff'), 'child'): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(FatalError, match=f"child, process {child.pid}"):
        Ledger(tmp_path, patience=0).__enter__()
    threading.Timer(0.1, child.kill).start()
    with Ledger(tmp_path, patience=30):
        assert len(list((tmp_path / "locks").glob("*.lock"))) == 1
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize(
    ("parts", "name", "says"),
    [
        (("0000", "fff"), "", "no range"),
        (("8000", "7fff"), "", "no range"),
        (("0000", "ffff"), "s3://bucket/ledger", "object store"),
    ],
)
def test_what_no_ledger_can_be(tmp_path: Path, parts: tuple[str, str], name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Ledger(name or tmp_path, parts)


def test_foreign_files_and_rows_are_named(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    path = tmp_path / "segments" / "notes.jsonl.zst"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="no segment"):
        Ledger(tmp_path).__enter__()
    path.unlink()
    writer = SegmentWriter(tmp_path / "segments" / "0000-ffff~1-a.jsonl.zst")
    writer.append([b'{"key":"k","part":"8000","event":"answer"}\n'])
    writer.close()
    with pytest.raises(ConfigError, match="damaged"), Ledger(tmp_path):
        pass
    writer.path.unlink()
    with Ledger(tmp_path, patience=0):
        pass  # the lock was let go


def test_a_full_disk_leaves_whole_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a")])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "no space")))
            with pytest.raises((FatalError, ShardError)):
                ledger.append([row("b")])
        ledger.append([row("c")])
    assert set(read_entries(tmp_path)[0]) == {"a", "c"}


def test_what_was_synced_stays_when_a_later_sync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a")])
        ledger.write([ledger.note(row("b"))])
        assert set(read_entries(tmp_path)[0]) == {"a", "b"}, "a killed process would leave both"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "broken")))
            with pytest.raises((FatalError, ShardError)):
                ledger.sync()
        assert set(read_entries(tmp_path)[0]) == {"a"}
        ledger.append([row("c")])
    assert set(read_entries(tmp_path)[0]) == {"a", "c"}


def test_only_rows_of_the_keys_and_of_their_pieces_are_kept(tmp_path: Path) -> None:
    """A split names its pieces; their rows may lie in a segment that is read before."""
    hold = {"parts": [["child", 0, 2], ["other child", 2, 5]]}
    deeper = {"parts": [["leaf", 0, 1], ["other leaf", 1, 2]]}
    for rows in (
        [row("leaf", run="old"), row("child", "split", response=None, **deeper), row("x", run="new", task="b")],
        [row("a", "attempt", kind="empty"), row("x", "failed"), row("y", run="new", response="z" * 99)],
        [row("whole", "split", response=None, run="new", **hold), row("other leaf"), row("other child"), row("a")],
    ):
        with Ledger(tmp_path) as ledger:
            ledger.append(rows)
    kept = {"a", "whole", "child", "other child", "leaf", "other leaf"}
    everything, _ = read_entries(tmp_path)
    wanted = {key: everything[key] for key in kept}
    assert wanted["a"].attempts == 2
    files = [path.read_bytes() for path in (tmp_path / "segments").iterdir()]
    for order in itertools.permutations(files):
        for path in (tmp_path / "segments").iterdir():
            path.unlink()
        for number, data in enumerate(order):  # names decide the order of reading
            (tmp_path / "segments" / f"0000-ffff~{number}-x.jsonl.zst").write_bytes(data)
        beats = list[None]()
        assert read_entries(tmp_path, keys={"a", "whole", "none"}, alive=partial(beats.append, None)) == (wanted, 0)
        assert len(beats) == 9, "three frames, and once more for each depth of pieces"
        with Ledger(tmp_path, keys=["a", "whole"], payer=("new", "t")) as ledger:
            assert ledger.entries == wanted
            assert ledger.paid["new", "t"].requests == 1
            assert ("new", "b") not in ledger.paid
        with Ledger(tmp_path, keys=["a"]) as ledger:
            assert ledger.paid["new", "t"].requests == ledger.paid["new", "b"].requests == 1
            assert set(ledger.entries) == {"a"}
    with Ledger(tmp_path, keys=[], payer=("new", "t")) as ledger:
        assert (ledger.entries, ledger.paid["new", "t"].requests) == ({}, 1)


def test_rows_of_other_keys_are_not_even_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row(f"{number:064x}", run="old") for number in range(50)])
        ledger.append([row("f" * 64, run="new")])
    decoded: list[bytes] = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda line: (decoded.append(line), real(line))[1])
    with Ledger(tmp_path, keys={f"{7:064x}"}, payer=("new", "t")) as ledger:
        assert set(ledger.entries) == {f"{7:064x}"}
        assert ledger.paid["new", "t"].requests == 1
    assert len(decoded) == 2


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        ([10, 4, 2], (10, 4, 2, 0)),
        ([10**25, 4, 0], (0, 4, 0, 1)),
        ([-(10**6), -1, 0], (0, 3, 0, 1)),
        ([10, 4, 10**25], (10, 4, 0, 1)),
        ([10, 4, -3], (10, 4, 0, 1)),
    ],
)
def test_impossible_counts_of_older_rows(tmp_path: Path, tokens: list[int], wanted: tuple[int, int, int, int]) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append([row("a", tokens=tokens, response="ten letter")])
    with Ledger(tmp_path) as ledger:
        for found in (ledger.entries["a"], ledger.paid["r", "t"]):
            assert (found.tokens_in, found.tokens_out, found.tokens_cached, found.estimated) == wanted


def test_files_that_are_no_locks_of_ours_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    for name in ("foo.lock", "a-b-c~1.lock", "0000-ffff.lock", "~.lock"):
        (tmp_path / "locks" / name).write_text("")
    with Ledger(tmp_path, patience=0):
        pass


def test_not_open_is_said(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="not open"):
        Ledger(tmp_path).append([row("a")])


def test_all_styles_of_a_passage_lie_together() -> None:
    assert part_of("a text") == part_of("a text") != part_of("another text")
    assert len(part_of("\ud800")) == 4
