"""Objects as peaks of a heat map: a plain detector of one stage, without anchors, that learns from few images.

Zhou et al., "Objects as Points", arXiv:1904.07850. Boxes are learned around the middle of every object, by their
overlap, as in Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", arXiv:1909.00700.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthgen.metrics.network import ResidualBlock

RARE = -4.0
"""Logit that cells start at: most hold nothing, and the first steps need not learn that."""
NEAR = 0.1
"""Height of an object's bell, 1 at its peak, from which on a cell learns the object's box."""
BOXES = 5.0
"""Weight of the boxes' loss beside that of the heat map."""


class Points(nn.Module):
    """Images (batch, 3, size, size) in [-1, 1] → logits (batch, classes, n, n), and of boxes values (batch, 4, n, n).

    There are n = size / 8 cells a side. Values are logarithms of how far it is from a cell's centre to the sides of its
    box, left, top, right and bottom, 0 being two cells.

    Args:
        classes: How many.
        widths: Channels at 1/4, 1/8, 1/16, ... of the size.
        hidden: Channels of the pyramid that leads back to 1/8.
        found: How many peaks of an image are looked at.
    """

    values = 4
    """Numbers that describe a box."""

    def __init__(self, classes: int, widths: Sequence[int], hidden: int, found: int) -> None:
        super().__init__()
        self.most = found
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.down = nn.ModuleList(
            nn.Sequential(ResidualBlock(a, b, 2), ResidualBlock(b, b, 1)) for a, b in pairwise(widths)
        )
        self.side = nn.ModuleList(nn.Conv2d(width, hidden, 1) for width in widths[1:])
        self.merge = nn.ModuleList(ResidualBlock(hidden, hidden, 1) for _ in widths[1:])
        self.heat, self.box = nn.Conv2d(hidden, classes, 3, 1, 1), nn.Conv2d(hidden, self.values, 3, 1, 1)
        nn.init.constant_(self.heat.bias, RARE)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        y = self.stem(x)
        levels: list[Tensor] = []
        for block in self.down:
            y = block(y)
            levels.append(y)
        y = torch.zeros_like(levels[-1][:, :1])
        for block, side, level in zip(reversed(self.merge), reversed(self.side), reversed(levels), strict=True):
            y = block(side(level) + F.interpolate(y, level.shape[-2:]))
        return self.heat(y).float(), self.box(y).float()

    def loss(self, x: Tensor, targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """Of images, with each one's `class_labels` (n,) and `boxes` (n, 4) as centre and size, 0 to 1."""
        logits, values = self(x)
        heat, weight, truth = painted(targets, logits.shape[1], logits.shape[-1])
        likely, peak = logits.sigmoid(), heat == 1
        # Zhou et al., equation 1: near a peak, it costs less to see one.
        missed = -((1 - likely) ** 2 * F.logsigmoid(logits))[peak].sum()
        wrong = -((1 - heat) ** 4 * likely**2 * F.logsigmoid(-logits))[~peak].sum()
        apart = (self.apart(values, truth) * weight).sum() / weight.sum().clamp(1e-6)
        return (missed + wrong) / peak.sum().clamp(1) + BOXES * apart

    def apart(self, values: Tensor, truth: Tensor) -> Tensor:
        """How far the boxes are from true ones (batch, 5, n, n), as `painted` gives them: (batch, n, n)."""
        low, high = truth[:, :2] - truth[:, 2:4] / 2, truth[:, :2] + truth[:, 2:4] / 2
        return distance(self._sides(values), torch.cat([low, high], 1))

    def boxes(self, values: Tensor) -> Tensor:
        """Centre and size, 0 to 1: (batch, 4, n, n)."""
        low, high = self._sides(values).clamp(0, 1).chunk(2, 1)
        return torch.cat([(low + high) / 2, high - low], 1)

    def _sides(self, values: Tensor) -> Tensor:
        """Left, top, right, bottom."""
        reach = values.clamp(-6, 6).exp() * 2 / values.shape[-1]
        return torch.cat([centres(values) - reach[:, :2], centres(values) + reach[:, 2:]], 1)

    def found(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (batch, m, classes), 0 to 1, and boxes (batch, m, 4) as centre and size, of the highest peaks."""
        logits, values = self(x)
        scores = logits.sigmoid()
        scores = (scores * (scores == F.max_pool2d(scores, 3, 1, 1))).flatten(2).transpose(1, 2)
        best = scores.amax(2).topk(min(self.most, scores.shape[1])).indices[..., None]
        boxes = self.boxes(values).flatten(2).transpose(1, 2)
        return scores.take_along_dim(best, 1), boxes.take_along_dim(best, 1)


class TurnedPoints(Points):
    """The same for boxes with headings: targets have `rotated` (n, 5), what is found an angle.

    Values are the way from a cell's centre to the box's in cells, logarithms of its long and its short side, 0 being
    two cells, and cosine and sine of twice the heading of the long side, as half a turn changes nothing.
    """

    values = 6

    def apart(self, values: Tensor, truth: Tensor) -> Tensor:
        """Mean absolute difference of the values."""
        cells = values.shape[-1]
        long, short = truth[:, 2:4].amax(1), truth[:, 2:4].amin(1)
        heading = 2 * (truth[:, 4] + 90 * (truth[:, 3] > truth[:, 2])).deg2rad()
        way = (truth[:, :2] - centres(values)) * cells
        sizes = (torch.stack([long, short], 1) * cells / 2).clamp(1e-3).log()
        wanted = torch.cat([way, sizes, torch.stack([heading.cos(), heading.sin()], 1)], 1)
        return (values - wanted).abs().mean(1)

    def boxes(self, values: Tensor) -> Tensor:
        """Centre and size, 0 to 1, and angle in degrees: (batch, 5, n, n)."""
        cells = values.shape[-1]
        sizes = values[:, 2:4].clamp(-6, 6).exp() * 2 / cells
        angle = torch.atan2(values[:, 5:], values[:, 4:5]).rad2deg() / 2
        return torch.cat([centres(values) + values[:, :2] / cells, sizes, angle], 1)


def centres(values: Tensor) -> Tensor:
    """Of the cells (..., n, n) of an image: (2, n, n) as (x, y), 0 to 1."""
    middle = (torch.arange(values.shape[-1], device=values.device) + 0.5) / values.shape[-1]
    return torch.stack(torch.meshgrid(middle, middle, indexing="xy"))


def painted(targets: Sequence[dict[str, Tensor]], classes: int, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the network is to say of images: a heat map, and boxes where they have weight.

    Returns:
        The heat (batch, classes, cells, cells), a bell an object that is 1 at its cell; weights (batch, cells, cells)
        of boxes (batch, 5, cells, cells), as centre, size and angle: those of `rotated` where targets have it. Small
        objects lie on top of large ones.
    """
    heat = torch.zeros(len(targets), classes, cells, cells)
    weight, boxes = torch.zeros(len(targets), cells, cells), torch.zeros(len(targets), 5, cells, cells)
    place = torch.arange(cells)
    for k, target in enumerate(targets):
        order = target["boxes"][:, 2:].prod(1).argsort(descending=True, stable=True)
        truth = target["rotated"] if "rotated" in target else F.pad(target["boxes"], (0, 1))
        objects = zip(target["boxes"][order].tolist(), target["class_labels"][order], truth[order], strict=True)
        for (x, y, width, height), label, box in objects:
            bells = []
            for centre, extent in ((y, height), (x, width)):
                spread = (0.54 * extent * cells + 1) / 6  # Liu et al.: of an object, the middle 54 % count
                bells.append(torch.exp(-((place - min(int(centre * cells), cells - 1)) ** 2) / (2 * spread**2)))
            bell = bells[0][:, None] * bells[1]
            heat[k, label] = torch.maximum(heat[k, label], bell)
            near = bell > NEAR
            # Large objects have more cells, but not that much more say.
            weight[k, near] = bell[near] / bell[near].sum() * torch.log1p(torch.tensor(width * height * cells**2))
            boxes[k][:, near] = box[:, None]
    return heat, weight, boxes


def distance(one: Tensor, other: Tensor) -> Tensor:
    """1 - the generalized overlap of boxes (batch, 4, ...) as left, top, right, bottom: 0 to 2, (batch, ...).

    Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    both = (high - low).clamp(0).prod(1)
    either = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - both
    hull = (torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])).prod(1)
    return 1 - both / either.clamp(1e-9) + (hull - either) / hull.clamp(1e-9)
