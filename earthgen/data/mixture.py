"""All data sets that train the bundled models, by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from earthgen.data.base import Reader, Split
from earthgen.data.bluemarble import BlueMarble
from earthgen.data.dubai import Dubai
from earthgen.data.eurosat import EuroSAT, EuroSATScenes
from earthgen.data.naip import NAIP
from earthgen.data.oscd import OSCD
from earthgen.data.ucmerced import UCMerced
from earthgen.errors import ArgumentError

READERS: dict[str, type[Reader]] = {
    reader.name: reader for reader in (BlueMarble, Dubai, EuroSAT, EuroSATScenes, NAIP, OSCD, UCMerced)
}


def readers(
    root: Path | str | None = None, split: Split = "train", names: Iterable[str] | None = None
) -> dict[str, Reader]:
    """The readers of these names, or of all data sets, for one split.

    Raises:
        ArgumentError: A name is unknown.
        DataError: A data set is missing.
    """
    chosen = tuple(READERS) if names is None else tuple(names)
    for name in chosen:
        if name not in READERS:
            raise ArgumentError("names", f"must be among {tuple(READERS)}", name)
    return {name: READERS[name](root, split) for name in chosen}
