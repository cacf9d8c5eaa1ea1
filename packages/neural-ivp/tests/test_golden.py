"""One right-hand side of each golden problem: products, sketch, preconditioner, iterations, velocity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_network import GoldenNetwork, positions

from offprint.neural_ivp._direct import Dense
from offprint.neural_ivp._gram import relative_residual
from offprint.neural_ivp._linear import NystromPCG
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._nystrom import nystrom, nystrom_apply
from offprint.neural_ivp._pcg import pcg

NAMES = ("adv2d", "heat2d", "wave2d", "wave3d", "vlasov6d", "fp5d", "wavemaps3d")


@pytest.fixture(scope="module", params=NAMES)
def case(request, golden):
    """The golden arrays and ours, both in our order of the weights."""
    g = golden(request.param)
    ours = positions(g)
    for name in ("theta", "v", "Mv", "V", "MV", "F", "Omega", "P_v", "thetadot_cg", "thetadot_dense"):
        g[name] = g[name][ours]
    net, mu, tol = GoldenNetwork.of(g), float(g["mu"]), float(g["cg_tol"])
    sketched = NystromPCG(rank=int(g["rank"]), mu=mu, tol=tol, maxiter=2000, couple_components=True)
    exact = Dense(mu=float(g["adjusted_mu"] / g["M_eigs"][0]))

    # optimised whatever XLA_FLAGS say: how many iterations it takes depends on rounding
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
    def run(theta, X, f, v, V, omega):
        maps = linear_maps(net, theta, X)
        a = g["adjusted_mu"]
        nys = nystrom(maps.matmat, theta.size, omega.shape[1], omega)
        found = {
            "u": maps.u,
            "Mv": maps.matvec(v),
            "MV": maps.matmat(V),
            "F": maps.project(f),
            "residual_v": jnp.sum((maps.jvp(v) - f) ** 2, axis=1),
            "gram": maps.gram(),
            "P_v": nystrom_apply(nys, a, v),
            "nys_Lambda": nys.lam,
            "dense": exact.solve(maps, f),
            "cg": sketched.solve(maps, f, omega),
            "plain": pcg(lambda z: maps.matvec(z) + a * z, maps.project(f), None, tol, 3000),
        }
        return found | {"rho": relative_residual(maps.jvp(found["dense"][0]), f, maps.weights)}

    return g, run(*(g[name] for name in ("theta", "X", "f", "v", "V", "Omega")))


def distance(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def test_products(case):
    g, found = case
    for name, tolerance in {"u": 1e-12, "Mv": 1e-12, "MV": 1e-12, "F": 1e-12, "residual_v": 1e-11}.items():
        assert distance(found[name], g[name]) < tolerance, name
    eigenvalues = np.sort(np.linalg.eigvalsh(found["gram"]).reshape(-1))[::-1]
    np.testing.assert_allclose(eigenvalues, g["M_eigs"], atol=1e-10 * g["M_eigs"][0])


def test_sketch_and_preconditioner(case):
    g, found = case
    np.testing.assert_allclose(found["nys_Lambda"], g["nys_Lambda"], atol=1e-9 * g["nys_Lambda"][0])
    assert found["cg"][1].adjusted_mu == pytest.approx(float(g["adjusted_mu"]), rel=1e-9)
    assert distance(found["P_v"], g["P_v"]) < 1e-8


def test_iterations(case):
    g, found = case
    wanted = int(g["cg_iters_precond"])
    # With the points in another order, which changes rounding alone, wave3d takes 85 to 93 iterations (mu is 1e-7
    # there); adv2d takes 49 to 51, wave2d always 16.
    allowed = 0.12 if wanted > 60 else 0.05
    assert abs(int(found["cg"][1].iterations) - wanted) <= max(3, allowed * wanted)
    assert int(found["plain"].iters) == pytest.approx(int(g["cg_iters_plain"]), rel=0.15)
    assert found["plain"].iters >= 8 * found["cg"][1].iterations
    assert found["cg"][1].converged
    # the start of the curve: rounding soon has its say in when a direction is found
    np.testing.assert_allclose(found["plain"].residuals[:5], g["cg_resid_plain"][:5], rtol=1e-3)


def test_velocity(case):
    g, found = case
    assert distance(found["cg"][0], g["thetadot_cg"]) < 1e-4
    assert distance(found["dense"][0], g["thetadot_dense"]) < 1e-6
    assert found["rho"] == pytest.approx(float(g["rel_residual_dense"]), rel=1e-6)
