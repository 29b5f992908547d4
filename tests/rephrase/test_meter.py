"""What a run has spent: over its processes, across kills, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rephrase.test_ledger import row
from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.meter import Meter, Spent, spent_in


def meter(folder: Path, name: str, **limits: float) -> Meter:
    return Meter(folder, "run", name, price_in=2.0, price_out=10.0, every=0.0, **limits)  # type: ignore[arg-type]


def test_writers_see_each_other(tmp_path: Path) -> None:
    one, two = meter(tmp_path, "one"), meter(tmp_path, "two")
    one.begin(Spent(requests=1, tokens_in=1_000_000, failed={"length": 1}, answers=3))
    two.begin(Spent(requests=2, tokens_out=500_000, failed={"length": 2, "parse": 1}, faults={"429": 4}))
    for each in (one, two):
        total = each.total()
        assert (total.requests, total.dollars, total.failed) == (3, 7.0, {"length": 3, "parse": 1})
        assert total.settled == 7
    assert spent_in(tmp_path, "run") == one.total()
    assert spent_in(tmp_path, "other") == Spent()


def test_a_writer_that_was_killed_counts_its_rows_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.append(
            [row("a", run="run", task="one"), row("b", run="run", task="two"), row("c", run="old", task="one")]
        )
    first = meter(tmp_path, "one")
    first.begin(Spent(requests=99))  # of a process that had seen what never came to the disk
    with Ledger(tmp_path / "ledger") as ledger:
        again = meter(tmp_path, "one")
        again.begin(ledger.paid["run", "one"])
    assert again.total().requests == 1
    assert spent_in(tmp_path, "run").tokens_in == 10


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, None),
        ({"max_tokens": 1501}, None),
        ({"max_tokens": 1500}, "1,500 tokens are spent, the limit is 1,500"),
        ({"max_tokens": 0}, "1,500 tokens are spent, the limit is 0"),
        ({"max_cost": 0.0071}, None),
        ({"max_cost": 0.007}, "0.01 US dollars are spent, the limit is 0.007"),
    ],
)
def test_limits_hold_for_all_writers_together(tmp_path: Path, limits: dict[str, float], says: str | None) -> None:
    meter(tmp_path, "other").begin(Spent(tokens_in=600, tokens_out=100))
    mine = meter(tmp_path, "mine", **limits)
    mine.begin(Spent(tokens_in=400, tokens_out=400))
    assert mine.exceeded() == says


def test_what_is_under_way_anywhere_is_kept_back(tmp_path: Path) -> None:
    """Prices: 2 and 10 dollars for a million of tokens."""
    one, two = meter(tmp_path, "one", max_cost=1.0), meter(tmp_path, "two", max_cost=1.0)
    one.begin(Spent(tokens_in=100_000))  # 0.2
    assert one.limited
    assert one.reserve(50_000, 50_000)  # 0.6
    assert not one.reserve(0, 30_000), "0.3 more"
    assert one.short(0, 30_000) is None, "it may fit once the other one is back"
    one.save()
    two.begin(Spent())
    assert not two.reserve(0, 30_000)
    assert two.short(0, 30_000) is None
    assert two.reserve(0, 20_000), "exactly the limit"
    two.release(0, 20_000)
    one.own.tokens_in += 50_000
    one.release(50_000, 50_000)
    one.save()
    assert two.reserve(0, 30_000)
    two.release(0, 30_000)
    assert two.short(0, 80_000) == "0.30 US dollars are spent, the next request may cost 0.8, the limit is 1"
    assert two.short(0, 70_000) is None
    assert spent_in(tmp_path, "run").tokens_in == 150_000


def test_reservations_of_the_dead_are_void_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, mine = meter(tmp_path, "dead", max_tokens=100), meter(tmp_path, "mine", max_tokens=100)
    assert dead.reserve(50, 50)
    dead.save()
    assert not mine.reserve(10, 10)
    monkeypatch.setattr("tokenmill.rephrase.meter.VOID_SECONDS", -1.0)
    assert mine.reserve(10, 10)


def test_files_of_older_versions_and_odd_ones(tmp_path: Path) -> None:
    mine = meter(tmp_path, "mine", max_tokens=100)
    mine.begin(Spent())
    for reserved in ("absent", None, [1], ["a", 2], [-5, -5], [1e999, 0]):
        told = json.loads((tmp_path / "run" / "mine.json").read_text())
        told["reserved"] = reserved
        if reserved == "absent":
            del told["reserved"]
        (tmp_path / "run" / "other.json").write_text(json.dumps(told))
        assert mine.reserve(50, 50)
        mine.release(50, 50)


def test_no_limit_and_no_price_keep_nothing_back(tmp_path: Path) -> None:
    assert not meter(tmp_path, "one").limited
    free = Meter(tmp_path, "run", "free", max_cost=0.5, every=0.0)
    assert free.reserve(10**9, 10**9)


def test_a_broken_file_counts_as_nothing_and_is_written_again(tmp_path: Path) -> None:
    one, two = meter(tmp_path, "one"), meter(tmp_path, "two")
    one.begin(Spent(requests=1))
    two.begin(Spent(requests=2))
    (tmp_path / "run" / "one.json").write_text('{"requests": ')
    assert two.total().requests == 2
    one.save()
    assert two.total().requests == 3
