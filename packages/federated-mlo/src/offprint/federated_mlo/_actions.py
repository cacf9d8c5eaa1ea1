"""Actions: which links a BSS has switched on, as an index, as a bit mask, and as one number for all BSSs together.

An action is a non-empty set of links. Link l is bit l of its bitmask, and action a (counted from 0) is bitmask a + 1,
so that a device of L links has A = 2^L - 1 actions and the last one switches every link on. A joint action of B BSSs
is a number in base A whose most significant digit is BSS 0.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

MAX_LINKS = 16
_INT32_MAX = 2**31 - 1


def num_actions(num_links: int) -> int:
    """How many non-empty sets of links there are: A = 2^L - 1.

    Raises `ValueError` unless 1 <= L <= 16.
    """
    if not 1 <= num_links <= MAX_LINKS:
        raise ValueError(f"num_links={num_links}; a device has between 1 and {MAX_LINKS} links.")
    return 2**num_links - 1


def action_masks(num_links: int) -> Bool[Array, "actions links"]:
    """The link masks of all actions, in the order of their indices; the last row is all links on."""
    bitmasks = np.arange(1, num_actions(num_links) + 1)
    return jnp.asarray(bitmasks[:, None] >> np.arange(num_links) & 1, bool)


def masks_from_actions(actions: Int[Array | np.ndarray, "*batch"], num_links: int) -> Bool[Array, "*batch links"]:
    """The link masks of action indices 0..A-1; indices outside that range are clamped to it."""
    bitmasks = jnp.clip(jnp.asarray(actions), 0, num_actions(num_links) - 1) + 1
    return (bitmasks[..., None] >> jnp.arange(num_links, dtype=bitmasks.dtype) & 1).astype(bool)


def actions_from_masks(masks: Shaped[Array | np.ndarray, "*batch links"]) -> Int[Array, "*batch"]:
    """The action indices (int32) of link masks (bool, or 0 and 1); -1 where no link is on, which is no action."""
    weights = 2 ** jnp.arange(masks.shape[-1], dtype=jnp.int32)
    return jnp.sum(jnp.asarray(masks, jnp.int32) * weights, axis=-1, dtype=jnp.int32) - 1


def num_joint_actions(num_bss: int, num_links: int) -> int:
    """How many joint actions B BSSs of L links have: A^B, of any size."""
    return num_actions(num_links) ** num_bss


def joint_index(actions: Int[Array | np.ndarray, "*batch bss"], num_links: int) -> Int[Array, "*batch"]:
    """The number sum_b a_b A^(B-1-b) of a joint action, int32.

    Raises `ValueError` where A^B is beyond the largest int32.
    """
    weights = _digit_weights(actions.shape[-1], num_links)
    return jnp.sum(jnp.asarray(actions, jnp.int32) * weights, axis=-1, dtype=jnp.int32)


def actions_from_joint(
    index: Int[Array | np.ndarray, "*batch"] | int, num_bss: int, num_links: int
) -> Int[Array, "*batch bss"]:
    """The actions (int32) of the BSSs in a joint action: the inverse of `joint_index`.

    Raises `ValueError` where A^B is beyond the largest int32.
    """
    weights = _digit_weights(num_bss, num_links)
    return jnp.asarray(index, jnp.int32)[..., None] // weights % num_actions(num_links)


def _digit_weights(num_bss: int, num_links: int) -> Int[Array, "bss"]:
    if (joint := num_joint_actions(num_bss, num_links)) > _INT32_MAX:
        raise ValueError(
            f"{num_bss} BSSs of {num_links} links have {joint} joint actions, which int32 cannot number; "
            f"keep the actions of the BSSs as a vector."
        )
    return jnp.asarray(num_actions(num_links) ** np.arange(num_bss - 1, -1, -1), jnp.int32)
