"""Guidance by several conditions, each with a weight of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from typing import TypeVar

from torch import Tensor

from earthgen.conditions import Guidance
from earthgen.models.conditioning import Conditioning

Network = TypeVar("Network")


def weighted_sets(given: Mapping[str, float], always: Set[str] = frozenset()) -> list[tuple[float, frozenset[str]]]:
    """What each evaluation of a network is told, and its weight in their sum.

    Conditions are added in order of their weights w₁ < w₂ < …, those of one weight together, after those of weight 1
    (Brooks et al. 2023, equation 3, for any number of conditions); those of weight 0 never:

        v = v(∅ ∪ S₁) + Σ wₖ (v(S₁ ∪ … ∪ Sₖ) - v(S₁ ∪ … ∪ Sₖ₋₁))

    Args:
        given: The weight of each condition that there is.
        always: What every evaluation is told besides.
    """
    kept = always | {n for n, w in given.items() if w == 1}
    sets = [(1.0, frozenset(kept))]
    for weight in sorted({w for w in given.values() if w not in (0, 1)}):
        last, before = sets[-1]
        sets[-1] = (last - weight, before)
        kept = kept | {n for n, w in given.items() if w == weight}
        sets.append((weight, frozenset(kept)))
    return sets


def guidance_chain(
    conditioning: Conditioning,
    guidance: Guidance,
    taught: float | None = None,
    negative: Conditioning | None = None,
) -> list[tuple[float, Conditioning]]:
    """Which evaluations guidance needs, with their weights: `guided` brings them together. The last has all conditions.

    Args:
        conditioning: All that is given.
        guidance: The weights.
        taught: The weight that is in the velocities of a network of few steps already (`EarthUNet.few_step`). Weights
            count in proportion to it, so that one evaluation is enough where they are equal to it.
        negative: The same with the text that stands where text is left out, in place of the learned null.
    """
    given = {f.name: getattr(guidance, f.name) for f in fields(Guidance)}
    if taught is not None:
        # Images made from a coarser one were taught guidance by their layout alone.
        refined = bool(conditioning.is_present("coarse").any())
        within = ("boxes", "mask") if refined else [n for n in given if n != "coarse"]
        given |= {n: given[n] / taught for n in within}
    led = {n for n in given if bool(conditioning.is_present(n).any())} | ({"text"} if negative is not None else set())
    stages = weighted_sets({n: w for n, w in given.items() if n in led}, {"known"})
    if negative is None:
        return [(w, conditioning.keep(names)) for w, names in stages]
    return [(w, (conditioning if "text" in names else negative).keep(names | {"text"})) for w, names in stages]


GUIDE_SHARE = 0.25
"""Of guidance, that leads away from a guide."""


def with_guide(
    chain: Sequence[tuple[float, Conditioning]], unet: Network, guide: Network | None
) -> list[tuple[float, Network, Conditioning]]:
    """The evaluations of a chain, each with its network, and one more, of the `guide`, where there is one to lead from.

    The guide is a weaker network of the same kind, trained on the same for a shorter time. Told the same, it errs as
    the other does, and more: leading away from what it makes leads to what is true rather than to what is typical
    (autoguidance, Karras et al. 2024). It takes `GUIDE_SHARE` of what the chain's weights add.
    """
    *others, (weight, told) = chain
    away = sum(w for w, _ in others)
    if guide is None or away >= 0:
        return [(w, unet, one) for w, one in chain]
    led = [((1 - GUIDE_SHARE) * w, unet, one) for w, one in others]
    return [*led, (GUIDE_SHARE * away, guide, told), (weight, unet, told)]


_CALM = 0.1
"""Squared norms of latents well below this, those of an even grey, count as none."""
_MOST = 1.0
"""Of what guidance adds to a position's velocity, root mean square over its channels. In the first steps it may be
three times that, where a negative text is far from the other: the image was blown out."""


def guided(evaluations: Sequence[tuple[float, Tensor]], x: Tensor, sigma: float | Tensor) -> Tensor:
    """The velocity at latents `x` (batch, channels, h, w) and noise level `sigma`, 0 to 1, from weighted evaluations.

    Their weighted sum, less what of it goes beyond the last of them along the clean latent that this foretells, at each
    position for itself: that part of guidance makes nothing but contrast and saturation (Sadat et al. 2024, there over
    whole images, which would not be local), and no more of the rest than `_MOST`. So weights can be higher.
    """
    last = evaluations[-1][1]
    if len(evaluations) == 1:
        return last
    beyond = sum(weight * v for weight, v in evaluations) - last
    clean = x - sigma * last
    along = (beyond * clean).sum(1, keepdim=True) / (clean.square().sum(1, keepdim=True) + _CALM)
    beyond = beyond - along * clean
    size = beyond.square().mean(1, keepdim=True).sqrt()
    return last + beyond * (_MOST / size.clamp(min=_MOST))
