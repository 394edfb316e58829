"""Labelled images of one's own as samples to train on, from any format that `earthgen.labels.read` knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from earthgen.data.base import Facts, Sample, Samples, mask_fractions
from earthgen.data.captions import is_aerial
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledSet
from earthgen.labels.pictures import centre, read_mask, read_pixels

NAME = "own"
"""What samples give as their source."""


class LabelledSamples(Samples):
    """The images of a labelled set that are not its split "test", read from disk one at a time.

    Captions are the images' own, or else name their class, what their mask shows, or their objects.

    Args:
        labelled: As `earthgen.labels.read` gives it.
        gsd: Metres on the ground a pixel of images that do not say it themselves; None where it is unknown.

    Raises:
        ArgumentError: No image is left, or `gsd` is not positive.
    """

    def __init__(self, labelled: LabelledSet, gsd: float | None = None) -> None:
        if gsd is not None and not 0 < gsd < np.inf:
            raise ArgumentError("gsd", "must be positive, in metres", gsd)
        self.images = [image for image in labelled.images if image.split != "test"]
        if not self.images:
            raise ArgumentError("real", "must hold images that are not of the split test", len(labelled))
        self.mask_classes, self.gsd = labelled.mask_classes, gsd

    @property
    def sides(self) -> NDArray[np.int64]:
        """The shorter side of every image, pixels."""
        return np.array([min(image.height, image.width) for image in self.images])

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int) -> Sample:
        """Image, what is known of it, and its labels."""
        image = self.images[index]
        pixels, _ = read_pixels(image.path)
        gsd = image.gsd or self.gsd
        lat, lon = centre(image.crs, image.transform, image.height, image.width) or (None, None)
        mask = read_mask(image)
        facts = Facts(
            label=image.label,
            sensor="aerial" if is_aerial(gsd, image.label) else "satellite",
            subjects=() if image.caption is None else (image.caption,),
        )
        if mask is not None:
            facts = replace(facts, mask_fractions=mask_fractions(mask, self.mask_classes))
        return Sample(
            image=pixels,
            gsd=gsd,
            lat=lat,
            lon=lon,
            date=None,
            source=NAME,
            id=image.id,
            facts=facts,
            mask=mask,
            mask_classes=self.mask_classes if mask is not None else (),
            boxes=None if image.shapes is None else tuple(shape.box for shape in image.shapes),
        )
