"""The formats of labelled images, by name: written by `export`, read by `read`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from earthgen.labels.base import LabelledSet
from earthgen.output.atomic import StrPath

FORMATS: Mapping[str, str] = {
    "coco": "COCO: images/<split>/ and annotations/instances_<split>.json, boxes and polygons",
    "yolo": "YOLO detect: images/, labels/ and data.yaml, horizontal boxes",
    "yolo-obb": "YOLO-OBB: the same with the four corners of rotated boxes",
    "dota": "DOTA and mmrotate: <split>/images and <split>/annfiles, rotated boxes; torchgeo's DOTA too where class names allow",
    "voc": "Pascal VOC: JPEGImages/, Annotations/ as XML, ImageSets/Main, horizontal boxes",
    "masks": "Semantic masks: images/ and masks/ as index PNG with a palette, classes.csv",
    "imagefolder": "Hugging Face imagefolder: <split>/metadata.jsonl with captions, GSD, place, seed, objects",
    "classification": "<split>/<class>/ of images",
    "torchgeo": "torchgeo RasterDataset: images and masks as GeoTIFF in two folders",
    "stac": "STAC catalogue with an item an image, its labels and mask as assets",
}
"""Formats that `export` writes, with a line about each."""


def export(
    images: LabelledSet, folder: StrPath, formats: Sequence[str], *, progress: bool = False
) -> dict[str, Path]:
    """Write the set in each of `formats` (see `FORMATS`) to `folder/<format>`; the folders by format."""
    raise NotImplementedError


def read(
    source: StrPath, format: str | None = None, *, classes: Sequence[str] | None = None, images: StrPath | None = None
) -> LabelledSet:
    """The labelled images in a folder or file; the format is recognised where None."""
    raise NotImplementedError
