"""What a trained network is measured by: error, log-likelihood, and the weight that it gives the donor of moments."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from offprint.moex._plan import MixPlan


def classification_metrics(
    model: nnx.Module, batch: tuple[Shaped[Array, "batch *dims"], Int[Array, "batch"]]
) -> dict[str, Float[Array, "batch"]]:
    """Per example, in eval mode: `error` (0 or 1) and `nll`, the negative log-probability of its label in nats."""
    x, labels = batch
    model.eval()
    network: Any = model
    logs = jax.nn.log_softmax(network(x))
    return {
        "error": (logs.argmax(-1) != labels).astype(logs.dtype),
        "nll": -jnp.take_along_axis(logs, labels[:, None], axis=1)[:, 0],
    }


def exposure_metrics(
    model: nnx.Module, batch: tuple[Shaped[Array, "batch *dims"], Int[Array, "batch"]]
) -> dict[str, Float[Array, "batch"]]:
    """Per example, with moments exchanged at test time: the probability given to the label of the moments' donor.

    Everything else is as in eval mode (running batch statistics, no dropout). Example i gets the moments of i + 1, so
    the examples should come in random order. `donor` is 0 where both have the same label and `pairs` is 1 where not:
    the mean over pairs with different labels is the ratio of the two means.
    """
    x, labels = batch
    model.eval()
    network: Any = model
    network.moex.train()
    donors = jnp.roll(jnp.arange(x.shape[0], dtype=jnp.int32), -1)
    plan = MixPlan(jnp.asarray(True), donors, jnp.ones((), x.dtype))
    probabilities = jax.nn.softmax(network(x, plan))
    given = jnp.take_along_axis(probabilities, labels[donors][:, None], axis=1)[:, 0]
    differs = labels != labels[donors]
    return {"donor": jnp.where(differs, given, 0), "pairs": differs.astype(given.dtype)}
