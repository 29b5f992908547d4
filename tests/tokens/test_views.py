"""Views against plain lists of documents."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.support import make_set
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.tokens.document_view import DocumentView
from tokenmill.tokens.formats.registry import format_names
from tokenmill.tokens.views import SourceTokens, TokenView, WholeView

EOS = 0
documents = st.lists(st.integers(1, 60_000), max_size=12)
sets = st.lists(st.lists(documents, max_size=6), min_size=1, max_size=4)


def flat(shards: Sequence[Sequence[Sequence[int]]], eos: int | None) -> list[list[int]]:
    """All documents, EOS included."""
    return [[*ids, *([] if eos is None else [eos])] for shard in shards for ids in shard]


def check_view(view: TokenView, wanted: Sequence[Sequence[int]], data: st.DataObject) -> None:
    """The view is these documents one behind the other."""
    ids = [one for document in wanted for one in document]
    begins = np.cumsum([0, *map(len, wanted)]).tolist()
    assert (view.tokens, view.documents) == (len(ids), len(wanted))
    assert view.read(0, view.tokens).tolist() == ids
    start = data.draw(st.integers(0, len(ids)))
    stop = data.draw(st.integers(start, len(ids)))
    assert view.read(start, stop).tolist() == ids[start:stop]
    filled = {begin for begin, document in zip(begins, wanted, strict=False) if document}
    assert view.boundaries(start, stop).tolist() == [at for at in range(start, stop) if at in filled]
    first = data.draw(st.integers(0, len(wanted)))
    last = data.draw(st.integers(first, len(wanted)))
    assert view.document_starts(first, last).tolist() == begins[first : last + 1]
    if start < len(ids):
        number = view.document_at(start)
        assert begins[number] <= start < begins[number + 1]
        shard, place = view.place(start)
        assert next(one for one in view.set.shards if one.name == shard).ids[place] == ids[start]


@examples(12, 40)
@settings(deadline=None, max_examples=40)
@given(sets, st.sampled_from([EOS, None]), st.data())
def test_a_whole_set(shards: Any, eos: int | None, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        view = WholeView(make_set(Path(folder), shards, eos_id=eos))
        check_view(view, flat(shards, eos), data)
        check_view(pickle.loads(pickle.dumps(view)), flat(shards, eos), data)


@examples(12, 40)
@settings(deadline=None, max_examples=40)
@given(sets, st.sampled_from([EOS, None]), st.data())
def test_chosen_documents(shards: Any, eos: int | None, data: st.DataObject) -> None:
    every = flat(shards, eos)
    numbers = data.draw(st.lists(st.integers(0, len(every) - 1), max_size=12)) if every else []
    with TemporaryDirectory() as folder:
        found = make_set(Path(folder), shards, eos_id=eos)
        given_order = DocumentView(found, numbers, seed=None)
        check_view(given_order, [every[number] for number in numbers], data)
        assert given_order.in_epoch(3) is given_order
        view = DocumentView(found, numbers, seed=data.draw(st.integers(0, 9)))
        for one in (view, view.in_epoch(1), pickle.loads(pickle.dumps(view.in_epoch(1)))):
            starts = one.document_starts(0, one.documents).tolist()
            read = [one.read(*pair).tolist() for pair in pairwise(starts)]
            check_view(one, read, data)
            assert sorted(read) == sorted(every[number] for number in numbers)


def counted(count: int, shards: int = 2) -> list[list[list[int]]]:
    """Documents that are their own number and as long as it says, modulo 7."""
    every = [[number] * (number % 7 + 1) for number in range(1, count + 1)]
    return [every[at::shards] for at in range(shards)]


def order_of(view: TokenView) -> list[int]:
    return [int(view.read(start, start + 1)[0]) for start in view.document_starts(0, view.documents)[:-1].tolist()]


def test_views_with_one_seed_agree_about_shared_documents(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(200))
    one, other = DocumentView(tokens, range(0, 150), seed=1), DocumentView(tokens, range(199, 50, -1), seed=1)
    shared = set(order_of(one)) & set(order_of(other))
    assert len(shared) == 99
    assert [n for n in order_of(one) if n in shared] == [n for n in order_of(other) if n in shared]
    orders = [order_of(one), order_of(one.in_epoch(1)), order_of(one.in_epoch(2))]
    orders += [order_of(DocumentView(tokens, range(150), seed=2))]
    for number, order in enumerate(orders):
        assert sorted(order) == sorted(orders[0])
        for another in orders[:number]:
            assert sum(a == b for a, b in zip(order, another, strict=True)) < 12
    assert order_of(one.in_epoch(2).in_epoch(0)) == order_of(one)
    assert one.in_epoch(1).fingerprint == one.fingerprint != other.fingerprint


def test_another_pool_with_the_same_documents_has_the_same_order(tmp_path: Path) -> None:
    def tags(order: Sequence[int]) -> dict[str, list[str]]:
        return {"doc_id": [f"d{n}" for n in order]}

    here = make_set(tmp_path / "a", [[[n] for n in range(1, 61)]], tags=tags(range(1, 61)))
    there = make_set(tmp_path / "b", [[[n] for n in range(60, 0, -1)]], tags=tags(range(60, 0, -1)))
    assert order_of(DocumentView(here, range(60))) == order_of(DocumentView(there, range(60)))


def test_the_order_by_ids_does_not_depend_on_files(tmp_path: Path) -> None:
    """Pages that were read from other files: their `doc_id` differs, and the page without an id has that alone."""
    sets, orders = [], []
    for name, order in (("a", range(1, 61)), ("b", range(60, 0, -1))):
        ids = [f"page-{n}" if n > 1 else None for n in order]
        tags = {"doc_id": ["last" if n == 1 else f"{name}#{row}" for row, n in enumerate(order)], "id": ids}
        sets.append(make_set(tmp_path / name, [[[n] for n in order]], tags=tags))
        orders.append(order_of(DocumentView(sets[-1], range(60), seed=3, by=("id", "doc_id"))))
    assert orders[0] == orders[1]
    assert order_of(DocumentView(sets[0], range(60), seed=3)) != order_of(DocumentView(sets[1], range(60), seed=3))


def test_copies_of_a_document_are_not_neighbours(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(40))
    order = order_of(DocumentView(tokens, [*range(40)] * 5))
    assert Counter(order) == dict.fromkeys(range(1, 41), 5)
    assert sum(a == b for a, b in pairwise(order)) < 16


def test_weights(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(600))
    view = DocumentView(tokens, range(600), weights=[2.5] * 300 + [0.0] * 100 + [1.0] * 200)
    copies = Counter(order_of(view))
    numbers = [n for shard in counted(600) for n, *_ in shard]
    assert {copies[n] for n in numbers[:300]} == {2, 3}
    assert 700 < sum(copies[n] for n in numbers[:300]) < 800
    assert not any(copies[n] for n in numbers[300:400])
    assert all(copies[n] == 1 for n in numbers[400:])
    for weights in ([1.0], [-1.0] * 600, [np.nan] * 600):
        with pytest.raises(ConfigError, match="weights do not fit"):
            DocumentView(tokens, range(600), weights=weights)


def test_by_ids_and_by_conditions(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(30, shards=3), tags={"score": [None, *range(29)], "topic": ["a", "b"] * 15})
    numbers = [n for shard in counted(30, shards=3) for n, *_ in shard]
    view = DocumentView.of_ids(tokens, [f"a.warc.gz#{n}000" for n in (28, 3, 3, 11)], seed=None)
    assert order_of(view) == [numbers[3], numbers[11], numbers[28]]
    assert order_of(DocumentView.of_ids(tokens, ["<urn:uuid:4>"], column="id")) == [numbers[4]]
    assert DocumentView.of_ids(tokens, ["x"], missing="ignore").documents == 0
    high = DocumentView.where(tokens, pc.field("score") >= 20, columns=["score"], seed=None)
    assert order_of(high) == numbers[21:]
    both = DocumentView.where(tokens, lambda table: pc.and_(pc.less(table["score"], 9), pc.equal(table["topic"], "b")))
    assert sorted(order_of(both)) == sorted(numbers[1:10:2])
    assert DocumentView.where(tokens, lambda table: np.zeros(len(table), bool)).tokens == 0


def test_save_and_load(tmp_path: Path) -> None:
    tokens = make_set(tmp_path / "set", counted(50))
    view = DocumentView(tokens, [5, 3, 3, *range(20, 50)], seed=7, weights=[1.5] * 33)
    view.save(tmp_path / "arm.parquet")
    again = DocumentView.load(tmp_path / "arm.parquet", tmp_path / "set")
    assert again.fingerprint == view.fingerprint
    for epoch in range(2):
        ids = view.in_epoch(epoch).read(0, view.tokens)
        assert again.in_epoch(epoch).read(0, again.tokens).tolist() == ids.tolist()
    make_set(tmp_path / "other", counted(51))
    with pytest.raises(ConfigError, match="a view of another token set"):
        DocumentView.load(tmp_path / "arm.parquet", tmp_path / "other")
    with pytest.raises(ConfigError, match="no view of a token set"):
        DocumentView.load(tokens.shards[0].documents_path, tokens)
    with pytest.raises(ConfigError, match="no view of a token set"):
        DocumentView.load(tmp_path / "nothing", tokens)


def test_some_shards(tmp_path: Path) -> None:
    shards = counted(30, shards=3)
    tokens = make_set(tmp_path, shards)
    view = WholeView(tokens, shards=["00002", "00000"])
    assert order_of(view) == [n for at in (2, 0) for n, *_ in shards[at]]
    assert order_of(pickle.loads(pickle.dumps(view))) == order_of(view)
    assert len({WholeView(tokens, names).fingerprint for names in (None, ["00000"], ["00001"])}) == 3
    with pytest.raises(ConfigError, match="did you mean '00002'"):
        WholeView(tokens, shards=["0002"])


def test_every_layout_that_can_be_mapped(tmp_path: Path) -> None:
    documents = counted(30, shards=3)
    wanted = [one for ids in flat(documents, EOS) for one in ids]
    for layout in format_names():
        view = WholeView(make_set(tmp_path / layout, documents, layout))
        assert view.read(0, view.tokens).tolist() == wanted
        assert view.read(17, 23).tolist() == wanted[17:23]


def test_sources(tmp_path: Path) -> None:
    shards = [[[1] * 3, [2] * 4], [[3] * 5, [1] * 3]]
    tokens = make_set(tmp_path, shards, tags={"source": ["web", "code", None, "web"], "epoch": [0, 0, 0, 1]})
    assert WholeView(tokens).sources() == {"": (6, 6), "code": (5, 5), "web": SourceTokens(tokens=8, unique=4)}
    assert DocumentView(tokens, [0, 1, 1, 3]).sources() == {"code": (10, 5), "web": (8, 4)}
    assert WholeView(make_set(tmp_path / "none", shards)).sources() == {}


def test_a_pickled_view_has_no_ids(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, [[[1] * 50_000]])
    for view in (WholeView(tokens), DocumentView(tokens, [0])):
        view.read(0, 50_000)
        assert len(pickle.dumps(view)) < 2000


def test_damage_is_named(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(30))
    WholeView(tokens).check()
    path = tokens.shards[1].path
    path.write_bytes(path.read_bytes()[:-2])
    view = WholeView(tmp_path)
    with pytest.raises(ShardError, match=rf"{path} is not the file(.|\n)* bytes and not "):
        view.check()
    view.read(0, tokens.shards[0].tokens)
    with pytest.raises(ShardError, match=f"{path} cannot be mapped"):
        view.read(0, view.tokens)
    path.unlink()
    with pytest.raises(ShardError, match="it is not there"):
        view.check()


def test_a_table_that_does_not_fit_its_shard(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(30))
    first, second = (shard.documents_path for shard in tokens.shards)
    second.write_bytes(make_set(tmp_path / "other", [[[1]] * 14]).shards[0].documents_path.read_bytes())
    assert WholeView(tokens).boundaries(0, 4).tolist() == [0, 3]
    with pytest.raises(ShardError, match=f"{second} does not fit its shard"):
        WholeView(tokens).document_at(tokens.manifest.tokens - 1)
    table = tokens.shards[0].documents()
    for starts in (list(range(1, 16)), [*range(14), 10**6], [0, 2, 1, *range(3, 15)]):
        pq.write_table(table.set_column(0, "token_start", pa.array(starts, pa.int64())), first)
        with pytest.raises(ShardError, match=f"{first} does not fit its shard"):
            WholeView(tokens).document_at(0)
    first.write_bytes(b"PAR1")
    with pytest.raises(ShardError, match=f"{first} cannot be read"):
        WholeView(tokens).document_at(0)


def test_wrong_settings(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, counted(30))
    for numbers in ([3, 30], [-1]):
        with pytest.raises(ConfigError, match=f"no document number {numbers[-1]}\n(.|\n)*0 to 29"):
            DocumentView(tokens, numbers)
    with pytest.raises(ConfigError, match=r"1 of 2 ids are not in the token set(.|\n)*has the doc_id nowhere"):
        DocumentView.of_ids(tokens, ["a.warc.gz#0", "nowhere"])
    with pytest.raises(ConfigError, match="no column 'score'"):
        DocumentView.where(tokens, pc.field("score") > 1, columns=["score"])
    with pytest.raises(ConfigError, match="missing='drop' is not known"):
        DocumentView.of_ids(tokens, [], missing="drop")
    for positions in ((5, 4), (-1, 3), (0, 10**6)):
        with pytest.raises(ValueError, match="are not inside"):
            WholeView(tokens).read(*positions)
    with pytest.raises(ValueError, match="is not inside"):
        WholeView(tokens).place(10**6)
    with pytest.raises(ValueError, match="is not inside"):
        DocumentView(tokens, [1]).document_at(10**6)
