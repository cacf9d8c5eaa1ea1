"""The program `offprint-federated-mlo`: which links to switch on, in a scenario or on a site of one's own."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program
from offprint.federated_mlo import _command_actions as actions

Objective = Literal["maxmin", "sum", "pf"]
Run = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Network:
    """BSSs, their links, and who hears whom: a scenario, or a site of your own."""

    scenario: str = "chain3_l2"
    """chain3_l2, chain5_l2, star4_l2, clique3_l2, ring5_l2, chain4_l3, random5_l3, random5_l3_sparse, clique_basic,
    komondor_cw16, ns3_11ax."""
    placement: int = 0
    """Of a random scenario: seed of where the BSSs stand."""
    positions: Path | None = None
    """Instead of a scenario: .csv file of where access points and stations stand."""
    rssi: Path | None = None
    """Instead of a scenario: .csv or .npz file of what they receive from each other, in dBm."""
    bands: tuple[str, ...] = ("2.437:20", "5.23:40", "6.295:80")
    """Own site: GHz and MHz of each link, GHz:MHz."""
    streams: int = 2
    """Own site: spatial streams."""
    power: float = 20.0
    """Own site: transmit power in dBm, of --positions."""
    cca: float = -82.0
    """Own site: received power in dBm from which on a channel counts as busy."""
    path_loss: str = "tgax_residential"
    """Own site: tgax_residential, tgax_enterprise, tmb, friis or log_distance, of --positions."""
    access: Literal["rts", "basic"] = "rts"
    """Own site: whether data frames are preceded by RTS and CTS."""
    model: Literal["ctmn", "bethe", "bianchi", "airtime", "dcf"] | None = None
    """Of the channel: Markov network; the same approximately, for more than 16 BSSs that hang together; one collision
    domain with collisions; flow level; event-level simulation. By default the scenario's; ctmn on your own site."""


@dataclass(frozen=True)
class Train:
    """Let the BSSs learn by several methods, and compare them."""

    network: Annotated[Network, tyro.conf.arg(name="")]
    out: Path
    """Folder of the run: config.json, summary.csv, runs.csv, results.npz."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--method"])] = (
        "frl_minrate",
        "rl",
        "fixed:all",
        "random",
    )
    """frl_minrate, frl_mix, frl_fedavg, frl_fedavg_occ, rl, random, random_once, fixed:all, fixed:MASK,
    fixed:roundrobin, greedy_coloring, best_response, oracle_maxmin, oracle_sum, oracle_pf."""
    steps: int = 4000
    """Steps of learning; results are means over the last fifth."""
    seeds: int = 64
    """Runs of each method."""
    window: float = 0.5
    """dcf: seconds of a step."""
    seed: int = 0
    """Of the runs' random numbers."""


@dataclass(frozen=True)
class Plot:
    """Figures of a run."""

    run: Run
    """Folder that run wrote."""
    what: Literal["curves", "cdf", "fairness", "actions", "map"] = "curves"
    """Smallest throughput over the steps; distribution of throughputs; smallest throughput and Jain's index; how often
    each set of links is used; links on a map, as learned by the first run of each method."""
    out: Path | None = None
    """Image file; by default in the folder of the run."""


@dataclass(frozen=True)
class Oracle:
    """The best links of each BSS by search, next to all links on."""

    network: Annotated[Network, tyro.conf.arg(name="")]
    objective: Objective = "maxmin"
    """What is largest: the smallest throughput, the sum of all, or the sum of their logarithms (proportional
    fairness)."""
    search: Literal["exhaustive", "local_search"] = "exhaustive"
    """All joint actions, or local search, which finds good ones of many."""
    seed: int = 0
    """local_search: of where it starts."""
    out: Path | None = None
    """Write the table to this .csv or .npz file."""
    plot: Path | None = None
    """Draw the links on a map to this image file."""


@dataclass(frozen=True)
class Validate:
    """Compare the channel models with published numbers, exact solutions and each other."""

    events: int = 2000
    """Busy periods of each of 500 simulated copies."""
    seed: int = 0
    """Of the simulations."""
    out: Path | None = None
    """Write the table to this .csv file."""


@dataclass(frozen=True)
class FlowerApp:
    """Write a Flower app, in which every access point is a node, and the commands that start it."""

    network: Annotated[Network, tyro.conf.arg(name="")]
    out: Path
    """Folder of the app, named by letters, digits and hyphens."""
    method: str = "frl_minrate"
    """A method that learns, as in run."""
    steps: int = 1000
    """Steps of learning."""
    measured: bool = False
    """Nodes measure their throughput: each runs the program that radio="PATH" in its --node-config names, with the
    numbers of the links to use, and reads Mb/s from what it prints. Otherwise the server hosts the network."""
    seed: int = 0
    """Of all random numbers."""


@dataclass(frozen=True)
class FlowerLocal:
    """Run a Flower app that flower-app has written with all its nodes in this process, as a rehearsal."""

    app: Annotated[Path, tyro.conf.Positional]
    """Its folder."""
    radio: str = ""
    """measured: the program of all nodes."""
    out: Path | None = None
    """Write throughputs and actions of all steps to this .npz file."""


Command = (
    Annotated[Train, tyro.conf.subcommand("run")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Oracle, tyro.conf.subcommand("oracle")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[FlowerApp, tyro.conf.subcommand("flower-app")]
    | Annotated[FlowerLocal, tyro.conf.subcommand("flower-local")]
)

_RUN: dict[type, Any] = {
    Train: actions.train,
    Plot: actions.plot,
    Oracle: actions.oracle,
    Validate: actions.validate,
    FlowerApp: actions.flower_app,
    FlowerLocal: actions.flower_local,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a failed validation or run, 2 for input of no use."""
    return run_program(
        "offprint-federated-mlo",
        "Federated reinforcement learning of which Wi-Fi 7 links to switch on.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError, actions.Failed),
    )


if __name__ == "__main__":
    sys.exit(main())
