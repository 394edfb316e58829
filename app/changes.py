"""Change pairs as a long work: two images of one place, what happened between them, and its exact labels.

Several pairs make a data set: each has a seed of its own, and all lie in one zip.
"""

from __future__ import annotations

import colorsys
import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pydantic import Field, model_validator

from earthgen import geo
from earthgen.app import shapes
from earthgen.app.jobs import Job
from earthgen.app.shapes import Class, Shapes
from earthgen.app.tasks import (
    AnySeed,
    Gsd,
    Latitude,
    Longitude,
    Side,
    Steps,
    Tasks,
    Upload,
    WorkRequest,
    seed_of,
)
from earthgen.app.worlds import Clouds, Day, Prompt
from earthgen.conditions import UNKNOWN, Box, Conditions
from earthgen.errors import ArgumentError
from earthgen.labels.change import ChangePair, bands_of, export_changes
from earthgen.labels.change_formats import SECOND_OF
from earthgen.labels.pictures import encoded, read_header
from earthgen.output.atomic import write_bytes, write_text
from earthgen.output.png import write_png
from earthgen.output.provenance import Provenance
from earthgen.simulate.event_boxes import simulate_boxes
from earthgen.simulate.event_maps import check_request, draw_map, simulate_maps
from earthgen.simulate.event_rules import OBJECTS, TRANSITIONS, EventRules
from earthgen.simulate.event_segments import check_become, simulate_segments
from earthgen.simulate.events import Kind, Series
from earthgen.simulate.nuisance import Nuisance

RGB = NDArray[np.uint8]

GROUND = "background"
CLASSES = ("grass", "farmland", "water", "building")
"""Of a map that is drawn from the seed."""
BECOMING = ("grass", "bare land", "farmland", "forest", "building", "water")
"""What the classes of a map may become, unless the request says so itself."""
Count = Annotated[int, Field(ge=0, le=100)]
Format = Literal["levir-cd", "levir-cd-split", "second", "change-geotiff", "change-captions", "change-coco"]


class ChangeRequest(WorkRequest):
    """Two images of one place and what changed between them: of an image, or of a new one. One such pair or several.

    Events happen to what the shapes name. Without shapes, a new image shows a map that is drawn from the seed, and of a
    given one segments vanish (`remove`) or appear (`add`), one or the other, or places become what a text says
    (`transition`), beside segments that vanish.
    """

    image: Upload = None
    shapes: Shapes = ()
    ground: Annotated[Class, Field(description="What lies where nothing is drawn.")] = GROUND
    classes: Annotated[
        tuple[Class, ...], Field(min_length=1, max_length=32, description="Of a new image without shapes.")
    ] = CLASSES
    events: Annotated[dict[Kind, Count] | Count, Field(description="How many, or how many of each kind.")] = 2
    transitions: Annotated[
        tuple[tuple[Class, Class], ...],
        Field(max_length=32, description="Classes with what each becomes, in place of the usual ones."),
    ] = ()
    become: Annotated[
        tuple[Class, ...],
        Field(max_length=32, description="Of an image without shapes: what places become, in words."),
    ] = ()
    nuisance: Annotated[Nuisance, Field(description="What differs and is no change.")] = Nuisance()
    margin: Annotated[int, Field(ge=0, le=100, description="Pixels around a change that may differ too.")] = 12
    prompt: Prompt = None
    gsd: Gsd = None
    lat: Latitude = None
    lon: Longitude = None
    dates: tuple[Day, Day] = (None, None)
    clouds: Clouds = None
    width: Side = 256
    height: Side = 256
    count: Annotated[int, Field(ge=1, le=1000, description="Pairs, from seeds SEED, SEED+1, ...")] = 1
    seed: AnySeed = None
    steps: Steps = None
    formats: Annotated[tuple[Format, ...], Field(min_length=1, max_length=len(get_args(Format)))] = (
        "levir-cd",
        "change-geotiff",
        "change-captions",
        "change-coco",
    )

    @model_validator(mode="after")
    def _together(self) -> ChangeRequest:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("`lat` and `lon` must be given together")
        first, second = self.dates
        if (first is None) != (second is None) or (first and second and not first < second):
            raise ValueError("`dates` must be two days, the second later, or none")
        if not sum(self.counts.values()):
            raise ValueError("`events` must be at least one")
        if any(shape.redo for shape in self.shapes):
            raise ValueError("`shapes` must say what is there; `redo` is for single images")
        if len(set(self.formats)) < len(self.formats):
            raise ValueError("`formats` must differ")
        return self

    @property
    def counts(self) -> dict[Any, int]:
        """Events by kind, or by "any"."""
        return self.events if isinstance(self.events, dict) else {"any": self.events}


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is there at first, and what is to happen."""

    asked: ChangeRequest
    seed: int
    size: tuple[int, int]
    """Height and width, pixels."""
    image: RGB | None
    boxes: tuple[Box, ...]
    ground: NDArray[np.uint8] | None
    """The label map under the boxes; None to draw one, or to take segments of the image."""
    classes: tuple[str, ...]
    """Of the label map; empty where there is none."""
    rules: EventRules
    crs: str | None
    transform: Affine | None

    @classmethod
    def of(cls, tasks: Tasks, asked: ChangeRequest) -> _Plan:
        """What is asked. Raises `ArgumentError` for what makes no sense."""
        image, crs, transform = None, None, None
        height, width = asked.height, asked.width
        if asked.image is not None:
            image = tasks.uploads.rgb(asked.image)
            height, width, crs, transform, _ = read_header(tasks.uploads.path(asked.image))
        if max(height, width) > tasks.settings.image_side:
            rule = f"must be at most {tasks.settings.image_side} pixels"
            raise ArgumentError("width, height" if image is None else "image", rule, f"{width} x {height}")
        settings = tasks.settings
        if asked.count > settings.dataset_images or 2 * asked.count * height * width > settings.dataset_pixels:
            rule = f"must be at most {settings.dataset_images}, and {settings.dataset_pixels} pixels in all images"
            raise ArgumentError("count", rule, f"{asked.count} pairs of {width} x {height}")
        if crs is None and asked.lat is not None and asked.lon is not None and asked.gsd is not None:
            zone, transform = geo.transform_for(asked.lat, asked.lon, asked.gsd, height, width)
            crs = ":".join(zone.to_authority() or ()) or zone.to_wkt()

        boxes, painted = shapes.boxes(asked.shapes, height, width), shapes.mask(asked.shapes, height, width)
        ground, classes = None, tuple(dict.fromkeys(asked.classes)) if image is None else ()
        if boxes or painted is not None:
            mask, names = painted or (np.full((height, width), UNKNOWN, np.uint8), ())
            classes = tuple(dict.fromkeys((*names, asked.ground)))
            ground = np.where(mask == UNKNOWN, np.uint8(classes.index(asked.ground)), mask)
        plan = cls(
            asked, seed_of(asked.seed), (height, width), image, boxes, ground, classes, EventRules(), crs, transform
        )
        return plan._with_rules()

    def _with_rules(self) -> _Plan:
        """With the rules of the classes that are there, once these allow the events."""
        asked, kinds = self.asked, [kind for kind, count in self.asked.counts.items() if count]
        turns = dict[str, dict[str, float]]()
        for source, target in asked.transitions:
            turns.setdefault(source, {})[target] = 1.0
        rules, classes = EventRules(transitions={**TRANSITIONS, **turns}), self.classes
        drawn = {shape.label for shape in asked.shapes} - {asked.ground}
        if classes and "transition" in kinds:
            named = {target for name in classes for target in rules.transitions.get(name, {})}
            classes = tuple(
                dict.fromkeys((*classes, *(n for n in BECOMING if n in named), *sum(asked.transitions, ())))
            )
        if asked.become and (self.boxes or classes):
            raise ArgumentError("become", "must be absent unless an image is given and nothing drawn", asked.become)
        if self.boxes:
            if "transition" in kinds and not turns:
                raise ArgumentError("transitions", "must say what the classes of boxes become", ())
        elif classes:
            unheard = drawn - set(OBJECTS) - set(TRANSITIONS)  # what has been drawn and no table knows is an object
            alone = {name: tuple(other for other in classes if other not in drawn) for name in unheard}
            rules = dataclasses.replace(rules, objects={**OBJECTS, **alone})
            check_request(self.size, classes, [asked.events], rules)
            if self.ground is None and all(name in rules.objects for name in classes):
                raise ArgumentError("classes", "must hold one that is no object, for the ground", classes)
        elif asked.become:
            check_become([asked.events], asked.become)
        elif len(kinds) > 1 or kinds[0] not in ("add", "remove", "any"):
            rule = "must be `add` or `remove` alone of an image on which nothing is drawn: draw what is there for more"
            raise ArgumentError("events", rule, kinds)
        if "second" in asked.formats:
            lacking = sorted({*classes, *drawn} - {GROUND, *SECOND_OF})
            if lacking or not classes:
                rule = "must leave out second, which knows none of these classes"
                raise ArgumentError("formats", rule, lacking or "no classes")
        return dataclasses.replace(self, rules=rules, classes=classes)

    def series(self) -> tuple[Series, bool]:
        """The states, and whether they are in the opposite order of time."""
        plans, seed = [self.asked.events], self.seed
        if self.boxes:
            turned = tuple(name for pair in self.asked.transitions for name in pair)
            made = simulate_boxes(
                self.boxes, *self.size, seed, plans, self.rules,
                classes=turned, ground=self.ground, ground_classes=self.classes,
            )  # fmt: skip
            return made, False
        if self.classes:
            ground = self.ground
            ground = draw_map(*self.size, self.classes, seed, self.rules) if ground is None else ground
            return simulate_maps(ground, self.classes, seed, plans, self.rules), False
        assert self.image is not None
        if self.asked.become:
            return simulate_segments(self.image, seed, plans, become=self.asked.become), False
        counts = self.asked.counts  # segments vanish; read backwards they appear
        made = simulate_segments(self.image, seed, (sum(counts.values()),))
        return made, bool(counts.get("add") or (counts.get("any") and seed % 2))


def start(tasks: Tasks, asked: ChangeRequest, client: str) -> dict[str, Any]:
    """Start making pairs; the job's record.

    Raises:
        ArgumentError: The request makes no sense.
        BusyError: Too many works wait.
    """
    plan = _Plan.of(tasks, asked)
    conditions = Conditions(text=asked.prompt, gsd=asked.gsd, lat=asked.lat, lon=asked.lon, cloud_cover=asked.clouds)
    size = plan.size[::-1]
    return tasks.jobs.start(
        "change",
        client,
        lambda job: _make(tasks, plan, conditions, job),
        seed=plan.seed,
        prompt=asked.prompt,
        size=list(size),
        pairs=asked.count,
    )


def _make(tasks: Tasks, plan: _Plan, conditions: Conditions, job: Job) -> None:
    """Make pairs with their labels in the formats, the first of them to look at too."""
    from earthgen.pipelines.change import GUIDANCE, ChangePipeline  # torch: behind the page

    asked = plan.asked
    pipe = ChangePipeline(**tasks.model.pipe.components)
    pipe.set_progress_bar_config(disable=True)
    about = dataclasses.replace(tasks.model, steps=asked.steps or tasks.model.steps, guidance=GUIDANCE).about()
    told = conditions.to_dict() | ({} if plan.image is None else {"known": "an image"})
    draft, more, events = (job.folder / name for name in (".formats", ".pairs", ".events"))
    pairs: list[ChangePair] = []
    for number in range(asked.count):
        one = dataclasses.replace(plan, seed=plan.seed + number)
        begin = f"{more}/seed-{one.seed}-" if number else f"{job.folder}/"
        before, after = Path(begin + "before.png"), Path(begin + "after.png")

        def on_share(share: float, number: int = number) -> None:
            job.step(0.95 * (number + share) / asked.count)

        provenance = Provenance(seed=one.seed, conditions=told, **about)
        series, pair = _make_pair(pipe, one, conditions, provenance, (before, after), on_share)
        write_text(events / f"{pair.id}.json", json.dumps(_record(series, pair), ensure_ascii=False, allow_nan=False))
        if number:
            job.preview(after)
        else:
            _write_labels(series, job)
        pairs.append(pair)
    export_changes(pairs, draft, asked.formats)
    events.rename(draft / "events")
    job.step(0.97)
    job.pack(draft, f"change-seed-{plan.seed}.zip")
    shutil.rmtree(draft)
    shutil.rmtree(more, ignore_errors=True)


def _make_pair(
    pipe: Any,
    plan: _Plan,
    conditions: Conditions,
    provenance: Provenance,
    paths: tuple[Path, Path],
    on_share: Callable[[float], None],
) -> tuple[Series, ChangePair]:
    """Make the two images of a pair, in these files. What happened, and the pair."""
    from earthgen.pipelines.change import CONTEXT, windows

    asked = plan.asked
    series, backwards = plan.series()
    days = [day for day in asked.dates if day is not None]
    parts = len(list(windows(series.changed(), CONTEXT + asked.margin, pipe.grid))) + asked.nuisance.rectangles
    steps, done = max(1, (parts + (plan.image is None)) * provenance.steps), 0

    def on_step(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        done += 1
        on_share(min(done / steps, 1))
        return tensors

    made = pipe(
        series,
        image=plan.image,
        conditions=conditions,
        dates=days if days and not backwards else None,
        seed=plan.seed,
        margin=asked.margin,
        nuisance=asked.nuisance,
        num_inference_steps=provenance.steps,
        output_type="np",
        callback_on_step_end=on_step,
    )
    images, records, own = list(made.images), made.nuisances, 0
    if backwards:
        series, images, records, own = series.reversed(), images[::-1], records[::-1], 1
    for number, (image, path) in enumerate(zip(images, paths, strict=True)):
        if plan.image is not None and number == own:
            write_bytes(path, encoded(image, {}, ".png"))  # an observation, which is not marked as synthetic
        else:
            write_png(path, image, provenance)
    pair = ChangePair(
        f"seed-{plan.seed}",
        *paths,
        *plan.size,
        bands_of(series),
        classes=series.classes,
        events=series.between(0, 1),
        sentences=tuple(series.sentences()),
        crs=plan.crs,
        transform=plan.transform,
        extra={"seed": plan.seed, "dates": [day.isoformat() for day in days] or None, "nuisances": records},
    )
    return series, pair


def _write_labels(series: Series, job: Job) -> None:
    """What changed and what is where, as pictures, and in words."""
    changed = series.changed()
    write_bytes(job.folder / "change.png", encoded(changed.astype(np.uint8) * np.uint8(255), {}, ".png"))
    palette = np.zeros((UNKNOWN + 1, 3), np.uint8)  # black where no class is known
    palette[: len(series.classes)] = [_colour(name, n) for n, name in enumerate(series.classes)] or 0
    for name, labels in zip(("before", "after"), series.maps or (), strict=False):
        write_bytes(job.folder / f"classes-{name}.png", encoded(palette[labels], {}, ".png"))
    shown = np.setdiff1d(np.stack(series.maps), UNKNOWN) if series.maps else ()
    job.about |= {
        "sentences": series.sentences(),
        "changed": round(float(changed.mean()), 4),
        "classes": {series.classes[i]: "#" + bytes(palette[i]).hex() for i in shown},
        "missing": dict(series.missing[0]) if series.missing else {},
    }


def _colour(name: str, number: int) -> tuple[int, int, int]:
    """Of a class: hues a golden section apart, the ground grey."""
    saturation, value = (0.0, 0.8) if name == GROUND else (0.5, 0.85)
    red, green, blue = colorsys.hsv_to_rgb((0.3 + number * 0.618034) % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _record(series: Series, pair: ChangePair) -> dict[str, Any]:
    """The pair in words and geometry, JSON-ready."""
    events = [event.to_dict() for event in series.between(0, 1)]
    missing = [dict(step) for step in series.missing]
    return {"id": pair.id, "classes": pair.classes, "events": events, "missing": missing, **pair.extra}
