"""Labelled images: one record for every format, and readers and writers of the formats."""

from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.formats import FORMATS, READABLE, export, read
from earthgen.labels.notes import LabelWarning
from earthgen.labels.pictures import read_mask

__all__ = [
    "FORMATS",
    "READABLE",
    "LabelWarning",
    "LabelledImage",
    "LabelledSet",
    "Shape",
    "export",
    "read",
    "read_mask",
]
