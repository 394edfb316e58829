"""Rows made by several processes at once; they end with the one that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from earthgen.cli import models
from earthgen.dataset.config import Config
from earthgen.dataset.maker import Maker, Outcome
from earthgen.errors import EarthgenError, OutputError


def made(config: Config, folder: Path, indices: Sequence[int], workers: int) -> Generator[Outcome, None, None]:
    """Make rows, in this process or in `workers` others, and give each outcome once its record is on disk.

    Close the iterator to stop: other processes are ended at once, and what they had not finished counts as not begun.

    Raises:
        OutputError: A file cannot be written.
        EarthgenError: A worker died.
    """
    if workers == 1:
        yield from _made_here(config, folder, indices)
    else:
        yield from _made_there(config, folder, list(indices), min(workers, len(indices)))


def _made_here(config: Config, folder: Path, indices: Sequence[int]) -> Generator[Outcome, None, None]:
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        maker = Maker(config, folder)
        for index in indices:
            yield maker.make(index)
    finally:
        torch.set_num_threads(before)


def _made_there(config: Config, folder: Path, indices: list[int], workers: int) -> Generator[Outcome, None, None]:
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads half alive
    waiting = iter(indices)
    running: dict[Any, Any] = {}  # each connection with its process
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, config, folder), daemon=True)
            process.start()
            theirs.close()  # so that the pipe ends when the worker does
            running[ours] = process
            _hand(ours, next(waiting, None))
        while running:
            ready: list[Any] = wait(list(running))
            for connection in ready:
                try:
                    kind, answer = connection.recv()
                except (EOFError, OSError):
                    process = running[connection]
                    process.join()
                    if process.exitcode == 0:
                        del running[connection]
                        continue
                    raise EarthgenError(
                        f"a worker ended with exit code {process.exitcode}, perhaps for want of memory: try fewer "
                        "workers; what is done is kept, and the same command goes on there"
                    ) from None
                if kind is not None:
                    raise kind(answer)
                _hand(connection, next(waiting, None))
                yield answer
    finally:
        for process in running.values():
            process.kill()
        for connection, process in running.items():
            process.join()
            connection.close()


def _hand(connection: Connection, index: int | None) -> None:
    with suppress(OSError):  # it died; reading from it says so
        connection.send(index)


def _serve(connection: Connection, config: Config, folder: Path) -> None:
    """What a worker does: rows as they are handed to it, until it is handed None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a worker that is ended would leave behind
    torch.set_num_threads(config.threads)
    models.hush()
    try:
        maker = Maker(config, folder)
        while (index := connection.recv()) is not None:
            connection.send((None, maker.make(index)))
    except EOFError:
        return
    except EarthgenError as error:
        connection.send((OutputError if isinstance(error, OutputError) else EarthgenError, str(error)))
    except Exception:
        connection.send((RuntimeError, traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
