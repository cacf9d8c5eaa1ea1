"""Multiply-adds of a function, dense and with masked weights, read off its jaxpr."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core as jcore
from jaxtyping import PyTree

from offprint.sparsity._jaxprs import called, check_host, closed, trace
from offprint.sparsity._rules_contract import dot_dims
from offprint.sparsity._tree import check_same, named_leaves

# What hands a parameter, or a slice that every layer of a scan takes of it, on to the product that uses it.
# fmt: off
_PASSING = frozenset([
    "convert_element_type", "copy", "copy_p", "stop_gradient", "transpose", "reshape", "squeeze", "slice",
    "broadcast_in_dim",
])
# fmt: on


class Macs(NamedTuple):
    """Multiply-adds; `by_leaf` has those of each parameter, `other` those of products of two activations."""

    dense: int
    sparse: float  # without those of masked weights
    by_leaf: dict[str, tuple[int, float]]  # {path: (dense, sparse)}
    other: int

    @property
    def speedup(self) -> float:
        """Dense over sparse: what a machine that skips zeros for free would gain."""
        return self.dense / self.sparse if self.sparse else float("inf")

    @property
    def flops(self) -> tuple[int, float]:
        """Dense and sparse floating-point operations: two per multiply-add."""
        return 2 * self.dense, 2 * self.sparse

    def __str__(self) -> str:
        width = max([5, *map(len, self.by_leaf)])
        rows = [f"{'leaf':{width}} {'dense':>16} {'sparse':>16}"]
        rows += [f"{path:{width}} {dense:16d} {sparse:16.0f}" for path, (dense, sparse) in self.by_leaf.items()]
        rows += [f"{'other':{width}} {self.other:16d} {self.other:16d}"]
        rows += [f"{'total':{width}} {self.dense:16d} {self.sparse:16.0f}"]
        return "\n".join(rows)


class _Product(NamedTuple):
    """A contraction that was met: how often it runs, and the parameter in it, if any."""

    path: str | None
    macs: int


def macs(apply_fn: Callable[..., PyTree], params: PyTree, x: PyTree, masks: PyTree | None = None) -> Macs:
    """Count the multiply-adds of `apply_fn(params, x)`.

    Every dot_general and convolution counts: batch x outputs x inputs, and for convolutions every tap of the window,
    those that meet padding too, as is customary (ResNet-50 at 224 x 224 has 4 089 184 256). Additions, normalisations
    and activations count nothing. A masked weight takes its share of its leaf's multiply-adds away, which is exact as
    long as each weight of the leaf is used equally often. Products of two activations (attention) count as dense. A
    scan counts its length, a cond its costliest branch, and the body of a while loop once.

    Args:
        apply_fn: `apply_fn(params, x)`; nothing is computed, it is traced only.
        params: arrays, or their shapes and dtypes.
        x: an example, or its shape and dtype; the counts are for its whole batch.
        masks: like `params`, `None` at leaves that are dense.

    Raises:
        ValueError: masks of another tree.
    """
    density = {path: 1.0 for path, leaf in named_leaves(params) if leaf is not None}
    if masks is not None:
        check_host("macs", masks)
        check_same(params, masks, "masks")
        for path, mask in named_leaves(masks):
            if mask is not None:
                density[path] = float(np.count_nonzero(np.asarray(mask)) / max(mask.size, 1))
    traced = trace(apply_fn, params, x)
    inputs = len(traced.jaxpr.jaxpr.invars) - len(traced.paths)
    products = _walk(traced.jaxpr, [*traced.paths, *[None] * inputs], 1)[1]
    dense: dict[str, int] = {}
    other = 0
    for product in products:
        if product.path is None:
            other += product.macs
        else:
            dense[product.path] = dense.get(product.path, 0) + product.macs
    by_leaf = {path: (dense[path], dense[path] * density[path]) for path in traced.paths if path in dense}
    total = sum(d for d, _ in by_leaf.values()) + other
    return Macs(total, float(sum(s for _, s in by_leaf.values()) + other), by_leaf, other)


def _walk(jaxpr: jcore.ClosedJaxpr, args: list[str | None], times: int) -> tuple[list[str | None], list[_Product]]:
    """The parameter that each output is, if it is one, and the products on the way."""
    env: dict[Any, str | None] = dict(zip(jaxpr.jaxpr.invars, args, strict=True))

    def read(atom: Any) -> str | None:
        return None if isinstance(atom, jcore.Literal) else env.get(atom)

    products: list[_Product] = []
    for eqn in jaxpr.jaxpr.eqns:
        ins = [read(atom) for atom in eqn.invars]
        name, inner = eqn.primitive.name, called(eqn)
        outs: list[str | None] = [None] * len(eqn.outvars)
        if inner is not None:
            outs, found = _walk(inner, ins, times)
            products += found
        elif name == "scan":
            products += _walk(closed(eqn.params["jaxpr"]), ins, times * eqn.params["length"])[1]
        elif name == "while":
            a, b = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
            carry: list[str | None] = [None] * (len(ins) - a - b)
            products += _walk(closed(eqn.params["body_jaxpr"]), ins[a : a + b] + carry, times)[1]
        elif name == "cond":
            branches = [_walk(closed(branch), ins[1:], times)[1] for branch in eqn.params["branches"]]
            products += max(branches, key=lambda found: sum(p.macs for p in found))
        elif name in ("dot_general", "conv_general_dilated"):
            count = _dot(eqn) if name == "dot_general" else _convolution(eqn)
            # A product of two parameters is rare; it is the first one's.
            path = next((p for p in (ins[1], ins[0]) if p is not None), None)
            products.append(_Product(path, times * count))
        elif name in _PASSING:
            outs = [ins[0]]
        elif name == "mul" and sum(p is not None for p in ins) == 1 and _by_constant(eqn, ins):
            outs = [next(p for p in ins if p is not None)]
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.jaxpr.outvars], products


def _by_constant(eqn: Any, ins: list[str | None]) -> bool:
    other = next(v for v, p in zip(eqn.invars, ins, strict=True) if p is None)
    return isinstance(other, jcore.Literal)


def _dot(eqn: Any) -> int:
    _, contracted, _, _, _, _ = dot_dims(eqn)
    outputs = int(np.prod(eqn.outvars[0].aval.shape, dtype=np.int64))
    return outputs * int(np.prod([eqn.invars[0].aval.shape[d] for d in contracted], dtype=np.int64))


def _convolution(eqn: Any) -> int:
    outputs = int(np.prod(eqn.outvars[0].aval.shape, dtype=np.int64))
    numbers, kernel = eqn.params["dimension_numbers"], eqn.invars[1].aval.shape
    # Inputs per group times taps; the groups are in the number of outputs.
    return outputs * int(np.prod([kernel[d] for d in numbers.rhs_spec[1:]], dtype=np.int64))
