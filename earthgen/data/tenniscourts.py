"""Tennis courts found by their lines, whose places the rules of the game fix to the inch.

A court is 78 by 36 feet. A picture's thin bright lines are correlated with the lines of a court at every place and
heading, against the ground between them; what that proposes is then asked for each line on its own.
SciPy is imported where it is used, as those who only generate do without it.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Box

LABEL = "tennis court"
FOOT = 0.3048
LENGTH, WIDTH, SINGLES, SERVICE = 78.0, 36.0, 27.0, 21.0
"""Feet: of the court, the width between the singles lines, from the net to a service line."""
SURE, DOUBTFUL = 0.42, 0.25
"""A court scores at least the first, the rest of the world less than the second; the two were told apart by eye."""
SEEN = 0.4
"""Share of a court's lines that have to lie in the picture."""
_PROPOSALS = 12
_STEP = 3.0  # degrees between headings that are tried
_STRIP = 12  # least pixels of a line to judge it by
_LINES = np.array(
    [
        *(((-LENGTH / 2, y), (LENGTH / 2, y)) for y in (-WIDTH / 2, WIDTH / 2, -SINGLES / 2, SINGLES / 2)),
        *(((x, -WIDTH / 2), (x, WIDTH / 2)) for x in (-LENGTH / 2, LENGTH / 2)),
        *(((x, -SINGLES / 2), (x, SINGLES / 2)) for x in (-SERVICE, SERVICE)),
        ((-SERVICE, 0.0), (SERVICE, 0.0)),
    ]
)

Floats = NDArray[np.float64]


def find(image: NDArray[np.uint8], gsd: float) -> tuple[Box, ...] | None:
    """The tennis courts of a picture that has some, RGB (height, width, 3); None unless all are certain.

    Args:
        image: Of about a foot a pixel, so that lines of two to four inches are seen but are no wider than 3 pixels.
        gsd: Metres on the ground a pixel.

    A box is the outer lines of a court, `width` its length; it may reach beyond the picture.
    """
    scale = FOOT / gsd
    strength = _line_strength(image)
    scored = [_judged(strength, *place, scale) for place in _proposals(strength, scale)]
    if not scored or max(score for score, _ in scored) < SURE or any(DOUBTFUL <= s < SURE for s, _ in scored):
        return None
    return tuple(box for score, box in scored if score >= SURE)


def _line_strength(image: NDArray[np.uint8]) -> Floats:
    """How much brighter a pixel is than both its sides, in the best of four directions, grey levels (height, width)."""
    from scipy import ndimage

    grey = ndimage.gaussian_filter(image @ np.array([0.3, 0.59, 0.11]), 0.6)
    best = np.zeros_like(grey)
    for dy, dx in ((0, 3), (3, 0), (2, 2), (2, -2)):
        sides = (np.roll(grey, (sign * dy, sign * dx), (0, 1)) for sign in (1, -1))
        best = np.maximum(best, grey - np.maximum(*sides))
    strength: Floats = ndimage.grey_dilation(np.clip(best, 0, 30), size=(3, 3))
    return strength


def _points(angle: float, scale: float) -> list[Floats]:
    """Points a pixel apart along each line of a court at the origin, (n, 2) as (x, y)."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    points = []
    for start, end in _LINES @ np.array([[c, s], [-s, c]]) * scale:
        n = int(np.linalg.norm(end - start))
        points.append(start + (end - start) * ((np.arange(n) + 0.5) / n)[:, None])
    return points


@cache
def _between(scale: float) -> Floats:
    """Points of a court at the origin, heading 0, that lie well between its lines, (n, 2)."""
    at = np.stack(np.meshgrid(np.arange(-37.5, 38, 2.5), np.arange(-16.5, 17, 2.5)), -1).reshape(-1, 2)
    start, along = _LINES[:, 0], _LINES[:, 1] - _LINES[:, 0]
    t = np.clip(((at[:, None] - start) * along).sum(2) / (along**2).sum(1), 0, 1)
    away = np.linalg.norm(at[:, None] - start - t[..., None] * along, axis=2).min(1)
    return at[away > 3] * scale


def _proposals(strength: Floats, scale: float) -> list[tuple[float, float, float]]:
    """Centres (x, y) and angles where a court is likeliest, likeliest first, none on top of another."""
    from scipy import fft

    height, width = strength.shape
    # Differences of logarithms are ratios, whatever the contrast; the mean beyond the border says nothing.
    level = np.log(strength + 3)
    reach = math.ceil(math.hypot(LENGTH, WIDTH) / 2 * scale) + 2
    shape = tuple(fft.next_fast_len(side + 2 * reach) for side in (height, width))
    spectrum = fft.rfft2(level - level.mean(), shape)
    angles = np.arange(0, 180, _STEP)
    best, which = np.full((height, width), -np.inf), np.zeros((height, width), int)
    for k, angle in enumerate(angles):
        kernel = np.zeros(shape)
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        for points, sign in ((np.concatenate(_points(angle, scale)), 1), (_between(scale) @ [[c, s], [-s, c]], -1)):
            x, y = np.floor(points).astype(int).T
            np.add.at(kernel, (y, x), sign / len(points))
        found = fft.irfft2(spectrum * np.conj(fft.rfft2(kernel)), shape)[:height, :width]
        which[found > best] = k
        best = np.maximum(best, found)
    places = []
    rows, columns = np.mgrid[:height, :width]
    for _ in range(_PROPOSALS):
        y, x = np.unravel_index(int(np.argmax(best)), best.shape)
        angle = float(angles[which[y, x]])
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        u, v = (columns - x) * c + (rows - y) * s, (rows - y) * c - (columns - x) * s
        best[(np.abs(u) < 0.9 * LENGTH * scale) & (np.abs(v) < 0.9 * WIDTH * scale)] = -np.inf
        places.append((float(x), float(y), angle))
    return places


def _judged(strength: Floats, x: float, y: float, angle: float, scale: float) -> tuple[float, Box]:
    """Score below 1 of the best court within a pixel and half a step of a place, and its box.

    The score compares the weakest line but two, as shadows and nets hide some, with the ground between the lines.
    """
    height, width = strength.shape

    def at(points: Floats) -> Floats:
        i = np.floor(points).astype(int)
        i = i[(i >= 0).all(1) & (i[:, 0] < width) & (i[:, 1] < height)]
        return strength[i[:, 1], i[:, 0]]

    best, box = -1.0, Box(LABEL, x, y, LENGTH * scale, WIDTH * scale, angle)
    for turn in (-_STEP / 2, 0.0, _STEP / 2):
        lines = _points(angle + turn, scale)
        c, s = math.cos(math.radians(angle + turn)), math.sin(math.radians(angle + turn))
        between = _between(scale) @ np.array([[c, s], [-s, c]])
        for dx in (-0.5, 0.5, 1.5):
            for dy in (-0.5, 0.5, 1.5):
                centre = np.array([x + dx, y + dy])
                seen = [at(points + centre) for points in lines]
                if sum(map(len, seen)) < SEEN * sum(map(len, lines)):
                    continue
                medians = sorted(float(np.median(part)) for part in seen if len(part) >= _STRIP)
                if len(medians) < 5:
                    continue
                line, ground = medians[max(0, len(medians) - 7)], float(at(between + centre).mean())
                score = (line - ground) / (line + ground + 3)
                if score > best:
                    turned = (angle + turn + 90) % 180 - 90
                    best, box = score, Box(LABEL, x + dx, y + dy, LENGTH * scale, WIDTH * scale, turned)
    return best, box
