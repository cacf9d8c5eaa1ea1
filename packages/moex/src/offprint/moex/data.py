"""The data that the method is evaluated on."""

import jax
from jaxtyping import Array, Float, PRNGKeyArray


def gaussian(key: PRNGKeyArray, samples: int, features: int) -> Float[Array, "samples features"]:
    """Independent normal samples with mean 5 and standard deviation 3."""
    return 5 + 3 * jax.random.normal(key, (samples, features))
