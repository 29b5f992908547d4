"""Planting items, and what the self-test counts."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.test_overlap import twin_words
from tests.tokens.decontaminate.kit import clean_texts, multiple_choice, write_jsonl, write_kit
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.decontaminate.benchmarks import read_items
from tokenmill.tokens.decontaminate.plant import EMBEDDED_WORDS, KINDS, generated_texts, paraphrased, planted, rewrapped
from tokenmill.tokens.decontaminate.selftest import TARGETS, Count, Result, run_self_test


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_kit(tmp_path_factory.mktemp("kit")))


@given(st.text(st.sampled_from("abcdefghijklm é'\"-.,\n"), max_size=400), st.integers(0, 1000))
def test_rewrapped_texts_have_the_same_words(text: str, seed: int) -> None:
    words = "".join(twin_words(text))
    assert "".join(twin_words(rewrapped(text, random.Random(seed)))) == words


def test_rewrapped_lines_are_short() -> None:
    text = " ".join(clean_texts(3))
    seen = {max(map(len, rewrapped(text, random.Random(seed)).split("\n"))) for seed in range(40)}
    assert min(seen) <= 45
    assert all(32 <= longest <= 160 for longest in seen)


def test_paraphrases_are_near_but_other() -> None:
    text = " ".join(multiple_choice(1)[0]["context"].split() * 20)
    words = paraphrased(text, random.Random(1)).split()
    assert words != text.split()
    assert 0.85 < len(words) / len(text.split()) < 0.98


def test_planted_documents(kit: str) -> None:
    items, hosts = read_items([kit]), clean_texts(5)
    for item in items[::9]:
        for kind in KINDS:
            text = planted(item, kind, hosts, seed=3)
            assert text == planted(item, kind, hosts, seed=3)
            assert (item.source.strip() in text) == (kind in ("verbatim", "embedded"))
            assert (len(text.split()) > EMBEDDED_WORDS) == (kind == "embedded")
        assert item.answer not in planted(item, "question", hosts, seed=3)


def test_generated_texts() -> None:
    texts = generated_texts(3, 100, seed=1)
    assert texts == generated_texts(3, 100, seed=1) != generated_texts(3, 100, seed=2)
    assert all(100 <= len(text.split()) < 160 for text in texts)


def test_it_finds_all(kit: str) -> None:
    result = run_self_test([kit], per_task=10)
    assert result.failures() == []
    for kind in TARGETS:
        assert (result.total(kind).share, result.total(kind).of) == (1.0, 30)
    assert result.clean == Count(0, 400)
    assert result.generated
    assert result.to_json() == run_self_test([kit], per_task=10).to_json()
    told = json.loads(json.dumps(result.to_json()))
    assert told["recall"]["verbatim"]["held_out"]["of"] == 10
    assert told["tasks"]["endings"]["held_out"]
    assert told["precision"]["verbatim"]["share"] == 1.0
    assert told["tasks"]["choices"]["findable"] == 40


def test_what_is_found_in_clean_documents_is_shown(kit: str) -> None:
    leak = multiple_choice(40)[3]["context"]
    rows = [{"text": text, "url": f"http://a.org/{n}"} for n, text in enumerate(clean_texts(20))]
    result = run_self_test(
        [kit], [*rows, {"text": f"Look: {leak}", "url": "http://leak.org/"}, {"text": None}], per_task=3
    )
    assert (result.clean.hits, result.clean.of, result.generated) == (1, 21, False)
    (shown,) = result.flagged
    assert (shown["document"], shown["contamination"]) == ("http://leak.org/", "choices:q3")
    assert shown["excerpt"].startswith("What happens to the")
    assert result.failures() == ["false positives: 4.7619% is above 0.1%"]
    assert result.precision("verbatim").share == pytest.approx(9 / 10)


def test_thresholds_can_be_tried(kit: str) -> None:
    loose = run_self_test([kit], per_task=20, min_share=0.1, min_13grams=1)
    strict = run_self_test([kit], per_task=20, min_share=1.0, min_13grams=1000)
    assert loose.total("paraphrased").hits > strict.total("paraphrased").hits
    assert strict.total("verbatim").share == 1.0


def test_items_that_are_too_short_are_told(tmp_path: Path) -> None:
    rows = [{"context": "Question: why\nAnswer:", "continuation": " so"}] * 3
    path = write_jsonl(tmp_path / "tiny.jsonl", [*rows, *multiple_choice(3)])
    result = run_self_test([str(path)], per_task=10)
    assert result.coverage == {"tiny": (6, 3)}
    assert (result.total("verbatim").share, result.every["verbatim"].share) == (1.0, 0.5)


def test_nothing_to_find_is_a_failure(tmp_path: Path) -> None:
    rows = [{"context": f"Question: why {n}\nAnswer:", "continuation": " so"} for n in range(5)]
    result = run_self_test([str(write_jsonl(tmp_path / "tiny.jsonl", rows))], per_task=3)
    assert result.failures() == [
        *(
            f"recall {kind}: not one item that can be found was planted, so nothing is known"
            for kind in ("verbatim", "rewrapped", "embedded")
        ),
        "task tiny: 0 of 5 items can be found, a share below 0.5: they are shorter than what is looked for, or --fields"
        " leaves them out",
    ]


def test_a_miss_is_a_failure() -> None:
    result = Result(("t",), {"t": (1, 1)}, {("verbatim", "t"): Count(98, 100)}, {"verbatim": Count(98, 100)})
    assert result.failures() == ["recall verbatim: 0.9800 is below 0.99"]


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(Count(0, 10), 0.0, 0.2775), (Count(5, 10), 0.2366, 0.7634), (Count(10, 10), 0.7225, 1.0), (Count(), 0.0, 1.0)],
)
def test_wilson_intervals(count: Count, low: float, high: float) -> None:
    assert count.interval == pytest.approx((low, high), abs=1e-4)
    assert math.isnan(count.share) == (count.of == 0)


def test_nothing_to_plant_in(kit: str) -> None:
    with pytest.raises(ConfigError, match="no clean document"):
        run_self_test([kit], [{"text": "too short"}])


@pytest.mark.ci
def test_on_public_benchmarks(shared: Path) -> None:
    result = run_self_test([str(shared / "eval-kit")], per_task=40)
    assert result.failures() == []
    assert result.total("rewrapped", True).share >= 0.99
