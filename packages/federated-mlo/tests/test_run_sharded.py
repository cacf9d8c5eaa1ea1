"""Runs over eight simulated devices against runs on one."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from offprint.federated_mlo._make import make_env, make_scenario
from offprint.federated_mlo._protocol import FRLConfig, method
from offprint.federated_mlo._run import run, run_sharded, run_sharded_bss
from offprint.federated_mlo._topology import from_graph, named_graph

KEY = jax.random.key(3)


def test_seeds_over_devices_bit_by_bit():
    env, params = make_scenario("chain3_l2")
    env, agent, frl = method("frl_mix", env, params, 200)
    one = run(KEY, env, params, agent, frl, 200, num_seeds=16)
    jax.tree.map(np.testing.assert_array_equal, run_sharded(KEY, env, params, agent, frl, 200, num_seeds=16), one)


def test_bsss_over_devices():
    """With a federated mean, which adds up across devices."""
    env, params = make_env(from_graph(named_graph("ring", 8, 2)))
    env, agent, _ = method("frl_mix", env, params, 100)
    frl = FRLConfig(mu=0.3)
    one, split = (f(KEY, env, params, agent, frl, 100) for f in (run, run_sharded_bss))
    np.testing.assert_allclose(split.tables, one.tables, rtol=1e-9)
    np.testing.assert_allclose(split.server, one.server, rtol=1e-9)
    np.testing.assert_allclose(split.throughput, one.throughput, rtol=1e-9)
    np.testing.assert_array_equal(split.actions, one.actions)


def test_what_does_not_divide():
    env, params = make_scenario("chain3_l2")
    env, agent, frl = method("rl", env, params, 50)
    with pytest.raises(ValueError, match="12 seeds do not divide over 8 devices"):
        run_sharded(KEY, env, params, agent, frl, 50, num_seeds=12)
    with pytest.raises(ValueError, match="3 BSSs do not divide over 2 devices"):
        run_sharded_bss(KEY, env, params, agent, frl, 50, mesh=Mesh(np.array(jax.devices()[:2]), ("bss",)))
