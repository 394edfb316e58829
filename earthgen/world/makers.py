"""Makers: what a world asks of a model, so that one of ours and a published UNet each make its levels in their own way.

`maker_of` chooses by what the model's UNet declares of itself: one with a `receptive_radius` is computed in exact tiles
(`EarthMaker`), any other in blended windows (`earthgen.world.published.PublishedMaker`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from math import ceil
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import get_num_threads

from earthgen import weights
from earthgen.conditions import Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.models.backends import backend_of
from earthgen.models.inputs import conditioning_of
from earthgen.steps import denoiser_of, denoisers, order_of, usual_steps
from earthgen.world.given import USUAL_GUIDANCE, by_level, without_layout
from earthgen.world.noise import whole_number
from earthgen.world.painting import Painted
from earthgen.world.projection import world_size
from earthgen.world.pyramid import IMAGINED_LEVEL, LATENT, Window
from earthgen.world.rules import Exact
from earthgen.world.stage import CELL, Request, Sampling, Stage


class Tiles(Protocol):
    """One level of a world."""

    def tile(self, y: int, x: int) -> NDArray[np.uint8]:
        """Pixels of a tile of 256 px, uint8 (256, 256, 3)."""


class Maker(Protocol):
    """A model, and how it makes a world."""

    name: str
    """The bundled name, that of its folder, or empty for a model that lies in memory."""
    sha256: str
    """Of its folder, or empty."""
    pipe: Any
    """What its stages compute with (`Request.pipe`)."""
    kept: int
    """Bytes of what its stages keep in memory (`Request.store`)."""

    def check(self, asked: Conditions, regions: Sequence[Conditions], given: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` for what this model cannot take.

        Args:
            asked: Of the whole world.
            regions: Of each region.
            given: `known` (rasters), `layout` (a `Layout`, or None), `tile`, `halo` and `strength` of `World.open`.
        """

    def sampling(
        self, levels: range, alone: int | None, steps: Any, guidance: Any, given: Mapping[str, Any]
    ) -> dict[int, Any]:
        """How each level is sampled, in the maker's own terms; each with the `steps` that were asked for.

        Args:
            levels: That are made.
            alone: The one that is made from noise alone, if any.
            steps: A number for all levels, some by level, or None.
            guidance: The same, of `Guidance`.
            given: As `check` has it.
        """

    def told(self, asked: Conditions) -> Any:
        """Conditions as the stages take them (`Request.asked`)."""

    def key(self, sampling: Mapping[int, Any]) -> dict[str, Any]:
        """All that a tile depends on besides what is asked, JSON-ready."""

    def guidance(self, how: Any) -> dict[str, float]:
        """The weights of a level, for provenance."""

    def solver(self, how: Any) -> str:
        """What takes the steps of a level, for provenance."""

    def stage(
        self,
        request: Request,
        level: int,
        how: Any,
        coarser: Callable[[Window], NDArray[np.uint8]] | None,
        layout: Any,
        key: str,
    ) -> Tiles:
        """What makes the tiles of a level: see `Stage`."""


def maker_of(model: Any, device: str | None, backend: str = "torch") -> Maker:
    """The maker of a model that is named, lies in a folder or in memory.

    Raises:
        ArgumentError: It is nothing of that, or a backend cannot compute it.
        WeightsError: A folder's files are missing, damaged or no safetensors.
    """
    if not isinstance(model, (str, os.PathLike)):
        if not all(hasattr(model, name) for name in ("unet", "vae", "scheduler")):
            rule = "must be a name, a folder, an EarthPipeline, or of the kind of StableDiffusionPipeline"
            raise ArgumentError("model", rule, model)
        return _kind(model)(model)
    folder = weights.resolve(model)
    # The library knows of no pipelines but here, where a name has to become one: they are looked up when asked for.
    pipelines = import_module("earthgen.pipelines")
    where = device or (_default_device() if backend == "torch" else "cpu")
    if pipelines.is_published(folder):
        if backend != "torch":
            raise ArgumentError("backend", "must be torch for a published UNet", backend)
        pipe = pipelines.load_published(folder)
    else:
        pipe = pipelines.EarthPipeline.from_pretrained(model, backend)
    return _kind(pipe)(pipe.to(where), weights.shown(model), weights.model_sha256(folder))


def _kind(pipe: Any) -> Callable[..., Maker]:
    if hasattr(pipe.unet, "receptive_radius"):
        return EarthMaker
    from earthgen.world.published import PublishedMaker  # its libraries take a while to import, and few need them

    return PublishedMaker


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class EarthMaker:
    """Of an `EarthPipeline`: see `Maker` and `earthgen.world.stage`."""

    kept = 2**24
    """Tiles of the canvas, each of which serves a tile of the map: little of them is asked for again."""

    def __init__(self, pipe: Any, name: str = "", sha256: str = "") -> None:
        if pipe.vae.spatial_factor != LATENT:
            raise ArgumentError("model", f"must have latents of {LATENT} px a side", pipe.vae.spatial_factor)
        self.pipe, self.name, self.sha256 = pipe, name, sha256

    def check(self, asked: Conditions, regions: Sequence[Conditions], given: Mapping[str, Any]) -> None:
        """It takes all that there is but `strength`."""
        if given["strength"] is not None:
            rule = "must be left out for a model that is told of the coarser image"
            raise ArgumentError("strength", rule, given["strength"])

    def sampling(
        self, levels: range, alone: int | None, steps: Any, guidance: Any, given: Mapping[str, Any]
    ) -> dict[int, Sampling]:
        """By what is usual for the pipeline (`earthgen.steps`)."""
        pipe, usual = self.pipe, usual_steps(self.pipe)
        tile = CELL if given["tile"] is None else given["tile"]
        whole_number("tile", tile, CELL, world_size(IMAGINED_LEVEL) // LATENT)
        if tile & (tile - 1):
            raise ArgumentError("tile", "must be a power of two", tile)
        counts = by_level("steps", steps, levels, {n: usual.first if n == alone else usual.world for n in levels})
        plain = {n: Guidance() if n == alone else USUAL_GUIDANCE for n in levels}
        weighing = by_level("guidance", guidance, levels, plain)
        grid = int(pipe.unet.grid)
        rim = ceil(2 * pipe.vae.halo[1] / grid) * grid // 2
        found = {}
        for level in levels:
            sigmas = tuple(sorted(set(pipe.set_noise_levels(counts[level], "cpu")), reverse=True))
            network = denoiser_of(pipe, level != alone, counts[level])
            rule = Exact(tile, given["halo"], grid, steps_at_once=len(sigmas) - 1, rim=rim)
            found[level] = Sampling(sigmas, counts[level], weighing[level], network, order_of(network), rule)
        return found

    def told(self, asked: Conditions) -> Any:
        """A `Conditioning` of a batch of one."""
        pipe, side = self.pipe, self.pipe.grid
        tensors = conditioning_of([asked], side, side, side, pipe.vae, pipe.text_encoder, pipe.tokenizer)
        return tensors.to(pipe._execution_device, pipe.unet.dtype)

    def key(self, sampling: Mapping[int, Sampling]) -> dict[str, Any]:
        """Weights, precision, threads, and how each level is sampled."""
        pipe, rule = self.pipe, next(iter(sampling.values())).rule
        return {
            "model": self.sha256 or fingerprint(*denoisers(pipe).values(), pipe.vae),
            "computed": computed(pipe._execution_device, pipe.unet, pipe.vae),
            "backends": [backend_of(one) for one in (*(how.network for how in sampling.values()), pipe.vae)],
            "sampling": {
                level: [how.sigmas, without_layout(how.guidance), how.order, how.network is pipe.unet]
                for level, how in sampling.items()
            },
            "canvas": [rule.tile, rule.halo],
        }

    def guidance(self, how: Sampling) -> dict[str, float]:
        """The weight of each condition."""
        return asdict(how.guidance)

    def solver(self, how: Sampling) -> str:
        """The scheduler's class and the order of the steps."""
        return f"{type(self.pipe.scheduler).__name__}, order {how.order}"

    def stage(
        self,
        request: Request,
        level: int,
        how: Sampling,
        coarser: Callable[[Window], NDArray[np.uint8]] | None,
        layout: Callable[[Window], Painted | None] | None,
        key: str,
    ) -> Tiles:
        """A `Stage`."""
        return Stage(request, level, how, coarser, layout, key)


def computed(device: Any, *networks: Any) -> list[Any]:
    """What decides about the last bits of what networks give, for a key."""
    # How sums are split between threads decides about their last bit, and so about a pixel now and then.
    return [*(str(one.dtype) for one in networks), str(device.type), get_num_threads()]


def fingerprint(*networks: Any) -> str:
    """Of networks that lie in memory."""
    digest = hashlib.sha256()
    for part in networks:
        config = part.config if isinstance(part.config, Mapping) else part.config.to_dict()
        # What begins so is no part of the network: where it came from, or a list in the order of a set.
        config = {name: value for name, value in config.items() if not name.startswith("_")}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
