"""What the recipes share: flags as in diffusers' examples, and one training loop on accelerate.

A batch and all the randomness of a step are pure functions of (seed, step, process), never of generator state, so a
run that was killed and resumed takes exactly the steps that an undisturbed one would have taken.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import ProjectConfiguration
from diffusers import DPMSolverMultistepScheduler
from diffusers.models.modeling_utils import ModelMixin
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm.auto import tqdm

from earthgen.errors import ArgumentError, DataError
from earthgen.models import EarthUNet
from earthgen.pipelines.folders import Network, load_network
from earthgen.precision import native_dtype
from earthgen.training.muon import Muon

log = logging.getLogger("earthgen.training")


def scheduler_that_ships() -> DPMSolverMultistepScheduler:
    """Of second order, between noise levels that are even before a shift."""
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.5)


Batch = dict[str, Any]
Loss = Callable[[nn.Module, Batch, "Step"], tuple[Tensor, dict[str, float]]]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags every recipe has, named as in diffusers' training examples."""
    add = parser.add_argument
    add("--output_dir", type=Path, required=True, help="where checkpoints, samples and the trained model go")
    add("--seed", type=int, default=0, help="seed of initial weights, batches and noise")
    add("--max_train_steps", type=int, default=10_000, help="optimizer steps in all, resumed ones included")
    add("--max_train_minutes", type=float, default=None, help="stop, checkpoint and export after this long")
    add("--gradient_accumulation_steps", type=int, default=1)
    add("--optimizer", choices=["adamw", "muon"], default="adamw", help="muon: for the weights between features")
    add("--learning_rate", type=float, default=5e-4)
    add(
        "--lr_scheduler", default="constant_with_warmup", help="a diffusers schedule: constant_with_warmup, cosine, ..."
    )
    add("--lr_warmup_steps", type=int, default=200)
    add("--adam_beta1", type=float, default=0.9)
    add("--adam_beta2", type=float, default=0.99)
    add("--adam_weight_decay", type=float, default=0.0)
    add("--max_grad_norm", type=float, default=1.0)
    native = "bf16" if native_dtype() == torch.bfloat16 else "no"
    add("--mixed_precision", choices=["no", "bf16"], default=native, help="default: bf16 where the machine computes so")
    add("--ema_decay", type=float, default=0.999, help="the exported weights are this running mean")
    add("--checkpointing_steps", type=int, default=1000)
    add("--checkpoints_total_limit", type=int, default=2)
    add("--resume_from_checkpoint", default=None, help='a checkpoint folder, or "latest"; an error if there is none')
    add("--validation_steps", type=int, default=1000, help="steps between sample sheets; 0 for none")
    add("--report_to", default=None, help="a tracker accelerate knows: tensorboard, wandb, ...")
    add("--logging_steps", type=int, default=50, help="steps between lines of metrics.jsonl")
    add("--cpu", action="store_true", help="train on the CPU even where there is a GPU")


def network_of(kind: type[Network], argument: str, folder: Path, dtype: torch.dtype = torch.float32) -> Network:
    """The network in the folder that a flag names.

    Raises:
        ArgumentError: It holds no network of this kind.
        WeightsError: The network's weights are absent, damaged or not its own.
    """
    try:
        found = json.loads((folder / "config.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != kind.__name__:
        part = "unet" if kind is EarthUNet else "vae"
        rule = f"must be a folder that an {kind.__name__} was saved to, such as `{part}` in a model folder"
        raise ArgumentError(argument, rule, str(folder))
    return load_network(kind, folder, dtype)


@dataclass(frozen=True)
class Step:
    """One step's place in the run, and the randomness that belongs to it."""

    seed: int
    index: int
    rank: int = 0

    def numpy(self, stream: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.index, self.rank, stream])

    def torch(self, stream: int = 1) -> torch.Generator:
        """A CPU generator: the same numbers whatever device trains."""
        state = np.random.SeedSequence([self.seed, self.index, self.rank, stream]).generate_state(2, np.uint32)
        return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


@dataclass
class Recipe:
    """What distinguishes one recipe from another."""

    name: str
    model: nn.Module
    batch: Callable[[Step], Batch]
    """Builds the batch of a micro-step, on the CPU, in a background thread."""
    loss: Loss
    """The loss of a batch and figures to log. Called under autocast, with the (possibly wrapped) model."""
    hidden: Sequence[nn.Parameter] = ()
    """What `--optimizer muon` gives to Muon: see `earthgen.training.muon`."""
    validate: Callable[[nn.Module, int, Path], dict[str, float]] | None = None
    """Writes a sample sheet of the averaged model into a folder and returns figures to log."""


def newest_checkpoint(output_dir: Path) -> Path | None:
    """The `checkpoint-<step>` folder with the highest step, if any. Unfinished ones have another name."""
    found = [p for p in output_dir.glob("checkpoint-*") if p.name.rsplit("-", 1)[1].isdigit()]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)


def _resume_path(args: argparse.Namespace) -> Path | None:
    if args.resume_from_checkpoint is None:
        if newest_checkpoint(args.output_dir):
            rule = "must be a folder without checkpoints, unless --resume_from_checkpoint says to go on from them"
            raise ArgumentError("output_dir", rule, str(args.output_dir))
        return None
    path = (
        newest_checkpoint(args.output_dir)
        if args.resume_from_checkpoint == "latest"
        else Path(args.resume_from_checkpoint)
    )
    if path is None or not path.is_dir():
        raise DataError(f"nothing to resume from: no checkpoint `{args.resume_from_checkpoint}` in {args.output_dir}")
    return path


def _save(accelerator: Accelerator, output_dir: Path, step: int, keep: int) -> None:
    final = output_dir / f"checkpoint-{step}"
    if final.exists():
        return
    partial = output_dir / f"partial-checkpoint-{step}"
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(final)
        done = [p for p in output_dir.glob("checkpoint-*") if p.name.rsplit("-", 1)[1].isdigit()]
        for old in sorted(done, key=lambda p: int(p.name.rsplit("-", 1)[1]))[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a step is never cut in two. Asked again, the run ends at once."""
    asked = threading.Event()
    first = time.monotonic()

    def note(_number: int, _frame: object) -> None:
        nonlocal first
        if not asked.is_set():
            first = time.monotonic()
            asked.set()
        elif time.monotonic() - first > 3:  # sooner, it is what a launcher passes on of the first
            raise KeyboardInterrupt

    # Python lets only the main thread handle signals.
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    former = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def run(args: argparse.Namespace, recipe: Recipe) -> nn.Module:
    """Train `recipe.model` as the flags say and return it on the CPU with its averaged weights.

    Raises:
        ArgumentError: The output folder holds checkpoints and nothing says to resume from them.
        DataError: There is nothing to resume from.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the step then in progress is finished and kept in a checkpoint.
    """
    project = ProjectConfiguration(project_dir=str(args.output_dir), logging_dir=str(args.output_dir / "logs"))
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=args.report_to,
        project_config=project,
        cpu=args.cpu,
    )
    logging.basicConfig(format="%(message)s")  # others' warnings; of our own, what happens too
    log.setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    resume = _resume_path(args)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    record = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    if accelerator.is_main_process:
        (args.output_dir / f"{recipe.name}.json").write_text(json.dumps(record, indent=2) + "\n")
    if args.report_to:
        accelerator.init_trackers("earthgen-" + recipe.name, config=record)

    recipe.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = accelerator.device.type in ("cuda", "cpu")
    optimizer = Muon(
        recipe.model.parameters(),
        recipe.hidden if args.optimizer == "muon" else (),
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        weight_decay=args.adam_weight_decay,
        fused=fused,
    )
    schedule = get_scheduler(
        args.lr_scheduler,
        optimizer,
        num_warmup_steps=args.lr_warmup_steps * accelerator.num_processes,
        num_training_steps=args.max_train_steps * accelerator.num_processes,
    )
    model, optimizer, schedule = accelerator.prepare(recipe.model, optimizer, schedule)
    bare = accelerator.unwrap_model(model)
    # The average starts fast and slows down, so that early weights do not linger.
    ema = EMAModel(bare.parameters(), decay=args.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)
    step = 0
    if resume is not None:
        accelerator.load_state(str(resume))
        step = int(resume.name.rsplit("-", 1)[1])
        log.info("resumed from %s", resume)

    metrics_file = args.output_dir / "metrics.jsonl"
    started = time.monotonic()
    accumulate = args.gradient_accumulation_steps
    bar = tqdm(
        total=args.max_train_steps,
        initial=step,
        desc=recipe.name,
        disable=not accelerator.is_main_process,
        mininterval=10,
    )
    sums: dict[str, float] = {}
    counted = 0

    def place(micro: int) -> Step:
        return Step(args.seed, micro, accelerator.process_index)

    with ThreadPoolExecutor(1) as prefetch, interruption() as interrupted:
        micro = step * accumulate
        pending = prefetch.submit(recipe.batch, place(micro))
        model.train()
        try:
            while step < args.max_train_steps:
                batch = {
                    k: v.to(accelerator.device, non_blocking=True) if isinstance(v, Tensor) else v
                    for k, v in pending.result().items()
                }
                here = place(micro)
                micro += 1
                pending = prefetch.submit(recipe.batch, place(micro))
                with accelerator.accumulate(model):
                    with accelerator.autocast():
                        loss, figures = recipe.loss(model, batch, here)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        figures["grad_norm"] = float(
                            accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
                        )
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad(set_to_none=True)
                for key, value in figures.items():
                    sums[key] = sums.get(key, 0.0) + value
                    sums["n_" + key] = sums.get("n_" + key, 0.0) + 1
                counted += 1
                if not accelerator.sync_gradients:
                    continue
                ema.step(bare.parameters())
                step += 1
                bar.update()
                if step % args.logging_steps == 0:
                    means = {k: v / sums["n_" + k] for k, v in sums.items() if not k.startswith("n_")}
                    line = {"step": step, "seconds": round(time.monotonic() - started, 1), **means}
                    sums.clear()
                    bar.set_postfix({k: f"{v:.4f}" for k, v in list(means.items())[:3]}, refresh=False)
                    if accelerator.is_main_process:
                        with metrics_file.open("a") as f:
                            f.write(json.dumps({k: round(v, 5) for k, v in line.items()}) + "\n")
                    accelerator.log(means, step=step)
                if step % args.checkpointing_steps == 0:
                    _save(accelerator, args.output_dir, step, args.checkpoints_total_limit)
                if args.validation_steps and step % args.validation_steps == 0:
                    _validate(accelerator, recipe, bare, ema, step, args.output_dir)
                late = args.max_train_minutes and time.monotonic() - started > 60 * args.max_train_minutes
                if late or interrupted.is_set():
                    accelerator.set_trigger()
                # All processes stop after the same step, whichever of them was told to.
                if accelerator.check_trigger():
                    break
        finally:
            pending.cancel()
            bar.close()
        _save(accelerator, args.output_dir, step, args.checkpoints_total_limit)
        if interrupted.is_set():
            accelerator.end_training()
            raise KeyboardInterrupt
    ema.copy_to(bare.parameters())
    accelerator.end_training()
    return bare.cpu().eval()


def export(model: ModelMixin, folder: Path) -> None:
    """Write a trained model for `from_pretrained`. Where several processes trained it, one of them writes."""
    if PartialState().is_main_process:
        model.save_pretrained(folder)


def _validate(
    accelerator: Accelerator, recipe: Recipe, bare: nn.Module, ema: EMAModel, step: int, output_dir: Path
) -> None:
    if recipe.validate is not None and accelerator.is_main_process:
        ema.store(bare.parameters())
        ema.copy_to(bare.parameters())
        bare.eval()
        try:
            with torch.inference_mode(), accelerator.autocast():
                figures = recipe.validate(bare, step, output_dir)
        finally:
            ema.restore(bare.parameters())
            bare.train()
        log.info("step %d: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
        accelerator.log({f"validation/{k}": v for k, v in figures.items()}, step=step)
    accelerator.wait_for_everyone()
