"""Metrics against the definitions of their documentation, written out item by item."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.train.evaluate.support import encoder, item, task, tokenizer
from tokenmill.train.evaluate.metrics import SCHEMA, from_table, item_scores, metrics, to_table
from tokenmill.train.evaluate.prepare import prepare_tasks, prepare_text
from tokenmill.train.evaluate.requests import Likelihoods, joined


def table_of(items: list[dict[str, Any]], task: str = "task/t") -> pa.Table:
    """items: gold, and nats, characters, bytes, greedy of each choice."""
    rows = [
        (task, number, one.get("unit", number), choice, choice == one["gold"], nats, 3, characters, size, greedy)
        for number, one in enumerate(items)
        for choice, (nats, characters, size, greedy) in enumerate(one["choices"])
    ]
    columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names})


choices = st.tuples(
    st.floats(0.01, 300) | st.sampled_from([1.0, 2.0, 4.0]), st.integers(1, 40), st.integers(1, 60), st.booleans()
)
items = st.lists(choices, min_size=2, max_size=5).flatmap(
    lambda made: st.fixed_dictionaries({"choices": st.just(made), "gold": st.integers(0, len(made) - 1)})
)


def credit(costs: list[float], gold: int) -> float:
    best = min(costs)
    return (costs[gold] == best) / costs.count(best)


@examples(25, 100)
@given(st.lists(items, min_size=1, max_size=12))
def test_every_metric_by_its_definition(made: list[dict[str, Any]]) -> None:
    found = from_table(table_of(made))
    golds = [one["choices"][one["gold"]] for one in made]
    bits = [nats / math.log(2) for nats, *_ in golds]
    wanted = {
        "bpb": sum(bits) / sum(size for _, _, size, _ in golds),
        "bpb_item": np.mean([b / size for b, (_, _, size, _) in zip(bits, golds, strict=True)]),
        "acc": np.mean([credit([c[0] for c in one["choices"]], one["gold"]) for one in made]),
        "acc_char": np.mean([credit([c[0] / c[1] for c in one["choices"]], one["gold"]) for one in made]),
        "acc_byte": np.mean([credit([c[0] / c[2] for c in one["choices"]], one["gold"]) for one in made]),
        "prob_gold": np.mean(
            [1 / sum(math.exp(gold[0] - c[0]) for c in one["choices"]) for gold, one in zip(golds, made, strict=True)]
        ),
        "prob_gold_char": np.mean(
            [
                1 / sum(math.exp(gold[0] / gold[1] - c[0] / c[1]) for c in one["choices"])
                for gold, one in zip(golds, made, strict=True)
            ]
        ),
    }
    assert found.keys() == {f"task/t/{name}" for name in wanted}
    for name, value in wanted.items():
        assert found[f"task/t/{name}"] == pytest.approx(float(value), rel=1e-9, abs=1e-12), name


def test_greedy_answers_and_texts() -> None:
    made = [{"gold": 0, "choices": [(nats, 4, 4, greedy)]} for nats, greedy in ((1.0, True), (3.0, False), (2.0, True))]
    found = from_table(table_of(made, "task/lambada"))
    assert found == {
        "task/lambada/bpb": pytest.approx(6 / math.log(2) / 12),
        "task/lambada/bpb_item": pytest.approx(2 / math.log(2) / 4),
        "task/lambada/acc": pytest.approx(2 / 3),
    }
    for kind in ("text/w", "held_out/raw"):
        assert from_table(table_of(made, kind)) == {f"{kind}/bpb": pytest.approx(6 / math.log(2) / 12)}


def test_tables_of_several_tasks_keep_everything(tmp_path: Path) -> None:
    one = [{"gold": 1, "choices": [(2.0, 3, 4, False), (1.0, 9, 9, False)], "unit": 7}]
    two = [{"gold": 0, "choices": [(2.0, 3, 4, True)], "unit": n // 2} for n in range(4)]
    table = pa.concat_tables([table_of(one), table_of(two, "text/w"), table_of(one + one, "task/u")])
    pq.write_table(table, tmp_path / "items.parquet")
    read = pq.read_table(tmp_path / "items.parquet")
    assert from_table(read) == from_table(table)
    scores = item_scores(read)
    assert list(scores) == ["task/t", "text/w", "task/u"]
    assert scores["text/w"].unit.tolist() == [0, 0, 1, 1]
    assert scores["task/u"].unit.tolist() == [7, 7]
    for name, some in scores.items():
        for metric, (above, below) in some.values.items():
            assert from_table(read)[f"{name}/{metric}"] == above.sum() / below.sum()
    assert from_table(table[:0]) == {}


def test_what_is_no_number_is_said() -> None:
    made = [{"gold": 0, "choices": [(math.nan, 3, 4, False), (1.0, 9, 9, False)]}]
    assert all(math.isnan(value) for value in from_table(table_of(made)).values())
    impossible = [{"gold": 0, "choices": [(math.inf, 3, 4, False), (1.0, 9, 9, False)]}]
    found = from_table(table_of(impossible))
    assert (found["task/t/acc"], found["task/t/prob_gold"], found["task/t/bpb"]) == (0, 0, math.inf)
    hopeless = [{"gold": 0, "choices": [(math.inf, 3, 4, False), (math.inf, 9, 9, False)]}]
    assert math.isnan(from_table(table_of(hopeless))["task/t/prob_gold"])


def test_answers_in_windows_are_added_up() -> None:
    requests = joined(
        [
            prepare_text("text/x", ["One text of it. " * 9], tokenizer(), 8, encoder=encoder()),
            prepare_tasks([task("t", [item("a", "x", [" one", " two"], 1)])], tokenizer(), 8, encoder=encoder()),
        ]
    )
    nats = np.arange(len(requests), dtype=np.float64)
    greedy = np.arange(len(requests)) != 1
    table = to_table(requests, Likelihoods(nats, greedy))
    assert table.schema == SCHEMA
    assert table["nats"].to_pylist() == [sum(range(len(requests) - 2)), *range(len(requests) - 2, len(requests))]
    assert table["greedy"].to_pylist() == [False, True, True]
    assert table["task"].to_pylist() == ["text/x", "task/t", "task/t"]
    assert table["gold"].to_pylist() == [True, False, True]
    assert table["bytes"].to_pylist() == [16 * 9, 4, 4]
    assert metrics(requests, Likelihoods(nats, greedy)) == from_table(table)


def test_the_right_text_twice_counts_as_right() -> None:
    """Whichever of two equal answers is called right, the model that prefers them is right."""
    for gold in (0, 2):
        asked = [item("a", "x", [" one", " it", " one"], gold), item("b", "x", [" one", " it"], 1)]
        requests = prepare_tasks([task("t", asked)], tokenizer(), 8, encoder=encoder())
        says = {" one": 1.0, " it": 2.0}
        texts = [
            asked[i].continuations[c] for i, c in zip(requests.item.tolist(), requests.choice.tolist(), strict=True)
        ]
        found = metrics(requests, Likelihoods(np.array([says[text] for text in texts]), np.zeros(4, np.bool_)))
        assert found["task/t/acc"] == 0.5
