"""All solvers find the same velocity; what they tell about it is true; gradients go through them."""

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_network import GoldenNetwork

from offprint.neural_ivp._direct import LSMR, Auto, Dense, Dual, Lstsq, RandomSparse
from offprint.neural_ivp._gram import residual
from offprint.neural_ivp._linear import Info, NystromPCG, info
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._theta_dot import theta_dot

MU = 1e-5
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def network():
    return GoldenNetwork(d=2, L=2, scaling=1.0, width=6, blocks=2)


@pytest.fixture(scope="module")
def case(network):
    rng = np.random.default_rng(0)
    p = 2 * (9 * 6 + 2 * 7 * 6 + 7)
    return SimpleNamespace(
        theta=jnp.asarray(0.4 * rng.normal(size=p)),
        X=jnp.asarray(rng.uniform(-1, 1, (200, 2))),
        weights=jnp.asarray(rng.uniform(0.5, 2, 200)),
    )


def wave(c2):
    """u_t = w, w_t = c² Δu."""

    def pde(u, x, t):
        return jnp.stack([u(x)[1], c2 * jnp.trace(jax.hessian(lambda y: u(y)[0])(x))])

    return SimpleNamespace(pde=pde)


WAVE = wave(0.1)


def solved(network, case, linear, key=KEY, x0=None, points=200):
    run = compiled(network, linear)
    return run(case.theta, case.X[:points], case.weights[:points], key, x0)


@cache
def compiled(network, linear):
    return jax.jit(
        lambda theta, X, weights, key, x0: theta_dot(WAVE, network, theta, X, 0.0, linear, key, weights=weights, x0=x0)
    )


@pytest.fixture(scope="module")
def dense(network, case):
    return solved(network, case, Dense(mu=MU))


@pytest.fixture(scope="module")
def maps(network, case):
    return linear_maps(network, case.theta, case.X, 0.0, case.weights)


SAME = {
    "dual": (Dual(mu=MU), 1e-8),
    "pcg": (NystromPCG(rank=40, mu=MU, tol=1e-12), 1e-6),
    "pcg, components together": (NystromPCG(rank=80, mu=MU, tol=1e-12, couple_components=True), 1e-6),
    "damped least squares": (LSMR(mu=MU, tol=1e-13), 1e-6),
}


@pytest.mark.parametrize("name", SAME)
def test_solvers_agree(network, case, maps, dense, name):
    linear, tolerance = SAME[name]
    v, seen = solved(network, case, linear)
    # λ_max of a sketch is an estimate, hence a: compared is what the weights do to u
    wanted = maps.jvp(dense[0])
    assert jnp.linalg.norm(maps.jvp(v) - wanted) <= tolerance * jnp.linalg.norm(wanted)
    assert seen.rho == pytest.approx(float(dense[1].rho), rel=1e-5)
    assert seen.lam_max == pytest.approx(float(dense[1].lam_max), rel=1e-5)
    assert seen.converged


def test_the_velocity_solves_the_regularised_system(network, case, maps, dense):
    v, seen = dense
    f = jax.vmap(lambda x: WAVE.pde(lambda y: network(case.theta, y), x, 0.0))(case.X)
    F = maps.project(f)
    assert jnp.linalg.norm(maps.vjp(maps.weights[:, None] * (maps.jvp(v) - f)) + seen.adjusted_mu * v) <= (
        1e-9 * jnp.linalg.norm(F)
    )
    M = np.asarray(maps.gram())
    lam = np.linalg.eigvalsh(M)
    assert seen.lam_max == pytest.approx(lam.max(), rel=1e-10)
    assert seen.adjusted_mu == pytest.approx(MU * lam.max(), rel=1e-10)
    assert seen.d_eff == pytest.approx(np.sum(lam / (lam + float(seen.adjusted_mu))), rel=1e-6)
    weighted = residual(network, WAVE.pde, case.theta, case.X, v, 0.0, case.weights)
    assert seen.rho == pytest.approx(float(weighted), rel=1e-10)


def test_components_are_solved_as_if_alone(network, case, dense):
    """Each block by itself, with the λ_max of both."""
    maps = linear_maps(network, case.theta, case.X, 0.0, case.weights)
    f = jax.vmap(lambda x: WAVE.pde(lambda y: network(case.theta, y), x, 0.0))(case.X)
    F = maps.project(f).reshape(2, -1)
    M = np.asarray(maps.gram())
    alone = [np.linalg.solve(M[i] + float(dense[1].adjusted_mu) * np.eye(len(M[i])), F[i]) for i in range(2)]
    np.testing.assert_allclose(maps.jvp(jnp.concatenate(alone)), maps.jvp(dense[0]), atol=1e-8)


def test_fewer_values_than_weights_are_solved_in_the_dual(network, case):
    v, seen = solved(network, case, Dense(mu=MU), points=60)
    dual, _ = solved(network, case, Dual(mu=MU), points=60)
    np.testing.assert_array_equal(v, dual)
    assert seen.d_eff < 120


def test_truncated_least_squares_is_that_of_numpy(network, case, maps):
    v, seen = solved(network, case, Lstsq(rcond=1e-3))
    f = jax.vmap(lambda x: WAVE.pde(lambda y: network(case.theta, y), x, 0.0))(case.X)
    root = np.sqrt(np.asarray(maps.weights))
    for i, (J, part) in enumerate(zip(np.asarray(maps.jacobian()), v.reshape(2, -1))):
        wanted, _, _, s = np.linalg.lstsq(root[:, None] * J, root * f[:, i], rcond=1e-3)
        np.testing.assert_allclose(part, wanted, rtol=1e-6, atol=1e-8 * np.abs(wanted).max())
        assert seen.lam_max >= s[0] ** 2 * (1 - 1e-12)
    assert seen.rank == sum(
        np.linalg.matrix_rank(root[:, None] * J, tol=1e-3 * np.linalg.norm(root[:, None] * J, 2))
        for J in np.asarray(maps.jacobian())
    )


def test_random_sparse_moves_so_many_weights_and_fits_best_with_them(network, case, maps):
    v, seen = solved(network, case, RandomSparse(size=61, rcond=1e-12))
    moved = np.flatnonzero(v)
    assert len(moved) == 62  # rounded up to 31 of each component
    assert (np.asarray(v).reshape(2, -1) != 0).sum(1).tolist() == [31, 31]
    again, _ = solved(network, case, RandomSparse(size=61, rcond=1e-12), key=jax.random.key(1))
    assert set(np.flatnonzero(again)) != set(moved)
    f = jax.vmap(lambda x: WAVE.pde(lambda y: network(case.theta, y), x, 0.0))(case.X)
    gradient = maps.vjp(maps.weights[:, None] * (maps.jvp(v) - f))
    assert np.abs(gradient[moved]).max() < 1e-8 * np.abs(gradient).max()
    assert seen.rank == 62


def test_all_weights_in_random_sparse_is_least_squares(network, case, maps):
    with pytest.warns(UserWarning, match="all move"):
        v, _ = solved(network, case, RandomSparse(size=1000, rcond=1e-3))
    wanted, _ = solved(network, case, Lstsq(rcond=1e-3))
    np.testing.assert_allclose(maps.jvp(v), maps.jvp(wanted), rtol=1e-6, atol=1e-8)


def test_auto_takes_what_the_sizes_make_cheapest(network, case, dense):
    assert Auto(mu=MU).choose(200, 145) == Dense(mu=MU)
    assert Auto(mu=MU).choose(2000, 80_000) == Dual(mu=MU)
    assert Auto(mu=MU, rank=5).choose(200_000, 20_000) == NystromPCG(rank=5, mu=MU)
    assert Auto(mu=MU).choose(2000, 80_000, layerwise=False) == NystromPCG(mu=MU)
    v, _ = solved(network, case, Auto(mu=MU))
    np.testing.assert_array_equal(v, dense[0])


def test_a_guess_spares_iterations(network, case):
    linear = NystromPCG(rank=20, mu=MU, tol=1e-6)
    v, first = solved(network, case, linear)
    _, second = solved(network, case, linear, x0=v)
    assert second.iterations < first.iterations


def test_the_rank_follows_the_spectrum():
    one = jnp.ones(())
    linear = NystromPCG(rank=200, adaptive=True)
    too_few = info(one, lam_min=1e-3, adjusted_mu=1e-6, rank=200, d_eff=190.0)
    too_many = info(one, lam_min=1e-9, adjusted_mu=1e-6, rank=200, d_eff=20.0)
    right = info(one, lam_min=1e-6, adjusted_mu=1e-6, rank=200, d_eff=110.0)
    assert linear.adapt(too_few).rank == 400
    assert linear.adapt(too_many).rank == 100
    assert linear.adapt(right) is linear
    assert NystromPCG(rank=200).adapt(too_few).rank == 200
    assert NystromPCG(rank=800, adaptive=True).adapt(too_few).rank == 800


@pytest.mark.parametrize(
    "linear", [Dense(mu=1e-3), Dual(mu=1e-3), NystromPCG(rank=30, mu=1e-3, tol=1e-13)], ids=["dense", "dual", "pcg"]
)
def test_gradients_go_through_the_solve(network, case, linear):
    direction = jnp.asarray(np.random.default_rng(1).normal(size=case.theta.size))

    @jax.jit
    def objective(c2, s):
        v, _ = theta_dot(wave(c2), network, case.theta + s * direction, case.X[:80], 0.0, linear, KEY)
        return jnp.sum(v**2)

    value_slopes = jax.jit(jax.grad(objective, (0, 1)))(0.1, 0.0)
    h = 1e-5
    differences = (
        (objective(0.1 + h, 0.0) - objective(0.1 - h, 0.0)) / (2 * h),
        (objective(0.1, h) - objective(0.1, -h)) / (2 * h),
    )
    np.testing.assert_allclose(value_slopes[0], differences[0], rtol=1e-5)
    # the sketch's own λ_max lies a little below, and moves a little differently
    np.testing.assert_allclose(value_slopes[1], differences[1], rtol=1e-4)


def test_nothing_to_do_is_no_velocity(network, case):
    still = SimpleNamespace(pde=lambda u, x, t: jnp.zeros(2))
    for linear in (NystromPCG(rank=20), Dense()):
        run = jax.jit(lambda theta, linear=linear: theta_dot(still, network, theta, case.X, 0.0, linear, KEY))
        v, seen = run(case.theta)
        assert (v == 0).all()
        assert seen.rho == 0
        assert seen.converged


def test_without_x64_limits_are_raised_and_told(network, case):
    with jax.enable_x64(False):
        theta, X = jnp.asarray(case.theta, jnp.float32), jnp.asarray(case.X, jnp.float32)
        run = compiled(network, NystromPCG(rank=40, mu=1e-8))
        with pytest.warns(UserWarning, match="x64 is off: sums are in float32"):
            v, seen = run(theta, X, None, jax.random.key(0), None)
        assert v.dtype == jnp.float32
        assert seen.converged
        assert seen.adjusted_mu == pytest.approx(1e-6 * float(seen.lam_max), rel=1e-4)
        rho = float(seen.rho)
    wanted = compiled(network, Dense(mu=1e-6))(case.theta, case.X, None, KEY, None)[1].rho
    assert rho == pytest.approx(float(wanted), rel=2e-2)


def test_more_columns_than_the_matrix_has_are_clipped(network, case):
    with pytest.warns(UserWarning, match="rank=200 is more than there is: the block of M is 145 x 145; 145 is taken"):
        _, seen = solved(network, case, NystromPCG(rank=200, mu=MU))
    assert seen.rank == 290
    assert seen.iterations <= 5
    with pytest.warns(UserWarning, match="M has at most rank 60, N k; 60 is taken"):
        solved(network, case, NystromPCG(rank=200, mu=MU), points=60)


def test_bad_input_is_told(network, case):
    for solver in (NystromPCG, Dense, Dual, LSMR, Auto):
        with pytest.raises(ValueError, match=r"mu=0: .* Lstsq\(rcond=...\)"):
            solver(mu=0)
    with pytest.raises(ValueError, match="tol=-1"):
        NystromPCG(tol=-1)
    with pytest.raises(ValueError, match="rank=0"):
        NystromPCG(rank=0)
    for solver in (NystromPCG(), RandomSparse()):
        with pytest.raises(ValueError, match="a key is needed"):
            theta_dot(WAVE, network, case.theta, case.X, 0.0, solver)


def test_what_is_unknown_is_not_a_number():
    seen = info(jnp.ones(3))
    assert isinstance(seen, Info)
    assert jnp.isnan(seen.residual)
    assert seen.converged
    assert not info(jnp.asarray([jnp.nan])).converged
