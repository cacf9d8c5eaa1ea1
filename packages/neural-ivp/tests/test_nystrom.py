"""The Nystrom approximation bounds eigenvalues from below, and its preconditioner does what theory says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_network import GoldenNetwork, positions
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp import _nystrom
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._nystrom import nystrom, nystrom_apply
from offprint.neural_ivp._spectrum import condition_number, effective_dimension, largest_eigenvalue, spectrum

SIZE, RANK = 40, 12


@pytest.fixture(scope="module")
def gram(golden):
    g = golden("fp5d")
    maps = linear_maps(GoldenNetwork.of(g), jnp.asarray(g["theta"][positions(g)]), g["X"])
    return jax.jit(maps.gram)()[0]


@jax.jit
def approximated(M, key):
    return nystrom(lambda V: M @ V, SIZE, RANK, key)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 2.0))
def test_eigenvalues_are_bounded_by_the_true_ones(seed, decay):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    true = np.exp(-decay * np.arange(SIZE))
    nys = approximated(jnp.asarray(Q * true @ Q.T), jax.random.key(seed))
    assert (np.diff(nys.lam) <= 0).all()
    assert (nys.lam >= 0).all()
    assert (nys.lam <= true[:RANK] + 1e-8).all()
    kept = np.asarray(nys.lam) > 1e-6
    U = np.asarray(nys.U)[:, kept]
    np.testing.assert_allclose(U.T @ U, np.eye(kept.sum()), atol=1e-6)


def test_a_matrix_of_low_rank_is_found_exactly():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(SIZE, 5))
    nys = approximated(jnp.asarray(A @ A.T), jax.random.key(0))
    np.testing.assert_allclose(nys.lam[:5], np.linalg.eigvalsh(A.T @ A)[::-1], rtol=1e-6)
    np.testing.assert_allclose(nys.lam[5:], 0, atol=1e-6 * nys.lam[0])
    np.testing.assert_allclose((nys.U * nys.lam) @ nys.U.T, A @ A.T, atol=1e-6 * float(nys.lam[0]))


def test_blocks_are_approximated_one_by_one(gram):
    M = jnp.stack([gram[:SIZE, :SIZE], gram[SIZE : 2 * SIZE, SIZE : 2 * SIZE]])
    omega = jax.random.normal(jax.random.key(0), (2, SIZE, RANK))
    together = nystrom(lambda V: M @ V, (2, SIZE), RANK, omega)
    for i in range(2):
        alone = nystrom(lambda V, i=i: M[i] @ V, SIZE, RANK, omega[i])
        np.testing.assert_allclose(together.lam[i], alone.lam, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(
            nystrom_apply(together, 1e-4, omega[..., 0])[i], nystrom_apply(alone, 1e-4, omega[i, :, 0]), rtol=1e-8
        )


def test_the_preconditioner_is_inverse_to_what_it_should_be(gram):
    nys = nystrom(lambda V: gram @ V, len(gram), 60, jax.random.key(1))
    a = 1e-6 * nys.lam[0]
    inverse = jax.vmap(lambda z: nystrom_apply(nys, a, z), out_axes=1, in_axes=1)(jnp.eye(len(gram)))
    P = (nys.U * (nys.lam + a)) @ nys.U.T / (nys.lam[-1] + a) + jnp.eye(len(gram)) - nys.U @ nys.U.T
    np.testing.assert_allclose(P @ inverse, np.eye(len(gram)), atol=1e-6)


def test_a_rank_of_three_effective_dimensions_conditions_the_system(gram):
    true = np.linalg.eigvalsh(gram)
    a = 1e-4 * true[-1]
    rank = 2 * int(np.ceil(1.5 * effective_dimension(true, a))) + 1
    assert rank < len(gram)
    L = np.linalg.cholesky(gram + a * np.eye(len(gram)))

    @jax.jit
    def preconditioned(key):
        nys = nystrom(lambda V: gram @ V, len(gram), rank, key)
        return L.T @ jax.vmap(lambda z: nystrom_apply(nys, a, z), in_axes=1, out_axes=1)(jnp.asarray(L))

    conditions = [np.linalg.cond(preconditioned(jax.random.key(seed))) for seed in range(10)]
    assert np.sum(np.less(conditions, 28)) >= 8


@pytest.mark.parametrize("eps", [None, 1e-8])
def test_float32_gets_a_larger_shift(gram, eps):
    low = gram.astype(jnp.float32)
    nys = nystrom(lambda V: low @ V, len(gram), 150, jax.random.key(2), eps=eps, dtype=jnp.float32)
    assert nys.U.dtype == jnp.float32
    assert jnp.isfinite(nys.U).all()
    Q = np.linalg.qr(jax.random.normal(jax.random.key(2), (len(gram), 150), jnp.float32))[0]
    wanted = np.sqrt(len(gram)) * np.finfo(np.float32).eps * np.linalg.norm(low @ Q)
    assert nys.shift == pytest.approx(wanted, rel=1e-3)
    assert nys.lam[0] == pytest.approx(np.linalg.eigvalsh(gram)[-1], rel=1e-3)


def test_without_a_cholesky_factor_eigenvalues_that_are_not_positive_are_left_out():
    rng = np.random.default_rng(3)
    A, Q = rng.normal(size=(SIZE, 6)), np.linalg.qr(rng.normal(size=(SIZE, RANK)))[0]
    M = A @ A.T
    core = Q.T @ M @ Q - 1e-9 * np.eye(RANK)  # rank 6: half of its eigenvalues are now below 0
    assert not jnp.isfinite(jnp.linalg.cholesky(jnp.asarray(core))).all()
    B = _nystrom._whitened(jnp.asarray(M @ Q), jnp.asarray(core), np.finfo(float).eps)
    np.testing.assert_allclose(B @ B.T, M, atol=1e-6 * np.linalg.norm(M))


def test_the_largest_eigenvalue_and_its_derivative(gram):
    D = jnp.diag(jnp.linspace(0, 1, len(gram)))
    value, slope = jax.jit(
        jax.value_and_grad(lambda s: largest_eigenvalue(lambda v: gram @ v + s * (D @ v), len(gram), jnp.float64))
    )(0.0)
    lam, vectors = np.linalg.eigh(gram)
    assert value == pytest.approx(lam[-1], rel=1e-12)
    assert slope == pytest.approx(float(vectors[:, -1] @ D @ vectors[:, -1]), rel=1e-8)


def test_lanczos_stops_at_an_invariant_subspace():
    v = jnp.asarray(np.random.default_rng(0).normal(size=9))
    assert largest_eigenvalue(lambda x: v * (v @ x), 9, jnp.float64) == pytest.approx(float(v @ v), rel=1e-12)
    assert largest_eigenvalue(jnp.zeros_like, 9, jnp.float64) == 0


def test_spectra_agree(golden):
    g = golden("wave2d")
    maps = linear_maps(GoldenNetwork.of(g), jnp.asarray(g["theta"][positions(g)]), g["X"])
    exact = spectrum(maps)
    np.testing.assert_allclose(exact, g["M_eigs"], atol=1e-10 * g["M_eigs"][0])
    sketched = spectrum(maps, 80, jax.random.key(0))
    assert sketched.shape == (160,)
    assert (sketched <= exact[:160] + 1e-8 * exact[0]).all()
    np.testing.assert_allclose(sketched[:20], exact[:20], rtol=1e-2)
    with pytest.raises(ValueError, match="give a key"):
        spectrum(maps, 80)


def test_effective_dimension_and_condition():
    assert effective_dimension(np.array([3.0, 1.0, 0.0, -1e-18]), 1.0) == pytest.approx(1.25)
    assert condition_number(np.array([1.0, 4.0, 2.0])) == 4
    assert condition_number(np.array([3.0, 0.0]), 1.0) == 4
    assert condition_number(np.array([1.0, -1e-17])) == np.inf


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="rank=41; between 1 and p=40"):
        nystrom(lambda V: V, SIZE, 41, jax.random.key(0))
    with pytest.raises(ValueError, match=r"test matrix has shape \(40, 3\); \(40, 5\) is needed"):
        nystrom(lambda V: V, SIZE, 5, jnp.ones((40, 3)))
