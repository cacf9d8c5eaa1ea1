"""What the layer-wise methods need of the calibration: H = 2XᵀX and the norms of the inputs of every layer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree, Shaped

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity.layerwise._intercept import Found, Use, intercept
from offprint.sparsity.layerwise._quadratic import EXACT


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerStats:
    """Statistics of what one kernel was applied to. A pytree.

    A kernel that is a stack of layers (scanned over) has one of each for every layer, along a leading axis.
    """

    H: Float[Array | np.ndarray, "*layers in in"] | None
    """2XᵀX, summed over all rows of the calibration; None if it was not asked for."""
    squares: Float[Array | np.ndarray, "*layers in"]
    """Sum of squares of every input."""
    n: Int[Array | np.ndarray, "*layers"]
    """Rows: examples, times positions for sequences and convolutions."""
    axes: tuple[int, ...] = field(metadata={"static": True})
    """Axes of the kernel that are inputs; see `as_matrix`."""
    stacked: bool = field(default=False, metadata={"static": True})
    """Whether axis 0 of the kernel counts layers."""

    @property
    def norms(self) -> Float[Array, "*layers in"]:
        """‖X_i‖₂ of every input."""
        return jnp.sqrt(self.squares)


def as_matrix(kernel: Shaped[Array | np.ndarray, "..."], axes: tuple[int, ...]) -> Shaped[Array, "in out"]:
    """The kernel as (in, out), its `axes` being the inputs, each side in C order."""
    kernel = jnp.asarray(kernel)
    rest = [axis for axis in range(kernel.ndim) if axis not in axes]
    rows = int(np.prod([kernel.shape[axis] for axis in axes]))
    return kernel.transpose(*axes, *rest).reshape(rows, -1)


def from_matrix(
    matrix: Shaped[Array | np.ndarray, "in out"], shape: tuple[int, ...], axes: tuple[int, ...]
) -> Shaped[Array | np.ndarray, "..."]:
    """Undo `as_matrix` for a kernel of this shape."""
    order = [*axes, *(axis for axis in range(len(shape)) if axis not in axes)]
    return matrix.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def collect(
    apply_fn: Callable[[PyTree, Any], Any] | nnx.Module,
    params: PyTree,
    batches: Iterable[Any],
    *,
    filter: Filter | None = None,
    hessian: bool = True,
) -> dict[str, LayerStats]:
    """Statistics of the inputs of every kernel, over batches that are seen one at a time.

    The function is traced, so any will do; a kernel must be an operand of a product or of a convolution without groups,
    as it is, cast, transposed or times a mask, also within jit, remat or a scan (over time, or over stacked layers). A
    kernel that is used several times gets the sums over all uses. With sharded batches the sums are over all devices.

    Args:
        apply_fn: `apply_fn(params, batch)`, in evaluation mode; or an NNX module, called as `module(batch)`.
        params: tree of arrays; None with a module, whose `nnx.Param` are taken.
        batches: the calibration, any iterable.
        filter: which leaves; `kernels` by default.
        hessian: whether H is wanted, in² numbers; `wanda` needs the norms only.

    Returns:
        By path, in the order of use, in the precision of the inputs (float32 at least).

    Raises:
        ValueError: no batches; a kernel that is not used in a way that can be followed (the message says where it
            went); a kernel used in two ways; the filter chooses nothing.
    """
    function, params = functional(apply_fn, params)
    found = Found()
    step = jax.jit(lambda params, batch: _sums(function, params, batch, filter, hessian, found))
    total = None
    add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b), donate_argnums=0)
    for batch in batches:
        sums = step(params, batch)
        total = sums if total is None else add(total, sums)
    if total is None:
        raise ValueError("there are no batches to collect statistics from")
    return {
        path: LayerStats(H, squares, n, found.axes[path], found.stacked[path])
        for path, (H, squares, n) in ((path, total[path]) for path in found.axes if path in total)
    }


def functional(apply_fn: Any, params: PyTree) -> tuple[Callable[[PyTree, Any], Any], PyTree]:
    """A function of params, and the params, from either kind of model."""
    if not isinstance(apply_fn, nnx.Module):
        return apply_fn, params
    graph, own, rest = nnx.split(apply_fn, nnx.Param, ...)
    return lambda params, batch: nnx.merge(graph, params, rest)(batch), own if params is None else params


def order_of_use(function: Callable[..., Any], params: PyTree, batch: Any, filter: Filter | None) -> list[str]:
    """The paths of the chosen kernels in the order in which they are used; nothing is computed."""
    found = Found()
    chosen = jax.eval_shape(lambda params, batch: _sums(function, params, batch, filter, False, found), params, batch)
    return [path for path in found.axes if path in chosen]


def _sums(
    function: Callable[..., Any], params: PyTree, batch: Any, filter: Filter | None, hessian: bool, found: Found
) -> dict[str, tuple[Array | None, Array, Array]]:
    chosen = prunable(params, filter)

    def visit(use: Use, output: Array) -> tuple[Array, Any]:
        if use.path not in chosen:
            return output, None
        x = use.inputs()
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        H = 2 * jnp.matmul(x.T, x, precision=EXACT) if hessian else None
        return output, (H, jnp.sum(x * x, axis=0), jnp.int32(x.shape[0]))

    found.sites.clear()  # the function is traced again for batches of another shape
    _, records = intercept(function, params, visit, batch, found=found)
    sums: dict[str, Any] = {}
    for (path, _), record in records.items():
        if record is not None:
            sums[path] = record if path not in sums else jax.tree.map(jnp.add, sums[path], record)
    for path in chosen:
        if path not in sums:
            where = found.lost.get(path)
            raise ValueError(
                f"{path!r} is no kernel whose inputs can be collected: "
                + (f"it goes into {where}" if where else "it is not used in a product")
                + ". Leave it out by the filter"
            )
    return sums
