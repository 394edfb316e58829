"""The canvas: a diffusion model sampled on an unbounded latent plane, any window of it, in any order.

Latents have global coordinates, a row and a column, whole numbers of any size and sign. A `Rule` says of which pieces
the plane is made; each piece is a pure function of the noise and the velocities around it, so what is kept of them
saves work and changes nothing. `Canvas` decides in which order they are computed and what is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Protocol

import torch
from torch import Tensor

from earthgen.errors import ArgumentError
from earthgen.world.noise import whole_number
from earthgen.world.rules import Layer, MultiDiffusion, Rule, check_sigmas
from earthgen.world.store import LatentStore

Noise = Callable[[range, range], Tensor]
"""Rows and columns → (channels, rows, columns): what the first noise level holds there."""


class Velocity(Protocol):
    """What the network says of some windows of the plane."""

    def __call__(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range], /) -> Tensor:
        """dx/dσ at the noise level `sigma`, of the shape of `x`.

        Args:
            x: (batch, channels, height, width), float32 on the CPU; this function takes it where it computes.
            sigma: Of all windows.
            rows: Global rows of each window of the batch: where to cut the conditions.
            columns: Global columns of each.
        """


class Settled(Protocol):
    """What is done to latents after each step, each on its own: where some are known, say, to put them back."""

    def __call__(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range], /) -> Tensor:
        """Windows (batch, channels, height, width) that have just reached a noise level → what they hold from there.

        A latent of the result depends on that latent and its place alone, so a network sees no farther for it.
        """


@dataclass
class Stats:
    """What a canvas has done so far."""

    calls: int = 0
    """Of the velocity."""
    latents: int = 0
    """Latents in all windows of those calls: divided by latents × steps, the evaluations an output latent and step."""
    computed: int = 0
    """Pieces."""
    found: int = 0
    """Pieces read from the store."""


Cell = tuple[int, int, int]
"""A piece: layer, row and column on the layer's grid."""


class Canvas:
    """Samples x_{k+1} = x_k + (σ_{k+1} - σ_k) v(x_k, σ_k) on an unbounded plane.

    Of order 2 (Adams and Bashforth), the velocity before continues the line, v_k + r/2 (v_k - v_{k-1}) with r the ratio
    of the two steps: as many evaluations, and 6 steps of a world are as good as 20 of order 1.

    The same bytes come out for a latent whatever window it is asked in, in any order, from any thread or process,
    with or without what a store has kept (`MultiDiffusion` excepted). For that the network is only ever called on
    windows of one shape a step, `batch` of them at a time, each at a place of its own: convolutions round differently
    in another shape. So `batch` decides the last bits, as do the number of torch's threads, the device and the library.
    """

    def __init__(
        self,
        velocity: Velocity,
        noise: Noise,
        sigmas: Sequence[float],
        rule: Rule,
        *,
        store: LatentStore | None = None,
        key: str = "",
        settled: Settled | None = None,
        order: int = 1,
        wrap: int | None = None,
        batch: int = 1,
    ) -> None:
        """Describe a canvas; nothing is computed yet but one latent of noise.

        Args:
            velocity: The network, with its conditions as fields over the plane. A pure function.
            noise: The noise, a pure function too.
            sigmas: Falling noise levels, for flow matching from 1 to 0; the steps lie between them. (For a network
                that predicts ε at x = √ᾱ x₀ + √(1 - ᾱ) ε, this is DDIM with σ = √((1 - ᾱ)/ᾱ) and x divided by √ᾱ.)
            rule: How windows are cut and merged; `rule_for(model)` picks one.
            store: Where latents are kept between windows, 512 MiB in memory unless given.
            key: Names everything that velocity, noise and `settled` depend on (model, seed, conditions, level). Needed
                where the store is shared or outlives this canvas.
            settled: What is done to latents after each step, a pure function too (not with `MultiDiffusion`).
            order: 1, or 2 for the steps that a rule takes at once, but for the first of them.
            wrap: Latents after which columns begin again, where noise and conditions do: a multiple of the rule's
                tile or stride. What is stored then serves both sides of the antimeridian.
            batch: Neighbours in a row of tiles that are computed in one call. A call for fewer costs as much.

        Raises:
            ArgumentError: An argument breaks a rule, or the store is too small to hold what a column of tiles needs.
        """
        self.rule, self.sigmas = rule, check_sigmas(sigmas)
        self.store = LatentStore() if store is None else store
        self.order = whole_number("order", order, 1, 2)
        self.batch = whole_number("batch", batch, 1, 2**16)
        self.stats = Stats()
        self._velocity, self._noise, self._settled = velocity, noise, settled
        self.channels = int(noise(range(1), range(1)).shape[0])
        self.layers: tuple[Layer, ...] = () if isinstance(rule, MultiDiffusion) else rule.layers(self.sigmas)
        if not isinstance(key, str):
            raise ArgumentError("key", "must be a string", key)
        parts = hashlib.sha256(repr((rule, self.sigmas, self.order, self.batch)).encode()).hexdigest()[:16]
        self._key = f"{key}/{parts}"
        self._period = None
        if not self.layers:
            if settled is not None or self.order > 1:
                name, value = ("settled", settled) if settled is not None else ("order", order)
                raise ArgumentError(name, "must be left out for `MultiDiffusion`", value)
            return
        self.stride = self.layers[-1].stride
        if wrap is not None:
            if whole_number("wrap", wrap, 1, 2**62) % self.stride:
                raise ArgumentError("wrap", f"must be a multiple of {self.stride}, the rule's tile or stride", wrap)
            self._period = wrap // self.stride
        # A row of pieces is due this many rows after that of the first layer with the same number.
        self._lead = [0]
        for n in range(1, len(self.layers)):
            below = self.layers[n - 1].meeting(self.layers[n].reads(0))
            self._lead.append(self._lead[-1] + below[-1])
        if self._working_set(1) > self.store.limit // 2:
            least = 2 * self._working_set(1)
            raise ArgumentError("store", f"must hold at least {least} bytes for this rule", self.store.limit)

    def sample(self, rows: range, columns: range) -> Tensor:
        """Latents of a window, float32 (channels, len(rows), len(columns)) on the CPU.

        Raises:
            ArgumentError: `rows` or `columns` is empty or not a range of step 1; with `MultiDiffusion`, off its grid.
        """
        _check_positions(rows=rows, columns=columns)
        result = torch.empty(self.channels, len(rows), len(columns))
        for part_rows, part_columns, part in self.parts(rows, columns):
            top, left = part_rows.start - rows.start, part_columns.start - columns.start
            result[:, top : top + len(part_rows), left : left + len(part_columns)] = part
        return result

    def parts(self, rows: range, columns: range) -> Iterator[tuple[range, range, Tensor]]:
        """The same window piece by piece, in memory that does not grow with it: (rows, columns, latents) of each part.

        Parts are as high as a tile, and as wide as the store allows. They come from top to bottom, strip after strip
        from left to right, and cover the window once. Narrow strips repeat the work along their sides.
        """
        _check_positions(rows=rows, columns=columns)
        if isinstance(self.rule, MultiDiffusion):
            yield rows, columns, self._bounded(self.rule, rows, columns)
            return
        last = len(self.layers)
        for strip in self._strips(columns):
            # Planned some tiles ahead, so that the plan does not grow with the window either.
            for block in _cut(rows, self.stride, max(1, 4096 * self.stride // len(strip))):
                cells = self._cells(last, block, strip)
                due = self._plan(last, cells)
                done = 0
                for band in _cut(block, self.stride):
                    end = self._due((last, self.layers[-1].meeting(band)[-1], 0))
                    stop = next((n for n in range(done, len(due)) if self._due(due[n]) > end), len(due))
                    self._compute(due[done:stop])
                    done = stop
                    yield band, strip, self._read(last, band, strip)

    def tile(self, i: int, j: int) -> Tensor:
        """A tile of the last step by its row and column on the rule's grid, with its rim. Not to be written to."""
        return self._piece((len(self.layers), i, j))

    # What a piece is

    def _read(self, layer: int, rows: range, columns: range) -> Tensor:
        """A window of a layer (0 the noise), put together of its pieces."""
        if layer == 0:
            return self._noise(rows, columns).to("cpu", torch.float32)
        here = self.layers[layer - 1]
        return put_together(here, rows, columns, self.channels, lambda i, j: self._piece((layer, i, j)))

    def _piece(self, cell: Cell) -> Tensor:
        here = self.layers[cell[0] - 1]
        found = self.store.get(self._name(cell), (self.channels, here.side, here.side))
        if found is not None:
            self.stats.found += 1
            return found
        # Damaged, or dropped since it was planned.
        return self._compute([*self._plan(cell[0] - 1, self._below(*cell)), cell])[cell]

    def _evaluate(self, cells: Sequence[Cell]) -> list[Tensor]:
        """Compute pieces of one layer that go into one batch.

        What a network gives for an image differs in the last bits with its place in the batch (but not with what the
        others are), so a piece's place follows from its column; places that nobody asked for repeat the last one.
        """
        layer = cells[0][0]
        here = self.layers[layer - 1]
        own = range(here.sides[0])
        places = [self._column(j) % self.batch for _, _, j in cells]
        slots = [places.index(n) if n in places else -1 for n in range(self.batch)]
        rows, columns = [here.reads(i) for _, i, _ in cells], [here.reads(j) for _, _, j in cells]
        sources = [(own, own)] * len(cells) if here.own_noise else list(zip(rows, columns, strict=True))
        read = [self._read(layer - 1, r, c) for r, c in sources]
        x, rows, columns = torch.stack([read[n] for n in slots]), [rows[n] for n in slots], [columns[n] for n in slots]
        last: tuple[float, Tensor] | None = None
        for (sigma, after), cut in zip(pairwise(here.sigmas), here.cuts, strict=True):
            v = self._call(x, sigma, rows, columns)
            step = after - sigma
            slope = v if last is None or self.order == 1 else v + step / (2 * (sigma - last[0])) * (v - last[1])
            x = x + step * slope
            if cut:
                x, v = (values[..., cut:-cut, cut:-cut] for values in (x, v))
                rows, columns = [r[cut:-cut] for r in rows], [c[cut:-cut] for c in columns]
            if self._settled is not None:
                x = self._settled(x, after, rows, columns)
            last = sigma, v
        return [x[n].clone() for n in places]  # of its own, or the store would hold the whole window

    def _call(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        with torch.inference_mode():
            v = self._velocity(x.contiguous(), sigma, rows, columns)
        if v.shape != x.shape:
            raise ArgumentError("velocity", f"must give what it gets, {tuple(x.shape)}", tuple(v.shape))
        self.stats.calls += 1
        self.stats.latents += len(x) * x.shape[-2] * x.shape[-1]
        return v.to("cpu", torch.float32)

    # In which order pieces are computed

    def _cells(self, layer: int, rows: range, columns: range) -> list[tuple[int, int]]:
        """Which pieces of a layer meet a window."""
        here = self.layers[layer - 1]
        return [(i, j) for i in here.meeting(rows) for j in here.meeting(columns)]

    def _below(self, layer: int, i: int, j: int) -> list[tuple[int, int]]:
        """Which pieces of the layer below a piece needs."""
        reads = self.layers[layer - 1].reads
        return self._cells(layer - 1, reads(i), reads(j)) if layer > 1 else []

    def _plan(self, layer: int, cells: Iterable[tuple[int, int]]) -> list[Cell]:
        """Those pieces of a layer, and all below it that they need, that are not stored: in the order of a wavefront.

        Each row of pieces comes as soon as what it needs is there, so that no more than a few rows of each layer are
        in use at a time.
        """
        missing: list[Cell] = []
        wanted = set(cells)
        for n in range(layer, 0, -1):
            new = [(n, i, j) for i, j in wanted if self._name((n, i, j)) not in self.store]
            missing += new
            wanted = {cell for above in new for cell in self._below(*above)}
        return sorted(missing, key=lambda cell: (self._due(cell), *cell))

    def _due(self, cell: Cell) -> int:
        return cell[1] + self._lead[cell[0] - 1]

    def _compute(self, plan: Sequence[Cell]) -> dict[Cell, Tensor]:
        """Compute pieces in the order of a plan and store them. Returns the last few."""
        last: dict[Cell, Tensor] = {}
        for _, group in groupby(plan, key=lambda cell: (cell[0], cell[1], self._column(cell[2]) // self.batch)):
            cells = list(group)
            last = dict(zip(cells, self._evaluate(cells), strict=True))
            self.stats.computed += len(cells)
            for cell, piece in last.items():
                self.store.put(self._name(cell), piece)
        return last

    def _column(self, j: int) -> int:
        """A column of pieces, the same for those that are the same once around the world."""
        return j if self._period is None else j % self._period

    def _name(self, cell: Cell) -> str:
        layer, i, j = cell
        return f"{self._key}/{layer}/{i}/{self._column(j)}"

    def _working_set(self, width: int) -> int:
        """Bytes that a strip `width` strides wide has in use at a time."""
        total = most = 0
        columns = range(width * self.stride)
        for n in range(len(self.layers) - 1, -1, -1):
            here = self.layers[n]
            over = self.layers[n + 1].reads(0) if n + 1 < len(self.layers) else range(self.stride)
            across = here.meeting(columns)
            row = len(across) * here.side**2 * self.channels * 4
            total += len(here.meeting(over)) * row
            most = max(most, row)
            columns = range(here.reads(across[0]).start, here.reads(across[-1]).stop)
        return total + most  # one row is new while all that the others need is still there

    def _strips(self, columns: range) -> Iterator[range]:
        """Cut columns so that each strip's working set fits into half the store: others may use it at the same time."""
        first = self._working_set(1)
        each = self._working_set(2) - first
        widest = 1 + (self.store.limit // 2 - first) // each
        tiles = -(-columns.stop // self.stride) - columns.start // self.stride
        strips = -(-tiles // widest)
        return _cut(columns, self.stride, -(-tiles // strips))

    # The rule that has no layers

    def _bounded(self, rule: MultiDiffusion, rows: range, columns: range) -> Tensor:
        for name, positions in (("rows", rows), ("columns", columns)):
            if positions.start % rule.grid or positions.stop % rule.grid:
                raise ArgumentError(name, f"must start and end on multiples of {rule.grid}", positions)
        windows = [(r, c) for r in rule.spans(rows) for c in rule.spans(columns)]
        x = self._noise(rows, columns).to("cpu", torch.float32)
        for sigma, after in pairwise(self.sigmas):
            total, count = torch.zeros_like(x), torch.zeros(1, *x.shape[1:])
            for n in range(0, len(windows), self.batch):
                some = windows[n : n + self.batch]
                places = [(_shared(rows, r)[0], _shared(columns, c)[0]) for r, c in some]
                v = self._call(torch.stack([x[:, r, c] for r, c in places]), sigma, *zip(*some, strict=True))
                for (r, c), part in zip(places, v, strict=True):
                    total[:, r, c] += part
                    count[:, r, c] += 1
            x = x + (after - sigma) * (total / count)
        return x


def put_together(
    layer: Layer, rows: range, columns: range, channels: int, piece: Callable[[int, int], Tensor]
) -> Tensor:
    """A window of a layer, float32 (channels, rows, columns), of the pieces (by row and column) that give it."""
    total = torch.zeros(channels, len(rows), len(columns))
    weight = torch.zeros(1, len(rows), len(columns))
    line = None if layer.weights is None else torch.tensor(layer.weights)
    for i in layer.meeting(rows):
        for j in layer.meeting(columns):
            into_rows, of_rows = _shared(rows, layer.gives(i))
            into_columns, of_columns = _shared(columns, layer.gives(j))
            part = piece(i, j)[:, layer.rim :, layer.rim :][:, of_rows, of_columns]
            if line is None:
                total[:, into_rows, into_columns] = part
            else:
                # In the order of the pieces and rounded after each operation: the same sum in every window.
                w = line[of_rows, None] * line[None, of_columns]
                total[:, into_rows, into_columns] += w * part
                weight[:, into_rows, into_columns] += w
    return total if line is None else total / weight


def _cut(positions: range, unit: int, units: int = 1) -> Iterator[range]:
    """Cut at multiples of `unit`, into parts of so many units."""
    start = positions.start
    while start < positions.stop:
        stop = min((start // unit + units) * unit, positions.stop)
        yield range(start, stop)
        start = stop


def _shared(a: range, b: range) -> tuple[slice, slice]:
    """Where two ranges overlap, counted from the start of each."""
    low, high = max(a.start, b.start), min(a.stop, b.stop)
    return slice(low - a.start, high - a.start), slice(low - b.start, high - b.start)


def _check_positions(**given: object) -> None:
    for name, positions in given.items():
        if not isinstance(positions, range) or positions.step != 1 or not positions:
            raise ArgumentError(name, "must be a range with step 1 that is not empty", positions)
