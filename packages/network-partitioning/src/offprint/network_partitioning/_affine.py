"""Random affine maps: a generator basis, uniform coefficients, and the exponential that turns them into matrices."""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Basis = Literal["softplus_half", "lila", "augerino"]
"""Which six generators, and how a raw parameter gives the range of their coefficients."""

_LILA = ("translate_x", "translate_y", "rotate", "scale_x", "scale_y", "shear")
GENERATORS: dict[str, tuple[str, ...]] = {
    "softplus_half": _LILA,
    "lila": _LILA,
    "augerino": ("translate_x", "translate_y", "rotate", "scale", "stretch", "shear"),
}
"""The names of the six generators of each basis, in the order of the raw parameters."""

_ENTRIES: dict[str, dict[tuple[int, int], float]] = {
    "translate_x": {(0, 2): 1.0},
    "translate_y": {(1, 2): 1.0},
    "rotate": {(0, 1): -1.0, (1, 0): 1.0},
    "scale_x": {(0, 0): 1.0},
    "scale_y": {(1, 1): 1.0},
    "scale": {(0, 0): 1.0, (1, 1): 1.0},
    "stretch": {(0, 0): 1.0, (1, 1): -1.0},
    "shear": {(0, 1): 1.0, (1, 0): 1.0},
}
_AUGERINO_TRANSLATION = 0.1


def check_basis(basis: str) -> None:
    """Raise a ValueError unless the basis is known."""
    if basis not in get_args(Basis):
        raise ValueError(f"basis={basis!r} is unknown; one of {', '.join(map(repr, get_args(Basis)))} is needed")


def generators(basis: Basis = "softplus_half") -> Float[np.ndarray, "6 3 3"]:
    """The six generators Gᵢ of a basis, 3x3, acting on (x, y, 1) with x to the right and y down.

    Raises:
        ValueError: an unknown basis.
    """
    check_basis(basis)
    out = np.zeros((6, 3, 3))
    for i, name in enumerate(GENERATORS[basis]):
        for place, value in _ENTRIES[name].items():
            out[i][place] = value * _unit(basis, name)
    return out


def _unit(basis: str, name: str) -> float:
    return _AUGERINO_TRANSLATION if basis == "augerino" and name.startswith("translate") else 1.0


def half_ranges(raw: Float[Array | np.ndarray, "*vmapped 6"], basis: Basis = "softplus_half") -> Array:
    """The half width of every generator's uniform law, in units of the matrix entries, so that bases compare.

    Rotation in radians, translations in half image widths (heights). Augerino's softplus(raw) is a full width and
    its translations carry a factor 0.1; LILA's eta counts by its absolute value, rotation at most π.

    Raises:
        ValueError: an unknown basis; raw parameters that are not six.
    """
    raw = _six("raw", raw, basis)
    if basis == "softplus_half":
        return jax.nn.softplus(raw)
    if basis == "lila":
        return jnp.abs(_clipped_rotation(raw))
    return jax.nn.softplus(raw) / 2 * _units(basis, raw)


def raw_from_half_ranges(ranges: Float[Array | np.ndarray, "*vmapped 6"], basis: Basis = "softplus_half") -> Array:
    """The raw parameters whose `half_ranges` are these.

    Raises:
        ValueError: an unknown basis; ranges that are not six; outside of a trace, a negative range, or one that is
            not positive where a softplus must give it.
    """
    ranges = _six("ranges", ranges, basis)
    if not isinstance(ranges, jax.core.Tracer):
        low = np.min(np.asarray(ranges), initial=np.inf)
        if low < 0 or (low == 0 and basis != "lila"):
            raise ValueError(
                f"the smallest half range is {low}, but basis={basis!r} needs "
                f"{'ranges that are not negative' if basis == 'lila' else 'positive ranges'}; "
                "leave a generator out where nothing should happen"
            )
    if basis == "lila":
        return ranges
    softplus = ranges if basis == "softplus_half" else 2 * ranges / _units(basis, ranges)
    return softplus + jnp.log(-jnp.expm1(-softplus))


def augerino_widths(ranges: Float[Array | np.ndarray, "*vmapped 6"]) -> Array:
    """The full widths that Augerino's layer states for `half_ranges(raw, "augerino")`: twice the half range, and ten
    times that for translations. A full circle of rotation is 2π."""
    ranges = _six("ranges", ranges, "augerino")
    return 2 * ranges / _units("augerino", ranges)


def _units(basis: str, like: Array) -> Array:
    return jnp.asarray([_unit(basis, name) for name in GENERATORS[basis]], like.dtype)


def _six(name: str, values: Array | np.ndarray, basis: str) -> Array:
    check_basis(basis)
    values = jnp.asarray(values)
    if values.shape[-1:] != (6,):
        raise ValueError(f"{name} has the shape {values.shape}, but six numbers are needed, one for each generator")
    return values


def _clipped_rotation(eta: Array) -> Array:
    return jnp.where(np.arange(6) == 2, jnp.clip(eta, -math.pi, math.pi), eta)


def coefficients(raw: Array, u: Array, basis: Basis) -> Array:
    """cᵢ from uniforms in [0, 1), for generators whose rotation has already been limited."""
    if basis == "augerino":
        return (u - 0.5) * jax.nn.softplus(raw)
    return (2 * u - 1) * (raw if basis == "lila" else jax.nn.softplus(raw))


def affine_algebra(
    raw: Float[Array | np.ndarray, "*#batch 6"],
    u: Float[Array | np.ndarray, "*#batch 6"],
    basis: Basis = "softplus_half",
) -> Float[Array, "*batch 3 3"]:
    """A = Σᵢ cᵢ Gᵢ, the logarithms of the affine matrices.

    Args:
        raw: the six raw parameters. "softplus_half" (our choice): c = (2u - 1) softplus(raw). "lila":
            c = (2u - 1) raw, rotation clipped to [-π, π]. "augerino": c = (u - 1/2) softplus(raw).
        u: uniforms in [0, 1), any leading shape.
        basis: see `generators`.

    Raises:
        ValueError: an unknown basis; raw parameters or uniforms that are not six.

    Source: "augerino", Benton et al. 2020, public code; "lila", Immer et al. 2022, public code.
    """
    raw, u = _six("raw", raw, basis), _six("u", u, basis)
    raw = _clipped_rotation(raw) if basis == "lila" else raw
    return combine(coefficients(raw, u, basis), generators(basis))


def combine(c: Array, basis_matrices: np.ndarray) -> Array:
    """Σᵢ cᵢ Gᵢ, (..., 3, 3)."""
    return _product(c, jnp.asarray(basis_matrices.reshape(-1, 9), c.dtype)).reshape(*c.shape[:-1], 3, 3)


def affine_matrices(
    raw: Float[Array | np.ndarray, "*#batch 6"],
    u: Float[Array | np.ndarray, "*#batch 6"],
    basis: Basis = "softplus_half",
) -> Float[Array, "*batch 3 3"]:
    """M = exp(A), one affine map for every set of uniforms; the arguments and errors of `affine_algebra`.

    M maps output positions to input positions, in coordinates normalised to [-1, 1] along each axis: on images that
    are not square the rotation generator therefore also shears.
    """
    return expm3(affine_algebra(raw, u, basis))


def expm3(a: Float[Array | np.ndarray, "*batch 3 3"]) -> Float[Array, "*batch 3 3"]:
    """The exponentials of many small matrices: a Taylor polynomial of degree 16 of A / 8, squared three times.

    Nine matrix products for every matrix, without a branch or a solve. Up to norms of 2π the truncation is below the
    rounding of float64; at a norm of 16 its relative error is below 1e-8.
    """
    x = jnp.asarray(a) / 8
    x2 = _product(x, x)
    x3, x4 = _product(x2, x), _product(x2, x2)
    eye = jnp.eye(3, dtype=x.dtype)

    def cubic(first: int) -> Array:
        """Four terms of the series, the common factor x^first left out."""
        c = [1 / math.factorial(first + i) for i in range(4)]
        return c[0] * eye + c[1] * x + c[2] * x2 + c[3] * x3

    out = cubic(12) + x4 * (1 / math.factorial(16))
    for first in (8, 4, 0):
        out = cubic(first) + _product(x4, out)
    for _ in range(3):
        out = _product(out, out)
    return out


def _product(a: Array, b: Array) -> Array:
    """In full precision: the default would be rounded to TF32 or bfloat16 on accelerators."""
    return jnp.matmul(a, b, precision="highest")
