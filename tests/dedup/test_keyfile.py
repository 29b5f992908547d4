"""Files of keys, candidates and clusters: what is written is what is found, in any number of ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.barrier import ShardData
from tokenmill.core.errors import ShardError
from tokenmill.dedup import candidates
from tokenmill.dedup.candidates import histogram, range_tasks
from tokenmill.dedup.clusters_kernel import flatten, runs, union
from tokenmill.dedup.groups import group
from tokenmill.dedup.keyfile import RANGES, KeyFile, write_keys

KEYS = st.lists(st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**56 - 1, 2**56, 2**63, 2**64 - 1])))


@settings(max_examples=50, deadline=None)
@given(st.lists(KEYS, max_size=3), st.sampled_from([1, 2, 16, 256]))
def test_what_is_written_is_read_in_any_number_of_ranges(
    tmp_path_factory: pytest.TempPathFactory, bands: list[list[int]], parts: int
) -> None:
    path = str(tmp_path_factory.mktemp("keys") / "a.keys")
    arrays = [(np.array(keys, np.uint64), np.arange(len(keys), dtype=np.uint32)) for keys in bands]
    write_keys(path, arrays, {"scheme": "s"})
    with KeyFile(path) as file:
        assert dict(file.about) == {"scheme": "s"}
        assert file.bands == len(bands)
        for band, keys in enumerate(bands):
            assert file.count(band) == len(keys)
            found = [file.slice(band, part, parts) for part in range(parts)]
            every = [(int(k), int(n)) for one, numbers in found for k, n in zip(one, numbers, strict=True)]
            assert every == sorted((key, number) for number, key in enumerate(keys))
            for part, (one, _) in enumerate(found):
                assert all(int(key) * parts >> 64 == part for key in one)


@pytest.mark.parametrize("size", [3, 20, 3000, -1])
def test_a_damaged_file_says_so(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.keys"
    write_keys(str(path), [(np.arange(100, dtype=np.uint64), np.arange(100, dtype=np.uint32))], {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ShardError, match=r"a\.keys"), KeyFile(str(path)) as file:
        file.slice(0)


def test_ranges_are_bounded_and_cover_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert range_tasks(10, 15) == ["bands-000-015.range-000-of-001"]
    assert len(range_tasks(10_000_000, 15)) == 15
    monkeypatch.setattr(candidates, "TASK_RECORDS", 100)
    assert len(range_tasks(90, 15)) == 15
    assert len(range_tasks(199, 15)) == 30
    assert len(range_tasks(10**9, 2)) == 2 * RANGES


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.data())
def test_clusters_are_those_of_the_pairs_in_any_order(count: int, data: st.DataObject) -> None:
    numbers = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(numbers, numbers), max_size=30))
    parent, several = np.arange(count, dtype=np.uint32), np.zeros(count, np.uint8)
    union(parent, np.array(pairs, np.uint32).reshape(-1, 2))
    flatten(parent, several)
    label = list(range(count))
    for _ in range(count):
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
    assert parent.tolist() == label
    assert several.tolist() == [label.count(label[number]) > 1 for number in range(count)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=40), st.randoms())
def test_equal_keys_make_pairs_with_their_smallest(keys: list[int], rng: object) -> None:
    numbers = list(range(len(keys)))
    rng.shuffle(numbers)  # type: ignore[attr-defined]
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    pairs = np.zeros((len(keys), 2), np.uint32)
    found = runs(np.array(keys, np.uint64)[order], np.array(numbers, np.uint32)[order], pairs)
    by_key: dict[int, list[int]] = {}
    for key, number in zip(keys, numbers, strict=True):
        by_key.setdefault(key, []).append(number)
    wanted = [[min(same), other] for _, same in sorted(by_key.items()) for other in sorted(same)[1:]]
    assert pairs[:found].tolist() == wanted


def test_groups_follow_the_shards() -> None:
    shards = [ShardData(f"s{n}", "", rows) for n, rows in enumerate([5, 0, 7, 30, 1, 1, 1, 0])]
    groups = group(shards, first=100, target=10)
    assert [[s.slug for s in g.shards] for g in groups] == [["s0", "s1"], ["s2"], ["s3"], ["s4", "s5", "s6", "s7"]]
    assert [g.first for g in groups] == [100, 105, 112, 142]
    assert [len(group([ShardData(str(n), "", 30_000) for n in range(k)])) for k in (1, 64, 6400)] == [1, 64, 400]
    assert group([]) == []


def test_histogram_of_sizes() -> None:
    sizes = np.array([2, 2, 3, 4, 5, 8, 9, 17])
    assert histogram(sizes) == {"2": 2, "3": 1, "4": 1, "8": 2, "16": 1, "32": 1}
    assert histogram(sizes[:0]) == {}
