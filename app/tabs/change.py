"""The tab of change pairs: a picture, events, and what comes of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from functools import partial
from typing import Any, get_args

import gradio as gr

from earthgen.app import changes, forms
from earthgen.app.changes import ChangeRequest, Format
from earthgen.app.engine import Engine
from earthgen.errors import ArgumentError
from earthgen.labels.change import FORMATS
from earthgen.simulate.event_rules import TRANSITIONS
from earthgen.simulate.events import KINDS
from earthgen.simulate.nuisance import Nuisance

_NUISANCES = {
    "season": "Season",
    "illumination": "Light",
    "relief": "Side of the sun",
    "haze": "Haze",
    "misregistration": "Misalignment, px",
    "noise": "Sensor noise",
    "jpeg": "Compression",
    "rectangles": "Patches made anew",
}
_BECOME = ("an industrial area", "a residential area", "a lake", "a forest", "bare soil")
_HIGHEST = {"misregistration": 10.0, "rectangles": 20.0}
assert set(_NUISANCES) == {field.name for field in dataclasses.fields(Nuisance)}


def change(engine: Engine, started: gr.Textbox) -> None:
    """Two images of one place with what changed between them."""
    with gr.Row(elem_classes="eg-ask"):
        kinds = gr.CheckboxGroup(
            [(_titled(kind), kind) for kind in KINDS],
            label="What happens; any of these where none is ticked",
            scale=5,
        )
        count = gr.Number(2, label="Events", precision=0, minimum=1, maximum=100, scale=1, min_width=100)
        pairs = gr.Number(
            1, label="Pairs", precision=0, minimum=1, maximum=engine.settings.dataset_images, scale=1, min_width=100
        )
        run = gr.Button("Run", variant="primary", scale=0, min_width=110)
    used = gr.Markdown(
        "Draw what is there, with classes, on an image or on nothing. Without drawing, the seed decides, or you say "
        "what places of your image become. Several pairs make a data set, in one download."
    )
    become = gr.Dropdown(
        list(_BECOME), value=[], multiselect=True, allow_custom_value=True, max_choices=32,
        label="What places of an image become on which nothing is drawn; your own words, too",
    )  # fmt: skip
    canvas, now = forms.canvas("change", kind="eg-image", value=forms.size_of(256, 256))
    with gr.Accordion("Advanced", open=False):
        seed, randomise = forms.seed_fields(0, fresh=True)
        with gr.Row():
            width = gr.Slider(64, engine.settings.image_side, 256, step=16, label="Width of a new image, pixels")
            height = gr.Slider(64, engine.settings.image_side, 256, step=16, label="Height, pixels")
            steps = gr.Slider(1, 50, engine.usual.first, step=1, label="Steps")
            margin = gr.Slider(0, 64, 12, step=1, label="Margin of a change, pixels")
        with gr.Row():
            prompt = gr.Textbox(label="What there is to see", placeholder="May be left empty", max_length=500)
            gsd = gr.Number(10, label="Metres a pixel", minimum=0.05, maximum=200_000)
            ground = gr.Dropdown(
                [changes.GROUND, *changes.BECOMING],
                value=changes.GROUND,
                allow_custom_value=True,
                label="What lies where nothing is drawn",
            )
            classes = gr.Dropdown(
                sorted({*changes.CLASSES, *changes.BECOMING, "tree", "vehicle", "ship"}),
                value=list(changes.CLASSES),
                multiselect=True,
                allow_custom_value=True,
                label="Classes of a new image on which nothing is drawn",
            )
        with gr.Row():
            first = gr.Textbox(label="Date before", placeholder="YYYY-MM-DD", max_length=10)
            second = gr.Textbox(label="Date after", placeholder="YYYY-MM-DD", max_length=10)
            turns = gr.Textbox(
                label="Class transitions, in place of the usual ones", placeholder="grass > water, forest > building",
                max_length=500,
            )  # fmt: skip
    with gr.Accordion("What differs and is no change", open=False), gr.Row():
        nuisances = [
            gr.Slider(0, high, 0, step=1 if high > 10 else high / 20, label=label, min_width=240)
            for label, high in ((label, _HIGHEST.get(name, 1.0)) for name, label in _NUISANCES.items())
        ]
    with gr.Accordion("Formats of the download", open=False):
        formats = gr.CheckboxGroup(
            [(FORMATS[name], name) for name in get_args(Format)],
            value=list(ChangeRequest.model_fields["formats"].default),
            show_label=False,
        )

    def make(
        request: gr.Request, given: Any, ticked: list[Any], number: float | None, many: float | None,
        chosen: float, fresh: bool, wide: float, high: float, denoising: float, around: float, text: str,
        metres: float | None, under: str | None, named: list[str], before: str, after: str, table: str,
        texts: list[str], into: list[Any], *strengths: float,
    ) -> tuple[str, float, str]:  # fmt: skip
        """Start making a pair; the job's id."""
        with forms.Told():
            on_it = forms.on_canvas(given)
            asked = ChangeRequest(
                image=on_it.image.id if on_it.image else None,
                shapes=on_it.shapes,
                ground=under or changes.GROUND,
                classes=tuple(named or ()),
                events=_events(ticked, forms.whole("events", number)),
                transitions=_transitions(table),
                become=tuple(texts or ()),
                nuisance=_nuisance(strengths),
                margin=forms.whole("margin", around),
                prompt=text or None,
                gsd=None if on_it.image and on_it.image.georeferenced else metres or None,
                dates=(forms.day_of(before, ""), forms.day_of(after, "")),
                width=forms.whole("width", wide),
                height=forms.whole("height", high),
                count=forms.whole("pairs", many),
                seed=None if fresh else forms.whole("seed", chosen),
                steps=forms.whole("steps", denoising),
                formats=tuple(into or ()),
            )
            record = changes.start(engine.tasks, asked, forms.visitor(request))
            return record["id"], record["about"]["seed"], f"Seed used: **{record['about']['seed']}**"

    asked = [
        now, kinds, count, pairs, seed, randomise, width, height, steps, margin, prompt, gsd, ground, classes, first,
        second, turns, become, formats, *nuisances,
    ]  # fmt: skip
    running = [run.click, prompt.submit, count.submit, pairs.submit]
    gr.on(running, make, asked, [started, seed, used], **forms.taking("change", len(asked)))
    gr.on([width.release, height.release], forms.size_of, [width, height], canvas, **forms.PRIVATE)
    forms.offer("change", ChangeRequest, partial(changes.start, engine.tasks))


def _titled(kind: str) -> str:
    return "Class transition" if kind == "transition" else kind.capitalize()


def _events(kinds: list[Any], count: int) -> dict[Any, int] | int:
    """The events dealt to the kinds in turn."""
    return dict(Counter(itertools.islice(itertools.cycle(kinds), min(count, 1000)))) if kinds else count


def _transitions(text: str) -> tuple[tuple[str, str], ...]:
    """`grass > water, forest > building`."""
    pairs = [tuple(name.strip() for name in part.split(">")) for part in (text or "").split(",") if part.strip()]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ArgumentError(
            "transitions", f"must be as grass > water; usual are those of {', '.join(TRANSITIONS)}", text
        )
    return tuple(pairs)  # type: ignore[arg-type]


def _nuisance(strengths: tuple[float, ...]) -> Nuisance:
    given: dict[str, Any] = dict(zip(_NUISANCES, strengths, strict=True))
    return Nuisance(**given | {"rectangles": forms.whole("rectangles", given["rectangles"])})
