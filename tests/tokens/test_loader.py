"""The loader: every sequence once an epoch, the same for any ranks, and exact at every step after a resume."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.support import make_set
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.tokens.document_view import DocumentView
from tokenmill.tokens.loader import TokenLoader
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.views import WholeView

T = 8
PACKINGS = ("concatenate", "best_fit")


def documents(count: int, shards: int, seed: int = 0) -> list[list[list[int]]]:
    random = np.random.default_rng(seed)
    every = [random.integers(1, 60_000, random.integers(0, 30)).tolist() for _ in range(count)]
    return [every[at::shards] for at in range(shards)]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    return make_set(tmp_path_factory.mktemp("set"), documents(120, 3))


def loader(data: Any, **options: Any) -> TokenLoader:
    return TokenLoader(
        data, **{"sequence_length": T, "batch_size": 4, "window_documents": 17, "prefetch": 0, **options}
    )


def rows(batches: Sequence[Any]) -> list[tuple[int, ...]]:
    """Ids of all sequences, with their labels."""
    return [
        tuple([*ids, *labels])
        for batch in batches
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    ]


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether the batches have the same arrays."""
    return len(one) == len(other) and all(
        list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a) and a.keys() == b.keys()
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shuffle", ["sequences", "none"])
def test_every_sequence_once_an_epoch(tokens: TokenSet, packing: str, shuffle: str) -> None:
    options = {"packing": packing, "last_sequence": "pad", "last_batch": "keep", "shuffle": shuffle}
    one = loader(tokens, **options)
    first = rows(list(one))
    assert one.tokens_seen == WholeView(tokens).tokens == sum(map(len, flat(tokens)))
    assert one.epochs_seen == 1
    assert len(first) == one.report().sequences
    ids = sorted(token for row in first for token in row[:T])
    assert ids == sorted([token for text in flat(tokens) for token in text] + [0] * one.report().padding)
    twice = rows(list(loader(tokens, epochs=2, **options)))
    assert twice[: len(first)] == first
    assert sorted(twice[len(first) :]) == sorted(first)
    if shuffle == "sequences":
        assert twice[len(first) :] != first
        assert first != rows(list(loader(tokens, **options, seed=1)))
    else:
        assert twice[len(first) :] == first


def flat(tokens: TokenSet) -> list[list[int]]:
    view = WholeView(tokens)
    starts = view.document_starts(0, view.documents).tolist()
    return [view.read(a, b).tolist() for a, b in pairwise(starts)]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("last_batch", ["keep", pytest.param("drop", marks=pytest.mark.ci)])
def test_ranks_share_the_global_batch(tokens: TokenSet, packing: str, last_batch: str) -> None:
    options = {"packing": packing, "last_batch": last_batch, "epochs": 2}
    alone = list(loader(tokens, batch_size=8, **options))
    for world in (2, 4, 8):
        ranks = [list(loader(tokens, batch_size=8 // world, world_size=world, rank=r, **options)) for r in range(world)]
        assert {len(batches) for batches in ranks} == {len(alone)}
        for step, batch in enumerate(alone):
            wanted = rows([batch])
            for rank, batches in enumerate(ranks):
                assert rows([batches[step]]) == wanted[rank::world]


def test_length(tokens: TokenSet) -> None:
    for packing in PACKINGS:
        for last_batch in ("drop", "keep"):
            for view in (WholeView(tokens), DocumentView(tokens, range(100), seed=3)):
                one = loader(view, packing=packing, last_batch=last_batch, epochs=3, batch_size=7)
                assert len(one) == len(list(one)) > 20
    with pytest.raises(TypeError, match="no length"):
        len(loader(tokens, epochs=None))
    endless = loader(tokens, epochs=None, batch_size=100)
    assert [next(endless)["input_ids"].shape for _ in range(10)] == [(100, T)] * 10
    assert endless.epochs_seen > 3


@examples(6, 25)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_resume_at_any_step(tokens: TokenSet, data: st.DataObject) -> None:
    packing, shuffle = data.draw(st.sampled_from(PACKINGS)), data.draw(st.sampled_from(["sequences", "none"]))
    world, batch = data.draw(st.sampled_from([(1, 6), (2, 3), (3, 2), (6, 1)]))
    options = {"packing": packing, "shuffle": shuffle, "epochs": 2, "seed": data.draw(st.integers(0, 3))}
    if data.draw(st.booleans()):
        view: Any = DocumentView(tokens, range(90), seed=1)
    else:
        view = WholeView(tokens)

    def made(rank: int, world: int, batch: int) -> TokenLoader:
        prefetch = data.draw(st.integers(0, 3))
        return loader(view, rank=rank, world_size=world, batch_size=batch, prefetch=prefetch, **options)

    rank = data.draw(st.integers(0, world - 1))
    every = list(made(rank, world, batch))
    step = data.draw(st.integers(0, len(every)))
    with made(rank, world, batch) as first:
        before = [next(first) for _ in range(step)]
        state = json.loads(json.dumps(first.state_dict()))
        assert (state["step"], first.step) == (step, step)
    again = made(rank, world, batch)
    again.load_state_dict(state)
    assert same(before + list(again), every)
    # with other ranks the sequences go on all the same
    other = made(0, 1, 6)
    other.load_state_dict(state)
    alone = made(0, 1, 6)
    assert same(list(other), list(alone)[step:])


def test_a_resume_with_another_size_of_batches(tokens: TokenSet) -> None:
    for packing in PACKINGS:
        every = rows(list(loader(tokens, packing=packing, batch_size=1)))
        first = loader(tokens, packing=packing, batch_size=4)
        before = rows([next(first) for _ in range(5)])
        second = loader(tokens, packing=packing, batch_size=3, world_size=2)
        second.load_state_dict(first.state_dict())
        third = loader(tokens, packing=packing, batch_size=3, world_size=2, rank=1)
        third.load_state_dict(first.state_dict())
        after = [row for pair in zip(rows(list(second)), rows(list(third)), strict=True) for row in pair]
        assert before + after == every[: len(before) + len(after)]
        assert len(every) - len(before) - len(after) < 6
        assert second.tokens_seen == third.tokens_seen


@pytest.mark.parametrize("packing", PACKINGS)
def test_places_of_a_batch(tokens: TokenSet, packing: str) -> None:
    ids = {shard.name: shard.ids for shard in tokens.shards}
    for view in (WholeView(tokens), DocumentView(tokens, range(60), seed=1)):
        one = loader(view, packing=packing, epochs=2, prefetch=2, batch_size=3, world_size=2, rank=1)
        assert one.places() == []
        starts = {WholeView(tokens).place(at) for at in WholeView(tokens).document_starts(0, 120)[:-1].tolist()}
        for batch in one:
            places = one.places()
            bounds = batch["cu_seqlens"].tolist()
            for row, parts in enumerate(places):
                read = [token for shard, start, count in parts for token in ids[shard][start : start + count]]
                assert batch["input_ids"][row].tolist() == read + [0] * (T - len(read))
                at = row * T
                for number, (shard, start, count) in enumerate(parts):
                    assert {at, at + count} <= set(bounds)
                    # what is left of a long document may stand behind others where sequences are filled
                    assert number == 0 or (shard, start) in starts or packing == "best_fit"
                    at += count


def test_prefetching_changes_nothing(tokens: TokenSet) -> None:
    wanted = list(loader(tokens, packing="best_fit", epochs=2))
    for prefetch in (1, 2, 9):
        assert same(list(loader(tokens, packing="best_fit", epochs=2, prefetch=prefetch)), wanted)


@pytest.mark.parametrize("packing", PACKINGS)
def test_documents_of_a_view_have_another_order_every_epoch(tokens: TokenSet, packing: str) -> None:
    view = DocumentView(tokens, range(100), seed=4)
    options = {"packing": packing, "shuffle": "none", "last_sequence": "pad", "last_batch": "keep", "batch_size": 1}
    one = loader(view, epochs=3, **options)
    found: list[list[int]] = [[], [], []]
    while one.step < len(one):
        found[one.state_dict()["sequences"] * 3 // len(one)] += next(one)["input_ids"].ravel().tolist()
    assert one.tokens_seen == 3 * view.tokens
    for epoch, ids in enumerate(found):
        read = view.in_epoch(epoch).read(0, view.tokens).tolist()
        if packing == "concatenate":
            assert [*read, *[0] * (-len(read) % T)] == ids
            assert sorted(ids) == sorted(found[0])
        assert ids != found[epoch - 1]


def test_going_back(tokens: TokenSet) -> None:
    one = loader(tokens, prefetch=3)
    begin = one.state_dict()
    wanted = [next(one) for _ in range(5)]
    for _ in range(3):
        one.load_state_dict(begin)
        assert same([next(one) for _ in range(5)], wanted)
    one.close()


def test_stopping_and_going_on(tokens: TokenSet) -> None:
    wanted = list(loader(tokens))
    one = loader(tokens, prefetch=3)
    found = []
    for batch in one:
        found.append(batch)
        if len(found) == 5:
            break
    one.close()
    assert not threads()
    found += [next(one), next(one)]
    copy = pickle.loads(pickle.dumps(one))
    assert same([*found, *copy], wanted)
    assert same([*found, *one], wanted)
    assert list(one) == []
    assert not threads()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tokenmill-loader")]


def test_a_loader_that_is_forgotten_leaves_no_thread(tokens: TokenSet) -> None:
    one = loader(tokens, prefetch=2)
    next(one)
    mine = [thread for thread in threading.enumerate() if thread.name in threads()]
    assert mine
    del one
    for thread in mine:
        thread.join(30)
    assert not threads()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_damaged_shard_is_named_and_tried_again(tmp_path: Path, prefetch: int) -> None:
    tokens = make_set(tmp_path, documents(60, 2))
    wanted = list(loader(tmp_path, shuffle="none"))
    path = tokens.shards[1].path
    ids = path.read_bytes()
    one = loader(tmp_path, shuffle="none", prefetch=prefetch)
    path.write_bytes(ids[:-4])
    found = []
    with pytest.raises(ShardError, match=f"{path} cannot be mapped"):  # noqa: PT012
        while True:
            found.append(next(one))
    assert 0 < one.step == len(found) < len(wanted)
    assert not threads()
    path.write_bytes(ids)
    assert same([*found, *one], wanted)
    path.write_bytes(ids[:-4])
    with pytest.raises(ShardError, match=f"{path} is not the file"):
        loader(tmp_path)


def test_states_of_something_else_are_refused(tokens: TokenSet, tmp_path: Path) -> None:
    state = loader(tokens).state_dict()
    other = make_set(tmp_path, documents(120, 3, seed=1))
    changes: list[tuple[Any, dict[str, Any], str]] = [
        (other, {}, "data differs"),
        (DocumentView(tokens, range(120)), {}, "data differs"),
        (tokens, {"seed": 1}, "seed differs(.|\n)*seed was 0, now it is 1"),
        (tokens, {"sequence_length": 9}, "sequence_length differs"),
        (tokens, {"packing": "best_fit"}, "packing, predict_across, window_documents differs"),
        (tokens, {"shuffle": "none", "targets": False}, "shuffle, targets differs"),
        (tokens, {"last_sequence": "pad"}, "last_sequence differs"),
        (tokens, {"predict_across": False}, "predict_across was True, now it is False"),
    ]
    for data, options, message in changes:
        with pytest.raises(ConfigError, match=message):
            loader(data, **options).load_state_dict(state)
    for no_state in ({}, {"format": 1}, {**state, "format": 2}):
        with pytest.raises(ConfigError, match="no state of a token loader"):
            loader(tokens).load_state_dict(no_state)
    # what changes neither order nor contents may differ
    same_data = loader(tokens, boundaries=False, dtype="int32", prefetch=5, epochs=9, window_documents=3)
    same_data.load_state_dict(state)
    assert next(same_data).keys() == {"input_ids", "labels"}


def test_sources_seen(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"source": ["web", "code"] * 60, "epoch": [0] * 60 + [1] * 60}
    tokens = make_set(tmp_path, [[[n] * 7 for n in range(1, 121)]], tags=tags)
    one = loader(tokens, epochs=2)
    assert one.sources_seen()["web"] == {"tokens_seen": 0, "epochs_seen": 0}
    list(one)
    share = one.tokens_seen / WholeView(tokens).tokens
    assert 1.9 < share <= 2
    assert one.sources_seen()["code"] == {"tokens_seen": 480 * share, "epochs_seen": 2 * share}


def test_many_epochs_are_warned_of(tokens: TokenSet, caplog: pytest.LogCaptureFixture) -> None:
    loader(tokens, epochs=4)
    assert not caplog.records
    loader(tokens, epochs=5)
    assert [record.message for record in caplog.records] == [
        "5 epochs: beyond 4, repeated data adds little (arXiv:2305.16264)"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": "sequence"}, "did you mean 'sequences'"),
        ({"last_batch": "pad"}, "last_batch='pad' is not known"),
        ({"rank": 2, "world_size": 2}, "rank=2 is not one of 2 ranks"),
        ({"batch_size": 0}, "batch_size=0 is too small"),
        ({"batch_size": 2**28}, "batch_size=268435456 is too large for sequence_length=8"),
        ({"epochs": 0}, "epochs=0 is too small"),
        ({"prefetch": -1}, "prefetch=-1 is too small"),
        ({"packing": "first_fit"}, "packing='first_fit' is not known"),
        ({"sequence_length": 10**6}, "not a single sequence(.|\n)*tokens, a sequence 1000000"),
    ],
)
def test_wrong_settings(tokens: TokenSet, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loader(tokens, **options)


def test_the_order_never_changes(tmp_path: Path) -> None:
    """Resuming a training run with a later version must go on in the same order."""
    tokens = make_set(tmp_path, [[[n] for n in range(1, 13)]])
    for options, wanted in (
        ({}, [12, 7, 6, 4, 10, 11, 1, 5, 8, 9, 3, 2]),
        ({"packing": "best_fit", "window_documents": 4}, [6, 7, 8, 5, 1, 4, 3, 2, 9, 11, 10, 12]),
    ):
        one = loader(tokens, sequence_length=2, batch_size=1, last_sequence="pad", **options)
        assert [int(batch["input_ids"][0, 0]) for batch in one] == wanted
    view = DocumentView(tokens, range(12), seed=5)
    assert view.read(0, 24)[::2].tolist() == [6, 10, 4, 5, 1, 2, 9, 3, 7, 8, 12, 11]
