"""Every metric of tasks and texts, from a table with one row per answer.

The table holds likelihoods, tokens, characters and bytes, so that other metrics, other normalisations and other samples
of items can be computed later, from stored tables alone. Each metric is a ratio of two sums over items (`item_scores`),
which is what resampling needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.train.evaluate.requests import Likelihoods, Requests

Floats: TypeAlias = npt.NDArray[np.float64]
SCHEMA = pa.schema(
    [
        ("task", pa.dictionary(pa.int32(), pa.string())),
        ("item", pa.int32()),
        ("unit", pa.int32()),
        ("choice", pa.int16()),
        ("gold", pa.bool_()),
        ("nats", pa.float64()),
        ("tokens", pa.int32()),
        ("characters", pa.int32()),
        ("bytes", pa.int32()),
        ("greedy", pa.bool_()),
    ]
)
"""Of item tables: one row per answer, those of an item one behind the other. nats: minus the log-likelihood."""
TEXTS = ("text/", "held_out/")
"""How the names of texts begin; they have bits per byte only."""
ACCURACIES = {"acc": "", "acc_char": "characters", "acc_byte": "bytes"}
"""Accuracy -> what likelihoods are divided by."""


@dataclass(frozen=True, eq=False)
class ItemScores:
    """A task, item by item."""

    unit: npt.NDArray[np.int32]
    """(items,): items of the same unit are not independent of each other."""
    values: Mapping[str, tuple[Floats, Floats]]
    """Metric -> (numerators, denominators), each (items,): the metric is the ratio of their sums."""

    def metrics(self) -> dict[str, float]:
        """The metrics of all items."""
        return {name: _ratio(above, below) for name, (above, below) in self.values.items()}


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of a task as matrices, a row per item; `there` is false behind the choices of an item."""

    gold: npt.NDArray[np.int64]
    """(items,): column of the right one."""
    unit: npt.NDArray[np.int32]
    there: npt.NDArray[np.bool_]
    """(items, choices), as the following."""
    choice: npt.NDArray[np.int64]
    nats: Floats
    tokens: Floats
    characters: Floats
    bytes: Floats
    greedy: npt.NDArray[np.bool_]

    def of_gold(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(items,): what a matrix has for the right answers."""
        return matrix[np.arange(len(self.gold)), self.gold]


def to_table(requests: Requests, likelihoods: Likelihoods) -> pa.Table:
    """One row per answer (`SCHEMA`), in the order of the requests."""
    answers = requests.answers
    nats = np.bincount(requests.answer, likelihoods.nats, answers)
    missed = np.bincount(requests.answer, ~likelihoods.greedy, answers)
    task = pa.DictionaryArray.from_arrays(pa.array(requests.task), pa.array(requests.names, pa.string()))
    columns = {
        "task": task,
        "item": requests.item,
        "unit": requests.unit,
        "choice": requests.choice,
        "gold": requests.gold,
        "nats": nats,
        "tokens": requests.tokens,
        "characters": requests.characters,
        "bytes": requests.bytes,
        "greedy": missed == 0,
    }
    return pa.table(columns, SCHEMA)


def metrics(requests: Requests, likelihoods: Likelihoods) -> dict[str, float]:
    """All metrics: "task/arc_easy/bpb", "text/wikitext/bpb" and so on; see `from_table`."""
    return from_table(to_table(requests, likelihoods))


def from_table(table: pa.Table) -> dict[str, float]:
    """All metrics of an item table, by "<task>/<metric>".

    Of everything bpb: nats of the right answers / ln 2 / their UTF-8 bytes, sum over sum. Of tasks bpb_item, the mean
    over items of the same; and where there are choices
    acc, acc_char, acc_byte: share of items whose right answer has the highest log-likelihood, per character, per byte;
    where several are highest the right one counts in part; prob_gold, prob_gold_char: mean probability of the right
    answer among the choices, by likelihood and by likelihood per character. Where there are none, acc is the share of
    items of which every token was the most probable one. NaN where likelihoods are.
    """
    return {
        f"{task}/{name}": value
        for task, scores in item_scores(table).items()
        for name, value in scores.metrics().items()
    }


def item_scores(table: pa.Table) -> dict[str, ItemScores]:
    """Task -> its metrics item by item, in the order of the table."""
    return {task: _scores(answers, task) for task, answers in answers_of(table).items()}


def answers_of(table: pa.Table) -> dict[str, Answers]:
    """Task -> its answers as matrices, in the order of the table."""
    table = table.combine_chunks()
    tasks = table["task"].cast(pa.string()).dictionary_encode().combine_chunks()
    if isinstance(tasks, pa.ChunkedArray):  # a table without rows
        return {}
    number = tasks.indices.to_numpy(zero_copy_only=False)
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "task"}
    found: dict[str, Answers] = {}
    for code, name in enumerate(tasks.dictionary.to_pylist()):
        rows = np.flatnonzero(number == code)
        found[name] = _matrices({key: values[rows] for key, values in columns.items()})
    return found


def _matrices(columns: Mapping[str, npt.NDArray[Any]]) -> Answers:
    item = columns["item"]
    first = np.diff(item, prepend=item[:1] - 1) != 0
    begins, row = np.flatnonzero(first), np.cumsum(first) - 1
    column = np.arange(len(item)) - begins[row]
    shape = (len(begins), int(column.max()) + 1)
    there = np.zeros(shape, np.bool_)
    there[row, column] = True

    def matrix(name: str, dtype: Any, fill: Any) -> npt.NDArray[Any]:
        filled = np.full(shape, fill, dtype)
        filled[row, column] = columns[name]
        return filled

    return Answers(
        gold=matrix("gold", np.bool_, False).argmax(axis=1),
        unit=columns["unit"][begins],
        there=there,
        choice=matrix("choice", np.int64, -1),
        nats=matrix("nats", np.float64, np.inf),
        tokens=matrix("tokens", np.float64, 1),
        characters=matrix("characters", np.float64, 1),
        bytes=matrix("bytes", np.float64, 1),
        greedy=matrix("greedy", np.bool_, False),
    )


def _scores(answers: Answers, task: str) -> ItemScores:
    nats, size = answers.of_gold(answers.nats), answers.of_gold(answers.bytes)
    bits, ones = nats / np.log(2), np.ones(len(nats))
    values: dict[str, tuple[Floats, Floats]] = {"bpb": (bits, size)}
    if not task.startswith(TEXTS):
        values["bpb_item"] = (bits / size, ones)
        if answers.there.shape[1] > 1:
            for name, share in accuracies(answers, answers.nats).items():
                values[name] = (share, ones)
            values["prob_gold"] = (_probability(answers, answers.nats), ones)
            values["prob_gold_char"] = (_probability(answers, answers.nats / answers.characters), ones)
        else:
            values["acc"] = (answers.of_gold(answers.greedy).astype(np.float64), ones)
    return ItemScores(answers.unit, values)


def accuracies(answers: Answers, nats: Floats) -> dict[str, Floats]:
    """Name of an accuracy -> (..., items): 1 where the right answer has the least nats by that normalisation, 1 / n
    where n are equal, else 0; NaN where nats are. nats: (..., items, choices), inf where there is none."""
    return {name: _credit(answers, nats / getattr(answers, by) if by else nats) for name, by in ACCURACIES.items()}


def _credit(answers: Answers, cost: Floats) -> Floats:
    best = cost.min(axis=-1, keepdims=True)
    equal = cost == best
    right = np.take_along_axis(equal, np.broadcast_to(answers.gold[:, None], (*cost.shape[:-1], 1)), axis=-1)[..., 0]
    credit: Floats = np.where(right, 1 / np.maximum(equal.sum(axis=-1), 1), 0.0)
    return np.where(np.isnan(best[..., 0]), np.nan, credit)


def _probability(answers: Answers, cost: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # a model may find all choices impossible
        weights = np.exp(cost.min(axis=1, keepdims=True) - cost)  # inf where there is none: weight 0
    probability: Floats = answers.of_gold(weights) / weights.sum(axis=1)
    return probability


def _ratio(above: Floats, below: Floats) -> float:
    return float(above.sum() / below.sum()) if below.sum() else float("nan")
