"""Networks of dense layers as plain trees: their initial values, outputs and losses."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree


def init_mlp(key: PRNGKeyArray, sizes: Sequence[int], *, bias: bool = True) -> dict[str, dict[str, Array]]:
    """`{"fc1": {"kernel": (in, out), "bias": (out,)}, ...}`: Glorot-normal kernels, variance 2/(in + out), biases 0."""
    params = {}
    pairs = list(pairwise(sizes))
    for number, (one, (inputs, outputs)) in enumerate(zip(jax.random.split(key, len(pairs)), pairs), 1):
        kernel = jnp.sqrt(2 / (inputs + outputs)) * jax.random.normal(one, (inputs, outputs), jnp.float32)
        layer = {"kernel": kernel}
        if bias:
            layer["bias"] = jnp.zeros(outputs, jnp.float32)
        params[f"fc{number}"] = layer
    return params


def apply_mlp(params: PyTree, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch classes"]:
    """Logits: ReLU between layers."""
    layers = sorted(params)
    for name in layers:
        x = x @ params[name]["kernel"]
        if "bias" in params[name]:
            x = x + params[name]["bias"]
        if name != layers[-1]:
            x = jax.nn.relu(x)
    return x


def cross_entropy(params: PyTree, batch: tuple[Array, Array]) -> Float[Array, ""]:
    """Mean cross-entropy of a batch, or that of one example."""
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(apply_mlp(params, x), y).mean()


@jax.jit
def accuracy(params: PyTree, x: Float[Array, "n inputs"], y: Int[Array, " n"]) -> Float[Array, ""]:
    """Percent of the examples that are classified right."""
    return 100 * (apply_mlp(params, x).argmax(-1) == y).mean()
