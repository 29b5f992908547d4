from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, pair, reason, style, value
from tokenmill.rephrase.checks.overlap import content_of
from tokenmill.rephrase.checks.run import check_pairs

UNRELATED = (
    "Beavers build lodges of branches and mud in the quiet water behind their dams. Young animals stay with their "
    "parents for two winters, and learn to fell poplars, to store food below the ice and to keep channels open. Wolves "
    "seldom catch them, for a slap of the flat tail warns the colony in time."
)
EMPTY_TALK = (
    "This page gives important information about the subject and describes several different aspects of it that are "
    "known to many people. It shows how things work together, why they are of interest today, and what should be "
    "understood first. Further points follow, and they make the matter clear to everyone around the world."
)
ZH = "惠特比港于1835年至1847年间扩建，耗资一万二千五百英镑。两道石堤阻挡海浪，西堤上的灯塔高二十五米。"


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (PAGE, PARAPHRASE, None),
        (PAGE, PAGE.upper(), "copied_run"),
        (PAGE, UNRELATED, "unrelated"),
        (PAGE, EMPTY_TALK, "unrelated"),
        (ZH, "惠特比的港口在1835年至1847年间得到扩建，两道石堤挡住海浪，灯塔高二十五米。", None),
        (ZH, "河狸用树枝和泥土在水坝后面安静的水中建造巢穴，幼兽与父母一起度过两个冬天，学习砍伐杨树。", "unrelated"),
    ],
)
def test_an_output_is_about_its_source(source: str, output: str, expected: str | None) -> None:
    one = style(checks={"names_invented": None, "numbers_invented": None})
    assert reason(source, output, style=one) == expected


def test_boundary_and_what_is_not_measured() -> None:
    words = ["harbour", "lighthouse", "swallow", "mountain", "kettle", "ribbon", "candle", "window", "saddle", "forest"]
    source = " ".join(words)
    shared = " ".join([words[0], *(f"{word[::-1]}x" for word in words[1:])])
    assert value("overlap", source, shared) == pytest.approx(0.1)
    assert value("overlap", source, source) == 1.0
    assert value("overlap", source, "harbour and window") is None
    assert (
        value(
            "overlap",
            PAGE,
            "Der Hafen wurde vor vielen Jahren unter großen Kosten vergrößert; zwei steinerne "
            "Molen schützen seitdem die kleinen Boote der Fischer vor der Dünung des Meeres.",
        )
        is None
    )
    assert reason(PAGE, UNRELATED, style=style("create")) is None, "new texts may be about something else"


@pytest.mark.ci
def test_unrelated_pages_are_found(shared: Path) -> None:
    """Real pages, each beside itself without every third word, and beside one from elsewhere in the crawl."""
    table = pq.read_table(shared / "pool" / "pool-001.parquet", columns=["main_text", "language"])
    texts = [
        text[:2000]
        for text, language in zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)
        if text and len(text) > 400 and language == "en"
    ][::40][:60]
    content = [content_of(text) for text in texts]
    thinned = [content_of(" ".join(w for i, w in enumerate(text.split(" ")) if i % 3)) for text in texts]
    assert len(texts) > 30
    assert all(len(a & b) >= 0.9 * len(b) for a, b in zip(content, thinned, strict=True))
    pairs = [pair(a, b) for a, b in zip(texts, texts[29:] + texts[:29], strict=True)]
    values = [found for found in check_pairs(pairs).column("check_overlap").to_pylist() if found is not None]
    assert sum(found < 0.15 for found in values) >= 0.6 * len(values), (
        "cheap, not complete: pages of one site share words"
    )


@given(st.text(max_size=80))
@settings(max_examples=30, deadline=None)
def test_a_text_has_its_own_content(text: str) -> None:
    assert value("overlap", text, text) in (None, 1.0) or not content_of(text)
