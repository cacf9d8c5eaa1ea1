"""CTMN of devices whose links are not independent: one radio (EMLSR), or leakage between links (NSTR).

States are sets of nodes (device, link) that transmit at once. On every link they are independent sets of its sensing
graph, as with STR devices; and

- EMLSR: a device has one radio for data and holds one TXOP at a time;
- NSTR: a device that sends on one link hears nothing on the others and holds back there: it starts on a link
  only while its other links are silent. (Two of its backoffs that run out in the same slot start together, which
  802.11be allows; in continuous time that never happens.)

Both say: start on l only if none of the device's other links transmits. That is one more conflict edge between any two
links of a device, the chain stays reversible, and the two have the same law; they part only in slotted time, where the
starts of an NSTR device may coincide and an EMLSR device must choose (`mld=` of the event-level simulator).
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from offprint.federated_mlo._checks import check_adjacency, check_choice, check_finite, is_concrete
from offprint.federated_mlo._ctmn import check_component, connected_components, ctmn_activity, set_activity, switched

MLD = Literal["str", "nstr", "emlsr"]
MAX_NODES = 20
"""Of one component of the joint graph of devices and links."""


def joint_graph(adj: Shaped[Array | np.ndarray, "links bss bss"]) -> Bool[Array, "nodes nodes"]:
    """Conflicts of the nodes (device b, link l), number b L + l, of NSTR or EMLSR devices."""
    links, num_bss, _ = adj.shape
    between = jnp.einsum("lij,lk->iljk", jnp.asarray(adj, bool), jnp.eye(links, dtype=bool))
    within = jnp.einsum("ij,lk->iljk", jnp.eye(num_bss, dtype=bool), ~jnp.eye(links, dtype=bool))
    return (between | within).reshape(num_bss * links, num_bss * links)


def multilink_activity(
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    mask: Shaped[Array | np.ndarray, "bss links"],
    theta: Float[Array | np.ndarray, "bss links"],
    mld: MLD = "emlsr",
) -> Float[Array, "bss links"]:
    """`ctmn_activity` of devices whose links are "str" (independent), "nstr" or "emlsr".

    A device of one link has the same law in all three. Where `adj` is not traced, components that do not hear each
    other are solved apart.

    Raises:
        ValueError: a graph that is not symmetric, an unknown `mld`, or more than 20 nodes (BSSs times links) in one
            component.
    """
    check_choice("mld", mld, get_args(MLD))
    if mld == "str":
        return ctmn_activity(adj, mask, theta)
    check_adjacency(adj)
    check_finite(theta, "theta")
    nodes = theta.size
    if nodes <= MAX_NODES or not is_concrete(adj):
        check_component(nodes, traced=not is_concrete(adj), limit=MAX_NODES)
        return _jointly(adj, mask, theta)
    return _by_component(np.asarray(adj, bool), mask, theta)


def _by_component(adj: np.ndarray, mask: Array | np.ndarray, theta: Array | np.ndarray) -> Float[Array, "bss links"]:
    y = jnp.zeros_like(jnp.asarray(theta))
    for devices in connected_components(np.asarray(adj.any(axis=0))):
        check_component(len(devices) * len(adj), limit=MAX_NODES)
        y = y.at[devices].set(_jointly(adj[:, devices][:, :, devices], mask[devices], theta[devices]))
    return y


@jax.jit
def _jointly(adj: Array, mask: Array, theta: Array) -> Float[Array, "bss links"]:
    return set_activity(joint_graph(adj), switched(mask, theta).ravel()).reshape(theta.shape)
