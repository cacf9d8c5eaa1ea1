"""The state of an ordinary supervised run, and the step that trains it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import optax
from flax import nnx
from jaxtyping import Array, PRNGKeyArray, PyTree

State = TypeVar("State")
Metrics = dict[str, Any]


@runtime_checkable
class Step(Protocol[State]):
    """One step of training: a pure function of the state, a batch and a key.

    The state is any pytree; what comes back has the same structure, shapes and dtypes. The metrics are a
    dictionary of arrays (scalars mostly; a vector has one entry per member of an ensemble).
    """

    def __call__(self, state: State, batch: Any, key: PRNGKeyArray, /) -> tuple[State, Metrics]: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """An NNX model and its optimiser as a pytree, for steps that train one model with one optimiser.

    Methods with several models or optimisers compose their own state from any pytrees instead.
    """

    params: PyTree  # the model's nnx.Param variables
    rest: PyTree  # its other variables: batch statistics, dropout keys and counts, caches
    opt_state: optax.OptState
    graphdef: nnx.GraphDef = field(metadata={"static": True})
    tx: optax.GradientTransformation = field(metadata={"static": True})

    @classmethod
    def create(cls, model: nnx.Module, tx: optax.GradientTransformation) -> "TrainState":
        """Split `model` and initialise `tx` on its parameters. Works under `jax.vmap`, for many seeds at once."""
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        return cls(params, rest, tx.init(params), graphdef, tx)

    @property
    def model(self) -> nnx.Module:
        """The model with the present parameters (a copy: what changes in it does not change this state)."""
        return nnx.merge(self.graphdef, self.params, self.rest, copy=True)

    def apply_gradients(self, grads: PyTree, rest: PyTree | None = None) -> "TrainState":
        """One optimiser update with `grads` (like `params`); `rest` replaces the other variables when given."""
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        return replace(self, params=params, opt_state=opt_state, rest=self.rest if rest is None else rest)


Loss = Callable[[Any, Any, PRNGKeyArray], Array | tuple[Array, Metrics]]


def supervised_step(loss: Loss) -> Step[TrainState]:
    """The step that takes one optimiser update on `loss(model, batch, key)`.

    Args:
        loss: returns a scalar, or a scalar and a dictionary of further metrics. The model may change its own
            variables while it runs (batch statistics, dropout counts): they are carried on in the state.

    Returns:
        A step over [`TrainState`][offprint.core.train.TrainState] whose metrics are `loss` and those further ones.
    """

    def step(state: TrainState, batch: Any, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        def objective(params: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            # copy=True: without it, variables that were created outside this trace could not be advanced in it.
            model = nnx.merge(state.graphdef, params, state.rest, copy=True)
            result = loss(model, batch, key)
            value, metrics = result if isinstance(result, tuple) else (result, {})
            return value, (metrics, nnx.state(model, nnx.Not(nnx.Param)))

        (value, (metrics, rest)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        return state.apply_gradients(grads, rest), {"loss": value, **metrics}

    return step


def ensemble(step: Step[State], num: int) -> Step[State]:
    """`step` for `num` independent members at once, by `jax.vmap`: the same batches, one key for each member.

    Args:
        step: the step of one member.
        num: the number of members.

    Returns:
        A step over states whose leaves have a leading axis of `num` members (make one by
        `jax.vmap(init)(jax.random.split(key, num))`); its metrics are vectors of that length.
        A model with convolutions is trained faster member by member on the CPU, because `vmap` over
        their weights makes grouped convolutions there.
    """
    if num < 1:
        raise ValueError(f"an ensemble needs at least one member, but num={num}")

    def step_all(state: State, batch: Any, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return jax.vmap(step, in_axes=(0, None, 0))(state, batch, jax.random.split(key, num))

    return step_all
