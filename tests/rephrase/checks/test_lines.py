from __future__ import annotations

import pytest

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, reason, style, value
from tokenmill.rephrase.checks.lines import ends_inside

ITEMS = "\n".join(f"Item {name} of the list is described here" for name in ("one", "two", "three", "four"))


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (PAGE, ITEMS, 0.0),
        (PAGE, "first line\nfirst line", 0.5),
        (PAGE, "first line\n\n  first line  \nother one\n", 10 / 29),
        ("first line\nfirst line", "first line\nfirst line", 0.0),  # as often as in the source
        ("first line\nfirst line", "first line\nfirst line\nfirst line\nfirst line", 0.5),
        (PAGE, "", 0.0),
    ],
)
def test_repeated_lines(source: str, output: str, expected: float) -> None:
    assert value("repetition_line", source, output) == pytest.approx(expected)


def test_repeated_lines_reject() -> None:
    checks = {"repetition_ngram": None, "compression": None, "length_ratio": None}
    output = "\n".join([*PARAPHRASE.split(". "), *["Boats land here often."] * 20])
    assert reason(PAGE, output, style=style(checks=checks)) == "repeated_lines"


@pytest.mark.parametrize(
    ("output", "expected"),
    [(PARAPHRASE, None), ("ab" * 400 + ".", "compressible"), ("ab" * 90 + ".", None)],  # the last: below 200 bytes
)
def test_compression_finds_loops_without_words(output: str, expected: str | None) -> None:
    checks = {"length_ratio": None, "language": None}
    assert reason(PAGE, output, style=style(checks=checks)) == expected


def test_compression_is_beside_the_source() -> None:
    assert value("compression", PAGE, PAGE) == pytest.approx(1.0)
    assert value("compression", PAGE, "too short") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The boats came home in the evening.", False),
        ('He said that "the boats came home in the evening."', False),
        ("The boats came home in the evening (all of **them**.)", False),
        ("The boats that came home in the evening were", True),
        ("The boats came home. Then, in the evening,", True),
        ("First line.\nThe boats that came home in the evening were", True),
        ("The boats came home.\nA heading of some kind", None),  # five words: may be a title
        ("- the boats that came home in the evening", None),
        ("| boats | herring | year | port | home | harbour |", None),
        ("12. the boats that came home in the evening", None),
        ("灯台の高さは二十五メートルであり、港の入り口に立っている。", False),
        ("灯台の高さは二十五メートルであり、港の入り口に立っているこの", True),
        ("जहाज़ शाम को घर लौट आए और सब खुश थे।", False),
        ("عادت السفن إلى الميناء في المساء، أليس كذلك؟", False),
        ("เรือกลับบ้านตอนเย็นและทุกคนก็มีความสุขมากในวันนั้น", None),
        ("", None),
        ("Then the useful power of such a wheel is $$P = \\rho g Q h$$", None),
        ("The power of the wheel is then P = 39", None),
        ("The wheel gives at most a power of about 59 kW", None),
        ("The harbour was closed for good in 1902 and", True),
        ("The wheel turned and gave the power of an ox", True),
    ],
)
def test_ends_inside(text: str, expected: bool | None) -> None:
    assert ends_inside(text) is expected


CUT = PARAPHRASE[:-25]


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [(PAGE, "rewrite", True), (PAGE[:-20], "rewrite", False), (PAGE[:-20], "create", True)],
)
def test_truncated_end_beside_the_source(source: str, kind: str, expected: bool) -> None:
    """A page may end without a mark, and so may its rewriting; not what is new."""
    assert value("truncated_end", source, CUT, style=style(kind)) is expected


def test_truncated_end_rejects() -> None:
    assert reason(PAGE, CUT) == "truncated_end"
    assert reason(PAGE, CUT, style=style(checks={"truncated_end": None})) is None


@pytest.mark.parametrize(
    ("end", "cut"),
    [
        ("How much is it? Answer: twice as much, about 118 kilowatts", False),
        ("Question: how much? Answer: the same", False),
        ("With love from your old friend. Your Ruth", False),
        ("They went on and on until the tall gate of the mill was in", True),
    ],
)
def test_new_texts_may_end_with_key_words(end: str, cut: bool) -> None:
    assert value("truncated_end", PAGE, f"{PARAPHRASE} {end}", style=style("create")) is cut
