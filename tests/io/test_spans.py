"""Spans of archives: whatever a file holds and wherever it is cut, the spans give together what the file gives."""

from __future__ import annotations

import io
import random

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.io.archives import member, page, record, shared, stored
from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard
from tokenmill.io.members import Loss
from tokenmill.io.records import Record, Span, iter_records
from tokenmill.io.units import parse_size, split

Item = tuple[object, ...]


def items(data: bytes, name: str, span: Span) -> list[Item]:
    """All that is known of every record and loss."""
    found: list[Item] = []
    for item in iter_records(io.BytesIO(data), name=name, span=span):
        if isinstance(item, Loss):
            found.append(("loss", item.reason, item.offset, item.length, item.detail))
        else:
            assert isinstance(item, Record)
            found.append((item.kind, item.offset, item.inner, item.length, item.size, item.short, item.block))
    return found


def one_span(data: bytes, name: str, start: int, stop: int | None, exact: bool) -> tuple[list[Item], int, int]:
    """Items, first and end of one span."""
    covered: list[tuple[int, int]] = []
    found = items(data, name, Span(start, stop, exact, lambda first, end: covered.append((first, end))))
    ((first, end),) = covered
    return found, first, end


def in_spans(data: bytes, name: str, cuts: list[int]) -> tuple[list[Item], int]:
    """The items of all spans, those that do not join read again; and how many were."""
    bounds = [0, *sorted(cuts)]
    every: list[Item] = []
    end, again = 0, 0
    for start, stop in zip(bounds, [*bounds[1:], None], strict=True):
        found, first, last = one_span(data, name, start, stop, start == 0)
        # where nothing begins in a span, the one before it must have read that far
        joins = end >= first if first == last else first == end
        if start and not joins:
            again += 1
            found, first, last = one_span(data, name, end, stop, True)
            assert first == end
        every += found
        if first != last or not start:
            end = last
    return every, again


def check(data: bytes, name: str, cuts: list[int]) -> int:
    found, again = in_spans(data, name, cuts)
    assert found == items(data, name, Span())
    return again


def archives() -> dict[str, bytes]:
    """Name -> archive; every way of packing, and every kind of damage that the reader knows."""
    records = [record(n, page(n, 300 + 200 * (n % 7)), http_length=n % 2 == 0) for n in range(40)]
    members = [member(r) for r in records]
    generator = random.Random(4)
    flipped = bytearray(b"".join(members))
    for _ in range(6):
        flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
    halves = [part for r in records for part in (member(r[:400]), member(r[400:]))]
    return {
        "good.warc.gz": b"".join(members),
        "plain.warc": b"".join(records),
        "one-member.warc.gz": member(b"".join(records)),
        "pairs.warc.gz": b"".join(member(records[n] + records[n + 1]) for n in range(0, 40, 2)),
        "split-records.warc.gz": b"".join(halves),
        "zstd.warc.zst": b"".join(zstandard.compress(r) for r in records),
        "lz4.warc.lz4": b"".join(lz4.frame.compress(r) for r in records),
        "flipped.warc.gz": bytes(flipped),
        "junk-between.warc.gz": b"".join(m + (b"\0" * 90 if n % 3 else b"junk" * 40) for n, m in enumerate(members)),
        "junk-members.warc.gz": b"".join(
            m + (member(b"no record") if n % 4 == 0 else b"") for n, m in enumerate(members)
        ),
        "junk-plain.warc": b"".join(
            r + (b"rubbish " * 30 + b"\r\n" if n % 5 == 0 else b"") for n, r in enumerate(records)
        ),
        "cut.warc.gz": b"".join(members)[:-200],
        "cut-plain.warc": b"".join(records)[:-200],
        "long-lengths.warc": b"".join(record(n, length="999" if n % 6 == 0 else None) for n in range(30)),
        "empty.warc.gz": b"",
        "junk.warc.gz": bytes(generator.randrange(256) for _ in range(5000)),
    }


ARCHIVES = archives()


@pytest.mark.parametrize("name", ARCHIVES)
def test_spans_give_what_the_file_gives(name: str) -> None:
    data = ARCHIVES[name]
    generator = random.Random(name)
    for _ in range(12):
        cuts = (
            generator.sample(range(1, len(data)), min(generator.randrange(1, 9), max(len(data) - 1, 0))) if data else []
        )
        check(data, name, cuts)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(ARCHIVES)), st.lists(st.integers(1, 30_000), max_size=12), st.integers(0, 30_000))
def test_spans_give_what_the_file_gives_for_any_cuts(name: str, cuts: list[int], length: int) -> None:
    data = ARCHIVES[name][: max(length, 4000)]
    check(data, name, [cut for cut in cuts if cut < len(data)])


def test_every_cut_of_a_small_file() -> None:
    for name, data in {
        "a.warc.gz": b"".join(member(record(n, page(n, 60))) for n in range(3)),
        "a.warc": b"".join(record(n, page(n, 60)) for n in range(3)),
    }.items():
        for cut in range(1, len(data)):
            assert check(data, name, [cut]) == 0


def test_an_archive_inside_a_page_is_not_taken_for_records() -> None:
    """The members of an archived archive lie verbatim in the file; a cut inside that page finds them."""
    inner = b"".join(member(record(1000 + n)) for n in range(30))
    data = member(record(1)) + stored(record(2, inner, http_length=True)) + member(record(3)) + member(record(4))
    start = data.index(inner)
    again = 0
    for cut in range(start, start + len(inner), 97):
        again += check(data, "a.warc.gz", [cut])
    assert again > 0, "no cut was ever misled: the test shows nothing"
    nested = record(1) + record(2, b"".join(record(1000 + n) for n in range(30)), http_length=True) + record(3)
    assert sum(check(nested, "a.warc", [cut]) for cut in range(500, len(nested), 501)) > 0


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        self.taken += len(part)
        return part


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_spans_of_what_cannot_be_cut_read_their_own_bytes_only(name: str) -> None:
    body = random.Random(1).randbytes(8 << 20)
    data = member(record(1, body)) if name.endswith("gz") else record(1, body)
    taken = []
    for start in range(1 << 20, 7 << 20, 1 << 20):
        file, covered = Counted(data), []
        span = Span(start, start + (1 << 20), False, lambda first, end: covered.append((first, end)))  # noqa: B023
        assert list(iter_records(file, name=name, span=span)) == []
        assert covered == [(start + (1 << 20),) * 2]
        taken.append(file.taken)
    assert max(taken) < 2 << 20
    assert check(data, name, list(range(1 << 20, 8 << 20, 1 << 20))) == 0


@pytest.mark.ci  # sample: every cut of a small file
def test_quirks_in_spans() -> None:
    paths = sorted(shared("warc-quirks").glob("*arc*"))
    assert len(paths) > 30
    for path in paths:
        data = path.read_bytes()
        generator = random.Random(path.name)
        for parts in (2, 3, 8):
            check(data, path.name, [generator.randrange(1, len(data)) for _ in range(parts - 1) if len(data) > 1])


def test_split_is_even_and_covers_every_byte() -> None:
    shards = [InputShard("/a", "a", 1_000_000, "x"), InputShard("/b", "b", 90_000, "y"), InputShard("/c", "c", 0, "")]
    found = split(shards, 100_000)
    assert [shard.part for shard in found] == [(n, 10) for n in range(10)] + [None, None]
    assert [shard.start for shard in found[1:10]] == [shard.stop for shard in found[:9]]
    assert found[9].stop is None
    assert sum(shard.bytes for shard in found) == 1_090_000
    assert max(shard.bytes for shard in found) <= 100_000
    assert split(shards, 0) == shards


def test_files_of_unknown_size_are_not_passed_over_when_split() -> None:
    shards = [InputShard("/a", "a", 0, ""), InputShard("https://h/b?sig=secret", "b", 0, "")]
    with pytest.raises(ConfigError, match=r"1 of 2 .* sizes are not known") as error:
        split(shards, 100_000)
    assert "secret" not in str(error.value)
    assert split(shards, 0) == shards


@pytest.mark.parametrize(
    ("text", "size"), [("64MB", 64 << 20), ("1.5 GiB", 3 << 29), ("500000", 500_000), ("2k", 2048), ("1t", 1 << 40)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 XB", "1e9"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)


def test_spans_that_would_hold_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="too small"):
        split([InputShard("/a", "a", 1 << 20, "")], 1000)
