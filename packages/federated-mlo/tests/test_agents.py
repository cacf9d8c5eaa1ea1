"""Tables of action values: golden update rules, exploration, ties, and further axes in the place of `jax.vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._agents import Agent, EpsGreedy, Hysteretic, OptimisticMax, StatelessQ, TabularQ
from offprint.federated_mlo._baselines import Fixed, Uniform, UniformOnce
from offprint.federated_mlo._exploration import Exponential, Linear, Sqrt, choose_from, epsilon_greedy, greedy

RULES = {
    "sample_average": EpsGreedy(rule="sample_average"),
    "const_alpha_0p1": EpsGreedy(alpha=0.1),
    "stateless_q_a0p5_g0p9": StatelessQ(alpha=0.5, gamma=0.9),
    "stateless_q_codeform_a0p5_g0p9": StatelessQ(alpha=0.5, gamma=0.9, form="code"),
}


def learn(agent, arrays, states=None, n_states=1):
    """Tables after every step of the golden actions and rewards."""
    s = jnp.zeros(len(arrays["actions"]) + 1, jnp.int32) if states is None else jnp.asarray(states, jnp.int32)

    def step(state, x):
        a, r, s, s2, t = x
        state = agent.update(state, s, a, r, s2, t)
        return state, state.q

    start = agent.init(jax.random.key(0), n_states, 3)
    actions = jnp.asarray(arrays["actions"], jnp.int32)
    t = jnp.arange(len(actions), dtype=jnp.int32)
    return jax.lax.scan(step, start, (actions, jnp.asarray(arrays["rewards"]), s[:-1], s[1:], t))[1]


@pytest.mark.parametrize("name", RULES)
def test_golden_updates(golden, name):
    arrays = golden("bandit_updates")
    np.testing.assert_allclose(learn(RULES[name], arrays)[:, 0], arrays[name], atol=1e-10)


def test_golden_tabular_q(golden):
    arrays = golden("bandit_updates")
    tables = learn(TabularQ(alpha=0.2, gamma=0.8), arrays, arrays["states"], 4)
    np.testing.assert_allclose(tables, arrays["tabular_q_a0p2_g0p8"], atol=1e-10)


def test_golden_sqrt_schedule(golden):
    np.testing.assert_allclose(Sqrt()(jnp.arange(60)), golden("bandit_updates")["eps_sqrt"], atol=1e-12)


def test_schedules():
    t = jnp.array([0, 1000, 2000, 5000])
    np.testing.assert_allclose(Linear(duration=2000)(t), [1, 0.505, 0.01, 0.01])
    np.testing.assert_allclose(Exponential(decay=0.5, end=0.2)(jnp.arange(4)), [1, 0.5, 0.25, 0.2])


def test_hysteretic_believes_rises_sooner():
    agent = Hysteretic(alpha_plus=0.5, alpha_minus=0.25)
    state = agent.init(jax.random.key(0), 1, 3)
    for reward, expected in ((1.0, 0.5), (0.0, 0.375), (0.375, 0.375)):
        state = agent.update(state, jnp.int32(0), jnp.int32(1), jnp.asarray(reward), jnp.int32(0), 0)
        np.testing.assert_allclose(state.q, [[0, expected, 0]])


def test_optimistic_max_never_forgets():
    agent = OptimisticMax()
    state = agent.init(jax.random.key(0), 1, 2)
    for reward in (0.3, 0.8, 0.1):
        state = agent.update(state, jnp.int32(0), jnp.int32(1), jnp.asarray(reward), jnp.int32(0), 0)
    np.testing.assert_allclose(state.q, [[0, 0.8]])


@pytest.mark.parametrize("n_actions", [3, 20])
def test_ties_are_broken_evenly(n_actions):
    """Few actions and many take different code."""
    values = jnp.zeros((n_actions, 6000)).at[1].set(-1.0)
    v = (jnp.arange(6000) + 0.5) / 6000
    counts = np.bincount(greedy(values, v), minlength=n_actions)
    assert counts[1] == 0
    np.testing.assert_allclose(np.delete(counts, 1), 6000 / (n_actions - 1), atol=1)


def test_one_uniform_number_explores_and_breaks_ties():
    u = (jnp.arange(40_000) + 0.5) / 40_000
    values = jnp.broadcast_to(jnp.array([1.0, 0.0, 1.0, 0.0])[:, None], (4, 40_000))
    counts = np.bincount(epsilon_greedy(values, jnp.asarray(0.2), u), minlength=4) / 40_000
    np.testing.assert_allclose(counts, [0.45, 0.05, 0.45, 0.05], atol=1e-3)


def test_nan_values_still_give_an_action():
    assert 0 <= int(choose_from(jnp.full(3, jnp.nan), jnp.asarray(jnp.nan), jnp.asarray(0.5))) < 3


@pytest.mark.parametrize("n_states", [4, 30])
@pytest.mark.parametrize("agent", [EpsGreedy(rule="sample_average"), TabularQ()], ids=["average", "q"])
def test_further_axes_do_what_vmap_does(agent, n_states):
    """Columns of 2 BSSs x 3 seeds at once, for tables that are rewritten and tables that are scattered into."""
    batch, key = (2, 3), jax.random.key(1)
    one = agent.init(key, n_states, 3)
    q = jax.random.normal(key, (n_states, 3, *batch))
    state = jax.tree.map(lambda leaf: q if leaf.shape == one.q.shape else leaf, one)
    if one.n is not None:
        state = state._replace(q=q, n=jnp.ones_like(q))
    s, s2 = jax.random.randint(key, (2, *batch), 0, n_states, jnp.int32)
    a = jax.random.randint(key, batch, 0, 3, jnp.int32)
    r, u = jax.random.uniform(key, batch), jax.random.uniform(key, (1, *batch))
    over = jax.vmap(jax.vmap(agent.update, (-1, 0, 0, 0, 0, None), -1), (-1, -1, -1, -1, -1, None), -1)
    together, apart = (jax.jit(f)(state, s, a, r, s2, 0) for f in (agent.update, over))
    jax.tree.map(np.testing.assert_array_equal, together, apart)
    choose = jax.vmap(jax.vmap(agent.choose, (-1, -1, 0, None)), (-1, -1, -1, None), -1)
    np.testing.assert_array_equal(*(jax.jit(f)(u, state, s, 1900) for f in (agent.choose, choose)))


def test_step_size_is_no_constant_of_the_program():
    """One compilation serves all step sizes, and they can be mapped over."""
    state = EpsGreedy().init(jax.random.key(0), 1, 3)

    @jax.jit
    def update(agent):
        return agent.update(state, jnp.int32(0), jnp.int32(2), jnp.asarray(1.0), jnp.int32(0), 0).q[0, 2]

    assert [float(update(EpsGreedy(alpha=alpha))) for alpha in (0.25, 0.5)] == [0.25, 0.5]
    assert update._cache_size() == 1
    np.testing.assert_allclose(
        jax.vmap(lambda alpha: update(EpsGreedy(alpha=alpha)))(jnp.array([0.2, 0.4])), [0.2, 0.4]
    )


def test_baselines():
    key = jax.random.key(0)
    fixed = Fixed(jnp.array([2, 0, 1]))
    np.testing.assert_array_equal(fixed.init_all(key, 3, 1, 3).action, [2, 0, 1])
    drawn = [int(UniformOnce().init(jax.random.key(i), 1, 7).action) for i in range(40)]
    assert set(drawn) <= set(range(7))
    assert len(set(drawn)) > 4
    u = (jnp.arange(7000)[None] + 0.5) / 7000
    state = jax.vmap(lambda _: Uniform().init(key, 1, 7))(u[0])
    np.testing.assert_array_equal(np.bincount(Uniform().choose(u, state, None, 0)), 1000)
    assert isinstance(Hysteretic(), Agent)
