"""Rules: how an unbounded latent plane is cut into windows, and how what the network makes of them is put together.

A rule turns a list of noise levels into `Layer`s. Layer 0 is the noise; each further one is a grid of square pieces,
every piece a pure function of the layer below around it. `earthgen.world.canvas` does the rest. `MultiDiffusion` alone
has no layers: there each window depends on all others, so it knows bounded canvases only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

from earthgen.errors import ArgumentError
from earthgen.world.noise import whole_number

MAX_SIDE = 2**20
EDGE_WEIGHT = 1e-3
"""Of a blended window's outermost latents; its centre has 1."""


@dataclass(frozen=True)
class Layer:
    """Pieces on a regular grid, alike in rows and columns: piece i gives latents [origin + i stride, … + core)."""

    sigmas: tuple[float, ...]
    """Noise levels from what a piece reads to what it gives: one Euler step between each two."""
    stride: int
    core: int
    """Latents a side that a piece gives; more than `stride` where pieces overlap."""
    cuts: tuple[int, ...]
    """Latents cut off each side after each step, as what lies outside has spoilt them. It reads so many more in all."""
    origin: int = 0
    weights: tuple[float, ...] | None = None
    """Where pieces overlap: the weight of each latent of a side. What is given is the weighted mean."""
    rim: int = 0
    """Latents that a piece holds on each side beyond what it gives, for who wants to know what surrounds it."""
    own_noise: bool = False
    """Each piece reads the noise at rows and columns 0, 1, …, not at its place (first layer only)."""

    @property
    def margin(self) -> int:
        """Latents that a piece reads beyond what it gives, on each side."""
        return self.rim + sum(self.cuts)

    @property
    def side(self) -> int:
        """Latents a side that a piece holds."""
        return self.core + 2 * self.rim

    @property
    def sides(self) -> tuple[int, ...]:
        """Latents a side of the window that the network sees at each step; the first is what a piece reads."""
        return tuple(self.side + 2 * sum(self.cuts[n:]) for n in range(len(self.cuts)))

    def meeting(self, positions: range) -> range:
        """Which pieces give anything of these positions."""
        first = (positions.start - self.origin - self.core) // self.stride + 1
        return range(first, -((self.origin - positions.stop) // self.stride))

    def gives(self, piece: int) -> range:
        """The positions that a piece gives."""
        start = self.origin + piece * self.stride
        return range(start, start + self.core)

    def reads(self, piece: int) -> range:
        """The positions that a piece reads of the layer below."""
        given = self.gives(piece)
        return range(given.start - self.margin, given.stop + self.margin)


@dataclass(frozen=True)
class Exact:
    """For networks that see only so far: tiles of a fixed grid with a halo, of which the centre is kept at each step.

    With a halo of the receptive radius the plane equals the untiled one up to rounding. With a narrower one it is an
    approximation, whose error falls quickly with the halo (`benchmarks/canvas.py`), and no less a pure function of the
    position. A large window costs (1 + 2 halo/tile)² evaluations a latent and step: 1.56 where the tile is 8 halos.

    One step at a time is cheapest for a plane that is to be exact. For an approximate one it is all steps at once: the
    early steps, which see farthest, then lie far inside their windows, so that a few latents a step suffice, and no
    tile needs another.
    """

    tile: int
    """Latents a side of a tile."""
    halo: int
    """Latents around it that the network sees besides, for each step at once."""
    grid: int = 1
    """The network's own: windows start and end on its multiples, or all of them as far beside as the rim is."""
    shift: bool = True
    """Move the grid by half a tile from step to step (the last starts at 0): errors of a narrow halo do not meet at
    the same borders again, and a tile needs 4 tiles of the step before instead of 9."""
    steps_at_once: int = 1
    """Steps computed on a tile before it is stored, on windows that shrink by the halo at each, to the next multiple of
    the grid. Any number from that of all steps means all."""
    rim: int = 0
    """Latents on each side of a tile that are sampled with it to the last step and kept (`Canvas.tile`), though they
    are the neighbours' own: a decoder that reads that far around a tile needs no other, and the tile's own latents lie
    so much farther inside their windows."""

    def __post_init__(self) -> None:
        _check_side("grid", self.grid, 1)
        _check_side("tile", self.tile, self.grid * (2 if self.shift else 1))
        whole_number("steps_at_once", self.steps_at_once, 1, MAX_SIDE)
        if 2 * whole_number("rim", self.rim, 0, MAX_SIDE) % self.grid:
            raise ArgumentError("rim", f"must be a multiple of half of {self.grid}", self.rim)
        if whole_number("halo", self.halo, 0, MAX_SIDE) * self.steps_at_once % self.grid:
            raise ArgumentError("halo", f"must be a multiple of {self.grid} for the steps at once together", self.halo)

    def layers(self, sigmas: Sequence[float]) -> tuple[Layer, ...]:
        """One for each `steps_at_once` steps; the first gets what is left over."""
        parts = _parts(sigmas, ceil((len(sigmas) - 1) / self.steps_at_once), self.steps_at_once)
        layers = []
        for n, part in enumerate(parts):
            odd = (len(parts) - 1 - n) % 2
            rim = 0 if n < len(parts) - 1 else self.rim
            # Windows of all layers begin at one place within a cell of the network's grid.
            origin = (self.tile // 2 if self.shift and odd else 0) - (self.rim - rim) % self.grid
            margins = [ceil(self.halo * k / self.grid) * self.grid for k in range(len(part) - 1, -1, -1)]
            cuts = tuple(a - b for a, b in pairwise(margins))
            layers.append(Layer(part, self.tile, self.tile, cuts, origin, rim=rim))
        return tuple(layers)


@dataclass(frozen=True)
class InfiniteDiffusion:
    """For any network: the steps are cut into phases, and at the end of each, overlapping windows are averaged.

    Windows weigh linearly less towards their edges (Goslin 2025, arXiv:2512.08309). Random access as with `Exact`, but
    neighbours denoised apart are averaged, which costs variance and (window/stride)² evaluations a latent and step.
    """

    window: int = 64
    stride: int = 32
    phases: int = 2
    grid: int = 1

    def __post_init__(self) -> None:
        _check_windows(self.window, self.stride, self.grid)
        whole_number("phases", self.phases, 1, MAX_SIDE)

    def layers(self, sigmas: Sequence[float]) -> tuple[Layer, ...]:
        """One a phase; `phases` beyond the number of steps count as that number."""
        middle = (self.window - 1) / 2
        weights = tuple(1 - (1 - EDGE_WEIGHT) * abs(i - middle) / (middle or 1) for i in range(self.window))
        parts = _parts(sigmas, min(self.phases, len(sigmas) - 1))
        return tuple(Layer(part, self.stride, self.window, (0,) * (len(part) - 1), weights=weights) for part in parts)


@dataclass(frozen=True)
class MetaEarth:
    """For comparison: windows at half their side, each from the same noise, of which the centre is kept at the end.

    Yu et al. 2024, arXiv:2405.13570. Neighbours agree as far as their conditions do; four evaluations a latent and
    step.
    """

    window: int = 64
    grid: int = 1

    def __post_init__(self) -> None:
        _check_side("grid", self.grid, 1)
        _check_side("window", self.window, 4 * self.grid)

    def layers(self, sigmas: Sequence[float]) -> tuple[Layer, ...]:
        """One: windows know nothing of each other."""
        half, cuts = self.window // 2, (0,) * (len(sigmas) - 2) + (self.window // 4,)
        return (Layer(tuple(sigmas), half, half, cuts, own_noise=True),)


@dataclass(frozen=True)
class MultiDiffusion:
    """For comparison: overlapping windows are averaged after each step, on a canvas that ends where the request does.

    Bar-Tal et al. 2023, arXiv:2302.08113; the defaults are those of diffusers' panorama pipeline. What is made of a
    place depends on the rows and columns asked for, so there is no random access, and all is in memory.
    """

    window: int = 64
    stride: int = 8
    grid: int = 1

    def __post_init__(self) -> None:
        _check_windows(self.window, self.stride, self.grid)

    def spans(self, positions: range) -> list[range]:
        """Where windows lie along one side of the canvas, the last flush with its end; one if it is no longer."""
        side = min(self.window, len(positions))
        starts = [*range(positions.start, positions.stop - side, self.stride), positions.stop - side]
        return [range(start, start + side) for start in starts]


Rule = Exact | InfiniteDiffusion | MetaEarth | MultiDiffusion


def rule_for(model: Any, tile: int | None = None, halo: int | None = None) -> Rule:
    """The rule that fits what a model declares of itself.

    `Exact` where it has a `receptive_radius` (and a `grid`, as `EarthUNet` has); otherwise `InfiniteDiffusion` with
    windows of the model's `sample_size` at half their side, as for any of diffusers' UNets.

    Args:
        model: A network, or anything with those attributes.
        tile: Latents a side of a tile, or of a window; None for 8 halos, or the model's `sample_size`.
        halo: Latents that the network sees around a tile; None for its receptive radius. Of no use to other models.
    """
    radius = getattr(model, "receptive_radius", None)
    if radius is not None:
        grid = int(getattr(model, "grid", 1))
        halo = ceil(radius / grid) * grid if halo is None else halo
        return Exact(max(8 * halo, 2 * grid) if tile is None else tile, halo, grid)
    if halo is not None:
        raise ArgumentError("halo", "must be None for a model that declares no `receptive_radius`", halo)
    config = getattr(model, "config", None)
    grid = 2 ** max(0, len(getattr(config, "block_out_channels", ())) - 1)
    size = getattr(config, "sample_size", None) or InfiniteDiffusion.window
    window = tile or (size if isinstance(size, int) else min(size))
    return InfiniteDiffusion(window, max(window // 2 // grid, 1) * grid, grid=grid)


def check_sigmas(sigmas: Sequence[float]) -> tuple[float, ...]:
    """At least two noise levels, finite, falling, none below 0."""
    try:
        levels = tuple(float(s) for s in sigmas)
    except (TypeError, ValueError):
        levels = ()
    falling = all(a > b for a, b in pairwise(levels))  # False for NaN too
    if len(levels) < 2 or not falling or not 0 <= levels[-1] < levels[0] < float("inf"):
        raise ArgumentError("sigmas", "must be at least two noise levels, each below the one before, down to 0", sigmas)
    return levels


def _parts(sigmas: Sequence[float], count: int, length: int | None = None) -> list[tuple[float, ...]]:
    """Cut the steps into `count` runs, as even as can be or of `length` but for the first; ends are shared."""
    steps = len(sigmas) - 1
    if length is None:
        cuts = [round(n * steps / count) for n in range(count + 1)]
    else:
        cuts = [max(0, steps - (count - n) * length) for n in range(count + 1)]
    return [tuple(sigmas[a : b + 1]) for a, b in pairwise(cuts)]


def _check_side(name: str, value: object, unit: int) -> None:
    """Raise `ArgumentError` unless `value` is a multiple of `unit`, from it to `MAX_SIDE`."""
    if whole_number(name, value, unit, MAX_SIDE) % unit:
        raise ArgumentError(name, f"must be a multiple of {unit}", value)


def _check_windows(window: int, stride: int, grid: int) -> None:
    _check_side("grid", grid, 1)
    _check_side("window", window, grid)
    _check_side("stride", stride, grid)
    if stride > window:
        raise ArgumentError("stride", f"must be at most the window's side, {window}", stride)
