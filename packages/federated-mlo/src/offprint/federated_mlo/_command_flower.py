"""The Flower apps that the command `flower-app` writes: their files, and what these files call."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from offprint.core.flower import LocalGrid
from offprint.core.program import UsageError
from offprint.federated_mlo._command_networks import Setup, environment
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._loop import learns
from offprint.federated_mlo._protocol import FRLConfig, method
from offprint.federated_mlo._topology import Topology
from offprint.federated_mlo.flower import FedVisitAvg, FlowerRun, client_app, server_app

SETTINGS = "links/settings.json"
LONGEST_ANSWER_S = 600
"""Flower starts a process for every message to a node, which takes its time, and a node may measure for a while."""

_PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
description = "Which links each access point switches on, learned together"
license = "Apache-2.0"
requires-python = ">=3.11"
# Flower would install what is named here anew for every run: install offprint-federated-mlo[flower] on all machines.
dependencies = []

[tool.hatch.build.targets.wheel]
packages = ["links"]

[tool.flwr.app]
publisher = "offprint"

[tool.flwr.app.components]
serverapp = "links.server:app"
clientapp = "links.client:app"

[tool.flwr.app.config]
"""
_SERVER = '''"""The server: it asks the access points for actions, and sends back the common objective."""

from pathlib import Path

from offprint.federated_mlo._command_flower import server

app = server(Path(__file__).parents[1])
'''
_CLIENT = '''"""One access point; `bss` in the configuration of its node says which."""

from pathlib import Path

from offprint.federated_mlo._command_flower import client

app = client(Path(__file__).parents[1])
'''

log = logging.getLogger("flwr")


def write_app(folder: Path, site: Setup, name: str, steps: int, measured: bool, seed: int) -> None:
    """An app in a new folder.

    Raises:
        UsageError: the folder is there, or its name is none that Flower takes; a method that learns nothing.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already; choose another --out")
    if not folder.resolve().name.replace("-", "").isalnum() or not folder.resolve().name[0].isalpha():
        raise UsageError(f"--out {folder}: Flower takes names of letters, digits and hyphens that begin with a letter")
    env, agent, _ = method(name, site.env, site.params, steps)
    if not learns(agent):
        raise UsageError(f"--method {name} learns nothing; frl_minrate, frl_mix, frl_fedavg, frl_fedavg_occ and rl do")
    if measured and env.obs != "none":
        raise UsageError(f"--method {name} needs to know how busy links are, which --measured does not tell")
    topology = {n: np.asarray(v).tolist() for n, v in site.topology._asdict().items() if v is not None}
    settings = {"method": name, "steps": steps, "measured": measured, "seed": seed, "model": site.env.model}
    files = {
        "pyproject.toml": _PROJECT.format(name=folder.resolve().name),
        "links/__init__.py": '"""A Flower app."""\n',
        "links/server.py": _SERVER,
        "links/client.py": _CLIENT,
        SETTINGS: json.dumps(settings | {"names": site.names, "topology": topology}) + "\n",
    }
    (folder / "links").mkdir(parents=True)
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")


def read_app(folder: Path) -> tuple[dict[str, Any], MLOEnv, MLOParams, Any, FRLConfig]:
    """Settings of an app, and its environment, learner and protocol."""
    path = folder / SETTINGS
    if not path.is_file():
        raise UsageError(f"{folder} holds no app; flower-app --out {folder} writes one")
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    arrays = {n: jnp.asarray(v, bool if n in ("adj", "intf") else float) for n, v in settings["topology"].items()}
    env, params = environment(Topology(**arrays), settings["model"])
    env, agent, frl = method(settings["method"], env, params, settings["steps"])
    return settings, env, params, agent, frl


def client(folder: Path) -> ClientApp:
    """The app of the nodes."""
    settings, env, _, agent, _ = read_app(folder)
    return client_app(env, agent, seed=settings["seed"], radio=program_radio if settings["measured"] else None)


def server(folder: Path, finished: Any = None) -> ServerApp:
    """The app of the server; `finished` is called with the results at the end, which by default logs them."""
    settings, env, params, agent, frl = read_app(folder)

    def tell(result: FlowerRun) -> None:
        for row in summary(result, settings["names"], env.num_links):
            log.info("%s", ", ".join(f"{name} {value}" for name, value in row.items()))

    strategy = FedVisitAvg(env, agent, frl, seed=settings["seed"])
    options = {"steps": settings["steps"], "measured": settings["measured"], "seed": settings["seed"]}
    return server_app(env, params, strategy, timeout_s=LONGEST_ANSWER_S, finished=finished or tell, **options)


def program_radio(context: Context, mask: np.ndarray) -> float:
    """Throughput in Mb/s that the program `radio` of a node's configuration prints, called with the links to use."""
    program = context.node_config.get("radio")
    if not program:
        raise ValueError("the node has no program to measure with: start it with --node-config 'bss=0 radio=\"PATH\"'")
    links = [f"{link}" for link in np.flatnonzero(mask)]
    done = subprocess.run([f"{program}", *links], capture_output=True, text=True, timeout=LONGEST_ANSWER_S)
    try:
        return float(done.stdout) if done.returncode == 0 else float("nan")
    except ValueError:
        return float("nan")


def rehearse(folder: Path, radio: str) -> tuple[FlowerRun, tuple[str, ...], int]:
    """Run an app with all its nodes in this process; its results, the names of the BSSs, the number of links."""
    settings, env, *_ = read_app(folder)
    if settings["measured"] and not radio:
        raise UsageError("the nodes of this app measure: name their program by --radio PATH")
    ended: list[FlowerRun] = []
    nodes = [{"bss": bss} | ({"radio": radio} if radio else {}) for bss in range(env.num_bss)]
    grid = LocalGrid(client(folder), nodes)
    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    server(folder, ended.append)(grid, context)
    return ended[0], tuple(settings["names"]), env.num_links


def summary(result: FlowerRun, names: Any, num_links: int) -> list[dict[str, Any]]:
    """Of each BSS: the links that it used last, and its throughput over the last fifth of the steps."""
    tail = result.throughput[-max(len(result.throughput) // 5, 1) :]
    known = np.isfinite(tail)
    rates = np.where(known, tail, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    links = [" ".join(str(n) for n in range(num_links) if (int(a) + 1) >> n & 1) for a in result.actions[-1]]
    return [{"BSS": name, "links": on, "Mb/s": float(x)} for name, on, x in zip(names, links, rates)]


def how_to_start(folder: Path, site: Setup, measured: bool) -> list[str]:
    """The commands, one a line."""
    last = site.env.num_bss - 1
    node = 'bss=0 radio="PATH"' if measured else "bss=0"
    return [
        "flower-superlink --insecure    (on one machine; its log names address and port; for TLS see Flower's manual)",
        f"flower-supernode --insecure --superlink HOST:PORT --node-config '{node}'    (on each; bss=0 to {last})",
        f"flwr run {folder} --stream    (with the address of the SuperLink in Flower's config.toml)",
    ]
