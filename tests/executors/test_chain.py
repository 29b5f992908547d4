from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill import Annotate, Doc, Drop, Filter, Rewrite, Rule
from tokenmill.core.accounting import StageCount, check_conservation
from tokenmill.core.errors import ConfigError, DocumentError, TokenmillError
from tokenmill.executors.chain import SAMPLE_FIRST, Chain


class ShortChain(Filter):
    """Drops short texts by a rule."""

    least: int = 3

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("chain_length", "<", self.least, "short"),)


class LengthChain(Annotate):
    """Adds the length."""

    reads = ("text",)
    adds = {"chain_length": pa.int64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts = batch.column("text").to_pylist()
        if any("bad" in text for text in texts):
            raise RuntimeError("bad text in the batch")
        return {"chain_length": pa.array([len(text) for text in texts])}


class CutChain(Rewrite):
    """Keeps the first word; drops what has none; fails on 'boom'."""

    reads = ("text",)

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        if "boom" in doc.text:
            raise DocumentError("boom")
        return {"text": doc.words[0]} if doc.words else Drop("no_words")


class UndeclaredChain(Rewrite):
    """Sets a column that it does not declare."""

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        return {"surprise": 1}


class WrongLength(Annotate):
    """Returns too few values."""

    adds = {"wrong": pa.int64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"wrong": pa.array([1])}


def batch_of(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"doc_id": f"f#{i}", "id": f"i{i}", "url": "u", "text": text} for i, text in enumerate(texts)]
    )


def chain_of(*stages: Any) -> Chain:
    return Chain([(type(stage).name, stage) for stage in stages])


def test_rows_keep_their_order_and_every_document_is_accounted_for() -> None:
    result = chain_of(LengthChain(), ShortChain(), CutChain()).run(
        batch_of("one two", "x", "  . ", "three four", "a boom b")
    )
    assert result.kept.column("text").to_pylist() == ["one", ".", "three"]
    assert result.kept.column("chain_length").to_pylist() == [7, 4, 10]
    assert [(r["doc_id"], r["stage"], r["reason"]) for r in result.dropped.to_pylist()] == [
        ("f#1", "short_chain", "short")
    ]
    assert [(r["doc_id"], r["cause"]) for r in result.quarantined.to_pylist()] == [("f#4", "error")]
    check_conservation(result.counts)
    assert [(c.into, c.out) for c in result.counts] == [(5, 5), (5, 4), (4, 3)]


def test_a_dropped_row_names_signal_value_and_threshold() -> None:
    (row,) = chain_of(LengthChain(), ShortChain(least=5)).run(batch_of("abc")).dropped.to_pylist()
    assert (row["signal"], row["value"], row["threshold"], row["text"]) == ("chain_length", 3.0, 5.0, "abc")


def test_a_batch_stage_that_fails_costs_only_the_document_that_made_it_fail() -> None:
    result = chain_of(LengthChain()).run(batch_of("good", "a bad one", "fine"))
    assert result.kept.column("text").to_pylist() == ["good", "fine"]
    (row,) = result.quarantined.to_pylist()
    assert (row["doc_id"], row["cause"], row["detail"]) == ("f#1", "RuntimeError", "bad text in the batch")


class DoubtChain(Annotate):
    """Says itself which document it cannot do."""

    reads = ("text",)
    adds = {"chain_doubt": pa.int64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts = batch.column("text").to_pylist()
        if any("bad" in text for text in texts):
            raise DocumentError("bad text", why="it is bad")
        return {"chain_doubt": pa.array([0] * len(texts))}


def test_a_document_error_of_a_batch_stage_costs_that_document() -> None:
    result = chain_of(DoubtChain()).run(batch_of("good", "a bad one", "fine"))
    assert result.kept.column("text").to_pylist() == ["good", "fine"]
    (row,) = result.quarantined.to_pylist()
    assert (row["doc_id"], row["cause"]) == ("f#1", "error")
    assert row["detail"].startswith("bad text")


def test_poison_is_quarantined_at_its_stage() -> None:
    result = chain_of(LengthChain(), ShortChain()).run(batch_of("abc", "abcd", "x"), poison={1: (1, "timeout", "8 s")})
    assert result.kept.column("text").to_pylist() == ["abc"]
    assert [dict(c.quarantined) for c in result.counts] == [{}, {"timeout": 1}]
    check_conservation(result.counts)


def test_the_first_dropped_texts_of_a_shard_are_kept_and_the_rest_sampled() -> None:
    chain = Chain([("length_chain", LengthChain()), ("short_chain", ShortChain())], sample=0.0)
    texts = [row["text"] for row in chain.run(batch_of(*["x"] * 6)).dropped.to_pylist()]
    assert texts == ["x"] * SAMPLE_FIRST + [None] * (6 - SAMPLE_FIRST)
    later = chain.run(batch_of("x"), seen={"short_chain.short": SAMPLE_FIRST}).dropped.to_pylist()
    assert later[0]["text"] is None
    every = Chain([("length_chain", LengthChain()), ("short_chain", ShortChain())], sample=1.0)
    assert every.run(batch_of("x"), seen={"short_chain.short": 99}).dropped.to_pylist()[0]["text"] == "x"


def test_undeclared_columns_and_wrong_lengths_are_the_authors_errors() -> None:
    with pytest.raises(ConfigError, match=r"sets \['surprise'\], which it does not declare"):
        chain_of(UndeclaredChain()).run(batch_of("a"))
    with pytest.raises(ConfigError, match="must leave rows as they are"):
        chain_of(WrongLength()).run(batch_of("a", "b"))


class OddValues(Rewrite):
    """Gives back what the text asks for."""

    reads = ("text",)
    adds = {"odd": pa.int64()}

    def rewrite(self, doc: Doc) -> Mapping[str, Any]:
        return {"surrogate": {"text": "\ud800"}, "type": {"odd": "x"}, "none": {}}.get(doc.text, {"odd": 1})


class Says(Filter):
    """Returns whatever it is set to."""

    what: Any = True

    def judge(self, doc: Doc) -> Any:
        return self.what


def test_a_value_that_does_not_fit_costs_its_document_and_an_unset_column_is_null() -> None:
    result = chain_of(OddValues()).run(batch_of("a", "surrogate", "none", "type", "b"))
    assert result.kept.column("odd").to_pylist() == [1, None, 1]
    found = {row["doc_id"]: row["cause"] for row in result.quarantined.to_pylist()}
    assert found == {"f#1": "UnicodeEncodeError", "f#3": "ArrowInvalid"}


@pytest.mark.parametrize("outcome", [True, "", 3, {"text": "x"}, ["short"]])
def test_an_outcome_of_the_wrong_type_is_the_authors_error(outcome: Any) -> None:
    with pytest.raises(ConfigError, match="says returned"):
        chain_of(Says(what=outcome)).run(batch_of("a"))


def test_a_rule_does_not_hold_on_what_was_not_measured() -> None:
    batch = pa.RecordBatch.from_pylist([{"doc_id": "f#0", "text": "a", "chain_length": None}])
    assert chain_of(ShortChain()).run(batch).kept.num_rows == 1


class Unprintable(Filter):
    """Fails with an error that names an object."""

    def judge(self, doc: Doc) -> str | None:
        raise ValueError(f"cannot use {object()}")


def test_the_detail_of_a_failure_is_the_same_in_every_run() -> None:
    (row,) = chain_of(Unprintable()).run(batch_of("a")).quarantined.to_pylist()
    assert row["detail"] == "cannot use <object object at 0x>"


def test_only_the_columns_asked_for_come_back() -> None:
    chain = Chain([("length_chain", LengthChain())], columns=["chain_length", "text", "dump"])
    assert chain.run(batch_of("abc")).kept.schema.names == ["chain_length", "text"]


def test_an_empty_result_still_has_all_columns() -> None:
    result = chain_of(LengthChain(), ShortChain(least=99)).run(batch_of("a"))
    assert result.kept.num_rows == 0
    assert result.kept.schema.names == ["doc_id", "id", "url", "text", "chain_length"]


_STAGES = st.lists(st.sampled_from([LengthChain(), CutChain(), "short"]), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(kinds=_STAGES, texts=st.lists(st.sampled_from(["a", "bad", "boom", "", "one two", "x y z"]), max_size=12))
def test_conservation_and_order_for_random_chains(kinds: list[Any], texts: list[str]) -> None:
    stages: list[Any] = [LengthChain()]
    stages += [ShortChain() if kind == "short" else kind for kind in kinds]
    chain = Chain([(f"s{i}", stage) for i, stage in enumerate(stages)])
    batch = batch_of(*texts) if texts else batch_of("a").slice(0, 0)
    result = chain.run(batch)
    check_conservation(result.counts)
    lost = result.dropped.num_rows + result.quarantined.num_rows
    assert batch.num_rows == result.kept.num_rows + lost
    ids = result.kept.column("doc_id").to_pylist()
    assert ids == sorted(ids, key=lambda i: int(i.partition("#")[2]))
    every = ids + result.dropped.column("doc_id").to_pylist() + result.quarantined.column("doc_id").to_pylist()
    assert sorted(every) == sorted(batch.column("doc_id").to_pylist())


def test_books_that_do_not_balance_are_refused() -> None:
    with pytest.raises(TokenmillError, match="do not add up"):
        check_conservation([StageCount("s", into=3, out=2)])
    with pytest.raises(TokenmillError, match="do not add up"):
        check_conservation([StageCount("s", into=3, out=3), StageCount("t", into=2, out=2)])
