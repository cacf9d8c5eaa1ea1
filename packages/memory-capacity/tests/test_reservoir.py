"""Reservoir and mask laws: structure, scaling, reproducibility, bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity import mask, reservoir

N = 12
KEY = jax.random.key(3)
RADIUS_ZERO = ("delay_line",)


def radius(A):
    return np.abs(np.linalg.eigvals(np.asarray(A))).max()


@pytest.mark.parametrize("name", list(reservoir.LAWS))
def test_every_law_has_the_radius_or_the_singular_value_asked_for(name):
    law = reservoir.LAWS[name]
    A, B = jax.jit(lambda key: (law(key, N, rho=0.7), law(key, N, sigma_max=0.8)))(KEY)
    assert A.shape == (N, N)
    assert A.dtype == jnp.float64
    if name == "jordan":  # its eigenvalue is set, not reached by a division: the N-fold root shows rounding
        np.testing.assert_allclose(np.diag(A), 0.7)
    else:
        np.testing.assert_allclose(radius(A), 0.0 if name in RADIUS_ZERO else 0.7, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(B, 2), 0.8, rtol=1e-12)


@pytest.mark.parametrize("name", list(reservoir.LAWS))
def test_float32_on_request(name):
    drawn = jax.eval_shape(lambda key: reservoir.LAWS[name](key, N, dtype=jnp.float32), KEY)
    assert drawn.dtype == jnp.float32


def test_there_are_at_least_twelve_laws():
    assert len(reservoir.LAWS) >= 12


def test_structures():
    drawn = jax.jit(
        lambda key: (
            reservoir.cyclic(None, 5, rho=0.5),
            reservoir.delay_line(None, 5),
            reservoir.cycle_jumps(None, 6, jump=2, jump_weight=0.25, rho=None),
            reservoir.orthogonal(key, N, rho=1.0),
            reservoir.symmetric(key, N, rho=None),
            reservoir.antisymmetric(key, N, rho=None),
            reservoir.toeplitz(key, N, rho=None),
            reservoir.small_world(key, N, neighbours=2, rewire=0.0, rho=None),
            reservoir.jordan(None, 4, coupling=0.3, rho=0.5),
        )
    )(KEY)
    ring, line, jumps, Q, S, K, T, W, J = map(np.asarray, drawn)
    x = np.arange(5.0)
    np.testing.assert_allclose(ring @ x, 0.5 * np.roll(x, 1))
    np.testing.assert_array_equal(line @ x, [0, 0, 1, 2, 3])  # left as it is by rho
    expected = np.roll(np.eye(6), 1, axis=0)
    for i, j in ((0, 2), (2, 4), (4, 0)):
        expected[i, j] = expected[j, i] = 0.25
    np.testing.assert_array_equal(jumps, expected)
    np.testing.assert_allclose(Q @ Q.T, np.eye(N), atol=1e-13)
    np.testing.assert_allclose(S, S.T, atol=1e-15)
    np.testing.assert_allclose(K, -K.T, atol=1e-15)
    np.testing.assert_array_equal(T[1:, 1:], T[:-1, :-1])
    assert (W != 0).sum(axis=1).tolist() == [2] * N
    np.testing.assert_array_equal(J, 0.5 * np.eye(4) + 0.3 * np.eye(4, k=-1))


def test_feedback_line_has_the_spectrum_of_its_closed_form():
    A = reservoir.delay_line(None, 7, feedback=0.25, rho=None)
    cosines = np.cos(np.pi * np.arange(1, 8) / 8)
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(A).real), np.sort(2 * np.sqrt(0.25) * cosines), atol=1e-12)


def test_sparse_with_prescribed_condition():
    A = np.asarray(reservoir.sparse_conditioned(KEY, 30, density=0.2, rcond=0.7, rho=None))
    np.testing.assert_allclose(np.linalg.svd(A, compute_uv=False), np.geomspace(1, 0.7, 30), rtol=1e-12)
    # The last two rotations add at most four rows or columns.
    assert 0.2 * 900 <= (A != 0).sum() < 0.2 * 900 + 4 * 30


def test_sparse_density():
    A = np.asarray(reservoir.sparse_normal(KEY, 200, density=0.1))
    assert abs((A != 0).mean() - 0.1) < 5 * np.sqrt(0.09) / 200


def test_from_spectrum():
    poles = np.array([0.5, 0.3 + 0.6j, -0.2, 0.3 - 0.6j, 0.9j, -0.9j])
    A = np.asarray(reservoir.from_spectrum(KEY, poles))
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(A)), np.sort_complex(poles), atol=1e-12)
    np.testing.assert_allclose(A @ A.T, A.T @ A, atol=1e-13)
    np.testing.assert_allclose(radius(reservoir.from_spectrum(KEY, poles, rho=0.1)), 0.1)


def test_from_array_scales_your_own_matrix():
    own = np.random.default_rng(0).normal(size=(5, 5))
    np.testing.assert_array_equal(reservoir.from_array(own), own)
    np.testing.assert_allclose(reservoir.from_array(own, rho=0.4), own * 0.4 / radius(own), rtol=1e-12)
    np.testing.assert_array_equal(reservoir.from_array(np.zeros((3, 3)), rho=0.4), np.zeros((3, 3)))


def test_vmap_draws_what_a_loop_draws():
    keys = jax.random.split(KEY, 3)
    batch = jax.jit(jax.vmap(lambda key: reservoir.sparse_conditioned(key, 8)))(keys)
    for key, A in zip(keys, batch):
        np.testing.assert_allclose(A, reservoir.sparse_conditioned(key, 8), atol=1e-12)


@pytest.mark.parametrize("name", list(mask.LAWS))
def test_masks(name):
    law = mask.LAWS[name]
    C = law(KEY, N)
    assert C.shape == (N,)
    np.testing.assert_allclose(np.linalg.norm(C), 1)
    wide = law(KEY, N, channels=3, dtype=jnp.float32)
    assert wide.shape == (N, 3)
    assert wide.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(wide, axis=0), 1, rtol=1e-6)


def test_sparse_mask_is_never_empty():
    assert (np.asarray(mask.sparse(KEY, N, density=0.25)) != 0).sum() == 3
    assert (np.asarray(mask.sparse(KEY, N, density=0.01)) != 0).sum() == 1


BAD = {
    "no neurons": (lambda: reservoir.normal(KEY, 0), "N must be an integer of at least 1, got 0."),
    "density": (lambda: reservoir.sparse_normal(KEY, 5, density=1.5), "density=1.5; a number in"),
    "rho": (lambda: reservoir.normal(KEY, 5, rho=-1.0), "rho=-1.0; a finite number that is not negative"),
    "jump": (lambda: reservoir.cycle_jumps(None, 3, jump=3), "jump=3 is not below N=3"),
    "neighbours": (lambda: reservoir.small_world(KEY, 8, neighbours=3), "neighbours=3 for N=8; an even number"),
    "spectrum": (lambda: reservoir.from_spectrum(KEY, np.array([0.5, 0.1j])), "not closed under conjugation"),
    "not square": (
        lambda: reservoir.from_array(np.ones((2, 3))),
        "A must be a square matrix of shape (N, N) with N >= 1, got shape (2, 3)",
    ),
    "complex": (lambda: reservoir.from_array(1j * np.eye(2)), "A must hold real numbers, got dtype complex128"),
    "nan": (lambda: reservoir.from_array(np.full((2, 2), np.nan)), "A must be finite, got 4 NaN"),
    "index": (lambda: mask.unit_vector(None, 3, index=3), "index=3 for N=3; an index from 0 to 2"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_arguments(case):
    call, message = BAD[case]
    with pytest.raises(ValueError) as error:  # noqa: PT011 the message is checked below
        call()
    assert message in str(error.value)
