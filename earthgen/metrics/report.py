"""An evaluation to look at: a table in markdown, and sheets of generated images beside real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from earthgen.metrics.real import LabelledImages
from earthgen.output.atomic import atomic_path

Row = tuple[str, str, str]


def markdown(record: dict[str, Any]) -> str:
    """The figures of an evaluation as a table: what, measured, aim or what real images reach."""
    rows: list[Row] = []
    for name, title in (("eurosat", "EuroSAT"), ("ucmerced", "UC Merced")):
        rows += _of_set(record, name, title)
    if "gsd" in record:
        part = record["gsd"]
        real = part["real_held_out"]["rank_correlation"]
        for key, title in (("prompted", "with prompts"), ("gsd_alone", "GSD alone")):
            what = f"GSD asked against read, rank correlation, {title}"
            rows.append((what, f"{part[key]['rank_correlation']:.3f}", f"≥ 0.95; real {real:.3f}"))
    lines = ["| figure | measured | aim, or what real images reach |", "|---|---|---|"]
    lines += [f"| {what} | {measured} | {aim} |" for what, measured, aim in rows]
    for name in ("eurosat", "ucmerced"):
        if f"{name}/accuracy" in record:
            lines += ["", *_by_class(record[f"{name}/accuracy"])]
    return "\n".join(lines) + "\n"


def _of_set(record: dict[str, Any], name: str, title: str) -> list[Row]:
    rows: list[Row] = []
    if part := record.get(f"{name}/accuracy"):
        held_out, partners = (part[f"real_{which}"]["mean_over_classes"] for which in ("held_out", "partners"))
        worst = part["worst_class"]
        aims = ("≥ 95 %; ", "≥ 85 %") if name == "eurosat" else ("", "")
        real = f"{aims[0]}real {held_out:.1%} held-out, {partners:.1%} partners"
        rows.append((f"{title}: class asked is the class seen", f"{part['accuracy']:.1%}", real))
        rows.append((f"{title}: the same, worst class", f"{part['by_class'][worst]:.1%} ({worst})", aims[1]))
    if part := record.get(f"{name}/score"):
        shown = f"{part['ratio']:.3f} = {part['train_on_generated']:.1%} ÷ {part['train_on_real']:.1%}"
        rows.append((f"{title}: classification accuracy score ratio", shown, "≥ 0.85" if name == "eurosat" else ""))
    if part := record.get(f"{name}/augmented"):
        alone, both = np.mean(part["real_alone"]), np.mean(part["real_and_generated"])
        error = part["gain_standard_error"]
        spread = "" if error is None else f" ± {error:.1f}"
        shown = f"{part['gain_points']:+.1f}{spread} points: {alone:.1%} to {both:.1%}"
        rows.append((f"{title}: 10 % real and generated against 10 % real", shown, "≥ +2 points"))
    if part := record.get(f"{name}/distances"):
        for key, words in (("frechet", "Fréchet"), ("kernel", "kernel")):
            d = part[key]
            ratio = "no ratio" if d["ratio"] is None else f"{d['ratio']:.2f}"
            shown = f"{ratio} ({d['generated_to_real']:.3g} ÷ {d['real_to_real']:.3g})"
            aim = "≤ 3" if (name, key) == ("eurosat", "frechet") else ""
            rows.append((f"{title}: {words} distance to held-out real ÷ real-to-real", shown, aim))
    if part := record.get(f"{name}/spectrum"):
        for band, ratio in part["generated_to_real"].items():
            real = part["real_to_real"][band]
            rows.append((f"{title}: power ÷ held-out real, {band}", f"{ratio:.2f}", f"real {real:.2f}"))
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
