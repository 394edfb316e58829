"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from earthgen.errors import EarthgenError, OutputError

StrPath = str | os.PathLike[str]


def check_writable(folder: StrPath) -> Path:
    """Make sure that files can be written into `folder`, creating it where it is absent.

    Meant for before any work is done. A file is written and removed, as permission bits alone do not tell
    (read-only mounts, quotas). Raises `OutputError` naming the folder and the reason.
    """
    folder = Path(folder)
    probe = folder / f".earthgen-{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"earthgen")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into the folder {str(folder)!r}: {_reason(error)}") from error
    return folder


@contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """A temporary path to write to; on a clean exit it becomes `path`, on any other, Ctrl-C too, it is removed.

    An existing `path` is replaced at the last moment or left as it was; missing folders are made. The temporary name is
    hidden and ends in `.tmp`, so that no reader who globs `*.tif` meets it; writers have to be told their format.
    Raises `OutputError` where the system refuses.
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"cannot write {str(path)!r}: it names no file")
    # Not `tempfile`: its files are readable by their owner alone, and a rename would keep that.
    temporary = path.with_name(f".earthgen-{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:  # its bytes reach the disk before its name does
            os.fsync(file.fileno())
        temporary.replace(path)
    except EarthgenError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {_reason(error)}") from error
    finally:
        with suppress(OSError):  # gone where all went well, and no second error where it did not
            temporary.unlink()


def write_bytes(path: StrPath, content: bytes | memoryview) -> Path:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: StrPath, text: str) -> Path:
    """Write a whole file atomically, UTF-8 with the newlines given."""
    return write_bytes(path, text.encode())


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
