"""Training of LeNet-300-100 with layers that learn their own sparsity, on all of MNIST."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.core.experiments import Run
from offprint.core.train import Checkpoint, Minibatches, TrainState, fit, supervised_step
from offprint.sparsity import data
from offprint.sparsity.nnx import harden

Layer = Callable[[int, int, nnx.Rngs], nnx.Module]
Penalty = Callable[["Net", Array, Array], Array]
"""(model, mean cross-entropy, step) -> what is minimised."""


class Net(nnx.Module):
    """Dense layers with ReLU between them."""

    layers: Any

    def __init__(self, sizes: tuple[int, ...], layer: Layer, rngs: nnx.Rngs):
        self.layers = nnx.List([layer(a, b, rngs) for a, b in pairwise(sizes)])

    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch classes"]:
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


class Outcome(NamedTuple):
    """The hardened network after training, with its error over the epochs."""

    model: Net
    masks: PyTree
    error: float
    """Percent of the test images, by the hardened network."""
    epochs: list[float]
    errors: list[float]
    sparsities: list[float]


def train(
    net: Net, objective: Penalty, split: data.Split, tx: optax.GradientTransformation, epochs: int, batch: int, run: Run
) -> Outcome:
    """Train, look at error and sparsity of the hardened network ten times on the way, and harden in the end."""
    batches = Minibatches((jnp.asarray(split.x), jnp.asarray(split.y)), batch)
    test = jnp.asarray(split.test_x), jnp.asarray(split.test_y)

    def step(carry: tuple[TrainState, Array], examples: Any, key: PRNGKeyArray) -> tuple[Any, dict[str, Array]]:
        state, count = carry

        def loss(model: Net, examples: Any, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
            x, y = examples
            entropy = optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()
            return objective(model, entropy, count), {"entropy": entropy}

        state, metrics = supervised_step(loss)(state, examples, key)
        return (state, count + 1), metrics

    def look(carry: tuple[TrainState, Array]) -> dict[str, Array]:
        model, masks = harden(carry[0].model)
        kept = jax.tree.leaves(masks)
        return {
            "error": 100 * (model(test[0]).argmax(-1) != test[1]).mean(),
            "sparsity": 1 - sum(mask.sum() for mask in kept) / sum(mask.size for mask in kept),
        }

    steps = epochs * batches.steps_per_epoch
    result = fit(
        step,
        (TrainState.create(net, tx), jnp.zeros((), jnp.int32)),
        batches,
        num_steps=steps,
        key=jax.random.key(0),
        evaluate=jax.jit(look),
        eval_every=max(1, steps // 10),
        checkpoint=Checkpoint(run.checkpoints / "training"),
        progress=False,
    )
    when, errors = result.series("error")
    _, sparsities = result.series("sparsity")
    model, masks = harden(result.state[0].model)
    error = float(100 * (model(test[0]).argmax(-1) != test[1]).mean())
    scale = batches.steps_per_epoch
    for at, wrong, sparsity in zip(when, errors, sparsities):
        run.log(epoch=at / scale, error=wrong, sparsity=sparsity)
    return Outcome(model, masks, error, [float(at) / scale for at in when], list(errors), list(sparsities))
