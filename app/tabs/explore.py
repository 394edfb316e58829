"""The tab of the world."""

from __future__ import annotations

import json
import secrets
from typing import Any, Literal
from urllib.parse import parse_qsl

import gradio as gr
from pydantic import ValidationError

from earthgen.app import forms, windows
from earthgen.app.engine import Engine
from earthgen.app.shapes import to_geojson
from earthgen.app.tasks import ExportRequest
from earthgen.app.windows import WindowRequest
from earthgen.app.worlds import DEFAULT_STEPS, View
from earthgen.errors import ArgumentError
from earthgen.labels.formats import FORMATS
from earthgen.world.pyramid import IMAGINED_LEVEL


def explore(engine: Engine, started: gr.Textbox) -> None:
    """The world: looked at, steered, compared, exported."""
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(
            label="What there is to see", placeholder="Left empty, the map decides", scale=5, max_length=500
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    canvas = forms.canvas("explore", ("opened", "moved", "drawn", "uploaded"))
    frame, drawn, known = gr.State(None), gr.State([]), gr.State(None)
    linked = gr.State(None)  # the regions that a link brought, until something is drawn
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0)
        with gr.Row():
            day, season, clouds = forms.when_fields()
        with gr.Row():
            steps = gr.Slider(1, 20, DEFAULT_STEPS, step=1, label="Steps of each level")
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
        other = gr.Textbox(label="That seed, or that date", placeholder="8, or 2024-01-15", max_length=30)
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
        text: str, number: float, fresh: bool, on: str, when: str, cover: float | None, count: float,
        ground: Literal["earth", "imagined"],
        kind: str, value: str, shapes: list[Any], where: dict[str, Any] | None, upload: dict[str, Any] | None,
        brought: str | None, *given: float,
    ) -> tuple[str, float, str]:  # fmt: skip
        """The world that is asked for, as the map takes it, the seed used, and a line that says so."""
        with forms.Told():
            chosen = secrets.randbelow(2**31) if fresh else forms.whole("seed", number)
            collection = to_geojson(forms.shapes_of(shapes))
            view = View(
                seed=chosen,
                prompt=text or None,
                date=forms.day_of(on, when, where),
                clouds=None if cover is None or cover < 0 else cover / 100,
                steps=forms.whole("steps", count),
                guidance=forms.guidance_of(forms.WORLD_WEIGHTS, given, 1.0),
                base=ground,
                regions=engine.worlds.regions.put(collection) if collection["features"] else brought,
                known=upload["id"] if upload else None,
            )
            engine.worlds.check(view)
            return _shown(view, _compared(view, kind, value)), chosen, f"Seed used: **{chosen}**"

    def opened(event: gr.EventData) -> tuple[Any, ...]:
        """The world that a link names, into the form and onto the map. A broken link shows the world of seed 0."""
        try:
            view = View.model_validate(dict(parse_qsl(str(event._data["query"]))))
            engine.worlds.check(view)
        except (ValidationError, ArgumentError, KeyError):
            view = View()
        clouds = -1 if view.clouds is None else round(100 * view.clouds)
        on = view.date.isoformat() if view.date else ""
        line = f"Seed used: **{view.seed}**"
        upload = {"id": view.known} if view.known else None
        return _shown(view), view.prompt or "", view.seed, on, clouds, view.steps, view.base, upload, view.regions, line

    def moved(event: gr.EventData) -> dict[str, Any]:
        return {name: float(event._data[name]) for name in ("west", "south", "east", "north", "zoom")}

    def redrawn(event: gr.EventData) -> tuple[list[Any], None]:
        """What is drawn, in place of what a link brought."""
        return forms.drawn_shapes(event), None

    def on_screen(shown: str, where: dict[str, Any] | None, projected: str) -> dict[str, Any]:
        """What the map shows, as an export takes it."""
        if not shown or where is None:
            raise ArgumentError("map", "must be shown first", None)
        view = View.model_validate(dict(parse_qsl(json.loads(shown)["query"])))
        return {**view.model_dump(), **where, "zoom": int(where["zoom"]), "utm": projected == "UTM"}

    def exported(*where: Any) -> str:
        """Start the export of what the map shows."""
        with forms.Told():
            return str(engine.tasks.export(ExportRequest(**on_screen(*where)), "page")["id"])

    def exported_labelled(into: list[Any], *where: Any) -> str:
        """Start that with the labels of what is drawn."""
        with forms.Told():
            asked = WindowRequest(**on_screen(*where), formats=tuple(into or ()))
            return str(windows.start(engine.tasks, asked, "page")["id"])

    asked = [
        prompt,
        seed,
        randomise,
        day,
        season,
        clouds,
        steps,
        base,
        against,
        other,
        drawn,
        frame,
        known,
        linked,
        *weights,
    ]
    gr.on([run.click, prompt.submit], look, asked, [canvas, seed, used], **forms.PRIVATE)
    gr.on([against.change, other.submit], look, asked, [canvas, seed, used], **forms.PRIVATE)
    canvas.opened(opened, None, [canvas, prompt, seed, day, clouds, steps, base, known, linked, used], **forms.PRIVATE)
    taken = canvas.uploaded(forms.taken_upload, None, known, **forms.PRIVATE)
    taken.then(look, asked, [canvas, seed, used], **forms.PRIVATE)
    canvas.moved(moved, None, frame, **forms.PRIVATE)
    canvas.drawn(redrawn, None, [drawn, linked], **forms.PRIVATE)
    where = [canvas, frame, projection]
    export.click(exported, where, started, **forms.PRIVATE)
    labelled.click(exported_labelled, [formats, *where], started, **forms.PRIVATE)


def _compared(view: View, kind: str, value: str) -> dict[str, Any] | None:
    """What the right side of the slider shows."""
    if kind == "none":
        return None
    if kind == "coarser":
        return {"query": view.query(), "label": "four times coarser", "coarser": 2}
    if kind == "date":
        day = forms.day_of(value, "", None)
        if day is None:
            raise ArgumentError("date", "must be given to compare with", value)
        return {"query": view.model_copy(update={"date": day}).query(), "label": day.isoformat(), "coarser": 0}
    number = int(value) if value.strip().isdecimal() else view.seed + 1
    other = View(**(view.model_dump() | {"seed": number}))
    return {"query": other.query(), "label": f"seed {number}", "coarser": 0}


def _shown(view: View, compare: dict[str, Any] | None = None) -> str:
    """A view as `explore.js` takes it."""
    base = 6 if view.base == "earth" else IMAGINED_LEVEL
    return json.dumps({"query": view.query(), "base": base, "compare": compare})
