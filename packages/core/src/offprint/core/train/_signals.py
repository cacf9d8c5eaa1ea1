"""Ctrl-C and SIGTERM as a wish that the loop grants at the end of a chunk."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was asked to end (Ctrl-C, SIGTERM). It finished its chunk, saved, and can go on from there."""


@contextmanager
def interruptions() -> Iterator[Callable[[], str | None]]:
    """Inside, the first SIGINT or SIGTERM is only noted (what is yielded tells its name); a second acts at once."""
    received: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # Python delivers signals to the main thread only
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
