"""Initial weights: uniform as in PyTorch's recurrent layers, or Glorot and orthogonal as in Keras."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.mgrn._config import make_config
from offprint.mgrn._params import HeadParams, JointParams, MarginalParams, MGRNParams

Init = Literal["torch", "keras"]
JointInitFan = Literal["marginal", "joint"]


def init(
    key: PRNGKeyArray,
    *,
    groups: Sequence[int] | Sequence[Sequence[int]],
    hidden: int,
    size_of: float | int = 1.0,
    out: int | None = 1,
    init: Init = "torch",
    joint_init_fan: JointInitFan = "marginal",
    dtype: DTypeLike = jnp.float32,
) -> MGRNParams:
    """Initial weights of a memory-gated recurrent network.

    Args:
        key: random key.
        groups: sizes of contiguous groups, or lists of columns.
        hidden: marginal units H of every group.
        size_of: s; the joint memory has J = int(s·H) units.
        out: outputs C of the linear head; None for no head.
        init: "torch" draws weights and biases from U(-1/sqrt(H), 1/sqrt(H)), the head's from
            U(-1/sqrt(J), 1/sqrt(J)); "keras" has zero biases, Glorot-uniform input weights and head, orthogonal
            recurrent weights and u_c, each of the stacked matrix.
        joint_init_fan: with "torch", whether the bound of the joint memory's weights is 1/sqrt(H), as in the official
            layer, or 1/sqrt(J).
        dtype: floating-point type of the weights.

    Returns:
        The weights, with the configuration that `apply` needs.

    Raises:
        ValueError: as `MGRNConfig`; an unknown `init` or `joint_init_fan`.
    """
    config = make_config(groups, hidden, size_of, out)
    keys = jax.random.split(key, 3)
    return MGRNParams(
        init_marginal(keys[0], config.groups, config.hidden, init=init, dtype=dtype),
        init_joint(
            keys[1],
            config.features,
            (config.num_groups, config.hidden),
            config.joint,
            init=init,
            bound_units=config.hidden if check_fan(joint_init_fan) == "marginal" else config.joint,
            dtype=dtype,
        ),
        None if out is None else init_head(keys[2], config.joint, out, init=init, dtype=dtype),
        config,
    )


def init_marginal(
    key: PRNGKeyArray, groups: tuple[tuple[int, ...], ...], hidden: int, *, init: Init, dtype: DTypeLike
) -> MarginalParams:
    """Weights of the marginal memories of all groups."""
    features, count = sum(map(len, groups)), len(groups)
    keys = jax.random.split(key, 3)
    if check_init(init) == "torch":
        shapes = (features, 3 * hidden), (count, hidden, 3 * hidden), (count, 3 * hidden)
        return MarginalParams(*(_uniform(k, shape, hidden, dtype) for k, shape in zip(keys, shapes)))
    # Every group's matrices are drawn by themselves: the fans of group k are (f_k, 3H).
    by_group = [
        glorot_uniform(k, (len(group), 3 * hidden), dtype) for k, group in zip(jax.random.split(keys[0], count), groups)
    ]
    columns = jnp.array([column for group in groups for column in group])
    recurrent = jax.vmap(lambda k: orthogonal(k, (hidden, 3 * hidden), dtype))(jax.random.split(keys[1], count))
    return MarginalParams(
        jnp.concatenate(by_group)[jnp.argsort(columns)], recurrent, jnp.zeros((count, 3 * hidden), dtype)
    )


def init_joint(
    key: PRNGKeyArray,
    features: int,
    candidates: tuple[int, int],
    joint: int,
    *,
    init: Init,
    bound_units: int,
    dtype: DTypeLike,
) -> JointParams:
    """Weights of a joint memory of `joint` units that reads (groups, hidden) candidates and F features.

    `bound_units`: the n of U(-1/sqrt(n), 1/sqrt(n)) with `init="torch"`.
    """
    count = candidates[0] * candidates[1]
    keys = jax.random.split(key, 5)
    if check_init(init) == "torch":
        shapes: tuple[tuple[int, ...], ...] = (
            ((*candidates, joint)),
            (joint,),
            (features, joint),
            (joint, joint),
            (joint,),
        )
        return JointParams(*(_uniform(k, shape, bound_units, dtype) for k, shape in zip(keys, shapes)))
    zeros = jnp.zeros(joint, dtype)
    return JointParams(
        orthogonal(keys[0], (count, joint), dtype).reshape(*candidates, joint),
        zeros,
        glorot_uniform(keys[2], (features, joint), dtype),
        orthogonal(keys[3], (joint, joint), dtype),
        zeros,
    )


def init_head(key: PRNGKeyArray, units: int, outputs: int, *, init: Init, dtype: DTypeLike) -> HeadParams:
    """Weights of the linear head: PyTorch's default for a linear layer, or Glorot-uniform with zero bias."""
    for_weight, for_bias = jax.random.split(key)
    if check_init(init) == "torch":
        return HeadParams(
            _uniform(for_weight, (units, outputs), units, dtype), _uniform(for_bias, (outputs,), units, dtype)
        )
    return HeadParams(glorot_uniform(for_weight, (units, outputs), dtype), jnp.zeros(outputs, dtype))


def check_init(init: str) -> str:
    """Refuses an unknown initialisation by a ValueError."""
    if init not in ("torch", "keras"):
        raise ValueError(f'init must be "torch" or "keras", got {init!r}.')
    return init


def check_fan(joint_init_fan: str) -> str:
    """Refuses an unknown `joint_init_fan` by a ValueError."""
    if joint_init_fan not in ("marginal", "joint"):
        raise ValueError(f'joint_init_fan must be "marginal" or "joint", got {joint_init_fan!r}.')
    return joint_init_fan


glorot_uniform = initializers.glorot_uniform()
"""U(-limit, limit) with limit sqrt(6 / (rows + columns))."""

orthogonal = initializers.orthogonal()
"""A matrix with orthonormal rows or columns, whichever are fewer."""


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], units: int, dtype: DTypeLike) -> Float[Array, "..."]:
    bound = units**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
