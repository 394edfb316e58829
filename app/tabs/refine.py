"""The tab that makes an image finer."""

from __future__ import annotations

from typing import Any

import gradio as gr

from earthgen.app import forms
from earthgen.app.engine import Engine
from earthgen.app.tasks import UpscaleRequest
from earthgen.errors import ArgumentError


def refine(engine: Engine, started: gr.Textbox) -> None:
    """An uploaded image, four or 16 times finer."""
    with gr.Row(elem_classes="eg-ask"):
        prompt = gr.Textbox(label="What there is to see", placeholder="May be left empty", scale=5, max_length=500)
        stages = gr.Radio(
            [("4 times finer", 1), ("16 times finer", 2)], value=1, label="How fine", scale=2, min_width=180
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown("")
    _, now = forms.canvas("refine", kind="eg-image")
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0, fresh=True)
        with gr.Row():
            gsd = gr.Number(10, label="Metres a pixel of an image without a place", minimum=0.05, maximum=200_000)
            degradation = gr.Slider(0, 1, 0, step=0.05, label="How blurred or noisy the image is")
            steps = gr.Slider(1, 50, engine.usual.refining, step=1, label="Steps")
        with gr.Row():
            bands = gr.Textbox(label="Bands, as 4,3,2", placeholder="red, green and blue", max_length=20)
            scale = gr.Textbox(
                label="Black and white, as 0,3000 or 2%,98%", placeholder="needed unless 8 bits", max_length=60
            )
        with gr.Row():
            day, season, clouds = forms.when_fields()

    def refine(
        request: gr.Request, given: Any, text: str, fine: int, number: float, fresh: bool, metres: float | None,
        blurred: float, denoising: float, chosen: str, values: str, on: str, when: str, cover: float | None,
    ) -> tuple[str, float, str]:  # fmt: skip
        """Start refining the image; the job's id."""
        with forms.Told():
            image = forms.on_canvas(given).image
            if image is None:
                raise ArgumentError("image", "must be chosen first", None)
            asked = UpscaleRequest(
                image=image.id,
                stages=fine,
                gsd=None if image.georeferenced else metres or None,
                prompt=text or None,
                date=forms.day_of(on, when),
                clouds=None if cover is None or cover < 0 else cover / 100,
                scale=values or None,
                bands=chosen or None,
                degradation=blurred,
                seed=None if fresh else forms.whole("seed", number),
                steps=forms.whole("steps", denoising),
            )
            record = engine.tasks.upscale(asked, forms.visitor(request))
            return record["id"], record["about"]["seed"], f"Seed used: **{record['about']['seed']}**"

    asked = [now, prompt, stages, seed, randomise, gsd, degradation, steps, bands, scale, day, season, clouds]
    gr.on([run.click, prompt.submit], refine, asked, [started, seed, used], **forms.taking("refine", len(asked)))
    forms.offer("upscale", UpscaleRequest, engine.tasks.upscale)
