"""Experts and their balance: against loops (test_model.py compares whole models), and over global batches."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.train.test_model import batch, tiny
from tokenmill.train.model import IGNORED, Decoder
from tokenmill.train.moe import Balance, Routing

EXPERTS: dict[str, Any] = {"experts": 5, "experts_per_token": 2, "balance_loss": 1.0}


def model_in_training() -> Decoder:
    model = tiny(**EXPERTS).double()
    model.begin_batch()
    return model


def test_two_halves_give_the_statistics_of_the_whole() -> None:
    ids, labels, _ = batch(4)
    labelled = (labels != IGNORED).sum()
    whole, halves = model_in_training(), model_in_training()
    expected = whole(ids, labels)
    losses = [halves(ids[rows], labels[rows], normaliser=labelled) for rows in (slice(0, 2), slice(2, 4))]
    assert whole.balance is not None
    assert halves.balance is not None
    torch.testing.assert_close(halves.balance.counts, whole.balance.counts)
    assert whole.balance.counts.sum(dim=1).tolist() == [2 * int(labelled)] * 2
    use = whole.expert_use()
    assert use is not None
    torch.testing.assert_close(use * 2 * labelled, whole.balance.counts)
    # the shares of the second half are those of the whole, and its probabilities are its part of them
    first, second = (one.balance for one in losses)
    halves.begin_batch()
    halves(ids[2:], labels[2:], normaliser=labelled)
    again = halves(ids[:2], labels[:2], normaliser=labelled).balance
    torch.testing.assert_close(again + second, expected.balance, rtol=1e-10, atol=0)
    assert abs(float(first - again)) > 1e-6


def test_a_new_batch_forgets_and_evaluation_does_not_count() -> None:
    ids, labels, _ = batch()
    model = model_in_training()
    assert model.balance is not None
    first = model(ids, labels).balance
    counts = model.balance.counts.clone()
    model.eval()
    torch.testing.assert_close(model(ids, labels).balance, first)
    assert torch.equal(model.balance.counts, counts)
    model.train()
    model(ids, labels)
    assert torch.equal(model.balance.counts, 2 * counts)
    model.begin_batch()
    assert not model.balance.counts.any()


def test_counts_and_probabilities_are_exact_in_bf16() -> None:
    ids, labels, _ = batch(200)
    exact, rough = tiny(**EXPERTS), tiny(**EXPERTS)
    expected = exact(ids, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = rough(ids, labels)
    assert exact.balance is not None
    assert rough.balance is not None
    assert rough.balance.counts.sum(dim=1).tolist() == [2.0 * int(found.tokens)] * 2
    # in the first layer attention alone is in bf16, so a few tokens choose otherwise
    assert (rough.balance.counts - exact.balance.counts)[0].abs().max() < 0.01 * 2 * int(found.tokens)
    torch.testing.assert_close(found.balance, expected.balance, rtol=0.02, atol=0)


def test_positions_without_a_label_do_not_count() -> None:
    ids, labels, _ = batch()
    labels[1] = IGNORED
    both, one = model_in_training(), model_in_training()
    torch.testing.assert_close(both(ids, labels).balance, one(ids[:1], labels[:1]).balance)


@pytest.mark.parametrize(
    ("share", "expected"), [([0.25] * 4, 1.0), ([1.0, 0.0, 0.0, 0.0], 4.0), ([0.5, 0.5, 0, 0], 2.0)]
)
def test_the_loss_is_1_at_even_use_and_the_number_of_experts_at_worst(share: list[float], expected: float) -> None:
    balance = Balance(tiny(experts=4, layers=1).config)
    counted = torch.tensor(share)
    found = balance([Routing(80 * counted, 40 * counted)], torch.tensor(40))
    assert float(found) == pytest.approx(expected)


def test_the_gradient_moves_probability_away_from_crowded_experts() -> None:
    balance = Balance(tiny(experts=3, layers=1).config)
    probabilities = torch.tensor([10.0, 5.0, 5.0], requires_grad=True)
    balance([Routing(torch.tensor([30.0, 10.0, 0.0]), probabilities)], torch.tensor(20)).backward()
    assert probabilities.grad is not None
    torch.testing.assert_close(probabilities.grad, 3 * torch.tensor([0.75, 0.25, 0.0]) / 20)


def test_an_expert_without_a_token_gets_no_gradient_and_breaks_nothing() -> None:
    model = tiny(**EXPERTS)
    with torch.no_grad():
        model.blocks[0].feed.router.weight[3] = 0.0
        model.blocks[0].feed.router.weight[[0, 1, 2, 4]] *= 50
        model.blocks[0].feed_norm.weight.abs_()
    ids, labels, _ = batch()
    loss = model(ids, labels)
    loss.total.backward()
    assert model.balance is not None
    empty = int(model.balance.counts[0].argmin())
    assert torch.isfinite(loss.total.detach())
    if not model.balance.counts[0, empty]:
        assert not model.blocks[0].feed.up.grad[empty].any()


def test_all_tokens_may_go_to_the_same_experts() -> None:
    model = tiny(**EXPERTS)
    with torch.no_grad():
        model.blocks[0].feed.router.weight.zero_()  # ties: the order of topk decides, the same for every token
    ids, labels, _ = batch()
    loss = model(ids, labels)
    assert model.balance is not None
    counts = model.balance.counts[0]
    assert int((counts > 0).sum()) == 2
    assert float(counts.sum()) == 2 * int(loss.tokens)


def _rank(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    ids, labels, _ = batch(4)
    labelled = (labels != IGNORED).sum()
    model = model_in_training()
    mine = slice(2 * rank, 2 * rank + 2)
    loss = model(ids[mine], labels[mine], normaliser=labelled)
    loss.total.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    dist.all_reduce(gradient)
    balance = loss.balance.clone()
    dist.all_reduce(balance)
    assert model.balance is not None
    torch.save((balance, model.balance.counts, gradient), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ci
def test_two_ranks_give_the_balance_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, (port, str(tmp_path)), nprocs=2)
    ids, labels, _ = batch(4)
    model = model_in_training()
    loss = model(ids, labels)
    loss.total.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert model.balance is not None
    for rank in range(2):
        balance, counts, reduced = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(balance, loss.balance, rtol=1e-10, atol=0)
        torch.testing.assert_close(counts, model.balance.counts)
        torch.testing.assert_close(reduced, gradient, rtol=1e-8, atol=1e-12)
