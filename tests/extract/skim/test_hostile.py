"""Hostile and mutated pages: results stay consistent, room suffices, and no kernel reads out of bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.hostile import CASES, check, checked_mutations, mutated, mutations, page_of, scan_only
from tests.extract.skim.test_scan import assert_same
from tokenmill.extract.skim.scan import scan

PAGES = [page_of(case, 3000) for case in CASES]


@pytest.mark.parametrize("case", CASES)
def test_small_hostile_pages_equal_the_twin(case: str) -> None:
    page = page_of(case, 1500)
    check(page)
    assert_same(page)


@pytest.mark.parametrize("case", CASES)
def test_large_hostile_pages_are_consistent(case: str) -> None:
    check(page_of(case, 300_000))  # more than the arrays that are kept hold


def test_mutated_pages() -> None:
    assert mutations(150, PAGES, scan_only()) == {"passed": 150}
    assert mutated(PAGES, 7) == mutated(PAGES, 7) != mutated(PAGES, 8)


@pytest.mark.parametrize("number", range(40))
def test_mutated_pages_equal_the_twin(number: int) -> None:
    assert_same(mutated(PAGES, number, most=1000))


def test_a_text_may_be_longer_than_its_page() -> None:
    page = b"&nGt;" * 100_000
    assert len(scan(page).text) == len(page) * 6 // 5


def test_every_tag_may_be_an_element_with_two_marks_or_a_block() -> None:
    marks = scan(b"<b>" * 200_000)
    assert len(marks.el_tag) == 200_001
    assert len(marks.mk_pos) == 200_000 + 255  # elements below the stack's end have no end
    assert len(scan(b"<p>x" * 100_000).bl_el) == 100_000
    assert len(scan(b"x<br><br>" * 50_000).bl_el) == 50_000


def test_many_tokens_fit() -> None:
    found = scan(
        b"<b class=aBcDeFgHiJkLmNoP id=aBcDeFgHiJkLmNoP role=aBcDeFgHiJkLmNoP itemprop=aBcDeFgHiJkLmNoP>" * 5000
    )
    assert np.all(np.diff(found.el_token[1:]) == 56)
    assert len(scan(b"<b id=aB>" * 100_000).tokens) == 300_000


def test_elements_beyond_the_stack_keep_text_and_order() -> None:
    page = b"<div>" * 1000 + b"a<p>b</p>c" + b"</div>" * 1000 + b"d<b>e</b>"
    found = assert_same(page)
    assert [found.block_text(block) for block in range(len(found.bl_el))] == ["a", "b", "c", "de"]
    assert found.depth == 1001


@pytest.mark.slow
def test_mutated_pages_under_bounds_checking(shared: Path) -> None:
    from tests.extract.skim.test_scan import pages_of

    assert checked_mutations(2000, [*pages_of(shared, 40), *PAGES], whole=False) == {"passed": 2000}
