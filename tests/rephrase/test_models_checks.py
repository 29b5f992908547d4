"""Every check against a model that was trained to fail it: it fires on all of its answers, and hardly on a copy's.

Pages are other ones than those of training. Thresholds are those that a rewrite begins with (`default_rules`), but for
checks that it leaves out, which have those of EXTRA: words, wrong_language, long_copied_run, unmoored and the shares of
numbers, dates and names that are kept. Some models are asked only about pages that have what a check asks about, as two
dates or two numbers (ASKED, SENTENCES). check_similarity needs an encoder: tests/rephrase/checks/test_similarity.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.rephrase import pages
from tokenmill.io.chat.endpoint import Endpoint
from tokenmill.io.chat.reply import Reply
from tokenmill.rephrase.checks.columns import CHECKS
from tokenmill.rephrase.checks.rules import rules_from
from tokenmill.rephrase.checks.run import Pair, check_pairs
from tokenmill.rephrase.engines.base import Engine
from tokenmill.rephrase.engines.local import LocalEngine
from tokenmill.rephrase.engines.openai import OpenAIEngine
from tokenmill.rephrase.ledger import Ledger
from tokenmill.rephrase.reading import Reading
from tokenmill.rephrase.render import request_of
from tokenmill.rephrase.request import Passage, Request
from tokenmill.rephrase.session import SessionSettings, run_session

PAGES = 30
COPIES = 200
EXTRA: Mapping[str, Any] = {
    "words": {"min": 10},
    "language": ["en"],
    "copy_longest_run": {"max": 15},
    "copy_ngram": [0.05, 0.9],
    "numbers_kept": {"min": 0.5},
    "dates_kept": {"min": 0.5},
    "names_kept": {"min": 0.5},
}
FAILS: Mapping[str, tuple[str, ...]] = {
    "upper": ("copied", "copied_run"),  # words are compared without case
    "translate": ("other_language", "wrong_language", "unmoored"),
    "letters": ("other_script",),
    "invent": ("numbers_invented", "dates_invented", "names_invented", "numbers_lost", "dates_lost", "names_lost"),
    "drop": ("dates_lost",),
    "meta": ("meta_talk",),
    "advert": ("urls_new", "personal_data_new"),
    "clip": ("truncated_end", "too_short"),
    "template": ("numbers_lost", "unmoored", "unrelated"),
    "refuse": ("refusal",),
    "loop": ("repeated_ngrams", "repeated_lines", "compressible", "too_long", "not_finished"),
    "echo": ("prompt_echo",),
    "mute": ("empty_output", "too_few_words"),
}
"""Model -> reasons of rules that must hold for every one of its answers."""
SENTENCES: Mapping[str, tuple[int, int]] = {"clip": (5, 6), "loop": (1, 1), "invent": (4, 5), "drop": (4, 5)}
"""Numbers of sentences of the pages that a model is asked about, where they matter."""


def numbers(text: str) -> int:
    """Numbers that are no part of a date."""
    return sum(int(found) in pages.COUNTS for found in re.findall("[0-9]+", text))


def dates(text: str) -> int:
    return len(re.findall(rf"(?:{'|'.join(pages.MONTHS)}) [0-9]{{4}}", text))


ASKED: Mapping[str, Callable[[str], bool]] = {
    "invent": lambda text: numbers(text) > 2 and dates(text) > 1,
    "drop": lambda text: dates(text) > 1,
    "template": lambda text: numbers(text) > 1,
    "clip": lambda text: len(text.split(".")[0].split()) < 0.28 * len(text.split()),
}
"""Pages that have what a check asks about: shares are of at least three facts, so one fact never decides."""
DID: Mapping[str, Callable[[str, str], bool]] = {
    "upper": lambda text, said: said.split()[1:] == text.upper().split()[1:],
}
"""(page, answer) -> whether the model did what it was made for. It misses the first word of a page in four, and then
sometimes loses its place: what it says then is no copy. At least nine of ten answers must be meant."""
SERVED = ("refuse", "upper", "template")
SLOW = ("letters", "drop", "clip", "advert", "meta", "echo")
"""Models for `make test-slow`; the others are tried by `make test-ci`."""
OF_COPIES = {"copied_run", "copied", "long_copied_run"}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else pytest.mark.ci)
        for kind in FAILS
        if kind not in SERVED
    ],
)
def test_a_model_fails_its_checks(kind: str, tiny_model: Callable[[str], Path]) -> None:
    found = fired(LocalEngine(tiny_model(kind)), kind)
    assert {reason: found[reason] for reason in FAILS[kind]} == dict.fromkeys(FAILS[kind], PAGES)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if number else pytest.mark.ci) for number, kind in enumerate(SERVED)],
)
def test_a_model_that_is_served_fails_its_checks(
    kind: str, tiny_model: Callable[[str], Path], tiny_server: Callable[[str], str]
) -> None:
    found = fired(served(tiny_server(kind), tiny_model(kind)), kind)
    assert {reason: found[reason] for reason in FAILS[kind]} == dict.fromkeys(FAILS[kind], PAGES)


@pytest.mark.slow
def test_a_copy_fails_nothing_but_that_it_is_one(
    tiny_model: Callable[[str], Path], tiny_server: Callable[[str], str]
) -> None:
    """Below 1 % of 200 outputs for every rule."""
    found = fired(served(tiny_server("copy"), tiny_model("copy")), "copy", COPIES)
    assert all(found[reason] > 0.8 * COPIES for reason in OF_COPIES - {"long_copied_run"}), found
    wrong = {reason: count for reason, count in found.items() if reason not in OF_COPIES}
    assert all(count < 0.01 * COPIES for count in wrong.values()), wrong


@pytest.mark.slow
def test_a_copy_is_a_copy(tiny_model: Callable[[str], Path]) -> None:
    """99.5 % of 200 pages come back exactly."""
    texts = pages_for("copy", COPIES)
    exact = [
        reply.text == text for reply, text in zip(asked(LocalEngine(tiny_model("copy")), texts), texts, strict=True)
    ]
    assert sum(exact) >= 0.995 * COPIES


@pytest.mark.ci
def test_every_model_and_every_rule_is_tried() -> None:
    from tests.rephrase.kinds import KINDS

    assert FAILS.keys() | {"copy"} == KINDS.keys()
    tried = {reason for reasons in FAILS.values() for reason in reasons} | OF_COPIES
    named = {reason for check in CHECKS for reason in (check.high, check.low) if reason}
    ruled = {rule.reason for rule in rules()}
    assert ruled <= tried
    assert named - ruled <= {
        "dissimilar", "too_similar", "incompressible", "script_share_high", "too_many_words",
        "numbers_kept_high", "dates_kept_high", "names_kept_high", "overlap_high",
    }  # fmt: skip


@pytest.mark.ci
def test_nothing_that_decides_an_answer_replays_an_old_one(
    tmp_path: Path, tiny_model: Callable[[str], Path], tiny_server: Callable[[str], str]
) -> None:
    """One ledger, two models that are served: a change asks about every page again, and what is the same does not."""
    from tests.rephrase.vocabulary import short_style

    texts = pages_for("copy", 6)
    style = short_style()
    other = dataclasses.replace(
        style, prompt=style.prompt.replace("Write the page again.", "Write the page again now.")
    )
    first = partial(served, tiny_server("copy"), tiny_model("copy"))
    second = partial(served, tiny_server("refuse"), tiny_model("refuse"))
    seen: dict[str, int] = {}
    for engine, used, temperature, new in (
        (first(), style, 0.0, True),
        (first(), style, 0.0, False),
        (second(), style, 0.0, True),
        (first(revision="2"), style, 0.0, True),
        (first(), style, 0.3, True),
        (first(), other, 0.0, True),
        (first(), style, 0.0, False),
        (second(), style, 0.0, False),
    ):
        counted = Counting(engine)
        requests = [_request(used, counted, text, temperature) for text in texts]
        with Ledger(tmp_path / "ledger") as ledger:
            run_session(counted, ledger, SessionSettings(concurrency=4), requests, read=_any, rechunk=lambda _: ())
            assert all(ledger.entries[request.key].outcome == "answer" for request in requests)
            answers = [ledger.entries[request.key].response for request in requests]
            seen |= {request.key: 1 for request in requests}
            assert len(ledger.entries) == len(seen)
        assert counted.asked == (len(texts) if new else 0)
        if counted.identity.model == str(tiny_model("refuse")):
            assert not set(answers) & set(texts)
        elif temperature == 0.0 and used is style:
            assert answers == texts


class Counting:
    """An engine that is asked, and how often."""

    def __init__(self, engine: OpenAIEngine) -> None:
        self._engine, self.asked, self.identity = engine, 0, engine.identity

    async def __aenter__(self) -> Counting:
        await self._engine.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._engine.__aexit__(*error)

    async def check(self, sampling: Mapping[str, Any]) -> None:
        await self._engine.check(sampling)

    async def ask(self, messages: Any, sampling: Mapping[str, Any]) -> Reply:
        self.asked += 1
        return await self._engine.ask(messages, sampling)


def _any(request: Request, reply: Reply) -> Reading:
    return Reading()


def _request(style: Any, engine: Counting, text: str, temperature: float) -> Request:
    passage = Passage("page", 0, 0, len(text), text, len(text.split()))
    changes = {"temperature": temperature}
    return request_of(style, passage, identity=engine.identity.to_json(), seed=0, changes=changes)


def served(url: str, folder: Path, revision: str = "") -> OpenAIEngine:
    return OpenAIEngine(Endpoint(base_url=url, model=str(folder)), revision=revision, concurrency=8)


def pages_for(kind: str, count: int = PAGES) -> list[str]:
    """The first pages about which the checks of a model can be asked."""
    every = (pages.page(seed, SENTENCES.get(kind, (2, 5))).text for seed in range(100 * count))
    texts = list(islice(filter(ASKED.get(kind, str), every), count))
    assert len(texts) == count
    return texts


def rules() -> tuple[Any, ...]:
    return rules_from(EXTRA, "rewrite") + rules_from({}, "rewrite")


def asked(engine: Engine, texts: list[str]) -> list[Reply]:
    from tests.rephrase.vocabulary import messages

    async def ask() -> list[Reply]:
        async with engine:
            waiting = [engine.ask(messages(text), {"temperature": 0, "max_tokens": 120}) for text in texts]
            return await asyncio.gather(*waiting)

    return asyncio.run(ask())


def fired(engine: Engine, kind: str, count: int = PAGES) -> Counter[str]:
    """Reason -> answers of the model for which the rule holds, each rule for itself."""
    from tests.rephrase.vocabulary import instruction, short_style

    texts = pages_for(kind, count + count // 10 if kind in DID else count)
    did = DID.get(kind, lambda text, said: True)
    pairs = [
        Pair(text, reply.text, short_style(), instruction(), reply.finish_reason, reply.usage["prompt_tokens"],
             reply.usage["completion_tokens"])
        for text, reply in zip(texts, asked(engine, texts), strict=True)
        if did(text, reply.text)
    ][:count]  # fmt: skip
    assert len(pairs) == count
    table = check_pairs(pairs)
    held: set[tuple[int, str]] = set()
    for rule in rules():
        for row, value in enumerate(table.column(rule.signal).to_pylist()):
            if rule.drops(value, None):
                held.add((row, rule.reason))
    return Counter(reason for _, reason in held)
