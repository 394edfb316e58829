"""The suite runs commands, keeps what they measured, and tells change from noise."""

import json
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.metrics import bench, bench_plots
from earthgen.metrics.bench import compare, markdown, read_suite
from earthgen.metrics.bench_plots import draw, shortfall
from earthgen.metrics.evaluate import PARTS
from earthgen.metrics.figures import Figure
from earthgen.weights import BUNDLED

BENCHMARKS = Path(bench.__file__).resolve().parents[2] / "benchmarks"
SCRIPT = """
import json, pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--touch" in given:
    file = pathlib.Path(given["--touch"])
    file.write_text(file.read_text() + "." if file.exists() else ".")
if "--wait" in given:
    import time
    time.sleep(float(given["--wait"]))
if "--fail" in given:
    sys.exit(int(given["--fail"]))
print("said", given)
figure = {"what": "it", "value": float(given.get("--value", 1)), "aim": "≤ 2", "noise": 0.1, "reached": True}
pathlib.Path(given["--out"]).write_text(json.dumps({"figures": [figure]}))
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with one benchmark."""
    monkeypatch.setattr(bench, "machine", lambda: {"processor": "a", "threads": 1})
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "one.py").write_text(SCRIPT)
    return tmp_path


def _suite(checkout, quick=False, **entries):
    file = checkout / "benchmarks" / "suite.yaml"
    file.write_text(json.dumps({"quality": entries}))
    return read_suite(file, BUNDLED, checkout / "out", quick)


def test_commands_are_run_once_and_their_figures_kept(checkout):
    suite = _suite(checkout, a={"run": "benchmarks/one.py --touch {out}", "full": "--value 1.5"})
    (measurement,) = suite
    assert measurement.command == "python benchmarks/one.py --touch OUT --value 1.5"
    measurement = bench.Measurement(
        "quality", "a", (*measurement.words[:2], str(checkout / "n"), "--value", "1.5"), "c"
    )
    first = bench.run([measurement], BUNDLED, checkout / "out")
    entry = first["measurements"]["quality/a"]
    assert entry["figures"][0]["value"] == 1.5
    assert entry["seconds"] >= 0 and entry["date"] and entry["command"] == "c"
    assert len(first["model_sha256"]) == 64
    assert "said" in (checkout / "out" / "logs" / "quality-a.txt").read_text()
    assert bench.run([measurement], BUNDLED, checkout / "out") == first
    assert (checkout / "n").read_text() == "."
    bench.run([measurement], BUNDLED, checkout / "out", redo=True)
    other = bench.Measurement("quality", "a", measurement.words, "another command")
    bench.run([other], BUNDLED, checkout / "out")
    assert (checkout / "n").read_text() == "..."


def test_a_command_that_fails_does_not_stop_the_others_and_is_run_again(checkout):
    suite = _suite(checkout, a={"run": "benchmarks/one.py --fail 3"}, b={"run": "benchmarks/one.py --value 2"})
    report = bench.run(suite, BUNDLED, checkout / "out")
    assert report["measurements"]["quality/a"]["error"] == "ended with status 3"
    assert report["measurements"]["quality/b"]["figures"][0]["value"] == 2
    assert "FAILED: ended with status 3" in markdown(report)
    assert [p.name for p in (checkout / "out" / "measured").iterdir()] == ["quality-b.json"]
    (checkout / "out" / "measured" / "quality-b.json").write_text("{")  # cut short by something else
    assert "figures" in bench.run(suite, BUNDLED, checkout / "out")["measurements"]["quality/b"]


def test_ctrl_c_ends_the_command_and_keeps_what_is_finished(checkout):
    started = checkout / "started"
    suite = _suite(
        checkout,
        a={"run": "benchmarks/one.py"},
        b={"run": f"benchmarks/one.py --touch {started} --wait 600"},
    )

    main = threading.get_ident()

    def interrupt():
        while not started.exists():
            time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    threading.Thread(target=interrupt, daemon=True).start()
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.run(suite, BUNDLED, checkout / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 300
    assert [p.name for p in (checkout / "out" / "measured").iterdir()] == ["quality-a.json"]


def test_a_quick_run_has_its_own_commands(checkout):
    entries = {"a": {"run": "earthgen evaluate --model {model}", "full": "--x", "quick": "--y"},
               "b": {"run": "benchmarks/one.py {folder}", "quick": None}}  # fmt: skip
    full, quick = _suite(checkout, **entries), _suite(checkout, quick=True, **entries)
    assert [m.key for m in full] == ["quality/a", "quality/b"]
    assert [m.command for m in quick] == ["earthgen evaluate --model earthgen/mini --y"]
    assert full[0].words == ("-m", "earthgen.cli", "evaluate", "--model", "earthgen/mini", "--x")
    assert full[1].words[0] == str(checkout / "benchmarks" / "one.py")
    assert bench.chosen(full, ["quality/b"]) == [full[1]]
    assert bench.chosen(full, ["quality", "memory"]) == bench.chosen(full, None) == full
    with pytest.raises(ArgumentError, match="quality/a"):
        bench.chosen(full, ["beauty"])


@pytest.mark.parametrize(
    "content", ["- a", "quality: {a: {}}", "quality: {a: {run: 'x {nothing}'}}", "beauty: {a: {run: x}}", "[:"]
)
def test_a_damaged_suite_is_refused(checkout, content):
    (checkout / "benchmarks" / "suite.yaml").write_text(content)
    with pytest.raises(DataError, match=r"suite\.yaml"):
        read_suite(checkout / "benchmarks" / "suite.yaml", BUNDLED, checkout / "out")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(checkout):
    (checkout / "file").write_text("")
    with pytest.raises(OutputError):
        bench.run(_suite(checkout, a={"run": "benchmarks/one.py"}), BUNDLED, checkout / "file")


@pytest.mark.parametrize("quick", [False, True])
def test_the_shipped_suite_asks_only_for_what_there_is(tmp_path, quick):
    suite = read_suite(BENCHMARKS / "suite.yaml", BUNDLED, tmp_path, quick)
    assert {m.part for m in suite} == set(bench.PARTS)
    for m in suite:
        if m.words[0] == "-m":
            asked = [m.words[k + 1] for k, word in enumerate(m.words) if word == "--what"]
            assert asked and all(any(p == a or p.startswith(f"{a}/") for p in PARTS) for a in asked)
        else:
            source = Path(m.words[0]).read_text()
            assert all(f'"{word}"' in source for word in m.words if word.startswith("--")), m.command
            assert "add_out(" in source
        assert str(tmp_path) not in m.command and str(BENCHMARKS.parent) not in m.command


def _report(machine=None, command="c", part="quality", **values):
    figures = [Figure(*args).record() for args in values.pop("figures")]
    entry = {"command": command, "date": "2026-01-01", "seconds": 1.0, "figures": figures}
    return {"machine": machine or {"processor": "a"}, "model": "m", "model_sha256": "0" * 64,
            "measurements": {f"{part}/x": entry}}  # fmt: skip


def test_change_is_told_from_noise():
    old = _report(figures=[
        ("a", 1.0, "≤ 4", 0.1), ("b", 1.0, "≥ 1", 0.1), ("c", 5.0), ("d", "same", "same"), ("e", 1.0),
        ("f", 1.2, "1 ± 0.02", 0.01), ("g", 3.0, "", 0.0),
    ])  # fmt: skip
    new = _report(figures=[
        ("a", 1.2, "≤ 4", 0.1), ("b", 1.4, "≥ 1", 0.1), ("c", 6.0), ("d", "other", "same"), ("h", 1.0),
        ("f", 0.9, "1 ± 0.02", 0.01), ("g", 3.0, "", 0.0),
    ])  # fmt: skip
    changes, notes = compare(new, old)
    told = {c.what: (c.moved, c.better) for c in changes}
    assert told == {
        "a": (False, False), "b": (True, True), "c": (None, None), "d": (True, None), "f": (True, True),
        "g": (False, None),
    }  # fmt: skip
    assert notes == ["quality/x: h is new", "quality/x: e is gone"]
    text = markdown(new, old)
    assert "3 moved beyond their noise, 2 did not, 1 differ and have no known noise" in text
    assert "| quality/x: b | 1 | 1.4 | 0.28 | better |" in text


def test_what_cannot_be_compared_is_said():
    figures = [("a", 1.0, "≤ 4", 0.1)]
    old, fast = _report(figures=figures), _report({"processor": "b"}, part="throughput", figures=figures)
    assert compare(_report(command="d", figures=figures), old) == (
        [], ["quality/x: the stored command is another, c"],
    )  # fmt: skip
    assert len(compare(_report({"processor": "b"}, figures=figures), old)[0]) == 1
    slow = _report({"processor": "a"}, part="throughput", figures=figures)
    assert compare(fast, slow)[1] == ["throughput/x: the stored one is of another machine (processor)"]
    assert compare(fast, old)[1] == ["throughput/x: was not measured before"]


@given(st.floats(0.01, 100), st.floats(1.01, 10))
def test_shortfall_is_one_at_the_aim_and_grows_beyond_it(limit, factor):
    limit = round(limit, 2)
    for aim, better, worse in (
        (f"≤ {limit:.2f}", limit / factor, limit * factor), (f"≥ {limit:.2f}", limit * factor, limit / factor),
        (f"5 ± {limit:.2f}", 5 + limit / factor, 5 - limit * factor),
    ):  # fmt: skip
        assert shortfall(Figure("x", better, aim)) < 1 < shortfall(Figure("x", worse, aim))
        assert not Figure("x", worse, aim).reached
    assert shortfall(Figure("x", 1.0)) is None
    assert shortfall(Figure("x", "text", "text")) is None
    assert shortfall(Figure("x", 0.0, "≥ 1")) is None


def test_plots_are_drawn_and_the_same_for_the_same_report(tmp_path):
    bands = [(f"EuroSAT: power ÷ held-out real, {n}-{2 * n} px", 1 + n / 10, "0.9 to 1.1", 0.05) for n in (8, 4, 2)]
    classes = [(f"EuroSAT: {name} is seen as asked", 0.9, "", 0.02) for name in ("Forest", "River")]
    report = _report(figures=[("time, s", 2.0, "≤ 4", 0.1), ("perfect", 0.0, "1 ± 0.02"), *bands, *classes])
    stored = _report(figures=[("time, s", 8.0, "≤ 4", 0.1)])
    files = draw(report, tmp_path / "a", stored)
    assert [f.name for f in files] == ["aims.svg", "spectrum.svg", "classes.svg"]
    assert [f.read_bytes() for f in draw(report, tmp_path / "b", stored)] == [f.read_bytes() for f in files]
    assert all(f.stat().st_size < 100_000 for f in files)
    assert "time, s: 2 (aim ≤ 4)" in files[0].read_text()
    assert [f.name for f in draw(stored, tmp_path / "c")] == ["aims.svg"]
    assert bench_plots.GOOD in files[0].read_text() and bench_plots.SHORT in files[0].read_text()
