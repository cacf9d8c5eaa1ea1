"""Bad input to the limits and the phase diagram: one clear error or warning each."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import log_ratios, phase_diagram
from offprint.resnet_scaling.limits import (
    Increments,
    brownian_increments,
    convergence_rate,
    linear_ode,
    neural_ode,
    sde,
    strong_convergence_rate,
)

X0 = np.array([0.7, -0.4])
KEY = jax.random.key(0)
SCALES = {"scale_A": 0.5, "scale_b": 0.3}
DEPTHS = [4, 8, 16]


def A_bar(t):
    return jnp.zeros((2, 2))


def b_bar(t):
    return jnp.ones(2)


KINK = (
    "the activation relu has a kink at 0: its slope jumps by 1 there, so σ'(0) does not exist. ReLU networks have other"
)

CASES = {
    "linear ODE of a sigmoid": (
        lambda: linear_ode(A_bar, b_bar, X0, activation=jax.nn.sigmoid),
        "the activation sigmoid has σ(0) = 0.5, and the linearised ODE and the SDE need σ(0) = 0",
    ),
    "linear ODE of a ReLU": (lambda: linear_ode(A_bar, b_bar, X0, activation="relu"), KINK),
    "SDE of a ReLU": (lambda: sde(A_bar, b_bar, X0, activation="relu", key=KEY, n_steps=4, **SCALES), KINK),
    "rate of the SDE of a ReLU": (
        lambda: strong_convergence_rate(A_bar, b_bar, X0, DEPTHS, activation="relu", key=KEY, **SCALES),
        KINK,
    ),
    "unknown activation": (lambda: neural_ode(A_bar, b_bar, X0, activation="gelu"), "activation='gelu' is unknown"),
    "A of another width": (
        lambda: neural_ode(lambda t: jnp.eye(3), b_bar, X0),
        "A_bar(0) must have shape (2, 2) to match a width of 2, got shape (3, 3)",
    ),
    "array of another width": (
        lambda: linear_ode(np.zeros((5, 2, 2)), np.zeros((5, 3)), X0),
        "each entry of b_bar must have shape (2,) to match a width of 2, got shape (3,)",
    ),
    "no values": (
        lambda: linear_ode(np.zeros((0, 2, 2)), b_bar, X0),
        "A_bar must be a function of t or hold at least one value, got shape (0, 2, 2)",
    ),
    "no noise": (
        lambda: sde(A_bar, b_bar, X0, n_steps=4, **SCALES),
        "the noise is needed once: give increments or a Brownian path as dW, or a key, not both",
    ),
    "noise twice": (
        lambda: sde(A_bar, b_bar, X0, key=KEY, dW=brownian_increments(KEY, 4, 2, **SCALES), **SCALES),
        "the noise is needed once",
    ),
    "no number of steps": (
        lambda: sde(A_bar, b_bar, X0, key=KEY, **SCALES),
        "n_steps must say how many steps to take, at least 1, got None",
    ),
    "another number of steps": (
        lambda: sde(A_bar, b_bar, X0, dW=brownian_increments(KEY, 4, 2, **SCALES), n_steps=5, **SCALES),
        "dW holds 4 increments, so that n_steps=5 is not possible; leave it out",
    ),
    "increments of other paths": (
        lambda: sde(A_bar, b_bar, X0, dW=Increments(np.zeros((3, 4, 2, 2)), np.zeros((3, 4, 2))), **SCALES),
        "dW must hold increments A of shape (F, 2, 2) and b of shape (F, 2) for x0 of shape (2,), got (3, 4, 2, 2) and "
        "(3, 4, 2)",
    ),
    "no steps": (
        lambda: brownian_increments(KEY, 0, 2, **SCALES),
        "at least one step and a width of at least 1 are needed, got n_steps=0, dim=2",
    ),
    "two depths": (
        lambda: convergence_rate(A_bar, b_bar, X0, [4, 8], alpha=1, beta=0),
        "at least 3 depths, all integers, are needed for a rate, got [4, 8]",
    ),
    "descending depths": (
        lambda: convergence_rate(A_bar, b_bar, X0, [16, 8, 4], alpha=1, beta=0),
        "the depths must be positive and ascending, got [16, 8, 4]",
    ),
    "depths that do not divide the steps": (
        lambda: strong_convergence_rate(A_bar, b_bar, X0, [4, 6, 8], key=KEY, n_steps=16, **SCALES),
        "every depth must divide the 16 steps of the limit, got [4, 6, 8]",
    ),
    "unknown law": (
        lambda: log_ratios(KEY, 4, np.ones(1), law="fbm"),
        "law='fbm' is unknown; one of 'fgn', 'iid', 'rbf', 'smooth' is needed",
    ),
    "Hurst exponent of 1": (
        lambda: log_ratios(KEY, 4, np.ones(1), law="fgn", hurst=1.0),
        "hurst=1; a Hurst exponent lies strictly between 0 and 1",
    ),
    "no depth": (
        lambda: log_ratios(KEY, 0, np.ones(1), repeats=0),
        "depth, width and repeats must be at least 1, got depth=0, repeats=0",
    ),
    "Hurst exponents outside": (
        lambda: phase_diagram(KEY, [0.5, 1.2], [0.5, 1.0]),
        "Hurst exponents lie strictly between 0 and 1, got [0.5, 1.2]",
    ),
    "descending betas": (
        lambda: phase_diagram(KEY, [0.5], [1.0, 0.5]),
        "betas must be ascending, got [1.0, 0.5]",
    ),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES.keys())
def test_error(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("alpha", "beta", "reason"),
    [(0.2, 0.3, "the hidden states blow up"), (1.0, 0.4, "the network tends to the identity")],
)
def test_warning_where_there_is_no_limit(alpha, beta, reason):
    text = (
        f"no finite limit of this kind: α + β = {alpha + beta:g} (α = {alpha:g}, β = {beta:g}), and the ODE limits "
        f"need α + β = 1 within 0.15; as the depth grows, {reason}"
    )
    with pytest.warns(UserWarning, match="^" + re.escape(text) + "$"):
        linear_ode(A_bar, b_bar, X0, exponents=(alpha, beta))


@pytest.mark.filterwarnings("error")
def test_no_warning_for_measured_exponents():
    """α = 0.7, β = 0.2 of the paper's networks are near enough."""
    linear_ode(A_bar, b_bar, X0, exponents=(0.7, 0.2))
