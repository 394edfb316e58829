"""What README.md shows runs as it stands there, with a tiny model in the bundled one's place."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthgen import weights
from earthgen.output.scene import Scene

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
MAKEFILE = (Path(__file__).resolve().parents[2] / "Makefile").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(text: str, verb: str) -> list[list[str]]:
    joined = text.replace("\\\n", " ")
    return [shlex.split(line, comments=True)[2:] for line in joined.splitlines() if line.startswith(f"earthgen {verb}")]


@pytest.mark.slow
def test_the_python_runs(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mini").symlink_to(tiny_model)
    monkeypatch.setattr(weights, "_ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    scene = Scene.read(tmp_path / "harbour.tif")
    assert scene.crs is not None
    assert scene.provenance.model_sha256 == weights.model_sha256(tiny_model)


@pytest.mark.parametrize("arguments", commands("\n".join(blocks("")), "generate"), ids=" ".join)
def test_the_commands_run(run, stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save("scene.tif")
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save("keep.png")
    size = [] if {"--known", "--box"} & set(arguments) else ["--size", "16"]
    result = run("generate", *arguments, *size)
    assert result.exit_code == 0, result.output


def test_make_run_makes_the_example(run, stand_in, tmp_path: Path) -> None:
    (line,) = re.findall(r"/bin/earthgen (generate .*)", MAKEFILE.replace("\\\n", " "))
    arguments = shlex.split(line.replace("$(OUT)", str(tmp_path / "out")))
    result = run(*arguments, "--size", 16)
    assert result.exit_code == 0, result.output
    made = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert made == {".tif", ".png", ".json", ".jsonl"}
    assert (tmp_path / "out" / "contact-sheet.png").exists()
