"""Recipe: few steps. A student takes in 1, 2, 4 or 8 evaluations the path that a guided teacher takes in many.

    python -m earthgen.training.distillation --latents latents --autoencoder runs/autoencoder/autoencoder \\
        --teacher runs/mini/unet --output_dir runs/few --max_train_steps 1000
    python -m earthgen.training.distillation ... --refined all --few_steps 1 2   # for the stages of a cascade alone

The teacher samples from noise under conditions of the cache, as it ships. The student is told a noise level t
and a later one u, and learns the mean velocity between them, (x_u - x_t) / (u - t): a step along the path's chord ends
where the path does, however long it is (a flow map, Boffi et al. 2024, arXiv:2406.07507; steps have the lengths of
powers of two, as in Frans et al. 2024, arXiv:2410.12557). It starts from the teacher's weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from earthgen.conditions import CONDITION_NAMES, LEAST_TOLD, Guidance, check_number
from earthgen.errors import ArgumentError
from earthgen.models import Conditioning, EarthAutoencoder, EarthUNet
from earthgen.models.guidance import guidance_chain, guided, with_guide
from earthgen.training.common import (
    Batch,
    Recipe,
    Step,
    add_common_arguments,
    export,
    network_of,
    run,
    scheduler_that_ships,
)
from earthgen.training.denoiser import LatentBatches, hidden_weights, previewer

TEACHER_STEPS = 8
"""By the scheduler that ships."""
FEW_STEPS = (1, 2, 4, 8)
"""In which a student can take the whole path."""
REFINED = {64: 0.35, 128: 1.0, 256: 1.0}
"""How often a batch is made from coarser images, by bucket: large images are."""
REUSED = 8
"""Steps that are taken on one batch of paths, each with other pieces of them."""
CALM = 0.03
"""Variance of latents within an image, beside the usual 1, below which its errors count no more."""
LED = 0.1
"""Of colours in the loss where images are refined: a cascade leads them itself, unless asked not to."""

_COARSE = CONDITION_NAMES.index("coarse")


def scheduler_of_paths(steps: int = TEACHER_STEPS) -> DPMSolverMultistepScheduler:
    """The one that ships, at the beginning of so many steps."""
    scheduler = scheduler_that_ships()
    scheduler.set_timesteps(steps)
    return scheduler


@torch.inference_mode()
def path(
    teacher: EarthUNet,
    noise: Tensor,
    given: Conditioning,
    guidance: Guidance,
    led: bool,
    steps: int = TEACHER_STEPS,
    guide: EarthUNet | None = None,
) -> Tensor:
    """What the teacher makes of noise (batch, channels, h, w) before each step and after the last: (steps + 1, batch,
    channels, h, w).

    `led`: colours go straight to those of the coarser image, as in the cascade. `guide`: a weaker network, which a part
    of guidance leads away from (`earthgen.models.guidance.with_guide`).
    """
    chain, scheduler = guidance_chain(given, guidance), scheduler_of_paths(steps)
    asked = with_guide(chain, teacher, guide)
    x, points = noise, [noise]
    for t, level in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x_, sigma = x.contiguous(memory_format=torch.channels_last), float(level)
        v = guided([(w, unet(x_, 1000 * sigma, one).sample.float()) for w, unet, one in asked], x, sigma)
        if led:
            v[:, :3] = (x[:, :3] - given.coarse[:, :3].float()) / sigma
        x = scheduler.step(v, t, x, return_dict=False)[0]
        points.append(x)
    return torch.stack(points)


class Chords:
    """Batches of pieces of the teacher's paths. All of a batch are of one bucket."""

    def __init__(
        self,
        latents: LatentBatches,
        teacher: EarthUNet,
        guidance: Guidance,
        few_steps: Sequence[int] = FEW_STEPS,
        refined: str = "some",
        guide: EarthUNet | None = None,
    ) -> None:
        self.latents, self.teacher, self.guidance = latents, teacher.eval().requires_grad_(False), guidance
        self.guide = guide if guide is None else guide.eval().requires_grad_(False)
        self.levels = [float(level) for level in scheduler_of_paths().sigmas]
        self.lengths = np.array([TEACHER_STEPS // n for n in few_steps])
        self.share = {"some": REFINED, "none": dict.fromkeys(REFINED, 0.0), "all": dict.fromkeys(REFINED, 1.0)}[refined]
        self._last: tuple[Step, Tensor, Batch] | None = None

    def paths(self, step: Step) -> tuple[Tensor, Batch]:
        """Paths of one batch of the cache, and that batch. A pure function of the step."""
        batch = self.latents(step)
        given: Conditioning = batch["conditioning"]
        generator = step.torch(2)
        refined = bool(torch.rand((), generator=generator) < self.share[batch["size"]])
        present = given.present.clone()
        present[:, _COARSE] = refined
        given = replace(given, present=present, degradation=given.degradation.clamp(min=LEAST_TOLD))
        guidance = self.guidance.of_refinement() if refined else self.guidance
        noise = torch.randn(batch["z"].shape, generator=generator)
        device = self.teacher.device
        points = path(self.teacher, noise.to(device), given.to(device), guidance, refined, guide=self.guide)
        return points, batch | {"conditioning": given, "refined": refined}

    def __call__(self, step: Step) -> Batch:
        group = Step(step.seed, step.index // REUSED, step.rank)
        if self._last is None or self._last[0] != group:
            self._last = group, *self.paths(group)
        _, points, batch = self._last
        rng = step.numpy(3)
        count = points.shape[1]
        length = rng.choice(self.lengths, count)
        start = rng.integers(0, TEACHER_STEPS // length) * length
        each, levels = np.arange(count), np.array(self.levels, np.float32)
        begin, end = (torch.from_numpy(levels[k]).to(points.device) for k in (start, start + length))
        x, after = points[start, each], points[start + length, each]
        target = (after - x) / (end - begin).view(-1, 1, 1, 1)
        calm = points[-1].var((2, 3), correction=0)
        return batch | {"x": x.clone(), "target": target.clone(), "begin": begin, "end": end, "variance": calm}


def chord_loss(model: nn.Module, batch: Batch, _step: Step) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the mean velocity, beside what the image has of detail.

    What a student leaves of the noise is little in a lively image, and grain in a calm one.
    """
    x: Tensor = batch["x"].contiguous(memory_format=torch.channels_last)
    given = batch["conditioning"].to(x.device, x.dtype)
    v = model(x, 1000 * batch["begin"], given, return_dict=False, until=1000 * batch["end"])[0].float()
    error = (v - batch["target"]).square().mean((2, 3)) / (batch["variance"] + CALM)
    if batch["refined"]:
        error = torch.cat([LED * error[:, :3], error[:, 3:]], 1)
    loss = error.mean()
    value = float(loss.detach())
    return loss, {"loss": value, f"loss_{batch['size']}px": value}


def student_of(teacher: EarthUNet, guidance: float) -> EarthUNet:
    """A network that starts as the teacher and is told, besides, where a step ends."""
    shape = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
    student = EarthUNet(**shape | {"taught_guidance": guidance})
    missing, unexpected = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("metadata.until.") for name in missing)
    return student


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="earthgen train distillation", description=__doc__.split("\n\n")[0])
    p.add_argument("--latents", type=Path, required=True, help="folder of a latent cache")
    p.add_argument("--autoencoder", type=Path, required=True, help="the autoencoder the cache was made with")
    p.add_argument("--teacher", type=Path, required=True, help="folder of the trained denoiser")
    p.add_argument("--guide", type=Path, default=None, help="a weaker denoiser's folder: guidance leads away from it")
    p.add_argument("--init_from", type=Path, default=None, help="start from the weights of this network of few steps")
    p.add_argument("--guidance", type=float, default=Guidance().text, help="weight of all conditions that is taught")
    p.add_argument(
        "--train_batch_latents", type=int, default=128 * 256, help="latents a batch: 128 images of 64 px, 8 of 256"
    )
    p.add_argument("--few_steps", type=int, nargs="+", choices=FEW_STEPS, default=list(FEW_STEPS))
    p.add_argument(
        "--refined",
        choices=("some", "none", "all"),
        default="some",
        help="which images are made from coarser ones: all for a refiner, none for images from noise alone",
    )
    add_common_arguments(p)
    p.set_defaults(optimizer="muon")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    check_number("guidance", args.guidance, "must be above 0 and at most 50", 0, 50, low_open=True)
    torch.manual_seed(args.seed)
    latents = LatentBatches(args.latents, args.train_batch_latents)
    autoencoder = network_of(EarthAutoencoder, "autoencoder", args.autoencoder)
    latents.check(autoencoder, args.autoencoder)
    teacher = network_of(EarthUNet, "teacher", args.teacher)
    begun = network_of(EarthUNet, "init_from", args.init_from) if args.init_from else None
    student = begun or student_of(teacher, args.guidance)
    if student.config.taught_guidance != args.guidance:
        rule = f"must be a network of few steps that was taught a guidance of {args.guidance:g}"
        raise ArgumentError("init_from", rule, str(args.init_from))
    guide = network_of(EarthUNet, "guide", args.guide) if args.guide else None
    if guide is not None and guide.few_step:
        raise ArgumentError("guide", "must be a network of many steps", str(args.guide))
    for unet in (teacher, guide):
        if unet is not None:
            unet.to("cuda" if torch.cuda.is_available() and not args.cpu else "cpu", memory_format=torch.channels_last)
    chords = Chords(latents, teacher, Guidance.uniform(args.guidance), args.few_steps, args.refined, guide)
    recipe = Recipe(
        name="distillation",
        model=student,
        batch=chords,
        loss=chord_loss,
        hidden=hidden_weights(student),
        validate=previewer(autoencoder, chords, chord_loss) if args.validation_steps else None,
    )
    export(run(args, recipe), args.output_dir / "unet")


if __name__ == "__main__":
    main()
