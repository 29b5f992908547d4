from __future__ import annotations

import pytest

from tests.rephrase.corpus.tables import outputs, text_of
from tokenmill.rephrase.corpus.rates import MOST_VALUES, OTHER, Rates, wilson


@pytest.mark.parametrize(
    ("hits", "of", "expected"),
    [  # R: binom::binom.confint(method = "wilson")
        (0, 0, (0.0, 1.0)),
        (0, 10, (0.0, 0.2775328)),
        (10, 10, (0.7224672, 1.0)),
        (50, 100, (0.4038315, 0.5961685)),
        (1, 1000, (0.0001765, 0.0056420)),
    ],
)
def test_wilson(hits: int, of: int, expected: tuple[float, float]) -> None:
    assert wilson(hits, of) == pytest.approx(expected, abs=1e-6)


def test_rates_add_up_by_style_reason_and_bucket() -> None:
    rates = Rates(("bin", "topic"))
    texts = [text_of(number, 5) for number in range(10)]
    rates.add(outputs(texts[:6], bin=[1, 1, 1, 2, 2, None], topic=["a"] * 6), True)
    rates.add(outputs(texts[6:8], reason=["copied", "refusal"], bin=[1, 2], topic=["a", "b"]), False)
    rates.add(outputs(texts[8:], "story", reason=["copied", "copied"], bin=[1, 1], topic=["b", "b"]), False)
    by_style = {row["style"]: row for row in rates.by_style()}
    assert (by_style["blog"]["accepted"], by_style["blog"]["rejected"], by_style["blog"]["share"]) == (6, 2, 0.75)
    assert by_style["story"]["share"] == 0.0
    assert by_style["story"]["low"] == 0.0
    reasons = {(row["style"], row["reason"]): row for row in rates.by_reason()}
    assert reasons["blog", "copied"]["share"] == 0.125
    assert reasons["story", "copied"]["count"] == 2
    buckets = {(row["column"], row["style"], row["value"]): row for row in rates.by_bucket()}
    assert (buckets["bin", "blog", "1"]["accepted"], buckets["bin", "blog", "1"]["rejected"]) == (3, 1)
    assert buckets["bin", "blog", "(none)"]["accepted"] == 1
    for name in ("bin", "topic"):
        assert sum(row["accepted"] + row["rejected"] for key, row in buckets.items() if key[0] == name) == 10


def test_scores_are_told_by_tenths_and_rare_values_together() -> None:
    rates = Rates(("score", "topic"))
    count = MOST_VALUES + 30
    scores = [0.3, 0.39, 2.5, float("nan"), None] * (count // 5)
    rates.add(outputs(["x"] * count, score=scores, topic=[f"t{n}" for n in range(count)]), True)
    rows = rates.by_bucket()
    values = {row["value"]: row["accepted"] for row in rows if row["column"] == "score"}
    assert values == {"0.3": 32, "2.5": 16, "(none)": 32}
    topics = {row["value"]: row["accepted"] for row in rows if row["column"] == "topic"}
    assert len(topics) == MOST_VALUES + 1
    assert topics[OTHER] == 30


@pytest.mark.parametrize("by_host", [False, True])
def test_domains(by_host: bool) -> None:
    """Accepting by host moves the distribution of hosts, accepting by lot as far as chance does."""
    rates = Rates(())
    every = outputs([text_of(number, 3) for number in range(4000)])
    keep = [number % 40 < 20 if by_host else hash(divmod(number, 40)) % 2 == 0 for number in range(4000)]
    rates.add(every.filter(keep), True)
    rates.add(every.filter([not kept for kept in keep]), False)
    found = rates.domains()
    assert found["hosts"] == 40
    assert 0 < found["by_chance"] < 0.06
    assert (found["distance"] > 0.4) if by_host else (found["distance"] < 0.1)


def test_urls_that_cannot_be_read_are_one_host() -> None:
    rates = Rates(())
    rates.add(outputs(["x"] * 3, url=["http://[", "", None]), True)
    assert rates.domains() == {"hosts": 1, "distance": 0.0, "by_chance": 0.0}
