"""Rows between the phases: from many files, in the order of documents."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenmill.io.filesystem import open_binary
from tokenmill.rephrase import passages
from tokenmill.rephrase.passages import Gathered, SortedWriter, texts_at


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often files are opened, and the most that are open at once."""
    seen = {"now": 0, "most": 0, "opened": 0}

    @contextmanager
    def counting(path: str) -> Iterator[Any]:
        seen["opened"] += 1
        seen["now"] += 1
        seen["most"] = max(seen["most"], seen["now"])
        try:
            with open_binary(path) as stream:
                yield stream
        finally:
            seen["now"] -= 1

    monkeypatch.setattr(passages, "open_binary", counting)
    yield seen


@pytest.mark.parametrize("held", [1, 3000, 1 << 20])
def test_rows_of_many_files_come_in_order_and_each_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    columns = {"shard": pa.int32(), "row": pa.int64(), "number": pa.int32(), "text": pa.string()}
    draw = random.Random(3)
    rows = [
        {"shard": shard, "row": row, "number": number, "text": f"{shard} {row} {number}"}
        for shard in range(3)
        for row in range(120)
        for number in range(row % 3)
    ]
    draw.shuffle(rows)
    paths = []
    for place in range(8):
        paths.append(str(tmp_path / f"{place}.parquet"))
        writer = SortedWriter(paths[-1], columns, ("shard", "row", "number"))
        for row in rows[place::8]:
            writer.add(row, 10)
        writer.close()
    beats: list[int] = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with counted(monkeypatch) as seen:
        gathered = Gathered(paths, 1, ("row", "number"), str(scratch), alive=lambda: beats.append(1), held=held)
        with gathered:
            found = [gathered.until(last) for last in (-1, 0, 50, 51, 119, 500)]
    assert [row for part in found for row in part] == sorted(
        (row for row in rows if row["shard"] == 1), key=lambda row: (row["row"], row["number"])
    )
    assert {row["row"] for row in found[2]} <= set(range(1, 51))
    assert seen == {"now": 0, "most": 1, "opened": 8}
    assert len(beats) == 8
    assert list(scratch.iterdir()) == []


def test_texts_of_some_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [f"t{n}" for n in range(10)]}), path, row_group_size=3)
    assert texts_at(path, {0, 5, 9}) == {0: "t0", 5: "t5", 9: "t9"}
    assert texts_at(path, set()) == {}
