"""An NNX model as the log-likelihood of its weights and hyperparameters."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PRNGKeyArray, PyTree

from offprint.network_partitioning._aggregate import Aggregate, Averaged, Loss, averaged, loglik_of
from offprint.network_partitioning._hyper import Hyper, LearnedScale, split_hyper, split_input
from offprint.network_partitioning._objective import Stateful
from offprint.network_partitioning._stack import path_of


class Network:
    """A model, what is done to its inputs, and its likelihood: taken apart once, put together inside the trace.

    Args:
        model: an NNX module called as `model(x)`; with `key=` where its signature has it (dropout with a learned
            rate), with `train=` likewise. Modes (`model.train()`, `model.eval()`) are set for it. It isn't changed.
        hyper: None; an input module called as `hyper(x, key, samples)`; or an NNX filter of weights of `model` that
            become hyperparameters. `Hyper` variables of the model are hyperparameters in any case.
        loss: see `loglik_of`.
        scale: σ or temperature, a number or a `LearnedScale`.
        samples: draws of the model's randomness per example.
        aggregate: how they are combined.

    Raises:
        TypeError: no NNX module.
        ValueError: a variable is in the model and in the input module or scale; see also `split_hyper`, `averaged`.
    """

    params: PyTree
    """w."""
    hyper: dict[str, PyTree]
    """ψ: "model", its own hyperparameters; "inputs", those of the input module; "scale"."""
    statistics: PyTree
    """One set of the model's other variables, random streams apart."""

    def __init__(
        self,
        model: nnx.Module,
        hyper: Any = None,
        *,
        loss: Loss = "cross_entropy",
        scale: float | int | LearnedScale = 1.0,
        samples: int = 1,
        aggregate: Aggregate = "mean_logits",
    ):
        if not isinstance(model, nnx.Module):
            raise TypeError(f"model must be a flax NNX module, but is a {type(model).__name__}")
        inputs = hyper if isinstance(hyper, nnx.Module) else None
        filters = () if hyper is None or inputs is not None else (hyper,)
        _check_apart(model, inputs, scale)
        self._graphs = {}
        for train in (True, False):
            view: Any = nnx.clone(model)
            view.train() if train else view.eval()
            self._graphs[train], self.params, self._weights, rest = split_hyper(view, *filters)
        self._streams, self.statistics = nnx.split_state(rest, nnx.RngState, ...)
        self._statistic_paths = {path for path, _ in nnx.to_flat_state(self.statistics)}
        names = inspect.signature(type(model).__call__).parameters
        self._wants_key, self._wants_train = "key" in names, "train" in names

        self.hyper = {"model": self._weights} if jax.tree.leaves(self._weights) else {}
        self._augment: Any = None
        if inputs is not None:
            augment, self.hyper["inputs"] = split_input(inputs)
            self._augment = lambda hyper, x, key, count: augment(hyper["inputs"], x, key, count)
        self._scale: Any = scale
        if isinstance(scale, nnx.Module):
            graph, self.hyper["scale"] = nnx.split(scale, Hyper)
            self._scale = lambda hyper: nnx.merge(graph, hyper["scale"], copy=True)()
        self._loss: Loss = loss
        self._samples, self._aggregate = samples, aggregate
        self.predict(self.statistics, train=False)  # says what is wrong with the settings
        loglik_of(len, loss, scale=self._scale)
        self.loglik = Stateful(self._log_densities)

    def __call__(
        self, params: PyTree, hyper: Any, statistics: PyTree, x: Any, key: PRNGKeyArray, train: bool
    ) -> tuple[Array, PyTree]:
        """The model's outputs, and its new statistics. All noise comes from `key`, none from streams that count."""
        for_model, for_streams = jax.random.split(key)
        model: Any = self.module(params, hyper, statistics, for_streams, train)
        kwargs: dict[str, Any] = {"key": for_model} if self._wants_key else {}
        if self._wants_train:
            kwargs["train"] = train
        outputs = model(x, **kwargs)
        return outputs, nnx.state(model, lambda path, _: tuple(path) in self._statistic_paths)

    def module(
        self, params: PyTree, hyper: Any, statistics: PyTree, key: PRNGKeyArray | None = None, train: bool = False
    ) -> nnx.Module:
        """The model with these variables, and with streams of `key` if there is one."""
        streams = self._streams if key is None else _reseeded(self._streams, key)
        weights = hyper.get("model", self._weights)
        merged: nnx.Module = nnx.merge(self._graphs[train], params, weights, streams, statistics, copy=True)
        return merged

    def predict(self, statistics: PyTree, *, train: bool, samples: int | None = None, new: Any = None) -> Averaged:
        """`predict(params, hyper, x, key)`; the new statistics are appended to the list `new`."""

        def apply(params: Any, hyper: Any, x: Any, key: PRNGKeyArray) -> Array:
            outputs, after = self(params, hyper, statistics, x, key, train)
            if new is not None:
                new.append(after)
            return outputs

        count = self._samples if samples is None else samples
        return averaged(apply, self._augment, count, self._aggregate, classes=self._loss == "cross_entropy")

    def _log_densities(
        self, params: Any, hyper: Any, rest: Any, batch: Any, key: PRNGKeyArray, train: bool
    ) -> tuple[Array, Any]:
        new: list[Any] = []
        predict = self.predict(rest, train=train, new=new)
        return loglik_of(predict, self._loss, scale=self._scale)(params, hyper, batch, key), new[0]


def _reseeded(streams: PyTree, key: PRNGKeyArray) -> PyTree:
    """Random streams that begin anew, each at a key of its own."""
    leaves: list[Array]
    leaves, treedef = jax.tree.flatten(streams)
    return jax.tree.unflatten(
        treedef,
        [
            jax.random.fold_in(key, i) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
            for i, leaf in enumerate(leaves)
        ],
    )


def _check_apart(model: nnx.Module, *others: Any) -> None:
    """Refuse a variable that would be a weight of the model and a hyperparameter elsewhere."""

    def variables(module: nnx.Module) -> dict[int, str]:
        found = nnx.iter_graph(module)
        return {id(v): "/".join(map(str, path)) for path, v in found if isinstance(v, nnx.Variable)}

    known = variables(model)
    for other in others:
        if isinstance(other, nnx.Module):
            for identity, path in variables(other).items():
                if identity in known:
                    raise ValueError(
                        f"{path} of {type(other).__name__} is {known[identity]} of the model: a variable is "
                        "learned either from training data or out of sample; give each module its own"
                    )


def hyper_values(hyper: PyTree, largest: int = 64) -> dict[str, Array]:
    """The unconstrained hyperparameters by path, those of at most `largest` numbers: what a run keeps a record of."""
    paths = jax.tree_util.tree_flatten_with_path(hyper)[0]
    return {f"hyper/{path_of(path)}": leaf for path, leaf in paths if leaf.size <= largest}
