"""Which passages of an item are looked for."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tokenmill.tokens.decontaminate.forms import Item
from tokenmill.tokens.decontaminate.index import BenchmarkIndex

LONG = "one two three four five six seven eight nine"
READ = "to be read before the question is asked one needs thirteen words at least"


def item(question: str, answer: str = "", *, flows: bool = False, read: str = "", number: int = 0) -> Item:
    pieces = (*([("passage", read)] if read else []), ("question", question))
    return Item("task", str(number), pieces, answer, flows)


@pytest.mark.parametrize(
    ("benchmark", "fields"),
    [
        (item(LONG, "yes"), ["question"]),
        (item(LONG, READ), ["question", "answer"]),
        (item("what is this thing", "a " + LONG), ["answer", "question"]),
        (item("what is it", LONG), ["answer"]),
        (item("what is this thing", "a hat"), ["question"]),
        (item("what is this thing"), []),
        (item("what is it", "a hat"), []),
        (item("what is this thing", "a hat", read=READ), ["passage"]),
        (item(LONG, "a hat", read=READ), ["passage", "question"]),
        (item(LONG, "a hat", read=LONG), ["question"]),
        (item("the man who", "fell down then", flows=True), ["item"]),
        (item("the man", "fell down", flows=True), []),
        (item("he fell down because", "somebody had waxed it", flows=True), ["item", "question"]),
        (Item("task", "0", (("a", LONG), ("b", "7")), "", loose=True), ["a"]),
        (Item("task", "0", (("b", "7"), ("a", LONG)), "", loose=True), ["a"]),
        (Item("task", "0", (("b", "7"), ("a", LONG)), ""), ["a"]),
        (Item("task", "0", (("a", LONG), ("b", "7")), ""), []),
        (item(LONG, "and ten", flows=True), ["question", "item"]),
        (Item("task", "0", (), "a hat"), []),
    ],
)
def test_passages_of_an_item(benchmark: Item, fields: list[str]) -> None:
    index = BenchmarkIndex.build([benchmark])
    found = [index.field(passage) for passage, there in enumerate(index.overlap.findable.tolist()) if there]
    assert sorted(found) == sorted(fields)
    assert index.coverage() == {"task": (1, int(bool(fields)))}


def test_passages_are_shared() -> None:
    index = BenchmarkIndex.build(
        [item(f"{LONG} {n}", "x", read=READ.upper() if n else READ, number=n) for n in range(3)]
    )
    assert len(index.overlap.findable) == 4
    passage = [index.field(passage) for passage in range(4)].index("passage")
    assert [index.asks(number) for number in range(4)].count(False) == 1
    assert not index.asks(passage)
    assert list(index.items_of(passage)) == [0, 1, 2]
    assert index.label(passage) == "task:0"


def test_phrases_of_many_items_are_no_evidence() -> None:
    phrase = "which of the following statements is the best description of"
    items = [item(f"{phrase} {number} wooden boats on a lake in winter", number=number) for number in range(20)]
    index = BenchmarkIndex.build(items)
    texts = pa.array([f"{phrase} something else altogether", items[7].question])
    found = index.search(texts, min_share=0.5, min_runs=1)
    assert [(text, index.label(passage)) for text, passage in zip(found.text, found.passage, strict=True)] == [
        (1, "task:7")
    ]
    generic = BenchmarkIndex.build([*items, item(f"{phrase} it", number=99)])
    assert generic.search(texts, min_share=0.1, min_runs=1).text.tolist() == [1]
    assert generic.search(pa.array([f"{phrase} it!"]), min_share=0.9, min_runs=1).passage.tolist() == [20]


def test_the_order_of_workers_is_no_matter() -> None:
    items = [item(f"{LONG} number {n} of all", str(n), number=n) for n in range(30)]
    one, other = BenchmarkIndex.build(items), BenchmarkIndex.build(items)
    texts = pa.array([f"x {LONG} number {n} of all" for n in range(30)])
    first, second = (index.search(texts, min_share=0.5, min_runs=1) for index in (one, other))
    assert first.passage.tolist() == second.passage.tolist() != []


def test_choices_may_stand_between_a_sentence_and_its_end() -> None:
    index = BenchmarkIndex.build([item("he broke his toe because", "he dropped a hammer on it", flows=True)])
    choices = "He broke his toe because\nA. he got a hole in his sock\nB. he dropped a hammer on it"
    assert index.search(pa.array([choices]), min_share=0.5, min_runs=16).text.tolist() == [0]


def test_answers_to_a_question() -> None:
    index = BenchmarkIndex.build([item(LONG, "a hat"), item(LONG, "a cap", number=1), item("one two three", READ)])
    found = {index.field(passage): len(index.answers_to(passage)) for passage in range(2)}
    assert found == {"question": 2, "answer": 0}
