"""Muon: the update of a matrix is its averaged gradient with all singular values brought near one.

Jordan et al. 2024, kellerjordan.github.io/posts/muon; scaled as in Liu et al. 2025, arXiv:2502.16982, so that AdamW's
learning rate serves both. `torch.optim.Muon` takes matrices only; most weights here are kernels of convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from earthgen.precision import native_dtype

MOMENTUM = 0.95
ITERATIONS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """`matrix` (rows, columns) with its singular values brought to between 0.7 and 1.2, in the machine's own precision.

    By the odd polynomial of degree five whose coefficients Jordan et al. chose to raise small values fastest.
    """
    x = matrix.to(native_dtype())
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if tall else x


class Muon(torch.optim.AdamW):
    """Muon for the parameters `hidden`, AdamW for all others.

    Args:
        params: All parameters that are trained.
        hidden: Those of them, of two dimensions or more, that are maps from features to features; the first dimension
            is that of the output. First and last layers, embeddings, gains and biases are better left out.
        options: Of `torch.optim.AdamW`. The learning rate is that of both; weight decay that of AdamW alone.
    """

    def __init__(self, params: Iterable[nn.Parameter], hidden: Iterable[nn.Parameter], **options: Any) -> None:
        chosen = {id(p) for p in hidden}
        params = list(params)
        parts = [{"params": [p for p in params if (id(p) in chosen) == muon], "muon": muon} for muon in (True, False)]
        super().__init__([part for part in parts if part["params"]], **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for p in group["params"] if group["muon"] else ():
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:  # in AdamW's words, which looks for them when it is loaded
                    state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(p))
                average = state["exp_avg"].lerp_(p.grad, 1 - MOMENTUM)
                update = orthogonalised(torch.lerp(p.grad, average, MOMENTUM).flatten(1))
                # 0.2: the root mean square of AdamW's updates.
                scale = 0.2 * max(update.shape) ** 0.5
                p.add_(update.reshape(p.shape).to(p.dtype), alpha=-group["lr"] * scale)
                p.grad = None  # which hides it from AdamW
        super().step()
        return loss
