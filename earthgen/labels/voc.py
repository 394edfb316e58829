"""Pascal VOC: `VOCdevkit/VOC2012/` with `JPEGImages`, `Annotations` as XML and `ImageSets/Main/<split>.txt`.

Edges are whole pixels counted from 1, both ends belonging to the object, as VOC has it: a box from 0 to 4 is written as
1 to 4. Images are JPEG, which is what tools look for (torchvision, detectron2, mmdetection). `classes.txt` keeps the
order of classes.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from earthgen.conditions import Box
from earthgen.errors import DataError
from earthgen.labels.base import SPLITS, LabelledImage, LabelledSet, Shape, Split
from earthgen.labels.reading import MISSING, Reading, pictures_in, split_of
from earthgen.labels.shapes import Points, bounds
from earthgen.labels.writing import Writing, lines, splits_of, write_text

ROOT = Path("VOCdevkit", "VOC2012")
_BESIDE = ("JPEGImages", "images", "Images")


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write horizontal boxes."""
    chosen = job.detected(images)
    root = folder / ROOT
    for image in job.each(chosen, "voc"):
        picture = job.picture(image, root / "JPEGImages", (".jpg",))
        write_text(root / "Annotations" / f"{job.names[image.id]}.xml", _annotation(image, picture, job))
    stems = {split: [job.names[i.id] for i in chosen if i.split == split] for split in splits_of(chosen)}
    if "train" in stems and "val" in stems:
        stems = {**stems, "trainval": [*stems["train"], *stems["val"]]}  # type: ignore[dict-item]
    for split, names in stems.items():
        write_text(root / "ImageSets" / "Main" / f"{split}.txt", lines(names))
    write_text(folder / "classes.txt", lines(images.classes))


def _annotation(image: LabelledImage, picture: str, job: Writing) -> str:
    root = ET.Element("annotation")
    _add(root, folder="JPEGImages", filename=picture)
    size = ET.SubElement(root, "size")
    _add(size, width=image.width, height=image.height, depth=3)
    _add(root, segmented=0)
    whole = {id(shape) for shape in image.shapes or ()}
    for shape, rings in job.visible(image):
        node = ET.SubElement(root, "object")
        _add(node, name=shape.label, pose="Unspecified", truncated=int(id(shape) not in whole))
        _add(node, difficult=int(shape.difficult))
        x0, y0, x1, y1 = bounds(shape, rings)
        left, top = min(round(x0), image.width - 1), min(round(y0), image.height - 1)
        right, bottom = max(round(x1), left + 1), max(round(y1), top + 1)
        _add(ET.SubElement(node, "bndbox"), xmin=left + 1, ymin=top + 1, xmax=right, ymax=bottom)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, **values: object) -> None:
    for tag, value in values.items():
        ET.SubElement(parent, tag).text = str(value)


def matches(source: Path) -> bool:
    """Whether a folder holds XML files of VOC's."""
    return source.is_dir() and any(b"<annotation" in path.read_bytes()[:4096] for path in _files(source)[:1])


def read(source: Path, job: Reading) -> LabelledSet:
    """Read all XML files in a folder; splits by `ImageSets/Main`, or else by folder.

    Rotated boxes (`robndbox`) and outlines (`polygon`) of labelling tools are taken too. Nothing is known of an image
    without XML.
    """
    files = _files(source)
    if not files:
        raise DataError(f"{source} holds no XML files, as VOC has")
    listed: dict[str, Split] = {}
    for split in SPLITS:
        for path in sorted(source.rglob(f"ImageSets/*/{split}.txt")):
            listed.update({line.split()[0]: split for _, line in job.lines(path)})
    names = next((path for path in sorted(source.rglob("classes.txt"))), None)
    if names is not None:
        job.classes.declare(line for _, line in job.lines(names))
    images, folders, used = [], set(), set()
    for file in files:
        root = _parsed(file, job)
        near = [file.parent, *(file.parent.parent / name for name in _BESIDE)]
        stated = (root.findtext("filename") or file.stem).strip()
        picture = job.find(stated, near) or job.find_stem(file.stem, near)
        if picture is None:
            job.notes.add(MISSING, f"{stated} of {file}")
            continue
        split = listed.get(file.stem) or split_of(*file.relative_to(source).parts[-2::-1])
        images.append(_read_image(job.image(picture, split), root, file, job))
        folders.add(picture.parent)
        used.add(picture)
    for path in sorted(path for folder in folders for path in pictures_in(folder, deep=False)):
        if path not in used:
            job.notes.add("images without a file of labels, of which nothing is known", str(path))
            images.append(job.image(path, listed.get(path.stem) or split_of(path.parent.name)))
    return job.finish(images)


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*.xml") if not path.name.endswith(".aux.xml"))


def _parsed(file: Path, job: Reading) -> ET.Element:
    text = job.text(file)
    if "<!ENTITY" in text:
        raise DataError(f"{file} defines entities, which labels have no use for")
    try:
        root = ET.fromstring(text.lstrip())
    except ET.ParseError as error:
        raise DataError(f"{file} is no XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"{file}: expected <annotation>, but got <{root.tag}>")
    return root


def _read_image(image: LabelledImage, root: ET.Element, file: Path, job: Reading) -> LabelledImage:
    stated = (root.findtext("size/height"), root.findtext("size/width"))
    if all(stated) and stated != (str(image.height), str(image.width)) and stated != ("0", "0"):
        job.notes.add("sizes that labels state are not those of the images, which are taken", str(file))
    found = (_shape(node, f"{file}, object {k}", image, job) for k, node in enumerate(root.findall("object"), 1))
    return image.replace(shapes=tuple(shape for shape in found if shape is not None))


def _shape(node: ET.Element, place: str, image: LabelledImage, job: Reading) -> Shape | None:
    name = job.classes.named(node.findtext("name") or "", place)
    if name is None:
        return None
    difficult = (node.findtext("difficult") or "0").strip() not in ("", "0")
    turned, box, outline = node.find("robndbox"), node.find("bndbox"), node.find("polygon")
    if turned is not None:
        (cx, cy), (w, h), (angle, _) = job.points([*_values(turned, "cx", "cy", "w", "h", "angle"), 0], place)
        if w <= 0 or h <= 0:
            return job.cornered(name, np.zeros((4, 2)), image, place)
        corners = Box(name, cx, cy, w, h, math.degrees(angle)).corners()
        return job.cornered(name, corners, image, place, difficult)
    ring = _outline(outline, place, job) if outline is not None else None
    if box is not None:
        corners = job.points(_values(box, "xmin", "ymin", "xmax", "ymax"), place)
        (x0, y0), (x1, y1) = corners.min(0) - 1, corners.max(0)
    elif ring is not None:
        (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
    else:
        raise DataError(f"{place} has no bndbox")
    return job.outlined(name, (x0, y0, x1, y1), ring, image, place, difficult)


def _values(node: ET.Element, *tags: str) -> list[str | None]:
    return [node.findtext(tag) for tag in tags]


def _outline(node: ET.Element, place: str, job: Reading) -> Points:
    """Points as tags x1, y1, x2, y2 … or as `pt` with x and y."""
    points = [_values(point, "x", "y") for point in node.findall("pt")]
    k = 1
    while node.find(f"x{k}") is not None:
        points.append(_values(node, f"x{k}", f"y{k}"))
        k += 1
    return job.points([value for point in points for value in point], place)
