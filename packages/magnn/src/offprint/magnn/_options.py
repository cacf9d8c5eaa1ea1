"""The choices that a model offers, and the checks of what it is given."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from offprint.magnn._long_term import AttentionAxis

__all__ = ["AttentionAxis", "Cooccurrence", "Fusion", "LongTerm", "Position", "ShortTerm"]

ShortTerm = Literal["mean", "user_fused", "none"]
LongTerm = Literal["memory", "attention", "none"]
Fusion = Literal["gate", "concat", "gru"]
Cooccurrence = Literal["bilinear", "identity", "sum", "none"]
Position = Literal["slot", "from_end"]


def check_sizes(sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        least = 0 if name == "max_long" else 1
        if size < least:
            raise ValueError(f"{name} must be at least {least}, but is {size}")


def check_options(options: dict[str, tuple[str, Any]]) -> None:
    for name, (value, allowed) in options.items():
        if value not in get_args(allowed):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(allowed)))}, but is {value!r}")


def checked_ids(name: str, ids: Array | np.ndarray, size: int, least: int = -1) -> Int[Array, "..."]:
    """Ids as int32, in range; those of a traced array are taken as they are.

    Raises:
        ValueError: an id below `least` or not below `size`.
    """
    if not isinstance(ids, jax.core.Tracer):
        given = np.asarray(ids)
        wrong = given[(given < least) | (given >= size)]
        if wrong.size:
            padding = "" if least == 0 else ", or -1 for an unknown user" if name == "users" else ", or -1 for padding"
            raise ValueError(f"{name} hold the id {wrong[0]}, but ids are 0 to {size - 1}{padding}")
    return jnp.asarray(ids, jnp.int32)
