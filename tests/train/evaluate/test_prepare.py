"""Requests: what is put in, what is scored, and that nothing is lost or scored twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.evaluate.support import encoder, ids_of, item, scored_ids, sequences, task, tokenizer
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.tokenizer import load_tokenizer, loaded_from
from tokenmill.train.evaluate.kit import MULTIPLE_CONTEXT, Item, Task, load_kit
from tokenmill.train.evaluate.prepare import ENOUGH_DOCUMENTS, prepare_tasks, prepare_text
from tokenmill.train.evaluate.requests import joined, windows
from tokenmill.train.evaluate.texts import blocks

EOS = tokenizer().eos_id
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["\r", "\0", "\U0001f600" * 7, "<|endoftext|>", " ", "\n\n x", "the of and to in " * 30]
)


@given(st.integers(1, 30), st.integers(0, 90), st.integers(1, 20), st.data())
def test_windows_score_every_id_once(first: int, more: int, context: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    stop = first + more
    found = list(windows(first, stop, context, overlap))
    assert [n for _, scored, end in found for n in range(scored, end)] == list(range(first, stop))
    for start, scored, end in found:
        assert 0 <= start < scored or not more
        assert end - start <= context + 1
        # never less in sight than was asked for, or all there is
        assert start == 0 or scored - 1 - start >= (overlap if len(found) > 1 else context - more)


def test_choices_behind_their_context() -> None:
    made = prepare_tasks([task("mine", [item("a", "The sky:", [" blue", " the green"], 1)])], tokenizer(), 64)
    before = [EOS, *ids_of("The sky:")]
    assert sequences(made) == [before + ids_of(" blue"), before + ids_of(" the green")]
    assert made.names == ("task/mine",)
    assert made.scored.tolist() == made.tokens.tolist() == [len(ids_of(" blue")), len(ids_of(" the green"))]
    assert made.gold.tolist() == [False, True]
    assert made.choice.tolist() == [0, 1]
    assert made.bytes.tolist() == made.characters.tolist() == [5, 10]


def test_the_same_continuation_behind_several_contexts() -> None:
    one = Item("a", "a", ("Ann \U0001f600", "Bob"), (" left é",) * 2, 1)
    made = prepare_tasks([Task("w", MULTIPLE_CONTEXT, (one,))], tokenizer(), 64)
    assert sequences(made) == [[EOS, *ids_of(before), *ids_of(" left é")] for before in one.contexts]
    assert (made.characters.tolist(), made.bytes.tolist()) == ([7, 7], [8, 8])


def test_units_and_choices_that_are_right_as_well() -> None:
    items = [
        item("a", "x", [" one", " two", " one"], 2, unit="p"),
        item("b", "y", [" one", " two"], 0, unit="q"),
        item("c", "z", [" one", " two", " two"], 0, unit="p"),
    ]
    made = prepare_tasks([task("t", items), task("u", items[1:])], tokenizer(), 64)
    assert made.unit.tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1]
    assert made.choice.tolist() == [1, 2, 0, 1, 0, 1, 2, 0, 1, 0, 1, 2]
    assert made.task.tolist() == [0] * 7 + [1] * 5
    assert made.item.tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 0, 1, 1, 1]
    assert made.gold.sum() == 5


def test_what_is_too_long_is_cut_on_its_left() -> None:
    context, after = "of and to in " * 9, " the sky of it"
    whole = [EOS, *ids_of(context.rstrip()), *ids_of(after)]
    for length in (len(ids_of(after)), len(ids_of(after)) + 3, len(whole) - 2, len(whole) - 1, 500):
        made = prepare_tasks([task("t", [item("a", context.rstrip(), [after])])], tokenizer(), length)
        assert sequences(made) == [whole[-length - 1 :]]
    # a continuation that is longer than the model sees is scored in windows, each id once
    made = prepare_tasks([task("t", [item("a", context.rstrip(), [after])])], tokenizer(), 4)
    assert len(made) > 1
    assert made.answers == 1
    assert scored_ids(made, 0) == ids_of(after)
    assert max(map(len, sequences(made))) <= 5
    # the later ones see half a context besides what they score
    assert all(len(ids) - count == 4 // 2 + 1 for ids, count in zip(sequences(made), made.scored, strict=True))


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT.filter(bool)), min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=60)
def test_any_continuation_is_scored_whole(pairs: list[tuple[str, str]], context: int) -> None:
    items = [item(str(n), before, [after]) for n, (before, after) in enumerate(pairs)]
    made = prepare_tasks([task("t", items)], tokenizer(), context, encoder=encoder())
    for number, (_, after) in enumerate(pairs):
        assert scored_ids(made, number) == ids_of(after)
        assert made.bytes[number] == len(after.encode())
        assert made.characters[number] == len(after)
    assert all(2 <= len(ids) <= context + 1 for ids in sequences(made))


@given(st.lists(ANY_TEXT, min_size=1, max_size=5).filter(any), st.integers(1, 40), st.data())
@settings(max_examples=60)
def test_every_token_of_a_text_is_scored_once(texts: list[str], context: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    made = prepare_text("text/x", texts, tokenizer(), context, overlap, encoder=encoder())
    assert made.bytes.sum() == len("".join(texts).encode())
    assert made.characters.sum() == len("".join(texts))
    scored = [one for answer in range(made.answers) for one in scored_ids(made, answer)]
    assert scored == [one for text in texts for one in ids_of(text)]
    assert made.scored.sum() == made.tokens.sum() == len(scored)
    assert all(2 <= len(ids) <= context + 1 for ids in sequences(made))
    # every document begins behind EOS
    assert sum(ids[0] == EOS and ids[1:2] == ids_of(text)[:1] for text in texts for ids in sequences(made)) >= sum(
        map(bool, texts)
    )


def test_blocks_of_a_long_text_share_their_windows() -> None:
    text = "".join(f"The {number} of it is {number % 7}, and they had {number**2}. " for number in range(250))
    made = prepare_text("text/x", [text, "short"], tokenizer(), 128, 32)
    assert made.answers == 5 + 1
    assert 1_500 < made.bytes[:-1].min() < made.bytes.max() < 3_100
    pieces = [*blocks(text), "short"]
    assert [scored_ids(made, number) for number in range(6)] == [ids_of(piece) for piece in pieces]
    assert made.bytes.tolist() == [len(piece) for piece in pieces]
    assert made.unit.tolist() == made.item.tolist() == list(range(6))
    # windows that two blocks share pass through the model once: no more than with a single block
    windows_of_text = -(-(len(ids_of(text)) - 128) // 96) + 1
    assert len(np.unique(made.hosts)) == windows_of_text + 1 < len(made)
    many = prepare_text("text/x", [text] * ENOUGH_DOCUMENTS, tokenizer(), 128)
    assert many.unit.tolist() == [n // 5 for n in range(5 * ENOUGH_DOCUMENTS)]
    # less of it
    less = prepare_text("text/x", [text] * 3, tokenizer(), 128, max_bytes=len(text) + 100)
    assert less.bytes.sum() == len(text) + 100


def test_hosts_begin_with_the_same_input() -> None:
    items = [item("a", "The sky", [" a", " b", " the of and"], 0), item("b", "The sky", [" a", " the"], 1)]
    made = prepare_tasks([task("t", items)], tokenizer(), 64)
    inputs = [ids[:-1] for ids in sequences(made)]
    for number, host in enumerate(made.hosts.tolist()):
        assert inputs[host][: len(inputs[number])] == inputs[number]
        assert made.hosts[host] == host
    # what is no beginning of another goes through the model, once
    unique = {tuple(one) for one in inputs}
    alone = [one for one in unique if not any(one != other and other[: len(one)] == one for other in unique)]
    assert len(set(made.hosts.tolist())) == len(alone)
    assert made.forward_tokens < sum(map(len, inputs))


def test_joining() -> None:
    parts = [
        prepare_text("text/x", ["One text, of two."], tokenizer(), 8),
        prepare_tasks(
            [task("t", [item("a", "x", [" one", " two"])]), task("u", [item("b", "y", [" it"])])], tokenizer(), 8
        ),
        prepare_text("text/y", ["Another text."], tokenizer(), 8),
    ]
    made = joined(parts)
    assert made.names == ("text/x", "task/t", "task/u", "text/y")
    assert sequences(made) == [ids for part in parts for ids in sequences(part)]
    assert [made.names[n] for n in made.task] == [part.names[n] for part in parts for n in part.task]
    assert made.bytes.tolist() == [n for part in parts for n in part.bytes]
    assert [made.names[made.task[n]] for n in made.answer] == [
        part.names[part.task[n]] for part in parts for n in part.answer
    ]
    assert len({part.sha256 for part in (*parts, made)}) == 4


@pytest.mark.ci
def test_apart_is_the_same_as_whole_where_tokens_hold_the_space_before_a_word(shared: Path) -> None:
    """For GPT-2's tokenizer and the items of the public kit that are prose."""
    gpt2 = load_tokenizer(str(shared / "tokenizers" / "gpt2"))
    tasks = load_kit(shared / "eval-kit", ["copa", "openbookqa", "winogrande"], 60)
    made = prepare_tasks(tasks, gpt2, 1024)
    library = gpt2.make()
    texts = [b + a for one in tasks for i in one.items for b, a in zip(i.contexts, i.continuations, strict=True)]
    assert [ids[1:] for ids in sequences(made)] == [
        library.encode(text, add_special_tokens=False).ids for text in texts
    ]


def test_what_cannot_be_prepared() -> None:
    with pytest.raises(ConfigError, match="context of 0 ids"):
        prepare_text("text/x", ["a"], tokenizer(), 0)
    with pytest.raises(ConfigError, match=r"overlap=8 of windows(.|\n)*0 to 7"):
        prepare_text("text/x", ["a"], tokenizer(), 8, 8)
    with pytest.raises(ConfigError, match="the text text/x is empty"):
        prepare_text("text/x", ["", ""], tokenizer(), 8)
    words = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {"<eos>": 0, "one": 1, "<unk>": 2}, "unk_token": "<unk>"},
    }
    with pytest.raises(ConfigError, match=r"an answer of t has no token(.|\n)*item a, choice 1"):
        prepare_tasks([task("t", [item("a", "one", [" one", "  "])])], loaded_from(words, "words", eos="<eos>"), 8)
