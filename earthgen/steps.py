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

    def refinement(self, first: int) -> int:
        """How many a refinement takes where an image from noise takes `first`."""
        return max(1, round(first * self.refining / self.first))


MANY = Steps(first=10, refining=5, world=4)
"""Of a velocity at one noise level. 4 steps of second order on level 8 of a world are 1.5 grey levels (rms) from 40 of
first order and have 88 % of their detail; 7 of first order are 2.2 and have 80 %, and 5 and 7 of second order are 0.9
and 0.5 and have 94 and 100 %."""
FEW = Steps(first=4, refining=2, world=1)
"""Of a mean velocity until the step's end (`EarthUNet.few_step`)."""
DENOISERS = ("unet", "refiner", "few_step_unet", "guide")
"""Components of a pipeline; all but the first may be absent. The last makes no images: see `guide_of`."""
FEW_AT_MOST = {"refiner": 3, "few_step_unet": 4}
"""Steps up to which a network that was taught to take few takes the place of one of many."""


def denoiser_of(pipe: Any, refined: bool, steps: int) -> Any:
    """The network of a pipeline that makes images in these steps, from coarser ones (`refined`) or from noise alone."""
    name = "refiner" if refined else "few_step_unet"
    other = getattr(pipe, name, None)
    if other is None or (steps > FEW_AT_MOST[name] and other.few_step and not pipe.unet.few_step):
        return pipe.unet
    return other


def guide_of(pipe: Any, network: Any, refined: bool) -> Any:
    """What guidance of one of a pipeline's networks leads away from, beside fewer conditions, or None.

    In networks of few steps guidance is already, and what refines is guided by its layout alone.
    """
    return None if refined or network is not pipe.unet or network.few_step else getattr(pipe, "guide", None)


def denoisers(pipe: Any) -> dict[str, Any]:
    """Those that a pipeline has, by name."""
    found = {name: getattr(pipe, name, None) for name in DENOISERS}
    return {name: network for name, network in found.items() if network is not None}


FEW_NOISE = 1.02
"""Deviation of the noise that a network of few steps starts from: its images are a little calm, and less so from more
noise. Of EuroSAT in four steps (weights.md, at step 3,600), 1.015 came to a Fréchet ratio of 3.42, 1.03 to 3.50, 1.045
to 3.82."""
FEW_NOISE_REFINED = 0.975
"""The same where images are refined. What it takes wrong of the noise lies over them
as grain, more with each level that is made from the last: at 1 the finest octave of EuroSAT restored from 40 and 160 m,
a step each, had 1.36 and 2.17 times the power of real images, at 0.975 0.98 and 1.18, at 0.95 0.72 and 0.60."""


def noise_of(network: Any, refined: bool) -> float:
    """Deviation of the noise that a network starts from."""
    return (FEW_NOISE_REFINED if refined else FEW_NOISE) if network.few_step else 1.0


def order_of(network: Any) -> int:
    """Of the solver (`earthgen.world.canvas.Canvas`) for a network's steps: no line continues mean velocities."""
    return 1 if network.few_step else 2


def scheduler_of(pipe: Any, network: Any) -> Any:
    """A pipeline's scheduler for one of its networks: for mean velocities, one of first order."""
    if network.few_step and "solver_order" in pipe.scheduler.config:
        return type(pipe.scheduler).from_config(pipe.scheduler.config, solver_order=1)
    return pipe.scheduler


def usual_steps(pipe: Any) -> Steps:
    """Of a pipeline, by what its networks are."""
    refiner = getattr(pipe, "refiner", None)
    return _usual(pipe.unet.few_step, refiner is not None and refiner.few_step)


def steps_of_folder(folder: Path) -> Steps:
    """Of a model folder's pipeline, without loading it."""
    few = []
    for name in ("unet", "refiner"):
        config = folder / name / "config.json"
        few.append(config.is_file() and json.loads(config.read_text()).get("taught_guidance") is not None)
    return _usual(*few)


def _usual(few: bool, refiner: bool) -> Steps:
    if few:
        return FEW
    # A single image takes its time and is better for it; a map is to be there.
    return replace(MANY, world=FEW.world) if refiner else MANY
