"""Writers of the formats of change, by name; `earthgen.labels.change` says what they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from shapely.geometry.base import BaseGeometry
from tqdm import tqdm

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import SPLITS, class_key
from earthgen.labels.change import Bands, ChangePair
from earthgen.labels.notes import Notes
from earthgen.labels.pictures import RASTERS, encoded, read_pixels
from earthgen.labels.writing import lines, link, splits_of, write_json, write_text
from earthgen.output.geotiff import COG_OPTIONS, quiet_without_place

SECOND_CLASSES = ("unchanged", "water", "ground", "low vegetation", "tree", "building", "sports field")
SECOND_PALETTE = np.array(
    [(255, 255, 255), (0, 0, 255), (128, 128, 128), (0, 128, 0), (0, 255, 0), (128, 0, 0), (255, 0, 0)], np.uint8
)
SECOND_OF: dict[str, str] = {
    **{name: name for name in SECOND_CLASSES[1:]},
    **dict.fromkeys(("sea", "lake", "river", "pool", "swimming pool"), "water"),
    **dict.fromkeys(("land", "bare land", "bareland", "bare soil", "road", "parking lot", "background"), "ground"),
    **dict.fromkeys(("vegetation", "grass", "grassland", "pasture", "rangeland", "farmland"), "low vegetation"),
    **dict.fromkeys(("forest", "trees"), "tree"),
    **dict.fromkeys(("house", "residential", "industrial", "storage tank", "greenhouse"), "building"),
    **dict.fromkeys(("tennis court", "playground"), "sports field"),
}
"""Class → class of SECOND."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One export of one format."""

    target: Path
    """Where it will lie."""
    notes: Notes
    second: Mapping[str, str]
    progress: bool


def write(name: str, pairs: Sequence[ChangePair], folder: Path, job: Job) -> None:
    """Write the pairs into an empty folder, in the format of that name."""
    shown = tqdm(pairs, desc=name, unit="pair", disable=not job.progress, leave=False)
    _WRITERS[name](pairs, shown, folder, job)


Pairs = Iterable[ChangePair]


def _levir_flat(pairs: Sequence[ChangePair], shown: Pairs, folder: Path, job: Job) -> None:
    for part in ("A", "B", "label"):
        (folder / part).mkdir()
    for pair in shown:
        _levir(pair, folder, f"{pair.split}_{pair.id}.png")
    for split in SPLITS:  # all three, as readers open them unasked
        names = sorted(f"{pair.split}_{pair.id}.png" for pair in pairs if pair.split == split)
        write_text(folder / "list" / f"{split}.txt", lines(names))


def _levir_split(pairs: Sequence[ChangePair], shown: Pairs, folder: Path, job: Job) -> None:
    root = folder / "LEVIR-CD+"
    for split in SPLITS:
        for part in ("A", "B", "label"):
            (root / split / part).mkdir(parents=True)
    for pair in shown:
        _levir(pair, root / pair.split, f"{pair.id}.png")
    if any(part.startswith("A") for part in job.target.resolve().parts):
        job.notes.add("torchange takes every '/A' in a path for the folder of first images", str(job.target))


def _levir(pair: ChangePair, folder: Path, name: str) -> None:
    _picture(pair.first, folder / "A" / name)
    _picture(pair.second, folder / "B" / name)
    _grey(pair.bands()[0] * np.uint8(255), folder / "label" / name)


def _second(pairs: Sequence[ChangePair], shown: Pairs, folder: Path, job: Job) -> None:
    for pair in shown:
        root, name = folder / pair.split, f"{pair.id}.png"
        bands = pair.bands()
        table = _second_table(pair, bands, job.second)
        _picture(pair.first, root / "im1" / name)
        _picture(pair.second, root / "im2" / name)
        _grey(bands[0], root / "label" / name)
        for number in (1, 2):
            labels = np.where(bands[0] > 0, table[bands[number]], 0).astype(np.uint8)
            # Grey, not a palette: open-cd decodes as grey, which would turn a palette's colours into numbers.
            _grey(labels, root / f"label{number}" / name)
            _save(Image.fromarray(SECOND_PALETTE[labels]), root / f"label{number}_rgb" / name)


def _second_table(pair: ChangePair, bands: Bands, given: Mapping[str, str]) -> NDArray[np.uint8]:
    """Index of a pair's classes → index in SECOND, for the classes of what changed."""
    indices = np.unique(bands[1:, bands[0] > 0])
    if UNKNOWN in indices:
        raise ArgumentError("pairs", "must have known classes wherever they change, for the format second", pair.id)
    table = np.zeros(256, np.uint8)
    for index, name in zip(indices, second_names([pair.classes[i] for i in indices], given), strict=True):
        table[index] = SECOND_CLASSES.index(name)
    return table


def second_names(classes: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """The class of SECOND of each class, as `given` or else `SECOND_OF` says; case, "-", "_" and " " are alike.

    Raises `ArgumentError` where neither names one.
    """
    known = {class_key(name): second for name, second in {**SECOND_OF, **given}.items()}
    found = {name: known.get(class_key(name)) for name in classes}
    lacking = {name: second for name, second in found.items() if second not in SECOND_CLASSES[1:]}
    if lacking:
        rule = f"must say which of {SECOND_CLASSES[1:]} each class is that changes, as in {{'hut': 'building'}}"
        raise ArgumentError("second_classes", rule, lacking)
    return [str(found[name]) for name in classes]


def _geotiff(pairs: Sequence[ChangePair], shown: Pairs, folder: Path, job: Job) -> None:
    classes = sorted({pair.classes for pair in pairs})
    if len(classes) > 1:
        raise ArgumentError("pairs", "must all have the same classes for change-geotiff", classes[:4])
    for pair in shown:
        root, name = folder / pair.split, f"{pair.id}.tif"
        if pair.crs is None:
            job.notes.add("without a place their GeoTIFFs have no CRS, which torchgeo refuses", pair.id)
        for part, path in (("t1", pair.first), ("t2", pair.second)):
            target = root / part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in RASTERS:
                _link(path, target)
            else:
                pixels, tags = read_pixels(path)
                target.write_bytes(geotiff(np.moveaxis(pixels, 2, 0), pair, tags))
        target = root / "label" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(label_geotiff(pair.bands(), pair))
    write_text(folder / "classes.txt", lines(classes[0]))


def geotiff(bands: NDArray[np.uint8], pair: ChangePair, tags: Mapping[str, str], **more: Any) -> bytes:
    """Bands (count, height, width) as a COG at the place of a pair, if it has one."""
    place = {} if pair.crs is None else {"crs": CRS.from_user_input(pair.crs), "transform": pair.transform}
    options = {**COG_OPTIONS, "count": len(bands), "height": pair.height, "width": pair.width, "dtype": "uint8", **more}
    with quiet_without_place(), MemoryFile() as memory:
        with memory.open(driver="COG", **options, **place) as dataset:
            dataset.write(bands)
            dataset.update_tags(**tags)
        return bytes(memory.getbuffer())


def label_geotiff(bands: Bands, pair: ChangePair) -> bytes:
    """Labels as a GeoTIFF of three bands, classes in its tags, overviews by the nearest pixel."""
    tags = {"CLASSES": json.dumps(pair.classes), "BANDS": "change, class before, class after"}
    return geotiff(bands, pair, tags, overview_resampling="NEAREST", predictor="NO")


def _captions(pairs: Sequence[ChangePair], shown: Pairs, folder: Path, job: Job) -> None:
    rows = []
    for pair in shown:
        if pair.sentences is None:
            raise ArgumentError("pairs", "must have sentences for change-captions", pair.id)
        files = {key: f"{pair.split}/{part}/{pair.id}.png" for key, part in (("first", "A"), ("second", "B"))}
        _picture(pair.first, folder / files["first"])
        _picture(pair.second, folder / files["second"])
        record = {"id": pair.id, "split": pair.split, **files, "changeflag": int(pair.bands()[0].any())}
        rows.append(json.dumps({**record, "sentences": list(pair.sentences)}, ensure_ascii=False))
    write_text(folder / "captions.jsonl", lines(rows))


def _coco(pairs: Sequence[ChangePair], shown: Pairs, folder: Path, job: Job) -> None:
    names = sorted({e.label for pair in pairs for e in pair.events or ()} | {e for p in pairs for e in p.classes})
    numbers = {name: i for i, name in enumerate(names, 1)}
    records: dict[str, dict[str, list[Any]]] = {
        split: {"images": [], "annotations": []}
        for split in splits_of(pairs)  # type: ignore[arg-type]
    }
    for pair in shown:
        if pair.events is None:
            raise ArgumentError("pairs", "must have events for change-coco", pair.id)
        record = records[pair.split]
        files = {key: f"{pair.split}/{part}/{pair.id}.png" for key, part in (("before", "t1"), ("after", "t2"))}
        _picture(pair.first, folder / "images" / files["before"])
        _picture(pair.second, folder / "images" / files["after"])
        size = {"width": pair.width, "height": pair.height}
        number = len(record["images"]) + 1
        record["images"].append(
            {"id": number, "file_name": files["after"], "file_name_before": files["before"], **size, **pair.extra}
        )
        for event in pair.events:
            shape = shapely.unary_union([g for g in (event.before, event.after) if g is not None])
            west, north, east, south = (float(v) for v in shape.bounds)
            annotation = {
                "id": len(record["annotations"]) + 1,
                "image_id": number,
                "category_id": numbers[event.label],
                "bbox": [west, north, east - west, south - north],
                "segmentation": _rings(shape),
                "area": float(event.area),
                "iscrowd": 0,
                "change": event.to_dict(),
            }
            record["annotations"].append(annotation)
    for split, record in records.items():
        categories = [{"id": i, "name": name} for name, i in numbers.items()]
        write_json(folder / "annotations" / f"changes_{split}.json", {**record, "categories": categories})


def _rings(shape: BaseGeometry) -> list[list[float]]:
    """Outer rings, each as x, y, x, y, ... without its end: COCO's polygons have no holes."""
    return [
        [round(float(v), 3) for point in part.exterior.coords[:-1] for v in point]
        for part in _parts(shape)
    ]  # fmt: skip


def _parts(shape: BaseGeometry) -> Iterator[shapely.Polygon]:
    for part in getattr(shape, "geoms", [shape]):
        if isinstance(part, shapely.Polygon) and not part.is_empty:
            yield part


def _picture(source: Path, target: Path) -> None:
    """The image as PNG, by hard link where it is one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.lower() == ".png":
        _link(source, target)
    else:
        target.write_bytes(encoded(*read_pixels(source), ".png"))


def _link(source: Path, target: Path) -> None:
    try:
        link(source, target)
    except FileNotFoundError as error:
        raise DataError(f"the image {source} is missing") from error


def _grey(pixels: NDArray[np.uint8], path: Path) -> None:
    _save(Image.fromarray(pixels), path)


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    path.write_bytes(buffer.getbuffer())


_WRITERS = {
    "levir-cd": _levir_flat,
    "levir-cd-split": _levir_split,
    "second": _second,
    "change-geotiff": _geotiff,
    "change-captions": _captions,
    "change-coco": _coco,
}
