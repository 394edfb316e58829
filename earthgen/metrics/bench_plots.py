"""A benchmark report to look at: small SVGs, the same bytes for the same report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthgen.errors import EarthgenError
from earthgen.metrics.bench import figures_of
from earthgen.metrics.figures import Figure, bounds
from earthgen.output.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD, SHORT, REAL = "#1b7f5c", "#d9722e", "#7a7f87"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "earthgen", "font.size": 9, "font.family": "sans-serif",
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def shortfall(figure: Figure) -> float | None:
    """How far from its aim a figure is: 1 where it just reaches it, 2 at twice what is allowed or half what is asked.

    None where there is no telling: no aim, or a value or limit that is not above 0.
    """
    limits = bounds(figure.aim)
    if limits is None or isinstance(figure.value, str) or not math.isfinite(figure.value):
        return None
    (low, high), value = limits, figure.value
    if math.isinf(low):
        return value / high if value > 0 and high > 0 else None
    if math.isinf(high):
        return low / value if value > 0 and low > 0 else None
    return abs(value - (low + high) / 2) / ((high - low) / 2) if high > low else None


def draw(report: Mapping[str, Any], folder: Path, stored: Mapping[str, Any] | None = None) -> list[Path]:
    """Write those plots that a report has figures for, and return their files.

    `aims.svg`: every figure beside its aim, and where the stored report had it; `spectrum.svg`: power by octave beside
    real images, peers' too; `classes.svg`: classes seen as asked.

    Raises:
        EarthgenError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure as Page
    except ModuleNotFoundError as error:
        raise EarthgenError('plots need matplotlib: pip install "earthgen[bench]"') from error
    found = list(figures_of(report))
    before = {(key, f.what): f for key, f in figures_of(stored)} if stored else {}
    aimed = [(key, f) for key, f in found if shortfall(f) is not None]
    bands = {f.what: f for _, f in found if re.search(r"power ÷ held-out real, .* px$", f.what)}
    classes = {f.what: f for key, f in found if key.startswith("quality/") and f.what.endswith(" is seen as asked")}
    written = []
    with mpl.rc_context(STYLE):
        for name, things, height in (
            ("aims", aimed, 0.6 + 0.2 * len(aimed)),
            ("spectrum", bands, 2.6),
            ("classes", classes, 0.6 + 0.2 * len(classes)),
        ):
            if not things:
                continue
            page = Page(figsize=(8 if name == "aims" else 6, height), layout="constrained")
            axes = page.add_subplot()
            if name == "aims":
                _aims(axes, aimed, before)
            elif name == "spectrum":
                _spectrum(axes, bands)
            else:
                _classes(axes, classes)
            with atomic_path(folder / f"{name}.svg") as temporary:
                page.savefig(temporary, format="svg", metadata={"Date": None})
            written.append(folder / f"{name}.svg")
    return written


def _aims(axes: Axes, found: list[tuple[str, Figure]], before: Mapping[tuple[str, str], Figure]) -> None:
    # A logarithm has no 0, and what is perfect needs no more room than what is a tenth of what is allowed.
    for row, (key, figure) in enumerate(found):
        now = max(shortfall(figure) or 0.0, 0.1)
        then = shortfall(before[key, figure.what]) if (key, figure.what) in before else None
        if then is not None:
            axes.plot([max(then, 0.1), now], [row, row], color=REAL, linewidth=1, zorder=1)
            axes.plot(max(then, 0.1), row, "o", markerfacecolor="white", markeredgecolor=REAL, markersize=4, zorder=2)
        axes.plot(now, row, "o", color=GOOD if figure.reached else SHORT, markersize=5, zorder=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(found)), [f"{f.what}: {f.value:.3g} (aim {f.aim})" for _, f in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("times what the aim allows (hollow: stored)")


def _spectrum(axes: Axes, bands: Mapping[str, Figure]) -> None:
    names = sorted({what.rsplit(", ", 1)[1] for what in bands}, key=lambda name: -float(name.split("-")[0]))
    for title in dict.fromkeys(what.split(":")[0] for what in bands):
        own = {what.rsplit(", ", 1)[1]: f for what, f in bands.items() if what.startswith(f"{title}:")}
        places, errors = [names.index(name) for name in own], [f.noise or 0.0 for f in own.values()]
        axes.errorbar(places, [float(f.value) for f in own.values()], errors, marker="o", capsize=3, label=title)
    axes.set_xticks(range(len(names)), names)
    axes.axhspan(0.9, 1.1, color=GOOD, alpha=0.15, linewidth=0)
    axes.axhline(1, color=REAL, linewidth=0.8)
    axes.set_ylabel("power ÷ held-out real")
    axes.set_xlabel("wavelength")
    axes.legend(frameon=False)


def _classes(axes: Axes, classes: Mapping[str, Figure]) -> None:
    values = [100 * float(f.value) for f in classes.values()]
    errors = [100 * (f.noise or 0.0) for f in classes.values()]
    names = [what.removesuffix(" is seen as asked") for what in classes]
    axes.barh(names, values, xerr=errors, color=GOOD, height=0.7, error_kw={"linewidth": 0.8})
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of generated images seen as the class asked for")
