"""`earthgen weights`."""

import json
from pathlib import Path

import pytest

from earthgen import weights


@pytest.fixture
def bundled(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "_ROOT", model_folder.parent)
    return model_folder.rename(model_folder.parent / "mini")


def test_list(run, bundled: Path) -> None:
    result = run("weights", "list")
    assert result.exit_code == 0
    assert "earthgen/mini" in result.stdout
    assert "unet/diffusion_pytorch_model.safetensors" in result.stdout


def test_list_as_json(run, bundled: Path) -> None:
    (model,) = json.loads(run("weights", "list", "--json").stdout)["models"]
    assert model["model"] == "earthgen/mini"
    assert model["sha256"] == weights.model_sha256(bundled)
    assert {file["name"] for file in model["files"]} > {"model_index.json", "vae/config.json"}


def test_list_without_weights(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_ROOT", tmp_path)
    assert json.loads(run("weights", "list", "--json").stdout) == {"models": []}
    assert "no model ships" in run("weights", "list").stdout


def test_verify(run, bundled: Path) -> None:
    result = run("weights", "verify")
    assert result.exit_code == 0
    assert "5 of 5 files are intact" in result.stdout


def test_verify_finds_what_was_altered(run, bundled: Path) -> None:
    (bundled / "vae/config.json").write_text("{}")
    result = run("weights", "verify", bundled)
    assert result.exit_code == 1
    assert "DAMAGED  vae/config.json  was altered" in result.stdout
    assert "4 of 5 files are intact" in result.stdout


def test_verify_as_json(run, bundled: Path) -> None:
    (bundled / "vae/config.json").unlink()
    result = run("weights", "verify", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["ok"] is False
    assert [file["name"] for file in report["files"] if not file["ok"]] == ["vae/config.json"]


def test_a_saved_folder_of_ones_own(run, model_folder: Path) -> None:
    result = run("weights", "verify", model_folder)
    assert result.exit_code == 0 and f"5 of 5 files are intact in {model_folder}" in result.stdout
    assert json.loads(run("weights", "verify", model_folder, "--json").stdout)["ok"]
    (model_folder / "unet" / "more.py").write_text("")
    result = run("weights", "verify", model_folder)
    assert result.exit_code == 1 and "DAMAGED  unet/more.py  is not listed in SHA256SUMS" in result.stdout


def test_without_checksums_it_says_what_it_could_find_out(run, model_folder: Path) -> None:
    (model_folder / weights.SUMS).unlink()
    result = run("weights", "verify", model_folder)
    assert result.exit_code == 1 and not result.stdout
    assert f"{model_folder} has no SHA256SUMS" in result.stderr and "are whole" in result.stderr
    path = model_folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    result = run("weights", "verify", model_folder)
    assert result.exit_code == 1 and f"{path} is truncated" in result.stderr and "are whole" not in result.stderr


@pytest.mark.parametrize("listed", [True, False])
def test_a_folder_of_something_else(run, tmp_path: Path, listed: bool) -> None:
    (tmp_path / "data.yaml").write_text("count: 3")
    if listed:  # a data set has checksums too
        weights.write_sums(tmp_path)
    result = run("weights", "verify", tmp_path)
    assert result.exit_code == 1 and f"{tmp_path} is no model folder" in result.stderr


def test_an_unknown_model(run) -> None:
    result = run("weights", "verify", "no/such/model")
    assert result.exit_code == 1
    assert result.stderr.startswith("earthgen: there is no model folder 'no/such/model'")
