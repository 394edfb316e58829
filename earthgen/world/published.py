"""`PublishedMaker`: worlds by published UNets of the Stable Diffusion family (`earthgen.world.blended`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from math import isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import LEAST_TOLD, Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.models.published import Published, schedule_of
from earthgen.world.blended import BlendedStage, Blending, Told
from earthgen.world.given import by_level
from earthgen.world.makers import computed, fingerprint
from earthgen.world.noise import whole_number
from earthgen.world.pyramid import Window
from earthgen.world.rules import InfiniteDiffusion, rule_for
from earthgen.world.stage import Request

USUAL_STEPS = 25
"""Of a whole schedule."""
USUAL_STRENGTH = 0.6
"""Share of a schedule that is taken on a coarser image. Enlarged by 4, it has no detail of its own to keep."""
_LARGEST = 512
"""Latents a side of a window."""


class PublishedMaker:
    """See `earthgen.world.makers.Maker`."""

    kept = 2**27
    """Pieces of pixels and of latents, each of which serves all tiles around it."""

    def __init__(self, pipe: Any, name: str = "", sha256: str = "") -> None:
        self.pipe, self.name, self.sha256 = Published(pipe), name, sha256
        self._empty = self.pipe.told("")

    def check(self, asked: Conditions, regions: Sequence[Conditions], given: Mapping[str, Any]) -> None:
        """It takes text, of the whole and of regions, and makes all else of the coarser image."""
        why = "must be left out for a published UNet, which is told of nothing but a text and a resolution"
        if given["known"]:
            raise ArgumentError("known", why, [raster.name for raster in given["known"]])
        if (laid := given["layout"]) is not None:
            rule = f"{why}; so must its mask and its events"
            raise ArgumentError("layout", rule, f"{len(laid.objects)} objects, {len(laid.events)} events")
        places = ["conditions", *(f"regions.features[{n}].properties" for n in range(len(regions)))]
        for place, conditions in zip(places, (asked, *regions), strict=True):
            for name in ("date", "cloud_cover"):
                if getattr(conditions, name) is not None:
                    raise ArgumentError(f"{place}.{name}", why, getattr(conditions, name))
        if asked.coarse_degradation > LEAST_TOLD:
            raise ArgumentError("conditions.coarse_degradation", why, asked.coarse_degradation)
        if given["halo"]:
            raise ArgumentError("halo", "must be 0 for a model that declares no `receptive_radius`", given["halo"])

    def sampling(
        self, levels: range, alone: int | None, steps: Any, guidance: Any, given: Mapping[str, Any]
    ) -> dict[int, Blending]:
        """`USUAL_STEPS`, `USUAL_STRENGTH`, and weights of 4, if nothing else is said."""
        counts = by_level("steps", steps, levels, dict.fromkeys(levels, USUAL_STEPS))
        weighing = by_level("guidance", guidance, levels, dict.fromkeys(levels, Guidance()))
        strength = USUAL_STRENGTH if given["strength"] is None else float(given["strength"])
        rule = self._rule(given["tile"])
        found = {}
        for level in levels:
            schedule = schedule_of(self.pipe.scheduler, counts[level]).last(1.0 if level == alone else strength)
            if isinf(schedule.sigmas[0]):
                name, value = ("base", "imagined") if level == alone else ("strength", strength)
                rest = "the model's schedule has a level of noise alone, from which no coarser image can be seen"
                raise ArgumentError(name, f"must leave something of a coarser image: {rest}", value)
            weight = weighing[level]
            found[level] = Blending(schedule, rule, counts[level], weight.text, weight.gsd)
        return found

    def _rule(self, tile: int | None) -> InfiniteDiffusion:
        unet = self.pipe.unet
        if tile is not None:
            grid = 2 ** (len(unet.config.block_out_channels) - 1)
            if whole_number("tile", tile, 2 * grid, _LARGEST) % grid:
                raise ArgumentError("tile", f"must be a multiple of {grid}, the network's own grid", tile)
        rule = rule_for(unet, tile)
        assert isinstance(rule, InfiniteDiffusion)  # it declares no radius
        # Windows meet around the world where their stride divides it, and so is a power of two.
        return replace(rule, stride=max(rule.grid, 1 << (3 * rule.window // 4).bit_length() - 1))

    def told(self, asked: Conditions) -> Told:
        """A text's vectors."""
        text = (asked.text or "").strip()
        return Told(self.pipe.told(text) if text else self._empty, bool(text), self._empty)

    def key(self, sampling: Mapping[int, Blending]) -> dict[str, Any]:
        """Weights, precision, threads, and how each level is sampled."""
        pipe = self.pipe
        words = json.dumps(pipe.tokenizer.get_vocab(), sort_keys=True)
        networks = pipe.unet, pipe.vae, pipe.text_encoder
        return {
            "model": self.sha256 or [fingerprint(*networks), hashlib.sha256(words.encode()).hexdigest()],
            "computed": computed(pipe.device, *networks),
            "sampling": {level: astuple(how) for level, how in sampling.items()},
        }

    def guidance(self, how: Blending) -> dict[str, float]:
        """Of text, and of the resolution where the network is told one."""
        return {"text": how.text} | ({"gsd": how.gsd} if self.pipe.levels else {})

    def solver(self, how: Blending) -> str:
        """DDIM with the levels of the scheduler, and how many of the steps are taken."""
        return f"DDIM at levels of {type(self.pipe.scheduler).__name__}, {len(how.schedule.times)} of {how.steps} steps"

    def stage(
        self,
        request: Request,
        level: int,
        how: Blending,
        coarser: Callable[[Window], NDArray[np.uint8]] | None,
        layout: None,
        key: str,
    ) -> BlendedStage:
        """A `BlendedStage`."""
        return BlendedStage(request, level, how, coarser, key)
