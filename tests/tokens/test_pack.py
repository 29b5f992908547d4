"""Sequences against slow twins: every token once, none crosses, and what batches say about documents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.support import make_set
from tokenmill.core.errors import ConfigError
from tokenmill.text.pack_kernel import best_fit
from tokenmill.tokens.document_view import DocumentView
from tokenmill.tokens.pack import (
    IGNORED,
    Batch,
    Packing,
    PackSettings,
    Rows,
    best_fit_pieces,
    pack,
    positions,
    segment_numbers,
)
from tokenmill.tokens.views import WholeView

sizes = st.lists(st.integers(0, 40), max_size=60)


def best_fit_twin(lengths: Sequence[int], room: int) -> list[int]:
    """The bin of each piece: where it leaves the least; among equals the one that was filled last."""
    bins: list[int] = []
    left: list[int] = []
    filled: list[int] = []
    for time, length in enumerate(lengths):
        fits = [number for number in range(len(left)) if left[number] >= length]
        if fits:
            chosen = min(fits, key=lambda number: (left[number], -filled[number]))
        else:
            chosen = len(left)
            left.append(room)
            filled.append(0)
        left[chosen] -= length
        filled[chosen] = time
        bins.append(chosen)
    return bins


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 70), st.data())
def test_the_kernel_is_its_twin(room: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, room), max_size=80))
    bins = np.empty(len(lengths), np.int32)
    count = best_fit(np.array(lengths, np.int64), room, bins)
    assert bins.tolist() == best_fit_twin(lengths, room)
    assert count == len(set(bins.tolist()))


def next_fit_bins(lengths: Sequence[int], room: int) -> int:
    """Bins where each piece goes into the last one or a new one."""
    count, left = 0, 0
    for length in lengths:
        if length > left:
            count, left = count + 1, room
        left -= length
    return count


@settings(deadline=None, max_examples=120)
@given(sizes, st.integers(1, 20), st.integers(0, 10**12))
def test_pieces_of_documents(lengths: list[int], room: int, first: int) -> None:
    starts = np.cumsum([first, *lengths])
    pieces = best_fit_pieces(starts, room)
    taken = [at for s, n in zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True) for at in range(s, s + n)]
    assert sorted(taken) == list(range(first, first + sum(lengths)))
    stops = set(starts[1:].tolist())
    for start, length, end in zip(pieces.starts.tolist(), pieces.lengths.tolist(), pieces.ends.tolist(), strict=True):
        assert 0 < length <= room
        assert end == (start + length in stops)
        assert not any(start < stop < start + length for stop in stops)
        assert end or length == room
    assert (pieces.offsets[0], pieces.offsets[-1]) == (0, len(pieces.starts))
    fills = [int(pieces.lengths[a:b].sum()) for a, b in pairwise(pieces.offsets)]
    assert all(0 < fill <= room for fill in fills)
    # no two sequences could be one
    assert len(fills) < 2 or sum(sorted(fills)[:2]) > room


def test_long_sequences_and_long_documents() -> None:
    lengths = np.random.default_rng(0).integers(1, 200_000, 3000)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for room in (65_535, 65_536, 131_072):
        pieces = best_fit_pieces(starts, room)
        assert pieces.lengths.sum() == lengths.sum()
        assert pieces.lengths.sum() / (len(pieces.offsets) - 1) / room > 0.98


def test_best_fit_fills_real_lengths() -> None:
    lengths = np.random.default_rng(0).lognormal(6.2, 1.1, 20_000).astype(np.int64) + 1
    pieces = best_fit_pieces(np.concatenate([[0], np.cumsum(lengths)]), 2048)
    best = lengths.sum() / ((len(pieces.offsets) - 1) * 2048)
    cut = [part for size in lengths.tolist() for part in [2048] * (size // 2048) + [size % 2048] if part]
    assert best > 0.999
    assert lengths.sum() / (next_fit_bins(cut, 2048) * 2048) < 0.85


def every_row(packing: Packing) -> Batch:
    """All sequences of a view in one batch, in the order of their numbers."""
    blocks = [packing.block(number) for number in range(packing.blocks)]
    rows = Rows(sum(block.sequences for block in blocks), packing.settings.sequence_length, packing.view.dtype)
    done = 0
    for block in blocks:
        block.fill(np.arange(block.sequences), rows.part(done, done + block.sequences))
        done += block.sequences
    return rows.batch(packing.settings)


def segments_of(batch: Batch) -> list[list[tuple[int, int]]]:
    """(start, stop) of the segments of each row, from cu_seqlens, padding excluded; the other arrays must agree."""
    count, length = batch["input_ids"].shape
    bounds = batch["cu_seqlens"].tolist()
    found: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for start, stop in pairwise(bounds):
        assert start < stop
        row, low = divmod(start, length)
        high = low + stop - start
        assert high <= length
        assert batch["position"][row, low:high].tolist() == list(range(high - low))
        number = set(batch["document"][row, low:high].tolist())
        if number != {-1}:
            assert number == {len(found[row])}
            found[row].append((low, high))
        else:
            assert high == length
            assert not batch["input_ids"][row, low:].any()
    return found


shards = st.lists(
    st.lists(st.lists(st.integers(1, 999), max_size=9), max_size=6), min_size=1, max_size=3
)  # ids of documents


@examples(15, 50)
@given(
    shards,
    st.integers(1, 8),
    st.sampled_from([0, None, 999]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["drop", "pad"]),
)
def test_concatenated(documents: Any, length: int, eos: int | None, targets: bool, across: bool, last: str) -> None:
    clean = [[[one for one in ids if one != eos] for ids in shard] for shard in documents]
    texts = [[*ids, *([] if eos is None else [eos])] for shard in clean for ids in shard]
    flat = [one for text in texts for one in text]
    owner = [number for number, text in enumerate(texts) for _ in text]
    with TemporaryDirectory() as folder:
        view = WholeView(make_set(Path(folder), clean, eos_id=eos))
        options = PackSettings(sequence_length=length, targets=targets, predict_across=across, last_sequence=last)
        packing = pack(view, options)
        batch = every_row(packing)
        report = packing.report
    count = -(-len(flat) // length) if last == "pad" else max(0, len(flat) - targets) // length
    assert batch["input_ids"].shape == (count, length)
    assert batch["input_ids"].reshape(-1).tolist()[: len(flat)] == flat[: count * length]
    padding = max(0, count * length - len(flat))
    assert report == (count, count * length - padding, padding, max(0, len(flat) - count * length))
    assert sum(packing.block(0).tokens_of(np.array([n])) for n in range(count)) == report.tokens
    for row, found in enumerate(segments_of(batch)):
        mine = owner[row * length : (row + 1) * length]
        assert found == runs(mine)
    if targets:
        wanted = [
            flat[at + 1] if at + 1 < len(flat) and (across or owner[at] == owner[at + 1]) else IGNORED
            for at in range(len(flat))
        ] + [IGNORED] * padding
        assert batch["labels"].reshape(-1).tolist() == wanted[: count * length]
    else:
        assert "labels" not in batch


def runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """(start, stop) of equal neighbours."""
    starts = [at for at in range(len(values)) if at == 0 or values[at] != values[at - 1]]
    return list(zip(starts, [*starts[1:], len(values)], strict=True)) if starts else []


@examples(15, 50)
@given(shards, st.integers(1, 8), st.sampled_from([0, None]), st.booleans(), st.booleans(), st.integers(1, 9))
def test_best_fit(documents: Any, length: int, eos: int | None, targets: bool, across: bool, window: int) -> None:
    # every token is another, so that sequences can be told apart
    number = iter(range(1, 10_000))
    unique = [[[next(number) for _ in ids] for ids in shard] for shard in documents]
    texts = [[*ids, *([] if eos is None else [eos])] for shard in unique for ids in shard]
    with TemporaryDirectory() as folder:
        view = WholeView(make_set(Path(folder), unique, eos_id=eos))
        options = PackSettings(
            sequence_length=length, packing="best_fit", targets=targets, predict_across=across, window_documents=window
        )
        packing = pack(view, options)
        batch = every_row(packing)
        report = packing.report
        one_shard = [[ids for shard in unique for ids in shard]]
        again = pack(WholeView(make_set(Path(folder) / "again", one_shard, eos_id=eos)), options)
        assert every_row(again)["input_ids"].tolist() == batch["input_ids"].tolist()
    assert (report.dropped, report.tokens) == (0, sum(map(len, texts)))
    assert report.padding == batch["input_ids"].size - report.tokens
    parts = [text[at : at + length] for text in texts for at in range(0, len(text), length)]
    found = []
    for row, segments in enumerate(segments_of(batch)):
        ids = batch["input_ids"][row].tolist()
        found += [ids[low:high] for low, high in segments]
        if targets:
            assert batch["labels"][row].tolist() == labels_twin(ids, segments, texts, across)
    assert sorted(found) == sorted(parts)


def labels_twin(
    ids: Sequence[int], segments: Sequence[tuple[int, int]], texts: Sequence[Sequence[int]], across: bool
) -> list[int]:
    """Next ids within documents, also behind the end of the sequence; between documents where they are wanted."""
    nexts = {one: text[at + 1] for text in texts for at, one in enumerate(text[:-1])}
    wanted = [IGNORED] * len(ids)
    for low, high in segments:
        wanted[low : high - 1] = ids[low + 1 : high]
        if ids[high - 1] in nexts:
            wanted[high - 1] = nexts[ids[high - 1]]
        elif across and high < segments[-1][1]:
            wanted[high - 1] = ids[high]
    return wanted


def test_what_is_not_asked_for_is_not_made(tmp_path: Path) -> None:
    view = WholeView(make_set(tmp_path, [[[1, 2, 3, 4, 5]]]))
    bare = pack(view, PackSettings(sequence_length=3, boundaries=(), targets=False, dtype="int32"))
    assert {name: array.dtype for name, array in every_row(bare).items()} == {"input_ids": np.dtype("int32")}
    some = pack(view, PackSettings(sequence_length=3, boundaries=("position",)))
    assert list(every_row(some)) == ["input_ids", "labels", "position"]


def test_ids_beyond_16_bits(tmp_path: Path) -> None:
    view = WholeView(make_set(tmp_path, [[[70_000, 69_999], [99_999]]], vocab_size=100_000))
    batch = every_row(pack(view, PackSettings(sequence_length=4)))
    assert (batch["input_ids"].tolist(), batch["labels"].tolist()) == (
        [[70_000, 69_999, 0, 99_999]],
        [[69_999, 0, 99_999, 0]],
    )


def test_views_of_documents_are_packed_alike(tmp_path: Path) -> None:
    documents = [[[n] * (n % 5 + 1) for n in range(1, 40)]]
    tokens = make_set(tmp_path, documents)
    for packing in ("concatenate", "best_fit"):
        options = PackSettings(sequence_length=7, packing=packing, window_documents=11)
        whole = every_row(pack(WholeView(tokens), options))
        chosen = every_row(pack(DocumentView(tokens, range(39), seed=None), options))
        for name, array in whole.items():
            assert array.tolist() == chosen[name].tolist()


def test_numbers_from_boundaries() -> None:
    bounds = np.array([0, 3, 4, 8, 12], np.int32)
    assert positions(bounds, 3, 4).tolist() == [[0, 1, 2, 0], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert segment_numbers(bounds, 3, 4).tolist() == [[0, 0, 0, 1], [0] * 4, [0] * 4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"packing": "best-fit"}, "did you mean 'best_fit'"),
        ({"last_sequence": "keep"}, "last_sequence='keep' is not known"),
        ({"boundaries": ("cu_seqlen",)}, "did you mean 'cu_seqlens'"),
        ({"dtype": "int16"}, "dtype='int16' is not known"),
        ({"sequence_length": 0}, "sequence_length=0 is out of range"),
        ({"window_documents": 2**31}, "out of range"),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackSettings(**{"sequence_length": 8, **wrong})
