"""A student of few steps starts as its teacher, and learns the chords of the teacher's paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from earthgen.conditions import Guidance
from earthgen.errors import ArgumentError, DataError
from earthgen.models import Conditioning, EarthUNet
from earthgen.models.guidance import GUIDE_SHARE
from earthgen.steps import FEW, FEW_AT_MOST, MANY, denoiser_of, order_of, steps_of_folder, usual_steps
from earthgen.training import denoiser, distillation
from earthgen.training.common import Step, scheduler_that_ships
from earthgen.training.denoiser import LatentBatches
from earthgen.training.distillation import Chords, chord_loss, path, student_of
from earthgen.weights import BUNDLED, resolve


@pytest.fixture(scope="module")
def teacher() -> EarthUNet:
    torch.manual_seed(0)
    unet = EarthUNet.preset("tiny", 4)
    with torch.no_grad():  # blocks start as the identity, and this one shall see something
        for p in unet.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return unet.eval()


def test_paths_are_those_of_the_scheduler_that_ships() -> None:
    scheduler = DPMSolverMultistepScheduler.from_pretrained(resolve(BUNDLED) / "scheduler")
    ours = scheduler_that_ships().config
    assert {name: value for name, value in scheduler.config.items() if name[0] != "_"} == {
        name: value for name, value in ours.items() if name[0] != "_"
    }


def test_a_student_starts_as_its_teacher_wherever_a_step_ends(teacher: EarthUNet) -> None:
    student = student_of(teacher, 6.0).eval()
    assert student.few_step and not teacher.few_step
    assert usual_steps(SimpleNamespace(unet=student)) == FEW and usual_steps(SimpleNamespace(unet=teacher)) == MANY
    both = SimpleNamespace(unet=teacher, refiner=student)
    assert usual_steps(both) == replace(MANY, world=FEW.world)
    few = FEW_AT_MOST["few_step_unet"]
    drawing = SimpleNamespace(unet=teacher, few_step_unet=student)
    assert denoiser_of(drawing, False, few) is student and denoiser_of(drawing, False, few + 1) is teacher
    assert denoiser_of(drawing, True, 1) is teacher
    assert (
        denoiser_of(both, True, FEW_AT_MOST["refiner"]) is student and denoiser_of(both, True, MANY.refining) is teacher
    )
    assert denoiser_of(both, False, 1) is teacher and (order_of(teacher), order_of(student)) == (2, 1)
    x, given = torch.randn(2, 4, 8, 8), Conditioning.none(2, 4)
    with torch.no_grad():
        want = teacher(x, 700.0, given).sample
        assert torch.equal(student(x, 700.0, given, until=100.0).sample, want)
        torch.nn.init.normal_(student.metadata.until[-1].weight)
        assert not torch.allclose(student(x, 700.0, given, until=100.0).sample, want)
        # Until None, a step of no length is meant.
        assert torch.equal(student(x, 700.0, given).sample, student(x, 700.0, given, until=700.0).sample)


def test_a_path_solves_a_flow_of_known_solution() -> None:
    # Where the data are normal of deviation s, the velocity is known and carries noise to s × noise.
    s = 0.5

    def velocity(x: torch.Tensor, time: float, _given: Conditioning) -> SimpleNamespace:
        t = time / 1000
        return SimpleNamespace(sample=x * (t - (1 - t) * s**2) / ((1 - t) ** 2 * s**2 + t**2))

    noise = torch.randn(2, 4, 8, 8)
    points = path(velocity, noise, Conditioning.none(2, 4), Guidance(), led=False, steps=32)  # type: ignore[arg-type]
    assert torch.equal(points[0], noise)
    assert torch.allclose(points[-1], s * noise, rtol=0.02, atol=0.005)


def test_a_led_path_ends_at_the_coarser_image_in_colour(teacher: EarthUNet) -> None:
    given = replace(Conditioning.none(2, 4), coarse=torch.randn(2, 4, 8, 8))
    points = path(teacher, torch.randn(2, 4, 8, 8), given, Guidance(), led=True)
    assert torch.allclose(points[-1][:, :3], given.coarse[:, :3], atol=1e-5)


def test_a_path_leads_away_from_a_guide(teacher: EarthUNet) -> None:
    noise, given = torch.randn(1, 4, 8, 8), Conditioning.none(1, 4)
    given = replace(given, gsd=torch.full((1, 1, 1), 3.0), present=given.present | torch.ones_like(given.present))
    plain = path(teacher, noise, given, Guidance.uniform(4), led=False)
    smaller = path(teacher, noise, given, Guidance.uniform(1 + 3 * (1 - GUIDE_SHARE)), led=False)
    alike = path(teacher, noise, given, Guidance.uniform(4), led=False, guide=teacher)
    assert torch.allclose(alike, smaller, atol=1e-4) and not torch.allclose(alike, plain, atol=1e-4)


@pytest.fixture(scope="module")
def chords(latent_cache: Path, teacher: EarthUNet) -> Chords:
    return Chords(LatentBatches(latent_cache, 6 * 256), teacher, Guidance.uniform(3.0))


def test_a_run_goes_on_from_a_network_of_few_steps_led_by_a_guide(
    latent_cache: Path, autoencoder_run: Path, flags: SimpleNamespace, tmp_path: Path, teacher: EarthUNet
) -> None:
    teacher.save_pretrained(tmp_path / "teacher")
    begun = student_of(teacher, 4.0)
    begun.save_pretrained(tmp_path / "begun")
    given = flags.denoiser(latent_cache, autoencoder_run, tmp_path / "few", 3)
    at = given.index("--preset")
    folders = {name: str(tmp_path / folder) for name, folder in (("teacher", "teacher"), ("guide", "teacher"))}
    given[at : at + 2] = [word for name, folder in folders.items() for word in (f"--{name}", folder)]
    distillation.main([*given, "--init_from", str(tmp_path / "begun")])
    made = EarthUNet.from_pretrained(tmp_path / "few" / "unet")
    weights = zip(made.state_dict().values(), begun.state_dict().values(), strict=True)
    moved = max(float((a - b).abs().max()) for a, b in weights)
    assert made.config.taught_guidance == 4 and 0 < moved < 0.1
    for wrong in (["--init_from", folders["teacher"]], ["--init_from", str(tmp_path / "begun"), "--guidance", "3"]):
        with pytest.raises(ArgumentError, match="`init_from` must be a network of few steps"):
            distillation.main([*given, *wrong])
    with pytest.raises(ArgumentError, match="`guide` must be a network of many steps"):
        distillation.main([*given, "--guide", str(tmp_path / "begun")])


def test_targets_lead_from_point_to_point(chords: Chords) -> None:
    for index in range(3 * distillation.REUSED):
        batch = chords(Step(0, index))
        points, _ = chords.paths(Step(0, index // distillation.REUSED))
        levels = torch.tensor(chords.levels)
        ends = batch["x"] + (batch["end"] - batch["begin"]).view(-1, 1, 1, 1) * batch["target"]
        for k in range(len(ends)):
            start, stop = ((levels - batch[name][k]).abs().argmin() for name in ("begin", "end"))
            assert stop - start in (1, 2, 4, 8) and start % (stop - start) == 0
            assert torch.equal(batch["x"][k], points[start, k])
            assert torch.allclose(ends[k], points[stop, k], atol=1e-5)


def test_a_refiner_learns_from_coarser_images_alone_and_the_steps_it_is_for(
    latent_cache: Path, teacher: EarthUNet
) -> None:
    chords = Chords(LatentBatches(latent_cache, 6 * 256), teacher, Guidance.uniform(3.0), (1, 2), refined="all")
    levels, lengths = torch.tensor(chords.levels), set()
    for index in range(3):
        batch = chords(Step(0, index * distillation.REUSED))
        assert batch["refined"] and batch["conditioning"].present[:, distillation._COARSE].all()
        for begin, end in zip(batch["begin"], batch["end"], strict=True):
            lengths.add(int((levels - end).abs().argmin() - (levels - begin).abs().argmin()))
    assert lengths == {4, 8}
    # An error weighs more beside less of detail, and of what is led anyway, less.
    student = student_of(teacher, 3.0)
    losses = [chord_loss(student, batch | {"variance": v * batch["variance"]}, Step(0, 0))[1]["loss"] for v in (1, 4)]
    assert losses[1] < losses[0] < chord_loss(student, batch | {"refined": False}, Step(0, 0))[1]["loss"]


def test_batches_are_a_pure_function_of_the_step(chords: Chords, latent_cache: Path, teacher: EarthUNet) -> None:
    again = Chords(LatentBatches(latent_cache, 6 * 256), teacher, Guidance.uniform(3.0))
    last = chords(Step(0, 9))
    for name in ("x", "target", "begin", "end"):
        assert torch.equal(again(Step(0, 9))[name], last[name])
        assert not torch.equal(chords(Step(1, 9))[name], last[name])


def test_a_student_learns(chords: Chords, teacher: EarthUNet) -> None:
    student = student_of(teacher, 3.0)
    batch = chords(Step(0, 0))
    optimizer = torch.optim.AdamW(student.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        loss, figures = chord_loss(student, batch, Step(0, 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(figures["loss"])
    assert losses[-1] < 0.7 * losses[0]


def test_the_recipe_trains_resumes_and_exports(
    latent_cache: Path, autoencoder_run: Path, flags: SimpleNamespace, tmp_path: Path
) -> None:
    denoiser.main(flags.denoiser(latent_cache, autoencoder_run, tmp_path / "teacher", 2))
    given = flags.denoiser(latent_cache, autoencoder_run, tmp_path / "few", 3)
    at = given.index("--preset")
    given[at : at + 2] = ["--teacher", str(tmp_path / "teacher" / "unet"), "--guidance", "4"]
    distillation.main(given)
    student = EarthUNet.from_pretrained(tmp_path / "few" / "unet")
    assert student.few_step and student.config.taught_guidance == 4
    (tmp_path / "model").mkdir()
    (tmp_path / "few" / "unet").rename(tmp_path / "model" / "unet")
    assert steps_of_folder(tmp_path / "model") == FEW

    given[given.index("--max_train_steps") + 1] = "5"
    distillation.main([*given, "--resume_from_checkpoint", "latest"])
    whole = flags.denoiser(latent_cache, autoencoder_run, tmp_path / "whole", 5)
    whole[at : at + 2] = ["--teacher", str(tmp_path / "teacher" / "unet"), "--guidance", "4"]
    distillation.main(whole)
    resumed, straight = (EarthUNet.from_pretrained(tmp_path / name / "unet") for name in ("few", "whole"))
    for name, value in straight.state_dict().items():
        assert torch.allclose(resumed.state_dict()[name], value, atol=1e-6), name


def test_a_cache_of_another_autoencoder_is_refused(
    latent_cache: Path, autoencoder_run: Path, teacher: EarthUNet, tmp_path: Path
) -> None:
    from earthgen.models import EarthAutoencoder

    EarthAutoencoder(latent_channels=5, block_channels=(8, 8)).save_pretrained(tmp_path / "other")
    teacher.save_pretrained(tmp_path / "teacher")
    given = ["--latents", latent_cache, "--autoencoder", tmp_path / "other", "--teacher", tmp_path / "teacher"]
    with pytest.raises(DataError, match="another autoencoder"):
        distillation.main([str(f) for f in (*given, "--output_dir", tmp_path / "out", "--cpu")])
