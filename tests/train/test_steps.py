"""One step: the gradient is that of the whole batch however it is cut, and clipping and skipping are exact."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.runs import CONTEXT, VOCABULARY, make_model, make_settings
from tokenmill.tokens.pack import IGNORED, Batch
from tokenmill.train.model import Decoder, Loss
from tokenmill.train.monitor import History
from tokenmill.train.optimizers import build_optimizers
from tokenmill.train.parallel import World
from tokenmill.train.settings import TrainSettings
from tokenmill.train.steps import Step, Stepper, gradient_norm, logit_max, steps_of


def make_batch(seed: int = 0, ignored: float = 0.3) -> Batch:
    """Rows with different numbers of labels: a mean of means would be another."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, VOCABULARY, (8, CONTEXT))
    labels = np.where(random.random(ids.shape) < ignored * np.arange(8)[:, None] / 4, IGNORED, np.roll(ids, -1, 1))
    return {"input_ids": ids, "labels": labels}


def make_stepper(model: Decoder, settings: TrainSettings, **options: Any) -> Stepper:
    optimizers = build_optimizers(model, model.config, settings)
    optimizers.set_rate(5)
    return Stepper(model, settings, optimizers, History(), World(), **options)


def learned(**changes: Any) -> Decoder:
    """A model in which all weights have a gradient."""
    model = make_model(**changes)
    model.initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(torch.randn(one.shape, generator=generator), alpha=0.1)
    return model


def gradients(model: Decoder) -> dict[str, Tensor]:
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("rows", [1, 2, 4, 8])
def test_the_gradient_is_that_of_the_whole_batch(rows: int) -> None:
    model, batch = learned(), make_batch()
    loss = model(torch.from_numpy(batch["input_ids"]), torch.from_numpy(batch["labels"]))
    assert isinstance(loss, Loss)
    loss.total.backward()
    wanted = gradients(model)
    settings = make_settings(micro_tokens=rows * CONTEXT, spikes="none", lr=0.0)
    step = make_stepper(model, settings).step(batch)
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, wanted[name], rtol=1e-4, atol=1e-6), name
    assert float(step.loss) == pytest.approx(float(loss.cross_entropy), rel=1e-5)
    assert float(step.z) == pytest.approx(float(loss.z), rel=1e-5)
    assert float(step.norm) == pytest.approx(math.sqrt(sum(float(one.square().sum()) for one in wanted.values())), 1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recomputing_gives_the_same_gradients(precision: str) -> None:
    found = []
    for again in (False, True):
        model = learned()
        settings = make_settings(activation_checkpointing=again, spikes="none", precision=precision)
        with steps_of(model, settings):
            make_stepper(model, settings).step(make_batch())
        found.append(gradients(model))
        assert not any("forward" in vars(block) for block in model.blocks)
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(one, found[1][name]) for name, one in found[0].items())


def test_bf16_is_near_and_other_than_fp32() -> None:
    found = []
    for precision in ("fp32", "bf16"):
        model = learned()
        found.append(make_stepper(model, make_settings(precision=precision)).step(make_batch()))
        assert all(one.dtype == torch.float32 for one in model.parameters())
    assert float(found[1].loss) == pytest.approx(float(found[0].loss), rel=0.02)
    assert float(found[1].loss) != float(found[0].loss)


@pytest.mark.parametrize(("spikes", "scaled"), [("clip", True), ("skip", True), ("none", False)])
def test_clipping(spikes: str, scaled: bool) -> None:
    model = learned()
    step = make_stepper(model, make_settings(clip=0.01, spikes=spikes)).step(make_batch())
    assert float(step.norm) > 0.02
    assert float(gradient_norm(list(model.parameters()))) == pytest.approx(0.01 if scaled else float(step.norm), 1e-3)


def test_a_small_gradient_is_not_scaled_up() -> None:
    model = learned()
    step = make_stepper(model, make_settings(clip=1e6)).step(make_batch())
    assert float(gradient_norm(list(model.parameters()))) == pytest.approx(float(step.norm))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_host_that_does_not_wait_does_the_same(optimizer: str) -> None:
    """As on CUDA: the flag that leaves a step out stays on the device."""
    settings = make_settings(optimizer=optimizer)
    models, steps = [], []
    for waits in (True, False):
        model = learned()
        stepper = make_stepper(model, settings, waits=waits)
        made: list[Step] = []
        for number in range(4):
            before = {name: one.detach().clone() for name, one in model.named_parameters()}
            if number == 2:
                with torch.no_grad():
                    weight = model.norm.weight.clone()
                    model.norm.weight.fill_(torch.nan)
                made.append(stepper.step(make_batch(number)))
                with torch.no_grad():
                    model.norm.weight.copy_(weight)
                assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())
            else:
                made.append(stepper.step(make_batch(number)))
        models.append(model)
        steps.append(made)
    assert [float(one.left_out) for one in steps[1]] == [float(one.left_out) for one in steps[0]] == [0, 0, 1, 0]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_experts_are_balanced_over_micro_batches() -> None:
    """Use is counted over the batch: a second step does not see the counts of the first."""
    model = learned(experts=4)
    stepper = make_stepper(model, make_settings(lr=0.0))
    first, second = stepper.step(make_batch()), stepper.step(make_batch())
    assert float(first.balance) == float(second.balance)
    assert 0.9 < float(first.balance) < 4
    whole = make_stepper(learned(experts=4), make_settings(lr=0.0, micro_tokens=8 * CONTEXT)).step(make_batch())
    assert float(first.balance) == pytest.approx(float(whole.balance), rel=0.2)


def test_logit_max_is_that_of_the_model() -> None:
    model, batch = learned(), make_batch()
    ids = torch.from_numpy(batch["input_ids"][:1])
    assert logit_max(model, batch) == pytest.approx(float(model.max_logits(ids).max()))


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_blocks_give_the_same_and_stay_out_of_the_way() -> None:
    losses = {}
    for compiled in (False, True):
        model = learned()
        settings = make_settings(compile=compiled)
        with steps_of(model, settings):
            stepper = make_stepper(model, settings)
            losses[compiled] = [float(stepper.step(make_batch(number)).loss) for number in range(3)]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert model.blocks[0]._compiled_call_impl is not None
    settings = make_settings(compile=False)
    again = learned()
    model.load_state_dict(again.state_dict())
    with steps_of(model, settings):
        stepper = make_stepper(model, settings)
        assert [float(stepper.step(make_batch(number)).loss) for number in range(3)] == losses[False]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_twelfth_shape_of_a_process_is_compiled_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks share a function, of which the compiler keeps eight versions, and then compiles no more."""
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compiled[-1] += 1
        return graph.forward

    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: whole(self, backend=backend, **given))
    torch._dynamo.reset()
    models = []
    for number in range(12):
        models.append(learned(hidden=8 * (number + 1)))
        compiled.append(0)
        settings = make_settings(compile=True)
        with steps_of(models[-1], settings):
            make_stepper(models[-1], settings).step(make_batch())
    assert set(compiled) == {1}
    compiled.append(0)
    with steps_of(models[0], settings):  # it was forgotten; once is enough
        for number in range(2):
            make_stepper(models[0], settings).step(make_batch(number))
    assert compiled[-1] == 1
