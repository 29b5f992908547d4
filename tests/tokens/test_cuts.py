"""Long texts without spaces, and long stretches of white space: cut, with the ids of the whole."""

from __future__ import annotations

import re

import pytest

from tests.tokens.test_encoder import BYTE_LEVEL, encoded, encoder, expected, loaded
from tests.tokens.trained import KINDS
from tokenmill.tokens.encoder import Encoder, _buffers, _strings, _suspects

UNSPACED = {
    "chinese, paragraphs": "\u78e8\u574a\u8f6c\u52a8\u7740\u6c34\uff0c\u4e00\u76f4\u8f6c\u3002\n\n\u3000\u3000",
    "chinese, lines": "\u78e8\u574a\u8f6c\u52a8\u7740\u6c34\u3002\n",
    "chinese, sentences": "\u78e8\u574a\u8f6c\u52a8\u7740\u6c34\u3002\u4e00\u76f4\u8f6c\uff01",
    "japanese": "\u3053\u308c\u306f\u65e5\u672c\u8a9e\u3067\u3059\u3002\u300c\u305d\u3046\u300d\n\u3000",
    "thai": "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22\u0e40\u0e1b\u0e47\u0e19\u0e20\u0e32\u0e29\u0e32  ",
}


@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
@pytest.mark.parametrize("kind", BYTE_LEVEL)
@pytest.mark.parametrize("remember", [True, pytest.param(False, marks=pytest.mark.ci)])
def test_long_texts_without_spaces_are_cut(
    kind: str, text: str, remember: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is remembered of one part of a text at a time."""
    text = (text * 2000)[:5_000] + "."
    made = Encoder(loaded(kind), chunk=4000, remember=remember)
    pieces = made._pieces(text)
    assert isinstance(pieces, list)
    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 4000
    sizes = []
    if made._memo is not None:
        once = made._memo.encode
        monkeypatch.setattr(
            made._memo, "encode", lambda bounds, *rest: sizes.append(bounds[-1] - bounds[0]) or once(bounds, *rest)
        )
    assert encoded(made, ["y", text, "x"]) == [expected(kind, some) for some in ("y", text, "x")]
    assert max(sizes, default=0) <= 4000


WHITE = {
    "spaces": f"x{' ' * 3001}y",
    "lines": f"x{chr(10) * 2500}y",
    "both": f" {' ' * 900}\n{chr(9) * 700} x{' ' * 1000}",
    "wide": f"\u3002{chr(0x3000) * 1500}\u3002",
    "alone": " " * 2000,
    "lines and spaces": "x" + "\n \t" * 700 + "y",
}


@pytest.mark.parametrize("text", WHITE.values(), ids=WHITE)
@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_white_space_are_cut(kind: str, text: str) -> None:
    made = encoder(kind, longest_run=400)
    pieces = made._pieces(text)
    ids = encoded(made, ["before", text, "behind"])[1]
    if kind == "unigram":  # it strips the ends of texts, so that a cut in white space would lose what is before it
        assert pieces == text
    else:
        assert isinstance(pieces, list)
        assert "".join(pieces) == text
        assert max(len(run) for piece in pieces for run in re.findall(r"\s+", piece)) <= 400
    if kind in BYTE_LEVEL:
        assert made.decode(ids) == text
    if kind != "llama":  # whose tokens of many spaces may be cut
        assert ids == expected(kind, text)


def test_white_space_that_is_no_ascii_is_cut_in_long_texts() -> None:
    made = encoder("gpt2", longest_run=130, chunk=1000)
    text = "x" + "\n\u3000" * 2000 + "y"
    assert len(made._pieces(text)) > 20
    assert made.decode(made.encode([text])[0]) == text


@pytest.mark.parametrize("count", [1, 50, 51, 99, 100, 101, 150])
def test_texts_with_few_and_many_spaces(count: int) -> None:
    """Only as many as are too many in a row make a text one that has to be looked at."""
    made = encoder("gpt2", longest_run=100)
    for text in ("abc " * count, " " * count + "x" * 100, "x" * 100 + " " * count):
        offsets, data = _buffers(_strings([text]))
        assert _suspects(offsets, data, 100, 10_000).tolist() == [" " * 101 in text]
        assert encoded(made, [text]) == [expected("gpt2", text)]
