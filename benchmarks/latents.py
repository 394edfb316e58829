"""Which latent does a denoiser learn most from in equal time? One row of the table in weights.md for each autoencoder.

    python benchmarks/latents.py --autoencoders runs/ae4/autoencoder runs/ae8/autoencoder \\
        --classifier ~/.cache/earthgen/eurosat --work runs/latent-comparison

For each: what a judge trained on real images makes of reconstructions of held-out EuroSAT, which bounds what any
denoiser can reach (`--steps 0` stops there); then the same denoiser is trained for the same number of steps on its
latents of the same EuroSAT images, and the judge sees its images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from earthgen import Conditions
from earthgen.data.base import Sample
from earthgen.data.captions import class_prompt
from earthgen.data.mixture import readers
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.distances import frechet_distance
from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.output.sheet import contact_sheet
from earthgen.pipelines import EarthPipeline
from earthgen.precision import native_dtype
from earthgen.text import load_text_encoder
from earthgen.training import denoiser, latents
from earthgen.training.autoencoder import to_images, to_tensor


def floor(
    autoencoder: EarthAutoencoder, judge: Classifier, samples: list[Sample], others: np.ndarray
) -> dict[str, float]:
    """PSNR in dB, the judge's accuracy on reconstructions, and their Fréchet distance to other real images."""
    images = np.stack([s.image for s in samples])
    with torch.inference_mode():
        y = np.concatenate([to_images(autoencoder(to_tensor(list(x))).sample) for x in np.array_split(images, 10)])
    mse = ((y.astype(float) - images) ** 2).mean((1, 2, 3))
    seen = [judge.classes[i] for i in judge.predict(y)]
    return {
        "psnr_dB": float((10 * np.log10(255**2 / mse)).mean()),
        "reconstructed accuracy": float(np.mean([a == s.facts.label for a, s in zip(seen, samples, strict=True)])),
        "reconstructed frechet": frechet_distance(judge.features(y), judge.features(others)),
    }


def generate(pipe: EarthPipeline, labels: list[str], places: list[tuple[float, float]], guidance: float) -> np.ndarray:
    """One 64 px EuroSAT-like image a label, uint8 (n, 64, 64, 3)."""
    out = []
    for start in range(0, len(labels), 64):
        rows = range(start, min(start + 64, len(labels)))
        wanted = [
            Conditions(text=class_prompt(labels[i]), gsd=10, lat=places[i][0], lon=places[i][1], cloud_cover=0)
            for i in rows
        ]
        generators = [torch.Generator().manual_seed(i) for i in rows]
        images = pipe(
            conditions=wanted, height=64, width=64, guidance_scale=guidance, generator=generators, output_type="np"
        )
        out.append((images.images * 255).round().astype(np.uint8))
    return np.concatenate(out)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--autoencoders", type=Path, nargs="+", required=True)
    p.add_argument("--classifier", type=Path, required=True)
    p.add_argument("--data_root", type=Path, default=None)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--steps", type=int, default=450, help="of 64 images: equal time, as the network is the same")
    p.add_argument("--scale", type=float, default=0.2, help="share of the usual number of cached views")
    p.add_argument("--preset", default="mini")
    args = p.parse_args()
    real = readers(args.data_root, "test", ["eurosat"])["eurosat"]
    picks = np.random.default_rng(0).permutation(len(real))[:2000]
    held_out = [real[int(i)] for i in picks[:1000]]
    others = np.stack([real[int(i)].image for i in picks[1000:]])
    samples = held_out[:500]
    images = np.stack([s.image for s in samples])
    judge = Classifier.load(args.classifier)
    latents.RECORDS[64] = {"eurosat": latents.RECORDS[64]["eurosat"]}
    rows = []
    for folder in args.autoencoders:
        autoencoder = EarthAutoencoder.from_pretrained(folder).eval()
        row = {"latent": folder.parent.name, "channels": autoencoder.config.latent_channels}
        row |= floor(autoencoder, judge, held_out, others)
        rows.append(row)
        if not args.steps:
            continue
        work = args.work / folder.parent.name
        root = [] if args.data_root is None else ["--data_root", str(args.data_root)]
        latents.main(
            [
                *root,
                "--autoencoder",
                str(folder),
                "--output_dir",
                str(work / "latents"),
                "--sizes",
                "64",
                "--scale",
                str(args.scale),
            ]
        )
        if not (work / "unet").is_dir():
            flags = [
                "--latents",
                work / "latents",
                "--autoencoder",
                folder,
                "--output_dir",
                work,
                "--preset",
                args.preset,
            ]
            flags += ["--max_train_steps", args.steps, "--lr_warmup_steps", 100, "--learning_rate", 1e-3]
            flags += ["--validation_steps", 0, "--logging_steps", 25, "--checkpointing_steps", 10_000]
            denoiser.main([str(f) for f in flags])
        unet = EarthUNet.from_pretrained(work / "unet").eval()
        pipe = EarthPipeline(unet, autoencoder, *load_text_encoder(), FlowMatchEulerDiscreteScheduler())
        pipe.set_progress_bar_config(disable=True)
        pipe.unet.to(native_dtype())
        labels = [s.facts.label for s in samples]
        for guidance in (1.0, 2.5):
            made = generate(pipe, labels, [(s.lat, s.lon) for s in samples], guidance)
            seen = [judge.classes[i] for i in judge.predict(made)]
            row[f"accuracy@{guidance:g}"] = float(np.mean([a == b for a, b in zip(seen, labels, strict=True)]))
            row[f"frechet@{guidance:g}"] = frechet_distance(judge.features(made), judge.features(images))
            contact_sheet(list(made[:40]), labels[:40], columns=8, cell=128).save(work / f"sheet-{guidance:g}.png")
        (work / "result.json").write_text(json.dumps(row, indent=2) + "\n")
    keys = list(rows[0])
    print("| " + " | ".join(keys) + " |\n|" + "---|" * len(keys))
    for row in rows:
        print("| " + " | ".join(v if isinstance(v, str) else f"{v:.3g}" for v in row.values()) + " |")


if __name__ == "__main__":
    main()
