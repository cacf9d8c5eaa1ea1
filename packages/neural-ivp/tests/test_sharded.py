"""Points split over eight devices: the same sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_network import GoldenNetwork
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from offprint.neural_ivp._direct import Dense, Dual
from offprint.neural_ivp._linear import NystromPCG
from offprint.neural_ivp._linear_maps import linear_maps

NETWORK = GoldenNetwork(d=2, L=2, scaling=1.0, width=6, blocks=2)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    p = 2 * (9 * 6 + 2 * 7 * 6 + 7)
    theta, X, f = 0.4 * rng.normal(size=p), rng.uniform(-1, 1, (96, 2)), rng.normal(size=(96, 2))
    return jnp.asarray(theta), jnp.asarray(X), jnp.asarray(f), jnp.asarray(rng.normal(size=(p, 20)))


@jax.jit
def everything(theta, X, f, V):
    maps = linear_maps(NETWORK, theta, X)
    sketched, seen = NystromPCG(rank=40, mu=1e-4, tol=1e-12).solve(maps, f, jax.random.key(0))
    return {
        "jvp": maps.jvp(V[:, 0]),
        "matvec": maps.matvec(V[:, 0]),
        "matmat": maps.matmat(V),
        "gram": maps.gram(),
        "kernel": maps.kernel(),
        "project": maps.project(f),
        "sketched": sketched,
        "lam_max": seen.lam_max,
        "dense": Dense(mu=1e-4).solve(maps, f)[0],
        "dual": Dual(mu=1e-4).solve(maps, f)[0],
    }


def test_sharded_points_give_what_one_device_gives(arrays):
    theta, X, f, V = arrays
    mesh = Mesh(np.asarray(jax.devices()), ("batch",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("batch",), ()))
    sharded = everything(
        jax.device_put(theta, whole), jax.device_put(X, split), jax.device_put(f, split), jax.device_put(V, whole)
    )
    assert len(sharded["jvp"].sharding.device_set) == 8
    for name, wanted in everything(theta, X, f, V).items():
        scale = float(jnp.abs(wanted).max())
        # solutions of a system with condition 1e4
        tolerance = 1e-8 if name in ("sketched", "dense", "dual") else 1e-12
        np.testing.assert_allclose(sharded[name], wanted, rtol=0, atol=tolerance * scale, err_msg=name)
