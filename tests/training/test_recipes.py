"""The recipes: a tiny run of each, resuming to the same weights, two processes with the same weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from earthgen.errors import ArgumentError, DataError, WeightsError
from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.models.denoiser import PRESETS
from earthgen.training import autoencoder, bundle, denoiser, distillation, latents
from earthgen.training.common import Step, network_of

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_the_autoencoder_run_leaves_weights_statistics_a_sheet_and_metrics(autoencoder_run: Path) -> None:
    model = EarthAutoencoder.from_pretrained(autoencoder_run / "autoencoder")
    assert len(model.config.latents_mean) == 4 and min(model.config.latents_std) > 0
    assert all(1 <= here <= bound for here, bound in zip(model.halo, model.receptive_field, strict=True))
    assert Image.open(autoencoder_run / "sample-2.png").size[0] > 64
    lines = [json.loads(x) for x in (autoencoder_run / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [1, 2, 3] and all(np.isfinite(x["l1"]) for x in lines)
    assert json.loads((autoencoder_run / "autoencoder.json").read_text())["latent_channels"] == 4


def test_a_decoder_trained_further_leaves_the_encoder_and_the_latents_as_they_were(
    tiny_data: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    wanted = flags.autoencoder(tiny_data, tmp_path / "more", 2)
    with pytest.raises(ArgumentError, match="init_from"):
        autoencoder.main([*wanted, "--decoder_only"])
    autoencoder.main([*wanted, "--decoder_only", "--init_from", str(autoencoder_run / "autoencoder")])
    before = EarthAutoencoder.from_pretrained(autoencoder_run / "autoencoder")
    after = EarthAutoencoder.from_pretrained(tmp_path / "more" / "autoencoder")
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(before.encode(x).latent, after.encode(x).latent)
    assert not torch.equal(before.decoder[0].weight, after.decoder[0].weight)


def test_a_decoder_learns_from_what_a_denoiser_guesses(
    tiny_data: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    EarthUNet(4, **PRESETS["tiny"]).save_pretrained(tmp_path / "unet")
    guessing = ["--denoiser", str(tmp_path / "unet")]
    with pytest.raises(ArgumentError, match="decoder_only"):
        autoencoder.main([*flags.autoencoder(tiny_data, tmp_path / "refused", 1), *guessing])
    further = ["--decoder_only", "--init_from", str(autoencoder_run / "autoencoder"), "--logging_steps", "1"]
    evenness = []
    for name, more in (("without", []), ("with", guessing)):
        autoencoder.main([*flags.autoencoder(tiny_data, tmp_path / name, 1), *further, *more])
        evenness.append(json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])["evenness"])
    assert evenness[1] > evenness[0] > 0  # of the same crops, and of the guesses besides


def test_the_cache_holds_what_the_autoencoder_makes_of_the_data(latent_cache: Path, autoencoder_run: Path) -> None:
    folder = latent_cache / "64"
    z = np.load(folder / "z.npy")
    assert z.shape == (42, 4, 16, 16) and np.isfinite(z).all()
    assert np.abs(z.mean((0, 2, 3))).max() < 1.5 and 0.2 < z.std() < 3
    meta = np.load(folder / "meta.npy")
    assert (meta["gsd"] == 10).all() and np.isfinite(meta["lat"]).all() and np.isnan(meta["day"]).all()
    texts = json.loads((folder / "index.json").read_text())["texts"]
    assert any("river" in t for t in texts)
    tokens, lengths = np.load(folder / "tokens.npy"), np.load(folder / "lengths.npy")
    assert len(tokens) == len(texts) and lengths.min() >= 3
    assert np.abs(tokens[0, : lengths[0]]).max() > 0 and not np.abs(tokens[0, lengths[0] :]).any()


def test_a_batch_is_a_function_of_seed_and_step(latent_cache: Path) -> None:
    batches = denoiser.LatentBatches(latent_cache, 256)
    a, b, c = batches(Step(0, 5)), batches(Step(0, 5)), batches(Step(0, 6))
    assert torch.equal(a["z"], b["z"]) and torch.equal(a["conditioning"].present, b["conditioning"].present)
    assert not torch.equal(a["z"], c["z"])
    assert not torch.equal(batches(Step(0, 5, rank=1))["z"], a["z"])


def test_each_condition_is_dropped_about_as_often_as_it_says(latent_cache: Path) -> None:
    batches = denoiser.LatentBatches(latent_cache, 256 * 64)
    from earthgen.conditions import CONDITION_NAMES

    present = torch.cat([batches(Step(0, i))["conditioning"].present for i in range(4)]).float().mean(0)
    for name in ("text", "gsd", "position", "cloud", "known", "coarse"):
        drop = denoiser.DROP_COARSE[64] if name == "coarse" else denoiser.DROP[name]
        kept = (1 - drop) * (1 - denoiser.DROP_ALL)
        assert float(present[CONDITION_NAMES.index(name)]) == pytest.approx(kept, abs=0.06), name
    assert not present[CONDITION_NAMES.index("date")] and not present[CONDITION_NAMES.index("boxes")]


def test_rivers_and_roads_are_seen_more_often(latent_cache: Path) -> None:
    bucket = denoiser.LatentBatches(latent_cache, 256).buckets[64]
    texts = json.loads((latent_cache / "64" / "index.json").read_text())["texts"]
    rows, seen = np.unique(bucket.rows["eurosat"], return_counts=True)
    assert rows.tolist() == list(range(42))
    for row, times in zip(rows, seen, strict=True):
        text = texts[bucket.text_of[row]]
        assert times == (denoiser.LINES_SEEN if re.search("river|stream|waterway|highway|motorway|road", text) else 1)
    assert set(seen) == {1, denoiser.LINES_SEEN}


def test_a_resumed_run_equals_an_undisturbed_one(
    latent_cache: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    def train(name: str, steps: int, *more: str) -> None:
        denoiser.main(flags.denoiser(latent_cache, autoencoder_run, tmp_path / name, steps) + list(more))

    train("whole", 4)
    train("parts", 2)
    train("parts", 4, "--resume_from_checkpoint", "latest")
    whole, parts = (load_file(tmp_path / n / WEIGHTS) for n in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    untrained = EarthUNet.preset("tiny", 4).state_dict()
    assert any(not torch.equal(whole[k], untrained[k]) for k in whole if "head" in k)


def test_resuming_from_nothing_is_an_error_and_so_is_starting_over(
    latent_cache: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    wanted = flags.denoiser(latent_cache, autoencoder_run, tmp_path / "run", 2)
    with pytest.raises(DataError, match="nothing to resume"):
        denoiser.main([*wanted, "--resume_from_checkpoint", "latest"])
    denoiser.main(wanted)
    with pytest.raises(ArgumentError, match="resume_from_checkpoint"):
        denoiser.main(wanted)


def test_a_killed_run_resumes_at_its_last_checkpoint(
    latent_cache: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    out = tmp_path / "run"
    wanted = flags.denoiser(latent_cache, autoencoder_run, out, 100_000)
    process = subprocess.Popen([sys.executable, "-m", "earthgen.training.denoiser", *wanted], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(out.glob("checkpoint-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = max(int(p.name.split("-")[1]) for p in out.glob("checkpoint-*"))
    more = flags.denoiser(latent_cache, autoencoder_run, out, reached + 1)
    denoiser.main([*more, "--resume_from_checkpoint", "latest"])
    assert (out / f"checkpoint-{reached + 1}").is_dir()


def test_two_processes_train_one_model(
    latent_cache: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    wanted = flags.denoiser(latent_cache, autoencoder_run, tmp_path / "run", 2)
    script = tmp_path / "both.py"
    script.write_text(
        "import os, sys, torch\n"
        "from earthgen.training import common, denoiser\n"
        "run = common.run\n"
        "def kept(args, recipe):\n"
        "    model = run(args, recipe)\n"
        f"    torch.save(model.state_dict(), {str(tmp_path)!r} + '/rank' + os.environ['RANK'] + '.pt')\n"
        "    return model\n"
        "denoiser.run = kept\n"
        "denoiser.main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(script), *wanted], check=True, timeout=900, env=environment)
    a, b = (torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in (0, 1))
    exported = load_file(tmp_path / "run" / WEIGHTS)
    assert all(torch.equal(a[k], b[k]) and torch.equal(a[k], exported[k]) for k in a)


def test_a_cache_of_another_autoencoder_is_refused(
    latent_cache: Path, tiny_data: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    wanted = flags.autoencoder(tiny_data, tmp_path / "ae", 1)
    wanted[wanted.index("--latent_channels") + 1] = "6"
    wanted[wanted.index("--validation_steps") + 1] = "0"
    autoencoder.main(wanted)
    with pytest.raises(DataError, match="another autoencoder"):
        denoiser.main(flags.denoiser(latent_cache, tmp_path / "ae", tmp_path / "run", 1))


@pytest.mark.parametrize(
    ("recipe", "flag"),
    [
        (autoencoder, "init_from"), (autoencoder, "denoiser"), (latents, "autoencoder"), (denoiser, "autoencoder"),
        (denoiser, "init_from"), (distillation, "autoencoder"), (distillation, "teacher"),
        (distillation, "guide"), (distillation, "init_from"), (bundle, "unet"), (bundle, "refiner"),
        (bundle, "few_step_unet"), (bundle, "guide"), (bundle, "autoencoder"),
    ],
)  # fmt: skip
def test_a_flag_whose_folder_holds_no_such_network_is_named(
    tiny_data: Path, autoencoder_run: Path, latent_cache: Path, tmp_path: Path, recipe: ModuleType, flag: str
) -> None:
    coder, unet, wrong = autoencoder_run / "autoencoder", tmp_path / "unet", tmp_path / "wrong"
    EarthUNet(4, **PRESETS["tiny"]).save_pretrained(unet)
    given = {
        autoencoder: {"data_root": tiny_data, "sets": "eurosat", "init_from": coder, "denoiser": unet},
        latents: {"data_root": tiny_data, "sets": "eurosat", "autoencoder": coder},
        denoiser: {"latents": latent_cache, "autoencoder": coder, "init_from": unet},
        distillation: {"latents": latent_cache, "autoencoder": coder, "teacher": unet},
        bundle: {"unet": unet, "refiner": unet, "few_step_unet": unet, "autoencoder": coder},
    }[recipe] | {"output_dir": tmp_path / "out", flag: wrong}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    with pytest.raises(ArgumentError, match=f"`{flag}` must be a folder that .*{re.escape(repr(str(wrong)))}"):
        recipe.main([*words, *(["--decoder_only"] if recipe is autoencoder else [])])
    assert not (tmp_path / "out").exists()


def test_a_network_is_loaded_as_it_was_saved_or_not_at_all(tmp_path: Path) -> None:
    unet = EarthUNet(4, **PRESETS["tiny"])
    unet.save_pretrained(tmp_path)
    loaded = network_of(EarthUNet, "teacher", tmp_path).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in unet.state_dict().items())
    with pytest.raises(ArgumentError, match=r"`init_from` .* EarthAutoencoder was saved to, such as `vae`"):
        network_of(EarthAutoencoder, "init_from", tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    tensors = load_file(weights)
    for damage, said in (
        (lambda: weights.write_bytes(whole[:-100]), "truncated"),
        (lambda: save_file(dict(list(tensors.items())[1:]), weights), "do not fit EarthUNet.*missing_keys"),
        (weights.unlink, "holds no safetensors weights"),
    ):
        damage()
        with pytest.raises(WeightsError, match=said):
            network_of(EarthUNet, "teacher", tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ArgumentError, match="teacher"):
        network_of(EarthUNet, "teacher", tmp_path)
