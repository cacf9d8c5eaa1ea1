"""Run a pruned model with each layer in the form that is fastest here, measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from offprint.sparsity._apply import as_masks
from offprint.sparsity._bits import block_mask
from offprint.sparsity._matmul import matmul
from offprint.sparsity._replace import Uses, Weight, run
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.formats import BlockELL, NMPacked

BACKENDS = ("auto", "dense", "block", "nm")
REPEATS = 7

# Time of a product with blocks of this side over that of the dense one, by share of the blocks that are stored, as
# measured on a CPU. Only to leave out what cannot win: what is left is timed.
_COST = {128: 1.2, 64: 1.2, 32: 1.5, 16: 2.0, 8: 2.5, 4: 4.0, 1: 6.0}
_NM = ((2, 4), (1, 4), (4, 8), (2, 8), (1, 8))


@dataclass(frozen=True)
class LayerChoice:
    """What one pruned leaf was made into, and why."""

    path: str
    shape: tuple[int, ...]
    sparsity: float
    chosen: str
    """`dense`, `block 16x16`, `unstructured`, `2:4`, ..."""
    seconds: dict[str, float]
    """Least time of each form that was tried, on the example's shapes."""
    reason: str


@dataclass(frozen=True)
class InferenceReport:
    """What became of every pruned leaf, and the time of the whole model on the example."""

    layers: tuple[LayerChoice, ...]
    dense_seconds: float
    """Least time of the model with zeros in dense kernels."""
    seconds: float
    """Least time of the model that was returned."""
    slower_seconds: float | None = None
    """Least time of the model with the layers that won by themselves, where 'auto' left them dense because of it."""

    def __str__(self) -> str:
        """A line for every leaf, and one for the whole."""
        lines = [f"{x.path} {x.shape}, {x.sparsity:.1%} sparse: {x.chosen} ({x.reason})" for x in self.layers]
        whole = f"whole model: {1e3 * self.seconds:.3g} ms, dense {1e3 * self.dense_seconds:.3g} ms"
        if self.slower_seconds is not None:
            whole += f"; with sparse layers {1e3 * self.slower_seconds:.3g} ms, so all of them were left dense"
        return "\n".join([*lines, whole])


def sparse_inference(
    apply_fn: Callable[..., PyTree] | nnx.Module,
    params: PyTree | None,
    masks: PyTree,
    *example: PyTree,
    backend: str = "auto",
) -> tuple[Callable[..., PyTree], InferenceReport]:
    """The pruned model as a function of its inputs alone, each layer dense, block-sparse or n:m, as is fastest.

    The function is traced; every product `x @ W` or `x @ W.T` of a pruned matrix, and every convolution of one
    position, is tried in the forms that its mask fits, on the shapes of the example and on this machine, and replaced
    if another form wins. Leaves that are used otherwise (larger convolutions, gathers, loops) stay dense, with zeros,
    and the report says so. If the whole model should turn out slower than with all layers dense, as it may since layers
    are timed one by one, 'auto' returns the dense one.

    Args:
        apply_fn: `apply_fn(params, *inputs)`, or an NNX model in evaluation mode.
        params: parameters; None for an NNX model, which has its own.
        masks: True = keep, with the paths of params (`None`: not pruned).
        *example: inputs of the size that will be run; other sizes work too.
        backend: `auto`, or `dense`, `block`, `nm` to take the fastest of that kind wherever there is one.

    Returns:
        apply2: `apply2(*inputs)`, a pytree (`jax.tree_util.Partial`) whose leaves are the weights, compiled at its
            first call. Pass it through jit as an argument rather than closing over it.
        report: what each layer became, with times and reasons; `print` it.

    Raises:
        ValueError: no example, unknown backend, masks that do not fit params.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, but is {backend!r}")
    if not example:
        raise ValueError("sparse_inference needs example inputs after the masks, to time the layers on their shapes")
    if isinstance(apply_fn, nnx.Module):
        if params is not None:
            raise ValueError("give None as params together with an NNX model, which has its own")
        graph, params = nnx.split(apply_fn)
        apply = _of_module(graph)
    else:
        apply = apply_fn
    paths = [path for path, leaf in named_leaves(params) if leaf is not None]
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
    kept = _masks_by_path(dict(zip(paths, leaves, strict=True)), masks)
    pruned = [
        Weight(path, jnp.where(kept[path], leaf, jnp.zeros((), leaf.dtype)), leaf.shape) if path in kept else leaf
        for path, leaf in zip(paths, leaves, strict=True)
    ]
    uses = _uses(apply, tree, pruned, example)
    layers, chosen = [], []
    for leaf in pruned:
        if isinstance(leaf, Weight):
            choice, kernel = _choose(leaf, kept[leaf.path], uses, backend)
            layers.append(choice)
            chosen.append(replace(leaf, kernel=kernel))
        else:
            chosen.append(leaf)
    before, after = (_runner(apply, tree, some) for some in (pruned, chosen))
    if all(layer.chosen == "dense" for layer in layers):
        dense = _least({"dense": lambda: before(*example)})["dense"]
        return before, InferenceReport(tuple(layers), dense, dense)
    seconds = _least({"dense": lambda: before(*example), "sparse": lambda: after(*example)})
    dense, sparse = seconds["dense"], seconds["sparse"]
    if backend == "auto" and sparse > dense:
        return before, InferenceReport(tuple(map(_left_dense, layers)), dense, dense, sparse)
    return after, InferenceReport(tuple(layers), dense, sparse)


def _left_dense(layer: LayerChoice) -> LayerChoice:
    if layer.chosen == "dense":
        return layer
    return replace(layer, chosen="dense", reason=f"{layer.chosen} was {layer.reason}, but the whole model was slower")


def _of_module(graph: Any) -> Callable[..., PyTree]:
    return lambda state, *inputs: nnx.merge(graph, state)(*inputs)


def _masks_by_path(leaves: dict[str, Array], masks: PyTree) -> dict[str, np.ndarray]:
    """{path: mask} of the pruned leaves; ValueError unless each has a leaf of its shape."""
    found = {path: np.asarray(mask) for path, mask in named_leaves(as_masks(masks)) if mask is not None}
    for path, mask in found.items():
        if path not in leaves:
            raise ValueError(f"masks have a leaf {path!r} that params have not; theirs are {', '.join(leaves)}")
        if mask.shape != tuple(leaves[path].shape):
            raise ValueError(f"the mask of {path!r} must have shape {tuple(leaves[path].shape)}, not {mask.shape}")
    return found


def _uses(apply: Callable[..., PyTree], tree: Any, leaves: list[Any], example: tuple[PyTree, ...]) -> Uses:
    uses = Uses()
    jax.eval_shape(lambda inputs: run(apply, tree, leaves, inputs, uses), example)
    return uses


def _runner(apply: Callable[..., PyTree], tree: Any, leaves: list[Any]) -> Callable[..., PyTree]:
    """A function of the inputs that carries the leaves along."""
    bare = [replace(leaf, kernel=None) if isinstance(leaf, Weight) else None for leaf in leaves]

    @jax.jit
    def apply2(arrays: list[Any], *inputs: PyTree) -> PyTree:
        given = [
            array if leaf is None else replace(leaf, kernel=array) for leaf, array in zip(bare, arrays, strict=True)
        ]
        return run(apply, tree, given, inputs, Uses())

    return jax.tree_util.Partial(apply2, [leaf.kernel if isinstance(leaf, Weight) else leaf for leaf in leaves])


def _choose(weight: Weight, mask: np.ndarray, uses: Uses, backend: str) -> tuple[LayerChoice, Any]:
    """The choice for one leaf, and the leaf in that form."""
    density = float(mask.mean()) if mask.size else 1.0

    def choice(chosen: str, reason: str, seconds: dict[str, float]) -> LayerChoice:
        return LayerChoice(weight.path, mask.shape, 1 - density, chosen, seconds, reason)

    products = uses.products.get(weight.path)
    others = ", ".join(sorted(uses.others.get(weight.path, ())))
    if backend == "dense":
        return choice("dense", "asked for", {}), weight.kernel
    if not products or others:
        by = f"used by {others}, which takes an array" if others else "not used"
        advice = "; prune whole channels and compact them instead" if "conv" in others else ""
        return choice("dense", by + advice, {}), weight.kernel
    kernel, matrix = (array.reshape(-1, mask.shape[-1]) for array in (weight.kernel, mask))
    forms = _forms(kernel, matrix, backend)
    if not forms:
        return choice("dense", _why_no_form(matrix, backend), {}), weight.kernel
    seconds = _time_forms({"dense": kernel, **forms}, products)
    best = min(forms, key=lambda name: seconds[name])
    gain = seconds["dense"] / seconds[best]
    if backend == "auto" and gain <= 1:
        return choice("dense", f"{best} was the best other form and took {1 / gain:.2f} times as long", seconds), (
            weight.kernel
        )
    return choice(best, f"{gain:.2f} times as fast as dense", seconds), forms[best]


def _stored(mask: np.ndarray, side: int) -> float:
    """Share of the blocks of this side that hold a kept entry."""
    return float(block_mask(mask, side, side).mean())


def _forms(kernel: Any, mask: np.ndarray, backend: str) -> dict[str, Any]:
    """The forms worth a try: at most three block sizes, and n:m where the mask has it and it can pay."""
    forms: dict[str, Any] = {}
    if backend in ("auto", "block"):
        cost = {side: factor * _stored(mask, side) for side, factor in _COST.items() if side <= min(mask.shape)}
        sides = [side for side in sorted(cost, key=lambda side: cost[side]) if cost[side] < 1.2 or backend == "block"]
        for side in sides[:3]:
            name = "unstructured" if side == 1 else f"block {side}x{side}"
            forms[name] = BlockELL.from_dense(kernel, mask, block=(side, side))
    if backend == "nm" or (backend == "auto" and jax.default_backend() == "gpu"):
        fit = next((pair for pair in _NM if _fits(mask, *pair)), None)
        if fit is not None:
            forms[f"{fit[0]}:{fit[1]}"] = NMPacked.from_dense(kernel, mask, n=fit[0], m=fit[1])
    return forms


def _fits(mask: np.ndarray, n: int, m: int) -> bool:
    return mask.shape[0] % m == 0 and int(mask.reshape(-1, m, mask.shape[1]).sum(1).max(initial=0)) <= n


def _why_no_form(mask: np.ndarray, backend: str) -> str:
    if backend == "nm":
        return "its mask is not n:m along the inputs for any of " + ", ".join(f"{n}:{m}" for n, m in _NM)
    stored = {side: _stored(mask, side) for side in (16, 64) if side <= min(mask.shape)}
    shares = ", ".join(f"{share:.0%} of the {side}x{side} blocks" for side, share in stored.items())
    return f"too much is left: {mask.mean():.0%} of the entries" + (f", {shares}" if shares else "")


def _time_forms(forms: dict[str, Any], products: list[tuple[tuple[int, ...], Any, bool]]) -> dict[str, float]:
    """Least time of all the products of a leaf, in each form."""

    def together(xs: list[Array], kernel: Any) -> list[Array]:
        return [matmul(x, kernel, transpose=turned) for x, (_, _, turned) in zip(xs, products, strict=True)]

    multiply = jax.jit(together)
    xs = [jnp.ones(shape, dtype) for shape, dtype, _ in products]
    return _least({name: lambda kernel=kernel: multiply(xs, kernel) for name, kernel in forms.items()})


def _least(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Least seconds of each call, in turns, after one that compiles it."""
    for call in calls.values():
        jax.block_until_ready(call())
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(REPEATS):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            least[name] = min(least[name], time.perf_counter() - began)
    return least
