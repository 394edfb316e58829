"""Guidance: each condition pulls with its own weight, and what is not needed is not evaluated."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.conditions import CONDITION_NAMES, Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.models import Conditioning
from earthgen.models.guidance import GUIDE_SHARE, guidance_chain, guided, with_guide
from earthgen.training.distillation import student_of

GUIDED = [f.name for f in fields(Guidance)]
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7]) | st.floats(0, 50)
GUIDANCES = st.builds(Guidance, **dict.fromkeys(GUIDED, WEIGHTS))
PRESENT = st.sets(st.sampled_from(CONDITION_NAMES))


def conditioning(*present: set[str]) -> Conditioning:
    """A batch whose images have these conditions."""
    flags = torch.tensor([[n in names for n in CONDITION_NAMES] for names in present])
    return replace(Conditioning.none(len(present), 4), present=flags)


def names_of(c: Conditioning, image: int = 0) -> set[str]:
    return {n for n, flag in zip(CONDITION_NAMES, c.present[image].tolist(), strict=True) if flag}


@given(guidance=GUIDANCES, present=PRESENT)
@settings(deadline=None)
def test_each_condition_counts_as_often_as_its_weight_says(guidance: Guidance, present: set[str]) -> None:
    # In a network to whose velocity each condition adds something of its own, guidance multiplies what it adds.
    chain = guidance_chain(conditioning(present), guidance)
    assert sum(w for w, _ in chain) == pytest.approx(1)
    for name in CONDITION_NAMES:
        wanted = (getattr(guidance, name) if name != "known" else 1.0) if name in present else 0.0
        assert sum(w for w, c in chain if name in names_of(c)) == pytest.approx(wanted, abs=1e-9), name


@given(guidance=GUIDANCES, present=PRESENT)
@settings(deadline=None)
def test_only_distinct_weights_of_what_is_there_cost_evaluations(guidance: Guidance, present: set[str]) -> None:
    distinct = {getattr(guidance, n) for n in present - {"known"}} - {0, 1}
    assert len(guidance_chain(conditioning(present), guidance)) == 1 + len(distinct)


def test_weights_of_one_are_a_single_evaluation_of_everything() -> None:
    everything = set(CONDITION_NAMES)
    ((weight, given_),) = guidance_chain(conditioning(everything), replace(Guidance.uniform(1), coarse=1))
    assert weight == 1 and names_of(given_) == everything


def test_a_batch_takes_the_union_of_what_its_images_need() -> None:
    chain = guidance_chain(conditioning({"text"}, {"gsd"}), Guidance(text=2, gsd=3))
    assert [w for w, _ in chain] == [-1, -1, 3]
    assert [names_of(c, 0) for _, c in chain] == [set(), {"text"}, {"text"}]
    assert [names_of(c, 1) for _, c in chain] == [set(), set(), {"gsd"}]


@given(guidance=GUIDANCES, present=PRESENT, taught=st.floats(2, 10))
@settings(deadline=None)
def test_what_a_network_was_taught_of_guidance_counts_in_proportion(
    guidance: Guidance, present: set[str], taught: float
) -> None:
    chain = guidance_chain(conditioning(present), guidance, taught)
    for name in present - {"known"}:
        # Refinements were taught guidance by their layout alone.
        within = name != "coarse" and (name in ("boxes", "mask") or "coarse" not in present)
        wanted = getattr(guidance, name) / (taught if within else 1)
        assert sum(w for w, c in chain if name in names_of(c)) == pytest.approx(wanted, abs=1e-9), name


def test_guidance_as_taught_is_a_single_evaluation() -> None:
    present = set(CONDITION_NAMES) - {"coarse"}
    assert len(guidance_chain(conditioning(present), Guidance.uniform(6.0), 6.0)) == 1
    refined = Guidance.uniform(6.0).of_refinement()
    assert len(guidance_chain(conditioning(set(CONDITION_NAMES)), refined, 6.0)) == 1


@given(guidance=GUIDANCES, present=PRESENT)
@settings(deadline=None)
def test_a_negative_text_stands_where_text_is_left_out(guidance: Guidance, present: set[str]) -> None:
    positive = conditioning(present)
    negative = replace(conditioning(present | {"text"}), text=positive.text - 1)
    chain = guidance_chain(positive, guidance, negative=negative)
    shares = {-1: 0.0, 0: 0.0}
    for weight, one in chain:
        shares[int(one.text.min())] += weight
    assert shares == pytest.approx({-1: 1 - guidance.text, 0: guidance.text}, abs=1e-9)
    assert all("text" in names_of(one) for _, one in chain if one.text is negative.text)
    for name in present - {"known"}:
        weight = sum(w for w, c in chain if name in names_of(c) and (name != "text" or c.text is positive.text))
        assert weight == pytest.approx(getattr(guidance, name), abs=1e-9), name


@given(guidance=GUIDANCES, present=PRESENT)
@settings(deadline=None)
def test_a_guide_takes_a_share_of_what_guidance_adds(guidance: Guidance, present: set[str]) -> None:
    chain = guidance_chain(conditioning(present), guidance)
    led = with_guide(chain, "unet", "guide")
    assert sum(w for w, *_ in led) == pytest.approx(1)
    assert [(w, c) for w, _, c in led][-1] == chain[-1] and led[-1][1] == "unet"
    guides = [(w, c) for w, network, c in led if network == "guide"]
    away = sum(w for w, _ in chain[:-1])
    if away < 0:  # it is told all that the network is told
        assert guides == [(pytest.approx(GUIDE_SHARE * away), chain[-1][1])] and len(led) == len(chain) + 1
    else:
        assert not guides
    assert with_guide(chain, "unet", None) == [(w, "unet", c) for w, c in chain]


@given(seed=st.integers(0, 2**20), weight=st.floats(1.1, 20), sigma=st.floats(0.05, 1))
@settings(deadline=None, max_examples=30)
def test_guidance_changes_what_an_image_shows_but_not_how_strongly(seed: int, weight: float, sigma: float) -> None:
    x, without, full = torch.randn(3, 2, 8, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    clean = x - sigma * full
    beyond = guided([(1 - weight, without), (weight, full)], x, sigma) - full
    plain = (weight - 1) * (full - without)
    along = (beyond * clean).sum(1) / clean.square().sum(1)
    assert float(along.abs().mean()) < 0.15 * float(((plain * clean).sum(1) / clean.square().sum(1)).abs().mean())
    # What lies across it is kept, up to a norm; where the clean latent is grey there is nothing to go along.
    size = beyond.square().mean(1, keepdim=True).sqrt()
    assert float(size.max()) < 1 + 1e-9
    across = plain - (plain * clean).sum(1, keepdim=True) / clean.square().sum(1, keepdim=True) * clean
    kept = beyond - (beyond * clean).sum(1, keepdim=True) / clean.square().sum(1, keepdim=True) * clean
    share = (kept * across).sum(1, keepdim=True) / across.square().sum(1, keepdim=True)
    assert torch.allclose(kept, share * across, atol=1e-9)
    assert torch.allclose(share[size < 0.999], torch.ones(()).double())
    at_grey = guided([(1 - weight, without), (weight, full)], sigma * full, sigma) - full
    assert torch.allclose(at_grey, plain / plain.square().mean(1, keepdim=True).sqrt().clamp(min=1))


def test_guidance_is_local_to_a_position_and_nothing_with_a_weight_of_one() -> None:
    x, without, full = torch.randn(3, 1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(guided([(1.0, full)], x, 0.5), full)
    whole = guided([(-3.0, without), (4.0, full)], x, 0.5)
    part = guided([(-3.0, without[..., 2:4]), (4.0, full[..., 2:4])], x[..., 2:4], 0.5)
    assert torch.allclose(whole[..., 2:4], part, atol=1e-6)


def counted(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> list[Conditioning]:
    """What the denoiser is given, evaluation by evaluation."""
    seen = []
    forward = pipe.unet.forward

    def record(sample: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning, until: float) -> object:
        seen.append(conditioning)
        return forward(sample, timestep, conditioning, until=until)

    monkeypatch.setattr(pipe.unet, "forward", record)
    return seen


def test_a_call_evaluates_what_the_chain_says(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(pipe, monkeypatch)
    options = {"height": 32, "width": 32, "num_inference_steps": 3, "output_type": "latent"}
    pipe("a river", gsd=10, guidance_scale=1, **options)
    assert len(seen) == 3
    pipe(None, guidance_scale=7, **options)
    assert len(seen) == 3 + 3
    pipe("a river", gsd=10, guidance=Guidance(text=3, gsd=2), **options)
    assert len(seen) == 6 + 9


def test_a_guide_is_asked_once_more_a_step_where_guidance_acts(pipe: Any) -> None:
    options = {"height": 32, "width": 32, "num_inference_steps": 3, "output_type": "latent"}

    def made(other: Any, **more: Any) -> torch.Tensor:
        return other("a river", gsd=10, generator=torch.Generator().manual_seed(0), **options, **more).images

    guide = copy.deepcopy(pipe.unet)
    guided_pipe = type(pipe)(**pipe.components | {"guide": guide})
    calls: list[Conditioning] = []
    guide.register_forward_pre_hook(lambda _, args: calls.append(args[2]))
    alike = made(guided_pipe)
    assert len(calls) == 3 and all(names_of(c) == {"text", "gsd"} for c in calls)
    # One that makes the same of all as the network itself leaves a smaller weight of guidance.
    weaker = made(pipe, guidance_scale=1 + (1 - GUIDE_SHARE) * 3)
    assert torch.allclose(alike, weaker, atol=1e-4)
    with torch.no_grad():
        torch.nn.init.normal_(guide.head.weight, std=0.1)
    assert not torch.allclose(made(guided_pipe), alike, atol=1e-2)
    calls.clear()
    made(guided_pipe, guidance_scale=1)
    made(guided_pipe, coarse=np.zeros((8, 8, 3), np.uint8), guidance=Guidance.uniform(4).of_refinement())
    assert not calls
    with pytest.raises(ArgumentError, match="`guide` must be a network of many steps"):
        type(pipe)(**pipe.components | {"guide": student_of(pipe.unet, 4.0)})


def test_a_condition_of_weight_zero_is_as_if_absent(pipe: Any) -> None:
    options = {"height": 32, "width": 32, "num_inference_steps": 3, "output_type": "latent"}

    def latents(gsd: float | None, **more: object) -> torch.Tensor:
        return pipe("a river", gsd=gsd, generator=torch.Generator().manual_seed(0), **options, **more).images

    for interval in ((0.0, 1.0), (0.0, 0.4), (0.9, 0.9)):
        with_gsd = latents(10, guidance=Guidance(gsd=0), guidance_interval=interval)
        assert torch.equal(with_gsd, latents(None, guidance_interval=interval)), interval
        assert not torch.equal(with_gsd, latents(10, guidance_interval=interval)), interval


def test_outside_its_interval_guidance_costs_nothing(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(pipe, monkeypatch)
    options = {"height": 32, "width": 32, "num_inference_steps": 5, "output_type": "latent"}
    levels = pipe.set_noise_levels(5, "cpu")
    assert levels[0] == 1 and levels[-1] == 0 and levels == sorted(levels, reverse=True)
    pipe("a river", guidance_interval=(0.3, 0.9), **options)
    inside = sum(0.3 <= level <= 0.9 for level in levels[:-1])
    assert 0 < inside < 5
    assert len(seen) == 5 + inside
    assert all(names_of(c) <= {"text"} for c in seen)


def test_conditions_of_a_batch_may_differ(pipe: Any) -> None:
    wanted = [Conditions(text="forest", gsd=10), Conditions(lat=45, lon=9), Conditions()]
    options = {"height": 32, "width": 48, "num_inference_steps": 3, "output_type": "latent"}

    def seeds(*numbers: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(n) for n in numbers]

    together = pipe(conditions=wanted, generator=seeds(0, 1, 2), **options).images
    for i, one in enumerate(wanted):
        alone = pipe(conditions=one, generator=seeds(i), **options).images
        assert torch.allclose(alone[0], together[i], atol=1e-4), i
