"""Which network of a pipeline makes an image, and in how many steps where nobody says."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Steps:
    """The usual numbers of denoising steps."""

    first: int
    """From noise alone."""
    refining: int
    """From a coarser image, which says most."""
    world: int
    """Of each level of a world."""
    order: int
    """Of the world's solver (`earthgen.world.canvas.Canvas`)."""
    halo: int
    """Latents that the network sees for each step around a tile of a world."""

    def refinement(self, first: int) -> int:
        """How many a refinement takes where an image from noise takes `first`."""
        return max(1, round(first * self.refining / self.first))


MANY = Steps(first=20, refining=8, world=4, order=2, halo=0)
"""Of a velocity at one noise level. 4 steps of second order on level 8 of a world are 1.5 grey levels (rms) from 40 of
first order and have 88 % of their detail; 7 of first order are 2.2 and have 80 %, and 5 and 7 of second order are 0.9
and 0.5 and have 94 and 100 %."""
FEW = Steps(first=4, refining=2, world=2, order=1, halo=4)
"""Of a mean velocity until the step's end (`EarthUNet.few_step`), whose steps no line continues."""


def denoiser_of(pipe: Any, refined: bool) -> Any:
    """The network of a pipeline that makes images from coarser ones (`refined`), or those from noise alone."""
    refiner = getattr(pipe, "refiner", None)
    return refiner if refined and refiner is not None else pipe.unet


def usual_steps(pipe: Any) -> Steps:
    """Of a pipeline, by what its networks are."""
    return _of_both(*(denoiser_of(pipe, refined).few_step for refined in (False, True)))


def steps_of_folder(folder: Path) -> Steps:
    """Of a model folder's pipeline, without loading it."""
    few = {}
    for name in ("unet", "refiner"):
        config = folder / name / "config.json"
        few[name] = config.is_file() and json.loads(config.read_text()).get("taught_guidance") is not None
    return _of_both(few["unet"], few["refiner"] or few["unet"])


def _of_both(first: bool, refining: bool) -> Steps:
    return replace(FEW if refining else MANY, first=(FEW if first else MANY).first)
