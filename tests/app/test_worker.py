"""One thread, asked by many: shared works, fair turns, works that nobody waits for, jobs that let others in."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.app.worker import BusyError, CancelledError, Turns, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(max_units=4, max_jobs=2)
    made.start()
    yield made
    made.stop()


class Held:
    """Keeps the worker busy until it is let go."""

    def __init__(self, worker: Worker) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.unit = worker.ask("held", self._work, "holder")
        assert self.begun.wait(10)

    def _work(self) -> None:
        self.begun.set()
        self.go.wait(10)


class Steps:
    """A job of some steps."""

    def __init__(self, client: str, note: Any, steps: int = 1) -> None:
        self.client, self.note, self.steps = client, note, steps
        self.done = threading.Event()

    def run(self, breathe: Any) -> None:
        try:
            for n in range(self.steps):
                self.note((self.client, n))
                breathe()
        except CancelledError:
            self.note("cancelled")
        self.done.set()


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_turns_go_around_and_keep_each_clients_order(clients: list[str]) -> None:
    turns = Turns()
    for n, client in enumerate(clients):
        turns.add(client, (client, n))
    order = list(iter(turns.next, None))
    assert sorted(order) == sorted((c, n) for n, c in enumerate(clients))
    for client in "abc":
        numbers = [n for c, n in order if c == client]
        assert numbers == sorted(numbers)
    # In any round, nobody comes twice before all who wait came once.
    counts = {client: clients.count(client) for client in set(clients)}
    for place in range(max(counts.values(), default=0)):
        at = sum(min(place, n) for n in counts.values())
        there = {client for client, n in counts.items() if n > place}
        assert {client for client, _ in order[at : at + len(there)]} == there


def test_ahead_counts_those_who_come_before() -> None:
    turns = Turns()
    items = {name: object() for name in ("a1", "a2", "b1")}
    for name, item in items.items():
        turns.add(name[0], item)
    assert [turns.ahead(items[n]) for n in ("a1", "b1", "a2")] == [0, 1, 2]
    assert turns.ahead(object()) is None


def test_who_asks_for_the_same_shares_one_work(worker: Worker) -> None:
    held, calls = Held(worker), []
    units = [worker.ask("tile", lambda: calls.append(1) or len(calls), name) for name in "abc"]
    held.go.set()
    assert [unit.future.result(10) for unit in units] == [1, 1, 1]
    assert units[0] is units[2]


def test_what_nobody_waits_for_is_not_begun(worker: Worker) -> None:
    held, calls = Held(worker), []
    first, second = (worker.ask("left", lambda: calls.append(1), name) for name in "ab")
    worker.leave(first)
    assert worker.waiting[0] == 1
    worker.leave(second)
    assert worker.waiting[0] == 0 and second.future.cancelled()
    held.go.set()
    assert worker.ask("after", lambda: 5, "a").future.result(10) == 5
    assert calls == []


def test_a_full_line_is_refused_and_errors_reach_who_asked(worker: Worker) -> None:
    held = Held(worker)
    for n in range(4):
        worker.ask(n, lambda: 1 / 0, "a")
    with pytest.raises(BusyError) as refused:
        worker.ask("one more", lambda: 0, "b")
    assert refused.value.retry_after > 0
    unit = worker.ask(3, lambda: 0, "b")  # joins, so it is not one more
    held.go.set()
    with pytest.raises(ZeroDivisionError):
        unit.future.result(10)


def test_jobs_let_waiting_units_in_at_each_step(worker: Worker) -> None:
    held, order = Held(worker), []
    job = Steps("a", order.append, steps=3)
    worker.submit(job)
    for n in range(2):
        worker.ask(n, lambda n=n: order.append(n), "b")
    held.go.set()
    assert job.done.wait(10)
    assert order == [("a", 0), 0, ("a", 1), 1, ("a", 2)]


def test_jobs_of_clients_take_turns_and_too_many_are_refused(worker: Worker) -> None:
    held, order = Held(worker), []
    jobs = [Steps("a", order.append), Steps("b", order.append)]
    for job in jobs:
        worker.submit(job)
    with pytest.raises(BusyError):
        worker.submit(Steps("c", order.append))
    assert worker.ahead(jobs[1]) == 1
    assert worker.withdraw(jobs[0]) and not worker.withdraw(jobs[0])
    held.go.set()
    assert jobs[1].done.wait(10)
    assert order == [("b", 0)]


def test_stopping_ends_a_job_and_gives_up_who_waits() -> None:
    worker, order = Worker(), []
    worker.start()
    job = Steps("a", lambda what: (order.append(what), time.sleep(0.02)), steps=10_000)
    worker.submit(job)
    while not order:
        time.sleep(0.01)
    worker.stop(10)
    assert job.done.is_set() and order[-1] == "cancelled"
    with pytest.raises(BusyError):
        worker.ask("late", lambda: 0, "a")


def test_a_check_ends_a_unit_of_a_server_that_ends_and_no_other_thread() -> None:
    worker, looked = Worker(), []
    worker.start()

    def work() -> None:
        while True:
            looked.append(1)
            worker.check()
            time.sleep(0.01)

    unit = worker.ask("long", work, "a")
    while not looked:
        time.sleep(0.01)
    worker.stop(10)
    with pytest.raises(CancelledError, match="ends"):
        unit.future.result(0)
    worker.check()


WITHIN_TORCH = """
import sys, threading, time
import torch
from earthgen.app.worker import Worker

torch.set_num_threads(1)
begun = threading.Event()

class Job:
    client = ""

    def run(self, breathe):
        image, end = torch.ones(1, 32, 256, 256), time.monotonic() + 1
        begun.set()
        while time.monotonic() < end:
            torch.nn.functional.conv2d(image, torch.ones(32, 32, 3, 3))
        print("ended", flush=True)

worker = Worker()
worker.submit(Job())
worker.start()
begun.wait()
if "stop" in sys.argv:
    worker.stop(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["stop"]], ids=["never stopped", "stopped, but late"])
def test_python_ends_after_the_thread_and_not_within_it(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", WITHIN_TORCH, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
