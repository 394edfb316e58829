"""Files appear whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from earthgen.errors import DataError, OutputError
from earthgen.output.atomic import atomic_path, check_writable, write_bytes, write_text


def test_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename across file systems would not be atomic
        assert not temporary.match("*.bin")
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_interrupted_leaves_the_old_file_and_nothing_else(tmp_path: Path, interruption: type[BaseException]) -> None:
    target = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(interruption), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("new, but ha")
        raise interruption
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_errors_of_the_system_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write '.*file/a\.txt': "):
        write_text(tmp_path / "file" / "a.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="directory"):
        write_text(tmp_path / "folder", "")
    with pytest.raises(OutputError, match="names no file"):
        write_text("", "")
    with pytest.raises(OutputError, match="cannot write"), atomic_path(tmp_path / "never written"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_other_errors_of_earthgen_pass(tmp_path: Path) -> None:
    with pytest.raises(DataError), atomic_path(tmp_path / "a"):
        raise DataError("of another kind, though an OSError")


def test_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    assert write_bytes(tmp_path / "a", b"").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_check_writable(tmp_path: Path) -> None:
    folder = check_writable(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot write into the folder"):
            check_writable(wrong)


def test_check_writable_where_permission_is_missing(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    try:
        (locked / "probe").touch()
    except PermissionError:
        with pytest.raises(OutputError, match="Permission denied"):
            check_writable(locked)
    else:
        pytest.skip("root may write anywhere")


FILL = """
import resource, sys
import numpy as np
from earthgen.errors import OutputError
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
scene = Scene(image, None, None, None, Provenance(1, {}, {}, "m", "", "0", 1, "s"))
size = scene.write(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size - 10, size - 10))
try:
    scene.write(sys.argv[2])
except OutputError as error:
    raise SystemExit(0 if "too large" in str(error) else str(error))
raise SystemExit("no error")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file size")
@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_a_disk_that_fills_up_at_the_last_bytes(tmp_path: Path, suffix: str) -> None:
    """GDAL (TIFF) and Pillow (JPEG) on their own leave a file cut short and say nothing."""
    names = [str(tmp_path / f"{stem}.{suffix}") for stem in ("fits", "fails")]
    done = subprocess.run([sys.executable, "-c", FILL, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [f"fits.{suffix}"]
