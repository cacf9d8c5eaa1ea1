"""Training runs: what they learn, what they record, and that seeds, loops and options agree."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._agents import Hysteretic
from offprint.federated_mlo._bandits import Thompson
from offprint.federated_mlo._baselines import Fixed
from offprint.federated_mlo._exploration import Linear
from offprint.federated_mlo._loop import CHUNK
from offprint.federated_mlo._make import make_env, make_scenario
from offprint.federated_mlo._population import run_keys, step_uniforms
from offprint.federated_mlo._protocol import FRLConfig, method
from offprint.federated_mlo._run import run
from offprint.federated_mlo._topology import from_graph, named_graph

KEY = jax.random.key(0)
STEPS, SEEDS = 1000, 8


@pytest.fixture(scope="module")
def chain():
    return make_scenario("chain3_l2")


@pytest.fixture(scope="module")
def histories(chain):
    """Of three methods, at the same keys."""
    names = ("frl_minrate", "rl", "random", "fixed:all")
    return {
        name: run(
            KEY, *method(name, *chain, STEPS)[:1], chain[1], *method(name, *chain, STEPS)[1:], STEPS, num_seeds=SEEDS
        )
        for name in names
    }


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_ordering_of_minimum_rates(histories, chain):
    """FRL > random > RL > all links on, on the chain of three, and FRL is fair."""
    least = {name: float(h.inst_min.mean()) / 988.0 for name, h in histories.items()}
    assert least["frl_minrate"] > 0.95
    assert least["frl_minrate"] > least["random"] > least["rl"] > least["fixed:all"]
    assert least["rl"] < 0.06
    assert least["random"] == pytest.approx(0.414, abs=0.03)
    assert least["fixed:all"] == pytest.approx(23.4 / 988.0, rel=2e-3)
    assert float(histories["frl_minrate"].jain.mean()) > 0.99


def test_greedy_actions_are_close_to_the_optimum(histories, chain):
    env, params = chain
    masks = (np.asarray(histories["frl_minrate"].actions)[..., None] + 1 >> np.arange(2)) & 1
    x = jax.vmap(lambda m: env.throughput(params, m)[0])(jnp.asarray(masks))
    assert float(x.min()) > 0.98 * 988


def test_what_is_recorded(histories):
    h = histories["frl_minrate"]
    assert h.throughput.shape == (SEEDS, 3)
    assert h.tables.shape == (SEEDS, 3, 1, 3)
    assert h.curve_min.shape == h.curve_sum.shape == (SEEDS, 100)
    np.testing.assert_array_equal(h.curve_steps, np.arange(1, 101) * 10)
    np.testing.assert_array_equal(h.action_counts.sum(-1), 200)
    np.testing.assert_allclose(h.curve_min[:, -20:].mean(1), h.inst_min, rtol=1e-6)
    np.testing.assert_allclose(h.curve_sum[:, -20:].mean(1), h.throughput.sum(1), rtol=1e-6)
    np.testing.assert_allclose(h.mean_min, h.throughput.min(1))
    assert bool((h.inst_min <= h.mean_min + 1e-6).all())
    np.testing.assert_allclose(h.bytes_up, 4 * 3 * STEPS)
    assert float(histories["rl"].bytes_up.sum()) == 0
    assert histories["fixed:all"].tables is None
    assert float(histories["fixed:all"].switch_rate.max()) == 0
    assert float(histories["random"].switch_rate.mean()) == pytest.approx(2 / 3, abs=0.03)
    np.testing.assert_array_equal(histories["fixed:all"].action_counts[:, :, 2], 200)


def test_seeds_are_runs_of_their_own_bit_by_bit(histories, chain):
    env, agent, frl = method("frl_minrate", *chain, STEPS)
    one = run(jax.random.split(KEY, SEEDS)[5], env, chain[1], agent, frl, STEPS)
    many = histories["frl_minrate"]
    same(
        one, jax.tree.map(lambda leaf: leaf[5], many._replace(curve_steps=None))._replace(curve_steps=many.curve_steps)
    )


def test_the_same_key_gives_the_same_history(histories, chain):
    env, agent, frl = method("frl_minrate", *chain, STEPS)
    same(run(KEY, env, chain[1], agent, frl, STEPS, num_seeds=SEEDS), histories["frl_minrate"])


def test_a_run_is_the_loop_that_one_would_write(chain):
    """Step by step with the public functions of the environment and the agent, and the documented random numbers."""
    env, agent, frl = method("frl_minrate", *chain, 120)
    env = dataclasses.replace(env, obs="occupancy")
    params, keys = chain[1], run_keys(KEY)
    states = jax.vmap(lambda k: agent.init(k, env.num_states, 3), out_axes=-1)(jax.random.split(KEY, 3))
    obs, state = env.reset(KEY, params)

    @jax.jit
    def step(states, state, obs, t):
        u = step_uniforms(keys.words, t, 1, 3)
        a = jax.vmap(agent.choose, (-1, -1, 0, None))(u, states, obs, t)
        after, state, r, _, info = env.step(KEY, state, a, params)
        states = jax.vmap(agent.update, (-1, 0, 0, 0, 0, None), -1)(states, obs, a, r, after, t)
        return states, state, after, info["throughput"]

    x = []
    for t in range(120):
        states, state, obs, throughput = step(states, state, obs, jnp.int32(t))
        x.append(throughput)
    h = run(KEY, env, params, agent, frl, 120, record_every=1)
    np.testing.assert_allclose(h.curve_min, np.min(x, axis=1), rtol=1e-9)
    np.testing.assert_allclose(h.tables, jnp.moveaxis(states.q, -1, 0), rtol=1e-9)
    np.testing.assert_allclose(h.throughput, np.mean(x[-24:], axis=0), rtol=1e-9)


def test_private_rewards_make_federation_idle(chain):
    """μ = 0, swept as a number, runs the rounds and changes nothing, bit by bit."""
    env, agent, _ = method("rl", *chain, 200)
    alone = run(KEY, env, chain[1], agent, FRLConfig(), 200, num_seeds=2)
    rounds = jax.jit(lambda mu: run(KEY, env, chain[1], agent, FRLConfig(mu=mu), 200, num_seeds=2))(0.0)
    same(alone.tables, rounds.tables)
    same(alone.curve_min, rounds.curve_min)


def test_full_averaging_makes_everybody_alike(chain):
    env, agent, frl = method("frl_fedavg", *chain, 200)
    with pytest.warns(UserWarning, match="mu = 1 with stateless tables"):
        h = run(KEY, env, chain[1], agent, frl, 200, num_seeds=2)
    np.testing.assert_allclose(h.tables, jnp.broadcast_to(h.tables[:, :1], h.tables.shape), atol=1e-12)
    np.testing.assert_allclose(h.server, h.tables[:, 0], atol=1e-12)
    np.testing.assert_allclose(h.bytes_up, 4 * 3 * 200 + 10 * 3 * (12 + 4))
    np.testing.assert_allclose(h.bytes_down, 4 * 3 * 200 + 10 * 3 * 12)


def test_dropping_every_client_leaves_the_server_alone(chain):
    env, agent, _ = method("frl_mix", *chain, 200)
    h = run(KEY, env, chain[1], agent, FRLConfig(mu=0.5, dropout=1.0), 200, num_seeds=2)
    assert float(jnp.abs(h.server).max()) == 0
    same(h.tables, run(KEY, env, chain[1], agent, FRLConfig(), 200, num_seeds=2).tables)


def test_reports_every_few_steps(chain):
    """Actions are held, and a report is the mean: as many updates as reports."""
    env, agent, _ = method("frl_minrate", *chain, 200)
    h = run(KEY, env, chain[1], agent, FRLConfig(reward_every=10), 200, num_seeds=2, tail=1.0)
    assert float(h.switch_rate.max()) <= 19 / 200
    np.testing.assert_array_equal(h.action_counts % 10, 0)
    np.testing.assert_allclose(h.bytes_up, 4 * 3 * 20)


def test_deployments_are_mapped_over():
    """One program for two topologies of the same size."""
    pairs = [make_env(from_graph(named_graph(graph, 3, 2)), reward="min") for graph in ("chain", "clique")]
    env, agent = pairs[0][0], Hysteretic(exploration=Linear(duration=100))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params for _, params in pairs))
    mapped = jax.vmap(lambda params: run(KEY, env, params, agent, None, 200, num_seeds=2).curve_min)(stacked)
    for i, (_, params) in enumerate(pairs):
        np.testing.assert_allclose(mapped[i], run(KEY, env, params, agent, None, 200, num_seeds=2).curve_min, rtol=1e-9)


def test_steps_need_not_fill_chunks(chain):
    """The first 130 of more steps, whatever comes after."""
    env, agent, frl = method("frl_minrate", *chain, 1000)
    assert 130 % CHUNK != 0
    short = run(KEY, env, chain[1], agent, frl, 130, record_every=10).curve_min
    long = run(KEY, env, chain[1], agent, frl, 200, record_every=10).curve_min
    np.testing.assert_allclose(short, long[:13], rtol=1e-12)


def test_turns_update_one_at_a_time(chain):
    env, params = chain
    env = dataclasses.replace(env, order="sequential", reward="min")
    h = run(KEY, env, params, Hysteretic(), FRLConfig(), 300, num_seeds=2, tail=1.0)
    assert 0.05 < float(h.switch_rate.mean()) < 1 / 3


def test_agents_with_keys_run_too(chain):
    env, params = chain
    env = dataclasses.replace(env, reward="min")
    h = run(KEY, env, params, Thompson(mu=0.0), FRLConfig(), 400, num_seeds=4)
    assert float(h.inst_min.mean()) > 0.6 * 988


class Stubborn:
    """The least that a learner of one's own needs: three functions."""

    def init(self, key, n_states, n_actions):
        return jnp.zeros(n_actions)

    def act(self, key, state, s, t):
        return jnp.argmin(state)

    def update(self, state, s, a, r, s2, t):
        return state.at[a].add(1.0)


def test_a_learner_of_ones_own(chain):
    """It takes its actions in turn, so that each is a third of all."""
    env, params = chain
    agent = jax.tree_util.register_static(Stubborn)()
    h = run(KEY, env, params, agent, None, 150, num_seeds=2, tail=1.0)
    np.testing.assert_array_equal(h.action_counts, 50)
    np.testing.assert_array_equal(h.actions, 2)
    with pytest.raises(ValueError, match="mu > 0 needs an agent with shared"):
        run(KEY, env, params, agent, FRLConfig(mu=0.1), 150)


def test_nan_rewards(chain):
    env, params = chain
    broken = params._replace(joint=params.joint.at[:, 1].set(jnp.nan))
    with pytest.raises(FloatingPointError, match="a reward was NaN in 2 of 2 runs"):
        run(KEY, env, broken, Hysteretic(), FRLConfig(), 50, num_seeds=2)
    h = run(KEY, env, broken, Hysteretic(), FRLConfig(), 50, num_seeds=2, nan_policy="skip")
    assert float(jnp.abs(h.tables[:, 1]).max()) == 0
    assert bool(jnp.isfinite(h.tables).all())
    assert bool((h.tables[:, 0] > 0).any())


def test_rewards_that_are_not_scaled(chain):
    env, params = chain
    with pytest.warns(UserWarning, match="rewards reach"):
        run(KEY, env, params._replace(x_max=jnp.asarray(1.0)), Fixed(jnp.array([2, 2, 2])), None, 50, num_seeds=2)


def test_a_well_made_run_warns_of_nothing(chain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(KEY, *chain, Fixed(jnp.array([2, 2, 2])), None, 50, num_seeds=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least 1 of each"),
        ({"num_seeds": 0}, "at least 1 of each"),
        ({"tail": 0.0}, r"tail = 0\.0"),
        ({"record_every": 0}, "record_every = 0"),
        ({"nan_policy": "ignore"}, "nan_policy='ignore'"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_runs(chain, options, message):
    with pytest.raises(ValueError, match=message):
        run(KEY, *chain, Hysteretic(), **options)
