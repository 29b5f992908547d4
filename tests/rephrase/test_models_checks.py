"""Every check against the model that was made to fail it: it fires on all of its answers, and on none of a copy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rephrase import pages
from tokenmill.rephrase.checks.run import Pair, check_pairs
from tokenmill.rephrase.engines.local import LocalEngine

PAGES = 40
FAILS = {
    "upper": ("copied",),  # words are compared without case
    "translate": ("other_language",),
    "invent": ("numbers_invented",),
    "drop": ("numbers_lost",),
    "meta": ("meta_talk",),
    "advert": ("urls_new", "personal_data_new"),
    "template": ("numbers_lost",),
    "refuse": ("refusal",),
    "loop": ("repeated_ngrams", "compressible"),
    "echo": ("prompt_echo",),
    "cut": ("not_finished",),
    "mute": ("empty_output",),
}
"""Model -> reasons of rules that must hold for every one of its answers."""
COPIES = {"copied_run", "copied"}


@pytest.mark.ci
@pytest.mark.parametrize("kind", FAILS)
def test_a_model_fails_its_checks(kind: str, tiny_model: Callable[[str], Path]) -> None:
    found = fired(tiny_model(kind))
    assert {reason: found[reason] for reason in FAILS[kind]} == dict.fromkeys(FAILS[kind], PAGES)


@pytest.mark.ci
def test_a_copy_fails_nothing_but_that_it_is_one(tiny_model: Callable[[str], Path]) -> None:
    found = fired(tiny_model("copy"), 120)
    assert all(found[reason] > 100 for reason in COPIES), found
    assert {reason: count for reason, count in found.items() if reason not in COPIES} == {}


@pytest.mark.ci
def test_every_kind_of_model_is_asked() -> None:
    from tests.rephrase.models import KINDS

    assert FAILS.keys() | {"copy"} == KINDS.keys()


def fired(folder: Path, count: int = PAGES) -> Counter[str]:
    """Reason -> answers of the model for which the rule holds, each rule for itself."""
    from tests.rephrase.models import instruction, messages, short_style

    texts = [pages.page(seed).text for seed in range(count)]

    async def ask() -> list[Pair]:
        async with LocalEngine(folder) as engine:
            asked = (engine.ask(messages(text), {"temperature": 0, "max_tokens": 120}) for text in texts)
            replies = await asyncio.gather(*asked)
        return [
            Pair(text, reply.text, short_style(), instruction(), reply.finish_reason, reply.usage["prompt_tokens"],
                 reply.usage["completion_tokens"])
            for text, reply in zip(texts, replies, strict=True)
        ]  # fmt: skip

    pairs = asyncio.run(ask())
    table = check_pairs(pairs)
    return Counter(
        rule.reason
        for rule in short_style().rules
        for value in table.column(rule.signal).to_pylist()
        if rule.drops(value, None)
    )
