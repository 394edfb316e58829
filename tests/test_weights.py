import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from earthgen import weights
from earthgen.errors import WeightsError

UNET = "unet/diffusion_pytorch_model.safetensors"


class TestResolve:
    def test_a_folder_is_itself(self, model_folder: Path) -> None:
        assert weights.resolve(model_folder) == model_folder
        assert weights.resolve(str(model_folder)) == model_folder

    def test_the_bundled_name_lies_in_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "_ROOT", tmp_path)
        (tmp_path / "mini").mkdir()
        with pytest.raises(WeightsError, match="bundled model is not in"):
            weights.resolve(weights.BUNDLED)
        weights.write_sums(tmp_path / "mini")
        assert weights.resolve(weights.BUNDLED) == tmp_path / "mini"

    @pytest.mark.parametrize("name", ["stabilityai/sd", "no-such-folder", "earthgen/huge"])
    def test_anything_else_is_refused_not_downloaded(self, name: str) -> None:
        with pytest.raises(WeightsError, match=r"downloads nothing") as caught:
            weights.resolve(name)
        assert name in str(caught.value)
        assert isinstance(caught.value, OSError)

    def test_a_file_is_refused(self, model_folder: Path) -> None:
        with pytest.raises(WeightsError, match="is a file"):
            weights.resolve(model_folder / UNET)


class TestChecksums:
    def test_an_untouched_folder_passes(self, model_folder: Path) -> None:
        weights.check(model_folder)
        statuses = weights.verify(model_folder)
        assert [status.name for status in statuses] == sorted(status.name for status in statuses)
        assert len(statuses) == 5
        assert all(status.ok and not status.problem and status.size > 0 for status in statuses)

    @pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
    def test_sha256sum_agrees(self, model_folder: Path) -> None:
        done = subprocess.run(["sha256sum", "-c", "--strict", weights.SUMS], cwd=model_folder, capture_output=True)
        assert done.returncode == 0, done.stderr

    def test_a_truncated_file_is_named(self, model_folder: Path) -> None:
        path = model_folder / UNET
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(WeightsError, match=r"unet/diffusion.*is truncated: \d+ bytes of \d+"):
            weights.check(model_folder)
        assert [status.name for status in weights.verify(model_folder) if not status.ok] == [UNET]

    def test_a_flipped_bit_is_named(self, model_folder: Path) -> None:
        path = model_folder / UNET
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="was altered"):
            weights.check(model_folder)

    def test_an_altered_configuration_is_named(self, model_folder: Path) -> None:
        (model_folder / "vae/config.json").write_text('{"part": "other"}')
        with pytest.raises(WeightsError, match=r"vae/config\.json was altered"):
            weights.check(model_folder)

    def test_a_missing_file_is_named(self, model_folder: Path) -> None:
        (model_folder / UNET).unlink()
        with pytest.raises(WeightsError, match=r"unet/.* is missing"):
            weights.check(model_folder)

    def test_a_file_that_is_not_listed_is_named(self, model_folder: Path) -> None:
        (model_folder / "unet/pipeline.py").write_text("print('hello')")
        with pytest.raises(WeightsError, match=r"pipeline\.py is not listed"):
            weights.check(model_folder)

    @pytest.mark.parametrize(
        "line",
        [
            "nonsense",
            "abc  unet/config.json",
            "0" * 64 + " unet/config.json",
            "0" * 64 + "  ../secret",
            "0" * 64 + "  /etc/passwd",
            "0" * 64 + "  ",
            "G" * 64 + "  unet/config.json",
        ],
    )
    def test_tampered_sums_are_refused(self, model_folder: Path, line: str) -> None:
        path = model_folder / weights.SUMS
        path.write_text(path.read_text() + line + "\n")
        with pytest.raises(WeightsError, match=r"line 6 of .*SHA256SUMS"):
            weights.check(model_folder)

    def test_empty_or_binary_sums_are_refused(self, model_folder: Path) -> None:
        (model_folder / weights.SUMS).write_text("\n")
        with pytest.raises(WeightsError, match="lists no file"):
            weights.check(model_folder)
        (model_folder / weights.SUMS).write_bytes(b"\xff\xfe")
        with pytest.raises(WeightsError, match="cannot read the checksums"):
            weights.check(model_folder)

    def test_a_wrong_digest_is_found(self, model_folder: Path) -> None:
        path = model_folder / weights.SUMS
        text = path.read_text()
        path.write_text(("0" if text[0] != "0" else "1") + text[1:])
        with pytest.raises(WeightsError, match="was altered"):
            weights.check(model_folder)

    def test_the_models_digest_changes_with_any_file_and_with_nothing_else(self, model_folder: Path) -> None:
        before = weights.model_sha256(model_folder)
        assert len(before) == 64
        (model_folder / weights.SUMS).unlink()
        assert weights.model_sha256(model_folder) == before
        (model_folder / "vae/config.json").write_text("{}")
        assert weights.model_sha256(model_folder) != before


class TestFoldersWithoutSums:
    @pytest.fixture
    def bare(self, model_folder: Path) -> Path:
        (model_folder / weights.SUMS).unlink()
        return model_folder

    def test_whole_files_pass(self, bare: Path) -> None:
        weights.check(bare)

    def test_verify_says_what_is_missing(self, bare: Path) -> None:
        with pytest.raises(WeightsError, match=r"has no SHA256SUMS.* are whole"):
            weights.verify(bare)

    def test_truncation_is_still_found(self, bare: Path) -> None:
        (bare / UNET).write_bytes((bare / UNET).read_bytes()[:-1])
        with pytest.raises(WeightsError, match="is truncated"):
            weights.check(bare)

    def test_a_pickle_in_place_of_safetensors_is_refused(self, bare: Path) -> None:
        (bare / UNET).unlink()
        torch.save({"weight": torch.ones(2)}, bare / "unet/diffusion_pytorch_model.bin")
        with pytest.raises(WeightsError, match="is a pickle"):
            weights.check(bare)


class TestLoad:
    def test_tensors_come_back(self, tmp_path: Path) -> None:
        tensors = {"a": torch.randn(2, 3), "b": torch.zeros(0, 4), "c": torch.tensor(7), "d": torch.ones(3).bool()}
        save_file(tensors, tmp_path / "x.safetensors", metadata={"about": "a test"})
        loaded = weights.load_safetensors(tmp_path / "x.safetensors")
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="is missing"):
            weights.load_safetensors(tmp_path / "x.safetensors")

    @pytest.mark.parametrize("suffix", sorted(weights.PICKLE_SUFFIXES))
    def test_pickles_are_refused_by_name(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"x{suffix}"
        path.write_bytes(save({"a": torch.ones(2)}))  # even if the content is sound
        with pytest.raises(WeightsError, match="is a pickle"):
            weights.load_safetensors(path)

    @pytest.mark.parametrize("protocol", range(2, 6))
    def test_pickles_are_refused_by_content(self, tmp_path: Path, protocol: int) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(pickle.dumps({"a": list(range(100))}, protocol=protocol))
        with pytest.raises(WeightsError, match="is a pickle"):
            weights.load_safetensors(path)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_torch_files_are_refused_by_content(self, tmp_path: Path, zipped: bool) -> None:
        path = tmp_path / "x.safetensors"
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match="is a pickle"):
            weights.load_safetensors(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x02",
            b"GIF89a..............",
            (2).to_bytes(8, "little") + b"[]",
            (9).to_bytes(8, "little") + b'{"a": {}}',
            (4).to_bytes(8, "little") + b"\xff\xff\xff\xff",
            (10**12).to_bytes(8, "little") + b"{}",
            (10_000).to_bytes(8, "little") + b"[" * 10_000,
        ],
    )
    def test_other_files_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="safetensors"):
            weights.load_safetensors(path)

    @settings(max_examples=60, deadline=None)
    @given(cut=st.integers(min_value=1, max_value=10_000))
    def test_no_truncation_passes(self, tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
        content = save({"a": torch.arange(40.0), "b": torch.ones(3, dtype=torch.int8)})
        path = tmp_path_factory.mktemp("cut") / "x.safetensors"
        path.write_bytes(content[: max(0, len(content) - cut)])
        with pytest.raises(WeightsError):
            weights.check_safetensors(path)

    @settings(max_examples=60, deadline=None)
    @given(junk=st.binary(max_size=300))
    def test_junk_is_refused_with_our_own_error(self, tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
        path = tmp_path_factory.mktemp("junk") / "x.safetensors"
        path.write_bytes(junk)
        with pytest.raises(WeightsError):
            weights.load_safetensors(path)

    def test_a_tail_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(save({"a": torch.ones(2)}) + b"tail")
        with pytest.raises(WeightsError, match="its header says"):
            weights.load_safetensors(path)
