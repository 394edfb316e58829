"""One thread that owns the model, and who comes next.

Short works (a tile) are *units*: those who ask for the same one share it, and one that nobody waits for any more is
dropped. Long works (an image, an export) are *jobs*: they breathe between their steps, and then a waiting unit is done,
so that nobody's map stands still for somebody's export. Clients take turns in both lines.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

from earthgen.errors import EarthgenError

log = logging.getLogger(__name__)

Breathe = Callable[[], None]


class BusyError(EarthgenError):
    """There is too much to do. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CancelledError(EarthgenError):
    """The work was given up on purpose."""


class Job(Protocol):
    """A long work. `run` does not raise. It calls `breathe` often, which raises `CancelledError` if the server ends."""

    @property
    def client(self) -> str: ...

    def run(self, breathe: Breathe) -> None: ...


class Unit:
    """A short work that one or several wait for."""

    def __init__(self, key: Hashable, function: Callable[[], Any]) -> None:
        self.key, self.function = key, function
        self.future: Future[Any] = Future()
        self.waiting = 0

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.function())
        except BaseException as error:
            self.future.set_exception(error)


class Turns:
    """A line for each client; the clients take turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Any]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, client: str, item: Any) -> None:
        self._lines.setdefault(client, deque()).append(item)

    def next(self) -> Any:
        """Take out whose turn it is; None if nobody waits."""
        while self._lines:
            client, line = self._lines.popitem(last=False)
            item = line.popleft() if line else None
            if line:
                self._lines[client] = line
            if item is not None:
                return item
        return None

    def remove(self, item: Any) -> bool:
        """Whether it was there."""
        for line in self._lines.values():
            with suppress(ValueError):
                line.remove(item)
                return True
        return False

    def ahead(self, item: Any) -> int | None:
        """How many come before it; None if it is not there."""
        lines, count = [list(line) for line in self._lines.values()], 0
        for place in range(max(map(len, lines), default=0)):
            for line in lines:
                if place < len(line):
                    if line[place] is item:
                        return count
                    count += 1
        return None


class Worker:
    """See the module. Methods may be called from any thread."""

    def __init__(self, max_units: int = 64, max_jobs: int = 16) -> None:
        self.max_units, self.max_jobs = max_units, max_jobs
        self._wake = threading.Condition()
        self._units, self._jobs = Turns(), Turns()
        self._asked: dict[Hashable, Unit] = {}
        self.started = self._stopped = False
        self._thread = threading.Thread(target=self._run, name="earthgen-model", daemon=True)

    def start(self) -> None:
        """Begin to work, unless that was done before."""
        with self._wake:
            if not self.started and not self._stopped:
                self.started = True
                self._thread.start()
                # Python ends a thread that is within torch by unwinding it, which C++ answers by aborting the process.
                atexit.register(self.stop, None)

    def stop(self, timeout: float | None = 30.0) -> None:
        """End after what runs, where that takes no breath and does not `check`. What waits is given up.

        Args:
            timeout: Seconds to wait for it; None waits until it is done, as Python does in any case before it ends.
        """
        with self._wake:
            self._stopped = True
            for unit in self._asked.values():
                unit.future.cancel()
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            atexit.unregister(self.stop)

    @property
    def waiting(self) -> tuple[int, int]:
        """Units and jobs that wait."""
        with self._wake:
            return len(self._units), len(self._jobs)

    def ask(self, key: Hashable, function: Callable[[], Any], client: str) -> Unit:
        """Ask for `function()`, together with all who asked under `key`. Each who asked must `leave`.

        Raises:
            BusyError: Too many wait.
        """
        with self._wake:
            unit = self._asked.get(key)
            if unit is None:
                if self._stopped or len(self._units) >= self.max_units:
                    raise BusyError("the model is busy, come again")
                unit = self._asked[key] = Unit(key, function)
                self._units.add(client, unit)
                self._wake.notify()
            unit.waiting += 1
            return unit

    def leave(self, unit: Unit) -> None:
        """Wait no longer. A unit that nobody waits for is not begun."""
        with self._wake:
            unit.waiting -= 1
            if unit.waiting <= 0 and self._units.remove(unit):
                unit.future.cancel()
                self._forget(unit)

    def submit(self, job: Job) -> None:
        """Put a job into the line. Raises `BusyError` where too many wait."""
        with self._wake:
            if self._stopped or len(self._jobs) >= self.max_jobs:
                raise BusyError("too many works wait, come again", 30)
            self._jobs.add(job.client, job)
            self._wake.notify()

    def withdraw(self, job: Job) -> bool:
        """Take a job out of the line. Whether it was there, and so had not begun."""
        with self._wake:
            return self._jobs.remove(job)

    def ahead(self, job: Job) -> int | None:
        """Jobs that come before one; None if it does not wait."""
        with self._wake:
            return self._jobs.ahead(job)

    def breathe(self) -> None:
        """For jobs, on the worker's thread: do one unit that waits.

        Raises:
            CancelledError: The server ends.
        """
        with self._wake:
            unit = None if self._stopped else self._units.next()
        self.check()
        if unit is not None:
            self._do(unit)

    def check(self) -> None:
        """For what takes long without a breath: a unit, or a part of a job. Does nothing on another thread.

        Raises:
            CancelledError: The server ends.
        """
        if self._stopped and threading.current_thread() is self._thread:
            raise CancelledError("the server ends")

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopped or len(self._units) or len(self._jobs))
                if self._stopped:
                    return
                unit = self._units.next()
            if unit is not None:
                self._do(unit)
            with self._wake:
                job = self._jobs.next()
            if job is not None:
                try:
                    job.run(self.breathe)
                except Exception:
                    log.exception("a job let an error through")

    def _do(self, unit: Unit) -> None:
        unit.run()
        with self._wake:
            self._forget(unit)

    def _forget(self, unit: Unit) -> None:
        if self._asked.get(unit.key) is unit:
            del self._asked[unit.key]
