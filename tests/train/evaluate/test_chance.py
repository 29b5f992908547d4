"""Baselines: where they can be computed, the measured ones must agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.train.evaluate.support import encoder, item, task, tokenizer
from tokenmill.train.evaluate.chance import chance, chance_of, label_shuffle
from tokenmill.train.evaluate.kit import load_kit
from tokenmill.train.evaluate.metrics import SCHEMA
from tokenmill.train.evaluate.prepare import prepare_tasks


def table_of(
    lengths: list[list[tuple[int, int]]], gold: list[int], nats: float = 1.0, task: str = "task/t"
) -> pa.Table:
    """lengths: (tokens, characters) of each choice of each item. nats: of choice 0, the others have 5."""
    rows = [
        (task, number, number, choice, choice == gold[number], 5.0 if choice else nats, tokens, size, size, False)
        for number, some in enumerate(lengths)
        for choice, (tokens, size) in enumerate(some)
    ]
    columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names})


def test_equal_lengths_give_one_in_n() -> None:
    many = 400
    table = table_of([[(3, 9)] * 4] * many, [number % 4 for number in range(many)])
    found = chance_of(table)
    assert found.keys() == {"task/t/acc", "task/t/acc_char", "task/t/acc_byte"}
    for one in found.values():
        wanted = (0.25 * 0.75 / many) ** 0.5
        assert one.uniform == 0.25
        assert abs(one.random - 0.25) < 5 * wanted / 200**0.5
        assert one.random_sd == pytest.approx(wanted, rel=0.25)
        assert one.majority == 0.25


def test_items_with_fewer_choices_have_no_others() -> None:
    table = table_of([[(1, 4)] * 2, [(1, 4)] * 5] * 100, [0] * 200)
    one = chance_of(table)["task/t/acc"]
    assert one.uniform == (1 / 2 + 1 / 5) / 2
    assert one.random == pytest.approx(one.uniform, abs=5 * one.random_sd / 200**0.5)


def test_short_answers_win_by_raw_likelihood() -> None:
    # one token against ten: an exponential below a sum of ten with probability 1 - 2^-10
    table = table_of([[(1, 6), (10, 60)]] * 60 + [[(1, 6), (10, 61)]], [0] * 61)
    found = chance_of(table)
    assert found["task/t/acc"].random == pytest.approx(1 - 2**-10, abs=0.002)
    # per character: exponential * 10 below the sum of ten; 1 - (10 / 11)^10
    assert found["task/t/acc_char"].random == pytest.approx(1 - (10 / 11) ** 10, abs=0.03)
    assert found["task/t/acc"].level == found["task/t/acc"].random > found["task/t/acc"].uniform == 0.5
    assert found["task/t/acc"].majority is None  # a last item with other choices


def test_the_same_choices_every_time_have_a_majority() -> None:
    yes_no = [item(str(n), f"Is {n}?", [" yes", " no"], int(n % 5 == 0)) for n in range(20)]
    own = [item(str(n), f"Is {n}?", [" yes" * (n + 1), " no"], 0) for n in range(20)]
    asked = prepare_tasks([task("a", yes_no), task("b", own), task("c", [item("x", "y", [" z"])])], tokenizer(), 64)
    found = chance(asked)
    assert found["task/a/acc"].majority == found["task/a/acc"].level == 0.8
    assert found["task/b/acc"].majority is None
    assert found["task/b/acc"].random < 0.1
    assert "task/c/acc" not in found


def test_draws_are_seeded_and_other_tasks_change_nothing() -> None:
    one = table_of([[(2, 5), (3, 6)]] * 30, [0, 1] * 15)
    other = table_of([[(2, 5), (3, 6), (4, 4)]] * 30, [0, 1, 2] * 10, task="task/u")
    both = pa.concat_tables([other, one])
    assert chance_of(both)["task/t/acc"] == chance_of(one)["task/t/acc"]
    assert chance_of(one, seed=1) != chance_of(one)
    assert chance_of(one, draws=7)["task/t/acc"].random != chance_of(one)["task/t/acc"].random


def test_shuffled_labels() -> None:
    lengths = [[(1, 4), (1, 3)]] * 50
    gold = [int(number >= 40) for number in range(50)]
    # always the first choice: what is right in four of five items, however they are dealt
    assert label_shuffle(table_of(lengths, gold))["task/t/acc"] == (0.8, 0.0)
    assert label_shuffle(table_of(lengths, gold, nats=9.0))["task/t/acc"][0] == pytest.approx(0.2)
    # right in every item, and yet the labels alone are worth one in three
    choices = [[(1, 4)] * 3] * 90
    table = table_of(choices, [number % 3 for number in range(90)])
    right = table.set_column(
        table.schema.get_field_index("nats"),
        "nats",
        pa.array([0.0 if gold else 1.0 for gold in table["gold"].to_pylist()]),
    )
    mean, deviation = label_shuffle(right)["task/t/acc"]
    assert mean == pytest.approx(1 / 3, abs=0.02)
    assert 0.02 < deviation < 0.08
    # items with more choices keep to themselves
    mixed = table_of([[(1, 4)] * 2] * 20 + [[(1, 4)] * 5] * 20, [0] * 20 + [4] * 20)
    perfect = pa.array([0.0 if gold else 1.0 for gold in mixed["gold"].to_pylist()])
    right = mixed.set_column(mixed.schema.get_field_index("nats"), "nats", perfect)
    assert label_shuffle(right)["task/t/acc"] == (1.0, 0.0)


@pytest.mark.ci
def test_the_public_kit(shared: Path) -> None:
    """Uniform chance is that of the manifest; BoolQ's majority too; random likelihoods are near by."""
    manifest = json.loads((shared / "eval-kit" / "MANIFEST.json").read_text())
    statistics = {entry["task"]: entry["statistics"] for entry in manifest["tasks"]}
    names = ["boolq", "commonsense_qa", "openbookqa", "piqa", "winogrande", "copa", "sciq", "arc_easy"]
    found = chance(prepare_tasks(load_kit(shared / "eval-kit", names), tokenizer(), 256, encoder=encoder()))
    for name in names:
        for metric in ("acc", "acc_char", "acc_byte"):
            one = found[f"task/{name}/{metric}"]
            # where the right answer is given twice, it is asked once
            assert one.uniform == pytest.approx(statistics[name]["chance_accuracy"], abs=5e-4)
            assert abs(one.random - one.uniform) < (0.2 if name == "boolq" else 0.08)  # " no" has fewer tokens
            assert 0 < one.random_sd < 0.06
    assert found["task/boolq/acc"].majority == pytest.approx(statistics["boolq"]["majority_accuracy"], abs=1e-4)
    assert found["task/boolq/acc"].level > 0.62
    # a continuation that is the same has no length to be chosen by
    assert found["task/winogrande/acc"].random == pytest.approx(
        0.5, abs=5 * found["task/winogrande/acc"].random_sd / 14
    )
    assert {name for name in names if found[f"task/{name}/acc"].majority is not None} == {"boolq"}
    assert np.isfinite([one.level for one in found.values()]).all()
