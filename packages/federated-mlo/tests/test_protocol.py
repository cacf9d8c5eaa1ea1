"""Named methods and the protocol's options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._agents import EpsGreedy, Hysteretic
from offprint.federated_mlo._make import make_scenario
from offprint.federated_mlo._protocol import METHODS, FRLConfig, federate, method, server_init


@pytest.fixture(scope="module")
def chain():
    return make_scenario("chain3_l2")


def actions_of(name, env, params):
    agent = method(name, env, params, 100)[1]
    return np.asarray(agent.init_all(jax.random.key(0), env.num_bss, 1, 3).action)


def test_every_method_is_made(chain):
    for name in METHODS:
        env, agent, frl = method(name, *chain, 100)
        assert env.num_bss == 3
        assert callable(agent.act)
        assert isinstance(frl, FRLConfig)


def test_what_learners_are(chain):
    env, agent, frl = method("frl_minrate", *chain, 400)
    assert (env.reward, env.obs, frl.mu, agent) == ("min", "none", 0.0, Hysteretic(exploration=agent.exploration))
    assert agent.exploration.duration == 200
    env, _, frl = method("frl_fedavg_occ", *chain, 400)
    assert (env.reward, env.obs, frl.mu, frl.aggregate) == ("neigh_min", "occupancy", 1.0, "weighted_visits")
    env, agent, frl = method("rl", *chain, 400)
    assert (env.reward, frl.mu, type(agent)) == ("own", 0.0, EpsGreedy)
    assert method("frl_mix", *chain, 400)[2].mu == 0.1


def test_fixed_allocations(chain):
    env, params = chain
    np.testing.assert_array_equal(actions_of("fixed:all", env, params), [2, 2, 2])
    np.testing.assert_array_equal(actions_of("fixed:1", env, params), [0, 0, 0])
    np.testing.assert_array_equal(actions_of("fixed:roundrobin", env, params), [0, 1, 0])
    best = actions_of("oracle_maxmin", env, params)
    assert float(params.joint.min(1).max()) == pytest.approx(
        float(env.throughput(params, mask_of(best))[0].min()), rel=1e-9
    )
    np.testing.assert_array_equal(actions_of("best_response", env, params), [2, 2, 2])


def mask_of(actions):
    return (np.asarray(actions)[:, None] + 1 >> np.arange(2)) & 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frl", "method 'frl' is unknown; there are frl_minrate"),
        ("fixed:0", "give a bitmask of 1 to 3"),
        ("fixed:4", "give a bitmask of 1 to 3"),
        ("fixed:some", "give a bitmask of 1 to 3"),
    ],
)
def test_unknown_methods(chain, name, message):
    with pytest.raises(ValueError, match=message):
        method(name, *chain, 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregate": "average"}, "aggregate='average' is unknown"),
        ({"mu": 1.5}, "mu = 1.5: 0 to 1"),
        ({"K": 0}, "K = 0: at least 1"),
        ({"dropout": -0.1}, "dropout = -0.1"),
        ({"reward_every": 0}, "reward_every = 0"),
        ({"clip": 1.0}, "clip and noise belong together"),
    ],
)
def test_bad_protocol(options, message):
    with pytest.raises(ValueError, match=message):
        FRLConfig(**options)


def test_absent_bsss_neither_send_nor_receive():
    q = jnp.arange(6.0).reshape(3, 1, 2)
    frl = FRLConfig(mu=1.0, aggregate="mean")
    alive = jnp.array([True, False, True])
    after, server, present = federate(jax.random.key(0), frl, server_init(frl, q), q, jnp.ones(q.shape), alive)
    np.testing.assert_allclose(server.values, [[2, 3]])
    np.testing.assert_allclose(after[1], q[1])
    np.testing.assert_array_equal(present, alive)


def test_mixing_weight_may_be_swept():
    q = jnp.arange(6.0).reshape(3, 1, 2)

    def mixed(mu):
        frl = FRLConfig(mu=mu, aggregate="mean")
        return federate(jax.random.key(0), frl, server_init(frl, q), q, jnp.ones(q.shape))[0]

    after = jax.vmap(mixed)(jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(after[0], q)
    np.testing.assert_allclose(after[1], (q + q.mean(0)) / 2)
    np.testing.assert_allclose(after[2], jnp.broadcast_to(q.mean(0), q.shape))
