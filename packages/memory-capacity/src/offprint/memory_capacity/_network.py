"""A linear recurrent network `x_t = A x_{t-1} + C z_t`, and what must hold of (A, C) at the public boundary."""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float


class PrecisionWarning(UserWarning):
    """64-bit numbers are switched off in JAX, so the result carries float32 rounding."""


class MeaningWarning(UserWarning):
    """The call is valid, but its result does not mean what such a result usually means."""


def concrete(x: ArrayLike) -> np.ndarray | None:
    """The value of `x` as a NumPy array, or None where `x` is traced (inside `jit` or `vmap`).

    Under `grad` and `jvp` outside `jit` the value is known; `stop_gradient` uncovers it.
    """
    value = jax.lax.stop_gradient(x) if isinstance(x, jax.core.Tracer) else x
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)


def is_traced(x: Any) -> bool:
    """Whether `x` stands for a value (inside `jit`, `vmap` or `grad`) rather than having one."""
    return isinstance(x, jax.core.Tracer)


def check_matrix(A: ArrayLike) -> Float[Array, "N N"]:
    """`A` as a floating JAX array. Raises `ValueError` where it isn't square, real and finite."""
    shape, dtype = np.shape(A), _dtype(A)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"A must be a square matrix of shape (N, N) with N >= 1, got shape {shape}.")
    _check_real("A", dtype, "; a complex spectrum can be given to memory_curve_from_poles")
    _check_finite("A", A)
    return _floating(A)


def check_mask(
    C: ArrayLike, neurons: int, dtype: Any, *, channels: bool = False
) -> Float[Array, "N"] | Float[Array, "N m"]:
    """`C` as an array of `dtype`, of shape (N,), or (N, m) with `channels`. Raises `ValueError` otherwise."""
    shape = np.shape(C)
    if channels:
        if len(shape) != 2 or shape[0] != neurons or shape[1] == 0:
            raise ValueError(f"C must have shape (N, m) = ({neurons}, m) to match A, got shape {shape}.")
    elif shape != (neurons,):
        hint = ""
        if len(shape) == 2 and shape[0] == neurons:
            hint = " For several input channels use multi_input_memory_curve."
        raise ValueError(f"C must have shape (N,) = ({neurons},) to match A, got shape {shape}.{hint}")
    _check_real("C", _dtype(C), "")
    _check_finite("C", C)
    return jnp.asarray(C, dtype)


def check_count(name: str, value: Any, least: int = 0) -> int:
    """`value` as a Python int that is at least `least`. Raises `ValueError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    return int(value)


def check_radius(radius: float) -> None:
    """Raise `ValueError` for a spectral radius of 1 or more; warn where it is within 1e-6 of 1."""
    if radius >= 1:
        raise ValueError(
            f"The spectral radius of A is {radius:.6g}, and the state is stationary only below 1; "
            f"rescale the reservoir, for example A * {0.9 / radius:.6g} for a spectral radius of 0.9."
        )
    if 1 - radius < 1e-6:
        steps = math.ceil(math.log(1e-18) / math.log(radius))
        warnings.warn(
            f"The spectral radius of A is 1 - {1 - radius:.3g}: the memory fades over about {steps} steps, "
            "so most of it may lie beyond the lags asked for.",
            MeaningWarning,
            stacklevel=3,
        )


def warn_if_single() -> None:
    """Warn where JAX has 64-bit numbers switched off."""
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        warnings.warn(
            "JAX computes in float32 because 64-bit numbers are off: expect errors of about 5e-6 from the exact "
            "methods, and far larger ones from the baselines. Switch them on with "
            'jax.config.update("jax_enable_x64", True).',
            PrecisionWarning,
            stacklevel=3,
        )


@jax.custom_jvp
def _eigenvalues(A: Float[Array, "N N"]) -> Complex[Array, "N"]:
    """Eigenvalues of `A`, on any device: LAPACK on the CPU, and on the host for other devices.

    Of a float32 matrix too they are computed in float64: LAPACK's single-precision routine would cost the memory
    curve a digit. 64-bit numbers are on in these lines alone.
    """

    with jax.enable_x64(True):
        wide = jax.lax.convert_element_type(A, jnp.float64)
        spectrum = jax.lax.platform_dependent(wide, cpu=jnp.linalg.eigvals, default=_on_host)
        return jax.lax.convert_element_type(spectrum, jnp.complex64 if A.dtype == jnp.float32 else jnp.complex128)


@_eigenvalues.defjvp
def _eigenvalues_jvp(primals: tuple, tangents: tuple) -> tuple:
    del primals, tangents
    raise NotImplementedError(
        "Eigenvalues have no derivative where they meet, so none is taken through them. The values of "
        "memory_curve have derivatives in A everywhere; memory_curve_from_poles has them in the poles."
    )


eigenvalues = jax.jit(_eigenvalues)


def _on_host(A: Float[Array, "*batch N N"]) -> Complex[Array, "*batch N"]:
    """Eigenvalues of a float64 matrix by NumPy.

    Numbers travel as their bits: the thread that runs the callback doesn't know that 64-bit numbers are on here,
    and would round them.
    """
    bits = jax.lax.bitcast_convert_type(A, jnp.uint32)
    kind = jax.ShapeDtypeStruct((*A.shape[:-1], 4), jnp.uint32)
    found = jax.pure_callback(_host_eigenvalues, kind, bits, vmap_method="broadcast_all")
    parts = jax.lax.bitcast_convert_type(found.reshape(*A.shape[:-1], 2, 2), jnp.float64)
    return jax.lax.complex(parts[..., 0], parts[..., 1])


def _host_eigenvalues(bits: Any) -> np.ndarray:
    matrix = np.ascontiguousarray(bits).view(np.float64)[..., 0]
    # LAPACK refuses NaN and inf; inside jit they can't be refused earlier, so they pass through as NaN.
    finite = np.asarray(np.isfinite(matrix).all(axis=(-2, -1), keepdims=True))
    values = np.linalg.eigvals(np.where(finite, matrix, 0)).astype(np.complex128)
    values = np.where(finite[..., 0], values, np.nan)
    return np.ascontiguousarray(values)[..., None].view(np.uint32)


def _dtype(x: Any) -> np.dtype:
    return jnp.result_type(x if hasattr(x, "dtype") else np.asarray(x))


def _floating(x: ArrayLike) -> Array:
    return jnp.asarray(x, jnp.promote_types(_dtype(x), jnp.float32))


def _check_real(name: str, dtype: Any, hint: str) -> None:
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise ValueError(f"{name} must hold real numbers, got dtype {np.dtype(dtype)}{hint}.")


def _check_finite(name: str, x: ArrayLike) -> None:
    value = concrete(x)
    if value is not None and not np.isfinite(value).all():
        bad = np.argwhere(~np.isfinite(value))
        where = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name} must be finite, got {len(bad)} NaN or infinite entries (the first at {where}).")
