"""Encoding: the library's own ids, no control tokens out of texts, and runs of any length."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from tests.properties import examples
from tests.tokens.trained import CORPUS, KINDS, save, trained
from tokenmill.core.errors import ConfigError, DocumentError
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer, load_tokenizer, one_thread
from tokenmill.tokens.untrusted import is_control

EOS = {"gpt2": "<|endoftext|>", "digits": "<|end_of_text|>", "unigram": "</s>", "llama": "</s>", "bert": "[SEP]"}
BYTE_LEVEL = ("gpt2", "digits")


@cache
def loaded(kind: str) -> LoadedTokenizer:
    """A small tokenizer, as its file gives it."""
    with TemporaryDirectory() as folder:
        return load_tokenizer(save(kind, Path(folder)), eos=EOS[kind])


@cache
def encoder(kind: str, **settings: Any) -> Encoder:
    return Encoder(loaded(kind), **settings)


@cache
def oracle(kind: str) -> Tokenizer:
    """The library's tokenizer, which cuts nothing and leaves special tokens alone."""
    spec = json.loads(trained(kind)) | {"truncation": None, "padding": None}
    made = Tokenizer.from_str(json.dumps(spec))
    made.encode_special_tokens = True
    return made


def expected(kind: str, text: str) -> list[int]:
    found: list[int] = oracle(kind).encode(text, add_special_tokens=False).ids
    return found


def encoded(made: Encoder, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text."""
    ids, lengths = made.encode(texts)
    assert ids.dtype == made.loaded.dtype
    assert ids.shape == (lengths.sum(),)
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] if len(texts) else []


def added_texts(kind: str) -> list[str]:
    return [token["content"] for token in json.loads(trained(kind))["added_tokens"]]


def texts_of(kind: str) -> st.SearchStrategy[str]:
    """Texts with all that is special in a tokenizer, and white space and cases that regular expressions know."""
    known = [
        *added_texts(kind),
        "  ",
        "\n\n",
        " \n",
        "\r",
        "\x00",
        "'s",
        "1234",
        "the mill",
        "é",
        "漢字",
        "e\u0301",
        "\u3000",
    ]
    piece = st.one_of(st.sampled_from(known), st.text(max_size=6))
    return st.lists(piece, max_size=12).map("".join)


CONTROL = {
    "gpt2": {"<|endoftext|>", "<|padding|>", "<|im_start|>"},
    "digits": {"<s>", "<|end_of_text|>"},
    "unigram": {"<s>", "</s>"},
    "llama": {"<s>", "</s>"},
    "bert": {"[PAD]", "[CLS]", "[SEP]"},
}


@examples(15, 40)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_ids_are_those_of_the_library(kind: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(texts_of(kind).filter(lambda text: not named(kind, text)), max_size=5))
    assert encoded(encoder(kind), texts) == [expected(kind, text) for text in texts]


def named(kind: str, text: str) -> bool:
    """Whether the library would give a control token that tokenmill does not."""
    hidden = CONTROL[kind] if kind in ("unigram", "llama") else {"<|im_start|>"}
    return any(token in text for token in hidden)


@examples(20, 60)
@pytest.mark.parametrize("kind", BYTE_LEVEL)
@given(data=st.data())
def test_byte_level_texts_come_back(kind: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(texts_of(kind), max_size=4))
    for made in (encoder(kind), encoder(kind, longest_run=130, chunk=400)):
        found = encoded(made, texts)
        assert [made.decode(ids) for ids in found] == texts
        assert not made.control_ids & {number for ids in found for number in ids}


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=3000))
@example("a" * 1000)
@example("é" * 500)
@example("a\u0301\u0302" * 300)
@example("\u0301" * 600)
@example("漢字かな。、" * 200 + " a" * 300)
def test_texts_in_many_pieces_come_back(text: str) -> None:
    made = encoder("gpt2", longest_run=130, chunk=400)
    assert made.decode(made.encode([text])[0]) == text


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_in_texts_are_text(kind: str) -> None:
    made = encoder(kind)
    assert {made.decode([number]) for number in made.control_ids} == CONTROL[kind]
    around = ["{}", "a{}", " {} ", "{0}{0}", "x {0}\n{0} y", "\n{}", "1{}2", "<{}>", "({})"]
    texts = [shape.format(token) for token in sorted(CONTROL[kind]) for shape in around]
    for ids in encoded(made, texts):
        assert ids
        assert not made.control_ids.intersection(ids)


def test_other_added_tokens_stay() -> None:
    numbers = {text: oracle("gpt2").token_to_id(text) for text in ("    ", "|||EMAIL|||", "<table>")}
    for text, number in numbers.items():
        assert encoded(encoder("gpt2"), [f"a{text}b"]) == [expected("gpt2", f"a{text}b")]
        assert number in encoded(encoder("gpt2"), [f"a{text}b"])[0]


@pytest.mark.parametrize("flags", [{"lstrip": True}, {"rstrip": True}, {"normalized": True}, {"single_word": True}, {}])
def test_control_tokens_with_flags_take_no_white_space_with_them(flags: dict[str, bool]) -> None:
    made = Tokenizer.from_str(trained("gpt2"))
    made.add_tokens([AddedToken("<|im_end|>", special=False, **flags), AddedToken("  ", **flags)])
    spec = made.to_str().encode()
    careful = Encoder(LoadedTokenizer("flags", spec, made.get_vocab_size(), 0, "<|endoftext|>"))
    assert made.token_to_id("<|im_end|>") in careful.control_ids
    for text in ("a <|im_end|> b", "a<|im_end|>b", " <|im_end|>", "<|im_end|>\n"):
        ids = encoded(careful, [text])[0]
        assert careful.decode(ids) == text
        assert not careful.control_ids.intersection(ids)


@pytest.mark.parametrize(
    ("content", "special", "control"),
    [
        ("<|im_start|>", False, True),
        ("<think>", False, True),
        ("</tool_call>", False, True),
        ("[INST]", False, True),
        ("[/INST]", False, True),
        ("<s>", False, True),
        ("</s>", False, True),
        ("<｜User｜>", False, True),
        ("anything", True, True),
        ("     ", False, False),
        ("\n\n", False, False),
        ("|||IP_ADDRESS|||", False, False),
        ("<table>", False, False),
        ("</h2>", False, False),
        ("[x]", False, False),
        ("< b >", False, False),
    ],
)
def test_what_is_a_control_token(content: str, special: bool, control: bool) -> None:
    assert is_control(content, special) is control


def runs(seed: int, size: int) -> dict[str, str]:
    """Texts without white space, or with little."""
    draw = random.Random(seed)
    return {
        "base64": "".join(draw.choices("abcdefXYZ0123456789+/=", k=size)),
        "address": "https://example.org/?" + "&".join(f"key{n}=value{n * n}" for n in range(size // 16)),
        "han": "漢字かな。交じり文、" * (size // 10),
        "marks": "e\u0301x." * (size // 4),
        "digits": "the " + "0123456789" * (size // 10) + " end\n" + "7" * size + ".",
        "mixed": CORPUS[0] + "a.b;" * size + CORPUS[1] + "\n\n  (x)" + "=-" * size + "  " + CORPUS[2],
    }


@pytest.mark.parametrize("name", runs(0, 100))
@pytest.mark.parametrize("kind", ["gpt2", "digits", "bert"])
def test_runs_are_cut_where_the_ids_do_not_change(kind: str, name: str) -> None:
    text = runs(1, 3000)[name]
    longest = 500
    if name == "digits" and kind != "digits":
        pytest.skip("a number is one word of this tokenizer")
    made = encoder(kind, longest_run=longest)
    pieces = made._pieces(text)
    assert isinstance(pieces, list)
    assert "".join(pieces) == text
    assert max(len(word) for piece in pieces for word in piece.split()) <= longest
    assert encoded(made, ["before", text, "behind"])[1] == expected(kind, text)


@pytest.mark.parametrize("kind", ["unigram", "llama"])
def test_a_piece_of_a_word_begins_no_word(kind: str) -> None:
    """Without words between which one could cut, the ids change at cuts only, and no space is put before a piece."""
    made = encoder(kind, longest_run=200)
    text = "themillturnswater" * 60
    assert isinstance(made._pieces(text), list)
    assert made.decode(made.encode([text])[0]) == text
    shown = made._rest.encode("the mill", add_special_tokens=False)
    assert made.decode(shown.ids) in ("the mill", "he mill")  # the decoder strips what it takes for the first space
    assert not shown.tokens[0].startswith("▁")


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.ci) for kind in KINDS[1:])])
def test_long_texts_are_cut_between_words(kind: str) -> None:
    made, text = encoder(kind, chunk=2000), "".join(CORPUS)
    pieces = made._pieces(text)
    assert isinstance(pieces, list) is (kind != "llama")  # whole texts are one word of that pre-tokenizer
    if kind != "llama":
        assert max(map(len, pieces)) <= 2000
        assert "".join(pieces) == text
    for one in (made, encoder(kind, chunk=2000, remember=False)):
        assert encoded(one, ["y", text, "x"]) == [expected(kind, some) for some in ("y", text, "x")]


def test_texts_do_not_depend_on_each_other() -> None:
    texts = [*CORPUS, "", "a" * 700, *runs(2, 400).values()]
    alone = [encoded(encoder("gpt2"), [text])[0] for text in texts]
    assert encoded(encoder("gpt2"), texts) == alone
    assert encoded(Encoder(loaded("gpt2"), chunk=5000), texts) == alone


def test_the_separator_of_many_words_is_a_character_like_others() -> None:
    texts = ["a\uffffb", "\uffff", "the \uffff\uffff mill", *CORPUS]
    for made in (Encoder(loaded("gpt2")), Encoder(loaded("digits"))):
        assert encoded(made, texts) == [expected(made.loaded.name.rpartition("/")[2][:-5], text) for text in texts]


def test_arrow_arrays_of_all_kinds() -> None:
    texts = ["the mill", None, "", "été " * 3, "x"]
    plain = [text or "" for text in texts]
    wanted = encoder("gpt2").encode(plain)
    for array in (
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(["skipped", *texts, "skipped"]).slice(1, 5),
        pa.chunked_array([texts[:2], texts[2:]]),
    ):
        for found, want in zip(encoder("gpt2").encode(array), wanted, strict=True):
            np.testing.assert_array_equal(found, want)
    ids, lengths = encoder("gpt2").encode([])
    assert (len(ids), len(lengths)) == (0, 0)
    assert encoder("gpt2").encode(pa.nulls(2, pa.string()))[1].tolist() == [0, 0]


def test_the_environment_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "true"):
        monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
        if value:
            monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
        with one_thread():
            assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
        encoder("gpt2").encode(["a"])
        assert os.environ.get("TOKENIZERS_PARALLELISM") == value


def test_a_vocabulary_that_spells_a_control_token(tmp_path: Path) -> None:
    """BPE whose merges make the token that ends texts: they are left out."""
    spec = json.loads(trained("gpt2"))
    merges = [["|", ">"], ["<", "|"], ["e", "nd"], ["n", "d"], ["<|", "end"], ["<|end", "|>"]]
    for pair in merges:
        spec["model"]["vocab"].setdefault("".join(pair), len(spec["model"]["vocab"]) + 10)
    end = spec["model"]["vocab"]["<|end|>"]
    spec["model"]["merges"] = merges
    spec |= {"added_tokens": [], "pre_tokenizer": spec["pre_tokenizer"] | {"use_regex": False}}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(spec))
    made = Encoder(load_tokenizer(str(path), eos="<|end|>"))
    assert end in made.loaded.make().encode("<|end|>").ids
    ids = encoded(made, ["a<|end|>b"])[0]
    assert end not in ids
    assert made.decode(ids) == "a<|end|>b"


def test_the_end_of_texts_is_no_unknown_word(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"<eos>": 0, "a": 1, "other": 2}, unk_token="<eos>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path / "t.json"
    path.write_text(words.to_str())
    with pytest.raises(ConfigError, match="stands for unknown words as well"):
        Encoder(load_tokenizer(str(path)))
    assert encoded(Encoder(load_tokenizer(str(path), eos="other")), ["a b"]) == [[1, 0]]


def test_a_control_token_that_comes_out_all_the_same_is_an_error() -> None:
    made = Encoder(loaded("gpt2"))
    number = made.encode(["x"])[0][0]
    made._forbidden[number] = True
    with pytest.raises(DocumentError, match="gives the control token 'x'"):
        made.encode(["the", "x"])


@cache
def published(shared: Path, name: str) -> Encoder:
    return Encoder(load_tokenizer(str(shared / "tokenizers" / name)))


def pool(shared: Path, file: int, count: int) -> pa.ChunkedArray:
    return pq.read_table(shared / f"pool/pool-00{file}.parquet", columns=["raw_text"])["raw_text"][:count]


@pytest.mark.ci  # sample: the ids are those of the library
@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-olmo"])
def test_pages(shared: Path, name: str) -> None:
    made = published(shared, name)
    plain = made.loaded.make()
    plain.encode_special_tokens = True
    column = pool(shared, 3, 25)
    found = encoded(made, column)
    with one_thread():
        assert found == [e.ids for e in plain.encode_batch(column.to_pylist(), add_special_tokens=False)]
    tokens = [token.content for token in plain.get_added_tokens_decoder().values()]
    for text in [*tokens, f"x{'y'.join(tokens)} z"]:
        ids = encoded(made, [text])[0]
        assert made.decode(ids) == text
        assert not made.control_ids.intersection(ids)


@pytest.mark.ci  # sample: runs are cut where the ids do not change
def test_four_megabytes_without_a_space(shared: Path) -> None:
    made, text = published(shared, "gpt2"), "a" * (1 << 22)
    ids, lengths = made.encode(["x", text])
    assert made.decode(ids[1:]) == text
    assert lengths.tolist() == [1, len(ids) - 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-olmo"])
def test_all_pages(shared: Path, name: str) -> None:
    """With what is remembered of millions of words, and without."""
    made, plain = published(shared, name), Encoder(published(shared, name).loaded, remember=False)
    for file in range(5):
        column = pool(shared, file, 10_000)
        for start in range(0, len(column), 500):
            for found, want in zip(
                made.encode(column[start : start + 500]), plain.encode(column[start : start + 500]), strict=True
            ):
                np.testing.assert_array_equal(found, want)


@pytest.mark.ci
@pytest.mark.parametrize("letters", ["abcdefghijklmnopqrstuvwxyz", "漢字かな", "é"])
def test_four_megabytes_of_all_kinds(shared: Path, letters: str) -> None:
    made = published(shared, "gpt2")
    text = "".join(random.Random(1).choices(letters, k=(1 << 22) // len(letters[0].encode())))
    assert made.decode(made.encode([text])[0]) == text
