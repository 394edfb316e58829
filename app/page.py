"""The page: Gradio 6 around the canvases of `static/`, with forms for what is asked and events both ways."""

from __future__ import annotations

import json
import secrets
from typing import Any, Literal
from urllib.parse import parse_qsl

import gradio as gr
from fastapi import FastAPI
from gradio.events import api
from pydantic import TypeAdapter, ValidationError

from earthgen.app import forms
from earthgen.app.engine import STATIC, Engine
from earthgen.app.shapes import Shapes, to_geojson
from earthgen.app.tasks import ExportRequest, GenerateRequest, UpscaleRequest
from earthgen.app.worlds import DEFAULT_STEPS, View
from earthgen.conditions import Guidance
from earthgen.errors import ArgumentError
from earthgen.world.pyramid import IMAGINED_LEVEL

_HEAD = """<link rel="stylesheet" href="canvas/leaflet.css"><link rel="icon" href="data:,">
<script src="canvas.js"></script>"""
_shapes: TypeAdapter[Any] = TypeAdapter(Shapes)


def mount(app: FastAPI, engine: Engine) -> FastAPI:
    """Put the page at the root of an application."""
    blocks = build(engine)
    blocks.queue(max_size=64, default_concurrency_limit=8)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=True,
        enable_monitoring=False,
        pwa=False,
        theme=forms.theme(),
        head=_HEAD,
        css_paths=[STATIC / "style.css"],
        mcp_server=False,
    )


def build(engine: Engine) -> gr.Blocks:
    """The page of a server."""
    with gr.Blocks(title="earthgen", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            '<div class="eg-title"><h1>earthgen</h1>'
            "<span>an unbounded generated Earth. Every image is synthetic.</span></div>",
            apply_default_css=False,
        )
        started = gr.Textbox(visible=False)
        with gr.Tabs():
            with gr.Tab("Explore", id="explore"):
                _explore(engine, started)
            with gr.Tab("Generate", id="generate", render_children=True):
                _generate(engine, started)
            with gr.Tab("Super-resolve", id="refine", render_children=True):
                _refine(engine, started)
        jobs = gr.HTML(
            None,
            html_template='<section class="eg-jobs eg-none"><h2>Your work</h2><ul></ul></section>',
            js_on_load=forms.script("jobs"),
            apply_default_css=False,
        )
        started.change(lambda name: name, started, jobs, api_visibility="private", show_progress="hidden")
    return blocks


def _explore(engine: Engine, started: gr.Textbox) -> None:
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(
            label="What there is to see", placeholder="Left empty, the map decides", scale=5, max_length=500
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    canvas = forms.canvas("explore", ("opened", "moved", "drawn"))
    frame, drawn = gr.State(None), gr.State([])
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

    def look(
        text: str, number: float, fresh: bool, on: str, when: str, cover: float | None, count: float,
        ground: Literal["earth", "imagined"],
        kind: str, value: str, shapes: list[Any], where: dict[str, Any] | None, *given: float,
    ) -> tuple[str, float, str]:  # fmt: skip
        """The world that is asked for, as the map takes it, the seed used, and a line that says so."""
        with forms.Told():
            chosen = secrets.randbelow(2**31) if fresh else forms.whole("seed", number)
            collection = to_geojson(_shapes.validate_python(shapes or []))
            view = View(
                seed=chosen,
                prompt=text or None,
                date=forms.day_of(on, when, where),
                clouds=None if cover is None or cover < 0 else cover / 100,
                steps=forms.whole("steps", count),
                guidance=forms.guidance_of(forms.WORLD_WEIGHTS, given, 1.0),
                base=ground,
                regions=engine.worlds.regions.put(collection) if collection["features"] else None,
            )
            return _shown(view, _compared(view, kind, value)), chosen, f"Seed used: **{chosen}**"

    def opened(event: gr.EventData) -> tuple[Any, ...]:
        """The world that a link names, into the form and onto the map. A broken link shows the world of seed 0."""
        try:
            view = View.model_validate(dict(parse_qsl(str(event._data["query"]))))
            if view.regions is not None:
                engine.worlds.regions.get(view.regions)
        except (ValidationError, ArgumentError, KeyError):
            view = View()
        clouds = -1 if view.clouds is None else round(100 * view.clouds)
        on = view.date.isoformat() if view.date else ""
        line = f"Seed used: **{view.seed}**"
        return _shown(view), view.prompt or "", view.seed, on, clouds, view.steps, view.base, line

    def moved(event: gr.EventData) -> dict[str, Any]:
        return {name: float(event._data[name]) for name in ("west", "south", "east", "north", "zoom")}

    def exported(shown: str, where: dict[str, Any] | None, projected: str) -> str:
        """Start the export of what the map shows."""
        with forms.Told():
            if not shown or where is None:
                raise ArgumentError("map", "must be shown first", None)
            view = View.model_validate(dict(parse_qsl(json.loads(shown)["query"])))
            place = {**where, "zoom": int(where["zoom"]), "utm": projected == "UTM"}
            return str(engine.tasks.export(ExportRequest(**view.model_dump(), **place), "page")["id"])

    asked = [prompt, seed, randomise, day, season, clouds, steps, base, against, other, drawn, frame, *weights]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([run.click, prompt.submit], look, asked, [canvas, seed, used], **private)
    gr.on([against.change, other.submit], look, asked, [canvas, seed, used], **private)
    canvas.opened(opened, None, [canvas, prompt, seed, day, clouds, steps, base, used], **private)
    canvas.moved(moved, None, frame, **private)
    canvas.drawn(forms.drawn_shapes, None, drawn, **private)
    export.click(exported, [canvas, frame, projection], started, **private)


def _generate(engine: Engine, started: gr.Textbox) -> None:
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(
            label="What there is to see", placeholder="a river through farmland", scale=5, max_length=500
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    size = json.dumps({"width": 256, "height": 256})
    canvas = forms.canvas("generate", ("drawn", "uploaded"), "eg-image", size)
    drawn, image = gr.State([]), gr.State(None)
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0, fresh=True)
        with gr.Row():
            width = gr.Slider(64, engine.settings.image_side, 256, step=16, label="Width, pixels")
            height = gr.Slider(64, engine.settings.image_side, 256, step=16, label="Height, pixels")
            count = gr.Slider(1, 8, 1, step=1, label="Images")
            steps = gr.Slider(1, 50, 20, step=1, label="Steps")
        with gr.Row():
            gsd = gr.Number(10, label="Metres a pixel", minimum=0.05, maximum=200_000)
            lat = gr.Number(None, label="Latitude", minimum=-90, maximum=90)
            lon = gr.Number(None, label="Longitude", minimum=-180, maximum=180)
            strength = gr.Slider(0.05, 1, 0.7, step=0.05, label="Of a given image, how much to replace")
        with gr.Row():
            day, season, clouds = forms.when_fields()
        weights = forms.weight_fields(forms.IMAGE_WEIGHTS, Guidance().text)
    forms.gallery(prompt)

    def make(
        text: str, number: float, fresh: bool, wide: float, high: float, images: float, denoising: float,
        metres: float | None, north: float | None, east: float | None, replaced: float, on: str, when: str,
        cover: float | None, shapes: list[Any], upload: dict[str, Any] | None, *given: float,
    ) -> tuple[str, float, str]:  # fmt: skip
        """Start making images; the job's id."""
        with forms.Told():
            asked = GenerateRequest(
                prompt=text or None,
                gsd=metres or None,
                lat=north,
                lon=east,
                date=forms.day_of(on, when, {"south": north or 0, "north": north or 0}),
                clouds=None if cover is None or cover < 0 else cover / 100,
                width=forms.whole("width", wide),
                height=forms.whole("height", high),
                count=forms.whole("images", images),
                steps=forms.whole("steps", denoising),
                seed=None if fresh else forms.whole("seed", number),
                guidance=forms.guidance_of(forms.IMAGE_WEIGHTS, given, Guidance().text),
                image=upload["id"] if upload else None,
                strength=replaced,
                shapes=_shapes.validate_python([s for s in shapes or [] if upload or not s.get("redo")]),
            )
            record = engine.tasks.generate(asked, "page")
            return record["id"], record["about"]["seed"], f"Seed used: **{record['about']['seed']}**"

    asked = [
        prompt, seed, randomise, width, height, count, steps, gsd, lat, lon, strength, day, season, clouds, drawn,
        image, *weights,
    ]  # fmt: skip
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([run.click, prompt.submit], make, asked, [started, seed, used], **private)
    canvas.drawn(forms.drawn_shapes, None, drawn, **private)
    canvas.uploaded(forms.taken_upload, None, image, **private)
    gr.on(
        [width.release, height.release],
        lambda w, h: json.dumps({"width": int(w), "height": int(h)}),
        [width, height],
        canvas,
        **private,
    )
    api(_api_generate(engine), api_name="generate")


def _refine(engine: Engine, started: gr.Textbox) -> None:
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(label="What there is to see", placeholder="May be left empty", scale=5, max_length=500)
        stages = gr.Radio(
            [("4 times finer", 1), ("16 times finer", 2)], value=1, label="How fine", scale=2, min_width=180
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    canvas = forms.canvas("refine", ("uploaded",), "eg-image")
    image = gr.State(None)
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0, fresh=True)
        with gr.Row():
            gsd = gr.Number(10, label="Metres a pixel of an image without a place", minimum=0.05, maximum=200_000)
            degradation = gr.Slider(0, 1, 0, step=0.05, label="How blurred or noisy the image is")
            steps = gr.Slider(1, 50, 20, step=1, label="Steps")
        with gr.Row():
            bands = gr.Textbox(label="Bands, as 4,3,2", placeholder="red, green and blue", max_length=20)
            scale = gr.Textbox(
                label="Black and white, as 0,3000 or 2%,98%", placeholder="needed unless 8 bits", max_length=60
            )
        with gr.Row():
            day, season, clouds = forms.when_fields()

    def refine(
        text: str, fine: int, upload: dict[str, Any] | None, number: float, fresh: bool, metres: float | None,
        blurred: float, denoising: float, chosen: str, values: str, on: str, when: str, cover: float | None,
    ) -> tuple[str, float, str]:  # fmt: skip
        """Start refining the image; the job's id."""
        with forms.Told():
            if not upload:
                raise ArgumentError("image", "must be chosen first", None)
            asked = UpscaleRequest(
                image=upload["id"],
                stages=fine,
                gsd=None if upload.get("georeferenced") else metres or None,
                prompt=text or None,
                date=forms.day_of(on, when, None),
                clouds=None if cover is None or cover < 0 else cover / 100,
                scale=values or None,
                bands=chosen or None,
                degradation=blurred,
                seed=None if fresh else forms.whole("seed", number),
                steps=forms.whole("steps", denoising),
            )
            record = engine.tasks.upscale(asked, "page")
            return record["id"], record["about"]["seed"], f"Seed used: **{record['about']['seed']}**"

    asked = [prompt, stages, image, seed, randomise, gsd, degradation, steps, bands, scale, day, season, clouds]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([run.click, prompt.submit], refine, asked, [started, seed, used], **private)
    canvas.uploaded(forms.taken_upload, None, image, **private)


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


def _api_generate(engine: Engine) -> Any:
    def generate(prompt: str, gsd: float = 10.0, seed: int = -1, width: int = 256, height: int = 256) -> dict[str, Any]:
        """Start making an image; the job's record. Progress and files are at `jobs/ID`. Seed -1 is a fresh one."""
        with forms.Told():
            chosen = None if seed < 0 else seed
            asked = GenerateRequest(prompt=prompt, gsd=gsd, seed=chosen, width=width, height=height)
            return engine.tasks.generate(asked, "gradio_client")

    return generate
