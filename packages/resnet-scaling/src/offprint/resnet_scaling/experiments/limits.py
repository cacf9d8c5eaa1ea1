"""How fast networks with given weights approach their continuous limits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, near, ordered
from offprint.resnet_scaling import limits, plots
from offprint.resnet_scaling._forward import Activation, sigma_of

_X0 = np.array([0.7, -0.4])
_MILD, _STRONG = (0.5, 0.3), (0.6, 0.4)
"""Scales q_A, q_b of the noise. The rate of expm1 is measured with the mild one: under the strong one its SDE has such
heavy tails that thousands of paths do not settle a rate."""


@dataclass(frozen=True)
class LimitsConfig:
    """Settings of the convergence study."""

    ode_depths: tuple[int, ...] = tuple(2**k for k in range(6, 14))
    """Depths of networks with smooth weights."""
    sde_depths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Depths of networks with rough weights, which divide `sde_steps`."""
    sde_steps: int = 8192
    """Steps of the limit."""
    rate_paths: int = 2000
    """Paths of the noise for the strong rates; with 300 the rate still depends on the seed by 0.05."""
    paths: int = 300
    """Paths of the noise for the Itô term and for the ReLU."""
    relu_depths: tuple[int, ...] = (64, 256, 1024, 4096)
    """Depths of ReLU networks with rough weights."""
    seed: int = 0
    """Of the noise."""


@experiment(
    "limits",
    reproduces="Convergence to the ODE and SDE limits",
    paper=LimitsConfig(
        ode_depths=tuple(2**k for k in range(6, 17)),
        sde_depths=tuple(2**k for k in range(6, 13)),
        sde_steps=2**16,
        rate_paths=10_000,
        paths=10_000,
    ),
    x64=True,
    long=True,
)
def convergence(config: LimitsConfig, run: Run) -> Iterator[Claim]:
    """Networks with given weights approach their ODE or SDE limit at the rates of theory; the Itô term is needed."""
    smooth = {label: _smooth(config, *case) for label, case in _SMOOTH.items()}
    noisy = {label: _noisy(config, config.rate_paths, *case) for label, case in _NOISY.items()}
    strong = {ito: _noisy(config, config.paths, jnp.expm1, _STRONG, ito=ito) for ito in (True, False)}
    labels = {True: "expm1, strong noise", False: "expm1, strong noise, without the Itô term"}
    curves = noisy | {labels[ito]: rate for ito, rate in strong.items()}
    for label, rate in (smooth | curves).items():
        run.log(case=label, rate=rate.rate, errors=rate.errors.tolist(), depths=rate.depths.tolist())
    run.figure(
        "ode",
        plots.limit_errors({label: (rate.depths, rate.errors) for label, rate in smooth.items()}),
        "Distance of networks with smooth weights from their ODE limit at t = 1.",
    )
    run.figure(
        "sde",
        plots.limit_errors({label: (rate.depths, rate.errors) for label, rate in curves.items()}),
        f"Root mean square distance of networks with weights Ā/L + ΔW from the SDE limit on the same noise "
        f"({config.rate_paths} paths, {config.paths} for the strong noise; {config.sde_steps} steps of the limit).",
    )
    for label in ("tanh, α = 1, β = 0", "tanh, α = β = ½", "ReLU, α = β = ½"):
        yield Claim(f"rate of the ODE limit: {label}", paper=1, here=smooth[label].rate, rule=near(1, 0.05))
    label = "expm1, α = β = ½"
    yield Claim(
        f"rate of the linear ODE limit at the largest depths, σ''(0) ≠ 0: {label}",
        paper=0.5,
        here=smooth[label].local[-1],
        rule=near(0.5, 0.05),
    )
    for label, rate in noisy.items():
        yield Claim(f"strong rate of the SDE limit: {label}", paper=0.5, here=rate.rate, rule=near(0.5, 0.07))
    at = config.sde_depths.index(1024)
    yield Claim("error of the SDE limit at L = 1024, expm1", "falls", strong[True].errors[at], at_most(0.05))
    yield Claim(
        "the same without the Itô term ½ σ''(0) Q", "a constant is left", strong[False].errors[at], at_least(0.35)
    )
    yield Claim("rate without the Itô term", paper=0, here=strong[False].rate, rule=near(0, 0.1))
    yield from _relu(config, run)


_SMOOTH: dict[str, tuple[Activation, float, float]] = {
    "tanh, α = 1, β = 0": ("tanh", 1.0, 0.0),
    "tanh, α = β = ½": ("tanh", 0.5, 0.5),
    "tanh, α = 0.7, β = 0.3": ("tanh", 0.7, 0.3),
    "expm1, α = β = ½": (jnp.expm1, 0.5, 0.5),
    "ReLU, α = β = ½": ("relu", 0.5, 0.5),
}
_NOISY: dict[str, tuple[Activation, tuple[float, float]]] = {
    "tanh": ("tanh", _STRONG),
    "expm1": (jnp.expm1, _MILD),
    "swish": (jax.nn.swish, _STRONG),
}


def _A_bar(t: Array) -> Float[Array, "2 2"]:
    return jnp.array([[-0.5, -jnp.cos(2 * t)], [jnp.cos(2 * t), -0.5 * jnp.sin(3 * t)]])


def _b_bar(t: Array) -> Float[Array, " 2"]:
    return jnp.stack([jnp.sin(2 * t), jnp.asarray(0.5)])


def _smooth(config: LimitsConfig, activation: Activation, alpha: float, beta: float) -> limits.Rate:
    return limits.convergence_rate(
        _A_bar, _b_bar, _X0, config.ode_depths, alpha=alpha, beta=beta, activation=activation
    )


def _noisy(
    config: LimitsConfig, paths: int, activation: Activation, scales: tuple[float, float], *, ito: bool = True
) -> limits.Rate:
    return limits.strong_convergence_rate(
        _A_bar,
        _b_bar,
        np.broadcast_to(_X0, (paths, 2)),
        config.sde_depths,
        scale_A=scales[0],
        scale_b=scales[1],
        activation=activation,
        key=jax.random.key(config.seed),
        n_steps=config.sde_steps,
        ito=ito,
    )


def _relu(config: LimitsConfig, run: Run) -> Iterator[Claim]:
    """ReLU with rough weights: with δ of one sign every layer pushes up by √dt, so that there is no limit."""
    key = jax.random.key(config.seed)
    norms = {
        signs: [np.median(_relu_norms(key, jnp.asarray(L), config.paths, signs)) for L in config.relu_depths]
        for signs in ("one", "random")
    }
    run.log(case="ReLU, rough weights", depths=list(config.relu_depths), median_norm=norms)
    grown = {f"L{L}": float(np.log10(norm)) for L, norm in zip(config.relu_depths, norms["one"])}
    yield Claim(
        "ReLU, rough weights, δ of one sign: log10 of the median |h_L|",
        paper="0.8, 2.0, 4.3, 9.1 at L = 64, 256, 1024, 4096: grows like √L",
        here=grown,
        rule=ordered(*(f"{one} < {two}" for one, two in zip(grown, list(grown)[1:])), f"{list(grown)[-1]} > 4"),
    )
    yield Claim(
        "the same with random signs: largest over smallest median |h_L|",
        paper=1.02,
        here=max(norms["random"]) / min(norms["random"]),
        rule=at_most(1.15),
    )


@partial(jax.jit, static_argnames=("paths", "signs"))
def _relu_norms(key: PRNGKeyArray, depth: Array, paths: int, signs: str) -> Float[Array, " paths"]:
    """|h_L| of h + ±σ(h A_k + b_k) with weights Ā/L + ΔW."""
    relu: Callable[[Array], Array] = sigma_of("relu")

    def layer(k: Array, h: Array) -> Array:
        to_noise, to_sign = jax.random.split(jax.random.fold_in(key, k))
        noise = jax.random.normal(to_noise, (3, 2, paths)) / jnp.sqrt(depth)
        A, b = _A_bar(k / depth) / depth, _b_bar(k / depth) / depth
        rough = _STRONG[0] * jnp.sum(h[:, None] * noise[:2], axis=0) + _STRONG[1] * noise[2]
        sign = jax.random.rademacher(to_sign, (paths,), float) if signs == "random" else 1.0
        return h + sign * relu(A.T @ h + b[:, None] + rough)

    return jnp.linalg.norm(jax.lax.fori_loop(0, depth, layer, jnp.tile(jnp.asarray(_X0)[:, None], paths)), axis=0)
