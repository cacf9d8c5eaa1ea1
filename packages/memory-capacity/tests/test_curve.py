"""The memory curve of a matrix: closed forms, invariances, derivatives, transformations, precision."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity import _network
from offprint.memory_capacity._curve import memory_curve, total_memory
from offprint.memory_capacity._network import PrecisionWarning

EXACT_FORMS = ("exact", "fft", "determinant")


def scaled(matrix, radius=0.9):
    return matrix * (radius / np.abs(np.linalg.eigvals(matrix)).max())


@pytest.fixture(scope="module")
def normal8():
    return scaled(np.random.default_rng(8).standard_normal((8, 8)))


@pytest.fixture(scope="module")
def normal100():
    rng = np.random.default_rng(100)
    return scaled(rng.standard_normal((100, 100))), rng.standard_normal((10, 100))


def jordan(size, eigenvalue=0.5, coupling=0.3):
    return eigenvalue * np.eye(size) + coupling * np.eye(size, k=1)


# --- values


@pytest.mark.parametrize("method", EXACT_FORMS)
def test_cycle_and_delay_line(method):
    neurons, lags = 8, np.arange(40)
    cycle = 0.9 * np.roll(np.eye(neurons), 1, axis=0)
    expected = (1 - 0.9 ** (2 * neurons)) * 0.9 ** (2.0 * neurons * (lags // neurons))
    np.testing.assert_allclose(memory_curve(cycle, None, 40, method=method).values, expected, rtol=0, atol=1e-12)
    delay = np.eye(neurons, k=-1)
    curve = memory_curve(delay, np.eye(neurons)[0], 40, method=method)
    np.testing.assert_allclose(curve.values, lags < neurons, rtol=0, atol=1e-12)


def test_transpose_sign_and_similarity_leave_the_curve(normal8):
    curve = memory_curve(normal8, None, 40).values
    basis = np.random.default_rng(0).standard_normal((8, 8))
    for other in (normal8.T, -normal8, basis @ normal8 @ np.linalg.inv(basis)):
        np.testing.assert_allclose(memory_curve(other, None, 40).values, curve, rtol=0, atol=1e-12)


def test_matches_the_definition_for_every_mask():
    # Small enough for the textbook formula: C' (A')^τ Γ⁻¹ A^τ C with a mask that it depends on nowhere.
    rng = np.random.default_rng(1)
    A = scaled(rng.standard_normal((4, 4)))
    curve = memory_curve(A, None, 20).values
    for _ in range(5):
        C = rng.standard_normal(4)
        krylov = np.stack([np.linalg.matrix_power(A, j) @ C for j in range(400)], axis=1)
        direct = np.einsum("it,ij,jt->t", krylov, np.linalg.inv(krylov @ krylov.T), krylov)
        np.testing.assert_allclose(direct[:20], curve, rtol=0, atol=1e-9)
        np.testing.assert_allclose(memory_curve(A, C, 20).values, curve, rtol=0, atol=1e-12)


def test_total_is_the_rank_of_what_is_reached():
    rng = np.random.default_rng(2)
    block = scaled(rng.standard_normal((5, 5)))
    C = rng.standard_normal(5)
    twice = np.kron(np.eye(2), block)
    both = np.concatenate([C, C])
    assert total_memory(twice, both) == 5
    np.testing.assert_allclose(
        memory_curve(twice, both, 25).values, memory_curve(block, C, 25).values, rtol=0, atol=1e-10
    )
    assert isinstance(total_memory(block, C), int)


def test_lags_from_one(normal8):
    whole = memory_curve(normal8, None, 30)
    later = memory_curve(normal8, None, 29, min_lag=1)
    np.testing.assert_array_equal(later.values, whole.values[1:])
    assert later.lags.tolist() == list(range(1, 30))
    expected = 8 - 1 + np.prod(np.abs(np.linalg.eigvals(normal8)) ** 2)
    np.testing.assert_allclose(later.total, expected, rtol=1e-12)
    np.testing.assert_allclose(total_memory(normal8, min_lag=1), expected, rtol=1e-12)


def test_values_and_tail_add_up(normal100):
    A, _ = normal100
    curve = memory_curve(A, None, 600)
    assert curve.total == 100
    np.testing.assert_allclose(curve.values.sum() + curve.tail, 100, rtol=1e-9)
    assert abs(curve.tail) < 1e-9


def test_shape_of_a_curve():
    cycle = 0.9 * np.roll(np.eye(8), 1, axis=0)
    curve = memory_curve(cycle, None, 40)  # steps of 8: 0.815, 0.151, 0.028, ...
    assert curve.half_memory_lag() == 8
    assert curve.horizon(0.9) == 12  # 8 steps of 0.815 and 5 of 0.151 make 7.27
    np.testing.assert_allclose(curve.at(7) - curve.at(9), 2 * curve.slope_at(8), rtol=1e-12)
    np.testing.assert_allclose(curve.area_beyond(8), 8 * 0.9**16, rtol=1e-10)
    np.testing.assert_allclose(curve.area_beyond(0), 8, rtol=1e-12)
    assert np.isnan(curve.at(40))
    assert memory_curve(cycle, None, 4).half_memory_lag() == 4  # not reached: one past the last
    assert memory_curve(cycle, None, 0).half_memory_lag() == 0


def test_edge_cases():
    single = memory_curve(np.array([[0.5]]), np.array([2.0]))
    np.testing.assert_allclose(single.values, 0.75 * 0.25 ** np.arange(5), rtol=1e-14)
    assert memory_curve(np.array([[0.5]]), np.array([2.0]), 0).values.shape == (0,)
    no_memory = memory_curve(np.zeros((3, 3), int), np.array([1, 0, 0]), 4)
    assert no_memory.values.tolist() == [1, 0, 0, 0]
    assert no_memory.rank == 1


@pytest.mark.parametrize("method", ["exact", "determinant"])
def test_long_memory(method):
    A = np.diag([0.999, -0.99])
    curve = memory_curve(A, None, 10, method=method)
    definition = memory_curve(A, np.ones(2), 10, method="naive", horizon=20_000)
    np.testing.assert_allclose(curve.values, definition.values, rtol=0, atol=1e-10)


# --- derivatives


def central(function, A, direction, step=1e-3):
    """Fourth-order central difference."""

    def slope(h):
        return (function(A + h * direction) - function(A - h * direction)) / (2 * h)

    return (4 * slope(step / 2) - slope(step)) / 3


@functools.lru_cache
def derivatives(method):
    """The curve, and its derivative along a direction, forwards and backwards."""

    def values(matrix):
        return memory_curve(matrix, None, 12, method=method).values

    def both(matrix, direction):
        forward = jax.jvp(values, (matrix,), (direction,))[1]
        return forward, jnp.einsum("tij,ij->t", jax.jacrev(values)(matrix), direction)

    return jax.jit(values), jax.jit(both)


@pytest.mark.parametrize("method", EXACT_FORMS)
@pytest.mark.parametrize("defective", [False, True])
def test_derivative_in_the_matrix(method, defective):
    rng = np.random.default_rng(3)
    A = jordan(3) if defective else scaled(rng.standard_normal((3, 3)))
    direction = rng.standard_normal(A.shape)
    direction /= np.linalg.norm(direction)
    values, both = derivatives(method)
    expected = central(values, A, direction)
    forward, reverse = both(A, direction)
    tolerance = 1e-7 if defective else 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(forward, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(reverse, forward, rtol=0, atol=1e-12)


def test_derivative_of_a_larger_network(normal8):
    direction = np.random.default_rng(4).standard_normal((8, 8))
    direction /= np.linalg.norm(direction)
    _, both = derivatives("exact")
    expected = central(lambda A: memory_curve(A, None, 12).values, normal8, direction)
    np.testing.assert_allclose(both(normal8, direction)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_second_derivative_at_a_jordan_block():
    direction = np.random.default_rng(4).standard_normal((3, 3))
    gradient = jax.grad(lambda A: memory_curve(A, None, 6).values @ jnp.arange(6.0))
    A = jnp.asarray(jordan(3))
    _, second = jax.jvp(gradient, (A,), (jnp.asarray(direction),))
    difference = (gradient(A + 1e-5 * direction) - gradient(A - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(second, difference, rtol=0, atol=1e-6)


def test_derivative_on_the_reachable_space():
    rng = np.random.default_rng(5)
    A = np.zeros((6, 6))
    A[:4, :4] = scaled(rng.standard_normal((4, 4)), 0.7)
    A[4:, 4:] = np.diag([0.3, 0.2])
    A[:4, 4:] = rng.standard_normal((4, 2))
    C = np.array([1.0, 0.5, -0.3, 0.2, 0, 0])
    direction = np.zeros((6, 6))
    direction[:4, :4] = rng.standard_normal((4, 4))  # keeps the last two out of reach

    def values(matrix):
        return memory_curve(matrix, C, 10, rank="numerical").values

    expected = central(values, A, direction)
    traced = jax.jit(lambda matrix: jax.jvp(values, (matrix,), (jnp.asarray(direction),))[1])(A)
    np.testing.assert_allclose(traced, expected, rtol=0, atol=1e-8)


# --- transformations


@pytest.mark.parametrize("method", EXACT_FORMS)
def test_a_batch_of_reservoirs(method):
    batch = np.random.default_rng(6).standard_normal((120, 8, 8)) / 4.5
    curves = jax.jit(jax.vmap(lambda A: memory_curve(A, None, 24, method=method, rank="generic")))(batch)
    assert curves.values.shape == (120, 24)
    for i in (0, 57, 119):
        alone = memory_curve(batch[i], None, 24, method=method)
        np.testing.assert_allclose(curves.values[i], alone.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("x64", [True, False])
def test_eigenvalues_on_the_host_are_those_of_the_device(x64):
    """What devices other than the CPU use, with 64-bit numbers on in this context alone."""
    matrices = np.random.default_rng(3).standard_normal((2, 4, 4))
    jax.config.update("jax_enable_x64", x64)
    try:
        with jax.enable_x64(True):
            raw = jnp.asarray(matrices)
            here, there = jax.jit(jax.vmap(_network._on_host))(raw), jnp.linalg.eigvals(raw)
    finally:
        jax.config.update("jax_enable_x64", True)
    assert here.dtype == jnp.complex128
    np.testing.assert_allclose(np.sort_complex(here), np.sort_complex(there), atol=1e-13)


def test_traced_rank_equals_known_rank():
    rng = np.random.default_rng(7)
    reservoirs, masks = [], []
    for size in (1, 4, 6, 0):
        A = np.zeros((6, 6))
        A[:size, :size] = scaled(rng.standard_normal((size, size)), 0.8) if size else 0
        A[size:, size:] = np.diag(rng.uniform(0.1, 0.5, 6 - size))
        reservoirs.append(A)
        masks.append(np.where(np.arange(6) < size, rng.standard_normal(6), 0))
    traced = jax.jit(jax.vmap(lambda A, C: memory_curve(A, C, 20, rank="numerical")))(
        np.stack(reservoirs), np.stack(masks)
    )
    assert traced.rank.tolist() == [1, 4, 6, 0]
    assert np.isfinite(traced.poles).sum(axis=1).tolist() == [1, 4, 6, 0]
    for i in range(3):
        known = memory_curve(reservoirs[i], masks[i], 20)
        np.testing.assert_allclose(traced.values[i], known.values, rtol=0, atol=1e-10)
    assert not traced.values[3].any()


def test_traced_instability_gives_nan():
    unstable = jax.jit(lambda A: memory_curve(A, None, 5).values)(2 * np.eye(3))
    assert np.isnan(unstable).all()


# --- precision


@pytest.mark.parametrize("law", ["normal", "orthogonal"])
def test_float32(law):
    matrix = np.random.default_rng(9).standard_normal((300, 300))
    A = scaled(matrix if law == "normal" else np.linalg.qr(matrix)[0]).astype(np.float32)
    expected = memory_curve(A.astype(np.float64), None, 400).values
    single = memory_curve(A, None, 400)
    assert single.values.dtype == jnp.float32
    np.testing.assert_allclose(single.values, expected, rtol=0, atol=5e-6)


def test_warns_when_64_bit_numbers_are_off(normal8):
    expected = memory_curve(normal8, None, 20).values
    with jax.enable_x64(False):
        with pytest.warns(PrecisionWarning, match="jax_enable_x64"):
            curve = memory_curve(normal8, None, 20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gradient = jax.jit(jax.grad(lambda A: memory_curve(A, None, 20).values[7]))(jnp.asarray(normal8))
    assert curve.values.dtype == gradient.dtype == jnp.float32
    np.testing.assert_allclose(curve.values, expected, rtol=0, atol=5e-6)


def test_no_warning_in_float64(normal8):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory_curve(normal8, np.ones(8), 20)


# --- the paper's point


def test_neutrality_holds_exactly_and_osm_breaks_it(normal100):
    A, masks = normal100
    exact = [memory_curve(A, C, 300, rank="exact").values for C in masks[:3]]
    np.testing.assert_allclose(exact, np.broadcast_to(exact[0], (3, 300)), rtol=0, atol=1e-12)
    osm = jax.vmap(lambda C: memory_curve(A, C, 300, method="osm").values)(masks)
    assert np.ptp(osm, axis=0).max() > 0.1
    assert np.abs(osm - exact[0]).max() > 0.1


def test_the_gap_between_estimators_and_truth(normal100):
    A, masks = normal100
    rng = np.random.default_rng(10)
    noise = rng.standard_normal((100, 100))
    totals = {
        name: float(memory_curve(scaled(matrix), masks[0], method="naive").total)
        for name, matrix in {
            "normal": A,
            "symmetric": noise + noise.T,
            "orthogonal": np.linalg.qr(noise)[0],
        }.items()
    }
    assert 64 <= totals["normal"] <= 80
    assert 33 <= totals["symmetric"] <= 40
    assert abs(totals["orthogonal"] - 100) <= 1e-6
    assert total_memory(A, masks[0]) == 100
