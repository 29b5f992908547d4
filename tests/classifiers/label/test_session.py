"""Whole labellings against a real server: no answer is lost, none is asked for twice, faults cost tries only."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.classifiers.label.server import Script, serving
from tests.classifiers.label.support import label, pages
from tokenmill.classifiers.label.sample import Document, Sample
from tokenmill.classifiers.label.session import READINGS, LabelSettings
from tokenmill.core.errors import ConfigError, FatalError

pytest.importorskip("httptools")
GRADES = [n % 5 for n in range(24)]


def some(faults: tuple[str, ...], *, times: int) -> Script:
    """The first `times` requests of about two thirds of the prompts fail, each in a way of its own."""

    def script(prompt: str, before: int) -> str:
        if "\nPAGE " not in prompt or before >= times:
            return ""
        number = int.from_bytes(hashlib.sha256(f"{before}{prompt}".encode()).digest()[:4], "big")
        return (*faults, *[""] * (len(faults) // 2))[number % (len(faults) + len(faults) // 2)]

    return script


def test_every_page_is_asked_once_and_graded(tmp_path: Path) -> None:
    with serving() as rater:
        done = label(rater, tmp_path, pages(24))
        again = label(rater, tmp_path, pages(24))
    assert done.table["edu"].to_pylist() == GRADES
    assert again.table == done.table
    assert len(rater.prompts) == 24
    assert rater.others == 1  # the check; a finished labelling makes none
    assert done.told["complete"]
    assert all(payload["temperature"] == 0 and payload["max_tokens"] == 300 for payload in rater.payloads)


def test_faults_cost_tries_only(tmp_path: Path) -> None:
    faults = ("429 0.001", "500", "503", "cut", "drop", "not_json", "no_choice")
    with serving(some(faults, times=3)) as rater:
        done = label(rater, tmp_path, pages(24))
    assert done.table["edu"].to_pylist() == GRADES
    assert done.table["failure"].null_count == 24
    assert max(rater.answered.values()) == 1
    assert sum(done.told["faults"].values()) == len(rater.prompts) - 24 > 10
    assert len((tmp_path / "ledger.jsonl").read_bytes().splitlines()) == 24


def test_choices_are_permuted_and_mapped_back(tmp_path: Path) -> None:
    names = ["health", "software_dev", "travel", "sports"]
    with serving() as rater:
        done = label(rater, tmp_path, pages(24, lambda n: f"{names[n % 4]} " * 3), "topic", passes=3)
    for column in ("topic", "topic_pass1", "topic_pass2", "topic_pass3"):
        assert done.table[column].to_pylist() == [names[n % 4] for n in range(24)]
    rows = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    signs = Counter(json.loads(row["response"])["topic"] for row in rows)
    assert len(signs) > 12  # the same four topics, under other letters
    for row in rows:
        place = "ABCDEFGHIJKLMNOPQRSTUVWX".index(json.loads(row["response"])["topic"])
        assert row["order"]["topic"][place] == row["answer"]["topic"]
    assert done.told["agreement"]["topic"]["pass1~pass2"]["kappa"] == 1.0


def test_a_rater_that_prefers_places_disagrees_with_itself(tmp_path: Path) -> None:
    with serving() as rater:  # no name in the text: it takes what is shown first
        done = label(rater, tmp_path, pages(24), "topic", passes=2)
    assert done.told["agreement"]["topic"]["pass1~pass2"]["equal"] < 0.3


def test_unreadable_answers_are_asked_for_twice_more_then_told(tmp_path: Path) -> None:
    def script(prompt: str, before: int) -> str:
        again = "above, complete" in prompt
        wrong = "page 3." in prompt or ("page 4." in prompt and not again)
        return 'say {"reason": "?", "edu": 9}' if wrong else ""

    with serving(script) as rater:
        done = label(rater, tmp_path, pages(6))
        again = label(rater, tmp_path, pages(6))
        assert len(rater.prompts) == 4 + READINGS + 2
        assert len([payload for payload in rater.payloads if "above, complete" in str(payload)]) == 3
    assert again.table == done.table
    assert done.table["edu"].to_pylist() == [0, 1, 2, None, 4, 0]
    assert done.table["failure"].to_pylist() == [None, None, None, "pass 1: value", None, None]
    assert (done.told["failures"], done.told["unparsable"]) == ({"value": 1}, {"value": 4})
    with serving() as rater:
        repaired = label(rater, tmp_path, pages(6), retry_failed=True)
    assert len(rater.prompts) == 1
    assert repaired.table["edu"].to_pylist() == [0, 1, 2, 3, 4, 0]


def test_a_cut_answer_may_be_longer_the_next_time(tmp_path: Path) -> None:
    with serving(
        lambda prompt, before: "" if "above, complete" in prompt or "\nPAGE" not in prompt else "length"
    ) as one:
        done = label(one, tmp_path, pages(2))
    assert done.table["edu"].to_pylist() == [0, 1]
    assert [payload["max_tokens"] for payload in one.payloads].count(600) == 2
    assert done.told["unparsable"] == {"length": 2}


def test_refusals_and_filters_are_not_asked_again(tmp_path: Path) -> None:
    kinds = {"page 0.": "refusal", "page 1.": "filter", "page 2.": "400"}
    with serving(lambda prompt, before: next((kinds[key] for key in kinds if key in prompt), "")) as rater:
        done = label(rater, tmp_path, pages(4))
    assert done.told["failures"] == {"refusal": 1, "content_filter": 1, "bad_request": 1}
    assert len(rater.prompts) == 4


def test_a_ledger_cut_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    with serving() as rater:
        wanted = label(rater, tmp_path / "whole", pages(12), passes=2)
    whole = (tmp_path / "whole" / "ledger.jsonl").read_bytes()
    for cut in random.Random(1).sample(range(len(whole)), 4):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "ledger.jsonl").write_bytes(whole[:cut])
        with serving() as rater:
            found = label(rater, folder, pages(12), passes=2)
        assert found.table == wanted.table
        assert len(rater.prompts) == 24 - whole[:cut].count(b"\n")


def test_an_endpoint_that_goes_away_stops_the_run_which_can_go_on(tmp_path: Path) -> None:
    gone = 15

    def script(prompt: str, before: int) -> str:
        return "500" if len(rater.prompts) > gone else ""

    with serving(script) as rater, pytest.raises(FatalError, match="in a row were given up"):
        label(rater, tmp_path, pages(60), concurrency=4, tries=2)
    with serving() as rater:
        done = label(rater, tmp_path, pages(60))
    assert len(rater.prompts) == 60 - gone
    assert done.table["edu"].to_pylist() == [n % 5 for n in range(60)]
    assert done.told["failures"] == {}


def test_money_stops_the_run_and_nothing_paid_for_is_lost(tmp_path: Path) -> None:
    prices: dict[str, Any] = {"price_in": 1000.0, "price_out": 1000.0}
    with serving() as rater, pytest.raises(FatalError, match="larger --max-cost"):
        label(rater, tmp_path, pages(30), concurrency=3, max_cost=2.0, **prices)
    first = sum(rater.answered.values())
    assert len((tmp_path / "ledger.jsonl").read_bytes().splitlines()) == first < 15
    with serving() as rater, pytest.raises(FatalError, match="dollars are spent"):
        label(rater, tmp_path, pages(30), max_cost=2.0, **prices)
    assert not rater.prompts
    with serving() as rater:
        done = label(rater, tmp_path, pages(30), **prices)
    assert first + len(rater.prompts) == 30
    tokens = done.told["tokens"]
    assert done.told["dollars"] == pytest.approx((tokens["in"] + tokens["out"]) / 1000)


def test_money_of_other_labellings_in_the_folder_does_not_count(tmp_path: Path) -> None:
    prices: dict[str, Any] = {"price_in": 1000.0, "price_out": 1000.0}
    with serving() as rater:
        spent = label(rater, tmp_path, pages(20), **prices).told["dollars"]
        done = label(rater, tmp_path, pages(20), seed=1, max_cost=1.5 * spent, concurrency=1, **prices)
        assert done.told["complete"]
        with pytest.raises(FatalError, match="dollars are spent"):  # its own, of the session before, do
            label(rater, tmp_path, pages(20), seed=1, passes=2, max_cost=done.told["dollars"], **prices)
        assert len(rater.prompts) == 40


def test_what_is_asked_again_is_another_request(tmp_path: Path) -> None:
    """Temperature 0 gives one answer to one prompt, whatever the seed."""
    with serving(lambda prompt, before: "say no" if "\nPAGE " in prompt else "") as rater:
        label(rater, tmp_path, pages(1))
        label(rater, tmp_path, pages(1))
        assert len(rater.payloads) == READINGS
        for again in (1, 2):
            done = label(rater, tmp_path, pages(1), retry_failed=True)
            assert len(rater.payloads) == (again + 1) * READINGS
    assert [payload["seed"] for payload in rater.payloads] == [31 + n for n in range(3 * READINGS)]
    assert [payload["temperature"] for payload in rater.payloads] == [0.0, 0.0, *[0.5] * 7]
    assert len({json.dumps(payload) for payload in rater.payloads}) == 3 * READINGS
    assert done.told["failures"] == {"no_object": 1}
    own = LabelSettings(sampling={"temperature": 1.0, "seed": 5})
    assert own.sampling_of(1, 3) == {"temperature": 1.0, "seed": 7, "max_tokens": 300}
    assert LabelSettings(sampling={"temperature": None, "seed": None}).sampling_of(1, 3) == {"max_tokens": 300}


def test_an_endpoint_that_goes_away_while_failures_are_asked_again(tmp_path: Path) -> None:
    with serving(lambda prompt, before: "say no" if "\nPAGE " in prompt else "") as rater:
        label(rater, tmp_path, pages(1))

    def script(prompt: str, before: int) -> str:
        return "" if "\nPAGE " not in prompt else "say no" if len(rater.payloads) < 2 else "500"

    with serving(script) as rater:
        gone = label(rater, tmp_path, pages(1), retry_failed=True, tries=1)
    assert gone.told["failures"] == {"server": 1}
    with serving(lambda prompt, before: "say no" if "\nPAGE " in prompt else "") as rater:
        done = label(rater, tmp_path, pages(1))
    assert [payload["seed"] for payload in rater.payloads] == [35, 36]  # what was left of the three
    assert done.told["failures"] == {"no_object": 1}


def test_a_server_that_does_not_count_tokens(tmp_path: Path) -> None:
    with serving(usage=False) as rater, pytest.raises(FatalError, match="dollars are spent"):
        label(rater, tmp_path, pages(30), concurrency=1, max_cost=0.002, price_in=1.0)
    rows = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert all(row["usage"] == {} for row in rows)
    assert sum(row["prompt_chars"] for row in rows) / 4 == pytest.approx(2000, rel=0.4)


def test_equal_pages_are_one_request(tmp_path: Path) -> None:
    documents = [Document(f"d{n}", f"a#{n}", "", "learn learn", "all", 1.0) for n in range(20)]
    with serving() as rater:
        done = label(rater, tmp_path, Sample(documents, {"all": (20, 20)}))
    assert done.table["edu"].to_pylist() == [2] * 20
    assert len(rater.prompts) == len(set(rater.prompts)) == 2  # levels rise or fall
    assert done.told["requests"] == done.told["answered"] == 2
    assert done.told["counts"]["edu"]["pass1"]["2"] == 20


def test_another_question_never_gets_an_old_answer(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"seed": 1}, {"max_chars": 5}, {"sampling": {"top_p": 0.5}}, {"passes": 2}]
    with serving() as rater:
        for place, change in enumerate(changes):
            before = len(rater.prompts)
            label(rater, tmp_path, pages(4), **change)
            assert len(rater.prompts) - before == 4, place
        label(rater, tmp_path, pages(4), "quality")
        assert len(rater.prompts) == 24


def test_no_key_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-secret-4711-0815"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    hidden = json.dumps({"edu": 1, "reason": f"it says {key}"}).replace("s", "\\u0073")
    told = {"page 0.": "echo 200 0", "page 1.": f"say {key}", "page 2.": "echo 400 290", "page 3.": f"say {hidden}"}
    with serving(lambda prompt, before: next((told[one] for one in told if one in prompt), ""), key=key) as rater:
        done = label(rater, tmp_path, pages(5))
    assert done.told["answered"] == 2
    written = (tmp_path / "ledger.jsonl").read_text() + json.dumps(done.told) + str(done.table.to_pylist())
    assert "sk-" not in written
    assert "secret" not in written
    assert "***" in (tmp_path / "ledger.jsonl").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"passes": 0}, "at least 1"),
        ({"concurrency": 0}, "at least 1"),
        ({"price_in": -1.0}, "negative"),
        ({"max_cost": 1.0}, "without prices"),
        ({"sampling": {"stream": True}}, "cannot set stream"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelSettings(**settings)
