"""The arms of a verify loop as means and spreads over seeds, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABELS = {
    "map50": "mAP50",
    "map": "mAP",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "accuracy": "accuracy",
    "f1": "F1 of change",
    "precision": "precision",
    "recall": "recall",
}
_COLOURS = {"real": (60, 90, 150), "both": (200, 90, 30), "synthetic": (90, 140, 70)}
_PAPER, _INK, _RULE = (250, 250, 248), (45, 48, 52), (222, 222, 218)


@dataclass(frozen=True, slots=True)
class Words:
    """How a report speaks of a task."""

    unit: str
    both: str
    """The arm of real and synthetic ones."""
    training: str

    @classmethod
    def of(cls, task: str) -> Words:
        """Change detectors see the two kinds one after the other, all others at once."""
        if task == "change":
            longer = "equally many training steps for every arm, further ones on real pairs after synthetic ones"
            return cls("pairs", "synthetic, then real", longer)
        return cls("images", "real + synthetic", "equally many training steps for every arm")

    def titles(self) -> dict[str, str]:
        """Of the kinds of arm."""
        return {"real": "real alone", "both": self.both, "synthetic": "synthetic alone"}


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of a figure over seeds; the deviation of a single seed is 0."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), deviation, len(values))

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.deviation:.1f}"

    def signed(self) -> str:
        """With the sign of the mean."""
        return f"{100 * self.mean:+.1f} ± {100 * self.deviation:.1f}"


def spread(record: dict[str, Any], metric: str, kind: str, fraction: float | None) -> Spread:
    """Of the arms of a kind at a fraction, from what `verify` returns."""
    return Spread.of(list(_by_seed(record, metric, kind, fraction).values()))


def gain(record: dict[str, Any], metric: str, fraction: float) -> Spread:
    """What synthetic images add to that share of the real ones, seed by seed."""
    real, both = (_by_seed(record, metric, kind, fraction) for kind in ("real", "both"))
    return Spread.of([both[seed] - real[seed] for seed in real])


def ratio(record: dict[str, Any], metric: str) -> float | None:
    """Synthetic alone over the largest share of real alone, of means; None where real alone reaches nothing."""
    alone = spread(record, metric, "real", fractions(record)[-1]).mean
    return spread(record, metric, "synthetic", None).mean / alone if alone > 0 else None


def fractions(record: dict[str, Any]) -> list[float]:
    """Shares of the real images, ascending."""
    return sorted({arm["fraction"] for arm in record["arms"] if arm["fraction"] is not None})


def markdown(record: dict[str, Any]) -> str:
    """Tables of all metrics: rows are shares of the real images, figures percent, mean ± deviation over seeds."""
    images, words = record["images"], Words.of(record["task"])
    lines = [
        f"# Verify: {record['task']}",
        "",
        f"{images['real']} real {words.unit} to train on, {images['synthetic']} synthetic, {images['test']} real to "
        f"test on; {len({arm['seed'] for arm in record['arms']})} seeds; {words.training}.",
    ]
    for metric in record["metrics"]:
        lines += ["", f"{LABELS[metric]}, %", "", f"| real {words.unit} | real alone | {words.both} | gain |"]
        lines.append("|---|---|---|---|")
        for fraction in fractions(record):
            cells = [str(spread(record, metric, kind, fraction)) for kind in ("real", "both")]
            lines.append(f"| {fraction:.0%} | {cells[0]} | {cells[1]} | {gain(record, metric, fraction).signed()} |")
        lines.append(f"| none (synthetic alone) | | {spread(record, metric, 'synthetic', None)} | |")
        share = ratio(record, metric)
        if share is not None:
            lines += ["", f"Synthetic alone ÷ real alone: {share:.2f}"]
    return "\n".join(lines) + "\n"


def plot(record: dict[str, Any], width: int = 720, height: int = 460) -> Image.Image:
    """The headline metric against the share of real images, with bars of one deviation, for every kind of arm."""
    metric, shares, words = record["metrics"][0], fractions(record), Words.of(record["task"])
    lines = {kind: [spread(record, metric, kind, share) for share in shares] for kind in ("real", "both")}
    lines["synthetic"] = [spread(record, metric, "synthetic", None)] * len(shares)
    top = _round_up(max(s.mean + s.deviation for line in lines.values() for s in line))
    page = Image.new("RGB", (width, height), _PAPER)
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(15), ImageFont.load_default(13)
    left, right, upper, lower = 64, width - 24, 72, height - 56

    def x_of(k: int) -> float:
        return left + (right - left) * (k + 0.5) / len(shares)

    def y_of(value: float) -> float:
        return lower - (lower - upper) * value / top

    for k in range(6):
        value = top * k / 5
        draw.line([(left, y_of(value)), (right, y_of(value))], fill=_RULE)
        draw.text((left - 8, y_of(value)), f"{100 * value:g}", fill=_INK, font=small, anchor="rm")
    for k, share in enumerate(shares):
        draw.text((x_of(k), lower + 8), f"{share:.0%}", fill=_INK, font=small, anchor="ma")
    draw.text(((left + right) / 2, height - 12), f"share of the real {words.unit}", fill=_INK, font=small, anchor="ms")
    draw.text((left, 14), f"{LABELS[metric]} on held-out real {words.unit}, %", fill=_INK, font=font)
    for n, (kind, line) in enumerate(lines.items()):
        colour, shift = _COLOURS[kind], 5 * (n - 1)  # so that bars of equal means do not hide each other
        points = [(x_of(k) + shift, y_of(s.mean)) for k, s in enumerate(line)]
        draw.line(points, fill=colour, width=2)
        for (x, y), s in zip(points, line, strict=True):
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
            draw.line([(x, y_of(max(s.mean - s.deviation, 0.0))), (x, y_of(s.mean + s.deviation))], fill=colour)
        draw.ellipse([left + 200 * n, 46, left + 200 * n + 8, 54], fill=colour)
        draw.text((left + 200 * n + 14, 50), words.titles()[kind], fill=_INK, font=small, anchor="lm")
    return page


def _round_up(value: float) -> float:
    """The next of 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1."""
    return next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if value <= step), 1.0)


def _by_seed(record: dict[str, Any], metric: str, kind: str, fraction: float | None) -> dict[int, float]:
    return {
        arm["seed"]: arm["figures"][metric]
        for arm in record["arms"]
        if arm["kind"] == kind and arm["fraction"] == fraction
    }
