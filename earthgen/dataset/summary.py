"""The page on which a person sees what a data set holds: one HTML file that needs nothing else, not even a script.

It depends on the data set alone, not on when or how it was made.
"""

from __future__ import annotations

import base64
import colorsys
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from earthgen.conditions import UNKNOWN
from earthgen.dataset.config import BACKGROUND, Config
from earthgen.dataset.store import Record, Store
from earthgen.output.atomic import write_text
from earthgen.output.provenance import GENERATED, SYNTHETIC_MARK

KEPT_SHOWN, REJECTED_SHOWN, CANVASES_SHOWN = 48, 24, 2
_THUMBNAIL, _OVERVIEW = 288, 1024
"""Pixels of the longer side at most."""
_BINS = 12
Picture = dict[str, Any]

_STYLE = """
:root{color-scheme:light dark;--ink:#23262b;--soft:#6a7078;--line:#dcdcd6;--paper:#fafaf7;--card:#fff;--asked:#c9ced6;
--kept:#2f6db3;--mark:#8a5a00;--markbg:#fff3d6}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e2;--soft:#9aa0a8;--line:#3a3d42;--paper:#1b1d20;--card:#24272b;
--asked:#4a5058;--kept:#6ea8e6;--mark:#ffd98a;--markbg:#3a2f14}}
body{margin:0 auto;max-width:1180px;padding:24px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 10px}h3{font-size:15px;margin:18px 0 6px}
p{margin:4px 0 10px}.soft{color:var(--soft)}
.mark{background:var(--markbg);color:var(--mark);padding:8px 12px;border-radius:6px;font-weight:600;margin:12px 0}
.facts{display:flex;flex-wrap:wrap;gap:12px}.facts div{background:var(--card);border:1px solid var(--line);
border-radius:6px;padding:8px 14px;min-width:92px}.facts b{display:block;font-size:22px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:3px 12px 3px 0;
border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500}
.pics{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:14px}
figure{margin:0;min-width:0}figcaption{font-size:12px;color:var(--soft);overflow-wrap:anywhere;line-height:1.35;
margin-top:3px}
.pic{position:relative;line-height:0}.pic>*{width:100%;display:block}.pic>.over{position:absolute;inset:0;height:100%}
.pic img{image-rendering:auto;border-radius:3px}.mask{opacity:.5;image-rendering:pixelated!important}
polygon{fill:none;stroke-width:1.6;vector-effect:non-scaling-stroke}polygon.hard{stroke-dasharray:4 3}
#labels:not(:checked)~* .over{display:none}.key{display:inline-block;margin-right:14px}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px}
.charts{display:flex;flex-wrap:wrap;gap:28px}.charts svg{width:340px;height:150px;display:block}
.asked{fill:var(--asked)}.kept{fill:var(--kept)}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
svg .axis{stroke:var(--line)}pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px;
overflow:auto;font-size:12px}
"""


def write(store: Store, config: Config, records: Mapping[int, Record]) -> None:
    """Write the page of a data set whose images are all there."""
    write_text(store.summary, page(store, config, records))


def page(store: Store, config: Config, records: Mapping[int, Record]) -> str:
    """The page as text."""
    drawn = [(record, picture) for record in records.values() for picture in record["pictures"]]
    kept = [(record, picture) for record, picture in drawn if picture["kept"]]
    rejected = [picture for _, picture in drawn if not picture["kept"]]
    names = _names(config, [picture for _, picture in drawn])
    colours = {name: _colour(number) for number, name in enumerate(names)}
    title = f"Synthetic data set for {config.task}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="soft">{escape(", ".join(config.classes) or "no classes")} · {config.size[1]} × {config.size[0]} px'
        f" · seed {config.seed}</p>",
        f'<div class="mark">{escape(SYNTHETIC_MARK)}</div>',
        _facts(records, kept, rejected),
        '<input type="checkbox" id="labels" checked> <label for="labels">Show labels</label>',
        _images(store, kept, colours),
        _statistics(names, [picture for _, picture in drawn], [picture for _, picture in kept]),
        _splits(config, records, kept),
        _rejections(store, records, rejected, colours),
        _provenance(config),
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
        f'<meta name="description" content="{escape(SYNTHETIC_MARK)}">'
        f'<meta name="digital-source-type" content="{GENERATED}"><style>{_STYLE}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _facts(records: Mapping[int, Record], kept: Sequence[tuple[Record, Picture]], rejected: Sequence[Picture]) -> str:
    drawn = len(kept) + len(rejected)
    empty = sum(not any(picture["kept"] for picture in record["pictures"]) for record in records.values())
    facts = {
        "rows asked": len(records),
        "images kept": len(kept),
        "objects labelled": sum(len(picture["shapes"] or ()) for _, picture in kept),
        "candidates drawn": drawn,
        "rejected": f"{len(rejected)} ({len(rejected) / max(drawn, 1):.0%})",
        "rows given up": empty,
    }
    return '<div class="facts">' + "".join(f"<div><b>{v}</b>{k}</div>" for k, v in facts.items()) + "</div>"


def _images(store: Store, kept: Sequence[tuple[Record, Picture]], colours: Mapping[str, str]) -> str:
    shown = _spread(kept, KEPT_SHOWN)
    more = f" {len(shown)} of {len(kept)}." if len(shown) < len(kept) else ""
    keys = "".join(
        f'<span class="key"><i style="background:{c}"></i>{escape(n)}</span>'
        for n, c in colours.items()
        if n != BACKGROUND
    )
    note = "Dashed: less than half of the object is visible." if any(p["shapes"] for _, p in shown) else ""
    overviews = [record for record, _ in kept if record["canvas"]]
    whole = list({record["id"]: record for record in overviews}.values())[:CANVASES_SHOWN]
    canvases = "".join(_overview(store, record, colours) for record in whole)
    figures = "".join(_figure(store, picture, colours, _told(record, picture)) for record, picture in shown)
    head = f'<h2>Images</h2><p class="soft">{keys}{note}{more}</p>'
    return f'<section>{head}{canvases}<div class="pics">{figures}</div></section>'


def _told(record: Record, picture: Picture) -> str:
    facts = [picture["id"], record["split"], picture["label"], picture["text"], picture["date"]]
    facts.append(f"{picture['gsd']:g} m" if picture["gsd"] else None)
    if picture["lat"] is not None:
        facts.append(f"{picture['lat']:.3f}, {picture['lon']:.3f}")
    facts += [f"{name} {value:.2f}" for name, value in picture["scores"].items()]
    return " · ".join(str(fact) for fact in facts if fact)


def _figure(store: Store, picture: Picture, colours: Mapping[str, str], caption: str) -> str:
    if picture["image"] is None:
        return ""
    with Image.open(store.folder / picture["image"]["file"]) as image:
        picture_uri = _jpeg(image.convert("RGB"), _THUMBNAIL)
    layers = f'<img src="{picture_uri}" alt="{escape(caption, quote=True)}">'
    if picture["mask"]:
        layers += _mask(store, picture, colours)
    layers += _drawn(picture["shapes"], picture["width"], picture["height"], colours)
    return f'<figure><div class="pic">{layers}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _overview(store: Store, record: Record, colours: Mapping[str, str]) -> str:
    """A whole canvas, the labels of its tiles moved to where they lie; what several tiles show is drawn by each."""
    with Image.open(store.folder / record["canvas"]["file"]) as image:
        width, height = image.size
        uri = _jpeg(image.convert("RGB"), _OVERVIEW)
    shapes = []
    for picture in record["pictures"]:
        if picture["window"] is not None:
            x, y = picture["window"][:2]
            for one in picture["shapes"] or () if picture["kept"] else ():
                polygon = None if one["polygon"] is None else [[px + x, py + y] for px, py in one["polygon"]]
                shapes.append({**one, "cx": one["cx"] + x, "cy": one["cy"] + y, "polygon": polygon})
    drawn = _drawn(shapes, width, height, colours)
    caption = f"{record['id']}: the whole canvas, {width} × {height} px, {len(shapes)} labels in its tiles"
    layers = f'<div class="pic"><img src="{uri}" alt="">{drawn}</div>'
    return f"<figure>{layers}<figcaption>{escape(caption)}</figcaption></figure>"


def _drawn(shapes: Sequence[Mapping[str, Any]] | None, width: int, height: int, colours: Mapping[str, str]) -> str:
    """The outlines of objects over their picture."""
    if not shapes:
        return ""
    outlines = []
    for one in shapes:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _outline(one))
        hard = ' class="hard"' if one["difficult"] else ""
        name = f"{one['label']}" + ("" if one["visible"] == 1 else f", {one['visible']:.0%} visible")
        colour = colours[one["label"]]
        outlines.append(f'<polygon points="{points}" stroke="{colour}"{hard}><title>{escape(name)}</title></polygon>')
    return f'<svg class="over" viewBox="0 0 {width} {height}" preserveAspectRatio="none">{"".join(outlines)}</svg>'


def _outline(one: Mapping[str, Any]) -> Iterable[tuple[float, float]]:
    if one["polygon"] is not None:
        return one["polygon"]
    c, s = math.cos(math.radians(one["angle"])), math.sin(math.radians(one["angle"]))
    sides = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    half = [(a * one["width"] / 2, b * one["height"] / 2) for a, b in sides]
    return [(one["cx"] + c * u - s * v, one["cy"] + s * u + c * v) for u, v in half]


def _mask(store: Store, picture: Picture, colours: Mapping[str, str]) -> str:
    with Image.open(store.folder / picture["mask"]["file"]) as file:
        mask = file.convert("L")
    mask.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.NEAREST)
    palette = [0] * 768
    for number, name in enumerate(picture["mask_classes"]):
        palette[3 * number : 3 * number + 3] = _rgb(colours[name])
    numbers = np.array(mask)
    if BACKGROUND in picture["mask_classes"]:  # left as it is, so that the picture is seen
        numbers[numbers == picture["mask_classes"].index(BACKGROUND)] = UNKNOWN
    coloured = Image.fromarray(numbers, "P")
    coloured.putpalette(palette)
    buffer = io.BytesIO()
    coloured.save(buffer, "PNG", transparency=UNKNOWN)
    return f'<img class="over mask" alt="" src="{_uri(buffer, "png")}">'


def _statistics(names: Sequence[str], drawn: Sequence[Picture], kept: Sequence[Picture]) -> str:
    """What was asked first of every row, beside what was kept: how far the filter's choice leans."""
    asked = [picture for picture in drawn if picture["layout"] == picture["draw"] == 0]
    rows = []
    for kind, count in (("objects", _objects), ("images", _labels), ("pixels", _pixels)):
        before, after = count(asked), count(kept)
        for name in names:
            if before[name] or after[name]:
                shares = [f"{c[name] / sum(c.values()):.1%}" for c in (before, after) if sum(c.values())]
                shares += ["–"] * (2 - len(shares))
                cells = [f"{before[name]:,.0f}", shares[0], f"{after[name]:,.0f}", shares[1]]
                rows.append(f"<tr><td>{escape(name)}, {kind}</td>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    table = (
        "<table><tr><th>class</th><th>asked</th><th>share</th><th>kept</th><th>share</th></tr>"
        + "".join(rows)
        + "</table>"
    )
    charts = []
    if any(picture["shapes"] is not None for picture in asked):
        for title, measure in (
            ("Objects an image", lambda p: [len(p["shapes"] or ())]),
            ("Size: root of the area, px", lambda p: [math.sqrt(s["width"] * s["height"]) for s in p["shapes"] or ()]),
            ("Heading of the longer side, degrees", lambda p: [_heading(s) for s in p["shapes"] or ()]),
        ):
            values = [np.array([v for p in pictures for v in measure(p)], float) for pictures in (asked, kept)]
            charts.append(_chart(title, values[0], values[1], (0, 180) if "degrees" in title else None))
    return (
        "<section><h2>Labels, asked and kept</h2>"
        '<p class="soft">Asked (grey): the first draw of every row. Kept (blue): what is in the data set.</p>'
        f'{table if rows else ""}<div class="charts">{"".join(charts)}</div></section>'
    )


def _chart(title: str, asked: NDArray[np.float64], kept: NDArray[np.float64], span: tuple[float, float] | None) -> str:
    """A histogram of two samples, each as shares of its own."""
    if not asked.size:
        return ""
    low, high = span or (0.0, float(max(asked.max(), kept.max() if kept.size else 0, 1)))
    bins = _BINS if span or high > _BINS else math.ceil(high) + 1
    centre = 0.0
    if span is None and np.array_equal(asked, asked.round()):  # whole numbers, bars centred on them
        step = math.ceil((high + 1) / _BINS)
        bins = math.ceil((high + 1) / step)
        edges, centre = np.arange(bins + 1) * step - 0.5, 0.5
    else:
        edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(values, edges)[0] / max(values.size, 1) for values in (asked, kept)]
    top = max(float(np.max(s)) for s in shares) or 1.0
    wide = 320 / bins
    bars = []
    for n in range(bins):
        label = f"{edges[n]:.4g} to {edges[n + 1]:.4g}: asked {shares[0][n]:.1%}, kept {shares[1][n]:.1%}"
        pair = [("asked", shares[0][n] / top * 110, 0.08), ("kept", shares[1][n] / top * 110, 0.5)]
        bars += [
            f'<rect class="{kind}" x="{10 + (n + offset) * wide:.1f}" y="{122 - h:.1f}" width="{wide * 0.42:.1f}" '
            f'height="{h:.1f}"><title>{label}</title></rect>'
            for kind, h, offset in pair
        ]
    values = {f: edges[0] + centre + f * (edges[-1] - edges[0]) for f in (0, 0.5, 1)}
    ticks = "".join(
        f'<text x="{10 + f * 320:.0f}" y="138" text-anchor="{anchor}">{value:.4g}</text>'
        for (f, value), anchor in zip(values.items(), ("start", "middle", "end"), strict=True)
    )
    axis = '<line class="axis" x1="10" x2="330" y1="122.5" y2="122.5"/>'
    return f'<div><h3>{title}</h3><svg viewBox="0 0 340 150" role="img">{"".join(bars)}{axis}{ticks}</svg></div>'


def _splits(config: Config, records: Mapping[int, Record], kept: Sequence[tuple[Record, Picture]]) -> str:
    asked = Counter(record["split"] for record in records.values())
    got = Counter(record["split"] for record, _ in kept)
    rows = "".join(f"<tr><td>{name}</td><td>{asked[name]}</td><td>{got[name]}</td></tr>" for name in config.splits)
    return f"<section><h3>Splits</h3><table><tr><th>split</th><th>rows</th><th>images</th></tr>{rows}</table></section>"


def _rejections(
    store: Store, records: Mapping[int, Record], rejected: Sequence[Picture], colours: Mapping[str, str]
) -> str:
    if not rejected:
        return "<section><h2>Rejections</h2><p>None: every image that was drawn is in the data set.</p></section>"
    # Reasons differ in their numbers; what they have in common is counted.
    reasons = Counter(re.sub(r"\d+(\.\d+)?", "…", picture["reason"] or "no reason given") for picture in rejected)
    rows = "".join(f"<tr><td>{escape(reason)}</td><td>{n}</td></tr>" for reason, n in reasons.most_common(20))
    given_up = [r["id"] for r in records.values() if not any(p["kept"] for p in r["pictures"])]
    note = f"<p>Rows without an image: {escape(', '.join(given_up[:40]))}{' …' if len(given_up) > 40 else ''}</p>"
    figures = "".join(
        _figure(store, picture, colours, f"{picture['id']}: {picture['reason'] or ''}")
        for picture in _spread([p for p in rejected if p["image"]], REJECTED_SHOWN)
    )
    table = f"<table><tr><th>reason</th><th>candidates</th></tr>{rows}</table>"
    return (
        f"<section><h2>Rejections</h2>{table}{note if given_up else ''}"
        f'<h3>Examples</h3><div class="pics">{figures}</div></section>'
    )


def _provenance(config: Config) -> str:
    settings = config.to_dict()
    made_with = settings.pop("made_with")
    rows = {"made on": settings["created"], "model": config.model, **made_with, "IPTC digital source type": GENERATED}
    table = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return (
        f"<section><h2>Where it comes from</h2><table>{table}</table><p>Every image carries its own provenance; "
        "manifest.jsonl has every draw, SHA256SUMS every file.</p><h3>Settings (resolved.yaml)</h3>"
        f"<pre>{escape(text)}</pre></section>"
    )


def _names(config: Config, pictures: Sequence[Picture]) -> list[str]:
    """Every class that is labelled, those of the configuration first."""
    found = {s["label"] for p in pictures for s in p["shapes"] or ()} | {n for p in pictures for n in p["mask_classes"]}
    found |= {p["label"] for p in pictures if p["label"]}
    return [name for name in config.classes if name in found] + sorted(found - set(config.classes))


def _objects(pictures: Sequence[Picture]) -> Counter[str]:
    return Counter(shape["label"] for picture in pictures for shape in picture["shapes"] or ())


def _labels(pictures: Sequence[Picture]) -> Counter[str]:
    return Counter(picture["label"] for picture in pictures if picture["label"])


def _pixels(pictures: Sequence[Picture]) -> Counter[str]:
    """Pixels of a mask's classes."""
    total: Counter[str] = Counter()
    for picture in pictures:
        total.update(picture["mask_pixels"])
    return total


def _heading(shape: Mapping[str, Any]) -> float:
    return float((shape["angle"] + (90 if shape["height"] > shape["width"] else 0)) % 180)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most so many, evenly over all."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else list(items)


def _colour(number: int) -> str:
    """Distinct colours: hues a golden angle apart."""
    red, green, blue = colorsys.hls_to_rgb((0.12 + number * 0.381966) % 1, 0.58, 0.95)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour[1:]))


def _jpeg(image: Image.Image, side: int) -> str:
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return _uri(buffer, "jpeg")


def _uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
