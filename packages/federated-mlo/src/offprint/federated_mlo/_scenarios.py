"""Scenarios: the named topologies on which methods are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jaxtyping import PRNGKeyArray

from offprint.federated_mlo._checks import check_choice
from offprint.federated_mlo._deployment import random_deployment
from offprint.federated_mlo._radio import DEFAULT_RADIO, Radio
from offprint.federated_mlo._topology import Graph, Topology, from_graph, from_positions, named_graph
from offprint.federated_mlo._txop import txop_times

DEFAULT_SCENARIO = "chain3_l2"
"""Three BSSs in a row of which the middle one hears both and the ends do not hear each other, on two equal links."""


@dataclass(frozen=True)
class Scenario:
    """A topology by name; `build(key=None, **options)` makes it."""

    build: Callable[..., Topology]
    model: str  # of the channel that suits it: "ctmn" or "bianchi"
    summary: str
    needs_key: bool = False


def scenario_topology(name: str = DEFAULT_SCENARIO, key: PRNGKeyArray | None = None, **options: Any) -> Topology:
    """The topology of a scenario in `SCENARIOS`.

    Args:
        name: a name in `SCENARIOS`.
        key: of the placement; the random scenarios need one, and `jax.vmap` over keys gives many deployments.
        **options: of the scenario, such as `num_bss`, `num_links`, `area_m` or `radio`.

    Raises:
        ValueError: an unknown name, a random scenario without a key, stations that are out of range on all links.
        TypeError: an option that the scenario does not have.
    """
    check_choice("name", name, SCENARIOS)
    scenario = SCENARIOS[name]
    if not scenario.needs_key:
        return scenario.build(**options)
    if key is None:
        raise ValueError(f"{name} is a random placement; pass a key, such as jax.random.key(0)")
    return scenario.build(key, **options)


def _abstract(graph: Graph, num_bss: int, num_links: int) -> Scenario:
    """Unit capacity of 1000 Mb/s and full TXOPs of 5566 us on equal links."""

    def build(num_bss: int = num_bss, num_links: int = num_links, **options: Any) -> Topology:
        return from_graph(named_graph(graph, num_bss, num_links), **options)

    return Scenario(build, "ctmn", f"{graph} of {num_bss} BSSs, {num_links} equal links of 1000 Mb/s")


def _random(area: float, summary: str) -> Scenario:
    def build(
        key: PRNGKeyArray,
        num_bss: int = 5,
        area_m: float | int = area,
        r_min: float | int = 1.0,
        r_max: float | int = 8.0,
        radio: Radio = DEFAULT_RADIO,
    ) -> Topology:
        return from_positions(*random_deployment(key, num_bss, area_m, r_min, r_max), radio)

    return Scenario(build, "ctmn", summary, needs_key=True)


def _clique_basic(
    num_bss: int = 3, num_links: int = 3, mcs: int = 11, bw_mhz: int = 80, nss: int = 2, access: str = "basic"
) -> Topology:
    return _one_domain(num_bss, num_links, mcs=mcs, bw_mhz=bw_mhz, nss=nss, access=access)


def _komondor_cw16(num_bss: int = 10, num_links: int = 1) -> Topology:
    """The model runs it with W = 16 and no doubling, m = 0."""
    return _one_domain(num_bss, num_links, mcs=9, bw_mhz=20, access="rts", preset="komondor")


def _ns3_11ax(num_bss: int = 5, num_links: int = 1, mcs: int = 7, bw_mhz: int = 20, eifs: bool = True) -> Topology:
    return _one_domain(num_bss, num_links, mcs=mcs, bw_mhz=bw_mhz, access="basic", preset="ns3_11ax", eifs=eifs)


def _one_domain(num_bss: int, num_links: int, **frame: Any) -> Topology:
    """BSSs that all hear each other, with equal links."""
    times = txop_times(**frame)
    t_s, t_c = float(times.t_s), float(times.t_c)
    graph = named_graph("clique", num_bss, num_links)
    return from_graph(graph, t_s / 67.5, float(times.bits) / t_s, t_s=t_s, t_c=t_c)


SCENARIOS: MappingProxyType[str, Scenario] = MappingProxyType(
    {
        "chain3_l2": _abstract("chain", 3, 2),
        "chain5_l2": _abstract("chain", 5, 2),
        "star4_l2": _abstract("star", 4, 2),
        "clique3_l2": _abstract("clique", 3, 2),
        "ring5_l2": _abstract("ring", 5, 2),
        "chain4_l3": _abstract("chain", 4, 3),
        "random5_l3": _random(60.0, "5 BSSs at random in 60 m x 60 m, links at 2.4, 5 and 6 GHz of 20, 40 and 80 MHz"),
        "random5_l3_sparse": _random(90.0, "the same in 90 m x 90 m"),
        "clique_basic": Scenario(_clique_basic, "bianchi", "one collision domain, basic access"),
        "komondor_cw16": Scenario(_komondor_cw16, "bianchi", "Komondor's validation: CW 16, MCS 9, 20 MHz, RTS/CTS"),
        "ns3_11ax": Scenario(_ns3_11ax, "bianchi", "the Bianchi example of ns-3: 1500-byte frames, no aggregation"),
    }
)
