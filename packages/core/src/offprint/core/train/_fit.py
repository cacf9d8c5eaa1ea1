"""The host's loop around the device's loop."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree

from offprint.core.train._batches import Batches, description
from offprint.core.train._callbacks import Callback, Event, FunctionCallback, ProgressBar
from offprint.core.train._checkpoint import Checkpoint, CheckpointError, CheckpointFolder, same_json, to_json
from offprint.core.train._engine import engine, on_host
from offprint.core.train._history import FitResult, Row, RunningMeans, check_finite, with_evaluation
from offprint.core.train._signals import Interrupted, interruptions
from offprint.core.train._state import Step
from offprint.core.train._stream import Stream, StreamReader

State = TypeVar("State")


def fit(
    step: Step[State],
    state: State,
    batches: Batches | Stream | None = None,
    *,
    num_steps: int,
    key: PRNGKeyArray,
    evaluate: Callable[[State], dict[str, Any]] | None = None,
    eval_every: int | None = None,
    log_every: int = 100,
    callbacks: Sequence[Callback | Callable[[Event], str | None]] = (),
    checkpoint: Checkpoint | None = None,
    mesh: Mesh | None = None,
    loop: str = "auto",
    chunk: int = 100,
    finite: bool = True,
    progress: bool = True,
    donate: bool = False,
) -> FitResult[State]:
    """Train for `num_steps` steps, many of them in each call to the device.

    The steps, batches and keys are those of [`scan`][offprint.core.train.scan]. Between chunks of steps the host
    logs, evaluates, calls back, saves and looks for a reason to stop; how long the chunks are does not change the
    result.

    Args:
        step: see [`Step`][offprint.core.train.Step]; [`supervised_step`][offprint.core.train.supervised_step]
            makes the ordinary one.
        state: where the run starts; any pytree of arrays.
        batches: [`Minibatches`][offprint.core.train.Minibatches], [`FullBatch`][offprint.core.train.FullBatch],
            [`Stream`][offprint.core.train.Stream], your own [`Batches`][offprint.core.train.Batches], or None.
        num_steps: the run's length, the steps before a resume included.
        key: a typed key (`jax.random.key`): batches and steps draw from it.
        evaluate: `evaluate(state)` returns a dictionary of floats;
            [`Evaluation`][offprint.core.train.Evaluation] is one over a data set. Jit your own.
        eval_every: steps between evaluations; only at the end when None.
        log_every: steps that a row of the history averages over.
        callbacks: called with every row.
        checkpoint: save there, and go on from there if it holds a checkpoint of this run.
        mesh: split the first axis of every batch over this mesh's first axis, with the state on every device.
        loop: "scan" fuses the steps of a chunk into one program; "dispatch" calls the device for every step;
            "auto" takes "dispatch" for a step with convolutions on the CPU (where XLA runs them 40 to 80 times
            slower inside a loop) and "scan" else.
        chunk: at most so many steps in one call to the device. A stop waits for the chunk's end.
        finite: stop at a metric that is NaN or infinite.
        progress: draw a bar, if standard error is a terminal.
        donate: the run may use up the buffers of `state` (it must not be used afterwards); one copy less is held.

    Returns:
        The last state, the history, and why the run ended.

    Raises:
        NonFiniteError: a metric is not finite.
        Interrupted: on Ctrl-C or SIGTERM, after saving; the same call goes on from there.
        CheckpointError: the folder cannot be written, or holds another model's or run's checkpoints.
        TypeError: the step changes the structure, a shape or a dtype of the state; an argument is of a wrong type.
        ValueError: an argument is out of range.
    """
    _check_arguments(batches, num_steps, key, eval_every, log_every, loop, chunk)
    if mesh is not None:  # axes of type Auto, whatever was given: the batch is constrained, XLA does the rest
        mesh = Mesh(mesh.devices, mesh.axis_names)
    every = [
        log_every,
        *([eval_every] if evaluate and eval_every else []),
        *([checkpoint.every] if checkpoint else []),
    ]
    length = _chunk_length(every, chunk)
    listeners = [c if isinstance(c, Callback) else FunctionCallback(c) for c in callbacks]
    if progress:
        listeners.append(ProgressBar())

    source: Batches | StreamReader | None
    with ExitStack() as cleanup:
        run = _Run(_placed(state, mesh, copy=not donate), listeners, batches, key)
        del state  # its buffers are donated from here on: this frame must not hold on to them
        if checkpoint is not None:
            run.open(checkpoint)
            cleanup.callback(run.close)
        if isinstance(batches, Stream):
            source = run.reader = batches.reader(run.done, run.position)
            cleanup.callback(source.close)
        else:
            source = batches
        run_chunk = engine(step, run.state, source, key, loop=loop, mesh=mesh)
        for listener in listeners:
            cleanup.callback(listener.finish)
            listener.start(run.done, num_steps)

        interruption = cleanup.enter_context(interruptions())
        while run.done < num_steps and run.stopped is None:
            num = min(length - run.done % length, num_steps - run.done)
            run.leaves, metrics = run_chunk(run.leaves, run.done, num)
            run.pending.append((run.done + 1, metrics))
            run.done += num

            last = run.done == num_steps
            signalled = interruption()
            evaluates = evaluate is not None and (last or (eval_every is not None and run.done % eval_every == 0))
            reports = last or evaluates or run.done % log_every == 0
            saves = last or signalled or (checkpoint is not None and run.done % checkpoint.every == 0)
            # Where nothing is to be done here, the device goes on with the next chunk while this one is looked at.
            run.take_in(leave=0 if reports or saves else 1, finite=finite)
            if reports:
                row = {"step": run.done, **run.means.take()}
                if evaluate is not None and evaluates:
                    row = with_evaluation(row, evaluate(run.state))
                    if finite:
                        check_finite({name: [value] for name, value in row.items()}, run.done, run.folder)
                run.report(row, num_steps)
            if saves or run.stopped:
                run.save()
            if signalled and not last and not run.stopped:
                raise Interrupted(_farewell(signalled, run.done, num_steps, run.folder))
    return FitResult(run.state, run.done, run.history, run.stopped or "num_steps")


class _Run:
    """What changes while a run goes on, all of which a checkpoint holds."""

    def __init__(self, state: PyTree, listeners: list[Callback], batches: Any, key: PRNGKeyArray):
        leaves, self._treedef = jax.tree.flatten(state)
        self.leaves = tuple(leaves)
        self.done = 0
        self.stopped: str | None = None
        self.history: list[Row] = []
        self.means = RunningMeans()
        self.pending: list[tuple[int, Any]] = []  # metrics not waited for yet, with the step that they begin at
        self.listeners = listeners
        self.reader: StreamReader | None = None
        self.position: Any = None  # in the stream, at the checkpoint that the run went on from
        self.folder: CheckpointFolder | None = None
        self._identity = {
            "batches": description(batches),
            "key": {"impl": str(jax.random.key_impl(key)), "data": to_json(jax.random.key_data(key))},
        }

    @property
    def state(self) -> PyTree:
        return jax.tree.unflatten(self._treedef, self.leaves)

    def take_in(self, *, leave: int, finite: bool) -> None:
        """Wait for the metrics of all but the last `leave` chunks, and count them."""
        while len(self.pending) > leave:
            first_step, metrics = self.pending.pop(0)
            values = on_host(metrics)
            if finite:
                check_finite(values, first_step, self.folder)
            self.means.add(values)

    def report(self, row: Row, num_steps: int) -> None:
        self.history.append(row)
        event = Event(self.done, num_steps, row, lambda: self.state)
        for listener in self.listeners:
            self.stopped = listener(event) or self.stopped

    def open(self, checkpoint: Checkpoint) -> None:
        """Go on from the newest readable checkpoint of this run, if there is one."""
        self.folder = CheckpointFolder(checkpoint.directory, keep=checkpoint.keep)
        if not checkpoint.resume and (steps := self.folder.steps()):
            raise CheckpointError(
                f"{self.folder.directory} holds checkpoints already (the newest of step {steps[-1]}), and "
                "resume=False; choose another folder or delete this one"
            )
        if (found := self.folder.restore(self.state)) is None:
            return
        state, done, info = found
        for what, hint in (("key", "the same key"), ("batches", "the same data and batch size")):
            if not same_json(info["identity"][what], self._identity[what]):
                raise CheckpointError(
                    f"the checkpoints in {self.folder.directory} are of a run with other {what}: "
                    f"{info['identity'][what]} there, {self._identity[what]} here. "
                    f"Pass {hint} to go on, or choose another folder"
                )
        self.leaves, self.done = tuple(jax.tree.leaves(state)), done
        self.history, self.position, self.stopped = info["history"], info["position"], info["stopped"]
        self.means = RunningMeans(**info["means"])
        for listener, memory in zip(self.listeners, info["callbacks"]):
            listener.remember(memory)

    def save(self) -> None:
        if self.folder is None or self.done in self.folder.steps():
            return
        info = {
            "identity": self._identity,
            "history": self.history,
            "means": self.means.to_json(),
            "position": None if self.reader is None else self.reader.position,
            "stopped": self.stopped,
            "callbacks": [to_json(listener.memory()) for listener in self.listeners],
        }
        self.folder.save(self.done, self.state, info)

    def close(self) -> None:
        if self.folder is not None:
            self.folder.close()


def _check_arguments(
    batches: Any, num_steps: int, key: Any, eval_every: int | None, log_every: int, loop: str, chunk: int
) -> None:
    for name, value in {"log_every": log_every, "eval_every": eval_every, "chunk": chunk}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    if num_steps < 0:
        raise ValueError(f"num_steps must not be negative, but is {num_steps}")
    if loop not in ("auto", "scan", "dispatch"):
        raise ValueError(f"loop must be 'auto', 'scan' or 'dispatch', but is {loop!r}")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(f"key must be a typed key such as jax.random.key(0), but is {key!r:.80}")
    if not (batches is None or isinstance(batches, Batches | Stream)):
        raise TypeError(
            f"batches must be a Stream or have a method batch_at(step, key), but a {type(batches).__name__} was given; "
            "wrap arrays in Minibatches(arrays, batch_size) or FullBatch(arrays)"
        )


def _placed(state: PyTree, mesh: Mesh | None, *, copy: bool) -> PyTree:
    """The state as device arrays of strong types, on every device of the mesh."""

    def place(leaf: Any) -> jax.Array:
        array = leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jnp.copy(array) if copy else array
        else:
            array = jnp.array(array, dtype=array.dtype, copy=copy)
        return array if mesh is None else jax.device_put(array, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(place, state)


def _chunk_length(every: list[int], most: int) -> int:
    """The longest chunk, at most `most`, that ends wherever the host has something to do."""
    common = math.gcd(*every)
    return max(d for d in range(1, min(common, most) + 1) if common % d == 0)


def _farewell(name: str, done: int, num_steps: int, folder: CheckpointFolder | None) -> str:
    where = f"{name} received: stopped after step {done} of {num_steps}"
    if folder is None:
        return f"{where}; nothing is saved, because no checkpoint was asked for"
    return f"{where}, saved in {folder.directory / str(done)}; start the same command again to go on"
