"""What a raster is, but for its pixels, and how its pixels come: for outputs that are larger than memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from earthgen import geo
from earthgen.errors import ArgumentError
from earthgen.output.partial import identity_of
from earthgen.output.provenance import Provenance

Image = NDArray[np.uint8]
Blocks = Callable[[int, int, int, int], Image]
"""(row, column, height, width) of a window, in pixels → its pixels, uint8 RGB (height, width, 3)."""
Put = Callable[[int, Image], None]
"""Takes the column at which a block starts, and the block."""

MAX_PIXELS = 10**12
"""Of a raster, 3 TB uncompressed: more is a mistake in its arguments."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Size, place and provenance. Raises `ArgumentError` for what is out of range or not north-up."""

    height: int
    width: int
    crs: CRS | None
    transform: Affine | None
    provenance: Provenance
    gsd: float | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ArgumentError(name, "must be a whole number of pixels > 0", value)
            object.__setattr__(self, name, int(value))
        if self.height * self.width > MAX_PIXELS:
            rule = f"must give at most {MAX_PIXELS:.0e} pixels with `width` ({self.width})"
            raise ArgumentError("height", rule, self.height)
        geo.check_georeference(self.crs, self.transform, self.gsd)
        object.__setattr__(self, "gsd", None if self.gsd is None else float(self.gsd))

    def request(self) -> dict[str, Any]:
        """All that decides about the result, JSON-ready."""
        return {
            "height": self.height,
            "width": self.width,
            "crs": self.crs.to_wkt(version="WKT2_2019") if self.crs else None,
            "transform": list(self.transform)[:6] if self.transform else None,
            "gsd": self.gsd,
            "provenance": identity_of(self.provenance),
        }


class RasterWriter(Protocol):
    """A format in which a raster is put together from its rows of blocks."""

    def row(self, top: int, height: int) -> AbstractContextManager[Put]:
        """Takes the blocks of a row, which lies whole on the disk when the context ends."""

    def finish(self, progress: bool) -> Path:
        """The finished file or folder, overviews included."""
