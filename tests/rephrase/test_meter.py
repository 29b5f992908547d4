"""What a run has spent: over its processes, across kills, and where it ends."""

from __future__ import annotations

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


def test_a_broken_file_counts_as_nothing_and_is_written_again(tmp_path: Path) -> None:
    one, two = meter(tmp_path, "one"), meter(tmp_path, "two")
    one.begin(Spent(requests=1))
    two.begin(Spent(requests=2))
    (tmp_path / "run" / "one.json").write_text('{"requests": ')
    assert two.total().requests == 2
    one.save()
    assert two.total().requests == 3
