"""How a chunk of steps is run on the device: fused into one scan, or dispatched step by step.

Both take the state as flat leaves whose buffers are donated: flattening an NNX state costs milliseconds, which
would be paid in every call, and a second copy of parameters and optimiser state would be held.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree

from offprint.core.train._batches import Batches, Minibatches
from offprint.core.train._scan import at_step, keys_of
from offprint.core.train._state import Metrics, Step
from offprint.core.train._stream import StreamReader

Leaves = tuple[jax.Array, ...]
Chunk = Callable[[Leaves, int, int], tuple[Leaves, Any]]


def engine(
    step: Step,
    state: PyTree,
    source: Batches | StreamReader | None,
    key: PRNGKeyArray,
    *,
    loop: str,
    mesh: Mesh | None,
) -> Chunk:
    """The function `(leaves, start, num) -> (leaves, metrics)` that runs steps `start` to `start + num`.

    It returns while the device still works; `on_host` waits for the metrics.
    """
    stream = source if isinstance(source, StreamReader) else None
    # A class that is no pytree cannot be an argument of a program: it becomes a part of it.
    opaque = source if stream is None and source is not None and jax.tree_util.all_leaves([source]) else None
    argument = None if stream is not None or opaque is not None else source
    build: Any = _programs if _hashable(step, opaque) else _programs.__wrapped__
    programs = build(step, jax.tree.structure(state), mesh, stream is not None, opaque)
    if loop == "auto":
        sample = argument if stream is None else jax.tree.map(lambda x: x[0], stream.peek())
        loop = "dispatch" if programs.convolves(tuple(jax.tree.leaves(state)), sample, key) else "scan"

    def by_scan(leaves: Leaves, start: int, num: int) -> tuple[Leaves, Any]:
        feed = argument if stream is None else stream.take(num)
        return programs.scan(leaves, jnp.int32(start), feed, key, num)

    def by_dispatch(leaves: Leaves, start: int, num: int) -> tuple[Leaves, Any]:
        index, rows = jnp.int32(start), []
        feed = argument if stream is None else stream.take(num)
        for i in range(num):
            batch = feed if stream is None else jax.tree.map(lambda x: x[i], feed)  # noqa: B023
            leaves, index, metrics = programs.dispatch(leaves, index, batch, key)
            rows.append(metrics)
        return leaves, rows

    return by_dispatch if loop == "dispatch" else by_scan


def on_host(metrics: Any) -> dict[str, np.ndarray]:
    """The metrics of a chunk, waited for: each with a leading axis of its steps."""
    fetched = jax.device_get(metrics)
    if isinstance(fetched, dict):
        return fetched
    return {name: np.stack([row[name] for row in fetched]) for name in fetched[0]}


class _Programs:
    """The compiled programs of one step on one kind of state; further runs of the same step find them here."""

    def __init__(self, step: Step, treedef: Any, mesh: Mesh | None, streamed: bool, opaque: Batches | None):
        def one_step(
            leaves: Leaves, index: jax.Array, feed: Any, key: PRNGKeyArray, rows: jax.Array | None = None
        ) -> tuple[Leaves, Metrics]:
            # `feed` is the batches object, or with a stream the batch itself. It is an argument: arrays that are
            # closed over would be copied into the program as constants.
            batches: Any = _Given(feed) if streamed else feed if opaque is None else opaque
            if rows is not None:
                batches = _Given(feed.take(rows))
            if mesh is not None and batches is not None:
                batches = _Sharded(batches, mesh)
            state, metrics = at_step(step, batches, key, jax.tree.unflatten(treedef, leaves), index)
            return _same_leaves(treedef, leaves, state), _checked_metrics(metrics)

        def dispatched(leaves: Leaves, index: jax.Array, feed: Any, key: PRNGKeyArray) -> Any:
            leaves, metrics = one_step(leaves, index, feed, key)
            return leaves, index + 1, metrics  # the index stays on the device: no transfer in any step

        def scanned(leaves: Leaves, start: jax.Array, feed: Any, key: PRNGKeyArray, num: int) -> Any:
            def body(leaves: Leaves, xs: Any) -> tuple[Leaves, Metrics]:
                index, batch, rows = xs
                return one_step(leaves, index, batch if streamed else feed, key, rows)

            steps = start + jnp.arange(num)
            return jax.lax.scan(body, leaves, (steps, feed if streamed else None, _rows_ahead(feed, steps, key)))

        self.dispatch = jax.jit(dispatched, donate_argnums=(0, 1))
        self.scan = jax.jit(scanned, static_argnums=4, donate_argnums=0)
        self._one_step = one_step
        self._convolves: bool | None = None

    def convolves(self, leaves: Leaves, feed: Any, key: PRNGKeyArray) -> bool:
        """Whether the step has convolutions and runs on the CPU."""
        if self._convolves is None:
            self._convolves = jax.default_backend() == "cpu" and _has_convolution(
                jax.make_jaxpr(self._one_step)(leaves, jnp.int32(0), feed, key).jaxpr
            )
        return self._convolves


@lru_cache(maxsize=16)
def _programs(step: Step, treedef: Any, mesh: Mesh | None, streamed: bool, opaque: Batches | None) -> _Programs:
    return _Programs(step, treedef, mesh, streamed, opaque)


def _hashable(*values: Any) -> bool:
    try:
        hash(values)
    except TypeError:
        return False
    return True


def _rows_ahead(feed: Any, steps: jax.Array, key: PRNGKeyArray) -> jax.Array | None:
    """The rows of all batches of a chunk at once: cheaper than a few of them in every step."""
    if not isinstance(feed, Minibatches):
        return None
    data_key = keys_of(key)[0]
    return jax.vmap(lambda step: feed.indices(step, data_key))(steps)


class _Given:
    """A batch that is there already, as batches."""

    def __init__(self, batch: PyTree):
        self.batch = batch

    def batch_at(self, step: Any, key: Any) -> PyTree:
        return self.batch


class _Sharded:
    """Batches whose first axis is split over the devices of a mesh."""

    def __init__(self, batches: Batches, mesh: Mesh):
        self.batches, self.mesh = batches, mesh

    def batch_at(self, step: Any, key: Any) -> PyTree:
        return _split(self.batches.batch_at(step, key), self.mesh)


def _split(batch: PyTree, mesh: Mesh) -> PyTree:
    axis = mesh.axis_names[0]

    def constrain(array: jax.Array) -> jax.Array:
        if jnp.ndim(array) == 0:
            return array
        if array.shape[0] % mesh.shape[axis]:
            raise ValueError(
                f"a batch of {array.shape[0]} cannot be split evenly over the {mesh.shape[axis]} devices of the "
                f"mesh axis {axis!r}; use a multiple of {mesh.shape[axis]}"
            )
        return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec(axis)))

    return jax.tree.map(constrain, batch)


def _same_leaves(treedef: Any, before: Leaves, state: PyTree) -> Leaves:
    """The leaves of the state after a step, which must be like those before it.

    Raises:
        TypeError: naming the leaf that changed its shape or dtype, or both structures.
    """
    if (found := jax.tree.structure(state)) != treedef:
        raise TypeError(f"the step must return a state of the structure that it was given, {treedef}, not {found}")
    named = jax.tree_util.tree_flatten_with_path(state)[0]
    leaves = [jnp.asarray(leaf) for _, leaf in named]
    for (path, _), old, new in zip(named, before, leaves, strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"the step must keep shapes and dtypes, but state{jax.tree_util.keystr(path)} was "
                f"{old.dtype}{list(old.shape)} and became {new.dtype}{list(new.shape)}"
            )
    return tuple(leaves)


def _checked_metrics(metrics: Any) -> Metrics:
    if not isinstance(metrics, dict) or not all(isinstance(name, str) for name in metrics):
        raise TypeError(
            f"the step must return (state, metrics) with metrics a dictionary of named arrays, not {metrics!r:.200}"
        )
    return {name: jnp.asarray(value) for name, value in metrics.items()}


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _has_convolution(jaxpr: Any) -> bool:
    return any(equation.primitive.name == "conv_general_dilated" for equation in _equations(jaxpr))
