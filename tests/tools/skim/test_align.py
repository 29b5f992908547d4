"""Alignment of blocks with texts that were made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.skim import align

LONG = "The river rose two metres in one night, and nobody in the village slept."
OTHER = "Engineers had warned of it for years without being heard by the council."


def shares(blocks: list[str], text: str, first: list[bool] | None = None) -> tuple[list[float], list[bool]]:
    found, copies = align.shares(
        [align.bare(block) for block in blocks], align.Output(text), None if first is None else np.array(first, bool)
    )
    return [round(float(share), 2) for share in found], copies.tolist()


@pytest.mark.parametrize(
    ("blocks", "text", "expected"),
    [
        ([LONG, OTHER], f"{LONG}\n{OTHER}", [1, 1]),
        ([LONG, OTHER], OTHER, [0, 1]),
        # marks, case and white space do not matter
        ([LONG], LONG.upper().replace(",", " – ").replace(" ", "\n"), [1]),
        # a menu entry is not kept because its word is in a sentence
        (["village", LONG], LONG, [0, 1]),
        (["News", "Contact", LONG], f"{LONG} News of the village", [0, 0, 1]),
        # a line of its own, and a heading right before its text
        (["News", LONG], f"News\n{LONG}", [1, 1]),
        (["News", "The flood", LONG], f"The flood {LONG}", [0, 1, 1]),
        # cells of a row, which extractors join with bars
        ([LONG, "Height", "2 m", "since 1911", OTHER], f"{LONG}\n| Height | 2 m | since 1911 |\n{OTHER}", [1] * 5),
        (["2 m", LONG, "3 m", OTHER], f"{LONG}\n{OTHER}", [0, 1, 0, 1]),
        # Chinese has no spaces: eight characters are long
        (["村里一夜无人入睡。", "首页"], "昨天，村里一夜无人入睡，河水上涨。", [1, 0]),
        # a block of which the output has a part
        ([f"{LONG} {OTHER}"], LONG, [0.48]),
        (["***", LONG], LONG, [np.nan, 1]),
        ([LONG], "", [0]),
    ],
)
def test_share_of_blocks(blocks: list[str], text: str, expected: list[float]) -> None:
    found, _ = shares(blocks, text)
    np.testing.assert_allclose(found, expected, atol=0.08)


def test_a_part_of_the_output_counts_once() -> None:
    assert shares([LONG, OTHER, LONG], f"{LONG}\n{OTHER}") == ([1, 1, 1], [False, False, True])
    assert shares(["The flood", LONG, "The flood"], f"The flood\n{LONG}") == ([1, 1, 0], [False] * 3)
    assert shares(["The flood", "Menu", LONG], f"{LONG}\nThe flood")[0] == [1, 0, 1]


def test_wanted_blocks_claim_their_parts_first() -> None:
    blocks = ["The flood", LONG, "The flood", OTHER]
    text = f"{LONG}\nThe flood\n{OTHER}"
    assert shares(blocks, text, [False, True, True, True])[0] == [0, 1, 1, 1]


@settings(max_examples=40)
@given(st.lists(st.text("abc déß你 \n-", max_size=60), max_size=12), st.data())
def test_a_text_of_chosen_blocks_holds_them_whole(blocks: list[str], data: st.DataObject) -> None:
    chosen = [data.draw(st.booleans()) for _ in blocks]
    text = "\n".join(" ".join(block.split()) for block, kept in zip(blocks, chosen, strict=True) if kept)
    found, _ = shares(blocks, text, chosen)
    for block, kept, share in zip(blocks, chosen, found, strict=True):
        if not align.bare(block):
            assert np.isnan(share)
        elif kept and len(align.bare(block)) >= align.LONG:
            assert share == 1
        assert np.isnan(share) or 0 <= share <= 1
    everything, _ = shares(blocks, "\n".join(blocks))
    assert all(np.isnan(share) or share == 1 for share, block in zip(everything, blocks, strict=True))


SEGMENT_BLOCKS = [align.bare(block) for block in ("Menu", "The flood", LONG, "The flood", OTHER, "Share this")]


@pytest.mark.parametrize(
    ("wanted", "unwanted", "weak", "expected"),
    [
        (["nobody in the village slept"], ["Share this"], None, [None, None, 1, None, None, 0]),
        # over two blocks
        ([f"slept. The flood {OTHER[:40]}"], [], None, [None, None, None, 1, 1, None]),
        # in several places: where extractors keep it
        (["The flood"], [], [0, 0, 1, 0.9, 1, 0], [None, None, None, 1, None, None]),
        # unwanted in any place; annotated as both is neither
        ([], ["The flood"], None, [None, 0, None, 0, None, None]),
        (["The flood Engineers"], ["The flood"], None, [None, 0, None, None, 1, None]),
        (["a"], ["not on the page at all"], None, [None] * 6),
    ],
)
def test_labels_from_segments(
    wanted: list[str], unwanted: list[str], weak: list[float] | None, expected: list[float | None]
) -> None:
    shares = None if weak is None else np.array(weak, np.float32)
    found = align.from_segments(SEGMENT_BLOCKS, wanted, unwanted, shares)
    assert [None if np.isnan(label) else label for label in found] == expected


def test_labels_from_a_body() -> None:
    found = align.from_body(
        [*SEGMENT_BLOCKS, align.bare(f"{LONG} Buy our book about rivers and floods")], f"{LONG}\n{OTHER}"
    )
    assert [None if np.isnan(label) else label for label in found] == [0, 0, 1, 0, 1, 0, None]


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ({"keep": [[0, 10]], "drop": [[10, 30]]}, [1, 0, 0]),
        ({"keep": [[0, 13], [13, 16]], "drop": [[16, 20]], "unsure": [[20, 30]]}, [1, 1, None]),
        ({"keep": [[8, 14], [16, 18]], "drop": [[14, 16], [18, 20]]}, [1, 1, None]),
        ({"keep": [], "drop": []}, [None, None, None]),
        ({"drop": [[0, 100]], "keep": [[2, 5], [4, 9]]}, [0, 0, 0]),
    ],
)
def test_labels_from_byte_ranges(ranges: dict[str, list[list[int]]], expected: list[float | None]) -> None:
    found = align.by_ranges(np.array([0, 10, 20]), np.array([10, 20, 30]), ranges)
    assert [None if np.isnan(label) else label for label in found] == expected
