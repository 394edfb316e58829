"""Where model weights are, and that they are what they should be before anything is loaded.

A model folder is laid out as diffusers does (`model_index.json`, one subfolder a component). `SHA256SUMS` in it, in
the format of `sha256sum`, names every file; `sha256sum -c SHA256SUMS` checks the folder without this package.
Only safetensors are read: a pickle can run code, so it is refused by name and by content. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from earthgen.errors import WeightsError

if TYPE_CHECKING:
    import torch

BUNDLED = "earthgen/mini"
"""The model that ships with the package."""

INDEX = "model_index.json"
SUMS = "SHA256SUMS"
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})

_ROOT = Path(__file__).resolve().parent / "weights"
_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
_DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file of a model folder against its checksum."""

    name: str
    """Path below the model folder, with forward slashes."""
    size: int
    """Bytes on disk, 0 if it is missing."""
    sha256: str
    """Of the file on disk; empty if it is missing."""
    ok: bool
    problem: str = ""
    """What is wrong, empty if nothing is."""


def is_bundled(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether it is the name of the model that ships with the package."""
    return str(name_or_path) == BUNDLED


def shown(name_or_path: str | os.PathLike[str]) -> str:
    """What outputs call a model: its name, or that of its folder. No path of this machine gets into a file."""
    return str(name_or_path) if is_bundled(name_or_path) else Path(name_or_path).expanduser().resolve().name


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a model: the bundled one by its name, any other by its path.

    Raises:
        WeightsError: there is no such folder.
    """
    if is_bundled(name_or_path):
        folder = _ROOT / "mini"
        if not (folder / SUMS).is_file():
            raise WeightsError(f"the bundled model is not in {folder}: reinstall earthgen, or give a model folder")
        return folder
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise WeightsError(f"{folder} is a file: give the model folder that holds `model_index.json`")
    raise WeightsError(
        f"there is no model folder {str(name_or_path)!r}: give {BUNDLED!r} (bundled) or the path of a folder "
        "written by `save_pretrained` (earthgen downloads nothing)"
    )


def verify(folder: Path) -> list[FileStatus]:
    """Compare every file of a model folder with its checksum.

    Files that can be weights, code or configuration but are not listed are reported too.

    Raises:
        WeightsError: the folder is no model's, or has no readable `SHA256SUMS`. Where it has none at all, the message
            tells what else could be found out: what `check` says.
    """
    if not (folder / SUMS).is_file():
        if not (folder / INDEX).is_file():
            raise WeightsError(f"{folder} is no model folder: it has no {INDEX}")
        check(folder)
        raise WeightsError(
            f"{folder} has no {SUMS}, so nothing tells whether its files are as they were written. By their own "
            "headers its safetensors files are whole, and no pickle is in the place of one. `save_pretrained` of a "
            f"pipeline writes {SUMS}; `earthgen.weights.write_sums(folder)` does for files that you trust"
        )
    sums = _read_sums(folder)
    if INDEX not in sums:
        raise WeightsError(f"{folder} is no model folder: its {SUMS} names no {INDEX}")
    found = [_status(folder, name, digest) for name, digest in sums.items()]
    for name in _files(folder):
        if name not in sums:
            path = folder / name
            found.append(FileStatus(name, path.stat().st_size, _sha256(path), False, f"is not listed in {SUMS}"))
    return found


def check(folder: Path) -> None:
    """Refuse a model folder that is damaged, altered or holds pickles, before anything of it is loaded.

    A folder without `SHA256SUMS` (one you trained) is checked as far as it can be: no pickle in place of safetensors,
    and every safetensors file as long as its header says.

    Raises:
        WeightsError: names the first damaged file and what is wrong with it.
    """
    if (folder / SUMS).is_file():
        for status in verify(folder):
            if not status.ok:
                raise WeightsError(f"weights file {folder / status.name} {status.problem}")
        return
    for name in _files(folder):
        path = folder / name
        if path.suffix == ".safetensors":
            check_safetensors(path)
        elif path.suffix in PICKLE_SUFFIXES and not any(path.parent.glob("*.safetensors")):
            raise WeightsError(_refusal(path))


def check_safetensors(path: Path) -> None:
    """Check that a file is a whole safetensors file, without reading its tensors.

    Raises:
        WeightsError: it is missing, a pickle, no safetensors file, or shorter or longer than its header says.
    """
    if not path.is_file():
        raise WeightsError(f"weights file {path} is missing")
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise WeightsError(_refusal(path))
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        # A pickle's protocol byte, or the zip archive torch.save writes one into.
        whole = _plausible(start, size)
        if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and not whole):
            raise WeightsError(_refusal(path))
        if not whole:
            raise WeightsError(f"weights file {path} is truncated or no safetensors file ({size} bytes)")
        header = file.read(int.from_bytes(start, "little"))
    try:
        end = _data_end(json.loads(header))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"weights file {path} has no valid safetensors header") from error
    want = 8 + len(header) + end
    if size < want:
        raise WeightsError(f"weights file {path} is truncated: {size} bytes of {want}")
    if size > want:
        raise WeightsError(f"weights file {path} is {size} bytes long, but its header says {want}")


def load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        WeightsError: as `check_safetensors`.
    """
    check_safetensors(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"weights file {path} is damaged: {error}") from error
    return tensors


def model_sha256(folder: Path) -> str:
    """One digest for a whole model folder, for provenance: that of its sorted checksum lines."""
    sums = _read_sums(folder) if (folder / SUMS).is_file() else {n: _sha256(folder / n) for n in _files(folder)}
    return hashlib.sha256(_lines(sums).encode()).hexdigest()


def write_sums(folder: Path) -> Path:
    """Write `SHA256SUMS` over every file of a model folder, replacing an older one whole."""
    path = folder / SUMS
    draft = path.with_suffix(".part")
    draft.write_text(_lines({name: _sha256(folder / name) for name in _files(folder)}))
    draft.replace(path)
    return path


def _files(folder: Path) -> list[str]:
    """Every file below `folder` but the sums and what is hidden or byte-compiled, as POSIX paths in order."""
    names = []
    for path in folder.rglob("*"):
        below = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in below.parts):
            names.append(below.as_posix())
    return sorted(set(names) - {SUMS, f"{SUMS}.part"})


def _lines(sums: dict[str, str]) -> str:
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"cannot read the checksums {path}: {error}") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        digest, _, name = line.partition(" ")
        name = name[1:] if name[:1] in {" ", "*"} else ""
        inside = name and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not inside:
            raise WeightsError(f"line {number} of {path} is not `<sha256>  <file>`")
        sums[name] = digest
    if not sums:
        raise WeightsError(f"{path} lists no file")
    return sums


def _status(folder: Path, name: str, digest: str) -> FileStatus:
    path = folder / name
    if not path.is_file():
        return FileStatus(name, 0, "", False, "is missing")
    size, actual = path.stat().st_size, _sha256(path)
    if actual == digest:
        return FileStatus(name, size, actual, True)
    problem = f"was altered: its SHA-256 is {actual[:12]}…, {SUMS} says {digest[:12]}…"
    if path.suffix == ".safetensors":
        try:
            check_safetensors(path)
        except WeightsError as error:
            problem = str(error).removeprefix(f"weights file {path} ")
    return FileStatus(name, size, actual, False, problem)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _refusal(path: Path) -> str:
    return f"weights file {path} is a pickle, which can run code when it is read: convert it to .safetensors"


def _plausible(start: bytes, size: int) -> bool:
    length = int.from_bytes(start, "little")
    return len(start) == 8 and 2 <= length <= _MAX_HEADER and 8 + length <= size


def _data_end(header: dict[str, Any]) -> int:
    """Bytes of data that a header describes: tensors lie back to back, each as long as its shape and dtype say."""
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, stop = entry["data_offsets"]
        bits = _DTYPE_BITS.get(entry["dtype"])
        if bits is not None and (stop - begin) * 8 != math.prod(entry["shape"]) * bits:
            raise ValueError(name)
        spans.append((begin, stop))
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise ValueError("hole or overlap")
        end = stop
    return end
