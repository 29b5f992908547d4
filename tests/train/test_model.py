"""The decoder against a second implementation, against hand-made cases, and against its own promises."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.train.naive_model import Weights, naive_loss
from tokenmill.train.attention import attend, block_mask, document_mask
from tokenmill.train.config import ModelConfig
from tokenmill.train.model import IGNORED, Decoder
from tokenmill.train.rotary import rotary_table, rotate

TINY: dict[str, Any] = {"vocab_size": 70, "layers": 2, "width": 16, "heads": 4, "hidden": 24, "context": 12}

SHAPES = {
    "default": {},
    "plain": {"qk_norm": False, "z_loss": 0.0},
    "grouped, untied": {"kv_heads": 2, "tied": False, "z_loss": 0.1},
    "relu2, one key head": {"activation": "relu2", "kv_heads": 1, "rope_theta": 100.0},
    "documents": {"document_mask": True, "z_loss": 0.01},
    "experts": {"experts": 5, "expert_hidden": 8, "balance_loss": 0.3},
}


def tiny(seed: int = 0, **changes: Any) -> Decoder:
    """A model whose every parameter is random: no zero hides a missing gradient."""
    model = Decoder(ModelConfig(**TINY | changes))
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.4)
    return model


def batch(rows: int = 2, length: int = 12, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """ids, labels with some left out, and documents of a few positions with padding at the end of the first row."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 70, (rows, length), generator=generator)
    labels = torch.randint(0, 70, (rows, length), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORED
    document = torch.rand(ids.shape, generator=generator).lt(0.3).cumsum(1).to(torch.int32)
    document[0, -2:], labels[0, -2:] = -1, IGNORED
    return ids, labels, document


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())
def test_loss_and_all_gradients_are_those_of_the_naive_model(changes: dict[str, Any]) -> None:
    model = tiny(**changes).double()
    # the table is float32, whatever the model is; here it must not blur the comparison
    exact = rotary_table(12, model.config.head_width, model.config.rope_theta, torch.float64)
    model.table = exact
    ids, labels, document = batch()
    found = model(ids, labels, document)
    found.total.backward()
    weights = Weights((name, value.detach().clone().requires_grad_()) for name, value in model.named_parameters())
    seen = document if model.config.document_mask else torch.zeros_like(document)
    expected = naive_loss(weights, model.config, ids, labels, seen)
    expected[0].backward()
    for ours, theirs in zip((found.total, found.cross_entropy, found.z, found.balance), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert found.tokens == (labels != IGNORED).sum()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-8, atol=1e-10)


def test_float32_has_the_gradients_of_float64_to_rounding() -> None:
    ids, labels, document = batch()
    gradients = []
    for model in (tiny(), tiny().double()):
        model(ids, labels, document).total.backward()
        gradients.append(torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None]))
    assert torch.linalg.vector_norm(gradients[0] - gradients[1]) < 1e-5 * torch.linalg.vector_norm(gradients[1])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("vocab_size", "width"), [(4096, 128), (8192, 320), (1000, 768), (90, 256)])
def test_the_loss_begins_at_the_logarithm_of_the_vocabulary(vocab_size: int, width: int, tied: bool) -> None:
    shape = {"vocab_size": vocab_size, "width": width, "hidden": 64, "layers": 1, "tied": tied}
    model = Decoder(ModelConfig(**TINY | shape | {"context": 64}))
    model.initialise(3)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab_size, (16, 65), generator=generator)
    loss = model(ids[:, :-1], ids[:, 1:]).cross_entropy
    assert abs(float(loss) - math.log(vocab_size)) < 0.01 * math.log(vocab_size)


def test_on_the_meta_device_a_model_is_a_plan_only() -> None:
    with torch.device("meta"):
        model = Decoder(ModelConfig(**TINY))
    assert all(parameter.is_meta for parameter in model.parameters())


def test_padded_rows_take_no_probability_and_learn_nothing() -> None:
    model = tiny(tied=False)
    ids, labels, _ = batch()
    with torch.no_grad():
        model.head_weight[70:] = 50.0
    logits = model(ids)
    assert logits.shape == (2, 12, 70)
    assert logits.dtype == torch.float32
    loss = model(ids, labels)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(loss.cross_entropy, expected.detach())
    loss.total.backward()
    assert model.head_weight.grad is not None
    assert not model.head_weight.grad[70:].any()


@pytest.mark.parametrize("changes", [{}, {"experts": 3, "tied": False}])
def test_initialise_is_the_same_whatever_was_before(changes: dict[str, Any]) -> None:
    model, other = Decoder(ModelConfig(**TINY | changes)), tiny(7, **changes)
    torch.manual_seed(5)
    model.initialise(1)
    torch.rand(100)
    other.initialise(1)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), other.parameters(), strict=True))
    assert float(model.embedding.weight[:70].detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not model.embedding.weight[70:].any()
    zero = [p for name, p in model.named_parameters() if "output" in name or "down" in name or "head" in name]
    assert len(zero) == 4 + (not model.config.tied)
    assert not any(parameter.any() for parameter in zero)
    assert all(parameter.any() for name, parameter in model.named_parameters() if "up" in name or "qkv" in name)
    other.initialise(2)
    assert not torch.equal(model.blocks[0].attention.qkv.weight, other.blocks[0].attention.qkv.weight)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 11), st.integers(0, 69), st.integers(0, 1000))
def test_no_position_sees_what_follows(place: int, other: int, seed: int) -> None:
    model, (ids, _, _) = tiny(), batch(1, seed=seed)
    changed = ids.clone()
    changed[0, place] = other
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :place], after[:, :place], rtol=0, atol=1e-6)
    if other != ids[0, place]:
        assert (before[:, place:] - after[:, place:]).abs().max() > 1e-4


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.integers(0, 1000))
def test_logits_of_a_document_do_not_depend_on_its_neighbours(lengths: list[int], seed: int) -> None:
    model = tiny(document_mask=True)
    ids = torch.randint(0, 70, (1, sum(lengths)), generator=torch.Generator().manual_seed(seed))
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None].to(torch.int32)
    with torch.no_grad():
        together = model(ids, document=document)
        alone = torch.cat([model(part) for part in ids.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_without_the_setting_documents_see_those_before_them() -> None:
    ids, _, document = batch()
    seen = tiny(document_mask=False)(ids, document=document)
    kept = tiny(document_mask=True)(ids, document=document)
    torch.testing.assert_close(seen, tiny(document_mask=True)(ids))
    assert (seen - kept).abs().max() > 0.01


@pytest.mark.ci
def test_flex_attention_has_the_same_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 12, 16, generator=generator) for heads in (4, 2, 2))
    _, _, document = batch()
    expected = attend(query, key, value, document_mask(document))
    with warnings.catch_warnings():  # that it is not compiled here, once in a process
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        found = attend(query, key, value, block_mask(document))
    torch.testing.assert_close(found, expected)


def test_micro_batches_with_a_normaliser_give_the_gradient_of_the_whole() -> None:
    ids, labels, _ = batch(4)
    whole, parts = tiny().double(), tiny().double()
    loss = whole(ids, labels)
    loss.total.backward()
    labelled = (labels != IGNORED).sum()
    losses = [parts(ids[i : i + 1], labels[i : i + 1], normaliser=labelled) for i in range(4)]
    for one in losses:
        one.total.backward()
    for field in ("total", "cross_entropy", "z", "tokens"):
        torch.testing.assert_close(sum(getattr(one, field) for one in losses), getattr(loss, field))
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_a_batch_without_labels_has_no_loss() -> None:
    model, (ids, labels, _) = tiny(), batch()
    loss = model(ids, torch.full_like(labels, IGNORED))
    loss.total.backward()
    assert float(loss.total.detach()) == 0.0
    assert int(loss.tokens) == 0
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("documents", [True, False])
@torch.no_grad()
def test_max_logits_are_the_largest_scaled_products(documents: bool) -> None:
    model = tiny(document_mask=documents, kv_heads=2)
    ids, _, document = batch()
    found = model.max_logits(ids, document)
    assert found.shape == (2,)
    query, key, _ = model.blocks[0].attention.split(model.blocks[0].attention_norm(model.embedding(ids)), model.table)
    largest = max(
        float(query[row, head, i] @ key[row, head // 2, j]) / 4**0.5
        for row in range(2)
        for head in range(4)
        for i in range(12)
        for j in range(i + 1)
        if not documents or document[row, i] == document[row, j]
    )
    assert float(found[0]) == pytest.approx(largest, rel=1e-5)


def test_a_turn_keeps_lengths_and_depends_on_distance_alone() -> None:
    table = rotary_table(40, 8, 100.0)
    x = torch.randn(1, 1, 2, 8, generator=torch.Generator().manual_seed(0)).expand(1, 40, 2, 8)
    turned = rotate(x, table)[0]
    torch.testing.assert_close(turned.norm(dim=-1), x[0].norm(dim=-1))
    products = turned[:, 0] @ turned[:, 1].T
    for distance in (0, 3, 17):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"experts": 4}])
def test_bf16_is_near_float32(changes: dict[str, Any]) -> None:
    model, (ids, labels, document) = tiny(**changes), batch(8)
    exact = model(ids, labels, document)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(ids, labels, document)
    rough.total.backward()
    assert rough.total.dtype == torch.float32
    assert abs(float(rough.cross_entropy - exact.cross_entropy)) < 0.03 * float(exact.cross_entropy)
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore")  # of the compiler, about torch itself
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_compiled_blocks_give_the_same_loss_and_gradient(precision: str) -> None:
    ids, labels, document = batch(2)
    results = []
    for compiled in (False, True):
        model = tiny(kv_heads=2)
        if compiled:
            for block in model.blocks:
                block.compile(dynamic=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(ids, labels, document)
        loss.total.backward()
        results.append((loss.total.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    near = 1e-5 if precision == "fp32" else 3e-2
    torch.testing.assert_close(results[0][0], results[1][0], rtol=near, atol=near)
    distance = torch.linalg.vector_norm(results[0][1] - results[1][1]) / torch.linalg.vector_norm(results[0][1])
    assert float(distance) < near
