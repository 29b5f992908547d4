"""Forecasts: sums of a pilot scaled to all documents, with intervals that cover."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.forecast import Prices, Sample, forecast, volume
from tokenmill.rephrase.routes import Routes
from tokenmill.rephrase.styles import load_style


def row(doc: str, *, accepted: bool, tokens_out: int = 100, style: str = "faq", asked: bool = True) -> dict[str, Any]:
    return {
        "parent_doc_id": doc,
        "style": style,
        "request_keys": ["k"] if asked else [],
        "attempts": 1,
        "tokens_in": 200,
        "tokens_out": tokens_out,
        "reason": None if accepted else "length",
        "kept_tokens": tokens_out if accepted else 0,
    }


def test_sums_are_scaled_and_dollars_are_for_what_is_kept() -> None:
    ids = [f"d{n}" for n in range(10)]
    rows = [row(doc, accepted=n % 2 == 0) for n, doc in enumerate(ids)]
    found = forecast(rows, ids, 1000, seconds=10.0, prices=Prices(1.0, 2.0, 36.0))
    assert found.figures["requests"].value == 1000
    assert found.figures["tokens_in"].value == 200_000
    assert found.figures["tokens_out"].value == 100_000
    assert found.figures["kept_tokens"].value == 50_000
    assert found.figures["accept_rate"].value == 0.5
    assert found.figures["hours"].value == pytest.approx(1000 / 3600)  # 100 tokens a second
    dollars = 0.2 + 0.2 + 36.0 * 1000 / 3600
    assert found.figures["dollars"].value == pytest.approx(dollars)
    assert found.figures["dollars_per_billion_kept"].value == pytest.approx(1e9 * dollars / 50_000)
    assert found.reasons == {"faq: length": 5}
    assert found.figures["accept_rate"].low < 0.5 < found.figures["accept_rate"].high


def test_passages_that_nobody_was_asked_about_do_not_count() -> None:
    found = forecast([row("a", accepted=False, asked=False)], ["a"], 5, seconds=1.0, prices=Prices())
    assert found.figures["requests"].value == 0
    assert "dollars" not in found.figures


@pytest.mark.ci
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(50):
        draw = random.Random(seed)
        ids = [f"d{n}" for n in range(60)]
        rows = [row(doc, accepted=draw.random() < 0.7) for doc in ids]
        rate = forecast(rows, ids, 60, seconds=1.0, prices=Prices(), seed=seed).figures["accept_rate"]
        held += rate.low <= 0.7 <= rate.high
    assert 43 <= held <= 50


def test_a_sample_is_the_same_in_any_order_and_counts_everything() -> None:
    rows = [{"doc_id": f"d{n}", "text": "word " * (n % 50 + 1)} for n in range(500)]
    samples = []
    for order in (0, 1):
        shuffled = list(rows)
        random.Random(order).shuffle(shuffled)
        sample = Sample(40)
        for one in shuffled:
            sample.add(one)
        samples.append(sample)
    assert samples[0].rows() == samples[1].rows()
    assert samples[0].documents == 500
    assert len(samples[0].rows(7)) == 7


def test_the_volume_of_a_sample_is_near_that_of_all() -> None:
    style, counter = load_style("faq"), Counter("")
    rows = [{"doc_id": f"d{n}", "text": "A sentence about boats. " * (n % 40 + 5)} for n in range(400)]
    routes = Routes(default=("faq",))
    found = []
    for size in (400, 100):
        sample = Sample(size)
        for one in rows:
            sample.add(one)
        found.append(volume(sample, {"faq": style}, routes, counter))
    assert found[0].documents == found[1].documents == 400
    assert np.isclose(found[0].total("tokens_in"), found[1].total("tokens_in"), rtol=0.15)
    assert found[0].total("tokens_out_most") == style.output_tokens * found[0].total("passages")


def test_nothing_kept_has_no_price_and_few_documents_have_a_wide_interval() -> None:
    ids = [f"d{n}" for n in range(28)]
    none = forecast([row(doc, accepted=False) for doc in ids], ids, 100, seconds=1.0, prices=Prices(1.0, 1.0))
    assert "dollars_per_billion_kept" not in none.figures
    rate = none.figures["accept_rate"]
    assert rate.value == rate.low == 0
    assert rate.high == pytest.approx(0.1206, abs=1e-3)  # Wilson
    one = forecast([row(doc, accepted=doc == "d0") for doc in ids], ids, 100, seconds=1.0, prices=Prices(1.0, 1.0))
    price = one.figures["dollars_per_billion_kept"]
    assert price.high is None  # a sample without that document keeps nothing
    assert price.low < price.value
