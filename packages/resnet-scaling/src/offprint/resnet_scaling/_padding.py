"""Identity layers that make a network longer without changing it, so that one compiled program serves many depths."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.resnet_scaling._network import Delta, ResNetParams, check_params, delta_kind


def pad_params(
    params: ResNetParams, depth: int, *, delta: Delta = "shared"
) -> tuple[ResNetParams, Float[Array, "depth"]]:
    """The parameters with identity layers (A = 0, b = 0, δ = 0) behind the last, and the mask that tells them apart.

    `resnet_apply(padded, x, mask=mask, ...)` gives the outputs of the shorter network. The gradient of an identity
    layer is exactly zero and that of the others unchanged, also for a shared δ, so that optimisers whose update
    of a parameter depends on the gradient of that parameter alone (Adam, SGD, RMSprop) leave the identity layers
    as they are and treat the others as without them.

    Args:
        params: of L layers.
        depth: layers afterwards, at least L.
        delta: the kind of `params.delta`.

    Returns:
        The parameters of `depth` layers, and a mask (depth,): 1 for the L layers, then 0.

    Raises:
        ValueError: a depth below L, or parameters that do not fit each other.
    """
    check_params(params, delta)
    layers = params.b.shape[0]
    if depth < layers:
        raise ValueError(
            f"depth={depth} is less than the {layers} layers given; a network is only padded to more layers"
        )
    extra = depth - layers
    longer = ResNetParams(
        jnp.pad(params.A, ((0, extra), (0, 0), (0, 0))),
        jnp.pad(params.b, ((0, extra), (0, 0))),
        jnp.pad(params.delta, (0, extra)) if delta_kind(delta) == "multi" else params.delta,
    )
    return longer, (jnp.arange(depth) < layers).astype(params.A.dtype)


def unpad_params(params: ResNetParams, depth: int, *, delta: Delta = "shared") -> ResNetParams:
    """The first `depth` layers: what `pad_params` was given.

    Raises:
        ValueError: more layers than there are, or fewer than 1.
    """
    check_params(params, delta)
    layers = params.b.shape[0]
    if not 1 <= depth <= layers:
        raise ValueError(f"depth={depth}; between 1 and the {layers} layers given is needed")
    multipliers = params.delta[:depth] if delta_kind(delta) == "multi" else params.delta
    return ResNetParams(params.A[:depth], params.b[:depth], multipliers)
