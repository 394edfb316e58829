"""Boxes and semantic masks as a raster on the latent grid, so that objects may cross any tile's border.

A cell is a latent, 4 pixels a side, so that small objects keep their shape. Channels, in this order:

    0        mask: fraction of the cell of which the mask speaks
    1..32    mask: class vector, averaged over the cell
    33       boxes: fraction of the cell that boxes cover
    34..65   boxes: class vector × coverage
    66, 67   boxes: coordinates in the box's own frame, -1 to 1, × coverage
    68, 69   boxes: sine and cosine of the heading, × coverage

A class vector is the text encoder's vector of the class's name, projected at random to 32 numbers: any name
is a class, and names that mean nearly the same get nearly the same vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN, Box
from earthgen.text import TEXT_DIM

CELL = 4
"""Pixels of a cell's side."""
CLASS_DIM = 32
LAYOUT_CHANNELS = 2 * (1 + CLASS_DIM) + 4
MASK_CHANNELS = slice(0, 1 + CLASS_DIM)
BOX_CHANNELS = slice(1 + CLASS_DIM, LAYOUT_CHANNELS)
_SAMPLES = 4  # sub-samples a cell's side when a box's coverage is measured: every pixel centre

Array = NDArray[np.float32]


def class_vectors(sentence_vectors: NDArray[np.floating]) -> Array:
    """Unit text vectors (n, 384) → class vectors (n, 32) with entries of about unit size (Johnson-Lindenstrauss)."""
    # RandomState's stream is frozen by numpy for good, so the projection is part of the format.
    projection = np.random.RandomState(20261121).standard_normal((TEXT_DIM, CLASS_DIM))
    return (sentence_vectors @ projection).astype(np.float32)


def paint_mask(mask: NDArray[np.uint8], vectors: Array) -> Array:
    """A mask (height, width) of indices into `vectors` (n, 32), 255 unknown → (33, rows, columns)."""
    height, width = mask.shape
    rows, columns = math.ceil(height / CELL), math.ceil(width / CELL)
    padded = np.pad(mask, ((0, rows * CELL - height), (0, columns * CELL - width)), mode="edge")
    cells = padded.reshape(rows, CELL, columns, CELL)
    field = np.zeros((1 + CLASS_DIM, rows, columns), np.float32)
    for index in np.unique(padded):
        if index != UNKNOWN:
            share = (cells == index).mean((1, 3), dtype=np.float32)
            field[0] += share
            field[1:] += share * vectors[index][:, None, None]
    return field


def covered(boxes: Sequence[Box], height: int, width: int) -> Array:
    """The part of each cell that boxes cover, 0 to 1, (rows, columns)."""
    no_class = np.zeros(CLASS_DIM, np.float32)
    return paint_boxes(boxes, {box.label: no_class for box in boxes}, height, width)[0]


def paint_boxes(boxes: Sequence[Box], vectors: Mapping[str, Array], height: int, width: int) -> Array:
    """Boxes in pixels of a (height, width) image → (37, rows, columns). Small boxes lie on top of large ones."""
    rows, columns = math.ceil(height / CELL), math.ceil(width / CELL)
    field = np.zeros((LAYOUT_CHANNELS - 1 - CLASS_DIM, rows, columns), np.float32)
    for box in sorted(boxes, key=lambda b: -b.width * b.height):
        corners = box.corners()
        x0, y0 = np.maximum(np.floor(corners.min(0) / CELL), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(corners.max(0) / CELL), (columns, rows)).astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        step = CELL / _SAMPLES
        x = (np.arange(x0 * _SAMPLES, x1 * _SAMPLES) + 0.5) * step - box.cx
        y = (np.arange(y0 * _SAMPLES, y1 * _SAMPLES) + 0.5) * step - box.cy
        c, s = math.cos(math.radians(box.angle)), math.sin(math.radians(box.angle))
        u = (c * x[None, :] + s * y[:, None]) / (box.width / 2)
        v = (-s * x[None, :] + c * y[:, None]) / (box.height / 2)
        inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)

        def mean(a: NDArray[np.floating], shape: tuple[int, int] = (y1 - y0, x1 - x0)) -> Array:
            cells = a.reshape(shape[0], _SAMPLES, shape[1], _SAMPLES)
            # In this order whatever the shape, so that a cell is the same in any window.
            total = sum(cells[:, i, :, j] for i in range(_SAMPLES) for j in range(_SAMPLES))
            return (total / _SAMPLES**2).astype(np.float32)  # type: ignore[union-attr]

        cover = mean(inside.astype(np.float32))
        patch = field[:, y0:y1, x0:x1]
        patch *= 1 - cover
        patch[0] += cover
        patch[1 : 1 + CLASS_DIM] += cover * vectors[box.label][:, None, None]
        patch[1 + CLASS_DIM] += mean(np.where(inside, u, 0))
        patch[2 + CLASS_DIM] += mean(np.where(inside, v, 0))
        patch[3 + CLASS_DIM] += cover * s
        patch[4 + CLASS_DIM] += cover * c
    return field
