"""The tab of the world."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qsl

import gradio as gr
from pydantic import ValidationError

from earthgen.app import forms, windows
from earthgen.app.engine import Engine
from earthgen.app.shapes import to_geojson
from earthgen.app.tasks import ExportRequest
from earthgen.app.windows import WindowRequest
from earthgen.app.worlds import View
from earthgen.errors import ArgumentError
from earthgen.labels.formats import FORMATS
from earthgen.world.pyramid import IMAGINED_LEVEL

_SUMMER, _HALF_A_YEAR = dt.date(2024, 7, 15), dt.timedelta(days=184)
"""What a date is compared with where none is given: half a year later, and after July where the view has none."""


def explore(engine: Engine, started: gr.Textbox) -> None:
    """The world: looked at, steered, compared, exported."""
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(
            label="What there is to see", placeholder="Left empty, the map decides", scale=5, max_length=500
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    canvas, now = forms.canvas("explore", ("opened", "uploaded"))
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0)
        with gr.Row():
            day, season, clouds = forms.when_fields()
        with gr.Row():
            steps = gr.Slider(1, 20, engine.usual.world, step=1, label="Steps of each level")
            base = gr.Radio([("The Earth", "earth"), ("An imagined planet", "imagined")], value="earth", label="Base")
        weights = forms.weight_fields(forms.WORLD_WEIGHTS, 1.0)
    with gr.Accordion("Compare", open=False), gr.Row():
        against = gr.Radio(
            [
                ("nothing", "none"),
                ("another seed", "seed"),
                ("another date", "date"),
                ("four times coarser", "coarser"),
            ],
            value="none",
            label="Compare with",
        )
        other = gr.Textbox(
            label="That seed, or that date", placeholder="8, or 2024-01-15; or else the next, half a year later",
            max_length=30,
        )  # fmt: skip
    forms.gallery(prompt)
    with gr.Row():
        projection = gr.Radio(["Web mercator", "UTM"], value="Web mercator", label="Projection of the export")
        export = gr.Button("Export what is on the screen as GeoTIFF", min_width=200)
    with gr.Accordion("Export as labelled data set", open=False):
        formats = gr.CheckboxGroup(
            forms.format_choices(name for name in FORMATS if name != "classification"),
            value=["coco", "masks"],
            label="Formats; the labels are the objects, or else the regions, that the map was run with",
        )
        labelled = gr.Button("Export what is on the screen with labels", min_width=200)

    def look(
        given: Any, text: str, number: float, fresh: bool, on: str, when: str, cover: float | None, count: float,
        ground: Literal["earth", "imagined"], kind: str, value: str, *pulls: float,
    ) -> tuple[str, float, str]:  # fmt: skip
        """The world that is asked for, as the map takes it, the seed used, and a line that says so."""
        with forms.Told():
            chosen = secrets.randbelow(2**31) if fresh else forms.whole("seed", number)
            on_it = forms.on_canvas(given)
            collection = to_geojson(on_it.shapes)
            view = View(
                seed=chosen,
                prompt=text or None,
                date=forms.day_of(on, when, on_it.frame.south + on_it.frame.north if on_it.frame else 0.0),
                clouds=None if cover is None or cover < 0 else cover / 100,
                steps=forms.whole("steps", count),
                guidance=forms.guidance_of(forms.WORLD_WEIGHTS, pulls, 1.0),
                base=ground,
                regions=engine.worlds.regions.put(collection) if collection["features"] else on_it.regions,
                known=on_it.image.id if on_it.image else None,
            )
            engine.worlds.check(view)
            return _shown(view, _compared(view, kind, value)), chosen, f"Seed used: **{chosen}**"

    def opened(event: gr.EventData) -> tuple[Any, ...]:
        """The world that a link names, into the form and onto the map. A broken link shows the world of seed 0.

        In a page that was just loaded, a person may type before the answer comes: only what the link names is filled
        in there. A link that takes the place of another empties the rest.
        """
        known = True
        words = dict(parse_qsl(str(event._data["query"])))
        try:
            view = View.model_validate(words)
            engine.worlds.check(view)
            kind, _, value = words.get("compare", "none").partition(":")
            shown = _shown(view, _compared(view, kind, value))
        except (ValidationError, ArgumentError, KeyError):
            known, view, kind, value, words = False, View(), "none", "", {}
            shown = _shown(view)
        line = ("" if known else "The link names no world that is here. ") + f"Seed used: **{view.seed}**"

        def into(word: str, *values: Any) -> list[Any]:
            return list(values) if word in words or not event._data["loaded"] else [gr.skip()] * len(values)

        return (
            shown,
            *into("prompt", view.prompt or ""),
            *into("seed", view.seed),
            *into("date", view.date.isoformat() if view.date else "", ""),
            *into("clouds", -1 if view.clouds is None else round(100 * view.clouds)),
            *into("steps", view.steps or engine.usual.world),
            *into("base", view.base),
            *into("compare", kind, value),
            line,
            *into("guidance", *forms.weights_of(forms.WORLD_WEIGHTS, view.guidance, 1.0)),
        )

    def on_screen(given: Any, shown: str, projected: str) -> dict[str, Any]:
        """What the map shows, as an export takes it."""
        frame = forms.on_canvas(given).frame
        if not shown or frame is None:
            raise ArgumentError("map", "must be shown first", None)
        view = View.model_validate(dict(parse_qsl(json.loads(shown)["query"])))
        return {**view.model_dump(), **frame.model_dump(), "utm": projected == "UTM"}

    def exported(request: gr.Request, *where: Any) -> str:
        """Start the export of what the map shows."""
        with forms.Told():
            return str(engine.tasks.export(ExportRequest(**on_screen(*where)), forms.visitor(request))["id"])

    def exported_labelled(request: gr.Request, given: Any, shown: str, projected: str, into: list[Any]) -> str:
        """Start that with the labels of what is drawn."""
        with forms.Told():
            asked = WindowRequest(**on_screen(given, shown, projected), formats=tuple(into or ()))
            return str(windows.start(engine.tasks, asked, forms.visitor(request))["id"])

    asked = [now, prompt, seed, randomise, day, season, clouds, steps, base, against, other, *weights]
    looking = forms.taking("explore", len(asked))
    gr.on([run.click, prompt.submit, against.input, other.submit], look, asked, [canvas, seed, used], **looking)
    canvas.uploaded(look, asked, [canvas, seed, used], **looking)
    into_form = [prompt, seed, day, season, clouds, steps, base, against, other, used, *weights]
    canvas.opened(opened, None, [canvas, *into_form], **forms.PRIVATE)
    where = [now, canvas, projection]
    export.click(exported, where, started, **forms.taking("explore", len(where)))
    labelled.click(exported_labelled, [*where, formats], started, **forms.taking("explore", len(where) + 1))
    forms.offer("export", ExportRequest, engine.tasks.export)
    forms.offer("window", WindowRequest, partial(windows.start, engine.tasks))


def _compared(view: View, kind: str, value: str) -> dict[str, Any] | None:
    """What the right side of the slider shows, and what a link says of it.

    Raises:
        ArgumentError: There is no such comparison, or no such day.
        ValidationError: There is no such seed.
    """
    if kind == "none":
        return None
    if kind == "coarser":
        return {"query": view.query(), "label": "four times coarser", "coarser": 2, "link": kind}
    if kind == "date":
        day = forms.day_of(value, "") or (view.date or _SUMMER) + _HALF_A_YEAR
        label = day.isoformat()
        query = View(**(view.model_dump() | {"date": day})).query()
        return {"query": query, "label": label, "coarser": 0, "link": f"date:{label}"}
    if kind != "seed":
        raise ArgumentError("compare", "must be none, seed, date or coarser", kind)
    number = int(value) if value.strip().isdecimal() else view.seed + 1
    other = View(**(view.model_dump() | {"seed": number}))
    return {"query": other.query(), "label": f"seed {number}", "coarser": 0, "link": f"seed:{number}"}


def _shown(view: View, compare: dict[str, Any] | None = None) -> str:
    """A view as `explore.js` takes it."""
    base = 6 if view.base == "earth" else IMAGINED_LEVEL
    return json.dumps({"query": view.query(), "base": base, "compare": compare})
