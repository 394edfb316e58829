"""One level of a world by a published UNet, which sees a whole window at once: blended windows for all that it does.

The coarser image is enlarged and encoded, noise is laid over its latents, and the network takes that off again, as far
as it was laid (image to image, after Meng et al. 2021, arXiv:2108.01073). What the canvas samples is the difference to
the coarser image's latents, in the variable of `earthgen.models.published`: so it begins as noise, and each window adds
the same latents to it. Encoder and decoder norm over the image, too, so they also work in windows of a fixed grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from earthgen.conditions import COARSE_FACTOR
from earthgen.models.guidance import weighted_sets
from earthgen.models.inputs import enlarged
from earthgen.models.published import Published, Schedule, told_level
from earthgen.world.canvas import Canvas, put_together
from earthgen.world.levelling import SMOOTHED, levelled, unrounded
from earthgen.world.noise import noise_field
from earthgen.world.projection import TILE, gsd_at, world_size
from earthgen.world.pyramid import CASCADE_STEP, Window
from earthgen.world.regions import shares
from earthgen.world.rules import InfiniteDiffusion, Layer
from earthgen.world.stage import BICUBIC, Request, as_tensor
from earthgen.world.store import LatentStore

Image = NDArray[np.uint8]

_NEARER = 4
"""Times that a decoded piece's colours are led to the coarser image's, smoothly."""


@dataclass(frozen=True)
class Blending:
    """How one level is sampled."""

    schedule: Schedule
    rule: InfiniteDiffusion
    steps: int
    """That were asked for: of the whole schedule."""
    text: float
    """Weight of guidance by text."""
    gsd: float
    """That by the level that the network is told, if it is."""


@dataclass(frozen=True, eq=False)
class Told:
    """What a network is told of a text (`Request.asked`)."""

    vectors: Tensor
    """Of its tokens, (1, tokens, channels)."""
    given: bool
    """False where there is no text."""
    empty: Tensor
    """Those of the empty text, which stands where a text is left out."""


class Mosaic:
    """A plane of overlapping pieces, each a pure function of its place; their weights fall linearly where they overlap.

    Args:
        piece: Rows and columns → (channels, rows, columns) of a piece.
        stride: From piece to piece, a power of two; each is half as large again.
        wrap: Period of the columns.
        channels: Of a piece.
        store: Where pieces are kept.
        key: Of all that they depend on.
    """

    def __init__(
        self,
        piece: Callable[[range, range], Tensor],
        stride: int,
        wrap: int,
        channels: int,
        store: LatentStore,
        key: str,
    ) -> None:
        self._piece, self._channels, self._store, self._key = piece, channels, store, key
        overlap = stride // 2
        side = stride + overlap
        weights = tuple(min(1.0, (i + 0.5) / overlap, (side - i - 0.5) / overlap) for i in range(side))
        self._layer = Layer((), stride, side, (), weights=weights)
        self._period = wrap // stride

    def read(self, rows: range, columns: range) -> Tensor:
        """Any window, (channels, rows, columns)."""
        return put_together(self._layer, rows, columns, self._channels, self._one)

    def _one(self, i: int, j: int) -> Tensor:
        j %= self._period
        name = f"{self._key}/{i}/{j}"
        found = self._store.get(name, (self._channels, self._layer.side, self._layer.side))
        if found is None:
            found = self._piece(self._layer.gives(i), self._layer.gives(j))
            self._store.put(name, found)
        return found


class BlendedStage:
    """Makes the tiles of one level.

    Args:
        request: What is asked.
        level: Of the pyramid.
        blending: How it is sampled.
        coarser: Pixels of windows two levels up; None for a level made from noise alone.
        key: Of the world, beside the request's.
    """

    def __init__(
        self,
        request: Request,
        level: int,
        blending: Blending,
        coarser: Callable[[Window], Image] | None = None,
        key: str = "",
    ) -> None:
        self.request, self.level, self.coarser = request, level, coarser
        self._model: Published = request.pipe
        self._how = blending
        self._factor = self._model.spatial_factor
        self.size = world_size(level) // self._factor
        channels, name = self._model.channels, f"{request.key}/{key}/{level}"
        cell = TILE // self._factor
        self._coarse = Mosaic(self._encoded, cell, self.size, channels, request.store, f"{name}/coarse")
        self._pixels = Mosaic(self._decoded, TILE, world_size(level), 3, request.store, f"{name}/pixels")
        sigmas = blending.schedule.sigmas
        # From noise alone the latents begin as noise of deviation 1, and with them none of an image.
        begin = sigmas[0] if coarser is not None else 1 / blending.schedule.share(sigmas[0])

        def noise(rows: range, columns: range) -> Tensor:
            return begin * noise_field(request.seed, level, rows, columns, channels, wrap=self.size)

        self.canvas = Canvas(
            self._velocity, noise, sigmas, blending.rule, store=request.store, key=f"{name}/latents", wrap=self.size
        )

    @torch.inference_mode()
    def tile(self, y: int, x: int) -> Image:
        """Pixels of a tile of 256 px, uint8 (256, 256, 3)."""
        window = Window(self.level, y * TILE, x * TILE, TILE, TILE)
        pixels = self._pixels.read(window.rows, window.columns)
        if self.coarser is not None and self.request.consistent:
            pixels = levelled(pixels, self._means(window.rows, window.columns))
        image: Image = np.rint(pixels.clamp(0, 255).permute(1, 2, 0).double().numpy()).astype(np.uint8)
        return image

    def _velocity(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        """What of the noise there is, by the network: ε of each window."""
        found = [self._noise(one, sigma, r, c) for one, r, c in zip(x, rows, columns, strict=True)]
        return torch.stack(found)

    def _noise(self, x: Tensor, sigma: float, rows: range, columns: range) -> Tensor:
        schedule, request = self._how.schedule, self.request
        time, noisy = schedule.time(sigma), schedule.share(sigma) * self._with_coarse(x, rows, columns)[None]
        level = self._told_level(rows)
        made: dict[tuple[int | None, int], Tensor] = {}

        def output(asked: int, names: frozenset[str]) -> Tensor:
            """Of a region, or the world (0), told what is named."""
            told = asked if "text" in names else None, level if "gsd" in names else 0
            if told not in made:
                vectors = request.asked.empty if told[0] is None else texts[told[0]].vectors
                made[told] = self._model.output(noisy, time, vectors, told[1]).cpu()
            return made[told]

        texts = (request.asked, *(asked for _, asked in request.regions))
        ruling = self._shares(rows, columns)
        total = torch.zeros_like(noisy)
        for n, share in enumerate(ruling):
            if not share.any():
                continue
            given = ({"text": self._how.text} if texts[n].given else {}) | ({"gsd": self._how.gsd} if level else {})
            total += share * sum(weight * output(n, names) for weight, names in weighted_sets(given))
        return schedule.noise(total, noisy, sigma)[0]

    def _told_level(self, rows: range) -> int:
        """By the true GSD in the middle of a window."""
        if not self._model.levels:
            return 0
        middle = self._factor * (rows.start + rows.stop) / 2
        return told_level(float(gsd_at(self.level, middle)))

    def _shares(self, rows: range, columns: range) -> Tensor:
        """(1 + regions, rows, columns), summing to 1; of size 1 × 1 without regions."""
        if not self.request.regions:
            return torch.ones(1, 1, 1)
        return torch.from_numpy(shares([region for region, _ in self.request.regions], rows, columns, self.size))

    def _with_coarse(self, x: Tensor, rows: range, columns: range) -> Tensor:
        return x if self.coarser is None else x + self._coarse.read(rows, columns)

    def _encoded(self, rows: range, columns: range) -> Tensor:
        """Latents of a piece of the coarser image brought to this level."""
        assert self.coarser is not None
        window = self._coarser_window(*(range(self._factor * r.start, self._factor * r.stop) for r in (rows, columns)))
        image = enlarged(self.coarser(window.grown(BICUBIC)), COARSE_FACTOR)
        margin = BICUBIC * COARSE_FACTOR
        return self._model.encode(as_tensor(image[margin:-margin, margin:-margin]))[0]

    def _decoded(self, rows: range, columns: range) -> Tensor:
        """Pixels of a piece, 0 to 255 or a little beyond."""
        at = [range(r.start // self._factor, r.stop // self._factor) for r in (rows, columns)]
        latents = self._with_coarse(self.canvas.sample(*at), *at)
        # A schedule may end a little above no noise; then the latent is one that has been brought there, as DDIM's.
        latents = self._how.schedule.share(self.canvas.sigmas[-1]) * latents
        pixels = (self._model.decode(latents[None])[0] + 1) * 127.5
        if self.coarser is not None and self.request.consistent:
            pixels = _led(pixels, self._means(rows, columns))
        return pixels

    def _means(self, rows: range, columns: range) -> Tensor:
        """What each 4 × 4 pixels are to average to: the coarser image, 0 to 255, of pixels' rows and columns."""
        assert self.coarser is not None
        image = unrounded(self.coarser(self._coarser_window(rows, columns).grown(SMOOTHED)))
        return torch.from_numpy(image[SMOOTHED:-SMOOTHED, SMOOTHED:-SMOOTHED].copy()).permute(2, 0, 1)

    def _coarser_window(self, rows: range, columns: range) -> Window:
        """Of the pixels two levels up, by rows and columns of this level's."""
        top, left, height, width = (n // COARSE_FACTOR for n in (rows.start, columns.start, len(rows), len(columns)))
        return Window(self.level - CASCADE_STEP, top, left, height, width)


def _led(pixels: Tensor, means: Tensor) -> Tensor:
    """Pixels whose colours come near the coarser image's, without the steps that moving each 4 × 4 alone leaves."""
    for _ in range(_NEARER):
        missing = means - F.avg_pool2d(pixels, COARSE_FACTOR)
        more = F.interpolate(missing[None], scale_factor=COARSE_FACTOR, mode="bilinear", align_corners=False)
        pixels = pixels + more[0]
    return pixels
