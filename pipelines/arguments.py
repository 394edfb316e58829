"""The arguments of a pipeline's call: what they come to, and what is said when one breaks a rule."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from earthgen.conditions import MAX_SIDE, Conditions, Guidance, check_negative_prompt, check_number
from earthgen.errors import ArgumentError


def check_whole(name: str, value: object, rule: str, low: int, high: int = sys.maxsize) -> None:
    """Raise `ArgumentError` unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ArgumentError(name, rule, value)


def check_inputs(
    pipe: Any,
    conditions: Sequence[Conditions],
    height: int,
    width: int,
    num_inference_steps: int,
    strength: float,
    guidance_interval: tuple[float, float],
    generator: Any,
    latents: Tensor | None,
    output_type: str,
    callback_tensors: Sequence[str],
) -> None:
    """Raise `ArgumentError` unless a pipeline can make images of these conditions and this size so."""
    for name, side in (("height", height), ("width", width)):
        check_whole(name, side, f"must be a whole number of pixels from 8 to {MAX_SIDE}", 8, MAX_SIDE)
    check_whole("num_inference_steps", num_inference_steps, "must be a whole number from 1 to 1000", 1, 1000)
    check_number("strength", strength, "must be above 0 and at most 1", 0, 1, low_open=True)
    rule = "must be two noise levels, 0 <= low <= high <= 1"
    if not isinstance(guidance_interval, (tuple, list)) or len(guidance_interval) != 2:
        raise ArgumentError("guidance_interval", rule, guidance_interval)
    low, high = guidance_interval
    check_number("guidance_interval", high, rule, 0, 1)
    check_number("guidance_interval", low, rule, 0, high)
    if isinstance(generator, list) and len(generator) != len(conditions):
        rule = f"must be one, or a list of {len(conditions)}, one an image"
        raise ArgumentError("generator", rule, f"{len(generator)} of them")
    for one in generator if isinstance(generator, list) else [generator]:
        if one is not None and not isinstance(one, torch.Generator):
            raise ArgumentError("generator", "must be a torch.Generator, a list of them, or None", one)
    shape = pipe.latents_shape(len(conditions), height, width)
    if latents is not None and (not isinstance(latents, Tensor) or tuple(latents.shape) != shape):
        got = tuple(latents.shape) if isinstance(latents, Tensor) else latents
        raise ArgumentError("latents", f"must be a tensor of shape {shape}", got)
    if output_type not in ("pil", "np", "pt", "latent"):
        raise ArgumentError("output_type", 'must be "pil", "np", "pt" or "latent"', output_type)
    if set(callback_tensors) - set(pipe._callback_tensor_inputs):
        rule = f"must be among {pipe._callback_tensor_inputs}"
        raise ArgumentError("callback_on_step_end_tensor_inputs", rule, callback_tensors)
    for c in conditions:
        c.check_size(height, width)


def negatives_of(negative_prompt: Any, images: int, each: int, guidance: Guidance, taught: float) -> list[str] | None:
    """The text that every image, `each` of a prompt, is led away from, empty where there is none; None where none has.

    Raises `ArgumentError` as `check_negative_prompt` does, which says what `taught` is.
    """
    count = images // each
    if negative_prompt is None or isinstance(negative_prompt, str):
        several = [negative_prompt] * count
    elif isinstance(negative_prompt, Sequence) and len(negative_prompt) == count:
        several = list(negative_prompt)
    else:
        rule = f"must be a string, a list of {count}, one a prompt, or None"
        raise ArgumentError("negative_prompt", rule, negative_prompt)
    for text in several:
        check_negative_prompt(text, guidance, taught)
    texts = [(text or "").strip() for text in several for _ in range(each)]
    return texts if any(texts) else None


def guidance_of(guidance: Guidance | None, guidance_scale: float | None) -> Guidance:
    """The weight of every condition. Raises `ArgumentError` where both are given, or one is none."""
    if guidance is None:
        if guidance_scale is None:
            return Guidance()
        check_number("guidance_scale", guidance_scale, "must be a number from 0 to 50", 0, 50)
        return Guidance.uniform(guidance_scale)
    if not isinstance(guidance, Guidance):
        raise ArgumentError("guidance", "must be an earthgen.Guidance", guidance)
    if guidance_scale is not None:
        raise ArgumentError("guidance_scale", "must be absent where `guidance` is given", guidance_scale)
    return guidance


def conditions_of(prompt: Any, conditions: Any, each: int, **metadata: Any) -> list[Conditions]:
    """The conditions of every image, `each` of a prompt. Raises `ArgumentError` for what are none."""
    check_whole("num_images_per_prompt", each, "must be a whole number from 1", 1)
    if conditions is not None:
        for name, value in {"prompt": prompt, **metadata}.items():
            if value is not None:
                raise ArgumentError(name, "must be absent where `conditions` are given", value)
        wanted = [conditions] if isinstance(conditions, Conditions) else conditions
        if not isinstance(wanted, (list, tuple)) or not all(isinstance(c, Conditions) for c in wanted):
            raise ArgumentError("conditions", "must be earthgen.Conditions, or a list of them", conditions)
    else:
        names = {f.name for f in fields(Conditions)} - {"text"}
        for name, value in metadata.items():
            if name not in names:
                raise ArgumentError(name, f"is no argument and no condition ({', '.join(sorted(names))})", value)
        if prompt is not None and not isinstance(prompt, (str, Iterable)):
            raise ArgumentError("prompt", "must be a string, a list of strings, or None", prompt)
        prompts = [prompt] if prompt is None or isinstance(prompt, str) else list(prompt)
        wanted = [Conditions(text=p, **metadata) for p in prompts]
    if not wanted:
        raise ArgumentError("prompt" if conditions is None else "conditions", "must not be an empty list", [])
    return [c for c in wanted for _ in range(each)]
