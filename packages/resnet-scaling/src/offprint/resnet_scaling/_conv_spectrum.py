"""Singular values of convolutions, and with them the paper's statistics of convolutional layers."""

import warnings
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Kernel = Float[Array, "*batch out in height width"] | Float[np.ndarray, "*batch out in height width"]

LARGEST_DENSE = 256
"""Channels up to which full decompositions are the default."""


def conv_singular_values(
    kernel: Kernel, input_shape: tuple[int, int], k: int = 10, *, method: str = "auto", iterations: int = 30
) -> Float[Array, "*batch k"]:
    """The k largest singular values of a circular convolution, the largest first.

    At each frequency of the input grid the convolution is the (out, in) matrix that the discrete Fourier transform of
    the zero-padded kernel has there; its singular values are those of all these matrices (Sedghi, Gupta and Long,
    2019). Half of the frequencies are conjugates of the others and are not decomposed again. Strides are ignored.

    Args:
        kernel: (..., out, in, height, width), any number of leading axes. A kernel of flax (height, width, in, out) is
            turned by `jnp.transpose(kernel, (3, 2, 0, 1))`.
        input_shape: height and width of the layer's input, at least those of the kernel.
        k: how many; fewer are returned if the operator has fewer.
        method: "svd", full decompositions; "lanczos", a Krylov space of the given number of iterations at each
            frequency, good to about 1e-4 for the largest few values; "auto", Lanczos beyond 256 channels.
        iterations: of Lanczos.

    Raises:
        ValueError: a kernel that is not (..., out, in, height, width) or larger than the input, k below 1, an unknown
            method.
    """
    kernel = jnp.asarray(kernel)
    height, width = input_shape
    if kernel.ndim < 4 or 0 in kernel.shape:
        raise ValueError(f"kernel has shape {kernel.shape}; (..., out, in, height, width) is needed")
    if kernel.shape[-2] > height or kernel.shape[-1] > width:
        raise ValueError(
            f"the kernel is {kernel.shape[-2]}x{kernel.shape[-1]} and the input {height}x{width}; an input at least as "
            "large is needed (is the kernel in the order out, in, height, width?)"
        )
    if k < 1 or iterations < 1:
        raise ValueError(f"k={k} and iterations={iterations}; at least 1 is needed")
    if method not in ("auto", "svd", "lanczos"):
        raise ValueError(f"method={method!r} is unknown; 'auto', 'svd' or 'lanczos' is needed")
    smaller = min(kernel.shape[-4], kernel.shape[-3])
    if method == "auto":
        method = "svd" if smaller <= LARGEST_DENSE else "lanczos"
    transfer = jnp.moveaxis(jnp.fft.rfft2(kernel, s=(height, width)), (-2, -1), (-4, -3))
    if method == "svd":
        values = jnp.linalg.svd(transfer, compute_uv=False)
    else:
        values = _lanczos_values(transfer, min(iterations, smaller))
    values = values[..., : min(k, values.shape[-1])]
    # The columns of frequency 0, and of width/2 for an even width, are their own conjugates; the others stand for two.
    twice = values[..., :, 1 : (width + 1) // 2, :]
    batch = kernel.shape[:-4]
    every = jnp.concatenate([values.reshape(*batch, -1), twice.reshape(*batch, -1)], axis=-1)
    return jax.lax.top_k(every, min(k, every.shape[-1]))[0]


def conv_scaling_statistics(
    kernels: Sequence[Float[Array, "_ _ _ _"] | Float[np.ndarray, "_ _ _ _"]],
    input_shapes: Sequence[tuple[int, int]],
    *,
    factor: float | int = 0.0,
    iterations: int = 30,
) -> dict[str, float]:
    """Statistics of the convolutions of one network, with the largest singular value as norm.

    Increments are taken between neighbouring kernels of equal shape alone.

    Args:
        kernels: L of them (out, in, height, width), in the order of the layers; shapes may differ.
        input_shapes: (height, width) of the input of each.
        factor: power of L in the scaled increment.
        iterations: of Lanczos, beyond 256 channels.

    Returns:
        max_norm, scaled_increment, root_sum_squares, rms, sum_sq_increments, sqrt_sobolev, participation, as in
        `scaling_statistics`; NaN for increments where there are none.

    Raises:
        ValueError: no kernels, or not one input shape for each.

    Warns:
        UserWarning: pairs of neighbours of different shapes, with their number.
    """
    norms, increments = conv_layer_norms(kernels, input_shapes, iterations=iterations)
    depth = len(norms)
    squares = float(np.sum(norms**2))
    quadratic = float(np.sum(increments**2)) if increments.size else float("nan")
    share = norms / norms.max()
    return {
        "max_norm": float(norms.max()),
        "scaled_increment": depth**factor * float(increments.max()) if increments.size else float("nan"),
        "root_sum_squares": squares**0.5,
        "rms": (squares / depth) ** 0.5,
        "sum_sq_increments": quadratic,
        "sqrt_sobolev": (depth * quadratic) ** 0.5,
        "participation": float(np.sum(share**2) ** 2 / (depth * np.sum(share**4))),
    }


def conv_layer_norms(
    kernels: Sequence[Float[Array, "_ _ _ _"] | Float[np.ndarray, "_ _ _ _"]],
    input_shapes: Sequence[tuple[int, int]],
    *,
    iterations: int = 30,
) -> tuple[Float[np.ndarray, " layers"], Float[np.ndarray, " pairs"]]:
    """Largest singular value of each convolution (L,), and of each difference of neighbours that have equal shapes.

    Raises:
        ValueError: no kernels, or not one input shape for each.

    Warns:
        UserWarning: pairs of neighbours of different shapes, with their number.
    """
    if len(kernels) == 0 or len(kernels) != len(input_shapes):
        raise ValueError(f"{len(kernels)} kernels and {len(input_shapes)} input shapes; one for each layer is needed")
    sizes = [(int(height), int(width)) for height, width in input_shapes]
    shapes = [np.shape(kernel) for kernel in kernels]
    equal = [k for k in range(len(shapes) - 1) if shapes[k] == shapes[k + 1]]
    skipped = len(shapes) - 1 - len(equal)
    if skipped:
        warnings.warn(
            f"{skipped} of {len(shapes) - 1} increments are left out, between kernels of different shapes", stacklevel=2
        )
    norms = _largest([jnp.asarray(kernel) for kernel in kernels], sizes, iterations)
    differences = [jnp.asarray(kernels[k + 1]) - jnp.asarray(kernels[k]) for k in equal]
    return norms, _largest(differences, [sizes[k] for k in equal], iterations)


def _largest(kernels: list[Array], sizes: list[tuple[int, int]], iterations: int) -> np.ndarray:
    """Largest singular value of each, all kernels of one shape and input at once."""
    values = np.zeros(len(kernels))
    groups: dict[tuple, list[int]] = {}
    for index, (kernel, size) in enumerate(zip(kernels, sizes)):
        groups.setdefault((kernel.shape, size), []).append(index)
    for (_, size), members in groups.items():
        stack = jnp.stack([kernels[index] for index in members])
        values[members] = np.asarray(_norms(stack, size, iterations))
    return values


@partial(jax.jit, static_argnums=(1, 2))
def _norms(stack: Array, size: tuple[int, int], iterations: int) -> Array:
    return conv_singular_values(stack, size, 1, iterations=iterations)[..., 0]


@partial(jax.jit, static_argnames="iterations")
def _lanczos_values(transfer: Array, iterations: int) -> Array:
    """Ritz values of the largest singular values at each frequency (..., iterations), the largest first.

    Lanczos on M*M with full reorthogonalisation; the start vector is the same everywhere and has no structure that a
    layer could share.
    """
    if transfer.shape[-2] < transfer.shape[-1]:
        transfer = jnp.swapaxes(transfer, -1, -2).conj()  # the smaller side, on which the Krylov space lives
    size = transfer.shape[-1]
    start = jax.random.normal(jax.random.key(0), (size,), transfer.real.dtype)
    start = jnp.broadcast_to(start / jnp.linalg.norm(start), (*transfer.shape[:-2], size)).astype(transfer.dtype)
    tiny = jnp.finfo(transfer.real.dtype).tiny

    def step(basis: Array, j: Array) -> tuple[Array, tuple[Array, Array]]:
        v = basis[..., j, :]
        image = jnp.einsum("...oi,...i->...o", transfer, v, precision="highest")
        w = jnp.einsum("...oi,...o->...i", transfer.conj(), image, precision="highest")
        diagonal = jnp.sum(v.conj() * w, axis=-1).real
        for _ in range(2):  # twice is enough
            overlap = jnp.einsum("...ji,...i->...j", basis.conj(), w, precision="highest")
            w = w - jnp.einsum("...ji,...j->...i", basis, overlap, precision="highest")
        length = jnp.sqrt(jnp.sum(jnp.abs(w) ** 2, axis=-1))
        following = w / jnp.maximum(length, tiny)[..., None]
        return basis.at[..., j + 1, :].set(following), (diagonal, length)

    basis = jnp.zeros((*transfer.shape[:-2], iterations + 1, size), transfer.dtype).at[..., 0, :].set(start)
    diagonal, beside = jax.lax.scan(step, basis, jnp.arange(iterations))[1]
    diagonal, beside = jnp.moveaxis(diagonal, 0, -1), jnp.moveaxis(beside, 0, -1)[..., :-1]
    side = jnp.arange(iterations - 1)
    tridiagonal = jnp.zeros((*diagonal.shape, iterations), diagonal.dtype)
    tridiagonal = tridiagonal.at[..., jnp.arange(iterations), jnp.arange(iterations)].set(diagonal)
    tridiagonal = tridiagonal.at[..., side, side + 1].set(beside).at[..., side + 1, side].set(beside)
    return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(tridiagonal)[..., ::-1], 0))
