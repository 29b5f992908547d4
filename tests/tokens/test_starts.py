"""Where documents begin: looked up with and without room for all tables, and each table read no more than needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.support import make_set
from tokenmill.core.errors import ShardError
from tokenmill.tokens import starts, views
from tokenmill.tokens.loader import TokenLoader
from tokenmill.tokens.starts import DocumentStarts
from tokenmill.tokens.tokenset import TokenSet, TokenShard
from tokenmill.tokens.views import WholeView

documents = st.lists(st.integers(1, 9), max_size=3)
TIGHT = 100
"""Bytes: 12 documents."""


@examples(8, 30)
@given(
    st.lists(st.lists(documents, max_size=9), min_size=1, max_size=3),
    st.sampled_from([0, None]),
    st.integers(1, 4),
    st.sampled_from([0, TIGHT, 1 << 20]),
    st.booleans(),
    st.data(),
)
def test_any_room(shards: Any, eos: int | None, group: int, room: int, statistics: bool, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        tokens = make_set(Path(folder), shards, eos_id=eos, row_group_rows=group)
        if not statistics:
            for shard in tokens:
                pq.write_table(shard.documents(), shard.documents_path, row_group_size=group, write_statistics=False)
        found = DocumentStarts(tokens.shards, room)
        for _ in range(6):
            number = data.draw(st.integers(0, len(shards) - 1))
            lengths = [len(ids) + (eos is not None) for ids in shards[number]]
            wanted = np.cumsum([0, *lengths])
            low = data.draw(st.integers(0, len(wanted)))
            high = data.draw(st.integers(low, len(wanted)))
            assert found.between(number, low, high).tolist() == wanted[low:high].tolist()
            assert found.whole(number).tolist() == wanted.tolist()
            for position in range(wanted[-1]):
                assert found.document_at(number, position) == np.searchsorted(wanted, position, side="right") - 1


@pytest.fixture
def tokens(tmp_path: Path) -> TokenSet:
    shards = [[[n] * (n % 3) for n in range(1, 61)] for _ in range(6)]
    return make_set(tmp_path, shards, eos_id=None, row_group_rows=10)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often tables were read, and how many tables and row groups."""
    count: Counter[str] = Counter()
    documents_of, opened = TokenShard.documents, starts.pq.ParquetFile

    def counted(shard: TokenShard, columns: Any = None) -> pa.Table:
        count["tables"] += 1
        return documents_of(shard, columns)

    class Counted(opened):  # type: ignore[misc, valid-type]
        def read_row_group(self, *args: Any, **options: Any) -> pa.Table:
            count["row groups"] += 1
            return super().read_row_group(*args, **options)

    monkeypatch.setattr(TokenShard, "documents", counted)
    monkeypatch.setattr(starts.pq, "ParquetFile", Counted)
    return count


def test_tables_are_read_once(tokens: TokenSet, reads: Counter[str]) -> None:
    """Rows without EOS look up documents all over the set."""
    for epochs in (1, 3):
        reads.clear()
        with TokenLoader(tokens, sequence_length=4, batch_size=5, prefetch=0, epochs=epochs) as loader:
            assert len(list(loader)) == len(loader) > 10
        assert reads == {"tables": 6}


def test_beyond_the_room_row_groups_are_read(
    tokens: TokenSet, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "DocumentStarts", lambda shards: DocumentStarts(shards, 2000))
    view = WholeView(tokens)
    for _ in range(3):
        assert view.boundaries(63, 65).tolist() == [63, 64]
    assert reads == {"row groups": 1}
    every = [view.boundaries(start, start + 1) for start in range(view.tokens)]
    assert sum(map(len, every)) == 6 * 40
    assert reads["row groups"] == 36
    held = view.pool._starts._chunks
    assert 20 <= len(held) <= 25
    assert sum(chunk.nbytes for chunk in held.values()) <= 2000


def damaged(tokens: TokenSet, change: Any) -> None:
    path = tokens.shards[1].documents_path
    pq.write_table(change(pq.read_table(path)), path, row_group_size=10)


def swapped(table: pa.Table) -> pa.Table:
    """Two documents within a row group are in the wrong order, which statistics do not show."""
    order = [*range(15), 16, 15, *range(17, 60)]
    return table.take(order)


DAMAGE: list[tuple[Any, str]] = [
    (lambda table: table.slice(0, 50), "does not fit its shard"),
    (lambda table: table.slice(0, 0), "does not fit its shard"),
    (lambda table: table.slice(10), "does not fit its shard"),
    (lambda table: table.take([*range(30, 60), *range(30)]), "does not fit its shard"),
    (swapped, "does not fit its shard"),
    (lambda table: table.drop_columns(["token_start"]), "cannot be read"),
    (lambda table: table.set_column(0, "token_start", pa.array(["x"] * 60)), "does not fit its shard"),
    (lambda table: table.set_column(0, "token_start", pa.array([None] * 60, pa.int64())), "does not fit its shard"),
]


@pytest.mark.parametrize("room", [0, 1 << 20])
@pytest.mark.parametrize(("change", "what"), DAMAGE)
def test_damaged_tables(tokens: TokenSet, room: int, change: Any, what: str) -> None:
    damaged(tokens, change)
    found = DocumentStarts(tokens.shards, room)
    assert found.document_at(0, 0) == 0
    for ask in (lambda: found.between(1, 0, 60), lambda: [found.document_at(1, n) for n in range(40)]):
        with pytest.raises(ShardError, match=what):
            ask()
    tokens.shards[1].documents_path.write_bytes(b"PAR1")
    with pytest.raises(ShardError, match="cannot be read"):
        DocumentStarts(tokens.shards, room).document_at(1, 0)
