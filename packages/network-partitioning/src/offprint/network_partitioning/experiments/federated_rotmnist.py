"""Rotated MNIST on a hundred clients: the rotation is learned across them, with less to upload."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float, PRNGKeyArray, PyTree

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, near
from offprint.core.federated import fedavg
from offprint.core.train import fit
from offprint.network_partitioning import plots
from offprint.network_partitioning._affine import half_ranges
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._hyper import AffineAugmentation, split_input
from offprint.network_partitioning._partition import partition, whole
from offprint.network_partitioning._shards import assign_shards
from offprint.network_partitioning._upload import upload_fraction
from offprint.network_partitioning.data import ImageData, dirichlet_clients, mnist, rotated_set
from offprint.network_partitioning.experiments._images import GENERATOR_NAMES, ROTATION
from offprint.network_partitioning.experiments._networks import MLP, functional
from offprint.network_partitioning.experiments._runs import available, listing
from offprint.network_partitioning.federated import ClientBatches, init_server, make_round, stack_clients

Way = Literal["FedAvg", "training loss", "partitioned", "oracle"]
BYTES = 4  # of a number on the wire, float32


@dataclass(frozen=True)
class FederatedRotmnistConfig:
    """Settings of the federated experiment."""

    train: int = 2000
    """Training images of 14x14 pixels (means of 2x2 squares), the first ones, shared out among the clients."""
    test: int = 2000
    """Test images."""
    clients: int = 100
    """Clients, all with as many images."""
    alpha: float = 1.0
    """Of the Dirichlet distribution of a client's classes."""
    per_round: int = 10
    """Clients that take part in a round, of every chunk in proportion."""
    rounds: int = 1000
    """Rounds."""
    local_steps: int = 5
    """Full-batch steps of a client on each partition."""
    learning_rate: float = 0.1
    """Of the clients' SGD."""
    hyper_rate: float = 0.02
    """Of the server's Adam for the ranges."""
    hidden: tuple[int, ...] = (128, 128)
    """Units of the hidden layers (ReLU)."""
    chunks: tuple[float, ...] = (0.7, 0.2, 0.1)
    """Shares of the clients in each chunk, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    samples: int = 4
    """Affine maps of each image in a step."""
    test_samples: int = 16
    """Affine maps of each image in the last test; as many as in training before it."""
    start: float = -2.0
    """Raw ranges at the start: softplus(-2) = 0.13."""
    ways: tuple[Way, ...] = ("FedAvg", "partitioned")
    """What is compared: "FedAvg" and "partitioned" are needed for the claims."""
    evaluations: int = 20
    """Tests on the way."""
    seeds: int = 1
    """Networks, rotations and clients; of three and more the median counts."""


class Outcome(NamedTuple):
    """What a federated training gave."""

    rounds: np.ndarray
    megabytes: Float[np.ndarray, " times"]
    """Uploaded by all clients together until then."""
    accuracies: Float[np.ndarray, " times"]
    """Test accuracy in percent."""
    ranges: Float[np.ndarray, "times 6"]
    accuracy: float
    """At the end, with all samples."""
    scalars: float
    """Numbers uploaded in all rounds."""


@experiment(
    "federated-rotmnist",
    reproduces="Federated training, on rotated MNIST",
    paper=FederatedRotmnistConfig(ways=("FedAvg", "training loss", "partitioned", "oracle"), seeds=3),
    long=True,
)
def federated_rotmnist(config: FederatedRotmnistConfig, run: Run) -> Iterator[Claim]:
    """Clients learn together that their digits were rotated, and upload less than in federated averaging."""
    small = available(mnist).first(config.train, config.test).halved()
    found: dict[Way, list[Outcome]] = {way: [] for way in config.ways}
    for seed in range(config.seeds):
        images = rotated_set(small, jax.random.fold_in(jax.random.key(7), seed)).normalised(0, 255 / 3)
        for way in config.ways:
            outcome = _train(config, way, images, jax.random.key(seed))
            found[way].append(outcome)
            last = dict(zip(GENERATOR_NAMES, outcome.ranges[-1]))
            run.log(way=way, seed=seed, accuracy=outcome.accuracy, half_ranges=last, scalars=outcome.scalars)
    _figures(found, run)

    ours, plain = found["partitioned"], found["FedAvg"]
    who = f"median of {config.seeds} seeds" if config.seeds >= 3 else f"{config.seeds} seed(s); the full setting has 3"
    rotation = [outcome.ranges[-1, ROTATION] for outcome in ours]
    others = [np.delete(outcome.ranges[-1], ROTATION).max() for outcome in ours]
    accuracy = {way: float(np.median([one.accuracy for one in outcomes])) for way, outcomes in found.items()}
    yield Claim(
        f"half-range of the rotation after {config.rounds} rounds, rad ({who}; each: {listing(rotation)})",
        paper="pi: all angles occur; values above it are harmless",
        here=np.median(rotation),
        rule=at_least(2),
    )
    yield Claim(
        f"widest half-range of the other five generators ({who}; each: {listing(others, '.3f')})",
        paper="nothing but rotation is in the data",
        here=np.median(others),
        rule=at_most(0.1),
    )
    texts = ", ".join(f"{way} {value:.1f}" for way, value in accuracy.items())
    yield Claim(
        f"test accuracy minus that of federated averaging, in points ({who}; {texts} %)",
        paper="partitioned is best, mostly so on rotated data",
        here=accuracy["partitioned"] - accuracy["FedAvg"],
        rule=at_least(6),
    )
    yield Claim(
        "uploaded numbers over those of federated averaging",
        paper="77 %",
        here=sum(one.scalars for one in ours) / sum(one.scalars for one in plain),
        rule=near(upload_fraction(config.chunks, config.chunks), 0.01),
    )


def _train(config: FederatedRotmnistConfig, way: Way, images: ImageData, key: PRNGKeyArray) -> Outcome:
    """One federated training; a round, with all of its clients, is one program."""
    deal_key, chunk_key, init_key, ids_key, run_key, test_key = jax.random.split(key, 6)
    init, apply = functional(lambda rngs: MLP((images.train_images[0].size, *config.hidden, 10), nnx.relu, rngs=rngs))
    augment: Any = None
    psi: PyTree = {}
    if way != "FedAvg":
        augment, psi = split_input(
            AffineAugmentation.fixed({"rotate": float(np.pi)})
            if way == "oracle"
            else AffineAugmentation(init=config.start)
        )
    # By the training loss the ranges are parameters like the weights; then nothing is left to be learned otherwise.
    joined = way == "training loss"
    params = {"w": init(init_key), "psi": psi} if joined else init(init_key)
    hyper: PyTree = {} if joined else psi

    def split(params: PyTree, hyper: PyTree) -> tuple[PyTree, PyTree]:
        return (params["w"], params["psi"]) if joined else (params, hyper)

    def predicted(samples: int) -> Any:
        net = averaged(lambda w, psi, x, key: apply(w, x), augment, samples if augment else 1)
        return lambda params, hyper, x, key: net(*split(params, hyper), x, key)

    if way == "partitioned":
        part = partition(params, config.chunks, scheme=config.scheme, key=ids_key)
        chunks = np.asarray(assign_shards(config.clients, config.chunks, key=chunk_key))
    else:
        part, chunks = whole(params), np.zeros(config.clients, int)
    rows = dirichlet_clients(images.train_labels, config.clients, key=deal_key, alpha=config.alpha)
    clients = stack_clients([(images.train_images[row], images.train_labels[row]) for row in rows], chunks)
    optimisers: dict[str, Any] = {"tx": fedavg(), "hyper_tx": optax.adam(config.hyper_rate)}
    step = make_round(
        loglik_of(predicted(config.samples)),
        part,
        local_tx=optax.sgd(config.learning_rate),
        epochs=config.local_steps,
        **optimisers,
    )
    seen: list[tuple[int, float, np.ndarray]] = []
    every = max(config.rounds // config.evaluations, 1)
    quick = _tester(predicted(config.samples), images, test_key)

    def look(event: Any) -> None:
        state = event.state
        ranges = half_ranges(jax.tree.leaves(split(state.params, state.hyper)[1])[0]) if _learns(way) else np.zeros(6)
        seen.append((event.step, quick(state), np.asarray(ranges)))

    result = fit(
        step,
        init_server(params, hyper, part, **optimisers),
        ClientBatches(clients, config.per_round, part.num),
        num_steps=config.rounds,
        key=run_key,
        log_every=every,
        callbacks=[look],
        progress=False,
    )
    steps, accuracies, ranges = (np.asarray(column) for column in zip(*seen, strict=True))
    uploaded = np.cumsum(np.diff(steps, prepend=0) * result.series("uploaded")[1])
    final = _tester(predicted(config.test_samples), images, test_key)(result.state)
    return Outcome(steps, uploaded * BYTES / 1e6, accuracies, ranges, final, float(uploaded[-1]))


def _learns(way: Way) -> bool:
    return way in ("training loss", "partitioned")


def _tester(predict: Any, images: ImageData, key: PRNGKeyArray) -> Callable[[Any], float]:
    """Test accuracy in percent of a server's state."""
    right = jax.jit(lambda state, x, y: (predict(state.params, state.hyper, x, key).argmax(-1) == y).sum())

    def accuracy(state: Any) -> float:
        total = 0
        for start in range(0, len(images.test_labels), 500):
            part = slice(start, start + 500)
            total += int(right(state, images.test_images[part], images.test_labels[part]))
        return 100 * total / len(images.test_labels)

    return accuracy


def _figures(found: dict[Way, list[Outcome]], run: Run) -> None:
    run.figure(
        "accuracy",
        plots.federated_accuracy(
            {way: [(one.rounds, one.megabytes, one.accuracies) for one in outcomes] for way, outcomes in found.items()}
        ),
        "Test accuracy over the rounds, and over what the clients have uploaded. Later partitions start late: early on "
        "federated averaging is ahead.",
    )
    run.figure(
        "ranges",
        plots.curves(
            {
                "half-range": {
                    name: [(one.rounds, one.ranges[:, number]) for one in found["partitioned"]]
                    for number, name in enumerate(GENERATOR_NAMES)
                }
            },
            truth={"half-range": np.pi},
            xlabel="round",
        ),
        "Half-ranges of the six affine generators over the rounds, learned across the clients.",
    )
