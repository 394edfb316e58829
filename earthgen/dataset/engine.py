"""Making a data set: what is left of it is made, in one process or several, then put into its formats and summed up."""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from tqdm.auto import tqdm

from earthgen import __version__, labels, weights
from earthgen.conditions import Box
from earthgen.dataset import checks, real, summary, workers
from earthgen.dataset.config import BACKGROUND, Config
from earthgen.dataset.maker import Maker, Outcome
from earthgen.dataset.store import Record, Store, check_same, sha256
from earthgen.errors import ArgumentError, DataError
from earthgen.labels import classification, dota
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.writing import safe_names
from earthgen.output.atomic import StrPath
from earthgen.simulate.layouts import LayoutGenerator
from earthgen.steps import steps_of_folder

_ANY_TASK = ("imagefolder", "classification", "torchgeo", "stac")
"""Formats that hold images without objects and masks."""


def make(
    config: Config,
    folder: StrPath,
    *,
    processes: int = 1,
    progress: bool = False,
    pipe: Any = None,
    on_step: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Make the data set that `config` describes in `folder`, or what is left of it. Returns a JSON-ready report.

    Whatever ends it, the same call goes on there, and comes to the same files as if it had never ended. A data set that
    is there with fewer rows or formats grows.

    Args:
        config: What is asked.
        folder: Absent, empty, or with the same data set or a part of it.
        processes: How many processes make images; of no influence on the result.
        progress: Whether to show progress.
        pipe: The configuration's model, if it is loaded already: then this process makes all, with its own threads.
        on_step: Told, with `pipe`, after each denoising step what share of the rows is done. What it raises stops the
            making, as Ctrl-C does.

    Raises:
        ArgumentError: The configuration breaks a rule, or the folder holds a data set of another one.
        DataError: The real labels cannot be read.
        OutputError: The folder cannot be written (a full disk, another process); what is done is kept.
        WeightsError: There is no such model, or it is damaged.
    """
    started = time.perf_counter()
    store = Store(folder)
    weights.check(weights.resolve(config.model))
    with store.locked():
        return _made(config, store, processes, progress, started, pipe, on_step)


def _made(
    config: Config,
    store: Store,
    processes: int,
    progress: bool,
    started: float,
    pipe: Any,
    on_step: Callable[[float], None] | None,
) -> dict[str, Any]:
    labelled = real.read(config)
    there = store.config()
    config = resolve(config, labelled, there)
    if there is not None:
        check_same(store, there, config)
    if there is None or there != config:
        store.reopen()
        store.write_config(config)
    if labelled is not None:
        try:
            _learn(config, labelled, store, progress)
        except ArgumentError:
            if there is None:  # or the command, once it is mended, would be refused as another configuration
                store.discard()
            raise
    records = {i: record for i, record in store.records().items() if i < config.count and store.whole(record)}
    missing = [index for index in range(config.count) if index not in records]
    seconds: Counter[str] = Counter()
    if missing:
        store.reopen()
        counts = Counter[str]()
        with (
            tqdm(total=config.count, initial=len(records), unit="row", disable=not progress, desc=config.task) as bar,
            closing(_outcomes(config, store, missing, processes, pipe, on_step)) as outcomes,
        ):
            for outcome in outcomes:
                seconds.update(outcome.seconds)
                counts.update(kept=outcome.kept, rejected=outcome.rejected)
                bar.set_postfix(counts, refresh=False)
                bar.update()
        records = store.records()
    if not store.sums.exists():
        seconds += _finish(config, store, records, progress)
    return _report(config, store, records, len(missing), seconds, time.perf_counter() - started)


def _outcomes(
    config: Config,
    store: Store,
    missing: Sequence[int],
    processes: int,
    pipe: Any,
    on_step: Callable[[float], None] | None,
) -> Generator[Outcome, None, None]:
    """The rows that are missing, made one after the other here where the model is given, or by workers."""
    if pipe is None:
        yield from workers.made(config, store.folder, missing, processes)
        return
    done = config.count - len(missing)

    def step(part: float) -> None:
        if on_step is not None:
            on_step((done + part) / config.count)

    maker = Maker(config, store.folder, pipe, step)
    for index in missing:
        yield maker.make(index)
        done += 1


def resolve(config: Config, labelled: LabelledSet | None, there: Config | None = None) -> Config:
    """The configuration without gaps, with digests of what it depends on; `there` is that of an earlier run.

    Raises `ArgumentError` where classes or formats are not known, or the device is not here.
    """
    made_with = {"version": __version__, "model_sha256": weights.model_sha256(weights.resolve(config.model))}
    if labelled is not None:
        made_with["real_sha256"] = real.digest(labelled)
    if config.filter.judge is not None:
        made_with["filter_sha256"] = _folder_digest(Path(config.filter.judge))
    formats = config.formats or (there.formats if there is not None else ())
    if config.task == "segmentation":
        config = _grounded(config, labelled)
    classes = real.classes(config, labelled)
    _check_formats(config, formats, classes, labelled)
    changes: dict[str, Any] = {
        "formats": formats,
        "classes": classes,
        "steps": config.steps or steps_of_folder(weights.resolve(config.model)).first,
        "device": _device(config.device),
        "made_with": made_with,
    }
    if there is not None:
        changes["created"] = config.created or there.created
    changes = {name: value for name, value in changes.items() if value or name == "made_with"}
    return config.resolved(**changes)


def _grounded(config: Config, labelled: LabelledSet | None) -> Config:
    """With a class of the ground, unless masks tell all classes."""
    ground = config.layout.background
    if labelled is not None and any(image.mask is not None for image in labelled.images):
        if ground is not None:
            raise ArgumentError("layout.background", "must be absent where `real` labels have masks", ground)
        return config
    return replace(config, layout=replace(config.layout, background=ground or BACKGROUND))


def _check_formats(
    config: Config, formats: Sequence[str], classes: Sequence[str], labelled: LabelledSet | None
) -> None:
    """Refuse what could only fail once all images are made."""
    placed = config.conditions.gsd is not None and bool(config.conditions.regions)
    masked = labelled is not None and config.layout.masks and any(image.mask is not None for image in labelled.images)
    for name in formats:
        if name not in labels.FORMATS:
            rule = f"must be among {', '.join(labels.FORMATS)}{checks.nearest(name, labels.FORMATS)}"
        elif name == "torchgeo" and not placed:
            rule = "needs `conditions.gsd` and `conditions.regions`, as its images have a place"
        elif name == "classification" and config.task != "classification":
            rule = "is for classification"
        elif name == "masks" and config.task == "detection" and not masked:
            rule = "needs `real` labels with masks, and `layout.masks`"
        elif name not in _ANY_TASK and config.task not in ("detection", "segmentation"):
            rule = f"is not for {config.task}, which has no objects and no masks"
        else:
            continue
        raise ArgumentError("formats", rule, name)
    for name, forbidden in (("dota", dota.FORBIDDEN), ("classification", classification.FORBIDDEN)):
        if name in formats:
            safe_names(classes, forbidden)


def labelled_set(config: Config, store: Store, records: dict[int, Record]) -> LabelledSet:
    """The images that were kept, with their labels."""
    images = [
        _labelled(config, store, record, picture)
        for record in records.values()
        for picture in record["pictures"]
        if picture["kept"]
    ]
    detects = config.task == "detection"
    found = {tuple(p["mask_classes"]) for r in records.values() for p in r["pictures"] if p["mask_classes"]}
    if len(found) > 1:
        raise DataError(f"the masks of {store.manifest} name different classes: {sorted(found)}")
    names = {shape["label"] for r in records.values() for p in r["pictures"] for shape in p["shapes"] or ()}
    classes = (*config.objects, *sorted(names - set(config.classes))) if detects or names else ()
    return LabelledSet(images, classes, next(iter(found), ()))


def _learn(config: Config, labelled: LabelledSet, store: Store, progress: bool) -> None:
    """Learn from the real labels what a data set needs, once."""
    has_objects = any(image.shapes is not None for image in labelled.images)
    masks_alone = config.task == "segmentation" and not has_objects
    seen = real.learnable(labelled, config.classes, objects=not masks_alone)
    if config.task in ("detection", "segmentation") and not (store.layouts.exists() or store.masks.exists()):
        if masks_alone:
            _put(store, store.masks, real.CarvedMasks.fit(seen))
        else:
            _check_objects(config, seen)
            LayoutGenerator.fit(seen, config.layout.outlines).save(store.layouts)
    # Of captions, the labels say nothing that they could be held against.
    if (
        config.filter.enabled
        and config.filter.judge is None
        and config.task != "captions"
        and not store.filter.exists()
    ):
        from earthgen.dataset.filter import AgreementFilter

        threads = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        try:
            _put(store, store.filter, AgreementFilter.fit(seen, progress=progress))
        finally:
            torch.set_num_threads(threads)


def _check_objects(config: Config, seen: LabelledSet) -> None:
    """Say which classes layouts cannot have."""
    found = {shape.label for image in seen.images for shape in image.shapes or ()}
    if not found:
        raise ArgumentError("real", 'must hold objects of the classes, and not in its split "test" alone', config.real)
    missing = [name for name in seen.classes if name in config.objects and name not in found]
    if missing:
        shown = ", ".join(map(repr, missing))
        warnings.warn(f"the real labels hold no object of {shown}, so there is none in the data set", stacklevel=2)


def _put(store: Store, folder: Path, learned: Any) -> None:
    """Save something learned into a folder that appears whole or not at all."""
    draft = store.work / folder.name
    shutil.rmtree(draft, ignore_errors=True)
    learned.save(draft)
    store.put(draft, folder.relative_to(store.folder).as_posix())


def _finish(config: Config, store: Store, records: dict[int, Record], progress: bool) -> Counter[str]:
    """All that comes after the last row. Ended at any moment, it may begin again."""
    start = time.perf_counter()
    store.write_manifest(records)
    images = labelled_set(config, store, records)
    if len(images):
        for name in set(labels.FORMATS) - set(config.formats):
            shutil.rmtree(store.folder / name, ignore_errors=True)  # of an earlier run
        draft = store.work / "formats"
        shutil.rmtree(draft, ignore_errors=True)  # of a run that was stopped here
        for name, folder in labels.export(images, draft, config.formats, progress=progress).items():
            store.put(folder, name)
    exported = time.perf_counter()
    summary.write(store, config, records)
    store.finish()
    return Counter({"export": exported - start, "summary": time.perf_counter() - exported})


def _labelled(config: Config, store: Store, record: Record, picture: dict[str, Any]) -> LabelledImage:
    shapes = None
    laid_out = config.task == "detection" or config.layout.background is not None  # and not a mask alone
    if picture["shapes"] is not None and (picture["shapes"] or laid_out):
        shapes = tuple(_shape(one) for one in picture["shapes"])
    facts = ("seed", "date", "lat", "lon", "cloud_cover", "scores", "window")
    return LabelledImage(
        id=picture["id"],
        path=store.folder / picture["image"]["file"],
        height=picture["height"],
        width=picture["width"],
        split=record["split"],
        shapes=shapes,
        mask=store.folder / picture["mask"]["file"] if picture["mask"] else None,
        label=picture["label"],
        caption=picture["text"],
        gsd=picture["gsd"],
        crs=picture["crs"],
        transform=None if picture["transform"] is None else Affine(*picture["transform"]),
        extra={
            **{name: picture[name] for name in facts if picture[name] not in (None, {})},
            **({"canvas": record["id"]} if record["canvas"] else {}),
            "synthetic": True,
            "model": weights.shown(config.model),
            "model_sha256": config.made_with["model_sha256"],
        },
    )


def _shape(one: dict[str, Any]) -> Shape:
    box = Box(*(one[name] for name in ("label", "cx", "cy", "width", "height", "angle")))
    polygon = None if one["polygon"] is None else np.array(one["polygon"], float)
    return Shape(box, polygon, one["difficult"])


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError("device", "must be auto, cpu, or a device that torch has here", name) from error
    return name


def _folder_digest(folder: Path) -> str:
    paths: Sequence[Path] = (
        sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
    )
    if not paths or not paths[0].exists():
        raise DataError(f"there is no evaluator in {str(folder)!r}")
    return hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()


def _report(
    config: Config, store: Store, records: dict[int, Record], made: int, seconds: Counter[str], wall: float
) -> dict[str, Any]:
    pictures = [picture for record in records.values() for picture in record["pictures"]]
    kept = [picture for picture in pictures if picture["kept"]]
    return {
        "output": str(store.folder),
        "summary": str(store.summary),
        "formats": {name: str(store.folder / name) for name in config.formats if kept},
        "task": config.task,
        "seed": config.seed,
        "rows": len(records),
        "rows_made": made,
        "images": len(kept),
        "rejected": len(pictures) - len(kept),
        "objects": sum(len(picture["shapes"] or ()) for picture in kept),
        "seconds": round(wall, 2),
        "seconds_by_stage": {name: round(value, 3) for name, value in seconds.items()},
    }
