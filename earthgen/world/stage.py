"""One level of the world that is made: conditions as fields over its latents, a canvas of them, and their pixels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from earthgen.conditions import COARSE_FACTOR, CONDITION_NAMES, Guidance
from earthgen.layout import BOX_CHANNELS, LAYOUT_CHANNELS, MASK_CHANNELS
from earthgen.models import Conditioning, EarthAutoencoder
from earthgen.models.guidance import guidance_chain, guided
from earthgen.models.inputs import enlarged, filled, known_latents, unit_vectors
from earthgen.steps import noise_of
from earthgen.tiling import decode_tiled, encode_tiled
from earthgen.world.canvas import Canvas
from earthgen.world.known import MARGIN, KnownImagery
from earthgen.world.known import REACH as KNOWN_REACH
from earthgen.world.levelling import SMOOTHED, levelled, unrounded
from earthgen.world.noise import noise_field
from earthgen.world.painting import Painted
from earthgen.world.projection import TILE, gsd_at, pixel_to_position, world_size
from earthgen.world.pyramid import CASCADE_STEP, LATENT, Window
from earthgen.world.regions import Region, shares
from earthgen.world.rules import Exact
from earthgen.world.store import LatentStore

Image = NDArray[np.uint8]

CELL = TILE // LATENT
"""Latents a side of a tile."""
BICUBIC = 2
"""Coarser pixels that bicubic enlargement reads beyond those it enlarges."""
_KEPT_FIELDS = 4


@dataclass(frozen=True, eq=False)
class Request:
    """What all levels of a world share."""

    pipe: Any
    """What the stages compute with: for `Stage` it has `vae` and `_execution_device`, as `EarthPipeline`."""
    seed: int
    asked: Any
    """Of the world outside all regions, but for what differs from place to place: for `Stage` a `Conditioning`, a batch
    of one."""
    regions: tuple[tuple[Region, Any], ...]
    """Later ones lie over earlier ones."""
    known: KnownImagery
    consistent: bool
    """Whether levels average to the coarser ones they are made from."""
    placed: bool
    """Whether the model is told latitude and longitude."""
    key: str
    store: LatentStore


@dataclass(frozen=True)
class Sampling:
    """How one level is sampled."""

    sigmas: tuple[float, ...]
    """Noise levels, falling; the steps lie between them."""
    steps: int
    """That were asked for."""
    guidance: Guidance
    network: Any
    """The denoiser (`earthgen.steps.denoiser_of`)."""
    order: int
    """Of the solver (`Canvas`)."""
    rule: Exact
    """Tiles a multiple of `CELL` a side, all steps at once, and as much around a tile as it is decoded from: a tile's
    pixels need no other tile."""


class _Fields(NamedTuple):
    """The conditions of a window of h × w latents. What there is none of is of size 1 × 1."""

    gsd: Tensor
    """(h / grid, w / grid), log2 of metres."""
    position: Tensor
    """(3, h / grid, w / grid), unit vectors."""
    shares: Tensor
    """(1 + regions, h, w), summing to 1: the world's, then each region's. Of size 1 × 1 without regions."""
    coarse: Tensor
    """(channels, h, w), latents of the enlarged coarser image."""
    means: Tensor
    """(3, h, w), that image itself, `unrounded`, 0 to 255: what the pixels of each latent are to average to."""
    known: Tensor
    """(channels, h, w), latents of known pixels, 0 elsewhere."""
    known_mask: Tensor
    """(1, h, w), 1 where a latent's pixels are all known."""
    layout: Tensor
    """(70, h, w), see `earthgen.world.painting.Painted`, as the next two."""
    layout_share: Tensor
    """(1, h, w)."""
    free: Tensor
    """(1, h, w)."""

    def window(self, rows: slice, columns: slice, grid: int) -> _Fields:
        """A part, its edges, in latents, on the grid."""
        cut = []
        for name, value in self._asdict().items():
            unit = grid if name in ("gsd", "position") else 1
            part = (slice(s.start // unit, s.stop // unit) for s in (rows, columns))
            cut.append(value if value.shape[-2:] == (1, 1) else value[(..., *part)])
        return _Fields(*cut)


class Stage:
    """Makes the tiles of one level.

    Args:
        request: What is asked.
        level: Of the pyramid.
        sampling: How.
        coarser: Pixels of windows two levels up; None for a level made from noise alone.
        layout: What the layout says of windows of this level, if anything; None without one.
        key: Of the layout, with all levels of a world it is one.
    """

    def __init__(
        self,
        request: Request,
        level: int,
        sampling: Sampling,
        coarser: Callable[[Window], Image] | None = None,
        layout: Callable[[Window], Painted | None] | None = None,
        key: str = "",
    ) -> None:
        self.request, self.level, self.coarser, self.layout = request, level, coarser, layout
        self._guidance = sampling.guidance
        self._unet = sampling.network
        self._after = dict(pairwise(sampling.sigmas))
        self.size = world_size(level) // LATENT
        self._vae: EarthAutoencoder = request.pipe.vae
        self._grid = int(self._unet.grid)
        self._halo = max(self._vae.halo[0] + BICUBIC, SMOOTHED)  # coarser pixels read around a window
        self._fields: OrderedDict[tuple[int, int], _Fields] = OrderedDict()
        self._tile = sampling.rule.tile
        channels = int(self._vae.config.latent_channels)
        deviation = noise_of(self._unet, refined=coarser is not None)

        def noise(rows: range, columns: range) -> Tensor:
            return deviation * noise_field(request.seed, level, rows, columns, channels, wrap=self.size)

        self._noise = noise
        self._knows = request.known.knows(level)
        self.canvas = Canvas(
            self._velocity, noise, sampling.sigmas, sampling.rule,
            store=request.store, key=f"{request.key}/{key}/{level}", wrap=self.size,
            settled=self._settled if self._knows else None, order=sampling.order,
        )  # fmt: skip
        (self._layer,) = self.canvas.layers

    def reads(self, window: Window) -> Window:
        """What the pixels of a window depend on at this level: of the layout, and of the coarser image as `below`."""
        return window.aligned(max(TILE, LATENT * self._tile)).grown(LATENT * self._layer.margin)

    def below(self, window: Window) -> Window:
        """Which pixels of the coarser level are read for a window of this level, of whole latents."""
        rows, columns = window.latents()
        halo = self._halo + (KNOWN_REACH if self._knows else 0)
        return Window(self.level - CASCADE_STEP, rows.start, columns.start, len(rows), len(columns)).grown(halo)

    @torch.inference_mode()
    def tile(self, y: int, x: int) -> Image:
        """Pixels of a tile of 256 px, uint8 (256, 256, 3)."""
        share, rim = self._tile // CELL, self._layer.rim
        top, left = (CELL * (n % share) for n in (y, x))
        z = self.canvas.tile(y // share, x // share)[None, :, top:, left:][..., : CELL + 2 * rim, : CELL + 2 * rim]
        margin = MARGIN // LATENT if self._knows else 0
        cut = slice(LATENT * (rim - margin), -LATENT * (rim - margin))
        pixels = (decode_tiled(self._vae, z)[0, :, cut, cut].float().cpu() + 1) * 127.5
        if self.coarser is None or not self.request.consistent:
            pixels = pixels.clamp(0, 255)
        else:
            fields = self._fields_of(y // share, x // share)
            top, left = (n + self._layer.margin - margin for n in (top, left))
            side = CELL + 2 * margin
            means = fields.means[:, top : top + side, left : left + side]
            if fields.free.any():
                own = F.avg_pool2d(pixels.clamp(0, 255), COARSE_FACTOR)
                means = means + fields.free[:, top : top + side, left : left + side] * (own - means)
            pixels = levelled(pixels, means)
        image = pixels.permute(1, 2, 0).double().numpy()
        if not self._knows:
            return np.rint(image).astype(np.uint8)
        return self.request.known.finished(image, Window(self.level, y * TILE, x * TILE, TILE, TILE))

    def _velocity(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        request, device = self.request, self.request.pipe._execution_device
        given = [self._part(r, c) for r, c in zip(rows, columns, strict=True)]
        fields = _Fields(*(torch.stack(parts).to(device) for parts in zip(*given, strict=True)))
        x = x.to(device).contiguous(memory_format=torch.channels_last)
        total: Tensor | None = None
        for n, asked in enumerate((request.asked, *(asked for _, asked in request.regions))):
            share = fields.shares[:, n, None]
            if not share.any():
                continue
            part = self._guided(x, sigma, self._conditioning(asked, fields), fields)
            part = part if share.shape[-2:] == (1, 1) else share * part
            total = part if total is None else total + part
        assert total is not None  # shares sum to 1
        if request.consistent and self.coarser is not None:
            # Where the colours come out is known, and so is the straight path to them. Not so of what is small there.
            led = (x[:, :3] - self._vae.encode_colours(fields.means / 127.5 - 1)) / sigma
            total[:, :3] = led + fields.free * (total[:, :3] - led) if fields.free.any() else led
        return total

    def _guided(self, x: Tensor, sigma: float, conditioning: Conditioning, fields: _Fields) -> Tensor:
        """The velocity: without the layout, and as far as that rules, with it."""
        made: dict[tuple[bool, ...], Tensor] = {}

        def velocity(given: Conditioning) -> Tensor:
            parts = []
            for weight, one in guidance_chain(given, self._guidance, self._unet.config.taught_guidance):
                name = tuple(one.present.flatten().tolist())
                if name not in made:
                    made[name] = self._network(x, sigma, one)
                parts.append((weight, made[name]))
            return guided(parts, x, sigma)

        without = velocity(conditioning)
        if not fields.layout_share.any():
            return without
        flags = conditioning.present.clone()
        for name, channels in (("boxes", BOX_CHANNELS), ("mask", MASK_CHANNELS)):
            flags[:, CONDITION_NAMES.index(name)] = fields.layout[:, channels.start].flatten(1).any(1)
        layout = fields.layout.to(conditioning.coarse.dtype)
        return without + fields.layout_share * (velocity(replace(conditioning, present=flags, layout=layout)) - without)

    def _network(self, x: Tensor, sigma: float, given: Conditioning) -> Tensor:
        return self._unet(x, 1000 * sigma, given, until=1000 * self._after[sigma]).sample.float()

    def _settled(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        """Known latents put back at the noise level just reached, so that the rest grows to fit them."""
        kept = []
        for one, r, c in zip(x, rows, columns, strict=True):
            fields = self._part(r, c)
            if fields.known_mask.any():
                noisy = (1 - sigma) * fields.known + sigma * self._noise(r, c)
                one = torch.where(fields.known_mask > 0, noisy, one)
            kept.append(one)
        return torch.stack(kept)

    def _conditioning(self, asked: Conditioning, fields: _Fields) -> Conditioning:
        """For a batch of windows."""
        batch = len(fields.gsd)
        tensors = {name: value.expand(batch, *value.shape[1:]) for name, value in vars(asked).items()}
        here = {"gsd"} | ({"position"} if self.request.placed else set())
        here |= set() if self.coarser is None else {"coarse"}
        flags = torch.tensor([name in here for name in CONDITION_NAMES], device=asked.present.device).repeat(batch, 1)
        flags[:, CONDITION_NAMES.index("known")] = fields.known_mask.flatten(1).any(1)
        tensors |= {"present": tensors["present"] | flags, "gsd": fields.gsd, "position": fields.position}
        for name in ("coarse", "known", "known_mask"):
            tensors[name] = getattr(fields, name).to(asked.coarse.dtype)
        return replace(asked, **tensors)

    def _part(self, rows: range, columns: range) -> _Fields:
        """The conditions of what one step sees of a tile."""
        i, j = ((r.start + r.stop) // 2 // self._tile for r in (rows, columns))
        top, left = rows.start - self._layer.reads(i).start, columns.start - self._layer.reads(j).start
        part = slice(top, top + len(rows)), slice(left, left + len(columns))
        return self._fields_of(i, j).window(*part, self._grid)

    @torch.inference_mode()
    def _fields_of(self, i: int, j: int) -> _Fields:
        """The conditions of all that is read for a tile of the canvas. Computed once, for its steps."""
        j %= self.size // self._tile
        if (found := self._fields.get((i, j))) is not None:
            return found
        window = self._layer.reads(i), self._layer.reads(j)
        unit = LATENT * self._grid
        rows, columns = (np.arange(LATENT * r.start, LATENT * r.stop, unit) + unit / 2 for r in window)
        gsd = torch.from_numpy(np.log2(gsd_at(self.level, rows)).astype(np.float32))
        lat, lon = pixel_to_position(self.level, rows[:, None], columns[None, :])
        position = torch.from_numpy(unit_vectors(*np.broadcast_arrays(lat, lon)))
        fields = _Fields(
            gsd[:, None].expand(-1, len(columns)), position, self._shares(*window), *self._coarse(*window),
            *self._known(*window), *self._laid_out(*window),
        )  # fmt: skip
        self._fields[i, j] = fields
        while len(self._fields) > _KEPT_FIELDS:
            self._fields.popitem(last=False)
        return fields

    def _shares(self, rows: range, columns: range) -> Tensor:
        if not self.request.regions:
            return torch.ones(1, 1, 1)
        return torch.from_numpy(shares([region for region, _ in self.request.regions], rows, columns, self.size))

    def _coarse(self, rows: range, columns: range) -> tuple[Tensor, Tensor]:
        """Latents of the coarser image brought to this level, and that image."""
        if self.coarser is None:
            return torch.zeros(int(self._vae.config.latent_channels), 1, 1), torch.zeros(3, 1, 1)
        halo = self._halo
        # A latent covers 4 px, as a pixel two levels up does.
        window = Window(self.level - CASCADE_STEP, rows.start, columns.start, len(rows), len(columns)).grown(halo)
        image = self.request.known.blended(self.coarser, window)
        latents = encode_tiled(self._vae, as_tensor(enlarged(image, COARSE_FACTOR)))[0].float().cpu()
        inner = (..., slice(halo, -halo), slice(halo, -halo))
        return latents[inner].clone(), torch.from_numpy(unrounded(image)).permute(2, 0, 1)[inner].clone()

    def _known(self, rows: range, columns: range) -> tuple[Tensor, Tensor]:
        """Latents of known pixels, and which of them are known."""
        channels = int(self._vae.config.latent_channels)
        if not self._knows:
            return torch.zeros(channels, 1, 1), torch.zeros(1, 1, 1)
        halo = self._vae.halo[0]
        window = Window(self.level, *(LATENT * n for n in (rows.start, columns.start, len(rows), len(columns)))).grown(
            LATENT * halo
        )
        found = self.request.known.pixels(window)
        inner = (..., slice(halo, -halo), slice(halo, -halo))
        mask = None if found is None else known_latents(found[1], window.shape, LATENT)[0][inner]
        if found is None or mask is None or not mask.any():
            return torch.zeros(channels, len(rows), len(columns)), torch.zeros(1, len(rows), len(columns))
        latents = encode_tiled(self._vae, as_tensor(filled(*found)))[0].float().cpu()
        return latents[inner] * mask, mask

    def _laid_out(self, rows: range, columns: range) -> tuple[Tensor, Tensor, Tensor]:
        window = Window(self.level, *(LATENT * n for n in (rows.start, columns.start, len(rows), len(columns))))
        found = None if self.layout is None else self.layout(window)
        if found is None:
            return torch.zeros(LAYOUT_CHANNELS, 1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)
        return (
            torch.from_numpy(found.layout),
            torch.from_numpy(found.share)[None],
            torch.from_numpy(found.free)[None],
        )


def as_tensor(image: Image) -> Tensor:
    """Pixels (1, 3, height, width) in [-1, 1], as autoencoders take them."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().div_(127.5).sub_(1)
