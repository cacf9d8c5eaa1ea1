"""Training of all members of one depth: epochs, the stopping rule, and what is recorded."""

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from offprint.resnet_scaling._network import ResNetParams, delta_kind, init_params, padded_depth, params_from_normals
from offprint.resnet_scaling._padding import pad_params
from offprint.resnet_scaling._shuffle import official_shuffle
from offprint.resnet_scaling._sweep_config import SweepConfig
from offprint.resnet_scaling._sweep_result import DepthRecord
from offprint.resnet_scaling._train import Depth, Diagnosis, Member, TrainTest, compiled, start

PATIENCE = 5
PROBES = 5

Order = Int[np.ndarray, "members batches"]


@dataclass
class State:
    """Where the training of a depth stands, after `epoch` epochs."""

    members: Member
    order: Order
    """Which batch stands at each place; only the official shuffle changes it."""
    losses: np.ndarray
    """(members, num_epochs), NaN where not trained."""
    best: np.ndarray
    bad: np.ndarray
    """Epochs in a row without an improvement of 1 % on `best`."""
    active: np.ndarray
    epochs: np.ndarray
    """Epochs that each member has trained."""
    diverged: np.ndarray
    epoch: int = 0
    seconds: float = 0.0

    def count(self, losses: np.ndarray, epsilon: float) -> None:
        """Take the losses of an epoch in. As in the official code, the epoch is counted before epsilon is tested."""
        self.losses[self.active, self.epoch] = losses[self.active]
        self.epoch += 1
        self.epochs += self.active
        self.diverged |= self.active & ~np.isfinite(losses)
        better = losses < 0.99 * self.best
        self.best = np.where(self.active & better, losses, self.best)
        self.bad = np.where(self.active, np.where(better, 0, self.bad + 1), self.bad)
        self.active &= ~((losses < epsilon) | (self.bad == PATIENCE) | ~np.isfinite(losses))


@runtime_checkable
class Saver(Protocol):
    """Keeps a state between epochs."""

    def restore(self, depth: int, state: State) -> State:
        """The state saved for this depth, else the one given."""

    def save(self, depth: int, state: State) -> None:
        """Save it, if enough time has passed."""


def first_order(config: SweepConfig, samples: int, seeds: tuple[int, ...]) -> Order:
    """Batches in their own order, for every member."""
    return np.tile(np.arange(samples // config.batch_size), (len(config.rates) * len(seeds), 1))


def train_depth(
    config: SweepConfig, data: TrainTest, depth: int, seeds: tuple[int, ...], order: Order, saver: Saver | None
) -> tuple[DepthRecord, Order]:
    """The record of a depth, and the order of batches that the official code would go on with."""
    # Members are every learning rate with every seed.
    keys = jnp.tile(_keys(jnp.asarray(seeds, jnp.uint32), depth), (len(config.rates), 1))
    rates = jnp.repeat(jnp.asarray(config.rates, data.x_train.dtype), len(seeds))
    members, in_use = _initial(config, keys[:, 0], depth, data)
    probes = _probes(data.x_train, keys[:, 1])
    to_diagnose = (data.x_test, data.y_test, probes, in_use)
    diagnose, compile_seconds = compiled("diagnose", (config.network,), members.params, *to_diagnose)
    before: Diagnosis = diagnose(members.params, *to_diagnose)

    count = len(rates)
    entropy = np.stack([np.tile(seeds, len(config.rates)), np.full(count, depth)], axis=1)
    fresh = State(
        members,
        order,
        np.full((count, config.num_epochs), np.nan),
        best=np.full(count, np.inf),
        bad=np.zeros(count, int),
        active=np.ones(count, bool),
        epochs=np.zeros(count, int),
        diverged=np.zeros(count, bool),
    )
    state = fresh if saver is None else saver.restore(depth, fresh)
    while state.active.any() and state.epoch < config.num_epochs:
        state.order, rows = _rows(config, state, keys[:, 2], data.x_train.shape[0], entropy)
        given = (state.members, jnp.asarray(state.active), rates, rows, data.x_train, data.y_train, in_use)
        epoch, seconds = compiled("epoch", (config.network, config.optimizer), *given)
        compile_seconds += seconds
        began = time.perf_counter()
        trained = jax.block_until_ready(epoch(*given))
        state.seconds += time.perf_counter() - began
        state.members = trained.members
        state.count(np.asarray(trained.loss, float), config.epsilon)
        if saver is not None:
            saver.save(depth, state)
    after: Diagnosis = diagnose(state.members.params, *to_diagnose)
    return _record(config, depth, len(seeds), state, before, after, compile_seconds), state.order


def _initial(config: SweepConfig, keys: Array, depth: int, data: TrainTest) -> tuple[Member, Depth]:
    """All members before training, in a longer stack if the settings say so, and then the depth as an argument."""
    dim, dtype = data.x_train.shape[1], data.x_train.dtype
    longer = padded_depth(depth)
    normals = _normals(keys, (longer, dim * dim + dim + 1), dtype)
    if not config.pads(depth):
        normals = normals[:, :depth]
    in_use = jnp.asarray(depth, jnp.int32)
    xavier = config.init.startswith("xavier")
    # The depth is static only where the law needs it to be, which costs a compilation for each.
    members = _begin(config, None if xavier else depth, keys, normals, in_use)
    return members, in_use if config.pads(depth) else None


@partial(jax.jit, static_argnums=(0, 1))
def _begin(config: SweepConfig, depth: int | None, keys: Array, normals: Array, in_use: Array) -> Member:
    layers, dim = normals.shape[1], math.isqrt(normals.shape[2])

    def one(key: Array, normals: Array) -> Member:
        if depth is not None:
            params = init_params(
                key, depth, dim,
                delta=config.delta, init=config.init, initial_sd=config.initial_sd, hurst=config.hurst,
                dtype=normals.dtype,
            )  # fmt: skip
            return start(pad_params(params, layers, delta=config.delta)[0], config.optimizer)
        kept = normals * (jnp.arange(layers) < in_use)[:, None]
        kind = delta_kind(config.delta)
        return start(params_from_normals(kept, in_use, kind, config.init, config.initial_sd), config.optimizer)

    return jax.vmap(one)(keys, normals)


@partial(jax.jit, static_argnums=(1, 2))
def _normals(keys: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    return jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys)


@jax.jit
def _keys(seeds: Array, depth: int | Array) -> Key[Array, "seeds three"]:
    """Of the parameters, the probes and the order of samples of each seed."""
    return jax.vmap(lambda seed: jax.random.split(jax.random.fold_in(jax.random.key(seed), depth), 3))(seeds)


@jax.jit
def _probes(x: Float[Array, "samples dim"], keys: Array) -> Float[Array, "members probes dim"]:
    """Five inputs of the training data, and five uniform on [-1, 1]^d that are then scaled to norm 1."""

    def one_member(key: Array) -> Array:
        fresh = jax.random.uniform(key, (PROBES, x.shape[1]), x.dtype, minval=-1, maxval=1)
        known = jnp.take(x, jnp.arange(PROBES), axis=0, mode="wrap")
        return jnp.concatenate([known, fresh / jnp.linalg.norm(fresh, axis=1, keepdims=True)])

    return jax.vmap(one_member)(keys)


def _rows(
    config: SweepConfig, state: State, keys: Array, samples: int, entropy: np.ndarray
) -> tuple[Order, Int[Array, "members steps batch"]]:
    """Order of batches and the samples of every batch of the coming epoch."""
    steps, batch = state.order.shape[1], config.batch_size
    if config.shuffle == "samples":
        rows = _permutations(keys, state.epoch, samples)[:, : steps * batch]
        return state.order, rows.reshape(-1, steps, batch)
    batches = jnp.arange(steps * batch).reshape(steps, batch)
    if config.shuffle == "batches":
        return state.order, batches[_permutations(keys, state.epoch, steps)]
    order = state.order
    if config.shuffle == "official":  # in place: an epoch goes on from what the one before has left
        generators = [np.random.RandomState([*numbers, state.epoch]) for numbers in entropy]
        shuffled = [official_shuffle(old, rng) for old, rng in zip(order, generators)]
        order = np.where(state.active[:, None], np.stack(shuffled), order)
    return order, batches[jnp.asarray(order)]


@partial(jax.jit, static_argnums=2)
def _permutations(keys: Array, epoch: int | Int[Array, ""], size: int) -> Int[Array, "members size"]:
    return jax.vmap(lambda key: jax.random.permutation(jax.random.fold_in(key, epoch), size))(keys)


def _record(
    config: SweepConfig,
    depth: int,
    seeds: int,
    state: State,
    before: Diagnosis,
    after: Diagnosis,
    compile_seconds: float,
) -> DepthRecord:
    """Members as an axis of seeds, behind one of learning rates where there are several; padding cut off."""
    leading = (len(config.rates), seeds) if isinstance(config.learning_rate, tuple) else (seeds,)

    def shaped(array: np.ndarray | Array) -> np.ndarray:
        return np.asarray(array).reshape(*leading, *array.shape[1:])

    def both(name: str, length: int) -> np.ndarray:
        pair = (np.asarray(getattr(one, name))[:, :length] for one in (before, after))
        return shaped(np.stack(list(pair), axis=1))

    # NumPy cuts and reshapes without a compiled program for each depth.
    A, b, delta = (np.asarray(leaf) for leaf in state.members.params)
    multipliers = delta[:, :depth] if delta_kind(config.delta) == "multi" else delta
    params = ResNetParams(*(jnp.asarray(shaped(leaf)) for leaf in (A[:, :depth], b[:, :depth], multipliers)))
    losses = state.losses[:, : max(state.epoch, 1)]
    last = np.take_along_axis(losses, np.maximum(np.isfinite(losses).sum(axis=1, keepdims=True) - 1, 0), axis=1)[:, 0]
    diverged = ~np.isfinite(np.asarray(after.test_loss)) | state.diverged
    return DepthRecord(
        depth=depth,
        params=params,
        losses=shaped(losses),
        epochs=shaped(state.epochs),
        test_losses=shaped(np.stack([before.test_loss, after.test_loss], axis=1)),
        hidden_norms=both("norms", depth + 1),
        hidden_increments=both("increments", depth),
        converged=shaped((last < config.epsilon) & ~diverged),
        diverged=shaped(diverged),
        seconds=state.seconds,
        compile_seconds=compile_seconds,
    )
