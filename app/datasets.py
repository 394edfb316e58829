"""Labelled data sets as a long work: what `earthgen dataset` makes, by the model that is loaded, to fetch as a zip.

A data set is a pure function of what is asked, so its folder is named by that: who asks the same again, after a cancel
or a failure, has it gone on with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from earthgen.app.jobs import Job
from earthgen.app.shapes import Class
from earthgen.app.tasks import AnySeed, Side, Steps, Tasks, Upload, WorkRequest, seed_of
from earthgen.app.worlds import Day, Prompt, Weights
from earthgen.cli import parse
from earthgen.conditions import GSD_RANGE, Guidance
from earthgen.dataset.config import ANY, DEFAULT_FORMATS, DEFAULT_RULE, Config
from earthgen.dataset.store import Store
from earthgen.errors import ArgumentError
from earthgen.labels.writing import link
from earthgen.weights import BUNDLED

Task = Literal["detection", "segmentation", "classification", "captions"]
Format = Literal[
    "coco", "yolo", "yolo-obb", "yolo-seg", "dota", "voc", "masks", "imagefolder", "classification", "torchgeo", "stac"
]
Metres = Annotated[float, Field(ge=GSD_RANGE[0], le=GSD_RANGE[1])]
Fraction = Annotated[float, Field(ge=0, le=1)]
Degrees = Annotated[float, Field(ge=-180, le=180)]
Pixels = Annotated[float, Field(ge=2, le=1000)]
_MAKING = 0.97
"""The share of the work that is not packing."""


class DatasetRequest(WorkRequest):
    """A labelled data set. Pairs are ranges that are drawn from anew for every image."""

    task: Task = "detection"
    classes: Annotated[tuple[Class, ...], Field(max_length=64)] = ()
    background: Annotated[
        Class | None,
        Field(description="In segmentation, the class of the ground, which images show; without, it is any ground."),
    ] = None
    prompts: Annotated[
        tuple[Prompt, ...], Field(max_length=50, description="Sentences, of which each image gets one.")
    ] = ()
    count: Annotated[int, Field(ge=1, le=100_000, description="Images.")] = 16
    width: Side = 256
    height: Side = 256
    formats: Annotated[tuple[Format, ...], Field(max_length=11, description="None for those of the task.")] = ()
    gsd: Annotated[tuple[Metres, Metres] | None, Field(description="Metres a pixel, low and high.")] = None
    region: Annotated[
        tuple[Degrees, Degrees, Degrees, Degrees] | None, Field(description="West, south, east, north.")
    ] = None
    dates: tuple[Day, Day] | None = None
    clouds: tuple[Fraction, Fraction] | None = None
    labels: Annotated[
        Upload, Field(description="As POST /labels gives it: objects lie as they do there, and not by rules.")
    ] = None
    objects: Annotated[float, Field(gt=0, le=1000, description="Of each class an image, on average.")] = 10
    length: Annotated[tuple[Pixels, Pixels], Field(description="Longer side of objects, pixels.")] = DEFAULT_RULE.length
    upright: Annotated[bool, Field(description="Whether objects are never turned.")] = False
    screened: Annotated[bool, Field(description="Whether the server's evaluator judges the images.")] = False
    seed: AnySeed = None
    steps: Steps = None
    guidance: Weights = None

    @model_validator(mode="after")
    def _together(self) -> DatasetRequest:
        for name in ("gsd", "dates", "clouds", "length"):
            pair = getattr(self, name)
            if pair is not None and (None in pair or pair[0] > pair[1]):
                raise ValueError(f"`{name}` must be two values, low first")
        if len(set(self.formats)) < len(self.formats) or len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` and `formats` must differ among themselves")
        return self

    def config(self, seed: int, tasks: Tasks) -> Config:
        """As the engine takes it. Raises `ArgumentError` for what breaks a rule."""
        from torch import get_num_threads

        settings = tasks.settings
        if self.labels is not None and self.task != "detection":
            raise ArgumentError("labels", "must be absent but for detection", self.task)
        if self.screened and settings.judge is None:
            raise ArgumentError("screened", "must be false on a server without an evaluator", True)
        if self.count > settings.dataset_images:
            raise ArgumentError("count", f"must be at most {settings.dataset_images} on this server", self.count)
        pixels = self.count * self.width * self.height
        if max(self.width, self.height) > settings.image_side or pixels > settings.dataset_pixels:
            rule = f"must be at most {settings.image_side} a side and {settings.dataset_pixels} in all images"
            raise ArgumentError("width, height", rule, f"{self.width} x {self.height}")
        ground = self.background if self.task == "segmentation" else None
        objects = {
            "density": 1e6 * self.objects / (self.width * self.height),
            "length": self.length,
            "gap": DEFAULT_RULE.gap,
            "heading": (0.0, 0.0) if self.upright else None,
        }
        by_rules = self.task in ("detection", "segmentation") and self.labels is None
        return Config.from_dict(
            {
                "task": self.task,
                "classes": self.classes,
                "count": self.count,
                "seed": seed,
                "real": None if self.labels is None else str(tasks.labels.path(self.labels)),
                "size": (self.height, self.width),
                "formats": self.formats or DEFAULT_FORMATS[self.task],
                "prompts": {ANY: texts} if (texts := [text for text in self.prompts if text]) else {},
                "conditions": {
                    "gsd": self.gsd,
                    "regions": [] if self.region is None else [self.region],
                    "dates": self.dates,
                    "cloud": self.clouds,
                },
                "layout": {
                    "background": ground,
                    "rules": {name: objects for name in self.classes if by_rules and name != ground},
                },
                "filter": {"enabled": self.screened, "judge": str(settings.judge) if self.screened else None},
                "guidance": parse.guidance(self.guidance) or Guidance(),
                "steps": self.steps,
                "model": settings.model,
                # As they are: a job that set them would slow down the tiles that are made between its steps.
                "threads": get_num_threads(),
            }
        )


def start(tasks: Tasks, asked: DatasetRequest, client: str) -> dict[str, Any]:
    """Start making a data set, or go on with it; its record.

    Raises:
        ArgumentError: The request makes no sense.
        BusyError: Too many works wait.
    """
    from earthgen.dataset import engine, real  # torch: behind the page

    seed = seed_of(asked.seed)
    asked = asked.model_copy(update={"seed": seed})
    config = asked.config(seed, tasks)
    labelled = real.read(config)
    resolved = engine.resolve(config, labelled)  # refuses formats that the task does not have
    if labelled is not None:
        real.learnable(labelled, resolved.classes, objects=True)  # refuses classes that the labels do not have
    whole = resolved.to_dict() | {"created": None}
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:32]
    folder = tasks.settings.folder / "datasets" / digest
    return tasks.jobs.start(
        "dataset",
        client,
        lambda job: _make(tasks, config, folder, job),
        seed=seed,
        task=asked.task,
        count=asked.count,
        size=[asked.width, asked.height],
        request=asked.model_dump(mode="json"),
    )


def _make(tasks: Tasks, config: Config, folder: Path, job: Job) -> None:
    from earthgen.dataset import engine

    _make_room(folder, tasks.settings.kept_datasets)
    images = folder / "source" / "images"

    def on_step(share: float) -> None:
        for path in sorted(images.glob("*.png")):
            job.preview(path)
        job.step(_MAKING * share)

    config = dataclasses.replace(config, device=tasks.model.device)
    report = engine.make(config, folder, pipe=tasks.model.pipe, on_step=on_step)
    on_step(1.0)
    store = Store(folder)
    if config.model != BUNDLED or config.filter.judge is not None or config.real is not None:
        _without_paths(store)
    job.about |= {name: report[name] for name in ("images", "rejected", "objects")}
    link(store.summary, job.folder / "summary.html")
    job.pack(folder, f"{config.task}-seed-{config.seed}.zip")
    shutil.rmtree(folder)


def _without_paths(store: Store) -> None:
    """Write a data set's configuration and page anew with names in place of this machine's paths."""
    from earthgen.dataset import summary

    config = store.config()
    assert config is not None
    judge = config.filter.judge
    screening = dataclasses.replace(config.filter, judge=None if judge is None else Path(judge).name)
    model = config.model if config.model == BUNDLED else Path(config.model).resolve().name
    own = None if config.real is None else "labels.json"
    config = dataclasses.replace(config, model=model, filter=screening, real=own)
    store.write_config(config)
    summary.write(store, config, store.records())
    store.finish()


def _make_room(folder: Path, kept: int) -> None:
    """Forget the oldest of the data sets that were not finished."""
    others = [path for path in folder.parent.glob("*") if path != folder]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[max(0, kept - 1) :]:
        shutil.rmtree(path, ignore_errors=True)
