"""Cross-entropy by chunks against torch's over all logits, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.train.runs import make_model
from tokenmill.train.data import count_labels
from tokenmill.train.loss import IGNORED, _terms, chunked_cross_entropy
from tokenmill.train.norm import RMSNorm


def made(positions: int, vocab_size: int, padded: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(positions, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocab_size + padded, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, vocab_size, (positions,), generator=generator)
    labels[torch.rand(positions, generator=generator) < 0.3] = IGNORED
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def whole(hidden: Tensor, weight: Tensor, labels: Tensor, vocab_size: int, z_loss: float, count: Tensor) -> Tensor:
    logits = hidden @ weight[:vocab_size].T
    entropy = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    square = logits.logsumexp(dim=1)[labels != IGNORED].square().sum()
    return (entropy + z_loss * square) / count


@settings(max_examples=30, deadline=None)
@given(
    positions=st.integers(0, 20),
    vocab_size=st.integers(1, 12),
    padded=st.integers(0, 5),
    chunk=st.integers(1, 25),
    z_loss=st.sampled_from([0.0, 1e-4, 0.3]),
    upstream=st.sampled_from([1.0, -2.5]),
    seed=st.integers(0, 100),
)
def test_value_and_gradients_are_exact(
    positions: int, vocab_size: int, padded: int, chunk: int, z_loss: float, upstream: float, seed: int
) -> None:
    hidden, weight, labels = made(positions, vocab_size, padded, seed)
    count = torch.tensor(7)
    total, entropy, z = chunked_cross_entropy(
        hidden, weight, labels, normaliser=count, vocab_size=vocab_size, z_loss=z_loss, chunk=chunk
    )
    expected = whole(hidden, weight, labels, vocab_size, z_loss, count)
    torch.testing.assert_close(total, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(entropy + z_loss * z, total.detach(), rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(total * upstream, (hidden, weight))
    theirs = torch.autograd.grad(expected * upstream, (hidden, weight))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_float32_and_the_default_chunk() -> None:
    hidden, weight, labels = (tensor.detach() for tensor in made(3000, 5000, 56))
    hidden, weight = hidden.float().requires_grad_(), weight.float().requires_grad_()
    count = (labels != IGNORED).sum()
    total, _, _ = chunked_cross_entropy(hidden, weight, labels, normaliser=count, vocab_size=5000, z_loss=1e-4)
    expected = whole(hidden, weight, labels, 5000, 1e-4, count)
    torch.testing.assert_close(total, expected)
    ours, theirs = (torch.autograd.grad(one, (hidden, weight)) for one in (total, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_large_logits_stay_finite() -> None:
    hidden, weight, labels = (tensor.detach() for tensor in made(8, 5, 3))
    total, entropy, _ = chunked_cross_entropy(
        1e4 * hidden, weight, labels, normaliser=torch.tensor(8), vocab_size=5, z_loss=0.0
    )
    torch.testing.assert_close(entropy, F.cross_entropy(1e4 * hidden @ weight[:5].T, labels, reduction="sum") / 8)
    assert torch.isfinite(total)


def test_one_matrix_for_ids_and_logits_gets_both_gradients() -> None:
    _, weight, labels = made(9, 7, 1)
    ids = torch.arange(9) % 7
    count = torch.tensor(3)
    total, _, _ = chunked_cross_entropy(
        F.embedding(ids, weight), weight, labels, normaliser=count, vocab_size=7, chunk=4
    )
    expected = whole(F.embedding(ids, weight), weight, labels, 7, 0.0, count)
    ours, theirs = (torch.autograd.grad(one, weight)[0] for one in (total, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_logits() -> None:
    hidden, weight, labels = made(500, 300, 0)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        chunked_cross_entropy(hidden, weight, labels, normaliser=torch.tensor(350), vocab_size=300)
    assert sum(kept) <= hidden.numel() + weight.numel() + 10
    assert sum(kept) < 500 * 300 / 10


def test_without_gradients_nothing_is_kept_and_the_value_is_the_same() -> None:
    hidden, weight, labels = made(20, 9, 0)
    count = torch.tensor(11)
    with_gradient, _, _ = chunked_cross_entropy(hidden, weight, labels, normaliser=count, vocab_size=9)
    with torch.no_grad():
        without, _, _ = chunked_cross_entropy(hidden, weight, labels, normaliser=count, vocab_size=9)
    assert not without.requires_grad
    assert torch.equal(without, with_gradient.detach())


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_bf16_products_give_float32_sums(z_loss: float) -> None:
    hidden, weight, labels = (tensor.detach() for tensor in made(200, 50, 14))
    hidden, weight, count = hidden.float().requires_grad_(), weight.float().requires_grad_(), torch.tensor(140)
    with torch.autocast("cpu", torch.bfloat16):
        total, _, _ = chunked_cross_entropy(
            hidden, weight, labels, normaliser=count, vocab_size=50, z_loss=z_loss, chunk=64
        )
    expected = whole(hidden, weight, labels, 50, z_loss, count)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=0.02, atol=0.0)
    ours, theirs = (torch.autograd.grad(one, (hidden, weight)) for one in (total, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.float32
        assert torch.linalg.vector_norm(one - other) < 0.02 * torch.linalg.vector_norm(other)


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore")  # of the compiler, about torch itself
@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_what_is_compiled_for_gpus_is_the_same(narrow: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 64, generator=generator).to(narrow)
    _, _, labels = made(40, 50, 14)
    scale = torch.tensor(0.1)
    plain, compiled = logits.clone(), logits.clone()
    expected = _terms(plain, labels, scale, 50, 0.2)
    found = torch.compile(_terms, dynamic=False, fullgraph=True)(compiled, labels, scale, 50, 0.2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(compiled, plain)
    assert not torch.equal(plain, logits)


def test_every_label_below_0_is_left_out() -> None:
    """Also those that are not IGNORED, which would otherwise be learned as id 0."""
    hidden, weight, labels = made(20, 9, 3)
    other = torch.where(labels == IGNORED, torch.tensor(-1), labels)
    assert (other != labels).any()
    count = torch.tensor(7)
    found = [chunked_cross_entropy(hidden, weight, one, normaliser=count, vocab_size=9) for one in (labels, other)]
    assert found[0][0] == found[1][0]
    grads = [torch.autograd.grad(one[0], (hidden, weight)) for one in found]
    assert all(torch.equal(one, two) for one, two in zip(*grads, strict=True))
    model = make_model()
    ids = torch.arange(12)[None]
    losses = [model(ids, torch.where(ids % 3 == 0, missing, ids)) for missing in (IGNORED, -1)]
    assert losses[0].tokens == losses[1].tokens == 8
    assert losses[0].total == losses[1].total
    assert count_labels({"labels": np.array([[3, -1, -100, 0]])}) == 2


@pytest.mark.parametrize("kind", ["loss", "norm"])
def test_a_second_derivative_is_refused(kind: str) -> None:
    """It would be that of the first pass's constants: wrong, without a word."""
    hidden, weight, labels = made(5, 9, 3)
    if kind == "loss":
        value = chunked_cross_entropy(hidden, weight, labels, normaliser=torch.tensor(7), vocab_size=9)[0].square()
    else:
        value = RMSNorm(6, 1e-6).double()(hidden).square().sum()
    (gradient,) = torch.autograd.grad(value, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()
