"""The layout of a world as fields on the latents of a level: what the model is told of it, and how far that reaches."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from earthgen.conditions import UNKNOWN, Box
from earthgen.errors import ArgumentError
from earthgen.layout import BOX_CHANNELS, CELL, LAYOUT_CHANNELS, MASK_CHANNELS, class_vectors, paint_boxes, paint_mask
from earthgen.text import sentence_vectors
from earthgen.world.layout import Layout, Placed, square_of
from earthgen.world.projection import world_size
from earthgen.world.pyramid import CASCADE_STEP, Window

REACH = 16
"""Latents around what a layout names over which it gives way to what the model does without one."""
_FINE = 1 / 1024
"""Pixels: boxes lie on multiples of it at every level, so that their distance to any pixel is exact."""

Field = NDArray[np.float32]
Inside = NDArray[np.bool_]


class Painted(NamedTuple):
    """A layout on a window of h × w latents."""

    layout: Field
    """(70, h, w), as `earthgen.layout` has it."""
    share: Field
    """(h, w), how far the layout rules: 1 where it names something, linearly less around it, 0 from `REACH`."""
    free: Field
    """(h, w), the part of each latent whose colours are for this level to find: of things so small in the coarser one
    (less than 16 px a side), if they count there at all, that it cannot say."""


class Words:
    """The vectors of classes and texts, each computed alone and once. May be asked from several threads."""

    def __init__(self, text_encoder: Any, tokenizer: Any) -> None:
        self._encoder, self._tokenizer = text_encoder, tokenizer
        self._found: dict[str, Field] = {}
        self._lock = threading.Lock()

    def check(self, names: Iterable[str]) -> None:
        """Raise `ArgumentError` for a name of which the text encoder knows no part."""
        unknown = self._tokenizer.unk_token_id
        for name in sorted(names):
            if all(token == unknown for token in self._tokenizer(name, add_special_tokens=False)["input_ids"]):
                raise ArgumentError("layout", "must have classes in words that the text encoder knows", name)

    def __getitem__(self, name: str) -> Field:
        with self._lock:
            if name not in self._found:
                vector = sentence_vectors([name], self._encoder, self._tokenizer)  # in a batch it would be rounded
                self._found[name] = class_vectors(vector)[0]
            return self._found[name]


def painted(layout: Layout, epoch: int, window: Window, words: Words, first: bool) -> Painted | None:
    """A layout in a window of pixels whose edges lie on latents; None where it says nothing of it.

    A function of each place alone, whatever the window.

    Args:
        layout: Of the world.
        epoch: Of the layout.
        window: Of a level.
        words: Of the model.
        first: Whether no coarser level was made from a layout.
    """
    wide, level = window.grown(CELL * REACH), window.level
    objects = layout.near(square_of(wide), epoch, level)
    mask = layout.mask if layout.mask is not None and layout.mask.speaks(level) else None
    if mask is not None and not mask.reaches(wide):
        mask = None
    if not objects and mask is None:
        return None

    def new(least: int) -> bool:
        return first or least > level - 2 * CASCADE_STEP  # the coarser level has shown it by a few latents at most

    boxes = [(box_at(one, turn, wide), new(one.level)) for one, turn in objects if one.box is not None]
    areas = [(one, turn) for one, turn in objects if one.box is None]
    names = sorted({one.text for one, _ in areas} | set(() if mask is None else mask.classes))
    vectors = {name: words[name] for name in names}
    numbers = {name: n + (n >= UNKNOWN) for n, name in enumerate(names)}
    field = np.zeros((LAYOUT_CHANNELS, *(n // CELL for n in wide.shape)), np.float32)
    free = np.zeros(field.shape[1:], np.float32)
    if names:
        table = np.zeros((max(numbers.values()) + 1, len(words[names[0]])), np.float32)
        table[list(numbers.values())] = [vectors[name] for name in names]
        parts = _phases(mask, numbers, wide) if mask is not None else [np.full(wide.shape, UNKNOWN)]
        fresh = np.full(wide.shape, mask is not None and new(mask.level))
        for one, turn in areas:
            place, there = inside(one, turn, wide)
            for part in parts:
                part[place][there] = numbers[one.text]
            fresh[place][there] = new(one.level)
        for part in parts:
            field[MASK_CHANNELS] += paint_mask(part, table) / len(parts)  # type: ignore[arg-type]
            told = (fresh & (part != UNKNOWN)).reshape(free.shape[0], CELL, free.shape[1], CELL)
            free += told.mean((1, 3), dtype=np.float32) / len(parts)
    if boxes:
        vectors = {box.label: words[box.label] for box, _ in boxes}
        field[BOX_CHANNELS] = paint_boxes([box for box, _ in boxes], vectors, *wide.shape)
        known = paint_boxes([box for box, fresh in boxes if fresh], vectors, *wide.shape)[0]
        free = np.maximum(free, known)
    covered = (field[MASK_CHANNELS.start] > 0) | (field[BOX_CHANNELS.start] > 0)
    if not covered.any():
        return None
    share = np.clip(1 - distance_transform_edt(~covered) / REACH, 0, 1).astype(np.float32)
    inner = (..., slice(REACH, -REACH), slice(REACH, -REACH))
    if not share[inner].any():
        return None
    return Painted(field[inner].copy(), share[inner].copy(), free[inner].copy())


def box_at(one: Placed, turn: int, window: Window) -> Box:
    """An object's box in pixels of a window, told as what the model is to draw."""
    size, box = world_size(window.level), one.box
    assert box is not None
    cx, cy = (round(position * size / _FINE) * _FINE for position in (box.cx, box.cy))
    width, height = box.width * size, box.height * size
    return Box(one.text, cx + turn * size - window.left, cy - window.top, width, height, box.angle)


def inside(one: Placed, turn: int, window: Window) -> tuple[tuple[slice, slice], Inside]:
    """The pixels of a window whose centres lie in an object: those of a part of it, and which of them."""
    size = world_size(window.level)
    left, top, right, bottom = one.outline.bounds
    columns = range(
        max(window.left, int(left * size) - 1 + turn * size), min(window.right, int(right * size) + 2 + turn * size)
    )
    rows = range(max(window.top, int(top * size) - 1), min(window.bottom, int(bottom * size) + 2))
    place = _slice(rows, window.top), _slice(columns, window.left)
    x = (np.array(columns, np.float64) + 0.5 - turn * size) / size
    y = (np.array(rows, np.float64) + 0.5) / size
    shapely.prepare(one.outline)
    grid_x, grid_y = np.meshgrid(x, y)
    there: Inside = shapely.contains_xy(one.outline, grid_x.ravel(), grid_y.ravel()).reshape(len(rows), len(columns))
    return place, there


def _slice(positions: range, start: int) -> slice:
    return slice(positions.start - start, positions.start - start + len(positions))


def _phases(mask: Any, numbers: dict[str, int], window: Window) -> list[NDArray[np.intp]]:
    """A mask's classes by number at each pixel of a window; of a finer mask, at 2 × 2 places of each pixel."""
    count = 1 if mask.place.level <= window.level + 0.5 else 2
    table = np.full(256, UNKNOWN, np.intp)
    table[: len(mask.classes)] = [numbers[name] for name in mask.classes]
    found = []
    for i in range(count):
        for j in range(count):
            rows, columns = (
                np.array(positions, np.float64) + (k + 0.5) / count
                for positions, k in ((window.rows, i), (window.columns, j))
            )
            found.append(table[mask.at(window.level, rows[:, None], columns[None, :])])
    return found
