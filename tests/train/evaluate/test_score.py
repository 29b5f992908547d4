"""Likelihoods: against models that can be added up by hand, and against scoring one sequence at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.train.evaluate.support import (
    VOCABULARY,
    Bigrams,
    encoder,
    ids_of,
    item,
    scored_ids,
    sequences,
    task,
    tokenizer,
)
from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig
from tokenmill.train.evaluate.prepare import prepare_tasks, prepare_text
from tokenmill.train.evaluate.requests import Likelihoods, Requests, joined
from tokenmill.train.evaluate.score import WithStates, batches, score
from tokenmill.train.model import Decoder

EOS = tokenizer().eos_id
CONTEXT = 32


def asked() -> Requests:
    """Items of all lengths, some sharing inputs, some cut, one scored in windows; and a text."""
    choices = [" blue", " a", " b", " the of and to", " that it was on are"]
    items = [item(str(n), "The sky of it, " * n + "is", choices[: 2 + n % 4], n % 2) for n in range(9)]
    long = task("long", [item("a", "Say it:", [" that it was on are as with his they" * 6])])
    text = prepare_text("text/x", ["One text. " * 30, "x", "The sky\n" * 9], tokenizer(), CONTEXT, encoder=encoder())
    return joined([prepare_tasks([task("t", items), long], tokenizer(), CONTEXT, encoder=encoder()), text])


def decoder(**more: Any) -> Decoder:
    shape = {"vocab_size": VOCABULARY, "layers": 2, "width": 16, "heads": 2, "hidden": 32, "context": CONTEXT}
    model = Decoder(ModelConfig(**{**shape, **more}))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as after some training: no layer is the identity, no two ids are alike
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def one_by_one(model: Any, requests: Requests) -> Likelihoods:
    """The definition: each sequence by itself, all in float64."""
    nats, greedy = [], []
    with torch.no_grad():
        for ids, count in zip(sequences(requests), requests.scored.tolist(), strict=True):
            logs = torch.log_softmax(model(torch.tensor([ids[:-1]]))[0].double(), dim=1)[-count:]
            nats.append(-float(logs[range(count), ids[-count:]].sum()))
            greedy.append(logs.argmax(dim=1).tolist() == ids[-count:])
    return Likelihoods(np.array(nats), np.array(greedy))


def same(one: Likelihoods, other: Likelihoods) -> bool:
    return bool(np.allclose(one.nats, other.nats, rtol=0, atol=1e-4) and (one.greedy == other.greedy).all())


def test_bigrams_by_hand() -> None:
    model, requests = Bigrams(), asked()
    found = score(model, requests, batch_tokens=100)
    by_answer = np.bincount(requests.answer, found.nats)
    text = "One text. " * 30
    wanted = model.nats(EOS, ids_of(text))
    assert by_answer[-3] == pytest.approx(wanted, abs=1e-4)
    assert by_answer[-2] == pytest.approx(model.nats(EOS, ids_of("x")), abs=1e-4)
    before = ids_of("The sky of it, is")[-1]
    wanted = [model.nats(before, ids_of(choice)) for choice in (" blue", " a", " b")]
    assert by_answer[2:5] == pytest.approx(wanted, abs=1e-4)
    assert by_answer[2:5].argsort().tolist() == np.argsort(wanted).tolist()


def test_greedy_is_the_most_probable_id() -> None:
    model = Bigrams()
    for before, after in zip([ids_of(" is")[-1], *ids_of(" the of")], ids_of(" the of"), strict=False):
        model.table[before, after] = 50.0
    requests = prepare_tasks([task("t", [item("a", "x is", [" the of", " the and"])])], tokenizer(), CONTEXT)
    assert score(model, requests).greedy.tolist() == [True, False]
    # where all ids are equally probable, the first is meant, not every one
    model.table.zero_()
    assert not score(model, requests).greedy.any()


@pytest.mark.parametrize("batch_tokens", [1, 33, 200, 100_000])
def test_a_decoder_in_batches_of_any_size(batch_tokens: int) -> None:
    model, requests = decoder(), asked()
    assert same(score(model, requests, batch_tokens=batch_tokens), one_by_one(model, requests))


def test_batches_hold_everything_once() -> None:
    requests = asked()
    for size in (1, 50, 333):
        made = list(batches(requests, size))
        assert all(batch.ids.size <= size or len(batch.ids) == 1 for batch in made)
        widths = [batch.ids.shape[1] for batch in made]
        assert widths == sorted(widths, reverse=True)
        places = np.concatenate([batch.request for batch in made])
        assert np.bincount(places, minlength=len(requests)).tolist() == requests.scored.tolist()
        for batch in made:
            for number in np.unique(batch.request).tolist():
                wanted = sequences(requests)[number][-int(requests.scored[number]) :]
                assert batch.target[batch.request == number].tolist() == wanted
    model = Bigrams()
    score(model, requests, batch_tokens=50)
    assert model.passes == len(list(batches(requests, 50)))
    assert model.largest <= 50


def test_shared_inputs_pass_once() -> None:
    requests = prepare_tasks([task("t", [item("a", "The sky is", [" a", " b", " the of"])])], tokenizer(), CONTEXT)
    model = Bigrams()
    score(model, requests, batch_tokens=1)
    assert model.passes == 1
    assert model.largest == len(sequences(requests)[2]) - 1


class Noisy(nn.Module):
    """Says something else in training mode, and notes in what state it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Embedding(VOCABULARY, VOCABULARY)
        self.dropout = nn.Dropout(0.9)
        self.states_seen: set[tuple[bool, bool]] = set()

    def forward(self, ids: Tensor) -> Tensor:
        self.states_seen.add((self.training, torch.is_grad_enabled()))
        return self.dropout(self.inner(ids))


def test_modes_are_as_they_were() -> None:
    model, requests = Noisy(), asked()
    model.train()
    model.inner.eval()
    found = score(model, requests)
    assert model.states_seen == {(False, False)}
    assert (model.training, model.inner.training, model.dropout.training) == (True, False, True)
    assert torch.is_grad_enabled()
    assert same(found, score(model, requests))
    with pytest.raises(ConfigError, match="no id"):
        score(lambda ids: model(ids)[..., :100], requests)
    model.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("full")))
    with pytest.raises(RuntimeError, match="full"):
        score(model, requests)
    assert (model.training, model.inner.training, torch.is_grad_enabled()) == (True, False, True)


class Split(nn.Module):
    """A decoder that gives its states too, and refuses to make logits of everything."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    @property
    def head_weight(self) -> Tensor:
        return self.model.head_weight

    def states(self, ids: Tensor) -> Tensor:
        found: list[Tensor] = []
        handle = self.model.norm.register_forward_hook(lambda _, __, out: found.append(out))
        self.model(ids)
        handle.remove()
        return found[0]

    def forward(self, ids: Tensor) -> Tensor:
        raise AssertionError("states are cheaper")


@pytest.mark.parametrize("tied", [True, False])
def test_states_give_the_same(tied: bool) -> None:
    model, requests = decoder(tied=tied, vocab_size=VOCABULARY + 5), asked()
    split = Split(model)
    assert isinstance(split, WithStates)
    assert same(score(split, requests), one_by_one(model, requests))


def test_vocabularies_are_checked() -> None:
    model = decoder(vocab_size=200)  # padded to 256 rows: none of them may be taken for an id
    with pytest.raises((ConfigError, IndexError)):
        score(model, asked())
    with pytest.raises(ConfigError, match="batch_tokens=0 is too small"):
        score(Bigrams(), asked(), batch_tokens=0)


def test_autocast_is_used_for_products_alone() -> None:
    model, requests = decoder(), asked()
    exact, rough = score(model, requests), score(model, requests, autocast=torch.bfloat16)
    assert not np.array_equal(exact.nats, rough.nats)
    assert np.allclose(exact.nats, rough.nats, rtol=0.03, atol=0.3)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=4).filter(any))
@settings(max_examples=25)
def test_any_text_by_hand(texts: list[str]) -> None:
    model = Bigrams(3)
    requests = prepare_text("text/x", texts, tokenizer(), 7, 3, encoder=encoder())
    found = np.bincount(requests.answer, score(model, requests, batch_tokens=40).nats, requests.answers)
    wanted = [model.nats(EOS, ids_of(text)) for text in texts if text]
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-4)
    assert [scored_ids(requests, n) for n in range(requests.answers)] == [ids_of(text) for text in texts if text]
