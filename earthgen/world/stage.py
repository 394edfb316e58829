"""One level of the world that is made: conditions as fields over its latents, a canvas of them, and their pixels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from earthgen.conditions import COARSE_FACTOR, CONDITION_NAMES
from earthgen.models import Conditioning, EarthAutoencoder
from earthgen.models.autoencoder import COLOUR, mixed
from earthgen.models.inputs import enlarged, unit_vectors
from earthgen.tiling import decode_tiled, encode_tiled
from earthgen.world.canvas import Canvas, LatentStore
from earthgen.world.noise import noise_field
from earthgen.world.projection import TILE, gsd_at, pixel_to_position, world_size
from earthgen.world.pyramid import LATENT, Window
from earthgen.world.regions import Region
from earthgen.world.rules import Exact

Image = NDArray[np.uint8]
Chain = Callable[[Conditioning], list[tuple[float, Conditioning]]]
"""Which evaluations guidance needs of some conditions, with their weights."""

CELL = TILE // LATENT
"""Latents a side of a tile, which are also the cells in which conditions are kept."""
_SHIFT = CELL // 2
"""Latents by which the canvas's tiles lie beside the pixels': what a tile's pixels are decoded from, which is a little
more than the tile, then meets 4 of them and not 9."""
_BICUBIC = 2
"""Coarser pixels that bicubic enlargement reads beyond those it enlarges."""
_KEPT_CELLS = 256
_LEVELLING = 6


@dataclass(frozen=True, eq=False)
class Request:
    """What all levels of a world share."""

    pipe: Any
    """Has `unet`, `vae` and `_execution_device`, as `EarthPipeline`."""
    seed: int
    asked: Conditioning
    """Of the world outside all regions, but for what differs from place to place; a batch of one."""
    regions: tuple[tuple[Region, Conditioning], ...]
    """Later ones lie over earlier ones."""
    sigmas: tuple[float, ...]
    rule: Exact
    consistent: bool
    """Whether levels average to the coarser ones they are made from."""
    placed: bool
    """Whether the model is told latitude and longitude."""
    key: str
    store: LatentStore


class _Cell(NamedTuple):
    """The conditions of `CELL` × `CELL` latents."""

    gsd: Tensor
    """(CELL / grid, CELL / grid), log2 of metres."""
    position: Tensor
    """(3, CELL / grid, CELL / grid), unit vectors."""
    shares: Tensor
    """(1 + regions, CELL, CELL), summing to 1: the world's, then each region's. Of size 1 × 1 without regions."""
    coarse: Tensor
    """(channels, CELL, CELL), latents of the enlarged coarser image; or 1 × 1 for none."""
    colour: Tensor
    """(3, CELL, CELL), what the latents' colours are if they are to average to the coarser image; or 1 × 1."""


class Stage:
    """Makes the tiles of one level.

    Args:
        request: What is asked.
        level: Of the pyramid.
        chain: The evaluations that guidance needs.
        coarser: Pixels of windows two levels up; None for a level made from noise alone.
    """

    def __init__(
        self, request: Request, level: int, chain: Chain, coarser: Callable[[Window], Image] | None = None
    ) -> None:
        self.request, self.level, self.coarser = request, level, coarser
        self.size = world_size(level) // LATENT
        self._vae: EarthAutoencoder = request.pipe.vae
        self._grid = int(request.pipe.unet.grid)
        self._chain = chain
        self._cells: OrderedDict[tuple[int, int], _Cell] = OrderedDict()
        channels = int(self._vae.config.latent_channels)

        def noise(rows: range, columns: range) -> Tensor:
            return noise_field(request.seed, level, _moved(rows), _moved(columns), channels, wrap=self.size)

        key = f"{request.key}/{level}"
        self.canvas = Canvas(
            self._velocity, noise, request.sigmas, request.rule, store=request.store, key=key, wrap=self.size
        )

    @torch.no_grad()
    def tile(self, y: int, x: int) -> Image:
        """Pixels of a tile of 256 px, uint8 (256, 256, 3)."""
        halo = self._vae.receptive_field[1]
        rows, columns = (range(CELL * n - halo + _SHIFT, CELL * (n + 1) + halo + _SHIFT) for n in (y, x))
        z = self.canvas.sample(rows, columns)[None]
        cut = LATENT * halo
        pixels = decode_tiled(self._vae, z)[0, :, cut:-cut, cut:-cut].float().cpu()
        pixels = (pixels + 1) * 127.5
        if self.coarser is None or not self.request.consistent:
            pixels = pixels.clamp(0, 255)
        else:
            coarse = self.coarser(Window(self.level, y * TILE, x * TILE, TILE, TILE).at_level(self.level - 2))
            pixels = levelled(pixels, torch.from_numpy(coarse.copy()).permute(2, 0, 1).float())
        return pixels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def _velocity(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        request, device = self.request, self.request.pipe._execution_device
        given = [self._fields(_moved(r), _moved(c)) for r, c in zip(rows, columns, strict=True)]
        fields = _Cell(*(torch.stack(parts).to(device) for parts in zip(*given, strict=True)))
        x = x.to(device).contiguous(memory_format=torch.channels_last)
        total: Tensor | None = None
        for n, asked in enumerate((request.asked, *(asked for _, asked in request.regions))):
            share = fields.shares[:, n, None]
            if not share.any():
                continue
            for weight, conditioning in self._chain(self._conditioning(asked, fields)):
                part = weight * request.pipe.unet(x, 1000 * sigma, conditioning).sample.float()
                part = part if share.shape[-2:] == (1, 1) else share * part
                total = part if total is None else total + part
        assert total is not None  # shares sum to 1
        if request.consistent and self.coarser is not None:
            # Where the colours come out is known, and so is the straight path to them.
            total[:, :3] = (x[:, :3] - fields.colour) / sigma
        return total

    def _conditioning(self, asked: Conditioning, fields: _Cell) -> Conditioning:
        """For a batch of windows."""
        batch = len(fields.gsd)
        tensors = {name: value.expand(batch, *value.shape[1:]) for name, value in vars(asked).items()}
        here = {"gsd"} | ({"position"} if self.request.placed else set())
        here |= set() if self.coarser is None else {"coarse"}
        flags = torch.tensor([name in here for name in CONDITION_NAMES], device=asked.present.device)
        tensors |= {"present": tensors["present"] | flags, "gsd": fields.gsd, "position": fields.position}
        return replace(asked, **(tensors | {"coarse": fields.coarse.to(asked.coarse.dtype)}))

    def _fields(self, rows: range, columns: range) -> _Cell:
        """The conditions of any window whose edges lie on the network's grid."""
        parts = []
        for i in range(rows.start // CELL, -(-rows.stop // CELL)):
            line = [self._cell(i, j) for j in range(columns.start // CELL, -(-columns.stop // CELL))]
            parts.append([_joined(values, -1) for values in zip(*line, strict=True)])
        whole = [_joined(values, -2) for values in zip(*parts, strict=True)]
        top, left = rows.start % CELL, columns.start % CELL
        cut = []
        for value in whole:
            if value.shape[-2:] == (1, 1):
                cut.append(value)
                continue
            unit = self._grid if value is whole[0] or value is whole[1] else 1
            down, across = (slice(a // unit, (a + len(r)) // unit) for a, r in ((top, rows), (left, columns)))
            cut.append(value[..., down, across])
        return _Cell(*cut)

    def _cell(self, i: int, j: int) -> _Cell:
        """Computed alone and kept, so that no window decides how it is rounded."""
        j %= self.size // CELL
        if (found := self._cells.get((i, j))) is not None:
            self._cells.move_to_end((i, j))
            return found
        unit = LATENT * self._grid
        rows, columns = (np.arange(TILE * n, TILE * (n + 1), unit) + unit / 2 for n in (i, j))
        gsd = torch.from_numpy(np.log2(gsd_at(self.level, rows)).astype(np.float32))
        lat, lon = pixel_to_position(self.level, rows[:, None], columns[None, :])
        position = torch.from_numpy(unit_vectors(*np.broadcast_arrays(lat, lon)))
        coarse, colour = self._coarse(i, j)
        cell = _Cell(gsd[:, None].expand(-1, len(columns)).clone(), position, self._shares(i, j), coarse, colour)
        self._cells[i, j] = cell
        while len(self._cells) > _KEPT_CELLS:
            self._cells.popitem(last=False)
        return cell

    def _shares(self, i: int, j: int) -> Tensor:
        if not self.request.regions:
            return torch.ones(1, 1, 1)
        rows, columns = (np.arange(CELL * n, CELL * (n + 1), dtype=np.float64) + 0.5 for n in (i, j))
        shares = np.zeros((1 + len(self.request.regions), CELL, CELL), np.float32)
        left = np.ones((CELL, CELL), np.float32)
        for n in range(len(self.request.regions), 0, -1):
            mask = self.request.regions[n - 1][0].mask(rows, columns, self.size)
            if mask is not None:
                shares[n] = left * mask
                left = left * (1 - mask)
        shares[0] = left
        return torch.from_numpy(shares)

    @torch.no_grad()
    def _coarse(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        """Latents of the coarser image brought to this level, and the colours that average to it."""
        if self.coarser is None:
            return torch.zeros(int(self._vae.config.latent_channels), 1, 1), torch.zeros(3, 1, 1)
        halo = self._vae.receptive_field[0] + _BICUBIC
        side = CELL + 2 * halo
        # A latent covers 4 px, as a pixel two levels up does.
        image = self.coarser(Window(self.level - 2, CELL * i - halo, CELL * j - halo, side, side))
        latents = encode_tiled(self._vae, _as_tensor(enlarged(image, COARSE_FACTOR)))[0].float().cpu()
        inner = (..., slice(halo, -halo), slice(halo, -halo))
        return latents[inner].clone(), colours(self._vae, _as_tensor(image)[inner])[0]


def colours(autoencoder: EarthAutoencoder, x: Tensor) -> Tensor:
    """The first three channels of latents whose pixels have these mean colours, (batch, 3, h, w) in [-1, 1]."""
    config = autoencoder.config
    mean, std = config.latents_mean or (0.0,) * 3, config.latents_std or (1.0,) * 3
    return (mixed(x, COLOUR) - x.new_tensor(mean[:3]).view(1, 3, 1, 1)) / x.new_tensor(std[:3]).view(1, 3, 1, 1)


def levelled(pixels: Tensor, coarse: Tensor) -> Tensor:
    """Pixels (3, 4 h, 4 w) brought into 0 to 255 such that 4 × 4 of them average to each of `coarse` (3, h, w).

    They nearly do, but where they are black or white: what is cut off there is given to the others of the block.
    """
    y = pixels.clamp(0, 255)
    for _ in range(_LEVELLING):
        missing = coarse - F.avg_pool2d(y, COARSE_FACTOR)
        more = _spread(missing) > 0
        room = torch.where(more, y < 255, y > 0).to(y.dtype)
        change = _spread(missing / F.avg_pool2d(room, COARSE_FACTOR).clamp(min=1 / COARSE_FACTOR**2))
        y = (y + change * room).clamp(0, 255)
    return y


def _spread(x: Tensor) -> Tensor:
    return x.repeat_interleave(COARSE_FACTOR, -1).repeat_interleave(COARSE_FACTOR, -2)


def _as_tensor(image: Image) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().div_(127.5).sub_(1)


def _joined(values: Sequence[Tensor], dim: int) -> Tensor:
    return values[0] if values[0].shape[-2:] == (1, 1) or len(values) == 1 else torch.cat(list(values), dim)


def _moved(positions: range) -> range:
    """From the canvas's coordinates to the world's."""
    return range(positions.start - _SHIFT, positions.stop - _SHIFT)
