"""Batches from a host iterator, for data that do not fit into the device's memory."""

import base64
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


class StreamError(RuntimeError):
    """A stream that ended too early, or whose batches do not look alike."""


class Stream:
    """Batches from any iterable on the host, read ahead by a thread of its own.

    The position in the stream is part of every checkpoint. An iterator with `get_state` and `set_state`
    (those of grain have them) is put back to it directly; any other is started anew and passed over up to
    where the run stands, which gives the same batches if the iterable gives the same ones every time.

    Args:
        source: gives batches, pytrees of arrays that all have the same shapes. It must give as many as the run
            has steps: repeat it without end if in doubt.
        prefetch: batches that are read ahead.
    """

    def __init__(self, source: Iterable[PyTree], *, prefetch: int = 64):
        if not isinstance(source, Iterable):
            raise TypeError(f"a stream is made from an iterable of batches, but a {type(source).__name__} was given")
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, but is {prefetch}")
        self.source = source
        self.prefetch = prefetch

    def reader(self, step: int = 0, position: Any = None) -> "StreamReader":
        """Start to read at `step`, whose `position` an earlier reader told (None: it is not known)."""
        iterator = iter(self.source)
        if position is not None and hasattr(iterator, "set_state"):
            iterator.set_state(_from_json(position))
        elif step and next(itertools.islice(iterator, step - 1, step), None) is None:
            raise StreamError(
                f"the stream ended before step {step}, where the run goes on; "
                "an iterator that was used up cannot be started anew: give an iterable that can"
            )
        return StreamReader(iterator, step, self.prefetch)


class StreamReader:
    """A stream that is being read: takes batches off a queue that a thread fills."""

    def __init__(self, iterator: Iterator[PyTree], step: int, prefetch: int):
        self.step = step
        self.position: Any = None  # of the next batch, as JSON, where the iterator can tell
        self._shapes: Any = None
        self._held: Any = None  # a batch that was looked at before it was taken
        self._queue: queue.Queue = queue.Queue(prefetch)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(iterator,), name="offprint-stream", daemon=True)
        self._thread.start()

    def _fill(self, iterator: Any) -> None:
        tells = hasattr(iterator, "get_state") and hasattr(iterator, "set_state")
        try:
            for batch in iterator:
                if not self._put((batch, _to_json(iterator.get_state()) if tells else None)):
                    return
            self._put(StopIteration())
        except BaseException as error:  # handed on to whoever takes the next batch
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def peek(self) -> PyTree:
        """The next batch as `take(1)` would give it, without taking it."""
        step, position = self.step, self.position
        batch = self.take(1)
        self._held, self.step, self.position = (
            (jax.tree.map(lambda x: x[0], batch), self.position),
            step,
            position,
        )
        return batch

    def take(self, num: int) -> PyTree:
        """The next `num` batches, stacked along a new leading axis, on the host.

        Raises:
            StreamError: if the stream ends, or a batch's structure or shapes differ from the first one's.
        """
        batches = []
        for _ in range(num):
            item, self._held = self._held or self._queue.get(), None
            if isinstance(item, StopIteration):
                raise StreamError(
                    f"the stream ended after {self.step} batches, before the run did; "
                    "repeat the stream, or ask for fewer steps"
                )
            if isinstance(item, BaseException):
                raise item
            batch, self.position = item
            batch = jax.tree.map(np.asarray, batch)
            shapes = jax.tree.map(lambda x: f"{x.dtype}{x.shape}", batch)
            if self._shapes is None:
                self._shapes = shapes
            if shapes != self._shapes:
                raise StreamError(
                    f"batch {self.step} of the stream has the shapes {shapes}, the first one had {self._shapes}; "
                    "all must be alike: drop or pad a last batch that is smaller"
                )
            batches.append(batch)
            self.step += 1
        return jax.tree.map(lambda *rows: np.stack(rows), *batches)

    def close(self) -> None:
        """Stop reading ahead."""
        self._closed.set()
        self._thread.join()


def _to_json(state: Any) -> Any:
    """A position as JSON: grain's readers tell it as bytes or as a dictionary."""
    return {"bytes": base64.b64encode(state).decode()} if isinstance(state, bytes) else {"value": state}


def _from_json(position: Any) -> Any:
    return base64.b64decode(position["bytes"]) if "bytes" in position else position["value"]
