"""One row of a data set, from its plan to its files: laid out, generated, judged, cut, written, noted as done."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio import warp

from earthgen import __version__, weights
from earthgen.conditions import UNKNOWN, Conditions, Guidance
from earthgen.dataset import rows
from earthgen.dataset.canvas import Part, Window, clip, cut, windows
from earthgen.dataset.config import BACKGROUND, DEFAULT_RULE, Config
from earthgen.dataset.filter import Filter, Verdict
from earthgen.dataset.real import CarvedMasks, write_mask
from earthgen.dataset.store import Record, Store
from earthgen.labels.shapes import as_polygon
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene
from earthgen.simulate.layout_drawn import Layout
from earthgen.simulate.layouts import LayoutGenerator

KEPT = Verdict(True, {})


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row."""

    index: int
    kept: int
    """Images of the data set."""
    rejected: int
    seconds: dict[str, float]
    """By what they were spent on: model, filter, write."""


class Maker:
    """Makes rows. One a process; every row is computed alone, so that it does not depend on the others.

    `pipe` is the configuration's model where it is loaded already. `on_step` is told after each denoising step what
    share of its image is done.
    """

    def __init__(
        self, config: Config, folder: Path, pipe: Any = None, on_step: Callable[[float], None] | None = None
    ) -> None:
        self.config, self.store, self.on_step = config, Store(folder), on_step
        if pipe is None:
            earth = import_module("earthgen.pipelines.earth")  # looked up when asked for, as in `earthgen.world`
            pipe = earth.EarthPipeline.from_pretrained(config.model).to(config.device)
            pipe.set_progress_bar_config(disable=True)
        self.pipe = pipe
        self.layouts = layouts_of(config, self.store)
        self.filter = filter_of(config, self.store)
        self._seconds: dict[str, float] = {}
        self._about: dict[str, Any] = {
            "model": weights.shown(config.model),
            "model_sha256": config.made_with["model_sha256"],
            "version": __version__,
            "steps": config.steps,
            "guidance": dataclasses.asdict(config.guidance or Guidance()),
            "scheduler": type(self.pipe.scheduler).__name__,
            "created": dt.datetime.combine(config.created or dt.date.min, dt.time(), dt.timezone.utc),
        }

    def make(self, index: int) -> Outcome:
        """Make a row and note it as done.

        A candidate that the filter rejects is drawn again with the row's next seed, after some draws with a new layout.
        A canvas is drawn once, and its tiles are judged one by one.

        Raises:
            OutputError: A file cannot be written; nothing that was done is lost.
        """
        self._seconds = {"model": 0.0, "filter": 0.0, "write": 0.0}
        row = rows.row(self.config, index)
        pictures: list[Record] = []
        canvas: dict[str, str] | None = None
        for number, draw in self._candidates():
            layout = self._layout(index, number)
            asked = rows.conditions(self.config, row, layout, number)
            seed = rows.noise_seed(self.config, index, number, draw)
            image = self._generate(asked, seed)
            provenance = Provenance(seed=seed, conditions=asked.to_dict(), **self._about)
            scene = Scene.from_conditions(image, asked, provenance)
            if self.config.tiles is not None:
                canvas = self._write_canvas(scene, row)
            drawn = self._judged(row, layout, asked, scene, {"layout": number, "draw": draw, "seed": seed})
            pictures += drawn
            if any(picture["kept"] for picture in drawn):
                break
        record = {"index": index, "id": row.id, "split": row.split, "canvas": canvas, "pictures": pictures}
        with self._timed("write"):
            self.store.add(record)
        kept = sum(picture["kept"] for picture in pictures)
        return Outcome(index, kept, len(pictures) - kept, self._seconds)

    def _candidates(self) -> Iterator[tuple[int, int]]:
        """Numbers of the layout and of the draw of it."""
        limits = (1, 1) if self.config.tiles is not None else (self.config.filter.layouts, self.config.filter.draws)
        return ((number, draw) for number in range(limits[0]) for draw in range(limits[1]))

    def _layout(self, index: int, number: int) -> Layout | None:
        if self.layouts is None:
            return None
        rng = rows.layout_rng(self.config, index, number)
        height, width = self.config.size
        if isinstance(self.layouts, CarvedMasks):
            return self.layouts.sample(rng, height, width)
        if rng.random() < self.config.layout.perturb:
            return self.layouts.perturb(rng, height, width, self.config.layout.strength)
        ground = self.config.layout.background
        if ground is not None:
            layout = self.layouts.sample(rng, height, width)
            return layout.on_ground(self.config.mask_classes, None if ground == BACKGROUND else ground)
        learned = any(scene.mask is not None for scene in self.layouts.scenes)
        with_mask = self.config.task == "segmentation" or (learned and self.config.layout.masks)
        return self.layouts.sample(rng, height, width, with_mask=with_mask)

    def _generate(self, asked: Conditions, seed: int) -> NDArray[np.uint8]:
        height, width = self.config.size

        def on_step(pipe: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if self.on_step is not None:
                self.on_step((step + 1) / pipe.num_timesteps)
            return tensors

        with self._timed("model"):
            result = self.pipe(
                conditions=[asked],  # alone: in a batch it would be rounded otherwise
                height=height,
                width=width,
                num_inference_steps=self.config.steps,
                guidance=self.config.guidance,
                # On the CPU whatever the device, so that a seed means the same image everywhere.
                generator=[torch.Generator().manual_seed(seed)],
                output_type="pil",
                callback_on_step_end=on_step,
            )
            return np.array(result.images[0].convert("RGB"))

    def _judged(
        self, row: rows.Row, layout: Layout | None, asked: Conditions, scene: Scene, origin: dict[str, int]
    ) -> list[Record]:
        """The image, or each of its tiles, with its labels and its verdict, written."""
        shapes = [] if layout is None else layout.shapes()
        parts = [clip(shapes, scene.height, scene.width, self.config.min_visible)]
        tiles: list[Window | None] = [None]
        if self.config.tiles is not None:
            cuts = windows(scene.height, scene.width, self.config.tiles.size, self.config.tiles.overlap)
            parts = cut([shapes[part.index] for part in parts[0]], cuts, self.config.min_visible)
            tiles = list(cuts)
        candidates = [self._candidate(asked, scene, w, p) for w, p in zip(tiles, parts, strict=True)]
        with self._timed("filter"):
            verdicts = [KEPT] * len(tiles) if self.filter is None else [
                self.filter.judge([c.image], [a])[0] for c, a in candidates  # alone, as they were made
            ]  # fmt: skip
        pictures = []
        with self._timed("write"):
            for window, shown, (piece, told), verdict in zip(tiles, parts, candidates, verdicts, strict=True):
                name = row.id if window is None else f"{row.id}-y{window.y:05d}-x{window.x:05d}"
                if not verdict.kept:
                    name += f"-l{origin['layout']}-d{origin['draw']}"
                pictures.append({
                    "id": name,
                    **self._write(name, piece, told, verdict.kept),
                    "kept": verdict.kept,
                    "scores": {key: round(float(value), 6) for key, value in verdict.scores.items()},
                    "reason": verdict.reason,
                    **origin,
                    "height": piece.height,
                    "width": piece.width,
                    "window": None if window is None else dataclasses.astuple(window),
                    "gsd": piece.gsd,
                    "crs": None if piece.crs is None else _crs_text(piece.crs),
                    "transform": None if piece.transform is None else list(piece.transform)[:6],
                    "label": row.label,
                    "text": told.text,
                    "date": None if told.date is None else told.date.isoformat(),
                    **_place(piece, told),
                    "cloud_cover": told.cloud_cover,
                    "mask_classes": list(told.mask_classes),
                    "mask_pixels": _pixels(told),
                    "shapes": None if layout is None else [_shape_record(part) for part in shown],
                })  # fmt: skip
        return pictures

    def _candidate(
        self, asked: Conditions, scene: Scene, window: Window | None, parts: Sequence[Part]
    ) -> tuple[Scene, Conditions]:
        """The image, or a tile of it, and its labels as conditions: what was asked there, as far as it is labelled."""
        told, shapes = asked, [part.shape for part in parts]
        if asked.polygons is not None:
            told = told.replace(polygons=tuple(one for s in shapes if (one := as_polygon(s)) is not None))
            shapes = [shape for shape in shapes if shape.polygon is None]
        if asked.boxes is not None:
            told = told.replace(boxes=tuple(shape.box for shape in shapes))
        if window is None:
            return scene, self._labelled(told)
        if asked.mask is not None:
            told = told.replace(mask=asked.mask[window.slices])
        record = {**told.to_dict(), "window": dataclasses.asdict(window)}
        provenance = dataclasses.replace(scene.provenance, conditions=record)
        transform = None if scene.transform is None else scene.transform @ Affine.translation(window.x, window.y)
        image = np.ascontiguousarray(scene.image[window.slices])
        return Scene(image, scene.crs, transform, scene.gsd, provenance), self._labelled(told)

    def _labelled(self, told: Conditions) -> Conditions:
        """With the class of a ground of which images are told nothing."""
        if told.mask is None or self.config.layout.background != BACKGROUND:
            return told
        ground = told.mask_classes.index(BACKGROUND)
        return told.replace(mask=np.where(told.mask == UNKNOWN, np.uint8(ground), told.mask))

    def _write(self, name: str, scene: Scene, told: Conditions, kept: bool) -> Record:
        if not kept and not self.config.filter.keep_rejected:
            return {"image": None, "mask": None}
        source = self.store.source
        image = scene.write(source / ("images" if kept else "rejected") / f"{name}.png")
        mask = None
        if told.mask is not None and kept:
            mask = self.store.entry(write_mask(source / "masks" / f"{name}.png", told.mask))
        return {"image": self.store.entry(image), "mask": mask}

    def _write_canvas(self, scene: Scene, row: rows.Row) -> dict[str, str]:
        with self._timed("write"):
            return self.store.entry(scene.write(self.store.source / "canvases" / f"{row.id}.tif"))

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[what] += time.perf_counter() - start


def layouts_of(config: Config, store: Store) -> LayoutGenerator | CarvedMasks | None:
    """The generator of a data set's layouts: learned ones from its folder; None where the task has none."""
    if config.task not in ("detection", "segmentation"):
        return None
    if store.layouts.exists():
        return LayoutGenerator.load(store.layouts)
    if store.masks.exists():
        return CarvedMasks.load(store.masks)
    return LayoutGenerator.from_rules({name: config.layout.rules.get(name, DEFAULT_RULE) for name in config.objects})


def filter_of(config: Config, store: Store) -> Filter | None:
    """The judge of a data set's images; None where all are kept."""
    folder = Path(config.filter.judge) if config.filter.judge is not None else store.filter
    if not config.filter.enabled or not folder.exists():
        return None
    from earthgen.dataset.filter import AgreementFilter

    return AgreementFilter.load(folder, **config.filter.thresholds)


def _place(scene: Scene, told: Conditions) -> dict[str, float | None]:
    """Degrees of the centre, of a tile its own."""
    if scene.crs is None or scene.transform is None:
        return {"lat": told.lat, "lon": told.lon}
    x, y = scene.transform @ (scene.width / 2, scene.height / 2)
    lon, lat = warp.transform(scene.crs, "EPSG:4326", [x], [y])
    return {"lat": round(lat[0], 6), "lon": round(lon[0], 6)}


def _pixels(told: Conditions) -> dict[str, int]:
    """Pixels of each class of the mask."""
    if told.mask is None:
        return {}
    counts = np.bincount(told.mask.ravel(), minlength=256)
    return {name: int(counts[number]) for number, name in enumerate(told.mask_classes)}


def _shape_record(part: Part) -> dict[str, Any]:
    shape = part.shape
    return {
        **dataclasses.asdict(shape.box),
        "polygon": None if shape.polygon is None else shape.polygon.tolist(),
        "difficult": shape.difficult,
        "visible": part.visible,
    }


def _crs_text(crs: Any) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.to_wkt(version="WKT2_2019"))
