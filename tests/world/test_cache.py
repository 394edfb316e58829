"""The cache of tiles gives back what was put, or nothing; and never stops the work."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from earthgen.errors import ArgumentError
from earthgen.world.cache import CACHE_VARIABLE, TileCache, default_folder, tile_key

SHARED_FOLDER = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = st.one_of(
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(),
    hnp.nested_dtypes(max_leaves=4),
).filter(lambda dtype: not dtype.hasobject)


def tile(value: int = 0, size: int = 16) -> np.ndarray[Any, Any]:
    return np.full((size, size, 3), value % 256, np.uint8)


def files(cache: TileCache) -> list[Path]:
    return sorted(p for p in cache.folder.rglob("*") if p.is_file())


def on_disk(folder: Path, max_bytes: int = 1 << 20) -> TileCache:
    """A cache that has to read what it returns."""
    return TileCache(folder, max_bytes, memory_bytes=0)


@SHARED_FOLDER
@given(array=hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
@pytest.mark.filterwarnings("ignore:metadata on a dtype", "ignore:Custom dtype")
def test_gives_back_what_was_put(tmp_path: Path, memory_bytes: int, array: np.ndarray[Any, Any]) -> None:
    cache = TileCache(tmp_path, 1 << 20, memory_bytes)
    cache.put("a", array)
    for reader in (cache, on_disk(tmp_path)):
        back = reader.get("a")
        assert back is not None
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.tobytes() == array.tobytes()
        assert not back.flags.writeable


def test_a_copy_is_kept(tmp_path: Path) -> None:
    cache = TileCache(tmp_path)
    array = tile(1)
    cache.put("a", array)
    kept = cache.get_or_compute("b", lambda: array)
    array[:] = 9
    for back in (cache.get("a"), cache.get("b"), kept):
        np.testing.assert_array_equal(back, tile(1))
    with pytest.raises(ValueError, match="read-only"):
        kept[:] = 0


def test_layouts_of_memory_do_not_matter(tmp_path: Path) -> None:
    array = np.arange(60.0).reshape(3, 4, 5)
    for number, view in enumerate((array.T, array[::2, 1:, ::-1], np.asfortranarray(array), array.astype(">f4"))):
        on_disk(tmp_path).put(str(number), view)
        np.testing.assert_array_equal(on_disk(tmp_path).get(str(number)), view)


def test_keys() -> None:
    parts = ("0f" * 32, 7, {"text": "ice \N{SNOWMAN}", "gsd": 10.0}, 14, "pixels", -3, 1 << 40)
    assert tile_key(*parts) == tile_key(*parts[:2], {"gsd": 10.0, "text": "ice \N{SNOWMAN}"}, *parts[3:])
    keys = [tile_key(*parts[:k], "other", *parts[k + 1 :]) for k in range(len(parts))]
    keys += [tile_key(*parts), tile_key(*parts[:-1]), tile_key("a", "b"), tile_key("ab"), tile_key(["a", "b"])]
    keys += [tile_key(1, 11), tile_key(11, 1), tile_key(1), tile_key("1"), tile_key(None), tile_key(True)]
    assert len(set(keys)) == len(keys)
    for wrong in (object(), float("nan"), {1, 2}, tile()):
        with pytest.raises(ArgumentError, match="parts"):
            tile_key(wrong)


def test_different_keys_are_different_tiles(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    for number in range(50):
        cache.put(tile_key(number), tile(number, 2))
    assert all(cache.get(tile_key(number))[0, 0, 0] == number for number in range(50))  # type: ignore[index]
    cache.put(tile_key(3), tile(77, 5))
    np.testing.assert_array_equal(cache.get(tile_key(3)), tile(77, 5))
    assert cache.stats == (51, 0, sum(p.stat().st_size for p in files(cache)), 0)
    assert len(files(cache)) == 50


def damaged(cache: TileCache, alter: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture) -> None:
    """Alter the only file, and hold that it is a miss, once warned of, after which all is as before."""
    (path,) = files(cache)
    content = path.read_bytes()
    path.write_bytes(alter(content))
    caplog.clear()
    assert cache.get("a") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(path) in caplog.text
    assert not path.exists()
    assert cache.get("a") is None
    assert len(caplog.records) == 1
    np.testing.assert_array_equal(cache.get_or_compute("a", lambda: tile(5, 4)), tile(5, 4))
    np.testing.assert_array_equal(cache.get("a"), tile(5, 4))


@SHARED_FOLDER
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_flipped_byte_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture, where: float, flip: int) -> None:
    cache = on_disk(tmp_path)
    cache.put("a", tile(5, 4))

    def alter(content: bytes) -> bytes:
        offset = int(where * len(content))
        return content[:offset] + bytes([content[offset] ^ flip]) + content[offset + 1 :]

    damaged(cache, alter, caplog)


def test_every_byte_counts(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put("a", tile(5, 2))
    (path,) = files(cache)
    content = path.read_bytes()
    for offset in range(len(content)):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        assert cache.get("a") is None
    path.write_bytes(content)
    np.testing.assert_array_equal(cache.get("a"), tile(5, 2))


@SHARED_FOLDER
@given(kept=st.floats(0, 1, exclude_max=True))
def test_truncated(tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: float) -> None:
    cache = on_disk(tmp_path)
    cache.put("a", tile(5, 4))
    damaged(cache, lambda content: content[: int(kept * len(content))], caplog)


def test_foreign_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = on_disk(tmp_path)
    cache.put("a", tile(5, 4))
    damaged(cache, lambda content: content + b"\0", caplog)
    damaged(cache, lambda _: b"someone else's file", caplog)
    cache.clear()
    cache.put("b", tile(1))
    (of_b,) = files(cache)
    cache.put("a", tile(5, 4))
    (of_a,) = set(files(cache)) - {of_b}
    of_b.rename(of_a)  # whole, but the tile of another key
    damaged(cache, lambda content: content, caplog)
    path = files(cache)[0]
    path.unlink()
    path.mkdir()  # not even a file
    assert cache.get("a") is None
    cache.put("a", tile())


def test_folder_that_vanishes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = on_disk(tmp_path / "c")
    cache.put("a", tile())
    for path in files(cache):
        path.unlink()
    for folder in sorted((tmp_path / "c").rglob("*"), reverse=True):
        folder.rmdir()
    (tmp_path / "c").rmdir()
    assert cache.get("a") is None
    cache.put("a", tile(3))
    np.testing.assert_array_equal(cache.get("a"), tile(3))
    assert not caplog.records


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    on_disk(tmp_path / "one").put("x", tile())
    size = on_disk(tmp_path / "one").stats.bytes
    cache = on_disk(tmp_path / "c", 10 * size)
    for number in range(10):
        cache.put(str(number), tile(number))
    assert len(files(cache)) == 10
    for number in (0, 3):
        assert cache.get(str(number)) is not None  # used again, so 1 and 2 are now the oldest
    cache.put("10", tile(10))
    there = [number for number in range(11) if TileCache(tmp_path / "c", memory_bytes=0).get(str(number)) is not None]
    assert there == [0, 3, 4, 5, 6, 7, 8, 9, 10]
    assert cache.stats.evictions == 2
    assert cache.stats.bytes == 9 * size


def test_use_from_memory_counts_as_use(tmp_path: Path) -> None:
    cache = TileCache(tmp_path, 1 << 20, 1 << 20)
    cache.put("a", tile())
    (path,) = files(cache)
    os.utime(path, ns=(1, 1))
    assert cache.get("a") is not None
    assert time.time() - path.stat().st_mtime < 60


@SHARED_FOLDER
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12), bound=st.integers(0, 10_000))
def test_never_larger_than_its_bound(tmp_path: Path, sizes: list[int], bound: int) -> None:
    cache = on_disk(tmp_path, bound)
    cache.clear()
    for number, size in enumerate(sizes):
        cache.put(str(number), tile(number, size))
        assert cache.stats.bytes <= bound


def test_memory_is_bounded_and_least_recently_used(tmp_path: Path) -> None:
    cache = TileCache(tmp_path, memory_bytes=3 * tile().nbytes)
    for number in range(3):
        cache.put(str(number), tile(number))
    assert cache.get("0") is not None
    cache.put("3", tile(3))  # 1 goes
    cache.put("large", tile(0, 100))  # larger than the bound: not kept, and nothing goes for it
    for path in files(cache):
        path.unlink()
    assert [cache.get(key) is not None for key in ("0", "1", "2", "3", "large")] == [True, False, True, True, False]


def test_get_or_compute_computes_once(tmp_path: Path) -> None:
    """Also where nothing can be kept: threads that wait share what the first one computed."""
    calls: list[str] = []
    for number, cache in enumerate((TileCache(tmp_path / "0"), on_disk(tmp_path / "1"), on_disk(tmp_path / "2", 0))):
        calls.clear()
        barrier = threading.Barrier(8)
        results: list[Any] = []

        def compute() -> np.ndarray[Any, Any]:
            calls.append("a")
            time.sleep(0.1)
            return tile(7)

        def ask(cache: TileCache = cache, barrier: threading.Barrier = barrier, results: list[Any] = results) -> None:
            barrier.wait()
            results.append(cache.get_or_compute("a", compute))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert calls == ["a"]
        assert len(results) == 8
        assert all(np.array_equal(result, tile(7)) for result in results)
        assert cache.stats[:2] == (7, 1), number


def test_get_or_compute_of_a_cascade(tmp_path: Path) -> None:
    """A tile may ask for coarser ones while it is computed, from several threads and in any order."""
    cache = TileCache(tmp_path)
    calls: list[int] = []

    def level(number: int) -> np.ndarray[Any, Any]:
        def compute() -> np.ndarray[Any, Any]:
            calls.append(number)
            return tile(number) if number == 0 else level(number - 1) + np.uint8(1)

        return cache.get_or_compute(tile_key("level", number), compute)

    threads = [threading.Thread(target=level, args=(number,)) for number in (5, 3, 5, 4, 1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(calls) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(level(5), tile(5))


def test_a_function_that_fails_is_asked_again(tmp_path: Path) -> None:
    cache = TileCache(tmp_path)

    def fail() -> np.ndarray[Any, Any]:
        raise RuntimeError("out of memory")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            cache.get_or_compute("a", fail)
    assert files(cache) == []
    np.testing.assert_array_equal(cache.get_or_compute("a", tile), tile())
    with pytest.raises(ArgumentError, match="array"):
        cache.get_or_compute("b", lambda: None)  # type: ignore[arg-type, return-value]


def test_clear(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "a" / "bc").mkdir(parents=True)
    (tmp_path / "a" / "bc" / "notes.txt").write_text("not ours")
    cache = TileCache(tmp_path)
    for number in range(5):
        cache.put(str(number), tile(number))
    cache.clear()
    assert [p.name for p in files(cache)] == ["notes.txt", "notes.txt"]
    assert cache.get("0") is None
    assert cache.stats == (0, 1, 0, 0)
    cache.put("0", tile())
    assert cache.get("0") is not None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_does_not_stop_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    cache = on_disk(tmp_path)
    cache.put("before", tile(1))
    calls = 0

    def refuse(path: Path, content: bytes) -> int:
        nonlocal calls
        with path.open("wb") as file:  # a part of it fits
            file.write(content[:100])
        calls += 1
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    for number in range(3):
        np.testing.assert_array_equal(cache.get_or_compute(str(number), lambda n=number: tile(n)), tile(number))
    assert calls == 1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert os.strerror(code) in caplog.text
    assert cache.get("before") is not None  # what is there still serves
    assert len(files(cache)) == 1  # nothing half written stays


def test_what_killed_processes_left_goes(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put("a", tile())
    old, new = (files(cache)[0].with_name(f"{name}.tmp") for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    on_disk(tmp_path).put("b", tile())  # looks at the folder, as it is its first
    assert not old.exists()
    assert new.exists()  # of a process that may still be writing


@pytest.mark.parametrize("bound", [-1, 1.5, True, "1 GB"])
@pytest.mark.parametrize("name", ["max_bytes", "memory_bytes"])
def test_refuses_bounds(tmp_path: Path, name: str, bound: Any) -> None:
    with pytest.raises(ArgumentError, match=name):
        TileCache(tmp_path, **{name: bound})


def test_refuses_folders_keys_and_arrays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ArgumentError, match="`folder` must be a folder that can be written"):
            TileCache(folder)
    cache = TileCache(tmp_path / "c")
    for array in (None, [1, 2], np.array([object()]), np.zeros(2, [("a", "i4"), ("b", "O")])):
        with pytest.raises(ArgumentError, match="array"):
            cache.put("a", array)  # type: ignore[arg-type]
    for key in (None, 1, b"a", ("a", 1)):
        with pytest.raises(ArgumentError, match="key"):
            cache.get(key)  # type: ignore[arg-type]


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder() == tmp_path / "home" / ".cache" / "earthgen" / "tiles"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    assert default_folder() == tmp_path / "home" / ".cache" / "earthgen" / "tiles"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "earthgen" / "tiles"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own" / "tiles"
    assert TileCache().folder == tmp_path / "own" / "tiles"


def hammer(folder: Path, bound: int, seed: int, failures: Any) -> None:
    """Write, read and evict the same keys as the others; every tile that comes out must be whole and the right one."""
    logging.disable()
    cache = TileCache(folder, bound, memory_bytes=0)
    chance = random.Random(seed)
    for _ in range(300):
        number = chance.randrange(30)
        kind = chance.random()
        if kind < 0.5:
            back = cache.get_or_compute(str(number), lambda n=number: tile(n))
        elif kind < 0.8:
            cache.put(str(number), tile(number))
            back = None
        else:
            back = cache.get(str(number))
        if back is not None and not np.array_equal(back, tile(number)):
            failures.put(number)
    if cache._aside:
        failures.put("an error of the system")
    failures.put(cache.stats.evictions)


def test_several_processes(tmp_path: Path) -> None:
    on_disk(tmp_path / "one").put("x", tile())
    bound = 10 * on_disk(tmp_path / "one").stats.bytes  # of 30 tiles: there is always something to evict
    context = multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    processes = [context.Process(target=hammer, args=(tmp_path / "c", bound, seed, failures)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    reports = [failures.get() for _ in processes]
    assert failures.empty()
    assert all(isinstance(report, int) and report > 0 for report in reports), reports
    cache = on_disk(tmp_path / "c", bound)
    cache.put("last", tile())
    assert cache.stats.bytes <= bound
    assert {path.suffix for path in files(cache)} == {".tile"}
