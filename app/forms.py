"""Parts of the page that its tabs share: canvases, fields, and what becomes of what is typed into them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr
from gradio.events import api
from pydantic import BaseModel, ValidationError

from earthgen.app.shapes import Shapes
from earthgen.app.worker import BusyError
from earthgen.app.worlds import RegionsId
from earthgen.cli import parse
from earthgen.conditions import Guidance
from earthgen.errors import ArgumentError
from earthgen.labels.formats import FORMATS

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Of an event that only the page itself makes."""
_SYSTEM = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_ABOVE = '<div class="eg-canvas {kind}"><div class="eg-above"></div>'
_CANVAS = _ABOVE + '<div class="eg-map" tabindex="0"></div><div class="eg-below"></div></div>'
PICKER = _ABOVE + "</div>"
_SEASONS = {"spring": (4, 15), "summer": (7, 15), "autumn": (10, 15), "winter": (1, 15)}
_SOUTH = {"spring": "autumn", "summer": "winter", "autumn": "spring", "winter": "summer"}
_SEASON_YEAR = 2024
WORLD_WEIGHTS = ("text", "gsd", "position", "date", "cloud", "boxes", "mask", "coarse")
IMAGE_WEIGHTS = ("text", "gsd", "position", "date", "cloud", "boxes", "mask")
_SAMPLES = [
    "a river through farmland",
    "a dense residential area",
    "a harbour with boats",
    "a forest with a lake",
    "a desert with dunes",
    "snow on mountains",
    "an airport with a runway",
    "an industrial area by a river",
]


class Taken(BaseModel):
    """An image that was uploaded to a canvas."""

    id: str
    georeferenced: bool = False


class Seen(BaseModel):
    """The part of the world that a map shows, degrees, and the level whose pixels it shows."""

    west: float
    south: float
    east: float
    north: float
    zoom: int


class Canvas(BaseModel):
    """What a person has on a canvas."""

    shapes: Shapes = ()
    image: Taken | None = None
    frame: Seen | None = None
    regions: RegionsId = None
    """On the world's map: those that a link brought, until something is drawn."""
    labels: str | None = None
    """Of data sets: those to lay objects out by."""


def script(name: str, events: tuple[str, ...] = ()) -> str:
    """What sets a canvas up, once `canvas.js` is there. Gradio knows the events by their names in it."""
    ready = "window.earthgen && window.earthgen.ready"
    call = f"window.earthgen.{name}(element, props, trigger, watch, {list(events)})"
    return f"const go = () => {{ if ({ready}) {call}; else setTimeout(go, 20); }}; go();"


def canvas(
    name: str, events: tuple[str, ...] = (), kind: str = "", value: Any = None, template: str = _CANVAS
) -> tuple[gr.HTML, gr.JSON]:
    """A canvas that a script draws: its value is what Python says, its events what the person does.

    And beside it the place of what the person has on it, which events take with them: see `taking`.
    """
    html = gr.HTML(
        value, html_template=template.format(kind=kind), js_on_load=script(name, events), apply_default_css=False
    )
    return html, gr.JSON(visible=False)


def taking(name: str, count: int) -> dict[str, Any]:
    """Of an event with `count` inputs: the first is what is on the canvas, read in the browser when it happens.

    Told to the server stroke by stroke it would be late for a person who draws and at once presses Run.
    """
    now = f"window.earthgen?.now.{name}?.() ?? null"
    return PRIVATE | {"js": f"(...given) => [{now}, ...given.slice(1, {count})]"}


def on_canvas(given: Any) -> Canvas:
    """What is on a canvas, checked. Raises `ValidationError`."""
    return Canvas.model_validate(given or {})


def visitor(request: gr.Request) -> str:
    """Who is at a page, for taking turns: an address, and the page there."""
    return f"{request.client.host if request.client else ''} {request.session_hash}"


class Told:
    """What is wrong with a request, as gradio shows it to the person."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise gr.Error(f"{name}: {first['msg']}", print_exception=False) from None
        if isinstance(error, (ArgumentError, BusyError)):
            raise gr.Error(str(error), print_exception=False) from None


def offer(name: str, form: type[BaseModel], start: Callable[[Any, str], dict[str, Any]]) -> None:
    """A work for gradio's clients, asked as the body of POST /jobs/NAME; the answer is the job's record."""

    def begin(request: gr.Request, body: dict[str, Any]) -> dict[str, Any]:
        with Told():
            return start(form.model_validate(body), visitor(request))

    begin.__doc__ = f"Start a work, asked as the body of POST /jobs/{name}; the job's record."
    api(begin, api_name=name)


def theme() -> gr.themes.Base:
    """Calm, with the system's own fonts."""
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=_SYSTEM, font_mono=["ui-monospace", "monospace"]
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def seed_fields(value: int, fresh: bool = False) -> tuple[gr.Number, gr.Checkbox]:
    """A seed, and whether to take a fresh one."""
    with gr.Row():
        seed = gr.Number(value, label="Seed", precision=0, minimum=0)
        randomise = gr.Checkbox(fresh, label="A fresh seed each time")
    return seed, randomise


def when_fields() -> tuple[gr.Textbox, gr.Dropdown, gr.Slider]:
    """A date, or a season in its place, and cloud."""
    day = gr.Textbox(label="Date", placeholder="YYYY-MM-DD", max_length=10)
    season = gr.Dropdown([("any", ""), *((name, name) for name in _SEASONS)], value="", label="Season")
    clouds = gr.Slider(-1, 100, -1, step=1, label="Cloud, %; -1 says nothing")
    return day, season, clouds


def weight_fields(names: tuple[str, ...], default: float) -> list[gr.Slider]:
    """How strongly each condition pulls."""
    words = {"gsd": "resolution", "coarse": "coarser level", "boxes": "objects", "mask": "painted classes"}
    with gr.Accordion("Guidance of each condition", open=False), gr.Row():
        return [
            gr.Slider(0, 10, 1.0 if n == "coarse" else default, step=0.5, label=words.get(n, n), min_width=240)
            for n in names
        ]


def gallery(prompt: gr.Textbox) -> None:
    """Sentences to begin with."""
    shown = gr.Dataset(components=[gr.Textbox(visible=False)], samples=[[s] for s in _SAMPLES], label="Ideas")
    shown.click(lambda row: row[0], shown, prompt, **PRIVATE)


def size_of(width: float, height: float) -> str:
    """A size as the canvases of images take it."""
    return json.dumps({"width": int(width), "height": int(height)})


def format_choices(names: Iterable[str]) -> list[tuple[str, str]]:
    """Formats of labels, each with what it is called."""
    return [(re.split("[:,]", FORMATS[name])[0], name) for name in names]


def numbers(name: str, text: str, *counts: int) -> tuple[float, ...]:
    """The numbers of a field, with commas between; none where nothing is given.

    Raises `ArgumentError` for what is no number, and unless there are as many as one of `counts`.
    """
    if not (text or "").strip():
        return ()
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if len(found) not in counts:
        raise ArgumentError(name, f"must be {' or '.join(map(str, counts))} numbers with commas between", text)
    return found


def whole(name: str, value: float | None) -> int:
    """A field's number. Raises `ArgumentError` for one that is not whole."""
    if value is None or not float(value).is_integer():
        raise ArgumentError(name, "must be a whole number", value)
    return int(value)


def day_of(text: str, season: str, latitude: float = 0.0) -> dt.date | None:
    """The date, or else the middle of a season in the hemisphere of a latitude, degrees."""
    if text and text.strip():
        try:
            return dt.date.fromisoformat(text.strip())
        except ValueError:
            raise ArgumentError("date", "must be a day as YYYY-MM-DD", text) from None
    if not season:
        return None
    return dt.date(_SEASON_YEAR, *_SEASONS[_SOUTH[season] if latitude < 0 else season])


def guidance_of(names: tuple[str, ...], given: tuple[float, ...], default: float) -> str | None:
    """The weights as the command line writes them; None where none was touched."""
    usual = dataclasses.asdict(Guidance.uniform(default))
    chosen = usual | dict(zip(names, map(float, given), strict=True))
    return None if chosen == usual else ",".join(f"{name}={value:g}" for name, value in chosen.items())


def weights_of(names: tuple[str, ...], text: str | None, default: float) -> list[float]:
    """The weights that `guidance_of` wrote, for the form."""
    given = dataclasses.asdict(parse.guidance(text) or Guidance.uniform(default))
    return [given[name] for name in names]
