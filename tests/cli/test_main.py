"""Help, version, exit codes and messages."""

import os
import resource
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import earthgen
from earthgen.cli import train


def test_version(run) -> None:
    assert run("--version").stdout == f"earthgen {earthgen.__version__}\n"


COMMANDS = [
    "generate", "upscale", "window", "world", "app", "train", "weights", "weights verify", "evaluate", "dataset",
    *(f"dataset {task}" for task in ("detection", "segmentation", "classification", "captions", "change", "verify")),
]  # fmt: skip


@pytest.mark.parametrize("command", [[], *(c.split() for c in COMMANDS)])
def test_every_command_has_help(run, command: list[str]) -> None:
    for flag in ("--help", "-h"):
        result = run(*command, flag)
        assert result.exit_code == 0
        assert "Usage" in result.stdout


def test_help_shows_examples_that_run(run) -> None:
    assert "earthgen generate" in run("--help").stdout
    text = run("generate", "--help").stdout
    for option in ("--gsd", "--lat", "--lon", "--date", "--cloud-cover", "--known", "--seed", "--guidance", "--json"):
        assert option in text
    assert all(recipe in run("train", "--help").stdout for recipe in train.RECIPES)


def test_help_is_quick_in_a_process_of_its_own() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "earthgen.cli", "--help"], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout
    # Seconds of the processor, not of the clock, so that a busy machine passes too.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['earthgen', 'generate', '--help']\n"
        "from earthgen.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'torch', 'diffusers', 'transformers', 'rasterio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--no-such-option"], ["nothing"], ["generate", "--lat", "north"], ["weights", "nothing"], ["train"]],
)
def test_wrong_usage_is_exit_code_2(run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr


def test_errors_are_one_line_without_traceback(tmp_path: Path) -> None:
    arguments = ["generate", "a lake", "--lat", "91", "--lon", "0", "-o", str(tmp_path)]
    command = [sys.executable, "-m", "earthgen.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "earthgen: `lat` must be degrees north from -90 to 90, but got 91.0\n"


def test_bars_are_drawn_often_on_a_terminal_and_seldom_in_a_log(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from earthgen.cli import main\n"
        "def work():\n"
        "    from tqdm.auto import tqdm\n"
        "    for _ in tqdm(range(20)): time.sleep(0.05)\n"
        "main.app = work\n"
        "main.main()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}

    def drawn(stderr: int) -> None:
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stderr=stderr, timeout=60)

    with (tmp_path / "log").open("wb") as log:
        drawn(log.fileno())
    assert (tmp_path / "log").read_bytes().count(b"/20 ") == 2  # as it begins and as it ends
    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    drawn(stderr)
    assert os.read(terminal, 10_000).count(b"/20 ") > 4


class TestTrain:
    def test_arguments_reach_the_recipe(self, run, monkeypatch: pytest.MonkeyPatch) -> None:
        from types import ModuleType

        got: list[list[str]] = []
        module = ModuleType("earthgen.training.denoiser")
        module.main = got.append  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "earthgen.training.denoiser", module)
        monkeypatch.setattr(sys, "argv", ["earthgen"])
        result = run("train", "denoiser", "--output_dir", "x", "--max_train_steps", 3, "--help")
        assert result.exit_code == 0
        assert got == [["--output_dir", "x", "--max_train_steps", "3", "--help"]]

    @pytest.mark.parametrize("recipe", train.RECIPES)
    def test_every_recipe_explains_itself(self, run, monkeypatch, recipe: str) -> None:
        monkeypatch.setattr(sys, "argv", ["earthgen"])
        result = run("train", recipe, "--help")
        assert result.exit_code == 0, result.output
        assert f"usage: earthgen train {recipe}" in result.stdout

    def test_a_recipes_own_errors_are_exit_code_2(self, run, monkeypatch) -> None:
        monkeypatch.setattr(sys, "argv", ["earthgen"])
        result = run("train", "denoiser", "--no_such_flag")
        assert result.exit_code == 2
        assert "usage: earthgen train denoiser" in result.stderr

    def test_unknown_recipe(self, run) -> None:
        result = run("train", "everything")
        assert result.exit_code == 2
        wanted = "latents, autoencoder, denoiser, adapt, distillation, bundle"
        assert f"`RECIPE` must be one of {wanted}, but got 'everything'" in result.stderr

    def test_a_missing_extra_is_named(self, run, monkeypatch: pytest.MonkeyPatch) -> None:
        def lacking(name: str) -> None:
            raise ModuleNotFoundError("No module named 'accelerate'", name="accelerate")

        monkeypatch.setattr("importlib.import_module", lacking)
        result = run("train", "denoiser")
        assert result.exit_code == 1
        assert 'pip install "earthgen[train]"' in result.stderr
