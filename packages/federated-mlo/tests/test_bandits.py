"""Bandits against the golden updates, and what their choices look like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._bandits import EXP3, UCB, Softmax, Thompson

ZERO = jnp.int32(0)


def states_of(agent, arrays):
    """The agent's state after every step, stacked."""

    def step(state, x):
        state = agent.update(state, ZERO, x[0], x[1], ZERO, 0)
        return state, state

    start = agent.init(jax.random.key(0), 1, 3)
    return jax.lax.scan(step, start, (jnp.asarray(arrays["actions"], jnp.int32), jnp.asarray(arrays["rewards"])))[1]


def test_golden_ucb(golden):
    arrays = golden("bandit_updates")
    agent = UCB(c=1.5, discount=0.95)
    index = jax.vmap(lambda state: agent.index(state, ZERO))(states_of(agent, arrays))
    np.testing.assert_allclose(index, arrays["ucb_values_c1p5_g0p95"], atol=1e-10)


def test_golden_thompson(golden):
    arrays = golden("bandit_updates")
    after = jnp.stack([x[:, 0] for x in states_of(Thompson(), arrays)], axis=1)
    np.testing.assert_allclose(after, arrays["nig_alpha1_beta1_lam1em3_mu0p5"], atol=1e-10)


def test_golden_exp3(golden):
    arrays = golden("bandit_updates")
    agent = EXP3(gamma=0.1)
    p = jax.vmap(lambda state: agent.probabilities(state, ZERO))(states_of(agent, arrays))
    np.testing.assert_allclose(p, arrays["exp3_probs_g0p1"], atol=1e-10)


@pytest.mark.parametrize("agent", [UCB(), Thompson(), EXP3(), Softmax(duration=100)], ids=lambda a: type(a).__name__)
def test_finds_the_better_arm(agent):
    """Arms that pay 0.2, 0.8 and 0.5: after 300 steps the second is the favourite."""

    def step(carry, t):
        state, key = carry
        key, now = jax.random.split(key)
        a = agent.act(now, state, ZERO, t)
        r = jnp.array([0.2, 0.8, 0.5])[a]
        return (agent.update(state, ZERO, a, r, ZERO, t), key), a

    start = (agent.init(jax.random.key(0), 1, 3), jax.random.key(1))
    (state, _), actions = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(300)))(start)
    assert int(agent.greedy(jnp.array([0.5]), state, ZERO)) == 1
    assert np.mean(np.asarray(actions[-100:]) == 1) > (0.5 if isinstance(agent, EXP3) else 0.85)


@pytest.mark.parametrize("agent", [UCB(discount=0.9), EXP3()], ids=lambda a: type(a).__name__)
def test_further_axes_do_what_vmap_does(agent):
    key = jax.random.key(2)
    shape = jax.tree.map(lambda leaf: (*leaf.shape, 2, 3), agent.init(key, 4, 3), is_leaf=lambda x: hasattr(x, "shape"))
    state = jax.tree.map(
        lambda s: jax.random.uniform(key, s), shape, is_leaf=lambda x: isinstance(x, tuple) and isinstance(x[0], int)
    )
    s = jax.random.randint(key, (2, 3), 0, 4, jnp.int32)
    a = jax.random.randint(key, (2, 3), 0, 3, jnp.int32)
    r, u = jax.random.uniform(key, (2, 3)), jax.random.uniform(key, (1, 2, 3))
    over = jax.vmap(jax.vmap(agent.update, (-1, 0, 0, 0, 0, None), -1), (-1, -1, -1, -1, -1, None), -1)
    together, apart = (jax.jit(f)(state, s, a, r, s, 0) for f in (agent.update, over))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), together, apart)
    choose = jax.vmap(jax.vmap(agent.choose, (-1, -1, 0, None)), (-1, -1, -1, None), -1)
    np.testing.assert_array_equal(*(jax.jit(f)(u, state, s, 1) for f in (agent.choose, choose)))


def test_shared_values_come_back():
    """Loading what is shared changes nothing."""
    for agent in (UCB(), Thompson(), EXP3(), Softmax()):
        state = agent.update(agent.init(jax.random.key(0), 1, 3), ZERO, jnp.int32(1), jnp.asarray(0.7), ZERO, 0)
        jax.tree.map(np.testing.assert_allclose, agent.load(state, agent.shared(state)), state)
