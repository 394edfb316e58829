from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from earthgen.training.muon import Muon, orthogonalised


@settings(deadline=None, max_examples=20)
@given(st.integers(4, 48), st.integers(4, 48), st.integers(0, 1000))
def test_singular_values_come_near_one_and_directions_stay(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=generator)).Q[:, : min(rows, columns)]
    v = torch.linalg.qr(torch.randn(columns, columns, generator=generator)).Q[:, : min(rows, columns)]
    matrix = u @ torch.diag(torch.rand(u.shape[1], generator=generator) * 0.9 + 0.1) @ v.T
    made = orthogonalised(matrix).float()
    assert made.shape == matrix.shape
    within = u.T @ made @ v  # diagonal if the singular vectors are the same
    assert torch.allclose(within, torch.diag(torch.diag(within)), atol=0.1)
    assert 0.5 < torch.diag(within).min() and torch.diag(within).max() < 1.3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def steps(model: nn.Sequential, optimizer: torch.optim.Optimizer, count: int, first: int = 0) -> list[float]:
    losses = []
    for k in range(first, first + count):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(k))
        loss = (model(x) - x.roll(1, -1)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_only_hidden_weights_take_muons_step_and_all_learn() -> None:
    model = network()
    plain = copy.deepcopy(model)
    muon = Muon(model.parameters(), [model[1].weight], lr=1e-2)
    adamw = torch.optim.AdamW(plain.parameters(), lr=1e-2)
    steps(model, muon, 1)
    steps(plain, adamw, 1)
    assert torch.equal(model[0].weight, plain[0].weight)
    assert torch.equal(model[1].bias, plain[1].bias)
    assert not torch.allclose(model[1].weight, plain[1].weight)
    assert steps(model, muon, 200, 1)[-1] < 0.2 * steps(network(), torch.optim.AdamW(network().parameters()), 1)[0]


@pytest.mark.parametrize("hidden", [True, False])
def test_a_loaded_optimizer_goes_on_where_it_was(hidden: bool) -> None:
    def made() -> tuple[nn.Sequential, Muon]:
        model = network()
        return model, Muon(model.parameters(), [model[1].weight] if hidden else [], lr=1e-2)

    whole, optimizer = made()
    steps(whole, optimizer, 6)
    first, before = made()
    steps(first, before, 3)
    second, after = made()
    second.load_state_dict(first.state_dict())
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    steps(second, after, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
