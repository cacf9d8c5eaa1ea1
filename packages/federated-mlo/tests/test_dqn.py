"""The deep Q-network learns which action pays in which state, and runs in the loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._dqn import DQN
from offprint.federated_mlo._exploration import Linear
from offprint.federated_mlo._make import make_scenario
from offprint.federated_mlo._protocol import FRLConfig
from offprint.federated_mlo._run import run

SMALL = DQN(learning_rate=1e-2, hidden=16, replay=256, batch=32, target_every=20, exploration=Linear(duration=150))


@pytest.fixture(scope="module")
def trained():
    """After 300 steps in which action 1 pays in state [1, 0], and action 0 in [0, 1]."""

    def step(carry, t):
        state, key = carry
        key, now, flip = jax.random.split(key, 3)
        s = jax.nn.one_hot(jax.random.bernoulli(flip).astype(int), 2)
        a = SMALL.act(now, state, s, t)
        r = jnp.where(a == jnp.argmin(s), 1.0, 0.0)
        return (SMALL.update(state, s, a, r, s, t), key), r

    start = (SMALL.init(jax.random.key(0), 2, 2), jax.random.key(1))
    return jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(300)))(start)


def test_learns_what_pays(trained):
    (state, _), rewards = trained
    assert float(rewards[-50:].mean()) > 0.9
    values = SMALL.values(state.params, jnp.eye(2))
    np.testing.assert_allclose(values, [[0, 1], [1, 0]], atol=0.2)


def test_replay_is_a_ring_and_the_target_lags(trained):
    (state, _), _ = trained
    assert int(state.replay.stored) == 300
    assert bool((state.replay.s.sum(1) == 1).all())
    assert not np.array_equal(state.params["out"]["kernel"], state.target["out"]["kernel"]) or 300 % 20 == 0


def test_runs_federated_over_features():
    env, params = make_scenario("chain3_l2", obs="features", reward="min")
    frl = FRLConfig(mu=1.0, K=25, aggregate="weighted_visits")
    h = run(jax.random.key(0), env, params, SMALL, frl, 50, num_seeds=2)
    kernel = h.tables["first"]["kernel"]
    assert kernel.shape == (2, 3, env.num_states, 16)
    np.testing.assert_allclose(kernel, jnp.broadcast_to(kernel[:, :1], kernel.shape), atol=1e-12)
    assert bool(jnp.isfinite(h.throughput).all())
