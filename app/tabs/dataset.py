"""The tab of labelled data sets."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import gradio as gr

from earthgen.app import datasets, forms
from earthgen.app.datasets import DatasetRequest, Format, Task
from earthgen.app.engine import Engine
from earthgen.dataset.config import DEFAULT_FORMATS, DEFAULT_RULE
from earthgen.simulate.event_rules import OBJECTS

_TASKS = {
    "detection": "Boxes (detection)",
    "segmentation": "Masks (segmentation)",
    "classification": "One class an image",
    "captions": "Sentences",
}
_ANY_TASK = ("imagefolder", "torchgeo", "stac")
_OF_TASK = {"classification": ("classification", *_ANY_TASK), "captions": _ANY_TASK}
_WORDS = sorted({*OBJECTS, "grass", "bare land", "farmland", "forest", "water", "road", "background"})


def dataset(engine: Engine, started: gr.Textbox) -> None:
    """Images with labels, to fetch as a zip."""
    limit = engine.settings.dataset_images
    with gr.Row(elem_classes="eg-ask"):
        classes = gr.Dropdown(
            _WORDS, value=["building"], multiselect=True, allow_custom_value=True, label="What is shown", scale=5
        )
        count = gr.Number(16, label=f"Images, up to {limit}", precision=0, minimum=1, maximum=limit, min_width=110)
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    task = gr.Radio([(_TASKS[name], name) for name in get_args(Task)], value="detection", label="Labels")
    formats = gr.CheckboxGroup(**_formats("detection"), label="Formats")
    used = gr.Markdown("Pairs of change with their labels are made in the tab Change.")
    with gr.Row():
        gsd = gr.Textbox(label="Metres a pixel, or a range", placeholder="0.5, or 0.3, 0.6", max_length=40)
        width = gr.Slider(64, engine.settings.image_side, 256, step=32, label="Width, pixels")
        height = gr.Slider(64, engine.settings.image_side, 256, step=32, label="Height, pixels")
    with gr.Accordion("Layout of the objects", open=False):
        gr.Markdown("Boxes may lie as in labels of your own. Without any, they follow these rules:")
        own, now = forms.canvas("dataset", ("labelled",), template=forms.PICKER)
        with gr.Row():
            objects = gr.Slider(1, 100, 10, step=1, label="Objects of a class, on average", min_width=240)
            shortest = gr.Slider(
                4, 200, DEFAULT_RULE.length[0], step=1, label="Longer side, from, pixels", min_width=240
            )
            longest = gr.Slider(4, 200, DEFAULT_RULE.length[1], step=1, label="to, pixels", min_width=240)
            upright = gr.Checkbox(False, label="Never turned")
            ground = gr.Dropdown(
                _WORDS,
                value=None,
                allow_custom_value=True,
                label="Of masks: the class of the ground",
                info="Images show it. None: any ground",
            )
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0, fresh=True)
        with gr.Row():
            prompts = gr.Textbox(
                label="Sentences, one a line; each image gets one", lines=2, max_length=5000,
                placeholder="{classes} stands for what is shown",
            )  # fmt: skip
            region = gr.Textbox(label="Region", placeholder="west, south, east, north", max_length=60)
            first = gr.Textbox(label="Dates, from", placeholder="YYYY-MM-DD", max_length=10)
            last = gr.Textbox(label="to", placeholder="YYYY-MM-DD", max_length=10)
        with gr.Row():
            steps = gr.Slider(1, 50, engine.usual.first, step=1, label="Steps")
            screened = gr.Checkbox(
                False,
                label="Keep only images that show what was asked, by the server's evaluator",
                visible=engine.settings.judge is not None,
            )

    def make(
        request: gr.Request, given: Any, named: list[str], number: float | None, kind: Any, into: list[Any],
        metres: str, wide: float, tall: float, mean: float, short: float, long: float, straight: bool,
        under: str | None, chosen: float, fresh: bool, sentences: str, where: str, start: str, end: str,
        denoising: float, judged: bool,
    ) -> tuple[str, float, str]:  # fmt: skip
        """Start making a data set; the job's id."""
        with forms.Told():
            days = forms.day_of(start, ""), forms.day_of(end, "")
            between = forms.numbers("metres a pixel", metres, 1, 2)
            asked = DatasetRequest(
                task=kind,
                classes=tuple(named or ()),
                background=under if under and kind == "segmentation" else None,
                prompts=tuple(filter(None, map(str.strip, (sentences or "").splitlines()))),
                count=forms.whole("count", number),
                width=forms.whole("width", wide),
                height=forms.whole("height", tall),
                formats=tuple(into or ()),
                gsd=(between[0], between[-1]) if between else None,
                region=forms.numbers("region", where, 4) or None,  # type: ignore[arg-type]
                dates=None if days == (None, None) else days,
                labels=forms.on_canvas(given).labels,
                objects=mean,
                length=(short, long),
                upright=straight,
                screened=judged,
                seed=None if fresh else forms.whole("seed", chosen),
                steps=forms.whole("steps", denoising),
            )
            record = datasets.start(engine.tasks, asked, forms.visitor(request))
            return record["id"], record["about"]["seed"], f"Seed used: **{record['about']['seed']}**"

    asked = [
        now, classes, count, task, formats, gsd, width, height, objects, shortest, longest, upright, ground, seed,
        randomise, prompts, region, first, last, steps, screened,
    ]  # fmt: skip
    gr.on([run.click, count.submit], make, asked, [started, seed, used], **forms.taking("dataset", len(asked)))
    own.labelled(_named, None, classes, **forms.PRIVATE)
    task.change(lambda kind: gr.update(**_formats(kind)), task, formats, **forms.PRIVATE)
    forms.offer("dataset", DatasetRequest, partial(datasets.start, engine.tasks))


def _named(event: gr.EventData) -> Any:
    """The classes of one's own labels, chosen."""
    names = list(event._data["classes"])
    return gr.update(choices=sorted({*_WORDS, *names}), value=names)


def _formats(task: str) -> dict[str, Any]:
    """Those of a task, the usual ones ticked."""
    names = _OF_TASK.get(task, tuple(name for name in get_args(Format) if name != "classification"))
    return {"choices": forms.format_choices(names), "value": list(DEFAULT_FORMATS[task])}
