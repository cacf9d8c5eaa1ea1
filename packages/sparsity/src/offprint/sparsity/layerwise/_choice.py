"""What the layer-wise methods choose: a share of the weights, or n of every m along the inputs."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.sparsity._counts import check_sparsity

NofM = tuple[int, int]
Rounding = Literal["nearest", "floor", "ceil"]


def check_choice(sparsity: float | int | None, nm: NofM | None, inputs: int) -> None:
    """ValueError unless exactly one of the two is given and fits the number of inputs."""
    if (sparsity is None) == (nm is None):
        raise ValueError(f"give a sparsity or nm=(n, m), one of them; got sparsity={sparsity} and nm={nm}")
    if nm is None:
        check_sparsity(sparsity)
        return
    n, m = nm
    if not 0 < n < m:
        raise ValueError(f"nm=(n, m) keeps n of m weights, 0 < n < m; got {nm}")
    if inputs % m:
        raise ValueError(
            f"{n}:{m} needs a number of inputs that is divisible by {m}; the kernel has {inputs}. Leave this layer out "
            "by the filter, or pad its inputs"
        )


def lowest_of_group(score: Float[Array, "m out"], count: int) -> Bool[Array, "m out"]:
    """The `count` lowest scores of every column; of equal ones, the later are lower."""
    index = jnp.arange(score.shape[0])
    before = (score[None] < score[:, None]) | (
        (score[None] == score[:, None]) & (index[None] > index[:, None])[..., None]
    )
    return jnp.sum(before, axis=1) < count
