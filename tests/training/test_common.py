"""The loop that recipes share, on a model of one number: resuming, stopping, averaging, accumulating."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthgen.errors import ArgumentError, DataError
from earthgen.training.common import Batch, Recipe, Step, add_common_arguments, interruption, run


class Number(nn.Module):
    """One weight, to be fitted to random targets around 3."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self) -> Tensor:
        return self.value


def batch(step: Step) -> Batch:
    return {"target": torch.from_numpy(step.numpy().normal(3, 1, 4).astype(np.float32))}


def loss(model: nn.Module, given: Batch, step: Step) -> tuple[Tensor, dict[str, float]]:
    noise = torch.randn(4, generator=step.torch()) * 0.1
    value = (model() - given["target"] - noise).square().mean()
    return value, {"loss": float(value.detach())}


def train(out: Path, steps: int, *flags: object, **changes: object) -> Number:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    wanted = ["--output_dir", out, "--max_train_steps", steps, "--cpu", "--mixed_precision", "no", "--validation_steps"]
    wanted += [0, "--checkpointing_steps", 2, "--logging_steps", 1, "--lr_warmup_steps", 0, "--learning_rate", 0.05]
    args = parser.parse_args([str(a) for a in (*wanted, *flags)])
    model = run(args, Recipe(**({"name": "number", "model": Number(), "batch": batch, "loss": loss} | changes)))  # type: ignore[arg-type]
    assert isinstance(model, Number)
    return model


def checkpoints(out: Path) -> list[str]:
    return sorted(p.name for p in out.glob("*checkpoint-*"))


def stopping_at(index: int, stop: Callable[[], object]) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """The loss, but for something that happens in the middle of one step."""

    def stopped(model: nn.Module, given: Batch, step: Step) -> tuple[Tensor, dict[str, float]]:
        if step.index == index:
            stop()
        return loss(model, given, step)

    return stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_finishes_its_step_and_resumes_to_the_same_weights(
    tmp_path: Path, number: signal.Signals
) -> None:
    former = signal.getsignal(number)
    whole = train(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", 6, loss=stopping_at(2, lambda: signal.raise_signal(number)))
    assert signal.getsignal(number) is former
    assert checkpoints(tmp_path / "parts") == ["checkpoint-2", "checkpoint-3"]
    resumed = train(tmp_path / "parts", 6, "--resume_from_checkpoint", "latest")
    assert torch.equal(resumed.value, whole.value)
    steps = [json.loads(x)["step"] for x in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_signal_that_is_passed_on_twice_counts_once() -> None:
    with interruption() as interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted.is_set()


def test_asked_again_later_a_run_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("earthgen.training.common.time.monotonic", lambda: now[0])
    with interruption():
        signal.raise_signal(signal.SIGINT)
        now[0] = 10
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_may_be_in_another_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(tmp_path, 1))
    thread.start()
    thread.join()
    assert checkpoints(tmp_path) == ["checkpoint-1"]


def test_an_error_in_a_batch_or_a_loss_ends_the_run(tmp_path: Path) -> None:
    def broken(step: Step) -> Batch:
        raise DataError("the disk is gone")

    with pytest.raises(DataError, match="the disk is gone"):
        train(tmp_path, 3, batch=broken)


def test_only_the_newest_checkpoints_are_kept_and_unfinished_ones_are_not_resumed(tmp_path: Path) -> None:
    train(tmp_path, 7, "--checkpoints_total_limit", 3)
    assert checkpoints(tmp_path) == ["checkpoint-4", "checkpoint-6", "checkpoint-7"]
    (tmp_path / "partial-checkpoint-9").mkdir()
    train(tmp_path, 8, "--resume_from_checkpoint", "latest")
    assert "checkpoint-8" in checkpoints(tmp_path)


def test_resuming_wants_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to resume from"):
        train(tmp_path / "new", 2, "--resume_from_checkpoint", "latest")
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError, match="nowhere"):
        train(tmp_path / "new", 2, "--resume_from_checkpoint", tmp_path / "nowhere")
    train(tmp_path / "old", 2)
    with pytest.raises(ArgumentError, match="--resume_from_checkpoint"):
        train(tmp_path / "old", 4)
    named = train(tmp_path / "new", 4, "--resume_from_checkpoint", tmp_path / "old" / "checkpoint-2")
    assert torch.equal(named.value, train(tmp_path / "whole", 4).value)


def test_a_run_ends_when_its_time_is_up(tmp_path: Path) -> None:
    train(tmp_path, 1000, "--max_train_minutes", 1e-9)
    assert checkpoints(tmp_path) == ["checkpoint-1"]


def test_what_comes_out_is_the_running_mean(tmp_path: Path) -> None:
    last = train(tmp_path / "last", 20, "--ema_decay", 0)
    mean = train(tmp_path / "mean", 20, "--ema_decay", 0.9)
    assert 0 < mean.value.item() < last.value.item()


def test_validation_sees_the_running_mean_and_disturbs_nothing(tmp_path: Path) -> None:
    seen = {}

    def validate(model: nn.Module, step: int, folder: Path) -> dict[str, float]:
        assert isinstance(model, Number) and not model.training and folder == tmp_path / "a"
        seen[step] = model.value.item()
        return {"value": seen[step]}

    a = train(tmp_path / "a", 6, "--validation_steps", 3, validate=validate)
    b = train(tmp_path / "b", 6)
    assert list(seen) == [3, 6] and seen[6] == a.value.item() == b.value.item()


def test_accumulated_batches_count_as_one_large_batch(tmp_path: Path) -> None:
    def large(step: Step) -> Batch:
        return {"target": torch.cat([batch(Step(step.seed, 2 * step.index + i))["target"] for i in (0, 1)])}

    def exact(model: nn.Module, given: Batch, step: Step) -> tuple[Tensor, dict[str, float]]:
        value = (model() - given["target"]).square().mean()
        return value, {"loss": float(value.detach())}

    a = train(tmp_path / "a", 5, "--gradient_accumulation_steps", 2, loss=exact)
    b = train(tmp_path / "b", 5, batch=large, loss=exact)
    assert torch.allclose(a.value, b.value, atol=1e-6)
    figures = [json.loads(x) for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [f["step"] for f in figures] == [1, 2, 3, 4, 5] and all(f["grad_norm"] > 0 for f in figures)


def test_a_run_says_what_it_does_and_nothing_of_each_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own would hide what a terminal shows
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    train(tmp_path, 2)
    train(tmp_path, 3, "--resume_from_checkpoint", "latest")
    out, err = capfd.readouterr()
    assert "number:" in err, "the progress bar"
    assert f"resumed from {tmp_path / 'checkpoint-2'}" in err
    assert not any(word in out + err for word in ("saved in", "Saving", "state"))


def test_randomness_belongs_to_its_place() -> None:
    places = [Step(0, 0), Step(1, 0), Step(0, 1), Step(0, 0, rank=1)]
    numbers = [p.numpy().random() for p in places] + [p.numpy(2).random() for p in places]
    tensors = [float(torch.rand(1, generator=p.torch())) for p in places]
    assert len({*numbers}) == 8 and len({*tensors}) == 4
    assert Step(1, 0).numpy().random() == numbers[1]
    assert float(torch.rand(1, generator=Step(1, 0).torch())) == tensors[1]
