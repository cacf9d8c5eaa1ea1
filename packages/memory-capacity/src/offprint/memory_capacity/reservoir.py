"""Reservoir matrices: the laws by which the connectivity A of a recurrent network is drawn.

Every law is a function `law(key, N, *, rho=0.9, sigma_max=None, dtype=None, ...)` that returns a real
(N, N) matrix in which `A[i, j]` is the weight from neuron j to neuron i, as in x_t = A x_{t-1} + C z_t.

Scaling. With `rho` (the default) the matrix is scaled to that spectral radius; with `sigma_max` to that
largest singular value instead, whatever `rho` is; with `rho=None` and no `sigma_max` it is left as drawn,
which is the scale of the circular law (spectral radius near 1 for large N). A matrix whose spectral radius
is zero (a delay line) cannot be scaled to one and is left as it is by `rho`.

Laws and scalings follow the scripts of Ballarin, Grigoryeva and Ortega (2024, 2025), and
- the cycle and delay-line reservoirs of Rodan and Tino, "Minimum complexity echo state network", IEEE
  Transactions on Neural Networks 22(1), 2011, and "Simple deterministically constructed cycle reservoirs
  with regular jumps", Neural Computation 24(7), 2012;
- the small-world graphs of Watts and Strogatz, Nature 393, 1998.

All are jittable with N static, and `jax.vmap` over keys draws a batch. dtype is JAX's default float type
unless given. Errors: `ValueError` for N < 1, a density or probability outside (0, 1], a negative scale.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._network import check_matrix

Number = float | int
Scale = Number | Float[Array, ""] | None


def normal(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Independent standard normal entries (as drawn: variance 1/N)."""
    N = arguments.count("N", N)
    return scale(jax.random.normal(key, (N, N), _float(dtype)) / math.sqrt(N), rho=rho, sigma_max=sigma_max)


def uniform(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Independent entries uniform on (-1, 1) (as drawn: divided by sqrt(N/3))."""
    N = arguments.count("N", N)
    A = jax.random.uniform(key, (N, N), _float(dtype), minval=-1, maxval=1) / math.sqrt(N / 3)
    return scale(A, rho=rho, sigma_max=sigma_max)


def sparse_normal(
    key: PRNGKeyArray,
    N: int,
    *,
    density: Number = 0.1,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """Each entry is standard normal with probability `density`, else zero (as drawn: over sqrt(density N)).

    Small sparse matrices often have zero rows and other structural dependence, so the controllability rank
    is below N: see `reachable_rank`.
    """
    N, density = arguments.count("N", N), arguments.fraction("density", density)
    weights, present = jax.random.split(key)
    A = jax.random.normal(weights, (N, N), _float(dtype)) / math.sqrt(density * N)
    return scale(A * jax.random.bernoulli(present, density, (N, N)), rho=rho, sigma_max=sigma_max)


def bernoulli(
    key: PRNGKeyArray,
    N: int,
    *,
    density: Number = 0.1,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """Each entry is +1 or -1 (equally likely) with probability `density`, else zero."""
    N, density = arguments.count("N", N), arguments.fraction("density", density)
    weights, present = jax.random.split(key)
    A = jax.random.rademacher(weights, (N, N), _float(dtype)) / math.sqrt(density * N)
    return scale(A * jax.random.bernoulli(present, density, (N, N)), rho=rho, sigma_max=sigma_max)


def sparse_conditioned(
    key: PRNGKeyArray,
    N: int,
    *,
    density: Number = 0.1,
    rcond: Number = 0.7,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """Sparse, with reciprocal condition number `rcond`.

    Random plane rotations are applied from both sides to a diagonal of singular values that fall
    geometrically from 1 to `rcond`, until at least `density * N**2` entries are non-zero (MATLAB's
    `sprandn(N, N, density, rcond)`).
    """
    N, density = arguments.count("N", N), arguments.fraction("density", density)
    rcond = arguments.fraction("rcond", rcond)
    diagonal = jnp.diag(jnp.geomspace(1.0, rcond, N, dtype=_float(dtype)))
    return scale(_rotate_until_dense(key, diagonal, density * N * N), rho=rho, sigma_max=sigma_max)


def orthogonal(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Haar-distributed orthogonal matrix: the left singular vectors of a normal matrix, times the scale."""
    N = arguments.count("N", N)
    # The product of both factors is Haar whatever signs the decomposition picks; U alone is not.
    U, _, Vh = jnp.linalg.svd(jax.random.normal(key, (N, N), _float(dtype)))
    return scale(U @ Vh, rho=rho, sigma_max=sigma_max, radius=1.0)


def cyclic(
    key: PRNGKeyArray | None,
    N: int,
    *,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """The ring: neuron i feeds neuron i+1, the last feeds the first, all with one weight. The key is unused.

    With `mask.signs` this is the simple cycle reservoir (SCR) of Rodan and Tino (2011).
    """
    N = arguments.count("N", N)
    ring = jnp.roll(jnp.eye(N, dtype=_float(dtype)), 1, axis=0)
    return scale(ring, rho=rho, sigma_max=sigma_max, radius=1.0)


simple_cycle = cyclic
"""The simple cycle reservoir (SCR) of Rodan and Tino (2011) is the ring, under its name in that paper."""


def delay_line(
    key: PRNGKeyArray | None,
    N: int,
    *,
    feedback: Number = 0.0,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """The chain: neuron i feeds neuron i+1, and back with weight `feedback`. The key is unused.

    Without feedback the spectral radius is zero and `rho` changes nothing; use `sigma_max` to set the
    weight. With `mask.unit_vector` it is the shift register, whose memory is exactly N lags.
    Rodan and Tino (2011): DLR (feedback 0), DLRB.
    """
    N = arguments.count("N", N)
    A = jnp.eye(N, k=-1, dtype=_float(dtype)) + feedback * jnp.eye(N, k=1, dtype=_float(dtype))
    nilpotent = isinstance(feedback, int | float) and feedback == 0
    return scale(A, rho=rho, sigma_max=sigma_max, radius=0.0 if nilpotent else None)


def cycle_jumps(
    key: PRNGKeyArray | None,
    N: int,
    *,
    jump: int = 3,
    jump_weight: Number = 0.5,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """The ring (weight 1) with jumps over `jump` neurons both ways, of weight `jump_weight`; then scaled.

    Rodan and Tino (2012), CRJ: jumps join neurons 0, jump, 2 jump, ...; the last one closes on neuron 0
    when `jump` divides N. The key is unused.
    """
    N, jump = arguments.count("N", N), arguments.count("jump", jump)
    if jump >= N:
        raise ValueError(f"jump={jump} is not below N={N}; a jump spans fewer neurons than the ring has.")
    stops = np.arange(0, N - N % jump + 1, jump)
    start, end = stops[:-1], stops[1:] % N
    start, end = start[start != end], end[start != end]
    ring = jnp.roll(jnp.eye(N, dtype=_float(dtype)), 1, axis=0)
    return scale(ring.at[end, start].set(jump_weight).at[start, end].set(jump_weight), rho=rho, sigma_max=sigma_max)


def symmetric(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Symmetric normal matrix (Wigner): real spectrum."""
    G = normal(key, N, rho=None, dtype=dtype)
    return scale((G + G.T) / math.sqrt(8), rho=rho, sigma_max=sigma_max)


def antisymmetric(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Antisymmetric normal matrix: imaginary spectrum (one eigenvalue is zero when N is odd)."""
    G = normal(key, N, rho=None, dtype=dtype)
    return scale((G - G.T) / math.sqrt(8), rho=rho, sigma_max=sigma_max)


def diagonal(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Unconnected neurons, with decay factors uniform on (-1, 1) before scaling."""
    N = arguments.count("N", N)
    rates = jax.random.uniform(key, (N,), _float(dtype), minval=-1, maxval=1)
    return scale(jnp.diag(rates), rho=rho, sigma_max=sigma_max, radius=jnp.abs(rates).max())


def toeplitz(
    key: PRNGKeyArray, N: int, *, rho: Scale = 0.9, sigma_max: Scale = None, dtype: DTypeLike | None = None
) -> Float[Array, "N N"]:
    """Random Toeplitz matrix: the weight from j to i is standard normal and depends on i - j only."""
    N = arguments.count("N", N)
    weights = jax.random.normal(key, (2 * N - 1,), _float(dtype)) / math.sqrt(N)
    return scale(
        weights[jnp.arange(N)[:, None] - jnp.arange(N) + N - 1],
        rho=rho,
        sigma_max=sigma_max,
    )


def small_world(
    key: PRNGKeyArray,
    N: int,
    *,
    neighbours: int = 4,
    rewire: Number = 0.1,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """Directed small world: each neuron listens to its `neighbours` nearest on a ring, with normal weights.

    Each connection is moved, with probability `rewire`, to a source drawn uniformly from all neurons
    (connections that come to share a source and target add up).
    """
    N, neighbours = arguments.count("N", N), arguments.count("neighbours", neighbours)
    if neighbours % 2 or neighbours >= N:
        raise ValueError(f"neighbours={neighbours} for N={N}; an even number below N is needed.")
    weights, moved, sources = jax.random.split(key, 3)
    offsets = np.concatenate([np.arange(-neighbours // 2, 0), np.arange(1, neighbours // 2 + 1)])
    target = jnp.broadcast_to(jnp.arange(N)[:, None], (N, neighbours))
    ring = (target + offsets) % N
    anywhere = jax.random.randint(sources, ring.shape, 0, N)
    source = jnp.where(jax.random.bernoulli(moved, rewire, ring.shape), anywhere, ring)
    values = jax.random.normal(weights, ring.shape, _float(dtype)) / math.sqrt(neighbours)
    A = jnp.zeros((N, N), values.dtype).at[target, source].add(values)
    return scale(A, rho=rho, sigma_max=sigma_max)


def clustered(
    key: PRNGKeyArray,
    N: int,
    *,
    clusters: int = 4,
    within: Number = 0.5,
    between: Number = 0.02,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """Communities: normal weights, present with probability `within` a cluster and `between` clusters.

    Neuron i is in cluster `i * clusters // N`, so clusters are diagonal blocks.
    """
    N, clusters = arguments.count("N", N), arguments.count("clusters", clusters)
    within, between = arguments.fraction("within", within), arguments.fraction("between", between)
    weights, present = jax.random.split(key)
    label = np.arange(N) * clusters // N
    density = np.where(label[:, None] == label, within, between)
    A = jax.random.normal(weights, (N, N), _float(dtype)) / math.sqrt(density.mean() * N)
    return scale(A * jax.random.bernoulli(present, density), rho=rho, sigma_max=sigma_max)


def jordan(
    key: PRNGKeyArray | None,
    N: int,
    *,
    coupling: Number = 1.0,
    rho: Scale = 0.9,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """One lower Jordan block: `rho` on the diagonal, `coupling` below it. The key is unused.

    The eigenvalue `rho` has multiplicity N and one eigenvector: the hardest case for eigenvalue methods.
    `rho=None` means 0. With `sigma_max` the whole block is scaled to it, so that the eigenvalue shrinks.
    """
    N = arguments.count("N", N)
    eigenvalue = 0.0 if rho is None else _not_negative("rho", rho)
    A = eigenvalue * jnp.eye(N, dtype=_float(dtype)) + coupling * jnp.eye(N, k=-1, dtype=_float(dtype))
    return scale(A, rho=None, sigma_max=sigma_max)


def from_spectrum(
    key: PRNGKeyArray,
    spectrum: ArrayLike,
    *,
    rho: Scale = None,
    sigma_max: Scale = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "N N"]:
    """A real normal matrix with given eigenvalues, in a random orthogonal basis.

    `spectrum` (N,) is real or complex, in any order, and has to be closed under conjugation (to 1e-12
    relative), else `ValueError`. It has to be concrete: the block structure depends on its values.
    """
    if not arguments.is_concrete(spectrum):
        raise ValueError("spectrum is being traced; pass concrete eigenvalues, outside jax.jit.")
    blocks = _real_blocks(np.asarray(spectrum))
    N = blocks.shape[0]
    U = orthogonal(key, N, rho=1.0, dtype=dtype)
    precise = jax.lax.Precision.HIGHEST
    A = jnp.matmul(jnp.matmul(U, jnp.asarray(blocks, U.dtype), precision=precise), U.T, precision=precise)
    return scale(A, rho=rho, sigma_max=sigma_max, radius=float(np.abs(np.asarray(spectrum)).max()))


def from_array(A: ArrayLike, *, rho: Scale = None, sigma_max: Scale = None) -> Float[Array, "N N"]:
    """Your own matrix (a connectome, a trained weight, ...): checked, and scaled if asked.

    Raises `ValueError` when A is not square, not real, or has NaN or infinite entries.
    """
    return scale(check_matrix(A), rho=rho, sigma_max=sigma_max)


def scale(
    A: Float[Array, "N N"],
    *,
    rho: Scale = None,
    sigma_max: Scale = None,
    radius: Scale = None,
) -> Float[Array, "N N"]:
    """A scaled to largest singular value `sigma_max`, or else to spectral radius `rho`, or else as it is.

    `radius` is the spectral radius of A where the caller knows it. A zero matrix, or by `rho` a nilpotent
    one, stays as it is.
    """
    if sigma_max is not None:
        wanted, size = _not_negative("sigma_max", sigma_max), jnp.linalg.norm(A, 2)
    elif rho is not None:
        wanted = _not_negative("rho", rho)
        size = jnp.abs(jnp.linalg.eigvals(A)).max() if radius is None else jnp.asarray(radius, A.dtype)
    else:
        return A
    # What is left of a nilpotent matrix's eigenvalues after rounding is no radius to divide by.
    scalable = size > jnp.finfo(A.dtype).eps * jnp.linalg.norm(A)
    return A * jnp.where(scalable, wanted / jnp.where(scalable, size, 1), 1).astype(A.dtype)


LAWS: dict[str, Callable[..., Array]] = {
    law.__name__: law
    for law in (
        normal,
        uniform,
        sparse_normal,
        sparse_conditioned,
        bernoulli,
        orthogonal,
        cyclic,
        delay_line,
        cycle_jumps,
        symmetric,
        antisymmetric,
        diagonal,
        toeplitz,
        small_world,
        clustered,
        jordan,
    )
}
"""The laws by name, each callable as `law(key, N, rho=...)`."""


def _float(dtype: DTypeLike | None) -> np.dtype:
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)


def _not_negative(name: str, value: Number | Float[Array, ""]) -> Number | Float[Array, ""]:
    if arguments.is_concrete(value) and not (0 <= float(value) < np.inf):
        raise ValueError(f"{name}={value!r}; a finite number that is not negative is needed.")
    return value


def _rotate_until_dense(key: PRNGKeyArray, A: Float[Array, "N N"], wanted: float) -> Float[Array, "N N"]:
    """Random plane rotations of row pairs and column pairs until `wanted` entries are non-zero."""
    N = A.shape[0]
    if N == 1 or wanted <= N:
        return A

    def rotate_rows(A: Array, draws: Float[Array, "3"]) -> tuple[Array, Array]:
        i = jnp.floor(draws[0] * N).astype(int)
        j = (i + 1 + jnp.floor(draws[1] * (N - 1)).astype(int)) % N
        angle = (2 * draws[2] - 1) * math.pi
        before = jnp.stack([A[i], A[j]])
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        after = jnp.stack([cos * before[0] - sin * before[1], sin * before[0] + cos * before[1]])
        return A.at[jnp.stack([i, j])].set(after), jnp.sum(after != 0) - jnp.sum(before != 0)

    def turn_both_sides(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, A, filled = carry
        draws = jax.random.uniform(jax.random.fold_in(key, number), (2, 3), A.dtype)
        A, gained = rotate_rows(A, draws[0])
        B, gained_too = rotate_rows(A.T, draws[1])
        return number + 1, B.T, filled + gained + gained_too

    start = (jnp.zeros((), int), A, jnp.sum(A != 0))
    return jax.lax.while_loop(lambda carry: carry[2] < wanted, turn_both_sides, start)[1]


def _real_blocks(spectrum: np.ndarray) -> np.ndarray:
    """The block-diagonal real normal form: 1x1 for a real eigenvalue, 2x2 for a conjugate pair."""
    if spectrum.ndim != 1 or not spectrum.size or not np.isfinite(spectrum).all():
        raise ValueError(f"spectrum has shape {spectrum.shape}; finite eigenvalues (N,), N >= 1, are needed.")
    near = 1e-12 * np.abs(spectrum).max()
    real = spectrum.real[np.abs(spectrum.imag) <= near]
    upper = np.sort_complex(spectrum[spectrum.imag > near])
    lower = np.sort_complex(spectrum[spectrum.imag < -near].conj())
    if upper.size != lower.size or np.abs(upper - lower).max(initial=0) > 10 * near:
        raise ValueError(
            f"spectrum of {spectrum.size} eigenvalues is not closed under conjugation: {upper.size} are above "
            f"the real axis, {lower.size} below; a real matrix needs every complex eigenvalue with its conjugate."
        )
    A = np.zeros((spectrum.size, spectrum.size))
    A[range(real.size), range(real.size)] = real
    for i, pole in zip(range(real.size, spectrum.size, 2), upper):
        A[i : i + 2, i : i + 2] = [[pole.real, pole.imag], [-pole.imag, pole.real]]
    return A
