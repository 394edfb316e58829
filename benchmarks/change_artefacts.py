"""Whether the model's hand alone tells a change from a place without one: then a detector would learn the hand.

A tiny classifier sees squares of second images, less what is smooth in them, of places of two kinds. What stands there
tells them apart as well, as changes show other classes than `Nuisance.rectangles` happen to. So there are likenesses:
places of the shapes of the changes, laid where the same classes are seen and retouched as rectangles are. With those a
class is compared with itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy import ndimage, signal
from torch.nn import functional

from earthgen.conditions import Conditions
from earthgen.pipelines.change import RETOUCH, ChangePipeline, _Maker
from earthgen.simulate.event_editor import places_for
from earthgen.simulate.events import Series
from earthgen.simulate.margins import feathered
from earthgen.simulate.nuisance import Nuisance

PLACES = 4
"""Rectangles of an image, and likenesses; fewer where there is no room."""
SIDE, COUNT = 16, 24
"""Pixels a side of a square, and how many are taken of an image's places of one kind."""
FOLDS = 3

Places = dict[str, np.ndarray]
"""What stands where in a second image: masks (height, width)."""


def drawn(pipe: ChangePipeline, series: Series, image: np.ndarray, seed: int) -> tuple[np.ndarray, Places]:
    """The second image of a series with label maps, with rectangles and likenesses of its changes; what is where."""
    assert series.maps is not None
    out = pipe(series, image=image, seed=seed, nuisance=Nuisance(rectangles=PLACES), output_type="np")
    shown, made, changed, labels = out.images[1], out.made[1], series.changed(0, 1), series.maps[1]
    rectangles = np.zeros(made.shape, np.bool_)
    for top, left, height, width in out.nuisances[1].get("rectangles", []):
        rectangles[top + 6 : top + height - 6, left + 6 : left + width - 6] = True
    alike = likenesses(changed, labels, made, np.random.default_rng(seed))
    region, weight = feathered(alike)
    # Private, as no other way leads to just what is done to rectangles.
    maker = _Maker(pipe, series, Conditions(), seed, (0, 0), None, {}, None)
    shown = maker._replaced(shown, 1, region, weight, shown, RETOUCH)
    found = {"change": changed, "rectangle": rectangles, "likeness": alike, "untouched": ~made & ~region}
    for index, name in enumerate(series.classes):
        found |= {f"{kind}: {name}": found[kind] & (labels == index) for kind in ("change", "likeness")}
    return shown, found


def likenesses(changed: np.ndarray, labels: np.ndarray, made: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Pieces of a change, turned and laid, clear of what is made, where `labels` are most like those of the piece."""
    numbered, count = ndimage.label(changed)
    found = np.zeros_like(changed)
    for _ in range(PLACES):
        free = ~feathered(made | feathered(found)[0])[0]
        some = (_laid(numbered == k, labels, free, random) for k in 1 + random.permutation(count))
        found |= next((place for place in some if place is not None), False)
    return found


def _laid(piece: np.ndarray, labels: np.ndarray, free: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    box, turns = ndimage.find_objects(piece.astype(np.uint8))[0], random.integers(4)
    shape, classes = np.rot90(piece[box], turns), np.rot90(labels[box], turns)
    spots = places_for(shape, free)
    if not spots.size:
        return None
    hits = np.zeros(spots.size)
    for index in np.unique(classes[shape]):
        here, there = shape & (classes == index), labels == index
        hits += signal.fftconvolve(there.astype(float), here[::-1, ::-1].astype(float), mode="valid").ravel()[spots]
    top, left = divmod(int(random.choice(spots[hits > hits.max() - 0.5])), free.shape[1] - shape.shape[1] + 1)
    place = np.zeros_like(free)
    place[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return place


def told(images: Iterable[tuple[np.ndarray, Places]], classes: Sequence[str]) -> None:
    """Print how well places of two kinds are told apart in images of `drawn`."""
    random = np.random.default_rng(0)
    found = [{kind: residuals(shown, place, random) for kind, place in places.items()} for shown, places in images]
    kinds = [("change", "rectangle"), ("change", "likeness")]
    kinds += [(f"change: {name}", f"likeness: {name}") for name in classes]
    print("| told apart | balanced accuracy, 0.5 is chance | images |\n|---|---|---|")
    for first, second in (*kinds, ("rectangle", "untouched"), ("change", "untouched")):
        right = told_apart([(i[first], i[second]) for i in found if i[first] is not None and i[second] is not None])
        if right:
            error = np.std(right) / len(right) ** 0.5
            print(f"| {first} / {second} | {np.mean(right):.3f} ± {error:.3f} | {len(right)} |", flush=True)


def residuals(image: np.ndarray, place: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Squares of a place, less what is smooth in them: (COUNT, 3, SIDE, SIDE); None of a small one."""
    half = SIDE // 2
    rows, columns = np.nonzero(place[half:-half, half:-half])
    if rows.size < COUNT:
        return None
    rough = (image - ndimage.gaussian_filter(image.astype(np.float32), (2, 2, 0))) / 16
    picks = random.integers(rows.size, size=COUNT)
    squares = [rough[rows[k] : rows[k] + SIDE, columns[k] : columns[k] + SIDE] for k in picks]
    return np.stack(squares).transpose(0, 3, 1, 2)


def told_apart(images: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Balanced accuracy in each image, by a network that learned from others; none of fewer than two images a fold."""
    if len(images) < 2 * FOLDS:
        return []
    data = torch.tensor(np.array(images), dtype=torch.float32)  # (image, kind, residual, channel, row, column)
    kind = torch.tensor([1.0, 0.0])[None, :, None].expand(data.shape[:3])
    right = torch.empty(len(data))
    for fold in range(FOLDS):
        held = torch.arange(len(data)) % FOLDS == fold
        net = learned(data[~held].flatten(0, 2), kind[~held].flatten())
        with torch.no_grad():
            found = net(data[held].flatten(0, 2))[:, 0].reshape(kind[held].shape) > 0
        right[held] = (found == kind[held].bool()).float().mean((1, 2))
    return right.tolist()


def learned(squares: torch.Tensor, kind: torch.Tensor) -> torch.nn.Module:
    """A network of two convolutions that tells squares of kind 1 from those of kind 0."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(400):
        batch = torch.randint(len(squares), (64,))
        loss = functional.binary_cross_entropy_with_logits(net(squares[batch])[:, 0], kind[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net
