"""The exact law of a few saturated stations in one collision domain, without Bianchi's decoupling assumption."""

import itertools
from typing import Literal, NamedTuple

import numpy as np


class Law(NamedTuple):
    """What happens in a slot of the stationary process; a busy period counts as one slot."""

    idle: float
    """Probability that nobody transmits."""
    success: float
    """Probability that exactly one station does."""
    attempt: float
    """Frames a station sends per slot: Bianchi's τ."""
    collided: float
    """Share of the frames that collide: Bianchi's p."""


def exact_law(n: int, W: int, m: int, decrement: Literal["freeze", "bianchi"]) -> Law:
    """Solve the joint Markov chain of (stage, counter) of all stations, (Σ_i W 2^i)^n states.

    Args:
        n: stations.
        W: backoff values of stage 0.
        m: largest stage.
        decrement: "freeze": counters stand still while the medium is busy; "bianchi": those who wait count a busy
            period as a slot.
    """
    single = [(stage, counter) for stage in range(m + 1) for counter in range(W << stage)]
    number = {state: index for index, state in enumerate(single)}
    joint = list(itertools.product(range(len(single)), repeat=n))
    weights = len(single) ** np.arange(n - 1, -1, -1)
    P = np.zeros((len(joint), len(joint)))
    senders = np.array([sum(single[index][1] == 0 for index in state) for state in joint])
    for row, state in enumerate(joint):
        steps = senders[row] == 0 or decrement == "bianchi"
        targets = np.zeros(1, int)
        for weight, index in zip(weights, state):
            stage, counter = single[index]
            if counter == 0:
                stage = 0 if senders[row] == 1 else min(stage + 1, m)
                nexts = np.array([number[stage, drawn] for drawn in range(W << stage)])
            else:
                nexts = np.array([number[stage, counter - 1 if steps else counter]])
            targets = (targets[:, None] + weight * nexts).ravel()
        P[row, targets] = 1 / len(targets)
    # π (P - 1) = 0 with Σ π = 1 in place of one of the equations.
    equations = P.T - np.eye(len(P))
    equations[-1] = 1
    pi = np.linalg.solve(equations, np.eye(len(P))[-1])
    attempts = pi @ senders
    alone = pi @ (senders == 1)
    return Law(float(pi @ (senders == 0)), float(alone), float(attempts / n), float(1 - alone / attempts))
