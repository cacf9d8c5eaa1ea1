"""The program `offprint-forward-propagation`: train spiking classifiers, simulate networks, check gradients."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program
from offprint.core.train import CheckpointError
from offprint.forward_propagation import _command_actions as actions
from offprint.forward_propagation import _command_network as network
from offprint.forward_propagation._command_network import Mismatch

File = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Data:
    """What is learnt."""

    data: str
    """iris, yin-yang, xor, mnist; your own .csv (a column for each feature, one for the label); or .npz with train_x
    (N, d), train_y (N,), test_x, test_y, or with x and y."""
    label: str = "label"
    """Column of the label in a .csv file; numbers or names."""
    test: float = 0.2
    """Share that is held out for the test, where the data do not say it."""
    seed: int = 0
    """Of this split, and of weights and order; the first one of several runs."""


@dataclass(frozen=True)
class Settings:
    """A recipe, and what replaces its settings."""

    recipe: str = "iris-tuned"
    """xor, iris, iris-tuned, yin-yang, yin-yang-120, yin-yang-tuned, mnist; with -official behind yin-yang or
    yin-yang-120 the authors' sign and bias channel."""
    hidden: str | None = None
    """Hidden neurons, such as 20 or 40,20; inputs and outputs follow from the data."""
    span: Literal["unit", "train", "all"] | None = None
    """Range of the features: 0 to 1, that of the training set, or that of all data."""
    epochs: int | None = None
    """Epochs."""
    batch_size: int | None = None
    """Samples in a batch."""
    lr: float | None = None
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] | None = None
    """Of the learning rate."""
    max_spikes: int | None = None
    """Spikes kept of each hidden neuron."""
    tau_mem: float | None = None
    """Membrane time constant."""
    tau_syn: float | None = None
    """Synaptic time constant."""
    threshold: float | None = None
    """Threshold."""
    learn: str | None = None
    """What is learnt: kernel (the weights), delay, threshold, tau_mem, tau_syn, separated by commas."""
    gamma: float | None = None
    """Weight of the term that makes the label neuron fire early."""
    silent: Literal["horizon", "skip"] | None = None
    """skip: samples whose label neuron is silent do not count."""
    slope_floor: float | None = None
    """Least V' by which a derivative is divided."""
    clip_norm: float | None = None
    """Largest norm of a gradient."""


@dataclass(frozen=True)
class Fit:
    """Train a classifier by first spike times; the same command goes on where it was stopped."""

    data: Annotated[Data, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    out: Path
    """Folder of the run: network.npz, history.csv, predictions.csv of the test set."""
    gradient: Literal["exact", "official"] = "exact"
    """official: without the influence of a neuron's earlier spikes on its later ones, as the authors' code."""
    float64: bool = False
    """Train in double precision."""


@dataclass(frozen=True)
class Predict:
    """Classify with the network of a run."""

    run: File
    """Folder that fit wrote."""
    data: Path
    """.csv with the same feature columns, or .npz with x (N, d); the label or y, if there, is compared."""
    out: Path | None = None
    """Write predictions and first spike times to this .csv file."""


@dataclass(frozen=True)
class Compare:
    """Train the same network by exact gradients, the authors' gradient, surrogates and the Hebbian rule."""

    data: Annotated[Data, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    methods: str = "exact,official,hebbian,fast_sigmoid,ste"
    """Separated by commas; also atan, triangular, sigmoid, spike_rate_escape."""
    decoding: Literal["first", "count", "rate"] = "first"
    """Loss and decoding of surrogates: first has those of exact training."""
    slope: float = 25.0
    """Of the surrogates."""
    steps: int = 100
    """Time steps of the surrogates."""
    seeds: int = 2
    """Runs of each, all at once."""
    out: Path | None = None
    """Write every run to this .csv file."""
    plot: Path | None = None
    """Draw loss and accuracy to this image file."""
    similarity: Path | None = None
    """Train once more with exact gradients, and draw the cosines of the other updates with them to this image file."""


@dataclass(frozen=True)
class Plot:
    """Figures of a run."""

    run: File
    """Folder that fit wrote."""
    what: Literal["curves", "first-spikes", "classes", "latency", "activity", "parameters"] = "curves"
    """Loss and accuracy; first spikes by class; predictions and first spike times over two features; spikes and
    potentials of a test sample; weights, delays, thresholds and time constants before and after."""
    sample: int = 0
    """Which test sample."""
    out: Path | None = None
    """Image file; by default in the folder of the run."""


@dataclass(frozen=True)
class Network:
    """A network and its input."""

    network: File
    """.npz: for each layer from 0 weights0 [pre, post], and delays0, tau_mem0, tau_syn0, threshold0, or tau_mem and so
    on for all; or w_in, w_rec, tau_mem, tau_syn, threshold, delay_in, delay_rec, mask_rec of a recurrent one."""
    spikes: Path
    """Input spikes: .csv with the columns time and source (from 0)."""
    t_max: float
    """Horizon: spikes before it count."""
    max_spikes: int = 20
    """Spikes kept of each neuron."""


@dataclass(frozen=True)
class Simulate:
    """Exact spike times of a network for one input."""

    network: Annotated[Network, tyro.conf.arg(name="")]
    strict: bool = False
    """Fail if --max-spikes is not enough, and say what is."""
    out: Path | None = None
    """Write the spikes to this .csv file: time, layer and neuron, both from 0."""
    plot: Path | None = None
    """Draw spikes and membrane potentials to this image file."""


@dataclass(frozen=True)
class Gradcheck:
    """The gradient of a network, or of spikes that another simulator found for it, against finite differences."""

    network: Annotated[Network, tyro.conf.arg(name="")]
    fired: Path | None = None
    """Spikes that a simulator found: .csv with time, neuron, layer if there are several, and dL_dt if you like."""
    residual: float = 1e-3
    """How far the potential may be from the threshold at those spikes, as a share of it."""
    gradient: Literal["exact", "official"] = "exact"
    """official: as the authors' code has it, which is wrong for neurons that fire more than once."""
    directions: int = 5
    """Random directions for each kind of parameter."""
    step: float = 1e-6
    """Of the differences."""
    tolerance: float = 1e-6
    """Largest relative difference."""
    seed: int = 0
    """Of the directions, and of dL/dt where it is not given: the loss is the sum of dL/dt times spike time."""
    out: Path | None = None
    """Write the gradient to this .npz file, under the names of the network's file; inputs by input spike."""


Command = (
    Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Simulate, tyro.conf.subcommand("simulate")]
    | Annotated[Gradcheck, tyro.conf.subcommand("gradcheck")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
)

_RUN: dict[type, Any] = {
    Fit: actions.fit,
    Predict: actions.predict,
    Simulate: network.simulate,
    Gradcheck: network.gradcheck,
    Compare: actions.compare,
    Plot: actions.plot,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0; 1 if a training broke off or a gradient is wrong; 2 for input
    that it can't work with."""
    return run_program(
        "offprint-forward-propagation",
        "Exact gradients of spiking neural networks.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError, CheckpointError, actions.Stopped, Mismatch),
    )


if __name__ == "__main__":
    sys.exit(main())
