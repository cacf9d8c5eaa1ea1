"""The network that a command of `offprint-federated-mlo` is about: a scenario, or a site from the user's files."""

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from offprint.core.program import UsageError
from offprint.federated_mlo._checks import check_choice
from offprint.federated_mlo._dense import edge_topology
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._path_loss import PATH_LOSS
from offprint.federated_mlo._radio import Band, Radio
from offprint.federated_mlo._scenarios import SCENARIOS, scenario_topology
from offprint.federated_mlo._site import read_rssi, read_site
from offprint.federated_mlo._topology import Topology, usable


@dataclass(frozen=True)
class Setup:
    """An environment, and what its BSSs are called."""

    name: str
    names: tuple[str, ...]
    topology: Topology
    env: MLOEnv
    params: MLOParams
    settings: dict[str, Any]
    """The options that it was built with."""

    @property
    def usable(self) -> np.ndarray:
        """Links in range, [bss, links]."""
        return np.asarray(usable(self.topology))

    @property
    def checksum(self) -> int:
        """Of graphs, times and capacities: another file under the same name is another network."""
        checksum = 0
        for leaf in jax.tree.leaves(self.topology):
            checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
        return checksum

    def arrays(self) -> dict[str, np.ndarray]:
        """The topology by the names of its fields, and the largest smallest throughput where a table tells it."""
        fields = {n: np.asarray(v) for n, v in self.topology._asdict().items() if v is not None}
        if self.params.joint is not None:
            fields["optimum"] = np.asarray(self.params.joint.min(axis=1).max())
        return fields


def build(options: Any, **env: Any) -> Setup:
    """The network of a command's options; `env` are fields of `MLOEnv`."""
    given = [flag for flag in ("positions", "rssi") if getattr(options, flag) is not None]
    if len(given) == 2:
        raise UsageError("--positions and --rssi: one of them is needed, not both")
    settings = {n: str(v) if n in given else v for n, v in asdict(options).items() if v is not None}
    if given:
        name, names, topology, model = _own(options)
        settings.pop("scenario")
    else:
        name, topology, model = _scenario(options)
        names = tuple(f"BSS {b}" for b in range(topology.cap.shape[0]))
    return Setup(name, names, topology, *environment(topology, options.model or model, **env), settings)


def environment(topology: Topology, model: str, **options: Any) -> tuple[MLOEnv, MLOParams]:
    """`make_env`, which wants edges for model "bethe"."""
    return make_env(edge_topology(topology) if model == "bethe" else topology, model, **options)


def _scenario(options: Any) -> tuple[str, Topology, str]:
    check_choice("--scenario", options.scenario, SCENARIOS)
    scenario = SCENARIOS[options.scenario]
    key = jax.random.key(options.placement) if scenario.needs_key else None
    name = f"{options.scenario}, placement {options.placement}" if scenario.needs_key else options.scenario
    return name, scenario_topology(options.scenario, key), scenario.model


def _own(options: Any) -> tuple[str, tuple[str, ...], Topology, str]:
    path, radio = options.positions or options.rssi, _radio(options)
    flag, suffixes = ("positions", (".csv",)) if options.positions else ("rssi", (".csv", ".npz"))
    if path.suffix not in suffixes:
        raise UsageError(f"--{flag} {path}: {' or '.join(suffixes)} is needed")
    if not path.is_file():
        raise UsageError(f"--{flag} {path}: the file is not there")
    found: Any = read_site(path) if options.positions else read_rssi(path)
    return path.name, found.names, found.topology(radio), "ctmn"


def _radio(options: Any) -> Radio:
    check_choice("--path-loss", options.path_loss, PATH_LOSS)
    return Radio(
        bands=tuple(_band(text) for text in options.bands),
        nss=options.streams,
        access=options.access,
        tx_power_dbm=options.power,
        cca_dbm=options.cca,
        path_loss=options.path_loss,
    )


def _band(text: str) -> Band:
    try:
        frequency, width = text.split(":")
        return Band(float(frequency), int(width))
    except ValueError:
        raise UsageError(f"--bands {text}: GHz:MHz is needed, such as 5.23:80") from None
