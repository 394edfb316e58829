"""The tab of single images."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import api

from earthgen.app import forms
from earthgen.app.engine import Engine
from earthgen.app.tasks import GenerateRequest
from earthgen.conditions import Guidance


def generate(engine: Engine, started: gr.Textbox) -> None:
    """Single images: from words and shapes, from an image, or painted anew in parts."""
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(
            label="What there is to see", placeholder="a river through farmland", scale=5, max_length=500
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    canvas, now = forms.canvas("generate", kind="eg-image", value=forms.size_of(256, 256))
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0, fresh=True)
        with gr.Row():
            width = gr.Slider(64, engine.settings.image_side, 256, step=16, label="Width, pixels")
            height = gr.Slider(64, engine.settings.image_side, 256, step=16, label="Height, pixels")
            count = gr.Slider(1, 8, 1, step=1, label="Images")
            steps = gr.Slider(1, 50, engine.usual.first, step=1, label="Steps; 4 make a draft")
        with gr.Row():
            gsd = gr.Number(10, label="Metres a pixel", minimum=0.05, maximum=200_000)
            place = gr.Textbox(label="Latitude, longitude", placeholder="46.5, 8.0", max_length=60)
            strength = gr.Slider(0.05, 1, 0.7, step=0.05, label="Of a given image, how much to replace")
        with gr.Row():
            day, season, clouds = forms.when_fields()
        weights = forms.weight_fields(forms.IMAGE_WEIGHTS, Guidance().text)
    forms.gallery(prompt)

    def make(
        request: gr.Request, given: Any, text: str, number: float, fresh: bool, wide: float, high: float,
        images: float, denoising: float, metres: float | None, where: str, replaced: float, on: str, when: str,
        cover: float | None, *pulls: float,
    ) -> tuple[str, float, str]:  # fmt: skip
        """Start making images; the job's id."""
        with forms.Told():
            on_it = forms.on_canvas(given)
            lat, lon = forms.numbers("latitude, longitude", where, 2) or (None, None)
            asked = GenerateRequest(
                prompt=text or None,
                gsd=None if on_it.image and on_it.image.georeferenced else metres or None,
                lat=lat,
                lon=lon,
                date=forms.day_of(on, when, lat or 0.0),
                clouds=None if cover is None or cover < 0 else cover / 100,
                width=forms.whole("width", wide),
                height=forms.whole("height", high),
                count=forms.whole("images", images),
                steps=forms.whole("steps", denoising),
                seed=None if fresh else forms.whole("seed", number),
                guidance=forms.guidance_of(forms.IMAGE_WEIGHTS, pulls, Guidance().text),
                image=on_it.image.id if on_it.image else None,
                strength=replaced,
                shapes=tuple(shape for shape in on_it.shapes if on_it.image or not shape.redo),
            )
            record = engine.tasks.generate(asked, forms.visitor(request))
            return record["id"], record["about"]["seed"], f"Seed used: **{record['about']['seed']}**"

    asked = [
        now, prompt, seed, randomise, width, height, count, steps, gsd, place, strength, day, season, clouds, *weights,
    ]  # fmt: skip
    gr.on([run.click, prompt.submit], make, asked, [started, seed, used], **forms.taking("generate", len(asked)))
    gr.on([width.release, height.release], forms.size_of, [width, height], canvas, **forms.PRIVATE)
    api(_api_generate(engine), api_name="generate")


def _api_generate(engine: Engine) -> Any:
    def generate(
        request: gr.Request, prompt: str, gsd: float = 10.0, seed: int = -1, width: int = 256, height: int = 256
    ) -> dict[str, Any]:
        """Start making an image; the job's record. Progress and files are at `jobs/ID`. Seed -1 is a fresh one."""
        with forms.Told():
            chosen = None if seed < 0 else seed
            asked = GenerateRequest(prompt=prompt, gsd=gsd, seed=chosen, width=width, height=height)
            return engine.tasks.generate(asked, forms.visitor(request))

    return generate
