"""Words encoded once: the ids are those of whole texts, with the tokenizers that allow it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.bpe_tokenizer import save_bpe
from tokenmill.text.pieces_kernel import CUTS, KINDS
from tokenmill.tokens import memo
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.memo import PROBE, SPLITS, Memo, awkward_tokens
from tokenmill.tokens.tokenizer import load_tokenizer

tokenizers = pytest.importorskip("tokenizers")

WHITE = "\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
ODD = "' \n\t\r.,-_/0129aAzZéß\u0301²½…“”漢字かПя\u0661\u200b\u200d\ufeff\u180e\x00\x1c\x7f😀" + WHITE
TEXTS = st.one_of(st.text(ODD, max_size=60), st.text(max_size=40), st.text("ab1 .'\n", max_size=40))


def with_pattern(folder: Path, pattern: str, *, normalizer: Any = None, added: tuple[str, ...] = ()) -> Path:
    """A byte-level BPE that splits by a pattern."""
    spec = json.loads(save_bpe(folder).read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
    spec["normalizer"] = normalizer
    size = len(spec["model"]["vocab"])
    for number, content in enumerate(added):
        flags = dict.fromkeys(("special", "lstrip", "rstrip", "single_word"), False)
        spec["added_tokens"].append({"id": size + number, "content": content, "normalized": True, **flags})
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(spec))
    return path


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Encoder, Encoder]]:
    """(with memo, without) for all known patterns, with tokens of spaces and without, and small tables."""
    found = []
    for number, pattern in enumerate(sorted(SPLITS)):
        folder = tmp_path_factory.mktemp(f"t{number}")
        more: dict[str, Any] = (
            {"normalizer": {"type": "NFC"}, "added": ("    ", "  ", "|||A_B|||")} if number % 2 else {}
        )
        loaded = load_tokenizer(str(with_pattern(folder, pattern, **more)))
        first = Encoder(loaded)
        assert first._memo is not None, pattern
        first._memo = Memo(first._library, first.dtype, entries=64, size=600, longest=12)
        found.append((first, Encoder(loaded, remember=False)))
    return found


@examples(40, 150)
@given(st.lists(TEXTS, max_size=6))
@example([PROBE[:80], PROBE[80:150], PROBE[150:230], PROBE[230:330]])
@example(["a\n b\n\n c", "x  y", "it's 's5 5's", "|||A_B||| a|||A_B|||", "a" * 30 + " b" * 30])
def test_the_ids_are_those_of_whole_texts(encoders: list[tuple[Encoder, Encoder]], texts: list[str]) -> None:
    for first, whole in encoders:
        for some in (texts, *([text] for text in texts)):  # one text alone may fit where all are too many
            try:
                found = first.encode(some)
            except ValueError as error:
                assert "too many for a table" in str(error)  # noqa: PT017 - the table of this test is tiny
                continue
            expected = whole.encode(some)
            assert found[0].tolist() == expected[0].tolist()
            assert found[1].tolist() == expected[1].tolist()


def test_a_full_table_keeps_what_is_frequent(tmp_path: Path) -> None:
    encoder = Encoder(load_tokenizer(str(save_bpe(tmp_path))))
    encoder._memo = table = Memo(encoder._library, encoder.dtype, entries=100, size=4000)
    whole = Encoder(encoder.loaded, remember=False)
    for number in range(50):
        text = f"and the cat sat on the mat {number}a {number}b x{number} y{number}z q{number}"
        assert encoder.encode([text])[0].tolist() == whole.encode([text])[0].tolist()
    frequent = table.texts_encoded
    encoder.encode(["and the cat sat on the mat"])
    assert table.texts_encoded == frequent
    assert frequent < 50 * 12


def test_an_error_of_the_library_leaves_nothing_half_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(load_tokenizer(str(save_bpe(tmp_path))))
    assert encoder._memo is not None

    def fails(texts: list[str]) -> Any:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(encoder._memo, "_encode", fails)
        with pytest.raises(RuntimeError):
            encoder.encode(["some new words"])
    ids, lengths = encoder.encode(["some new words", "", "new"])
    assert encoder.decode(ids) == "some new wordsnew"
    assert lengths[1] == 0


def test_the_library_gets_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pieces that are too long to be remembered, and of new ones: its notes take a hundred times their room."""
    encoder = Encoder(load_tokenizer(str(save_bpe(tmp_path))))
    assert encoder._memo is not None
    sizes: list[int] = []

    def library(texts: list[str]) -> Any:
        sizes.append(sum(len(text.encode()) for text in texts))
        return encoder._library(texts)

    monkeypatch.setattr(encoder._memo, "_encode", library)
    text = "".join("\u6c49" * 30 + f" w{n}" for n in range(5000)) + "\u5b57" * 5000
    ids, _ = encoder.encode([text])
    assert max(sizes) <= memo.GROUP
    assert sum(sizes) > memo.GROUP
    assert encoder.decode(ids) == text
    assert [len(some) for some in memo.in_groups(["a" * 60, "b" * 41, "\u6c49" * 50, "", "c"], 100)] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"normalizer": {"type": "NFKC"}}, "other normalizers"),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}}, "SentencePiece"),
        ({"pre_tokenizer": None}, "no pre-tokenizer"),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
            "a space is put before",
        ),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}}, "no pattern"),
        (
            {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}},
            "?",
        ),
    ],
)
def test_other_tokenizers_encode_whole_texts(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    spec = json.loads(save_bpe(tmp_path).read_text())
    assert awkward_tokens(spec, lambda content, special: not special) == ()
    assert awkward_tokens({**spec, **change}, lambda content, special: not special) is None, why


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ({"content": "    "}, ()),
        ({"content": "|||A_B|||"}, (b"|||A_B|||",)),
        ({"content": "new york"}, (b"new york",)),
        ({"content": "é"}, ("é".encode(),)),
        ({"content": "x", "lstrip": True}, None),
        ({"content": "x", "single_word": True}, None),
        ({"content": "<eos> x", "special": True}, ()),
    ],
)
def test_added_tokens(tmp_path: Path, token: dict[str, Any], expected: tuple[bytes, ...] | None) -> None:
    spec = json.loads(save_bpe(tmp_path).read_text())
    spec["added_tokens"].append({"special": False, "normalized": False, "id": 999, **token})
    assert awkward_tokens(spec, lambda content, special: not special) == expected


def test_a_pattern_that_breaks_the_promise_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is the second look: here a pattern is said to be known that joins words."""
    pattern = r"\p{L}+ \p{L}+|\p{L}+|\s+|[^\s\p{L}]+"
    path = with_pattern(tmp_path, pattern)
    monkeypatch.setattr(memo, "SPLITS", SPLITS | {pattern})
    assert Encoder(load_tokenizer(str(path)))._memo is None


def test_cuts_lie_only_where_every_pattern_begins_a_word() -> None:
    """All pairs of ASCII characters, in many surroundings, against the library's own splitting."""
    surroundings = [("", ""), ("a", "b"), ("1", "2"), (" ", " "), ("\n", "\n"), (".", "."), ("'", "'"), ("é", "é")]
    surroundings += [
        ("a ", " b"),
        ("x.", ".y"),
        ("12", "34"),
        ("  ", "s "),
        ("\r\n", "\r\n"),
        ("/", "/"),
        ("can'", "t"),
    ]
    ascii_ = [chr(code) for code in range(128)]
    pairs = [
        (a, b) for a in ascii_ for b in ascii_ if CUTS[KINDS[ord(a)], KINDS[ord(b)]] or (b == "\n" and a.isalnum())
    ]
    assert len(pairs) > 3000
    generator = np.random.default_rng(1)
    for pattern in sorted(SPLITS):
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        for a, b in pairs:
            before, after = surroundings[generator.integers(len(surroundings))]
            text, place = before + a + b + after, len(before) + 1
            starts = {start for _, (start, _) in split.pre_tokenize_str(text)}
            assert place in starts, (pattern, text)
