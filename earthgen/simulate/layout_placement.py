"""Placing objects: each beside a neighbour as an exemplar stood beside its own, or by itself where it stood so."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from earthgen.labels.shapes import area, polygons
from earthgen.simulate.layout_geometry import Crowd, Floats, clipped, enclosing, filling, gaps
from earthgen.simulate.layout_masks import Ground
from earthgen.simulate.layout_statistics import LONE, Convention, Exemplars, Ints

Window = tuple[int, int, int, int]
"""Top, left, bottom, right."""

BESIDE_TRIES, ALONE_TRIES = 10, 24
KIN = 0.3
"""Bandwidth in logarithms of sizes of what passes for an exemplar's own neighbour, or for the exemplar itself."""
STRANGERS = 4.0
"""m exemplars of a scene are mixed with so many of others, like them in size, for each m drawn."""
LEAST_SEEN = 0.1
"""Least share of a rectangle that has to lie in the image, where boxes end at its border."""
DECIMALS = 3
"""Of pixels, in outlines: as files of labels have them."""
GIVE_UP = 40
"""Failures in a row after which a canvas counts as full."""


class Placer:
    """A canvas that objects are put on one after the other.

    Args:
        rng: Where all chance comes from.
        height, width: Of the canvas in pixels.
        exemplars: What to draw from.
        convention: How rectangles are written.
        ground: Where objects may stand; None is anywhere.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        exemplars: Exemplars,
        convention: Convention,
        ground: Ground | None = None,
    ) -> None:
        self.rng, self.height, self.width = rng, height, width
        self.bank, self.convention, self.ground = exemplars, convention, ground
        sides = np.exp(exemplars.size)
        self.smallest = float(sides.min())
        self.crowd = Crowd(2 * float(np.median(sides.max(1))))
        self.labels: list[int] = []
        self.outlines: list[Floats | None] = []  # in pixels
        self.sizes: list[Floats] = []  # logarithms, before the border cut them
        self.children: list[int] = []
        # Room is what was seen, less what the jitter of sizes needs.
        longest = sides.max(1)
        self.rooms = np.where(exemplars.gap > 0, 0.9 * np.minimum(exemplars.gap, LONE * longest), exemplars.gap - 1)
        self.least = {
            int(k): float(np.quantile(self.rooms[exemplars.label == k], 0.05)) for k in np.unique(exemplars.label)
        }

    def fill(self, window: Window, wanted: Ints, scene: int | None = None) -> Ints:
        """Put objects into a window, `wanted` of each class, alike to those of a scene; how many found no room."""
        waiting = deque((e, False) for e in self._order(wanted, scene))
        members: list[int] = []
        missing = np.zeros_like(wanted)
        failures = 0
        while waiting:
            e, deferred = waiting.popleft()
            label, parent = int(self.bank.label[e]), int(self.bank.parent[e])
            lonely = parent >= 0 and not any(self.labels[n] == self.bank.label[parent] for n in members)
            if lonely and not deferred and len(waiting):  # until its neighbour's class is there
                waiting.append((e, True))
                continue
            number = self._place(e, members, window) if failures < GIVE_UP else None
            failures = 0 if number is not None else failures + 1
            if number is None:
                missing[label] += 1
            else:
                members.append(number)
        return missing

    def top_up(self, missing: Ints) -> Ints:
        """Find room anywhere, as tight as objects ever stood; how many found none still."""
        window = (0, 0, self.height, self.width)
        missing = missing.copy()
        for label in np.flatnonzero(missing):
            members = [n for n, k in enumerate(self.labels) if k == label]
            failures = 0
            while missing[label] and failures < GIVE_UP:
                e = self._order(np.eye(len(missing), dtype=np.int64)[label], None)[0]
                number = self._place(e, members, window, tight=True)
                failures = 0 if number is not None else failures + 1
                if number is not None:
                    members.append(number)
                    missing[label] -= 1
        return missing

    def put(
        self,
        row: Floats,
        label: int,
        room: float,
        slack: float = 0.0,
        theirs: bool = True,
        outline: Floats | None = None,
    ) -> int | None:
        """Put a rectangle, or an outline that fills it, exactly there unless border, ground or others forbid it.

        Returns its number.
        """
        seen = self._seen(row)
        points = None if seen is None or outline is None else self._drawn(filling(row, outline))
        if points is not None:
            seen = enclosing(points, row[4])
        elif outline is not None:
            return None
        if seen is None or (self.ground is not None and not self.ground.bears(seen, label, self.rng.random())):
            return None
        if not self.crowd.admits(seen, room, slack, theirs):
            return None
        return self.keep(seen, label, room, row[2:4], points)

    def keep(
        self, row: Floats, label: int, room: float, size: Floats | None = None, outline: Floats | None = None
    ) -> int:
        """Take a rectangle in as it is, `size` what it measured before the border cut it; its number."""
        self.labels.append(label)
        self.outlines.append(outline)
        self.sizes.append(np.log(row[2:4] if size is None else size))
        self.children.append(0)
        return self.crowd.add(row, room)

    def _seen(self, row: Floats) -> Floats | None:
        if not self.convention.clips:
            return row if 0 <= row[0] < self.width and 0 <= row[1] < self.height else None
        seen = clipped(row, self.height, self.width)
        if seen is None or seen is row:
            return seen
        enough = seen[2] * seen[3] >= LEAST_SEEN * row[2] * row[3] and min(seen[2], seen[3]) >= self.smallest
        return seen if enough else None

    def _drawn(self, points: Floats) -> Floats | None:
        """An outline as the labels would have it; None where the canvas shows too little of it."""
        whole = polygons(np.round(points, DECIMALS))
        seen = polygons(whole[0], self.height, self.width) if whole else []
        if not seen or not self.convention.clips:
            return whole[0] if seen else None
        return seen[0] if area(seen[0]) >= LEAST_SEEN * area(whole[0]) else None

    def _mirrored(self, outline: Floats | None) -> Floats | None:
        """An exemplar's outline or its mirror image; of what has two ends, either may be first."""
        if outline is None:
            return None
        directed = self.convention.turns and self.convention.period == 360
        return outline * (1 - 2 * self.rng.integers(2, size=2) * (not directed, True))

    def _order(self, wanted: Ints, scene: int | None) -> list[int]:
        """Exemplars for so many of each class, those of the scene mixed with others of their size."""
        bank, chosen = self.bank, []
        for label in np.flatnonzero(wanted):
            everywhere = np.flatnonzero((bank.label == label) & bank.whole)
            if not everywhere.size:
                everywhere = np.flatnonzero(bank.label == label)
            own = everywhere[bank.scene[everywhere] == scene]
            pool = own if own.size else everywhere
            rounds = math.ceil(wanted[label] / len(pool))
            picks = np.concatenate([self.rng.permutation(pool) for _ in range(rounds)])[: wanted[label]]
            strange = self.rng.random(len(picks)) < STRANGERS / (STRANGERS + len(pool))
            for k in np.flatnonzero(strange):
                weights = self._kinship(bank.size[everywhere], bank.size[picks[k]])
                picks[k] = everywhere[int(self.rng.choice(len(everywhere), p=weights / weights.sum()))]
            chosen += picks.tolist()
        return [chosen[k] for k in self.rng.permutation(len(chosen))]

    @staticmethod
    def _kinship(sizes: Floats, size: Floats) -> Floats:
        return np.exp(-((sizes - size) ** 2).sum(1) / (2 * KIN**2)) + 1e-9

    def _place(self, e: int, members: Sequence[int], window: Window, tight: bool = False) -> int | None:
        bank, rng = self.bank, self.rng
        size = np.exp(bank.size[e] + bank.size_jitter[e] * rng.standard_normal(2))
        label, room = int(bank.label[e]), float(self.rooms[e])
        if tight:
            room = min(room, self.least[label])
        slack = 0.1 * float(size.min())
        outline = self._mirrored(bank.outline[e])
        angle = float(bank.angle[e]) + bank.turn_jitter[e] * rng.standard_normal()
        if members and bank.parent[e] >= 0:
            for attempt in range(BESIDE_TRIES):
                q = self._neighbour(e, members)
                row = self._beside(e, q, size)
                number = self.put(row, label, room, slack * (2 * attempt >= BESIDE_TRIES), not tight, outline)
                if number is not None:
                    self.children[q] += 1
                    return number
                angle = float(row[4])
        alone = min(float(bank.link[e]), LONE * float(size.max())) if bank.parent[e] < 0 and not tight else room
        for attempt in range(ALONE_TRIES):
            place = self._anywhere(label, window, size)
            if place is None:
                return None
            patient = 2 * attempt < ALONE_TRIES
            row = np.array([*place, *size, angle])
            # Who stood alone looks for such a place first, but lets others come as near as they came.
            if patient and alone > room and not self.crowd.admits(row, alone):
                continue
            number = self.put(row, label, room, 0.0 if patient else slack, not tight, outline)
            if number is not None:
                return number
        return None

    def _anywhere(self, label: int, window: Window, size: Floats) -> tuple[float, float] | None:
        if self.ground is not None:
            return self.ground.place(self.rng, label, window)
        top, left, bottom, right = window
        x, y = self.rng.random(2)
        if not self.convention.clips:
            return left + x * (right - left), top + y * (bottom - top)
        # Where boxes end at the canvas's border, the middle of some lies beyond it.
        beyond = float(size.mean()) / 2 * (1 - 2 * LEAST_SEEN)
        x0, y0 = left - beyond * (left == 0), top - beyond * (top == 0)
        x1, y1 = right + beyond * (right == self.width), bottom + beyond * (bottom == self.height)
        return x0 + x * (x1 - x0), y0 + y * (y1 - y0)

    def _neighbour(self, e: int, members: Sequence[int]) -> int:
        """One of the members to stand beside: of the class and size of the exemplar's neighbour, with room left."""
        parent = int(self.bank.parent[e])
        weights = self._kinship(np.array([self.sizes[n] for n in members]), self.bank.size[parent])
        link = float(self.bank.link[e])
        for k, n in enumerate(members):
            if self.labels[n] != self.bank.label[parent]:
                weights[k] *= 1e-12
            weights[k] /= (1 + self.children[n]) ** 2
            if self.crowd.room[n] > link + 1:
                weights[k] *= 1e-6
        return members[int(self.rng.choice(len(members), p=weights / weights.sum()))]

    def _beside(self, e: int, q: int, size: Floats) -> Floats:
        """The exemplar beside the object `q` as beside its own neighbour: direction, gap and relative heading."""
        bank, rng, row_q = self.bank, self.rng, self.crowd.rows[q]
        turn, jitter = float(bank.turn[e]), bank.turn_jitter[e] * rng.standard_normal(2)
        angle = float(bank.angle[e]) if math.isnan(turn) else row_q[4] + turn
        a = math.radians(row_q[4] + jitter[0])
        x, y = bank.offset[e]
        distance = math.hypot(x, y)
        if distance == 0:
            x, y = rng.standard_normal(2)
        # A rectangle's two ends are alike where headings are not directed, and so are neighbours of one class.
        same = self.labels[q] == bank.label[e] and self.convention.period != 360
        sign = 1 - 2 * int(rng.integers(2)) if same else 1
        u = np.array([x * math.cos(a) - y * math.sin(a), x * math.sin(a) + y * math.cos(a)])
        u *= sign / np.linalg.norm(u)
        link = float(bank.link[e]) * math.exp(0.1 * rng.standard_normal())
        row = np.array([*(row_q[:2] + distance * u), *size, angle + jitter[1] * self.convention.turns])
        for _ in range(3):  # sizes differ from the exemplar's, the gap shall not
            distance = max(0.0, distance + link - float(gaps(row, row_q[None])[0]))
            row[:2] = row_q[:2] + distance * u
        return row
