"""Guidance by several conditions, each with a weight of its own."""

from __future__ import annotations

from dataclasses import fields

from earthgen.conditions import Guidance
from earthgen.models.conditioning import Conditioning


def guidance_chain(conditioning: Conditioning, guidance: Guidance) -> list[tuple[float, Conditioning]]:
    """Which evaluations guidance needs: the velocity is the sum of weight × evaluation.

    Conditions are added in order of their weights w₁ < w₂ < …, those of one weight together, after those of weight 1
    (Brooks et al. 2023, equation 3, for any number of conditions):

        v = v(∅ ∪ S₁) + Σ wₖ (v(S₁ ∪ … ∪ Sₖ) - v(S₁ ∪ … ∪ Sₖ₋₁))
    """
    given = {f.name: getattr(guidance, f.name) for f in fields(Guidance)}
    given = {n: w for n, w in given.items() if w != 0 and bool(conditioning.is_present(n).any())}
    kept = {"known"} | {n for n, w in given.items() if w == 1}
    stages = [(1.0, frozenset(kept))]
    for weight in sorted({w for w in given.values() if w != 1}):
        last, before = stages[-1]
        stages[-1] = (last - weight, before)
        kept = kept | {n for n, w in given.items() if w == weight}
        stages.append((weight, frozenset(kept)))
    return [(w, conditioning.keep(names)) for w, names in stages]
