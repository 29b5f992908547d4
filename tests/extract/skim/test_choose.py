from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tokenmill.extract.skim import choose, choose_kernel
from tokenmill.extract.skim.choose import Settings
from tokenmill.extract.skim.model import Model
from tokenmill.extract.skim.scan import scan

LONG = "A sentence of this text, long enough to count as a text of its own. "
BODY = [
    f"Paragraph {i} tells what happened on day {i * 7} of the long way to the mountains in the north. " * 2
    for i in range(6)
]


def kept(blocks: Sequence[tuple[str, float]], settings: Settings = Settings()) -> list[int]:  # noqa: B008
    scanned = scan("".join(text if text.startswith("<") else f"<p>{text}</p>" for text, _ in blocks).encode())
    assert len(scanned.bl_el) == len(blocks)
    likely = np.array([p for _, p in blocks], np.float32)
    return np.flatnonzero(choose.choose(scanned, likely, Model.load(), settings).keep).tolist()


@pytest.mark.parametrize(
    ("blocks", "settings", "expected"),
    [
        ([(LONG, 0.56), (LONG, 0.54), (LONG, 0.2)], Settings(), [0]),
        ([(LONG, 0.61), (LONG, 0.59), (LONG, 0.2)], Settings(cut=0.7), []),
        ([(LONG, 0.61), (LONG, 0.55), (LONG, 0.2)], Settings(cut=0.5), [0, 1]),
        ([(LONG, 0.9), (LONG, 0.52), (LONG, 0.9)], Settings(), [0, 1, 2]),  # a gap
        ([(LONG, 0.9), (LONG, 0.45), (LONG, 0.9)], Settings(), [0, 2]),
        ([(LONG, 0.9), *[(LONG, 0.52)] * 3, (LONG, 0.9)], Settings(), [0, 1, 2, 3, 4]),
        ([(LONG, 0.9), *[(LONG, 0.52)] * 4, (LONG, 0.9)], Settings(), [0, 5]),  # too wide
        ([(LONG, 0.9), ("so \\(x\\)", 0.15), (LONG, 0.9)], Settings(), [0, 1, 2]),  # formulas
        ([(LONG, 0.9), ("$a$ and $b$", 0.15), (LONG, 0.9)], Settings(), [0, 1, 2]),
        ([(LONG, 0.9), ("costs 5 $", 0.15), (LONG, 0.9)], Settings(), [0, 2]),
        ([(LONG, 0.9), ("so \\(x\\)", 0.01), (LONG, 0.9)], Settings(), [0, 2]),
        ([(LONG, 0.9), *[(LONG, 0.3)] * 9, ("\\(x\\)", 0.05), (LONG, 0.3), (LONG, 0.9)], Settings(), [0, 10, 12]),
        ([(LONG, 0.9), (LONG, 0.3), ("\\(x\\)", 0.05)], Settings(), [0, 2]),  # in the container of kept text
        ([(LONG, 0.9), ("<nav>\\(x\\)</nav>", 0.05), (LONG, 0.9)], Settings(), [0, 2]),
        ([(LONG, 0.9), ("\\(x\\)", 0.1), ("so", 0.1), ("\\(y\\)", 0.1)], Settings(), [0, 1, 2, 3]),
        ([("\\(x\\)", 0.1), (LONG, 0.1)], Settings(), []),  # beside nothing
        ([("<h2>Head</h2>", 0.9), (LONG, 0.9), ("<h2>Tail</h2>", 0.9), (LONG, 0.1)], Settings(), [0, 1]),
        ([("<h2>Head</h2>", 0.35), (LONG, 0.9)], Settings(), [0, 1]),
        ([("<h2>Head</h2>", 0.2), (LONG, 0.9)], Settings(), [1]),
        ([(LONG, 0.45), (LONG, 0.32), (LONG, 0.1)], Settings(), [0, 1]),  # rather than nothing
        ([], Settings(), []),
    ],
)
def test_what_is_kept(blocks: list[tuple[str, float]], settings: Settings, expected: list[int]) -> None:
    if settings.cut == 0.7:  # what is below the cut is taken rather than nothing
        expected = [0, 1]
    numbered = [(text.replace("this", f"this{i} other{i * 3} word{i * 5}"), p) for i, (text, p) in enumerate(blocks)]
    assert kept(numbered, settings) == expected


def test_a_second_copy_of_the_body_goes_and_the_paragraphs_stay() -> None:
    paragraphs = [(text, 0.9) for text in BODY]
    assert kept([*paragraphs, ("<div>" + "".join(BODY) + "</div>", 0.95)]) == [*range(6)]
    assert kept([("<div>" + "".join(BODY) + "</div>", 0.95), *paragraphs]) == [*range(1, 7)]


def test_a_copy_without_spaces_goes() -> None:
    parts = ["".join(chr(0x4E00 + (i * 997 + k * 31) % 5000) for k in range(80)) + "。" for i in range(4)]
    assert kept([*((part, 0.9) for part in parts), ("".join(parts), 0.9)]) == [0, 1, 2, 3]


def test_texts_that_share_few_words_stay() -> None:
    assert kept([(text, 0.9) for text in BODY]) == [*range(6)]
    assert kept([("short line", 0.9), *[(text, 0.9) for text in BODY], ("short line", 0.9)]) == [*range(8)]


@pytest.mark.parametrize("text", ["x" * 300_000, "x " * 100_000, "字" * 80_000, "<b>" * 1000 + "a b c d e f " * 20_000])
def test_long_repetitive_texts(text: str) -> None:
    scanned = scan(("<p>" + text + "</p>").encode() * 2)
    likely = np.full(len(scanned.bl_el), 0.9, np.float32)
    assert choose.choose(scanned, likely, Model.load()).keep.any()


def test_hundred_thousand_blocks() -> None:
    scanned = scan(b"<p>one two three four five six seven" * 100_000)
    likely = np.resize(np.float32([0.9, 0.5, 0.1]), len(scanned.bl_el))
    keep = choose.choose(scanned, likely, Model.load()).keep
    assert 0 < keep.sum() < len(keep)


def test_confidence_is_between_zero_and_one_and_falls_with_doubt() -> None:
    scanned = scan("".join(f"<p>{text}</p>" for text in BODY).encode())
    sure = choose.choose(scanned, np.full(6, 0.99, np.float32), Model.load())
    unsure = choose.choose(scanned, np.full(6, 0.62, np.float32), Model.load())
    assert 0 <= unsure.confidence < sure.confidence <= 1


def test_nothing_is_routed_where_there_is_little_text_or_mostly_links() -> None:
    model = Model.load()
    little = scan(b"<p>Ten words are too few to ask a parser about.</p>")
    assert choose.choose(little, np.float32([0.6]), model).route == -1.0
    links = scan(("<p>" + "<a href=x>a link to somewhere</a> " * 100 + "</p>").encode())
    assert choose.choose(links, np.full(len(links.bl_el), 0.6, np.float32), model).route == -1.0


def test_calibration_is_read_as_it_is_laid_out() -> None:
    calibration = np.zeros(choose_kernel.CALIBRATION)
    calibration[choose_kernel.F_SHARE] = 1.0
    calibration[choose_kernel.CURVE : choose_kernel.CURVE + choose_kernel.KNOTS] = np.linspace(
        0.2, 0.6, choose_kernel.KNOTS
    )
    calibration[choose_kernel.CURVE - 1] = 0.25
    calibration[choose_kernel.MOST_LINKED] = 1.0
    calibration[choose_kernel.MIN_GAIN] = 0.125
    model = Model.load().calibrated(calibration)
    scanned = scan("".join(f"<p>{text}</p>" for text in BODY[:2]).encode())
    found = choose.choose(scanned, np.float32([0.9, 0.1]), model)
    size = scanned.bl_end - scanned.bl_start
    assert found.confidence == pytest.approx(0.2 + 0.4 * size[0] / size.sum())
    assert found.route == 0.25
    assert model.route_above == 0.125
