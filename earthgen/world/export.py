"""Windows of a world with their labels as files: data sets of one day, and series with what changed between days.

    images/<id>.tif       each window, as `earthgen window` writes it; of a series <id>-<day>.tif
    maps/                 of a series: the class of each pixel at each day, one band, classes in the tag CLASSES
    changes/              of a series: <id>-<day>-<day>.tif, three bands (change, class before, class after)
    series.json           of a series: days, classes, events in words and in geometry
    <format>/             one folder for each format asked for, images hard-linked

Run again after it was stopped, each goes on with what is there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from tqdm.auto import tqdm

from earthgen import labels as label_formats
from earthgen.dataset.canvas import windows
from earthgen.errors import ArgumentError, OutputError
from earthgen.labels.base import LabelledImage, LabelledSet, Split
from earthgen.labels.change import FORMATS as CHANGE_FORMATS
from earthgen.labels.change import ChangePair, bands_of, export_changes
from earthgen.labels.change_formats import geotiff, label_geotiff
from earthgen.output.atomic import StrPath, check_writable, write_bytes, write_text
from earthgen.output.provenance import Provenance
from earthgen.output.stream import stream_raster
from earthgen.simulate.events import Series
from earthgen.world.labels import check_formats, mask_classes, series_of
from earthgen.world.layout import Layout
from earthgen.world.masks import CLASSES_TAG
from earthgen.world.warp import Grid

if TYPE_CHECKING:
    from earthgen.world.world import World

FORMATS: tuple[str, ...] = (*label_formats.FORMATS, *CHANGE_FORMATS)
"""Of `export_series`; those of `export_windows` are `earthgen.labels.FORMATS`."""


def tiles_of(grid: Grid, size: int, overlap: int = 0) -> dict[str, Grid]:
    """A window cut into tiles of `size` pixels, by name, neighbours sharing at least `overlap` pixels.

    Raises `ArgumentError` for an overlap of a whole tile.
    """
    return {
        f"y{w.y:06d}-x{w.x:06d}": Grid(grid.crs, grid.transform @ Affine.translation(w.x, w.y), w.height, w.width)
        for w in windows(grid.height, grid.width, size, overlap)
    }


def export_windows(
    world: World,
    grids: Mapping[str, Grid],
    folder: StrPath,
    formats: Sequence[str],
    *,
    min_visible: float = 0.0,
    splits: Mapping[str, Split] | None = None,
    progress: bool = False,
) -> dict[str, Path]:
    """Write windows of a world with their labels in each of `formats` (`earthgen.labels.FORMATS`).

    Args:
        world: At the day that is shown.
        grids: Windows by name, as `World.grid` and `tiles_of` give them.
        folder: Made if it is not there.
        formats: Each goes to the folder of its name.
        min_visible: Share of an object that must lie in a window, 0 to 1.
        splits: Of windows by name; "train" unless given.
        progress: Whether to show progress.

    Returns:
        The folder of each format, and that of the "images".

    Raises:
        ArgumentError: A format is unknown, or there is no window.
        OutputError: The folder holds something else, or cannot be written.
    """
    check_formats(formats, tuple(label_formats.FORMATS))
    if not grids:
        raise ArgumentError("grids", "must be at least one window", grids)
    root = check_writable(folder)
    images = []
    for name, grid in tqdm(grids.items(), desc="windows", unit="window", disable=not progress or len(grids) == 1):
        split = (splits or {}).get(name, "train")
        path = _image(world, grid, root / "images" / f"{name}.tif", progress and len(grids) == 1)
        images.append(_labelled(world, grid, name, path, min_visible, split))
    return {"images": root / "images", **label_formats.export(_set(world, images), root, formats, progress=progress)}


def export_series(
    world: World,
    grid: Grid,
    dates: Sequence[dt.date],
    folder: StrPath,
    formats: Sequence[str] = (),
    *,
    id: str = "window",
    pairs: str = "next",
    split: Split = "train",
    min_visible: float = 0.0,
    progress: bool = False,
) -> tuple[Series, dict[str, Path]]:
    """Write a window of a world at several dates, with its labels at each and what changed between them.

    Beyond the margin of what changed (`World.at`) the pixels of all dates are equal.

    Args:
        world: With a layout and events.
        grid: The window.
        dates: Each later than the one before.
        folder: Made if it is not there.
        formats: Of `FORMATS`: those of labels show each date, those of change each pair.
        id: Letters, digits, ".", "_" and "-".
        pairs: "next" for each date and the one after it, or "all".
        split: Of all.
        min_visible: Share of an object that must lie in the window, 0 to 1.
        progress: Whether to show progress.

    Returns:
        The series, and the folder of each format and of "images", "maps" and "changes".

    Raises:
        ArgumentError: The dates run backwards, or a format is unknown.
        OutputError: The folder holds something else, or cannot be written.
    """
    check_formats(formats, FORMATS)
    if pairs not in ("next", "all"):
        raise ArgumentError("pairs", 'must be "next" or "all"', pairs)
    layout = world.layout or Layout(())
    series = series_of(layout, grid, dates)
    root = check_writable(folder)
    days = [date.strftime("%Y%m%d") for date in dates]
    images = []
    for date, day in zip(tqdm(dates, desc="dates", unit="date", disable=not progress), days, strict=True):
        shown, name = world.at(date), f"{id}-{day}"
        path = _image(shown, grid, root / "images" / f"{name}.tif", False)
        images.append(_labelled(shown, grid, name, path, min_visible, split))
    changes = []
    for first, second in combinations(range(len(dates)), 2):
        if pairs == "all" or second == first + 1:
            changes.append(_pair(series, images, f"{id}-{days[first]}-{days[second]}", first, second, split))
    found = {"images": root / "images", "maps": root / "maps"}
    assert series.maps is not None
    like = ChangePair(id, images[0].path, images[0].path, grid.height, grid.width, lambda: bands_of(series),
                      crs=images[0].crs, transform=images[0].transform)  # fmt: skip
    tags = {CLASSES_TAG: json.dumps(series.classes)}
    for image, labels in zip(images, series.maps, strict=True):
        content = geotiff(labels[None], like, tags, nodata=255, overview_resampling="NEAREST", predictor="NO")
        write_bytes(_inside(root / "maps", f"{image.id}.tif"), content)
    for pair in changes:
        write_bytes(_inside(root / "changes", f"{pair.id}.tif"), label_geotiff(pair.bands(), pair))
        found["changes"] = root / "changes"
    record = {
        "id": id,
        "classes": list(series.classes),
        "dates": [date.isoformat() for date in dates],
        "images": [f"images/{image.id}.tif" for image in images],
        "events": [[event.to_dict() for event in step] for step in series.events],
        "sentences": [series.sentences(k, k + 1) for k in range(len(dates) - 1)],
    }
    write_text(root / "series.json", json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    if single := [name for name in formats if name in label_formats.FORMATS]:
        found |= label_formats.export(_set(world, images), root, single, progress=progress)
    if paired := [name for name in formats if name in CHANGE_FORMATS]:
        found |= export_changes(changes, root, paired, progress=progress)
    return series, found


def _image(world: World, grid: Grid, path: Path, progress: bool) -> Path:
    """A window as a GeoTIFF; one that is there already is left."""
    provenance = world.provenance()
    if path.exists():
        if not _same(path, grid, provenance):
            raise OutputError(f"{str(path)!r} is of another world or window: choose another folder, or remove it")
        return path

    def blocks(row: int, column: int, height: int, width: int) -> Any:
        return world.block(grid, row, column, height, width)

    path.parent.mkdir(parents=True, exist_ok=True)
    return stream_raster(
        path, blocks, grid.height, grid.width, grid.crs, grid.transform, provenance, grid.gsd, progress=progress
    )


def _same(path: Path, grid: Grid, provenance: Provenance) -> bool:
    """Whether a file holds a window of a world."""
    try:
        with rasterio.open(path) as file:
            place = file.crs, file.transform, file.height, file.width
            made = Provenance.from_tags(file.tags())
    except (OSError, RasterioError, ArgumentError):
        return False
    there = place == (grid.crs, grid.transform, grid.height, grid.width)
    return there and replace(made, created=provenance.created) == provenance


def _labelled(world: World, grid: Grid, id: str, path: Path, min_visible: float, split: Split) -> LabelledImage:
    labels = world.labels(grid, min_visible)
    epsg = grid.crs.to_epsg()
    return LabelledImage(
        id=id,
        path=path,
        height=grid.height,
        width=grid.width,
        split=split,
        shapes=labels.shapes,
        mask=labels.mask,
        gsd=grid.gsd,
        crs=f"EPSG:{epsg}" if epsg else grid.crs.to_wkt(version="WKT2_2019"),
        transform=grid.transform,
        extra={"seed": world.request.seed, "date": None if world.date is None else world.date.isoformat()},
    )


def _set(world: World, images: Sequence[LabelledImage]) -> LabelledSet:
    layout = world.layout or Layout(())
    return LabelledSet(images, layout.classes, mask_classes(layout))


def _pair(
    series: Series, images: Sequence[LabelledImage], id: str, first: int, second: int, split: Split
) -> ChangePair:
    assert series.dates is not None
    return ChangePair(
        id=id,
        first=images[first].path,
        second=images[second].path,
        height=series.height,
        width=series.width,
        label=lambda: bands_of(series, first, second),
        split=split,
        classes=series.classes,
        events=series.between(first, second),
        sentences=tuple(series.sentences(first, second)),
        crs=images[first].crs,
        transform=images[first].transform,
        extra={"dates": [series.dates[k].isoformat() for k in (first, second)]},
    )


def _inside(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
