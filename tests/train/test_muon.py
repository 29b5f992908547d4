"""Muon against torch's own, on what that one can do; and what it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tokenmill.train.muon import Muon, newton_schulz


def parameters(shapes: list[tuple[int, ...]], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def set_gradients(some: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for one in some:
        one.grad = torch.randn(one.shape, generator=generator)


def test_as_torchs_own_where_that_serves() -> None:
    shapes: list[tuple[int, ...]] = [(8, 24), (24, 8), (8, 24), (16, 16)]
    mine, theirs = parameters(shapes), parameters(shapes)
    one = Muon(mine, lr=0.02, weight_decay=0.1, momentum=0.9)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        set_gradients(mine, step)
        set_gradients(theirs, step)
        one.step()
        other.step()
        for a, b in zip(mine, theirs, strict=True):
            # torch's iterates in bfloat16 also on a CPU, with 8 bits: 1 % of the size of an update
            assert torch.allclose(a, b, atol=0.02 * 0.2 * 24**0.5 * 0.03 * (step + 1))


def test_fused_and_stacked_matrices_are_as_single_ones() -> None:
    pieces = parameters([(8, 12), (4, 12), (4, 12)])
    fused = [nn.Parameter(torch.cat([piece.detach() for piece in pieces]))]
    stack = [nn.Parameter(torch.stack([pieces[1].detach(), pieces[2].detach()]))]
    for one in pieces:
        one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(one.shape[0]))
    fused[0].grad = torch.cat([piece.grad for piece in pieces if piece.grad is not None])
    stack[0].grad = fused[0].grad[8:].reshape(2, 4, 12)
    Muon(pieces, lr=0.1).step()
    Muon([{"params": fused, "pieces": [[8, 4, 4]]}], lr=0.1).step()
    Muon(stack, lr=0.1).step()
    assert torch.allclose(fused[0], torch.cat(pieces), atol=1e-3)
    assert torch.allclose(stack[0].reshape(8, 12), torch.cat(pieces[1:]), atol=1e-3)


def test_singular_values_come_near_one() -> None:
    matrices = torch.randn(5, 6, 20, generator=torch.Generator().manual_seed(3))
    found = newton_schulz(matrices.bfloat16()).float()
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.5
    assert float((found * (u @ v)).sum() / found.norm() / (u @ v).norm()) > 0.95


@pytest.mark.parametrize("flag", [0.0, 1.0])
def test_a_flag_leaves_the_step_out(flag: float) -> None:
    mine, plain = parameters([(6, 10)]), parameters([(6, 10)])
    one, other = Muon(mine, lr=0.1), Muon(plain, lr=0.1)
    for step in range(2):
        for some in (mine, plain):
            set_gradients(some, step)
        one.found_inf = torch.tensor(flag)
        if flag:
            assert mine[0].grad is not None
            mine[0].grad.fill_(torch.nan)
        one.step()
        if not flag:
            other.step()
    assert torch.allclose(mine[0], plain[0])
    if flag:
        assert not one.state[mine[0]]["momentum_buffer"].any()
