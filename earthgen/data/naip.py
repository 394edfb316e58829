"""NAIP: aerial images of US farmland, one site in North Dakota at three dates."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import numpy as np
import rasterio
from rasterio.warp import transform
from rasterio.windows import Window

from earthgen.data.base import Facts, Reader, Sample, Split
from earthgen.errors import DataError

TEST_WIDTH = 256
GAP = 64
"""Columns left out between the west, which trains, and the east, which tests."""


class NAIP(Reader):
    """NAIP, `naip/m_*_<yyyymmdd>.tif` with red, green, blue as bands 1 to 3, in UTM at 5 m.

    The eastern 256 columns of each picture are the test split, then 64 columns are left out, the rest trains;
    "all" gives the whole picture.

    Source: USDA Farm Production and Conservation, National Agriculture Imagery Program.
    """

    name = "naip"
    folder = "naip"
    licence = "public domain (USDA)"
    homepage = "https://naip-usdaonline.hub.arcgis.com/"
    may_ship_weights = True

    def __init__(self, root: Path | str | None = None, split: Split = "train") -> None:
        super().__init__(root, split)
        self.files = sorted(self.path.glob("m_*.tif"))

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> Sample:
        """Image, GSD, position of the centre and date."""
        path = self.files[index]
        with rasterio.open(path) as file:
            if file.width <= TEST_WIDTH + GAP:
                raise DataError(f"{path} is {file.width} px wide, too narrow to split into west and east")
            west = {"train": 0, "test": file.width - TEST_WIDTH, "all": 0}[self.split]
            east = {"train": file.width - TEST_WIDTH - GAP, "test": file.width, "all": file.width}[self.split]
            image = file.read((1, 2, 3), window=Window(west, 0, east - west, file.height)).transpose(1, 2, 0)
            x, y = file.xy(file.height / 2, (west + east) / 2, offset="ul")
            (lon,), (lat,) = transform(file.crs, "EPSG:4326", [x], [y])
            gsd = float(file.res[0])
        return Sample(
            image=np.ascontiguousarray(image),
            gsd=gsd,
            lat=float(lat),
            lon=float(lon),
            date=_date(path),
            source=self.name,
            id=f"{path.stem}/{self.split}",
            facts=Facts(sensor="aerial", place="North Dakota", subjects=("farmland", "fields", "a farming landscape")),
            cloud_cover=0.0,
        )


def _date(path: Path) -> dt.date | None:
    found = re.search(r"_(\d{4})(\d{2})(\d{2})$", path.stem)
    return dt.date(*(int(part) for part in found.groups())) if found else None
