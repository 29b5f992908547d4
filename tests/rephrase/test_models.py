"""A tiny model is trained here and now: a sample of what test_models_checks.py does with all kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.rephrase import pages
from tokenmill.rephrase.checks.phrases import find_phrase

STEPS, PAGES, TOKENS = 24, 3, 16


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take ten times as long."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.ci
@pytest.mark.usefixtures("one_thread")
def test_a_model_learns_in_seconds_to_refuse() -> None:
    """Pages that it has not seen; the head begins at zero, so all of it is learned."""
    import torch

    from tests.rephrase.kinds import END, KINDS
    from tests.rephrase.models import example, make

    kind = dataclasses.replace(KINDS["refuse"], steps=STEPS)
    model, tokenizer = make(kind)
    texts = [pages.page(seed, (1, 2)).text for seed in range(PAGES)]
    answers = []
    for text in texts:
        asked, _ = example(kind, tokenizer, text)
        said: list[int] = []
        while len(said) < TOKENS and END not in said:
            with torch.no_grad():
                said.append(int(model(torch.tensor([asked + said]))[0, -1].argmax()))
        answers.append(str(tokenizer.decode(said)))
    assert all(find_phrase("refusal", said, text) for said, text in zip(answers, texts, strict=True)), answers
    assert not any(find_phrase("refusal", text, text) for text in texts)
