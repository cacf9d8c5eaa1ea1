"""What `sparsify` costs in a training step: 6 layers of 1024 x 1024, batch 128, Adam, on one device.

Peers: the same step with plain optax, and with jaxpruner's wrapper, if it can be imported (from the folder that
OFFPRINT_PEERS names, or installed). Steps run one by one, state donated. `every` is larger than the number of steps:
the table is about the step itself; the last rows are updates of the masks.
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from offprint.core.benchmark import Timing, measure, report
from offprint.sparsity._apply import apply
from offprint.sparsity._sparsify import sparsify, update_masks
from offprint.sparsity._state import masks_of
from offprint.sparsity.methods import DPF, GMP, RigL, Static

KEY = jax.random.key(0)
NEVER = 1_000_000_000


def new_params(layers: int, width: int) -> dict[str, Any]:
    keys = jax.random.split(KEY, layers)
    return {
        f"layer{i}": {"kernel": jax.random.normal(k, (width, width)) * width**-0.5, "bias": jnp.zeros(width)}
        for i, k in enumerate(keys)
    }


def loss(params: dict[str, Any], x: jax.Array) -> jax.Array:
    h = x
    for layer in params.values():
        h = jax.nn.relu(h @ layer["kernel"] + layer["bias"])
    return jnp.mean((h - x) ** 2)


def stepper(tx: optax.GradientTransformation, params: Any, x: jax.Array, after: Callable = lambda p, s: p) -> Callable:
    """A function that takes one step and remembers the state."""

    @jax.jit
    def masked(params):
        return after(params, tx.init(params)), tx.init(params)

    def step(params, state):
        grads = jax.grad(loss)(params, x)
        updates, state = tx.update(grads, state, params)
        return after(optax.apply_updates(params, updates), state), state

    step = jax.jit(step, donate_argnums=(0, 1))
    carry = [masked(params)]

    def run():
        for _ in range(STEPS):
            carry[0] = step(*carry[0])
        return carry[0]

    return run


def jaxpruner_steps(params: Any, x: jax.Array) -> dict[str, Callable]:
    """jaxpruner's GMP, masks as bytes and as bits."""
    if os.environ.get("OFFPRINT_PEERS"):
        sys.path.insert(0, os.environ["OFFPRINT_PEERS"])
    if not hasattr(jax, "tree_map"):
        jax.tree_map = jax.tree.map  # removed from JAX, still called by it
    try:
        import jaxpruner
    except ImportError as error:
        sys.stdout.write(f"jaxpruner is left out: {error}\n")
        return {}
    found = {}
    for name, packed in (("jaxpruner", False), ("jaxpruner packed", True)):
        pruner = jaxpruner.MagnitudePruning(
            sparsity_distribution_fn=lambda params: jax.tree.map(lambda p: 0.9 if p.ndim > 1 else None, params),
            scheduler=jaxpruner.sparsity_schedules.PeriodicSchedule(NEVER, NEVER, NEVER),
            use_packed_masks=packed,
        )
        found[name] = stepper(pruner.wrap_optax(optax.adam(1e-3)), params, x, pruner.post_gradient_update)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="per timed call")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    global STEPS
    STEPS = options.steps
    params = new_params(options.layers, options.width)
    x = jax.random.normal(KEY, (options.batch, options.width))
    adam = optax.adam(1e-3)
    methods = {
        "GMP": GMP(0.9, begin=NEVER, end=NEVER),
        "RigL": RigL(0.9, begin=NEVER, every=NEVER, end=NEVER + 1, dist="uniform"),
        "Static": Static(0.9, dist="uniform"),
        "DPF": DPF(0.9, begin=NEVER, end=NEVER),
    }
    ours = {name: sparsify(adam, method, key=KEY) for name, method in methods.items()}
    ours["Static, packed"] = sparsify(adam, methods["Static"], key=KEY, packed=True)
    steps = {"optax": stepper(adam, params, x)} | {name: stepper(tx, params, x) for name, tx in ours.items()}
    steps |= jaxpruner_steps(params, x)
    times = measure(steps, repeats=options.repeats)
    dense = times["optax"]
    shape = f"{options.layers} x {options.width}², batch {options.batch}"
    rows = [_line(name, timing, dense) for name, timing in times.items()]
    report(f"training step, {shape}", rows, note="overhead over plain optax")
    report(f"update of the masks, {shape}", _updates(params, x))


def _line(name: str, timing: Timing, dense: Timing) -> dict[str, Any]:
    return {
        "workload": name,
        "step [ms]": 1e3 * timing.median / STEPS,
        "overhead of medians [%]": 100 * (timing.median / dense.median - 1),
        "overhead of least [%]": 100 * (timing.least / dense.least - 1),
        "first call [s]": timing.first,
    }


def _updates(params: Any, x: jax.Array) -> list[dict[str, Any]]:
    """Time of one change of the masks, in steps of training."""
    grads = jax.jit(jax.grad(loss))(params, x)
    lines = []
    for name, method in {
        "GMP, local": GMP(0.9, end=0),
        "GMP, global": GMP(0.9, end=0, scope="global"),
        "RigL": RigL(0.9, end=1, dist="uniform"),
    }.items():
        tx = sparsify(optax.adam(1e-3), method, key=KEY, when="explicit")
        state = jax.jit(tx.init)(params)
        sparse = apply(params, masks_of(state))
        change = jax.jit(lambda s, p, g, method=method: update_masks(method, s, p, g))
        timing = measure({name: lambda f=change, s=state, p=sparse: f(s, p, grads)}, repeats=5)[name]
        lines.append({"workload": name, "ours [ms]": 1e3 * timing.median})
    return lines


if __name__ == "__main__":
    main()
