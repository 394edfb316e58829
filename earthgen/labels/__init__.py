"""Labelled images: one record for every format, and readers and writers of the formats."""

from earthgen.labels.base import LabelledImage, LabelledSet, Shape

__all__ = ["LabelledImage", "LabelledSet", "Shape"]
