"""Optimal brain compression (Frantar & Alistarh 2022): the exact greedy order for every output, solved exactly."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from offprint.sparsity._counts import n_prune
from offprint.sparsity._obs import joint_removal
from offprint.sparsity.layerwise._choice import NofM, Rounding, check_choice
from offprint.sparsity.layerwise._quadratic import EXACT, Hessian, Kernel, Pruned, prepare


def obc(
    kernel: Kernel,
    H: Hessian,
    sparsity: float | int | None = None,
    *,
    nm: NofM | None = None,
    block: int = 1,
    damp: float | int = 0.0,
    rounding: Rounding = "ceil",
    parallel: int = 32,
) -> Pruned:
    """Prune a kernel by the optimal brain surgeon, output by output, with the inverse brought up to date every time.

    Each output is pruned greedily to the end; what goes is then the cheapest of all those steps, over all outputs. The
    authors keep every intermediate kernel for that, O(in²·out) numbers. Here only the orders and losses are kept, and
    the weights are solved for on the support that was found, which gives the same ones. O(in³·out) time.

    Args:
        kernel: weights.
        H: 2XᵀX of the layer's inputs; see `collect`.
        sparsity: share of all weights (or blocks) of the kernel that is removed.
        nm: instead, (n, m): n kept of every m consecutive inputs, for each output.
        block: with a sparsity, inputs that go together: 4 gives the 1 × 4 blocks of the authors.
        damp: share of the mean of H's diagonal that is added to it.
        rounding: of the number removed; the authors' code rounds up.
        parallel: outputs at a time, each of which takes in² numbers.

    Returns:
        Kernel and mask. Works under jit and vmap, in the precision of the kernel (float32 at least).

    Raises:
        ValueError: both or neither of sparsity and nm, a block or m that does not divide the inputs, a singular H.

    Source: frantar2022obc.
    """
    inputs = kernel.shape[0]
    check_choice(sparsity, nm, inputs)
    if block < 1 or inputs % block or (nm is not None and block != 1):
        raise ValueError(f"block must divide the {inputs} inputs, and be 1 with nm=(n, m); got {block} with nm={nm}")
    if parallel < 1:
        raise ValueError(f"parallel must be at least 1; got {parallel}")
    weights, upper = prepare(kernel, H, damp)
    removed = 0 if sparsity is None else n_prune(weights.size // block, sparsity, rounding)
    pruned, mask = _obc(weights, upper, removed, nm, block, parallel)
    return Pruned(pruned.astype(kernel.dtype), mask)


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _obc(weights: Array, upper: Array, removed: int, nm: NofM | None, block: int, parallel: int) -> tuple[Array, Array]:
    inputs, outputs = weights.shape
    inverse = jnp.matmul(upper.T, upper, precision=EXACT)
    order, losses = jax.lax.map(lambda w: _greedy(w, inverse, nm, block), weights.T, batch_size=min(parallel, outputs))
    if nm is None:
        # The cheapest steps of all outputs. Of each output the first ones are taken, however many of its own are there.
        place = jnp.argsort(jnp.argsort(losses.reshape(-1), stable=True)).reshape(losses.shape)
        counts = jnp.sum(place < removed, axis=1)
    else:
        counts = jnp.full(outputs, order.shape[1])
    goes = jnp.arange(order.shape[1]) < counts[:, None]
    gone = jnp.zeros((outputs, inputs // block), bool).at[jnp.arange(outputs)[:, None], order].set(goes)
    gone = jnp.repeat(gone, block, axis=1)
    solved = jax.lax.map(
        lambda each: each[0] + joint_removal(each[0], inverse, each[1])[1],
        (weights.T, gone),
        batch_size=min(parallel, outputs),
    )
    return jnp.where(gone, 0, solved).T, ~gone.T


def _greedy(w: Array, inverse: Array, nm: NofM | None, block: int) -> tuple[Array, Array]:
    """The order in which an output loses its blocks of inputs, and the loss of every step."""
    inputs = w.shape[0]
    blocks = inputs // block
    steps = blocks if nm is None else blocks // nm[1] * (nm[1] - nm[0])
    each = jnp.arange(blocks)

    def step(state: tuple[Array, Array, Array, Array], _: None) -> tuple[Any, tuple[Array, Array]]:
        w, inverse, gone, in_group = state
        own = inverse.reshape(blocks, block, blocks, block)[each, :, each, :]
        own = jnp.where(gone[:, None, None], jnp.eye(block, dtype=w.dtype), own)
        weight = 1 / own if block == 1 else jnp.linalg.inv(own)
        multiplier = jnp.einsum("kij,kj->ki", weight, w.reshape(blocks, block), precision=EXACT)
        loss = jnp.sum(multiplier * w.reshape(blocks, block), axis=1) / 2
        closed = gone if nm is None else gone | (in_group[each // nm[1]] >= nm[1] - nm[0])
        loss = jnp.where(closed, jnp.inf, loss)
        q = jnp.argmin(loss)
        rows = jax.lax.dynamic_slice(inverse, (q * block, 0), (block, inputs))
        gone = gone.at[q].set(True)
        kept = ~jnp.repeat(gone, block)
        w = jnp.where(kept, w - jnp.matmul(multiplier[q], rows, precision=EXACT), 0)
        change = jnp.matmul(rows.T, jnp.matmul(weight[q], rows, precision=EXACT), precision=EXACT)
        # What is left of a removed row is rounding; zeros keep it out of later steps.
        inverse = jnp.where(kept[:, None] & kept, inverse - change, 0)
        if nm is not None:
            in_group = in_group.at[q // nm[1]].add(1)
        return (w, inverse, gone, in_group), (q, loss[q])

    start = (w, inverse, jnp.zeros(blocks, bool), jnp.zeros(blocks if nm is None else blocks // nm[1], jnp.int32))
    return jax.lax.scan(step, start, None, length=steps)[1]
