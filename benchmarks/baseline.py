"""A peer: diffusers' own example recipe on the same images for a given time, with as many parameters as `mini`.

    python benchmarks/baseline.py --work out/baseline [--minutes 180] [--kinds class unconditional] [--out JSON]

`UNet2DModel` as in diffusers' examples/unconditional_image_generation, in pixels at 64 px, narrower (36 channels where
the example has 128; 9.0 million parameters), without classes and with (`num_class_embeds`). Settings of the example:
DDPM with 1,000 linear noise levels predicting the noise, AdamW with a learning rate of 1e-4, betas of 0.95 and 0.999,
weight decay 1e-6, 500 steps of warm-up, then cosine to 0 at the end of the time, batches of 16, mirrored at random,
averaged weights. Classes are drawn equally often from EuroSAT's train split. Sampled in --steps of DPM-Solver++.

Measured by `earthgen.metrics.evaluate` with the judges and the images of `earthgen evaluate`. Each kind is trained for
--minutes. A run that was stopped goes on; other --minutes start anew, as the schedule is another. With --ours,
`parts/eurosat_distances.json` in the folder of an `earthgen evaluate`, both are set beside each other.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from figures import Figure, add_out, report
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from earthgen.conditions import Conditions
from earthgen.data.captions import class_prompt
from earthgen.metrics.evaluate import EvaluationConfig, evaluate
from earthgen.metrics.network import to_tensor
from earthgen.metrics.real import LabelledImages, labelled_images
from earthgen.metrics.report import figures as of_evaluation
from earthgen.output.atomic import atomic_path
from earthgen.precision import mixed_precision

SIDE, BATCH, WARM_UP, KEEP_EVERY = 64, 16, 500, 120.0
KINDS = {"class": "class-conditional", "unconditional": "unconditional"}


def network(classes: int | None) -> UNet2DModel:
    """The example's, narrower."""
    return UNet2DModel(
        sample_size=SIDE,
        layers_per_block=2,
        block_out_channels=(36, 36, 72, 72, 144, 144),
        down_block_types=(*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
        norm_num_groups=12,
        num_class_embeds=classes,
    )


class Training:
    """Networks, optimizer and time spent; a batch and its noise depend on the step alone."""

    def __init__(self, file: Path, classes: int | None) -> None:
        torch.manual_seed(0)
        self.file, self.step, self.seconds = file, 0, 0.0
        self.model = network(classes).to(memory_format=torch.channels_last)
        self.ema = EMAModel(self.model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), 1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        if file.exists():
            self._load()

    def save(self) -> None:
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"ema/{k}": t for k, t in enumerate(self.ema.shadow_params)}
        for k, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{k}/{name}": t for name, t in state.items()}
        metadata = {"step": str(self.step), "seconds": str(self.seconds)}
        with atomic_path(self.file) as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, str(temporary), metadata)

    def _load(self) -> None:
        weights, averages, states = {}, {}, {}
        with safe_open(str(self.file), "pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                kind, _, rest = name.partition("/")
                tensor = stored.get_tensor(name)
                if kind == "model":
                    weights[rest] = tensor
                elif kind == "ema":
                    averages[int(rest)] = tensor
                else:
                    k, _, what = rest.partition("/")
                    states.setdefault(int(k), {})[what] = tensor
            metadata = stored.metadata()
        self.model.load_state_dict(weights)
        self.ema.shadow_params = [averages[k] for k in range(len(averages))]
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.ema.optimization_step = self.step

    def run(self, images: LabelledImages, minutes: float, title: str) -> UNet2DModel:
        """Train for what is left of the time, and return the averaged network."""
        members = [np.flatnonzero(images.labels == k) for k in range(len(images.classes))]
        noising = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
        total, kept = 60 * minutes, self.seconds
        self.model.train()
        with tqdm(total=round(total), initial=round(min(self.seconds, total)), desc=title, unit="s") as bar:
            while self.seconds < total:
                start = time.monotonic()
                rng = np.random.default_rng([0, self.step])
                labels = rng.integers(0, len(members), BATCH)
                x = to_tensor(images.images[[rng.choice(members[k]) for k in labels]])
                mirrored = torch.from_numpy(rng.random(BATCH) < 0.5).view(-1, 1, 1, 1)
                x = torch.where(mirrored, x.flip(3), x).contiguous(memory_format=torch.channels_last)
                noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
                levels = torch.from_numpy(rng.integers(0, 1000, BATCH))
                given = {"class_labels": torch.from_numpy(labels)} if self.model.config.num_class_embeds else {}
                with mixed_precision():
                    told = self.model(noising.add_noise(x, noise, levels), levels, **given).sample
                loss = F.mse_loss(told.float(), noise)
                rate = min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.seconds / total))
                for group in self.optimizer.param_groups:
                    group["lr"] = 1e-4 * rate
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
                self.ema.step(self.model.parameters())
                self.step += 1
                spent = time.monotonic() - start
                self.seconds += spent
                bar.update(spent)
                bar.set_postfix(step=self.step, loss=f"{loss.item():.4f}", refresh=False)
                if self.seconds - kept > KEEP_EVERY or self.seconds >= total:
                    self.save()
                    kept = self.seconds
        self.ema.copy_to(self.model.parameters())
        return self.model.eval()


def generator(model: UNet2DModel, classes: tuple[str, ...], steps: int) -> Callable[..., np.ndarray]:
    """As `earthgen.metrics.generated.Generate`; the sentence names the class, all else is ignored."""
    numbers = {class_prompt(name): k for k, name in enumerate(classes)}

    @torch.inference_mode()
    def generate(conditions: list[Conditions], height: int, width: int, seeds: list[int]) -> np.ndarray:
        scheduler = DPMSolverMultistepScheduler(num_train_timesteps=1000, beta_schedule="linear")
        scheduler.set_timesteps(steps)
        noise = [torch.randn(3, height, width, generator=torch.Generator().manual_seed(s)) for s in seeds]
        x = torch.stack(noise).to(memory_format=torch.channels_last)
        labels = torch.tensor([numbers[c.text or ""] for c in conditions])
        given = {"class_labels": labels} if model.config.num_class_embeds else {}
        for level in scheduler.timesteps:
            with mixed_precision():
                told = model(x, level, **given).sample
            x = scheduler.step(told.float(), level, x).prev_sample
        return ((x.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()

    return generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints, images and figures")
    parser.add_argument("--minutes", type=float, default=180.0, help="of training, for each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--per-class", type=int, default=200, help="images to measure; as `earthgen evaluate`")
    parser.add_argument("--steps", type=int, default=20, help="of sampling")
    parser.add_argument("--ours", type=Path, help="earthgen's `eurosat_distances.json`, to be set beside it")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    add_out(parser)
    args = parser.parse_args()
    images = labelled_images("eurosat", args.data_root, "train", progress=True)
    counts = (("eurosat", args.per_class),)
    ours = json.loads(args.ours.read_text())["frechet"]["ratio"] if args.ours and args.ours.exists() else None
    made = []
    for kind in args.kinds:
        folder = args.work / f"{kind}-{args.minutes:g}min"
        training = Training(folder / "training.safetensors", len(images.classes) if kind == "class" else None)
        model = training.run(images, args.minutes, KINDS[kind])
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        print(f"{KINDS[kind]}: {parameters:.2f} M parameters, {training.step} steps of {BATCH} in {args.minutes:g} min")
        what = [f"eurosat/{part}" for part in ("accuracy", "distances", "spectrum")]
        record = evaluate(
            generator(model, images.classes, args.steps),
            args.data_root,
            what if kind == "class" else what[1:],
            EvaluationConfig(counts, seed=0),
            folder / f"evaluation-{args.steps}-{args.per_class}",
            progress=True,
        )
        made += [Figure(f"{KINDS[kind]}: {f.what}", f.value, noise=f.noise) for f in of_evaluation(record)]
        if ours is not None:
            times = record["eurosat/distances"]["frechet"]["ratio"] / ours
            made.append(Figure(f"{KINDS[kind]}: its Fréchet distance ÷ earthgen's", times, "≥ 2"))
    report(made, args)


if __name__ == "__main__":
    main()
