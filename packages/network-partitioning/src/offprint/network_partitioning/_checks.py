"""What is looked at before a run: whether the hyperparameters can be learned at all."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from offprint.network_partitioning._objective import AnyPartition, Loglik, Stateful, out_of_sample_loss
from offprint.network_partitioning._stack import path_of


def check_hyper_gradient(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    oos: Sequence[PyTree],
    sizes: Sequence[int] | Int[Array, " K"],
    key: PRNGKeyArray,
    *,
    rest: PyTree | None = None,
) -> None:
    """Refuse hyperparameters whose direct gradient is zero whatever the weights are.

    Networks may give a zero gradient at initialisation for other reasons, such as a classifier that starts at zero:
    so a leaf that has no gradient there is looked at again with noise added to weights and hyperparameters.

    Args:
        loglik: see `out_of_sample_loss`, and for the arguments that follow.

    Raises:
        ValueError: a leaf of `hyper` that does not enter the forward pass, named by its path.
    """

    # Run once or twice on a batch: it is the compile time that counts.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})
    def silent(params: PyTree, hyper: PyTree) -> PyTree:
        grads = jax.grad(lambda h: out_of_sample_loss(loglik, params, part, h, oos, sizes, key, rest=rest)[0])(hyper)
        return jax.tree.map(lambda g: jnp.all(g == 0), grads)

    def noisy(tree: PyTree, key: PRNGKeyArray) -> PyTree:
        leaves, treedef = jax.tree.flatten(tree)
        return jax.tree.unflatten(
            treedef,
            [
                leaf + 0.1 * jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
                if jnp.issubdtype(leaf.dtype, jnp.floating)
                else leaf
                for i, leaf in enumerate(leaves)
            ],
        )

    found = silent(params, hyper)
    if any(jax.tree.leaves(found)):
        again = silent(noisy(params, jax.random.fold_in(key, 1)), noisy(hyper, jax.random.fold_in(key, 2)))
        found = jax.tree.map(jnp.logical_and, found, again)
    for path, dead in jax.tree_util.tree_flatten_with_path(found)[0]:
        if dead:
            raise ValueError(
                f"the hyperparameter {path_of(path) or 'given'} has no gradient: it does not enter the forward pass, "
                "so that no prediction depends on it while the weights are held. For hyperparameters of training, "
                "such as learning rates or weight decay, use response='one_step', or a search tool with the log "
                "marginal likelihood as its objective"
            )
