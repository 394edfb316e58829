"""Tiles kept on disk by what they are a function of, so that a window seen once is not computed again.

One file a tile, named by the hash of its key, checked by a checksum when it is read. Any number of processes may share
a folder: files appear by renaming, and a tile that another process evicts is only a miss. Nothing that happens to the
cache (damage, a full disk) stops the work that uses it.

Entries are not compressed: on real tiles of NAIP and OpenAerialMap, zlib at level 1 saves 9 to 24 % and zstd 2 to 15 %,
on latents 8 %, for several times the time of reading and writing them.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError, OutputError
from earthgen.output.atomic import StrPath, check_writable

Array = NDArray[Any]

CACHE_VARIABLE = "EARTHGEN_CACHE"
"""Names the folder of all that earthgen may delete and make again, here as for the judges of `earthgen.metrics`."""
DEFAULT_MAX_BYTES = 4 << 30
DEFAULT_MEMORY_BYTES = 16 << 20

_MAGIC = b"EGTILE1\n"
_DIGEST_SIZE = 16
_NAME_SIZE = 20
_SUFFIX, _TEMPORARY_SUFFIX = ".tile", ".tmp"
_ROOM = 0.1
"""Share of the bound that eviction frees at once, so that the folder is not gone through for every tile."""
_ABANDONED = 3600.0
"""Seconds after which a temporary file is one that a killed process left."""

log = logging.getLogger(__name__)


class CacheStats(NamedTuple):
    """What a cache did since it was opened, and how large its folder is."""

    hits: int
    misses: int
    bytes: int
    """Of all entries on disk, those of other processes included."""
    evictions: int


def default_folder() -> Path:
    """`tiles` in the folder that `EARTHGEN_CACHE` names, or in `earthgen` under `XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser() / "tiles"
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "earthgen" / "tiles"


def tile_key(*parts: Any) -> str:
    """The key of a tile from all that it depends on: model hash, seed, conditions, level, kind, row, column.

    Parts are anything JSON knows; mappings count by their content, not their order. Raises `ArgumentError` for others.
    """
    try:
        return json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError("parts", f"must be JSON-ready ({error})", parts) from error


class _Computed:
    """What the threads that wait for one key share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a function that asks for its own key fails by recursion, not by standing still
        self.array: Array | None = None


class TileCache:
    """Arrays of any shape and dtype by key, on disk and the latest also in memory.

    The folder is held below `max_bytes` by evicting what was used least recently, by whichever process; between two
    looks at the folder each process may write a tenth of that beyond it. Arrays that come out are read-only, as they
    are shared. All methods may be called from several threads.
    """

    def __init__(
        self,
        folder: StrPath | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        """Open the cache in `folder`, by default `default_folder()`, making it where it is absent.

        `memory_bytes` bounds the arrays kept in memory; 0 keeps none. Raises `ArgumentError` for bounds that are
        negative or no whole numbers, and for a folder that cannot be written.
        """
        for name, value in (("max_bytes", max_bytes), ("memory_bytes", memory_bytes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ArgumentError(name, "must be a whole number of bytes >= 0", value)
        self.folder = default_folder() if folder is None else Path(folder)
        try:
            check_writable(self.folder)
        except OutputError as error:
            raise ArgumentError(
                "folder", f"must be a folder that can be written ({error})", str(self.folder)
            ) from error
        self.max_bytes, self.memory_bytes = max_bytes, memory_bytes
        self._lock = threading.Lock()  # of everything below
        self._memory: OrderedDict[str, Array] = OrderedDict()
        self._memory_used = 0
        self._hits = self._misses = self._evictions = 0
        self._used = self._unseen = 0.0  # bytes on disk as last seen and since written; of these, since written
        self._seen = False
        self._aside = False
        self._sweeping = threading.Lock()
        self._computing: WeakValueDictionary[str, _Computed] = WeakValueDictionary()

    def get(self, key: str) -> Array | None:
        """The array under `key`, read-only, or None. A damaged or foreign file is removed with a warning: a miss."""
        array = self._find(_name(key))
        self._count(array)
        return array

    def put(self, key: str, array: Array) -> None:
        """Keep a copy of `array` under `key`, in place of what was there.

        Where the disk refuses, one warning is logged and nothing more is written. Raises `ArgumentError` for what is
        no array, or one of Python objects.
        """
        self._put(_name(key), _frozen(array))

    def get_or_compute(self, key: str, function: Callable[[], Array]) -> Array:
        """The array under `key`, from `function` where it is not there; then it is kept. Read-only.

        Threads of this process that ask for the same key at once wait for the first. `function` may ask for other
        keys. What it raises passes, and nothing is kept.
        """
        name = _name(key)
        with self._lock:
            computed = self._computing.setdefault(name, _Computed())
        with computed.lock:
            array = self._find(name) if computed.array is None else computed.array
            self._count(array)
            if array is None:
                array = computed.array = _frozen(function())
                self._put(name, array)
            return array

    def clear(self) -> None:
        """Remove all entries, also those of other processes, and nothing else that may lie in the folder."""
        with self._lock:
            self._memory.clear()
            self._memory_used = 0
        for _, _, path in self._entries():
            with suppress(OSError):
                path.unlink()
        self._look()

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and evictions of this object, and the bytes on disk, for which the folder is gone through."""
        used = sum(size for _, size, _ in self._entries())
        with self._lock:
            return CacheStats(self._hits, self._misses, used, self._evictions)

    def _count(self, array: Array | None) -> None:
        with self._lock:
            self._hits += array is not None
            self._misses += array is None

    def _find(self, name: str) -> Array | None:
        with self._lock:
            array = self._memory.get(name)
            if array is not None:
                self._memory.move_to_end(name)
        if array is not None:
            _touch(self._path(name))  # other processes evict by what is on disk
            return array
        array = self._read(name)
        if array is not None:
            self._remember(name, array)
        return array

    def _put(self, name: str, array: Array) -> None:
        self._remember(name, array)
        content = _pack(name, array)
        if self._aside or len(content) > self.max_bytes:
            return
        try:
            self._write(self._path(name), content)
        except OSError as error:
            self._aside = True
            reason = error.strerror or error
            log.warning("tiles are no longer kept in %s, and will be computed again: %s", self.folder, reason)
            return
        with self._lock:
            self._used += len(content)
            self._unseen += len(content)
            due = not self._seen or self._used > self.max_bytes or self._unseen > _ROOM * self.max_bytes
        if due:
            self._look()

    def _path(self, name: str) -> Path:
        return self.folder / name[0] / name[1:3] / (name + _SUFFIX)

    def _remember(self, name: str, array: Array) -> None:
        with self._lock:
            if (old := self._memory.pop(name, None)) is not None:
                self._memory_used -= old.nbytes
            if array.nbytes > self.memory_bytes:
                return
            self._memory[name] = array
            self._memory_used += array.nbytes
            while self._memory_used > self.memory_bytes:
                self._memory_used -= self._memory.popitem(last=False)[1].nbytes

    def _read(self, name: str) -> Array | None:
        path = self._path(name)
        try:
            array = _unpack(name, path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("the cached tile %s is damaged and will be computed again: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        _touch(path)
        return array

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{_TEMPORARY_SUFFIX}")
        try:
            try:
                temporary.write_bytes(content)
            except FileNotFoundError:  # the first of its folder
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(content)
            _touch(temporary)
            temporary.replace(path)
        finally:
            with suppress(OSError):  # gone where all went well
                temporary.unlink()

    def _look(self) -> None:
        """Go through the folder: see how large it is, and make room where it is too large."""
        if not self._sweeping.acquire(blocking=False):
            return  # another thread is at it
        try:
            entries = sorted(self._entries())
            used, evicted = sum(size for _, size, _ in entries), 0
            if used > self.max_bytes:
                for _, size, path in entries:
                    with suppress(OSError):  # evicted by another process, or held open where that forbids it
                        path.unlink()
                        evicted += 1
                    used -= size
                    if used <= (1 - _ROOM) * self.max_bytes:
                        break
            with self._lock:
                self._used, self._unseen, self._seen = used, 0, True
                self._evictions += evicted
        finally:
            self._sweeping.release()

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Time of last use (ns), bytes and path of each entry. What killed processes left is removed in passing."""
        for path in self.folder.glob("[0-9a-f]/[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):  # gone in the meantime
                status = path.stat()
                if path.suffix == _SUFFIX:
                    yield status.st_mtime_ns, status.st_size, path
                elif path.suffix == _TEMPORARY_SUFFIX and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()


def _name(key: str) -> str:
    if not isinstance(key, str):
        raise ArgumentError("key", "must be a string, as `tile_key` makes it", key)
    return hashlib.blake2b(key.encode(), digest_size=_NAME_SIZE).hexdigest()


def _touch(path: Path) -> None:
    """Note that a file was used now. Not by its access time, which many systems do not keep."""
    now = time.time_ns()  # the system's own stamp may be some milliseconds coarse
    with suppress(OSError):
        os.utime(path, ns=(now, now))


def _frozen(array: Array) -> Array:
    if not isinstance(array, np.ndarray) or not _can_be_kept(array.dtype):
        shown = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else array
        raise ArgumentError("array", "must be a numpy array of a dtype that .npy files can hold", shown)
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def _can_be_kept(dtype: np.dtype[Any]) -> bool:
    """Whether numpy's format gives the dtype back: not that of Python objects, nor those that other packages add."""
    try:
        return not dtype.hasobject and np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) == dtype
    except (TypeError, ValueError):
        return False


def _digest(name: str, payload: bytes | memoryview) -> bytes:
    """Of the content and the name: a file that was moved or renamed is a foreign one."""
    return hashlib.blake2b(payload, digest_size=_DIGEST_SIZE, key=bytes.fromhex(name)).digest()


def _pack(name: str, array: Array) -> bytes:
    """Magic, checksum, then numpy's own format, whose header holds dtype and shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    payload = buffer.getbuffer()
    return b"".join((_MAGIC, _digest(name, payload), payload))


def _unpack(name: str, content: bytes) -> Array:
    """The array of an entry. Raises `ValueError` for anything but the very bytes that were written under that name."""
    start = len(_MAGIC) + _DIGEST_SIZE
    payload = memoryview(content)[start:]
    if content[:start] != _MAGIC + _digest(name, payload):
        raise ValueError("its checksum is wrong")
    array: Array = np.lib.format.read_array(io.BytesIO(payload), allow_pickle=False)
    array.flags.writeable = False
    return array
