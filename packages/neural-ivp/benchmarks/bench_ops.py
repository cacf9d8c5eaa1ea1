"""Laplacians and higher derivatives of a sinusoidal network: ours, reverse over forward mode, Taylor mode.

Ours are nested forward-mode derivatives, from which XLA removes what the directions and orders have in common. Peers:
the trace of jacfwd(grad), as it is usually written; jacfwd(jacfwd); `jax.experimental.jet`. Apart from time, the table
has the operations that XLA counts, in units of those of evaluating the network.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import jet

from offprint.core.benchmark import measure, report, row
from offprint.neural_ivp import ops

WIDTH, FREQUENCIES, POINTS = 100, 3, 4000


def network(d, key):
    """Weights, and the network as a function of them and a point; no boundary factor, for which jet has no rule."""
    sizes = [2 * FREQUENCIES * d, WIDTH, WIDTH, WIDTH, 1]
    keys = jax.random.split(key, 4)
    weights = [jax.random.normal(k, (n, m)) / n**0.5 for k, n, m in zip(keys, sizes, sizes[1:])]
    frequencies = np.pi / 2 * 2.0 ** np.arange(FREQUENCIES)[:, None]

    def u(weights, x):
        waves = frequencies.astype(x.dtype) * x
        y = 1.5 * jnp.concatenate([jnp.sin(waves).reshape(-1), jnp.cos(waves).reshape(-1)])
        for W in weights[:-1]:
            y = jax.nn.swish(y @ W)
        return y @ weights[-1]

    return weights, u


def reverse_laplacian(u, x):
    return jnp.trace(jax.jacfwd(jax.grad(lambda y: u(y)[0]))(x))[None]


def forward_laplacian(u, x):
    return jnp.trace(jax.jacfwd(jax.jacfwd(u))(x), axis1=-2, axis2=-1)


def along(u, x, v, order):
    zeros = [jnp.zeros_like(v)] * (order - 1)
    return jet.jet(u, (x,), ((v, *zeros),))[1][-1]


def taylor_laplacian(u, x):
    return jax.vmap(lambda v: along(u, x, v, 2))(jnp.eye(x.shape[0], dtype=x.dtype)).sum(axis=0)


def compare(name, d, ours, peers):
    weights, u = network(d, jax.random.key(d))
    X = jax.random.uniform(jax.random.key(0), (POINTS, d), minval=-1, maxval=1)

    def compiled(operator):
        evaluate = jax.jit(lambda weights, X: jax.vmap(lambda x: operator(lambda y: u(weights, y), x))(X))
        return evaluate, evaluate.lower(weights, X).compile().cost_analysis()["flops"]

    programs = {key: compiled(f) for key, f in {"value": lambda u, x: u(x), "ours": ours, **peers}.items()}
    timings = measure({key: (lambda f=f: f(weights, X)) for key, (f, _) in programs.items()})
    unit = programs["value"][1]
    reference = np.asarray(programs["ours"][0](weights, X))
    for peer in peers:
        assert np.allclose(programs[peer][0](weights, X), reference, rtol=1e-2, atol=1e-2 * np.abs(reference).max())
        yield {
            **row(name, ours=timings["ours"], peer=timings[peer], peer_name=peer),
            "operations": programs["ours"][1] / unit,
            "peer's operations": programs[peer][1] / unit,
        }


def main():
    laplacians = {"jacfwd(grad)": reverse_laplacian, "jacfwd(jacfwd)": forward_laplacian, "jet": taylor_laplacian}
    rows = []
    for d in (2, 3, 5):
        rows += compare(f"Laplacian, d={d}", d, ops.laplacian, laplacians)
    for order in (3, 4):
        rows += compare(
            f"derivative of order {order}, d=1",
            1,
            lambda u, x, order=order: ops.partial(u, x, *[0] * order),
            {"jet": lambda u, x, order=order: along(u, x, jnp.ones_like(x), order)},
        )
    report(f"derivatives at {POINTS} points, width {WIDTH}, float32", rows, note="operations: in evaluations of u")


if __name__ == "__main__":
    main()
