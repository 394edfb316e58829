"""Labelled images: one record for every format, and readers and writers of the formats."""

from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.formats import FORMATS, export, read

__all__ = ["FORMATS", "LabelledImage", "LabelledSet", "Shape", "export", "read"]
