from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.rephrase.corpus.sample import Lowest, id_hashes


@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.lists(st.integers(1, 10), min_size=1, max_size=8),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_the_sample_is_the_same_in_any_order_and_any_pieces(
    pages: list[int], cuts: list[int], most: int, order: object
) -> None:
    rows = [(f"page{page}", f"row{number}") for number, page in enumerate(pages)]

    def sample(given_rows: list[tuple[str, str]]) -> list[str]:
        lowest: Lowest[str] = Lowest(most)
        start = turn = 0
        while start < len(given_rows):
            piece = given_rows[start : start + cuts[turn % len(cuts)]]
            names = [name for _, name in piece]
            lowest.add(id_hashes([page for page, _ in piece], 5), names, lambda row, names=names: names[row])  # type: ignore[misc]
            start, turn = start + len(piece), turn + 1
        assert lowest.seen == len(given_rows)
        assert 0 <= lowest.share <= 1
        return lowest.values

    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    found = sample(rows)
    assert sample(shuffled) == found
    assert len(found) <= most
    by_name = {name: page for page, name in rows}
    inside = {by_name[name] for name in found}
    assert len(found) == sum(page in inside for page, _ in rows), "rows of one page come together"
    if len(rows) <= most:
        assert len(found) == len(rows)


def test_hashes_depend_on_the_seed() -> None:
    assert id_hashes(["a", None, "\ud800"], 1).tolist() != id_hashes(["a", None, "\ud800"], 2).tolist()
    assert len(set(id_hashes([f"{number}" for number in range(1000)], 0).tolist())) == 1000
