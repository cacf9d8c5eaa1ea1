"""The third pass over a jaxpr: running it with fewer elements.

Code that fixes shapes (the number of heads in a reshape, the groups of a depthwise convolution, arrays that a function
closes over) can't run with smaller parameters. Its jaxpr can, with the shapes in it put right.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core as jcore
from jaxtyping import PyTree

from offprint.sparsity._jaxprs import Key, called, closed
from offprint.sparsity._labels import Labels, label
from offprint.sparsity._rules import pad_index, slice_of
from offprint.sparsity._units import Axis


class Shrunk:
    """A labelled function and what is left of it."""

    def __init__(self, labels: Labels, removed: np.ndarray) -> None:
        self.labels = labels
        self.removed = removed

    def kept(self, axis: Axis) -> np.ndarray:
        """The elements of an axis that stay."""
        if axis.shape[1] == 0:
            return np.arange(len(axis))
        return np.flatnonzero(~self.removed[self.labels.units.resolve(axis)].any(1))

    def shape(self, axes: tuple[Axis, ...]) -> tuple[int, ...]:
        """The shape that is left of an array."""
        return tuple(self.kept(axis).size for axis in axes)

    def slice(self, path: str, array: np.ndarray) -> np.ndarray:
        """What is left of a parameter, or of anything of its shape."""
        return self.take(array, self.labels.leaves[path])

    def take(self, array: Any, axes: tuple[Axis, ...]) -> Any:
        """What is left of an array of the original shape."""
        for d, axis in enumerate(axes):
            index = self.kept(axis)
            if index.size != len(axis):
                array = array.take(index, axis=d)
        return array

    def run(self, leaves: list[Any], inputs: list[Any]) -> list[Any]:
        """The outputs of the function for small parameters."""
        return self._walk(self.labels.traced.jaxpr, leaves + inputs, ())

    def _walk(self, jaxpr: jcore.ClosedJaxpr, args: list[Any], prefix: Key) -> list[Any]:
        env: dict[Any, Any] = {}
        for var, const, axes in zip(
            jaxpr.jaxpr.constvars, jaxpr.consts, self.labels.consts.get(prefix, []), strict=True
        ):
            env[var] = self.take(jnp.asarray(const), axes)
        env.update(zip(jaxpr.jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, jcore.Literal) else env[atom]

        for i, eqn in enumerate(jaxpr.jaxpr.eqns):
            key = (*prefix, i)
            ins = [read(atom) for atom in eqn.invars]
            inner = called(eqn)
            if inner is not None:
                outs = self._walk(inner, ins, key)
            elif eqn.primitive.name in _REWRITE:
                outs = _REWRITE[eqn.primitive.name](self, eqn, key, ins)
            else:
                outs = eqn.primitive.bind(*ins, **eqn.params)
                outs = outs if eqn.primitive.multiple_results else [outs]
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.jaxpr.outvars]


def _with(**changes: Callable[[Shrunk, Any, Key], Any]) -> Callable[..., list[Any]]:
    """A rewriting that changes these parameters of an equation."""

    def rewrite(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
        params = {**eqn.params, **{name: change(shrunk, eqn, key) for name, change in changes.items()}}
        return [eqn.primitive.bind(*ins, **params)]

    return rewrite


def _out_shape(shrunk: Shrunk, eqn: Any, key: Key) -> tuple[int, ...]:
    return shrunk.shape(shrunk.labels.axes[key][1][0])


def _reshape(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    order = eqn.params.get("dimensions")
    x = ins[0] if order is None else jnp.transpose(ins[0], order)
    return [jnp.reshape(x, _out_shape(shrunk, eqn, key))]


def _iota(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    params = {**eqn.params, "shape": _out_shape(shrunk, eqn, key)}
    return [lax.broadcasted_iota(params["dtype"], params["shape"], params["dimension"])]


def _pick(shrunk: Shrunk, before: Axis, wanted: np.ndarray) -> np.ndarray:
    """Where the elements `wanted` of an axis are among those that stay."""
    return np.searchsorted(shrunk.kept(before), wanted)


def _slice(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    (before,), (after,) = shrunk.labels.axes[key]
    x = ins[0]
    for d, axis in enumerate(before):
        window = np.arange(len(axis))[slice_of(eqn.params, d)]
        if window.size != len(axis):
            x = _take(x, _pick(shrunk, axis, window[shrunk.kept(after[d])]), d)
    return [x]


def _take(x: Any, index: np.ndarray, d: int) -> Any:
    if index.size and (np.diff(index) == 1).all():
        return lax.slice_in_dim(x, int(index[0]), int(index[-1]) + 1, axis=d)
    return jnp.take(x, index, axis=d)


def _split(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    d = eqn.params["axis"]
    sizes = [shrunk.kept(axes[d]).size for axes in shrunk.labels.axes[key][1]]
    return list(lax.split(ins[0], sizes, axis=d))


def _pad(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    before, after = shrunk.labels.axes[key][0][0], shrunk.labels.axes[key][1][0]
    x, filler = ins
    config: list[tuple[int, int, int]] = [(int(c[0]), int(c[1]), int(c[2])) for c in eqn.params["padding_config"]]
    for d, axis in enumerate(before):
        if axis.shape[1] and config[d] != (0, 0, 0):
            source = pad_index(config[d], len(axis))[shrunk.kept(after[d])]
            n = x.shape[d]  # one element of padding is put behind, and taken wherever there is padding
            x = lax.pad(x, filler, [(0, int(i == d), 0) for i in range(x.ndim)])
            x = jnp.take(x, np.where(source < 0, n, _pick(shrunk, axis, source.clip(0))), axis=d)
            config[d] = (0, 0, 0)
    return [lax.pad(x, filler, config)]


def kept_groups(shrunk: Shrunk, eqn: Any, key: Key) -> int:
    groups = shrunk.labels.sinks[key][0]
    return shrunk.kept(groups).size if eqn.params["feature_group_count"] != 1 else 1


def _slice_sizes(shrunk: Shrunk, eqn: Any, key: Key) -> tuple[int, ...]:
    axes = shrunk.labels.axes[key][0][0]
    return tuple(
        shrunk.kept(axis).size if n == len(axis) else n for axis, n in zip(axes, eqn.params["slice_sizes"], strict=True)
    )


def _scan(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    consts, carries = eqn.params["num_consts"], eqn.params["num_carry"]
    body = closed(eqn.params["jaxpr"])

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        outs = shrunk._walk(body, ins[:consts] + carry + xs, key)
        return outs[:carries], outs[carries:]

    options = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
    carry, ys = lax.scan(step, ins[consts : consts + carries], ins[consts + carries :], **options)
    return carry + ys


def _while(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    for_cond, for_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    test, body = closed(eqn.params["cond_jaxpr"]), closed(eqn.params["body_jaxpr"])
    fixed = ins[for_cond : for_cond + for_body]
    return lax.while_loop(
        lambda carry: shrunk._walk(test, ins[:for_cond] + carry, (*key, 0))[0],
        lambda carry: shrunk._walk(body, fixed + carry, (*key, 1)),
        ins[for_cond + for_body :],
    )


def _cond(shrunk: Shrunk, eqn: Any, key: Key, ins: list[Any]) -> list[Any]:
    def branch(i: int, jaxpr: jcore.ClosedJaxpr) -> Callable[..., list[Any]]:
        return lambda *args: shrunk._walk(jaxpr, list(args), (*key, i))

    branches = [branch(i, closed(jaxpr)) for i, jaxpr in enumerate(eqn.params["branches"])]
    return lax.switch(ins[0], branches, *ins[1:])


_REWRITE: dict[str, Callable[..., list[Any]]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _with(shape=_out_shape),
    "iota": _iota,
    "slice": _slice,
    "split": _split,
    "pad": _pad,
    "conv_general_dilated": _with(feature_group_count=kept_groups),
    "gather": _with(slice_sizes=_slice_sizes),
    "dynamic_slice": _with(slice_sizes=_slice_sizes),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}


def rewritten(
    apply_fn: Callable[..., PyTree],
    shapes: PyTree,
    freeze: tuple[str, ...],
    removed_of: Callable[[Labels], np.ndarray],
) -> Callable[..., PyTree]:
    """`apply_fn` for small parameters, by its jaxpr at the original shapes; traced anew for each shape of its input."""
    cache: dict[Any, Shrunk] = {}

    def apply_small(params: PyTree, x: PyTree) -> PyTree:
        leaves, tree = jax.tree.flatten(x)
        # A function's labels depend on the shapes alone, so that they are made once for each.
        signature = (tree, *((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
        if signature not in cache:
            labels = label(apply_fn, shapes, x, freeze)
            cache[signature] = Shrunk(labels, removed_of(labels))
        shrunk = cache[signature]
        outs = shrunk.run(jax.tree.leaves(params), leaves)
        return jax.tree.unflatten(shrunk.labels.traced.out_tree, outs)

    return apply_small
