"""Onera Satellite Change Detection: Sentinel-2 pictures of cities of the world at two dates each."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from earthgen.conditions import Box
from earthgen.data.base import METRES_PER_DEGREE, Facts, Reader, Sample, Split
from earthgen.errors import ArgumentError, DataError

Moment = Literal["t1", "t2"]

PLACES = {
    "abudhabi": "Abu Dhabi, United Arab Emirates",
    "aguasclaras": "Aguas Claras, Brazil",
    "beihai": "Beihai, China",
    "beirut": "Beirut, Lebanon",
    "bercy": "Paris, France",
    "bordeaux": "Bordeaux, France",
    "brasilia": "Brasilia, Brazil",
    "chongqing": "Chongqing, China",
    "cupertino": "Cupertino, California",
    "dubai": "Dubai, United Arab Emirates",
    "hongkong": "Hong Kong, China",
    "lasvegas": "Las Vegas, Nevada",
    "milano": "Milan, Italy",
    "montpellier": "Montpellier, France",
    "mumbai": "Mumbai, India",
    "nantes": "Nantes, France",
    "norcia": "Norcia, Italy",
    "paris": "Paris, France",
    "pisa": "Pisa, Italy",
    "rennes": "Rennes, France",
    "rio": "Rio de Janeiro, Brazil",
    "saclay_e": "Saclay, France",
    "saclay_w": "Saclay, France",
    "valencia": "Valencia, Spain",
}
URBAN = frozenset(("aguasclaras", "bercy", "bordeaux", "cupertino", "milano", "nantes", "paris"))
"""Pictures that show a city from edge to edge; the others also hold fields, hills, desert or sea."""
KINDS = {
    "A": "AnnualCrop", "D": "land", "F": "Forest", "H": "Highway", "I": "Industrial", "P": "Pasture",
    "R": "Residential", "S": "SeaLake", "V": "River",
}  # fmt: skip
GROUND = {
    "abudhabi": (
        "RRRHIDDDDDHD RRRRHDDDDDDR RRRRHIIDDDRR RRRRHHIIDDDR IRRRRHIDIDDD RRRRRHHHIIDD RRRRRRHHIDDD "
        "RRRRRRDHIDIR RRRRRRDDHHHR RRRRRRRDDHRR DDDDRRRDHHDH RRRRRHHHDDAA DHHHHRRDRDDD"
    ),
    "aguasclaras": "RRRRRHFR RRRHPPRR HHHPPRRR IRRRRRRP IIIRRRRR RIDDRRRR RRRRRRFR RRRRRRRR",
    "beihai": (
        "AAARAAAAAHHA AAAAAAAAAAHR AAARAAAAADDR ARAAAARAADHA AAAAAAAAHHRD AAAAAAAHHDAA AAAAAIHADHRA "
        "ARAAAHADDDHD RRAAHDRDDDHA ARHHHARRDDAA AHRAARRDAHRI HHAAAARRDAII AAHAAARDDDAA RHIARAIIDDAA "
        "RHIARAIIDDAA"
    ),
    "bercy": "RRRF RRRR VRRR VVIR RVVI RRVV RRIV",
    "bordeaux": "RRRRII RRRVVV RRRVII RRRVRR RRRRVV RRRRIV RRRRII RRRRIR RRRRRR",
    "cupertino": (
        "IPIRRRRRII IIIRRRRHHI RRIRRIIIIH RRRIIIIIII RRIRIIIIII RRRIRRRRRR RRRIRRRRRR RRRRRRRRRR RRRRRRRRRR "
        "RRRRRRRRRR HHHHHIRRRR HRRRIHHRRR HRRRRRHHHH HHRRRRRRRR RHHRRRRRRR RRHRRRRRRR"
    ),
    "hongkong": "FFFFFRSS FRFFFRFS DFFRRFFS RDFRRRRR RRFFRRRF RRFRRRFI RRFRRRFF SRFSSSII SRFSSSII RSSSSSII RRSSSSII",
    "nantes": "RRVRRRR RRVRRRR RRRIIVV VVVVRVV VIIVVRR VIIVRRR RRRVRRR RRRRRVF RRRRRRF",
    "paris": "RRRRR RRRRR RRRRR RRRRR RRRRR RRRRR RRRRR",
    "saclay_e": "RRRRRHRR RRRRRRRR ARRRRIIA ARRHHHAA RRRIRRAI RRHAIPHR HHAARRRR AAFAAARR AAFFFAAR AIARFIAA",
}
"""What is seen in each square of `SQUARE` px of the training cities, rows from the north, letters of `KINDS`, as looked
at: a river or a main road where one runs through, else what there is most of."""
SQUARE = 64
SOME_CLOUD = {("milano", "t2"), ("paris", "t2")}
"""Pictures with a little cloud that nobody has measured; all others were looked at and are clear."""


class OSCD(Reader):
    """OSCD in 8-bit RGB, `oscd/<city>/{t1,t2}.tif` with `dates.txt`; every picture of a city is a sample.

    The files are in EPSG:4326 with pixels square in degrees, so on the ground they are narrower than high by the
    cosine of the latitude. The reader squares them by narrowing the picture, which loses nothing: at a GSD of 10.2 to
    13 m, the height of the file's pixels. The cities in `test.txt` are the test split.

    The labels of change are CC BY-NC-SA: they are for evaluation and come from `change_label` alone.

    Source: Daudt et al., "Urban Change Detection for Multispectral Earth Observation Using Convolutional Neural
    Networks", 2018.
    """

    name = "oscd"
    folder = "oscd"
    licence = "images: modified Copernicus Sentinel data 2015-2018, free; labels: CC BY-NC-SA 4.0, evaluation only"
    homepage = "https://rcdaudt.github.io/oscd/"
    may_ship_weights = True

    def __init__(self, root: Path | str | None = None, split: Split = "train") -> None:
        super().__init__(root, split)
        self.require(self.path / "test.txt")
        test = set((self.path / "test.txt").read_text().replace("\n", ",").split(","))
        folders = sorted(p for p in self.path.iterdir() if (p / "t1.tif").exists())
        self.cities = tuple(p.name for p in folders if self.wanted("test" if p.name in test else "train"))
        moments: tuple[Moment, ...] = ("t1", "t2")
        self.items = [(city, moment) for city in self.cities for moment in moments]

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int) -> Sample:
        """Image, GSD, position, date and the city's name."""
        return self.picture(*self.items[index])

    def picture(self, city: str, moment: Moment) -> Sample:
        """The picture of a city at one of its two dates."""
        path = self._folder(city) / f"{moment}.tif"
        self.require(path)
        with rasterio.open(path) as file:
            pixels = file.read((1, 2, 3)).transpose(1, 2, 0)
            bounds = file.bounds
        lat, lon = (bounds.bottom + bounds.top) / 2, (bounds.left + bounds.right) / 2
        size = _square_size(pixels.shape[1], pixels.shape[0], bounds)
        image = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        return Sample(
            image=image,
            gsd=(bounds.top - bounds.bottom) * METRES_PER_DEGREE / size[1],
            lat=lat,
            lon=lon,
            date=self.dates(city)[moment],
            source=self.name,
            id=f"{city}/{moment}",
            facts=Facts(
                sensor="satellite",
                place=PLACES.get(city),
                regions=_regions(city, *size),
                subjects=("a city", "an urban area", "city streets and buildings") if city in URBAN else (),
            ),
            cloud_cover=None if (city, moment) in SOME_CLOUD else 0.0,
        )

    def dates(self, city: str) -> dict[Moment, dt.date]:
        """The two dates of a city."""
        path = self._folder(city) / "dates.txt"
        try:
            first, second = (line.split(":")[1].strip() for line in path.read_text().splitlines() if ":" in line)
            return {m: dt.datetime.strptime(d, "%Y%m%d").date() for m, d in (("t1", first), ("t2", second))}  # type: ignore[misc]
        except (OSError, ValueError, IndexError) as error:
            raise DataError(f"{path} must hold two lines such as 'date_1: 20160105'; trouble with {error}") from error

    def change_label(self, city: str) -> NDArray[np.bool_] | None:
        """Where a city changed, (height, width) as its `t1` sample, or None for cities without a label.

        For evaluation only: the labels' licence (CC BY-NC-SA) keeps them out of any training whose weights are shared.
        """
        path = self._folder(city) / "change.png"
        if not path.exists():
            return None
        with rasterio.open(self._folder(city) / "t1.tif") as file:
            size = _square_size(file.width, file.height, file.bounds)
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L").resize(size, Image.Resampling.NEAREST)) > 127

    def _folder(self, city: str) -> Path:
        if city not in self.cities:
            raise ArgumentError("city", f"must be one of {self.cities}", city)
        return self.path / city


def _regions(city: str, width: int, height: int) -> tuple[Box, ...]:
    """The squares of `GROUND` as far as they lie in a picture of this size; none for a city without."""
    found = []
    for row, letters in enumerate(GROUND.get(city, "").split()):
        for column, letter in enumerate(letters):
            left, top = SQUARE * column, SQUARE * row
            right, bottom = min(left + SQUARE, width), min(top + SQUARE, height)
            if left < right and top < bottom:
                found.append(Box.from_xyxy(KINDS[letter], left, top, right, bottom))
    return tuple(found)


def _square_size(width: int, height: int, bounds: rasterio.coords.BoundingBox) -> tuple[int, int]:
    """Width and height in pixels at which the pixels are square on the ground, keeping the height."""
    metres_high = (bounds.top - bounds.bottom) / height
    metres_wide = (bounds.right - bounds.left) / width * math.cos(math.radians((bounds.top + bounds.bottom) / 2))
    return max(1, round(width * metres_wide / metres_high)), height
