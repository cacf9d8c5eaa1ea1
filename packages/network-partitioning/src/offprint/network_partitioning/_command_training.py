"""How the program `offprint-network-partitioning` trains a network by each of the methods, and measures it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, PyTree

from offprint.core import train as core
from offprint.core.program import UsageError
from offprint.network_partitioning._affine import GENERATORS
from offprint.network_partitioning._baselines import (
    init_baseline_state,
    make_baseline_step,
    softplus_widths,
    width_penalty,
)
from offprint.network_partitioning._command_data import Examples, Scaling
from offprint.network_partitioning._command_networks import (
    BASIS,
    Classifier,
    check_hidden,
    input_module,
    learned_noise,
    readable,
)
from offprint.network_partitioning._fit import fit
from offprint.network_partitioning._network import Network, hyper_values
from offprint.network_partitioning._result import in_chunks
from offprint.network_partitioning._shards import ShardedBatches, assign_shards

Data = tuple[Array, Array]
Row = dict[str, Any]
SAVE_EVERY = 500
"""Steps between checkpoints."""
LOOKS = 40
"""Rows of a history."""


class Stopped(Exception):
    """A training that was asked to end."""


@dataclass(frozen=True)
class Plan:
    """A method with all of its settings, and what the examples look like."""

    method: str
    hyper: str
    generators: tuple[str, ...]
    chunks: tuple[float, ...]
    scheme: str
    schedule: str
    hidden: tuple[int, ...]
    steps: int
    batch_size: int
    lr: float
    hyper_lr: float
    samples: int
    test_samples: int
    finetune: int
    penalty: float
    seed: int
    shape: tuple[int, ...]
    columns: tuple[str, ...] = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)

    @property
    def draws(self) -> bool:
        """Whether there is randomness to average over."""
        return self.hyper != "none" and self.method != "none"

    def network(self) -> Network:
        """The untrained network with its hyperparameters."""
        return Network(self.model(), self.inputs(), **self.likelihood())

    def model(self) -> nnx.Module:
        """The untrained network alone."""
        dropout = self.hyper == "dropout" and self.draws
        return Classifier(self.shape, self.hidden, len(self.classes), dropout, rngs=nnx.Rngs(self.seed))

    def inputs(self) -> nnx.Module | None:
        """What changes the inputs."""
        return input_module(self.hyper, self.shape, self.generators) if self.draws else None

    def likelihood(self) -> dict[str, Any]:
        """Arguments of `fit` and `Network` alike."""
        return {
            "loss": "cross_entropy" if self.classes else "gaussian",
            "scale": learned_noise(len(self.classes)),
            "samples": self.samples if self.draws else 1,
        }

    def named(self, raw: dict[str, Any], std: float) -> dict[str, float]:
        """Hyperparameters by name."""
        return readable(raw, self.columns, self.generators, std)


@dataclass(frozen=True)
class Trained:
    """A network with what it has learned."""

    plan: Plan
    network: Network = field(repr=False)
    params: PyTree = field(repr=False)
    hyper: PyTree = field(repr=False)
    scaling: Scaling
    history: list[Row] = field(repr=False)
    matrix: np.ndarray | None = None
    """NLL of each subnetwork on each shard, if there are any."""
    log_marginal: float | None = None
    """Per out-of-sample example, if there are subnetworks."""

    def learned(self) -> dict[str, float]:
        """The hyperparameters by name."""
        return self.plan.named(hyper_values(self.hyper, largest=2**31), float(self.scaling.target_std))

    def steps(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The steps of the history, and the hyperparameters by name at each."""
        std = float(self.scaling.target_std)
        rows = [
            self.plan.named({name: row[name] for name in row if name.startswith("hyper/")}, std) for row in self.history
        ]
        curves = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else {})}
        return np.array([row["step"] for row in self.history]), curves

    def predict(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Log-probabilities of the classes, or values in their own units."""
        samples = self.plan.test_samples if self.plan.draws else 1
        predict = jax.jit(self.network.predict(self.network.statistics, train=False, samples=samples).__call__)
        out = in_chunks(
            lambda rows, key: predict(self.params, self.hyper, rows, key), self.scaling.inputs(x), jax.random.key(seed)
        )
        values = np.asarray(out, np.float64)
        return values if self.plan.classes else values * self.scaling.target_std + self.scaling.target_mean

    def score(self, predicted: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Accuracy in percent or root mean square error, and the mean negative log-likelihood in nats."""
        if self.plan.classes:
            nll = -predicted[np.arange(len(y)), y].mean()
            return {"accuracy, %": float(100 * (predicted.argmax(1) == y).mean()), "NLL": float(nll)}
        sigma, error = self.learned()["sigma"], predicted - y
        nll = (0.5 * (error / sigma) ** 2 + np.log(sigma) + 0.5 * np.log(2 * np.pi)).mean()
        return {"RMSE": float(np.sqrt((error**2).mean())), "NLL": float(nll)}


def plan_of(method: str, settings: Any, given: Examples, seed: int) -> Plan:
    """The settings with their defaults filled in, refused where they don't serve."""
    hyper = settings.hyper or ("affine" if given.images else "mask")
    wrong = {"mask": given.images, "affine": not given.images}
    if wrong.get(hyper):
        kinds = "a table" if hyper == "mask" else "images"
        raise UsageError(f"--hyper {hyper} is for {kinds}; {given.name} has examples of shape {given.x.shape[1:]}")
    if hyper == "affine" and not np.issubdtype(given.x.dtype, np.number):
        raise UsageError(f"--hyper affine: {given.name} has images of {given.x.dtype}; numbers are needed")
    if settings.generators and hyper != "affine":
        raise UsageError(f"--generators {' '.join(settings.generators)} is a setting of --hyper affine, not of {hyper}")
    strange = set(settings.generators) - set(GENERATORS[BASIS])
    if strange:
        raise UsageError(f"--generators {min(strange)}: there are {', '.join(GENERATORS[BASIS])}")
    if method not in methods_for(hyper):
        raise UsageError(f"--method {method} does not go with --hyper {hyper}; {', '.join(methods_for(hyper))} do")
    for name in ("steps", "batch_size", "samples", "test_samples", "lr", "hyper_lr"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} {value}: a positive number is needed")
    if settings.finetune < 0 or settings.penalty < 0:
        raise UsageError("--finetune and --penalty must not be negative")
    hidden = tuple(settings.hidden) or ((16, 32, 64) if given.images else (64, 64))
    check_hidden(given.x.shape[1:], hidden)
    chosen = asdict(settings) | {"hyper": hyper, "hidden": hidden}
    chosen["hyper_lr"] = settings.hyper_lr or (1e-2 if len(given.x) >= 1000 else 5e-3)
    return Plan(
        method=method, seed=seed, shape=given.x.shape[1:], columns=given.columns, classes=given.classes, **chosen
    )


def methods_for(hyper: str) -> tuple[str, ...]:
    """The methods that learn these hyperparameters, and none, which leaves them out."""
    if hyper == "none":
        return "none", "partitioned"
    return "none", "training", *(("augerino",) if hyper == "affine" else ()), "validation", "partitioned"


def train(plan: Plan, given: Examples, checkpoint: core.Checkpoint | None = None, *, progress: bool = False) -> Trained:
    """One run.

    Raises:
        Stopped: the run was asked to end; what was saved is there to go on from.
    """
    scaling = Scaling.of(given)
    assert given.y is not None
    data = jnp.asarray(scaling.inputs(given.x)), jnp.asarray(scaling.targets(given.y))
    run = _partitioned if plan.method == "partitioned" else _baseline
    try:
        return run(plan, scaling, data, given.groups, checkpoint, progress)
    except core.Interrupted as stop:
        raise Stopped(str(stop)) from None


def _partitioned(
    plan: Plan, scaling: Scaling, data: Data, groups: Any, checkpoint: core.Checkpoint | None, progress: bool
) -> Trained:
    result = fit(
        plan.model(),
        plan.inputs(),
        data,
        steps=plan.steps,
        key=jax.random.key(plan.seed),
        chunks=plan.chunks,
        scheme=plan.scheme,
        batch_size=plan.batch_size,
        optimiser=_optimiser(plan),
        hyper_optimiser=optax.adam(plan.hyper_lr),
        schedule=plan.schedule,
        groups=groups,
        finetune=plan.finetune,
        log_every=max(plan.steps // LOOKS, 1),
        checkpoint=checkpoint,
        progress=progress,
        **plan.likelihood(),
    )
    return Trained(
        plan,
        result.network,
        result.final[0],
        result.state.hyper,
        scaling,
        result.history,
        result.nll_matrix,
        result.log_marginal_per_example,
    )


def _baseline(
    plan: Plan, scaling: Scaling, data: Data, groups: Any, checkpoint: core.Checkpoint | None, progress: bool
) -> Trained:
    """Shards, batches and noise have the keys that they have in `fit`."""
    for_shards, _, for_steps, *_ = jax.random.split(jax.random.key(plan.seed), 5)
    network = plan.network()
    stratify = np.asarray(data[1]) if plan.classes else None
    shards = assign_shards(len(data[1]), plan.chunks, key=for_shards, stratify=stratify, groups=groups)
    batches = ShardedBatches(data, shards, plan.batch_size)
    tx, hyper_tx = _optimiser(plan), optax.adam(plan.hyper_lr)
    method: Any = plan.method
    if method == "none" and network.hyper:  # σ, which has to come from somewhere
        method = "training"
    penalty = None
    if method == "augerino":
        penalty = width_penalty(plan.penalty, lambda hyper: softplus_widths(hyper["inputs"]))
    step = make_baseline_step(network.loglik, tx, hyper_tx, method=method, penalty=penalty)
    state = init_baseline_state(network.params, network.hyper, tx, hyper_tx, rest=network.statistics)
    options: dict[str, Any] = {"log_every": max(plan.steps // LOOKS, 1), "progress": progress}
    done = core.fit(
        _watched(step), state, batches, num_steps=plan.steps, key=for_steps, checkpoint=checkpoint, **options
    )
    state = done.state
    if plan.finetune and method == "validation":
        again = make_baseline_step(network.loglik, tx, hyper_tx, method="fixed")
        state = init_baseline_state(state.params, state.hyper, tx, hyper_tx, rest=network.statistics)
        more = jax.random.fold_in(for_steps, 1)
        state = core.fit(again, state, batches, num_steps=plan.finetune, key=more, progress=progress).state
    return Trained(plan, plan.network(), state.params, state.hyper, scaling, done.history)


def _watched(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, with the hyperparameters among its metrics."""

    def watched(state: Any, batch: Any, key: Any) -> Any:
        state, metrics = step(state, batch, key)
        return state, metrics | hyper_values(state.hyper)

    return watched


def _optimiser(plan: Plan) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(plan.lr, plan.steps))
