"""Twelve fixed random deployments, so that learners are compared on the same ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from offprint.federated_mlo.data._shipped import shipped


class Random5Deployments(NamedTuple):
    """5 BSSs with 3 links each on 60 m by 60 m; throughputs by the Markov-network model, optima by enumeration."""

    adj: Bool[np.ndarray, "deployments links bss bss"]
    theta: Float[np.ndarray, "deployments bss links"]
    """Activity ratio T_s / (E[BO] sigma)."""
    cap: Float[np.ndarray, "deployments bss links"]
    """Mb/s while transmitting all the time."""
    opt_min: Float[np.ndarray, " deployments"]
    """Mb/s, the largest minimum over BSSs of any joint action."""
    all_links_min: Float[np.ndarray, " deployments"]
    """Mb/s, the minimum with all links on."""
    mean_min: Float[np.ndarray, " deployments"]
    """Mb/s, the expected minimum under uniformly random actions."""
    max_sum: Float[np.ndarray, " deployments"]
    """Mb/s, the largest sum over BSSs."""
    seeds: Int[np.ndarray, " deployments"]
    """Of the program that placed them; not keys of this package."""


def random5_deployments() -> Random5Deployments:
    """The twelve deployments, float64."""
    a = shipped("random5_l3_deployments.npz")
    return Random5Deployments(**(a | {"adj": a["adj"] != 0}))
