"""A world between two dates of events: its tiles, each a pure function of its place, the layout and the events before.

In epoch 0 a tile is what its level's `Stage` makes under the layout. Each later epoch makes the tile anew under its own
layout, and where that fades out around what its events changed, 12 px on each level, the pixels are those of the epoch
before: there they are copied, not made again alike. So where nothing has changed a tile is that of the epoch before,
under the same key of the cache.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.layout import CELL
from earthgen.simulate.margins import MARGIN, feathered, mixed
from earthgen.world.base import Base, averaged, surrounding
from earthgen.world.cache import TileCache, tile_key
from earthgen.world.layout import Happened, Layout, square_of
from earthgen.world.makers import Maker, Tiles
from earthgen.world.painting import REACH, Words, inside, painted
from earthgen.world.projection import TILE
from earthgen.world.pyramid import CASCADE_STEP, Tile, Window
from earthgen.world.stage import Request, Stage

Image = NDArray[np.uint8]

_KEPT = 16
"""Epochs, each with what its levels keep in memory."""


@dataclass(eq=False)
class Epochs:
    """All epochs of a world, and what they share. May be asked from several threads, which take turns."""

    request: Request
    base: Base | None
    base_level: int
    deepest: int
    maker: Maker
    sampling: Mapping[int, Any]
    """How each of the levels that are made is sampled, in the maker's own terms."""
    cache: TileCache
    layout: Layout | None = None
    words: Words | None = None
    """Of the layout."""
    weights: Any = None
    """Of the layout, for the key: what guidance it has."""
    _made: OrderedDict[int, Epoch] = field(default_factory=OrderedDict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __getitem__(self, number: int) -> Epoch:
        with self._lock:
            if number not in self._made:
                self._made[number] = Epoch(self, number)
                while len(self._made) > _KEPT:
                    self._made.popitem(last=False)
            return self._made[number]

    def cache_of(self, key: str) -> Image | None:
        """A tile that the cache has."""
        found = self.cache.get(key)
        return found if found is not None and found.shape == (TILE, TILE, 3) else None


class Epoch:
    """See the module."""

    def __init__(self, world: Epochs, number: int) -> None:
        self.world, self.number = world, number
        self._stages: dict[int, Tiles] = {}

    def pixels(self, window: Window) -> Image:
        """Pixels of a window of a level, uint8 (height, width, 3). See `World.pixels`."""
        base = self.world.base
        if base is not None and window.level in base.levels:
            return self.world.request.known.laid(base.pixels, window)

        def read(rows: range, columns: range) -> Image:
            part = Window(window.level, rows.start, columns.start, len(rows), len(columns))
            image = np.empty((part.height, part.width, 3), np.uint8)
            for tile in part.tiles():
                there = tile.window
                top, left = there.top - part.top, there.left - part.left
                target = image[max(top, 0) : top + TILE, max(left, 0) : left + TILE]
                source = self.tile(tile.wrapped)[max(-top, 0) :, max(-left, 0) :]
                target[:] = source[: target.shape[0], : target.shape[1]]
            return image

        return surrounding(window, read)

    def tile(self, tile: Tile) -> Image:
        """A tile by its name, from the cache or computed. The lock comes first, so that no two wait for each other."""
        world = self.world
        if world.base is not None and tile.z in world.base.levels:
            return self.pixels(tile.window)
        if (found := self.kept(tile)) is not None:
            return found
        with world._lock:
            before: Image | None = None
            for number in self._numbers(tile):
                epoch = world[number]
                if (found := world.cache_of(epoch.key(tile))) is None:
                    found = epoch._computed(tile, before)
                    found.flags.writeable = False
                    world.cache.put(epoch.key(tile), found)
                before = found
        assert before is not None
        return before

    def kept(self, tile: Tile) -> Image | None:
        """What the cache has of a tile: of the last epoch up to this one by which anything of it has changed."""
        return self.world.cache_of(self.world[self._numbers(tile)[-1]].key(tile))

    def key(self, tile: Tile) -> str:
        """Of a tile in the cache: it tells of those objects and events alone that reach it or what it is made from."""
        z, x, y = tile
        parts = [*self._told(tile)]
        return tile_key(self.world.request.key, z, y, x, *([self.world.weights, parts] if parts else []))

    def _numbers(self, tile: Tile) -> list[int]:
        """Epoch 0, and those up to this one by which anything of a tile has changed."""
        layout, window = self.world.layout, self._source(tile)
        if layout is None or window is None or not self.number:
            return [0]
        happened = layout.happened(square_of(window.grown(MARGIN + 1)), range(1, self.number + 1), window.level)
        return [0, *sorted({layout.epoch(event.date) for event, _ in happened})]

    def _source(self, tile: Tile) -> Window | None:
        """A tile at the level that it is made from: its own, or the next that is; None above those that are made."""
        base = self.world.base
        if base is not None and tile.z <= max(base.levels):
            return None
        return tile.window.at_level(min(level for level in self.world.sampling if level >= tile.z))

    def _told(self, tile: Tile) -> Iterator[str]:
        """What the layout says of all that a tile is made from."""
        layout, window = self.world.layout, self._source(tile)
        while layout is not None and window is not None and window.level in self.world.sampling:
            stage = self._stage(window.level)
            assert isinstance(stage, Stage)  # nothing else takes a layout
            window = stage.reads(window)
            yield from (f"{window.level} {part}" for part in layout.key(window.grown(CELL * REACH), self.number))
            window = stage.below(window) if window.level > CASCADE_STEP else None

    def _computed(self, tile: Tile, before: Image | None) -> Image:
        z, x, y = tile
        if z not in self.world.sampling:
            return averaged(self.pixels(Window(z + 1, 2 * TILE * y, 2 * TILE * x, 2 * TILE, 2 * TILE)))
        new = self._stage(z).tile(y, x)
        if before is None:
            return new
        assert self.world.layout is not None
        wide = tile.window.grown(MARGIN + 1)
        changed = np.zeros(wide.shape, bool)
        for event, turn in self.world.layout.happened(square_of(wide), range(self.number, self.number + 1), z):
            changed |= changed_by(event, turn, wide)
        weight = feathered(changed)[1][tile.window.slices_in(wide)]
        return mixed(before, new, weight)

    def _stage(self, level: int) -> Tiles:
        with self.world._lock:
            if level not in self._stages:
                world = self.world
                coarser = None if world.base is None and level == world.base_level else self.pixels
                layout = None
                if world.layout is not None and world.words is not None:
                    first = level - CASCADE_STEP not in world.sampling
                    layout = partial(painted, world.layout, self.number, words=world.words, first=first)
                how = world.sampling[level]
                self._stages[level] = world.maker.stage(world.request, level, how, coarser, layout, str(self.number))
            return self._stages[level]


def changed_by(event: Happened, turn: int, window: Window) -> NDArray[np.bool_]:
    """The pixels of a window that an event changes: those of one of its outlines alone, of a transition all."""
    before, after = np.zeros(window.shape, bool), np.zeros(window.shape, bool)
    for mask, parts in ((before, event.before), (after, event.after)):
        for one in parts:
            if one.level <= window.level:
                place, there = inside(one, turn, window)
                mask[place] |= there
    return before | after if event.kind == "transition" else before ^ after
