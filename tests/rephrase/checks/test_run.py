from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, pair, reason, style
from tokenmill.rephrase.checks.columns import CHECK_COLUMNS
from tokenmill.rephrase.checks.rules import rules_from
from tokenmill.rephrase.checks.run import check_pairs, checks_digest, finish_of, verdicts


@pytest.mark.parametrize(
    ("given", "expected", "why"),
    [
        ("stop", "stop", None),
        ("eos", "stop", None),
        ("EOS_token", "stop", None),
        ("length", "length", "not_finished"),
        ("max_tokens", "length", "not_finished"),
        ("content_filter", "content_filter", "not_finished"),
        ("tool_calls", "tool_calls", "not_finished"),
        ("", None, None),
    ],
)
def test_finish(given: str, expected: str | None, why: str | None) -> None:
    assert finish_of(pair(PAGE, PARAPHRASE, finish_reason=given)) == expected
    assert reason(PAGE, PARAPHRASE, finish_reason=given) == why


@pytest.mark.parametrize(
    ("output", "expected"),
    [("", "empty_output"), (" \n\t", "empty_output"), ("...!", "empty_output"), ("7", "too_short")],
)
def test_empty(output: str, expected: str) -> None:
    assert reason(PAGE, output) == expected


TEXT = st.text(st.characters(exclude_categories=()), max_size=80) | st.sampled_from([PAGE, PARAPHRASE, "\ud800 x", ""])


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
@settings(max_examples=15, deadline=None)
def test_any_text_gets_all_columns_whatever_stands_beside_it(texts: list[tuple[str, str]]) -> None:
    pairs = [pair(source, output) for source, output in texts]
    table = check_pairs(pairs)
    assert table.schema == pa.schema(list(CHECK_COLUMNS.items()))
    assert len(table) == len(pairs)
    assert pa.concat_tables([table.slice(0, 0), *(check_pairs([one]) for one in pairs)]).equals(table)
    assert len(verdicts(table, pairs)) == len(pairs)


def test_digests_name_models_and_lists() -> None:
    assert set(checks_digest()) == {"checks", "phrases", "langid"}
    assert all(checks_digest().values())


def edited(text: str) -> str:
    """The same text with every ninth word in lower case."""
    words = text.split(" ")
    return " ".join(word if place % 9 else word.lower() for place, word in enumerate(words))


COPIES = {"copy_ngram": None, "copy_longest_share": None, "copy_longest_run": None}


def fired(texts: Sequence[str], outputs: Sequence[str]) -> list[tuple[str, str]]:
    one = style(checks=COPIES)
    pairs = [pair(text, output, style=one) for text, output in zip(texts, outputs, strict=True)]
    return [
        (drop.reason, pair.output)
        for pair, drop in zip(pairs, verdicts(check_pairs(pairs), pairs), strict=True)
        if drop
    ]


@pytest.mark.parametrize("pages", [15, pytest.param(700, marks=pytest.mark.ci)])
def test_real_pages_beside_themselves_fire_nothing_but_copy_checks(shared: Path, pages: int) -> None:
    """In 30 languages, with menus, tables and code; and with every ninth word in lower case."""
    column = pq.read_table(shared / "pool" / "pool-001.parquet", columns=["main_text"]).column("main_text")
    texts = [text for text in column.to_pylist() if text and len(text) > 300][:pages]
    assert fired(texts, texts) == []
    assert len(fired(texts, [edited(text) for text in texts])) == 0
    pairs = [pair(text, text) for text in texts]
    assert {drop.reason for drop in verdicts(check_pairs(pairs), pairs) if drop} <= {"copied", "copied_run"}


def test_reasons_of_every_kind_of_style() -> None:
    """A rule may name any column, also one that its kind has no default for."""
    strict = rules_from({"words": [10, 50], "similarity": {"min": 0.5}}, "create")
    one = pair(PAGE, PARAPHRASE, style=style("create", {"words": [10, 50]}))
    assert [drop and drop.reason for drop in verdicts(check_pairs([one]), [one])] == ["too_many_words"]
    assert any(rule.signal == "check_similarity" for rule in strict)


HINDI = (
    "ताजमहल भारत के आगरा नगर में यमुना नदी के किनारे स्थित एक मकबरा है। इसका निर्माण मुगल सम्राट शाहजहाँ ने "
    "अपनी पत्नी मुमताज महल की याद में करवाया था। यह सफेद संगमरमर से बना है।"
)
PAIRS = "\n\n".join(
    f"Question: {asked}\nAnswer: {told}"
    for asked, told in (("यह कहाँ है?", "आगरा में।"), ("किसने बनवाया?", "शाहजहाँ ने।"), ("किससे?", "संगमरमर से।"))
)


@pytest.mark.parametrize(("kind", "why"), [("qa", None), ("plain", "other_script")])
def test_labels_are_not_the_script_of_an_answer(kind: str, why: str | None) -> None:
    one = style("rewrite", {"length_ratio": [0.1, 2]}, kind)
    assert reason(HINDI, PAIRS, style=one, source_language="hi") == why


def test_own_labels_of_a_style_are_left_out_too() -> None:
    text = "Problem: Was?\nSolution: Das."
    one = replace(style("create", {}, "qa"), format={"kind": "qa", "labels": ("Problem", "Solution")})
    assert check_pairs([pair(PAGE, text, style=one)]).column("check_words").to_pylist() == [2]
    assert check_pairs([pair(PAGE, text, style=style("create"))]).column("check_words").to_pylist() == [4]
