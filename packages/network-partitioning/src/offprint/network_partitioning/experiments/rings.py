"""Points of the plane: a rotation is learned where the label survives it, and is not where the label does not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment
from offprint.network_partitioning import plots
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._baselines import init_baseline_state, make_baseline_step
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatches
from offprint.network_partitioning._train import init_state, make_step
from offprint.network_partitioning.data import quadrants
from offprint.network_partitioning.data import rings as ring_points
from offprint.network_partitioning.experiments._networks import MLP, functional
from offprint.network_partitioning.experiments._runs import (
    listing,
    percent_right,
    sharded,
    stacked,
    trace,
    watched_steps,
)

TASKS = {"rings": ring_points, "quadrants": quadrants}
GRID = 61


@dataclass(frozen=True)
class RingsConfig:
    """Settings of the two tasks in the plane."""

    examples: int = 100
    """Training points."""
    test_examples: int = 2000
    """Test points."""
    hidden: tuple[int, ...] = (50, 50)
    """Units of the hidden layers (tanh)."""
    chunks: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    steps: int = 3000
    """Updates, each on all points."""
    learning_rate: float = 5e-3
    """Of Adam for the weights."""
    hyper_rate: float = 5e-3
    """Of Adam for the range of rotations."""
    samples: int = 16
    """Rotations of each point in each update, and in each prediction."""
    start: float = -1.0
    """Raw range at the start: the half-range is pi sigmoid(raw), 0.84 rad at -1."""
    wide: float = 1.0
    """Raw range from which the failure is shown: 2.30 rad."""
    narrow: float = -4.0
    """Raw range from which it is avoided: 0.06 rad."""
    seeds: int = 5
    """Data sets and networks."""
    failures: int = 1
    """Seeds of the runs that start wide and narrow."""


class Lane(NamedTuple):
    """One network to be trained; all lanes of a way of training run in one program."""

    task: str
    seed: int
    start: float


class Outcome(NamedTuple):
    """What every lane gave."""

    range: Float[np.ndarray, "lanes times"]
    """Half-range of the rotation over the steps, in radians."""
    accuracy: Float[np.ndarray, " lanes"]
    """Test accuracy in percent."""
    grid: Float[np.ndarray, "lanes rows columns"]
    """Probability of class 1 on a grid of the plane."""


@experiment(
    "rings", reproduces="Learned invariance, on generated points", paper=RingsConfig(seeds=5, failures=5), long=True
)
def rings(config: RingsConfig, run: Run) -> Iterator[Claim]:
    """Rotation is learned where labels survive it, and not where they don't; a wide start can end in a wrong basin."""
    usual = [Lane(task, seed, config.start) for task in TASKS for seed in range(config.seeds)]
    other = {"wide start": config.wide, "narrow start": config.narrow}
    lanes = {
        "none": usual,
        "training loss": [lane for lane in usual if lane.task == "rings"],
        "partitioned": usual
        + [Lane("quadrants", seed, start) for start in other.values() for seed in range(config.failures)],
    }
    found = {}
    for way, all_of in lanes.items():
        outcome = _train(config, way, all_of)
        names = {config.start: way} | {start: name for name, start in other.items()}
        for group in dict.fromkeys((lane.task, lane.start) for lane in all_of):
            rows = np.array([(lane.task, lane.start) == group for lane in all_of])
            found[group[0], names[group[1]]] = Outcome(*(values[rows] for values in outcome))
    for (task, way), outcome in found.items():
        run.log(task=task, way=way, half_range=outcome.range[:, -1], accuracy=outcome.accuracy)
    _figures(config, found, run)

    ranges = {key: outcome.range[:, -1] for key, outcome in found.items()}
    means = {key: float(outcome.accuracy.mean()) for key, outcome in found.items()}
    who = f"{config.seeds} seeds" + ("; the full setting has 5" if config.seeds < 5 else "")
    yield Claim(
        f"rings: median learned half-range, rad ({who}: {listing(ranges['rings', 'partitioned'])})",
        paper="rotation is learned: pi is all of it",
        here=np.median(ranges["rings", "partitioned"]),
        rule=at_least(2.5),
    )
    yield Claim(
        f"rings: mean test accuracy minus that without augmentation, in points ({means['rings', 'partitioned']:.1f} "
        f"against {means['rings', 'none']:.1f} %, {who})",
        paper="gains from a learned invariance are largest with little data",
        here=means["rings", "partitioned"] - means["rings", "none"],
        rule=at_least(2),
    )
    yield Claim(
        f"rings: half-range that the training loss learns, rad, each seed ({who})",
        paper="the training loss prefers no augmentation",
        here=ranges["rings", "training loss"],
        rule=at_most(0.5),
    )
    yield Claim(
        f"quadrants: median learned half-range, rad ({who}: {listing(ranges['quadrants', 'partitioned'])})",
        paper="only what the label survives is learned",
        here=np.median(ranges["quadrants", "partitioned"]),
        rule=at_most(0.9),
    )
    yield Claim(
        f"quadrants: mean test accuracy minus that without augmentation, in points "
        f"({means['quadrants', 'partitioned']:.1f} against {means['quadrants', 'none']:.1f} %, {who})",
        paper="no harm is done",
        here=means["quadrants", "partitioned"] - means["quadrants", "none"],
        rule=at_least(-1.5),
    )
    wide, narrow = (float(_half_range(jnp.asarray(start))) for start in other.values())
    lost = means["quadrants", "none"] - found["quadrants", "wide start"].accuracy
    yield Claim(
        f"quadrants, a failure: half-range after a start at {wide:.2f} rad, each of {config.failures} "
        f"seed(s) (points of accuracy lost: {listing(lost, '.1f')})",
        paper="not in the paper; network and range settle in a wrong state that fits itself",
        here=ranges["quadrants", "wide start"],
        rule=at_least(2),
    )
    yield Claim(
        f"quadrants, how it is avoided: half-range after a start at {narrow:.2f} rad, each seed",
        paper="not in the paper; start narrow",
        here=ranges["quadrants", "narrow start"],
        rule=at_most(0.9),
    )


def _train(config: RingsConfig, way: str, lanes: list[Lane]) -> Outcome:
    """All lanes of one way of training, in one program."""
    init, apply = functional(lambda rngs: MLP((2, *config.hidden, 2), jnp.tanh, rngs=rngs))
    data = [TASKS[lane.task](_key(lane), config.examples) for lane in lanes]
    test = [TASKS[lane.task](jax.random.fold_in(_key(lane), 1), config.test_examples) for lane in lanes]
    batches, _ = sharded(data, config.chunks, None, jax.random.key(1))
    tx, hyper_tx = optax.adam(config.learning_rate), optax.adam(config.hyper_rate)
    corner = np.linspace(-1.5, 1.5, GRID, dtype=np.float32)
    plane = jnp.stack(jnp.meshgrid(corner, corner), -1).reshape(-1, 2)
    samples = 1 if way == "none" else config.samples
    predict = averaged(lambda params, hyper, x, key: apply(params, x), None if way == "none" else _turned, samples)
    loglik = loglik_of(predict)

    def one(batches: ShardedBatches, test: tuple, start: Array, key: PRNGKeyArray) -> tuple[Array, ...]:
        init_key, ids_key, run_key, end_key = jax.random.split(key, 4)
        params = init(init_key)
        step: Callable[..., Any]
        if way == "partitioned":
            part = partition(params, config.chunks, scheme=config.scheme, key=ids_key)
            step = make_step(loglik, part, tx, hyper_tx, sizes=batches.sizes)
            state = init_state(params, part, start, tx, hyper_tx)
        else:
            step = make_baseline_step(loglik, tx, hyper_tx, method="fixed" if way == "none" else "training")
            state = init_baseline_state(params, start, tx, hyper_tx)
        state, ranges = trace(step, state, batches, config.steps, run_key, lambda state: _half_range(state.hyper))
        accuracy = percent_right(predict(state.params, state.hyper, test[0], end_key), test[1])
        grid = jnp.exp(predict(state.params, state.hyper, plane, end_key)[:, 1])
        return ranges, accuracy, grid.reshape(GRID, GRID)

    starts = jnp.asarray([lane.start for lane in lanes])
    keys = jnp.stack([jax.random.fold_in(jax.random.key(2), lane.seed) for lane in lanes])
    outcome = jax.jit(jax.vmap(one))(batches, stacked(test), starts, keys)
    return Outcome(*map(np.asarray, outcome))


def _key(lane: Lane) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.key(0), lane.seed)


def _half_range(raw: Array) -> Array:
    return jnp.pi * jax.nn.sigmoid(raw)


def _turned(raw: Array, x: Array, key: PRNGKeyArray, samples: int) -> Array:
    """Every point under `samples` rotations of its own."""
    angles = jax.random.uniform(key, (samples, len(x)), x.dtype, -1, 1) * _half_range(raw)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], -1)


def _figures(config: RingsConfig, found: dict[tuple[str, str], Outcome], run: Run) -> None:
    steps = watched_steps(config.steps)
    run.figure(
        "ranges",
        plots.curves(
            {
                f"{task}: half-range, rad": {
                    way: [(steps, seed) for seed in outcome.range]
                    for (of, way), outcome in found.items()
                    if of == task and way != "none"
                }
                for task in TASKS
            },
            truth={"rings: half-range, rad": np.pi},
        ),
        f"Learned half-range of the rotation over the steps, a line for each seed ({config.seeds}; {config.failures} "
        "with a wide or a narrow start). Quadrants turn their labels over by a right angle; a wide start stays wide.",
    )
    panels = {}
    for (task, way), outcome in found.items():
        if way != "training loss":
            points, labels = TASKS[task](_key(Lane(task, 0, 0)), config.examples)
            panels[f"{task}, {way}: {outcome.accuracy[0]:.0f} %"] = (outcome.grid[0], points, labels)
    run.figure(
        "planes",
        plots.planes(panels, columns=2),
        f"Probability of class 1 and the {config.examples} training points, first seed, with its test accuracy.",
    )
    run.figure(
        "accuracy",
        plots.bars(
            {
                f"{task}: test accuracy, %": {way: out.accuracy for (of, way), out in found.items() if of == task}
                for task in TASKS
            }
        ),
        "Test accuracy: mean of the seeds, which are dots.",
    )
