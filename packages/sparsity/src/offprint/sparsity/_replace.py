"""A function run with some of its weights in a sparse format: the products that use them directly are replaced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jcore
from jaxtyping import Array

from offprint.sparsity._jaxprs import called
from offprint.sparsity._matmul import Sparse, matmul


@dataclass(frozen=True)
class Weight:
    """A pruned leaf on its way through the function."""

    path: str
    kernel: Any  # an array with zeros where it is pruned, or a format
    shape: tuple[int, ...]  # of the leaf; a format holds it as a matrix, whose columns are the last axis
    turned: bool = False  # the weight is the kernel's transpose

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.kernel.values.dtype if isinstance(self.kernel, Sparse) else self.kernel.dtype

    def dense(self) -> Array:
        """The weight as an array."""
        array = self.kernel.to_dense().reshape(self.shape) if isinstance(self.kernel, Sparse) else self.kernel
        return array.T if self.turned else array

    def cast(self, dtype: Any) -> "Weight":
        """With values of another type."""
        if isinstance(self.kernel, Sparse):
            return replace(self, kernel=self.kernel.with_values(self.kernel.values.astype(dtype)))
        return replace(self, kernel=self.kernel.astype(dtype))


@dataclass
class Uses:
    """What happens to each pruned leaf, noted while the function is traced."""

    products: dict[str, list[tuple[tuple[int, ...], Any, bool]]] = field(default_factory=dict)
    """Shape and type of x in every `x @ W` (or, last, `x @ W.T`)."""
    others: dict[str, set[str]] = field(default_factory=dict)
    """Primitives that take the leaf otherwise."""


def run(apply_fn: Callable[..., Any], tree: Any, leaves: Sequence[Any], inputs: Any, uses: Uses) -> Any:
    """`apply_fn(params, *inputs)`, where `leaves` of params may be `Weight`s; `tree` is their structure.

    To be called while tracing: the function is traced anew for the shapes of the inputs.
    """
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, Weight) else leaf for leaf in leaves]
    traced, out = jax.make_jaxpr(lambda leaves, inputs: apply_fn(tree.unflatten(leaves), *inputs), return_shape=True)(
        shapes, inputs
    )
    results = _evaluate(traced, [*leaves, *jax.tree.leaves(inputs)], uses)
    dense = [result.dense() if isinstance(result, Weight) else result for result in results]
    return jax.tree.unflatten(jax.tree.structure(out), dense)


def _evaluate(program: jcore.ClosedJaxpr, inputs: list[Any], uses: Uses) -> list[Any]:
    values: dict[Any, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values.update(zip(program.jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jcore.Literal) else values[atom]

    for eqn in program.jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        inner = called(eqn)
        if inner is not None:
            results = _evaluate(inner, operands, uses)
        elif not any(isinstance(operand, Weight) for operand in operands):
            results = _bind(eqn, operands)
        else:
            results = _use(eqn, operands, uses)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def _bind(eqn: jcore.JaxprEqn, operands: list[Any]) -> list[Any]:
    results = eqn.primitive.bind(*operands, **eqn.params)
    return list(results) if eqn.primitive.multiple_results else [results]


def _use(eqn: jcore.JaxprEqn, operands: list[Any], uses: Uses) -> list[Any]:
    name = eqn.primitive.name
    if name == "convert_element_type" and jnp.issubdtype(eqn.params["new_dtype"], jnp.floating):
        return [operands[0].cast(eqn.params["new_dtype"])]
    if name == "transpose" and eqn.params["permutation"] == (1, 0):
        return [replace(operands[0], turned=not operands[0].turned)]
    product = _PRODUCTS.get(name)
    if product is not None and not isinstance(operands[0], Weight):
        result = product(eqn.params, *operands, uses)
        if result is not None:
            return [result.astype(eqn.params["preferred_element_type"] or result.dtype)]
    for operand in operands:
        if isinstance(operand, Weight):
            uses.others.setdefault(operand.path, set()).add(name)
    return _bind(eqn, [operand.dense() if isinstance(operand, Weight) else operand for operand in operands])


def _multiply(x: Array, weight: Weight, transpose: bool, uses: Uses) -> Array:
    uses.products.setdefault(weight.path, []).append((x.shape, x.dtype, transpose))
    kernel = weight.kernel if isinstance(weight.kernel, Sparse) else weight.kernel.reshape(-1, weight.shape[-1])
    return matmul(x, kernel, transpose=transpose)


def _dot(params: dict[str, Any], x: Array, weight: Weight, uses: Uses) -> Array | None:
    """x @ W or x @ W.T with a matrix W; None if it is another product."""
    (contracted, kernel_axes), batch = params["dimension_numbers"]
    if any(batch) or len(contracted) != 1 or len(weight.shape) != 2:
        return None
    return _multiply(jnp.moveaxis(x, contracted[0], -1), weight, (kernel_axes[0] == 1) != weight.turned, uses)


def _convolution(params: dict[str, Any], x: Array, weight: Weight, uses: Uses) -> Array | None:
    """A convolution whose window is one position, with or without strides; None if it is another."""
    numbers, axes = params["dimension_numbers"], len(weight.shape)
    last = numbers.rhs_spec[:2] == (axes - 1, axes - 2)  # (..., in, out)
    whole = params["feature_group_count"] == params["batch_group_count"] == 1
    edges = any(edge for pair in params["padding"] for edge in pair) or any(by != 1 for by in params["lhs_dilation"])
    if not last or not whole or edges or any(size != 1 for size in weight.shape[:-2]):
        return None
    batch, channel, *space = numbers.lhs_spec
    steps = [slice(None)] * axes
    for axis, stride in zip(space, params["window_strides"], strict=True):
        steps[axis] = slice(None, None, stride)
    y = _multiply(x[tuple(steps)].transpose(batch, *space, channel), weight, False, uses)
    batch, channel, *space = numbers.out_spec
    return jnp.moveaxis(y, range(axes), (batch, *space, channel))


_PRODUCTS: dict[str, Callable[..., Array | None]] = {"dot_general": _dot, "conv_general_dilated": _convolution}
