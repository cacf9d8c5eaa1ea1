"""Every experiment of every method, each method in a process of its own, so that one that dies takes nothing along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from offprint.core.experiments._experiment import Profile
from offprint.core.experiments._files import make_writable
from offprint.core.experiments._registry import Method
from offprint.core.experiments._results import Result, read_result
from offprint.core.experiments._run import record_failure

SECONDS_TO_SAVE = 30.0
# XLA runs several LAPACK calls at once on the CPU. Where each of them uses every core, they fight, and a batch of
# small decompositions takes a hundred times as long. A value that the user has set is kept.
ONE_LAPACK_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
_WORKER = ("-P", "-u", "-X", "faulthandler", "-m", "offprint.core.experiments._worker")


@dataclass(frozen=True)
class Event:
    """An experiment has `started`, has been `taken` from the folder as it is, or has `ended` (well or not)."""

    kind: Literal["started", "taken", "ended"]
    name: str
    result: Result | None = None


Watch = Callable[[Event], None]


def reproduce(
    methods: Sequence[Method],
    out: Path,
    *,
    profile: Profile = "quick",
    jobs: int = 1,
    anew: bool = False,
    watch: Watch = lambda event: None,
) -> list[Result]:
    """Runs all experiments of the methods and returns their results, in the order of the methods.

    An experiment that finished earlier in the same folder, with the same config, profile and package version, is taken
    as it is. When a worker dies, the experiment that it was in is recorded as failed and a new worker goes on.

    Args:
        methods: from `methods()` or `find_method`.
        out: the results folder.
        profile: `quick` or `paper`.
        jobs: how many methods run side by side.
        anew: run everything, whatever the folder holds.
        watch: is told of every event as it happens.

    Raises:
        UsageError: where the folder cannot be written.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the workers have saved and ended.
    """
    make_writable(Path(out))
    try:
        return asyncio.run(_reproduce(methods, Path(out), profile, jobs, anew, watch))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _reproduce(
    methods: Sequence[Method], out: Path, profile: Profile, jobs: int, anew: bool, watch: Watch
) -> list[Result]:
    task = asyncio.current_task()
    with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel if task else lambda: None)
    slots = asyncio.Semaphore(jobs)
    environment = {**ONE_LAPACK_THREAD, **os.environ}
    if jobs > 1:  # else the first worker would take most of a GPU's memory
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    async def one(method: Method) -> None:
        async with slots:
            await _MethodRun(method, out, profile, anew, watch, environment).go()

    async with asyncio.TaskGroup() as group:
        for method in methods:
            group.create_task(one(method))
    return [read_result(out / method.name / listing.name) for method in methods for listing in method.experiments]


@dataclass
class _MethodRun:
    """The experiments of one method, through as many workers as it takes."""

    method: Method
    out: Path
    profile: Profile
    anew: bool
    watch: Watch
    environment: dict[str, str]
    waiting: list[str] = field(default_factory=list)
    current: str | None = None
    began: float = 0.0
    printed: int = 0  # how much the log held when the current experiment began

    @property
    def log(self) -> Path:
        """What the workers of the method print."""
        return self.out / self.method.name / "output.log"

    async def go(self) -> None:
        self.waiting = [listing.name for listing in self.method.experiments]
        make_writable(self.log.parent)
        with self.log.open("wb") as log:
            while self.waiting:
                count = len(self.waiting)
                code = await self._worker(log)
                if self.current is not None:
                    self._died_in([self.current], code)
                elif len(self.waiting) == count:  # it could not even begin, and neither would the next
                    self._died_in(list(self.waiting), code)

    async def _worker(self, log: BinaryIO) -> int:
        """Runs a worker to its end and returns its exit status, negative for a signal."""
        self.current, self.printed = None, self.log.stat().st_size
        plan = {
            "method": self.method.name,
            "experiments": self.waiting,
            "out": str(self.out.resolve()),
            "profile": self.profile,
            "anew": self.anew,
        }
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *_WORKER,
            json.dumps(plan),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env=self.environment,
            start_new_session=True,  # Ctrl-C reaches it through us alone
        )
        reading = asyncio.create_task(self._read(worker))
        try:
            while not reading.done() and worker.returncode is None:
                await asyncio.wait({reading}, timeout=0.5)
            if reading.done():
                await worker.wait()
            _kill(worker)  # children of a dead worker would keep its pipe open
            await reading
            return await worker.wait()
        except asyncio.CancelledError:
            await _end(worker)
            raise

    async def _read(self, worker: Process) -> None:
        assert worker.stdout is not None
        async for line in worker.stdout:
            event = json.loads(line)
            self._note(event["event"], event["experiment"])

    def _note(self, kind: Literal["started", "taken", "ended"], name: str) -> None:
        if kind == "started":
            self.current, self.began, self.printed = name, time.monotonic(), self.log.stat().st_size
            self.watch(Event(kind, f"{self.method.name}/{name}"))
        else:
            self.current = None
            self.waiting.remove(name)
            self.watch(Event(kind, f"{self.method.name}/{name}", read_result(self.out / self.method.name / name)))

    def _died_in(self, names: list[str], code: int) -> None:
        begun = self.current is not None
        failed = {
            "status": "failed",
            "error": _death(code),
            "traceback": self.log.read_bytes()[self.printed :].decode(errors="replace")[-20_000:] or None,
            "seconds": round(time.monotonic() - self.began, 3) if begun else None,
        }
        for listing in self.method.experiments:
            if listing.name in names:
                record_failure(self.method, listing, self.out, failed, profile=self.profile, begun=begun)
                self._note("ended", listing.name)


def _death(code: int) -> str:
    if code >= 0:
        return f"the process exited with status {code} in the middle of the experiment"
    name = signal.Signals(-code).name
    reason = " (the usual reason is that memory ran out)" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{reason}"


async def _end(worker: Process) -> None:
    """Lets the worker save and end, then makes it end."""
    if worker.stdin is not None:
        worker.stdin.close()
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.wait(), SECONDS_TO_SAVE)
    finally:  # also on a second Ctrl-C
        _kill(worker)


def _kill(worker: Process) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
    elif worker.returncode is None:
        worker.kill()
