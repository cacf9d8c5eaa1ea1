"""Running a function while looking at every product of a parameter: what goes into it and what comes out.

The function is traced to a jaxpr and evaluated equation by equation, so any function will do (NNX, Linen, plain ones).
A parameter is followed through casts, transposes and elementwise factors (masks), through jit, remat and custom
derivatives, and into scans, where it may be the same in all steps or one slice for each (layers that are stacked).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core as jcore
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._jaxprs import called, closed
from offprint.sparsity._tree import named_leaves

_CASTS = ("convert_element_type", "copy", "copy_p", "reduce_precision", "sharding_constraint", "stop_gradient")
THROUGH = (*_CASTS, "transpose")
MASKING = ("mul", "select_n")


class Use(NamedTuple):
    """A product of inputs with a parameter as the kernel."""

    path: str
    site: int
    """Which use of the parameter this is, counted from 0."""
    axes: tuple[int, ...]
    """Axes of the parameter that the product sums over, in order."""
    inputs: Callable[[], Float[Array, "rows in"]]
    """What the kernel is applied to; for a convolution, patches."""
    as_rows: Callable[[Array], Float[Array, "rows out"]]
    """Brings the output, or a gradient of its shape, into rows that go with the inputs."""


Visit = Callable[[Use, Array], tuple[Array, Any]]


@dataclass(frozen=True)
class _Tag:
    """A value that is a parameter with its axes in some order; axes[i] is the parameter's axis i of the value."""

    path: str
    axes: tuple[int, ...]
    stacked: bool = False  # a slice along the parameter's axis 0


@dataclass
class Found:
    """What there is to know of the uses apart from numbers; filled while the function is traced."""

    axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    stacked: dict[str, bool] = field(default_factory=dict)
    in_scan: set[str] = field(default_factory=set)
    sites: dict[str, int] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)  # where a parameter could not be followed


def intercept(
    function: Callable[..., PyTree], params: PyTree, visit: Visit, *args: PyTree, found: Found
) -> tuple[PyTree, dict[tuple[str, int], Any]]:
    """`function(params, *args)` and the records of all uses, by path and site.

    Args:
        function: a function of params and others.
        params: tree of arrays.
        visit: called as `visit(use, output)`; returns the output to go on with and a record, a tree of arrays. Records
            in a scan are summed over the steps, or stacked if the parameter is one slice for each step.
        *args: the other arguments.
        found: is told what the uses were.
    """
    flat, tree = jax.tree.flatten((params, *args))
    traced, shape = jax.make_jaxpr(lambda *leaves: function(*jax.tree.unflatten(tree, leaves)), return_shape=True)(
        *flat
    )
    paths = [path for path, leaf in named_leaves(params) if leaf is not None]
    tags = [_Tag(path, tuple(range(jnp.ndim(leaf)))) for path, leaf in zip(paths, flat, strict=False)]
    walk = _Walk(visit, found)
    outputs, _, records = walk.run(traced, flat, [*tags, *[None] * (len(flat) - len(tags))], in_scan=False)
    return jax.tree.unflatten(jax.tree.structure(shape), outputs), records


class _Walk:
    def __init__(self, visit: Visit, found: Found) -> None:
        self.visit, self.found = visit, found

    def run(
        self, traced: jcore.ClosedJaxpr, args: list[Any], tags: list[_Tag | None], *, in_scan: bool
    ) -> tuple[list[Any], list[_Tag | None], dict[tuple[str, int], Any]]:
        """The outputs of a jaxpr, which of them are parameters still, and the records of what it uses."""
        jaxpr = traced.jaxpr
        values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*traced.consts, *args], strict=True))
        followed = {var: tag for var, tag in zip(jaxpr.invars, tags, strict=True) if tag is not None}
        records: dict[tuple[str, int], Any] = {}
        for eqn in jaxpr.eqns:
            given = [var.val if isinstance(var, jcore.Literal) else values[var] for var in eqn.invars]
            known = [None if isinstance(var, jcore.Literal) else followed.get(var) for var in eqn.invars]
            name = eqn.primitive.name
            inner = called(eqn)
            if not any(known):
                results = _bind(eqn, given)
            elif name in THROUGH or (name in MASKING and sum(tag is not None for tag in known) == 1):
                results = _bind(eqn, given)
                tag = next(tag for tag in known if tag is not None)
                axes = eqn.params["permutation"] if name == "transpose" else range(len(tag.axes))
                followed[eqn.outvars[0]] = replace(tag, axes=tuple(tag.axes[axis] for axis in axes))
            elif inner is not None:
                results, tags, new = self.run(inner, given, known, in_scan=in_scan)
                followed.update((var, tag) for var, tag in zip(eqn.outvars, tags, strict=True) if tag is not None)
                records.update(new)
            elif name == "scan":
                results, new = self.scan(eqn, given, known)
                records.update(new)
            else:
                results = _bind(eqn, given)
                use = self.product(eqn, given, known, in_scan)
                if use is not None:
                    results[0], records[use.path, use.site] = self.visit(use, results[0])
            values.update(zip(eqn.outvars, results, strict=True))
        outputs = [var.val if isinstance(var, jcore.Literal) else values[var] for var in jaxpr.outvars]
        return (
            outputs,
            [None if isinstance(var, jcore.Literal) else followed.get(var) for var in jaxpr.outvars],
            records,
        )

    def product(self, eqn: jcore.JaxprEqn, given: list[Any], known: list[_Tag | None], in_scan: bool) -> Use | None:
        """The equation as a use of a parameter; None if it is none, which is noted."""
        name = eqn.primitive.name
        if name == "dot_general":
            side = 1 if known[1] is not None else 0
            tag = known[side]
            assert tag is not None
            contract, batch = eqn.params["dimension_numbers"]
            if not batch[side]:
                axes, inputs, as_rows = _dot(given[1 - side], given[side].ndim, side, contract, tag)
                return self._use(tag, axes, inputs, as_rows, in_scan)
            name = "a product with batch axes in the kernel"
        elif name == "conv_general_dilated" and known[1] is not None:
            if eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1:
                axes, inputs, as_rows = _conv(given[0], given[1].shape, eqn.params, known[1])
                return self._use(known[1], axes, inputs, as_rows, in_scan)
            name = "a grouped convolution"
        for tag in known:
            if tag is not None:
                self.found.lost.setdefault(tag.path, name)
        return None

    def _use(self, tag: _Tag, axes: tuple[int, ...], inputs: Any, as_rows: Any, in_scan: bool) -> Use:
        site = self.found.sites.get(tag.path, 0)
        self.found.sites[tag.path] = site + 1
        if self.found.axes.setdefault(tag.path, axes) != axes:
            raise ValueError(
                f"{tag.path!r} is used in two ways, with its axes {self.found.axes[tag.path]} and with {axes} as "
                "inputs (tied weights?); leave it out by the filter"
            )
        self.found.stacked[tag.path] = tag.stacked
        if in_scan:
            self.found.in_scan.add(tag.path)
        return Use(tag.path, site, axes, inputs, as_rows)

    def scan(
        self, eqn: jcore.JaxprEqn, given: list[Any], known: list[_Tag | None]
    ) -> tuple[list[Any], dict[tuple[str, int], Any]]:
        """A scan whose records are one more output of its body."""
        body: jcore.ClosedJaxpr = closed(eqn.params["jaxpr"])
        n_consts, n_carry = eqn.params["num_consts"], eqn.params["num_carry"]
        consts, carry, stacked = given[:n_consts], given[n_consts : n_consts + n_carry], given[n_consts + n_carry :]
        tags = known[:n_consts] + [None] * n_carry + [_sliced(tag) for tag in known[n_consts + n_carry :]]
        for tag, inner in zip(known[n_consts:], tags[n_consts:], strict=True):
            if tag is not None and inner is None:
                self.found.lost.setdefault(tag.path, "a scan, but not as a constant or by its first axis")

        def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], Any]:
            results, _, records = self.run(body, [*consts, *carry, *slices], tags, in_scan=True)
            return results[:n_carry], (results[n_carry:], records)

        carry, (outputs, records) = jax.lax.scan(
            step, carry, stacked, length=eqn.params["length"], reverse=eqn.params["reverse"]
        )
        shared = {tag.path for tag in known[:n_consts] if tag is not None}
        return [*carry, *outputs], {
            key: jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), record) if key[0] in shared else record
            for key, record in records.items()
        }


def _sliced(tag: _Tag | None) -> _Tag | None:
    """What a step of a scan sees of a parameter that it scans over; None if that is not its first axis."""
    if tag is None or tag.stacked or tag.axes[0] != 0:
        return None
    return replace(tag, axes=tag.axes[1:], stacked=True)


def _bind(eqn: jcore.JaxprEqn, given: list[Any]) -> list[Any]:
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # JAX before and since 0.10
    results = eqn.primitive.bind(*functions, *given, **params)
    return list(results) if eqn.primitive.multiple_results else [results]


def _dot(
    other: Array, ndim: int, side: int, contract: tuple[Any, Any], tag: _Tag
) -> tuple[tuple[int, ...], Callable[[], Array], Callable[[Array], Array]]:
    """A dot_general without batch axes in which the kernel is operand `side`."""
    pairs = sorted((tag.axes[mine], theirs) for mine, theirs in zip(contract[side], contract[1 - side], strict=True))
    theirs = [axis for _, axis in pairs]
    rows = [axis for axis in range(other.ndim) if axis not in theirs]
    # The free axes of the kernel stand together in the output, in the order that they have in the value.
    free = [tag.axes[axis] for axis in range(ndim) if axis not in contract[side]]
    first = len(rows) if side == 1 else 0
    last = [first + free.index(axis) for axis in sorted(free)]

    def inputs() -> Array:
        return other.transpose(*rows, *theirs).reshape(-1, math.prod(other.shape[axis] for axis in theirs))

    def as_rows(output: Array) -> Array:
        leading = [axis for axis in range(output.ndim) if axis not in last]
        return output.transpose(*leading, *last).reshape(-1, math.prod(output.shape[axis] for axis in last))

    return tuple(axis for axis, _ in pairs), inputs, as_rows


def _conv(
    images: Array, shape: tuple[int, ...], params: dict[str, Any], tag: _Tag
) -> tuple[tuple[int, ...], Callable[[], Array], Callable[[Array], Array]]:
    """A convolution, as a product of patches with the kernel."""
    numbers = params["dimension_numbers"]
    spatial = len(numbers.rhs_spec) - 2
    places = numbers.rhs_spec[1:]  # in the value: input channels, then space
    window = [shape[axis] for axis in places[1:]]
    order = sorted(range(len(places)), key=lambda place: tag.axes[places[place]])

    def inputs() -> Array:
        patches = jax.lax.conv_general_dilated_patches(
            images.transpose(numbers.lhs_spec),
            window,
            params["window_strides"],
            params["padding"],
            lhs_dilation=params["lhs_dilation"],
            rhs_dilation=params["rhs_dilation"],
            precision=jax.lax.Precision.HIGHEST,
        )
        outer = patches.shape[2:]
        split = patches.reshape(patches.shape[0], shape[places[0]], *window, *outer)
        kernel_axes = [1 + place for place in order]
        return split.transpose(0, *range(2 + spatial, 2 + 2 * spatial), *kernel_axes).reshape(-1, patches.shape[1])

    def as_rows(output: Array) -> Array:
        batch, features, *space = numbers.out_spec
        return output.transpose(batch, *space, features).reshape(-1, output.shape[features])

    return tuple(tag.axes[places[place]] for place in order), inputs, as_rows
