"""An evaluation to look at: a table in markdown, and sheets of generated images beside real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from earthgen.metrics.figures import Figure, share_error
from earthgen.metrics.real import LabelledImages
from earthgen.output.atomic import atomic_path
from earthgen.output.sheet import contact_sheet

Row = tuple[Figure, str, str]
"""A figure, how its value is shown, and what is said beside its aim."""

SETS = {"eurosat": "EuroSAT", "ucmerced": "UC Merced"}
AIMS = {
    "eurosat": {"accuracy": "≥ 0.98", "worst": "≥ 0.85", "score": "≥ 0.93", "frechet": "≤ 1.8"},
    "ucmerced": {"accuracy": "≥ 0.9", "score": "≥ 0.75"},
}
SPECTRUM, CELLS, GSD = "0.9 to 1.1", "1 ± 0.02", "≥ 0.95"


def figures(record: dict[str, Any]) -> list[Figure]:
    """Every figure of an evaluation, those by class included."""
    found = [figure for figure, _, _ in _rows(record)]
    for name, title in SETS.items():
        if part := record.get(f"{name}/accuracy"):
            number = np.array(part["confusion"]).sum(1)
            for k, label in enumerate(part["classes"]):
                if label in part["by_class"]:
                    share = part["by_class"][label]
                    noise = share_error(share, int(number[k]))
                    found.append(Figure(f"{title}: {label} is seen as asked", share, noise=noise))
    return found


def markdown(record: dict[str, Any]) -> str:
    """The figures of an evaluation as a table: what, measured, aim or what real images reach."""
    lines = ["| figure | measured | aim, or what real images reach |", "|---|---|---|"]
    for figure, shown, beside in _rows(record):
        lines.append(f"| {figure.what} | {shown} | {'; '.join(filter(None, (figure.aim, beside)))} |")
    for name in SETS:
        if f"{name}/accuracy" in record:
            lines += ["", *_by_class(record[f"{name}/accuracy"])]
    return "\n".join(lines) + "\n"


def _rows(record: dict[str, Any]) -> list[Row]:
    rows = [row for name in SETS for row in _of_set(record, name)]
    if part := record.get("gsd"):
        real = f"real {part['real_held_out']['rank_correlation']:.3f}"
        for key, title in (("prompted", "with prompts"), ("gsd_alone", "GSD alone")):
            value = part[key]["rank_correlation"]
            what = f"GSD asked against read, rank correlation, {title}"
            number = part.get("images", 0)
            noise = (1 - value**2) / (number - 1) ** 0.5 if number > 1 else None
            rows.append((Figure(what, value, GSD, noise), f"{value:.3f}", real))
    return rows


def _of_set(record: dict[str, Any], name: str) -> list[Row]:
    rows: list[Row] = []
    aims, title = AIMS[name], SETS[name]

    def add(what: str, value: float, shown: str, aim: str = "", noise: float | None = None, beside: str = "") -> None:
        rows.append((Figure(f"{title}: {what}", value, aim, noise), shown, beside))

    if part := record.get(f"{name}/accuracy"):
        held_out, partners = (part[f"real_{which}"]["mean_over_classes"] for which in ("held_out", "partners"))
        value, worst = part["accuracy"], part["worst_class"]
        real = f"real {held_out:.1%} held-out, {partners:.1%} partners"
        error = share_error(value, part["images"])
        add("class asked is the class seen", value, f"{value:.1%}", aims["accuracy"], error, real)
        least = part["by_class"][worst]
        error = share_error(least, sum(part["confusion"][part["classes"].index(worst)]))
        add("the same, worst class", least, f"{least:.1%} ({worst})", aims.get("worst", ""), error)
    if part := record.get(f"{name}/score"):
        shown = f"{part['ratio']:.3f} = {part['train_on_generated']:.1%} ÷ {part['train_on_real']:.1%}"
        add("classification accuracy score ratio", part["ratio"], shown, aims["score"])
    if part := record.get(f"{name}/augmented"):
        alone, both = np.mean(part["real_alone"]), np.mean(part["real_and_generated"])
        error = part["gain_standard_error"]
        spread = "" if error is None else f" ± {error:.1f}"
        shown = f"{part['gain_points']:+.1f}{spread} points: {alone:.1%} to {both:.1%}"
        add("10 % real and generated against 10 % real, points", part["gain_points"], shown, "≥ 2", error)
    if part := record.get(f"{name}/distances"):
        for key, words in (("frechet", "Fréchet"), ("kernel", "kernel")):
            d = part[key]
            if d["ratio"] is not None:
                shown = f"{d['ratio']:.2f} ({d['generated_to_real']:.3g} ÷ {d['real_to_real']:.3g})"
                what = f"{words} distance to held-out real ÷ real-to-real"
                add(what, d["ratio"], shown, aims.get(key, ""), d.get("ratio_error"))
    if part := record.get(f"{name}/spectrum"):
        errors = part.get("generated_to_real_error") or {}
        for band, ratio in part["generated_to_real"].items():
            real = f"real {part['real_to_real'][band]:.2f}"
            add(f"power ÷ held-out real, {band}", ratio, f"{ratio:.2f}", SPECTRUM, errors.get(band), real)
    if part := record.get(f"{name}/cells"):
        value = part["generated"]
        what = f"gradient across cells of {part['side']} px ÷ elsewhere"
        add(what, value, f"{value:.3f}", CELLS, part["generated_error"], f"real {part['real']:.3f}")
    if part := record.get(f"{name}/memorisation"):
        value = part["ratio"]
        if value is not None:
            what = "distance to the nearest training image, median ÷ that of held-out real"
            shown = f"{value:.2f} ({part['median_generated']:.3g} ÷ {part['median_real']:.3g})"
            add(what, value, shown, "≥ 1", part["ratio_error"])
        share = part["share_nearer_than_1_percent_of_real"]
        error = share_error(share, part["images"])
        add("nearer to a training image than the nearest 1 % of held-out real", share, f"{share:.1%}", "≤ 0.01", error)
    return rows


def _by_class(part: dict[str, Any]) -> list[str]:
    """Accuracy by class, and what each class is most often mistaken for."""
    lines = ["| class | seen as asked | real held-out | most often taken for |", "|---|---|---|---|"]
    counts = np.array(part["confusion"])
    for k, name in enumerate(part["classes"]):
        if name in part["by_class"]:
            wrong = counts[k].copy()
            wrong[k] = 0
            taken = f"{part['classes'][wrong.argmax()]} ({wrong.max() / counts[k].sum():.1%})" if wrong.any() else ""
            real = part["real_held_out"]["by_class"].get(name)
            shown = "" if real is None else f"{real:.1%}"
            lines.append(f"| {name} | {part['by_class'][name]:.1%} | {shown} | {taken} |")
    return lines


def sheet(generated: LabelledImages, real: LabelledImages, file: Path, each: int = 8, side: int = 128) -> None:
    """A picture with a row for each class: `each` generated images left, as many real ones right, their partners."""
    gap, left, top = 4, 150, 24
    rows = [k for k in range(len(real.classes)) if (real.labels == k).any()]
    half = each * (side + gap)
    page = Image.new("RGB", (left + 2 * half + 4 * gap, top + len(rows) * (side + gap)), "white")
    pen = ImageDraw.Draw(page)
    pen.text((left, 6), "generated", fill="black")
    pen.text((left + half + 4 * gap, 6), "real", fill="black")
    for row, k in enumerate(rows):
        y = top + row * (side + gap)
        pen.text((6, y + side // 2 - 6), real.classes[k], fill="black")
        for x0, images in ((left, generated), (left + half + 4 * gap, real)):
            for column, image in enumerate(images.images[images.labels == k][:each]):
                method = Image.Resampling.NEAREST if image.shape[0] <= side else Image.Resampling.BOX
                page.paste(Image.fromarray(image).resize((side, side), method), (x0 + column * (side + gap), y))
    with atomic_path(file) as temporary:
        page.save(temporary, format="PNG")


def nearest_sheet(generated: LabelledImages, train: LabelledImages, closest: list[dict[str, Any]], file: Path) -> None:
    """A picture of the generated images that are nearest to a training image, each beside that one."""
    images, titles = [], []
    for pair in closest:
        for source, name in ((generated, "generated"), (train, "train")):
            k = pair[name]
            images.append(source.images[k])
            titles.append(f"{name}: {source.classes[source.labels[k]]}, distance {pair['distance']:.3g}")
    with atomic_path(file) as temporary:
        contact_sheet(images, titles, columns=4, cell=160).save(temporary, format="PNG")
