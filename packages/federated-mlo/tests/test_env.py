"""The environment: models behind one step, rewards, observations, turns, and options."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from offprint.federated_mlo._actions import joint_index, masks_from_actions
from offprint.federated_mlo._dense import edge_topology
from offprint.federated_mlo._env import MLOEnv, MLOParams, alive_at
from offprint.federated_mlo._make import make_env, make_scenario
from offprint.federated_mlo._objective import alpha_fair, rewards
from offprint.federated_mlo._topology import from_graph, named_graph
from offprint.federated_mlo._txop import txop_times

KEY = jax.random.key(0)
CHAIN = from_graph(named_graph("chain", 3, 2))


@pytest.fixture(scope="module")
def chain():
    return make_scenario("chain3_l2")


def stepped(env, params, action, steps=1):
    """The last of some steps with the same action."""
    obs, state = env.reset(KEY, params)
    for t in range(steps):
        obs, state, reward, done, info = env.step(jax.random.fold_in(KEY, t), state, jnp.asarray(action), params)
    return obs, state, reward, done, info


def test_all_links_on_starves_the_middle(chain):
    env, params = chain
    _, state, reward, done, info = stepped(env, params, [2, 2, 2])
    np.testing.assert_allclose(info["throughput"], [1953.0, 23.4, 1953.0], rtol=1e-3)
    np.testing.assert_allclose(reward, info["throughput"] / params.x_max)
    np.testing.assert_allclose(info["throughput"], info["activity"].sum(1) * 1000)
    assert not bool(done)
    assert int(state.t) == 1


def test_a_step_looks_up_what_the_model_says(chain):
    """Joint table, activities by pattern, and direct enumeration agree."""
    env, params = chain
    bare, direct = make_env(CHAIN, tables=False)
    for action in ([0, 1, 0], [2, 0, 1], [1, 1, 2]):
        x = stepped(env, params, action)[-1]["throughput"]
        mask = masks_from_actions(jnp.asarray(action), 2)
        np.testing.assert_allclose(x, params.joint[joint_index(np.array(action), 2)])
        np.testing.assert_allclose(x, env.throughput(params, mask)[0], rtol=1e-9)
        np.testing.assert_allclose(x, bare.throughput(direct, mask)[0], rtol=1e-9)


def test_jit_and_vmap_change_nothing(chain):
    env, params = chain
    actions = jnp.array([[0, 1, 0], [2, 2, 2]])
    _, state = env.reset(KEY, params)
    mapped = jax.jit(jax.vmap(lambda a: env.step(KEY, state, a, params)[2]))(actions)
    np.testing.assert_allclose(mapped, [env.step(KEY, state, a, params)[2] for a in actions])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("own", [0.5, 0.1, 0.3, 0.2]),
        ("min", [0.1] * 4),
        ("neigh_min", [0.1, 0.1, 0.1, 0.2]),
        ("mean", [0.275] * 4),
        ("alpha_fair", [np.log([0.5, 0.1, 0.3, 0.2]).mean()] * 4),
        ("mix", [0.4, 0.1, 0.25, 0.175]),
    ],
)
def test_rewards(kind, expected):
    near = np.asarray(named_graph("chain", 4)[0]) | np.eye(4, dtype=bool)
    x = jnp.array([0.5, 0.1, 0.3, 0.2])
    np.testing.assert_allclose(rewards(kind, x, jnp.asarray(near), beta=0.25), expected, rtol=1e-6)
    everybody = rewards(kind, x, jnp.asarray(near), jnp.ones(4, bool), beta=0.25)
    np.testing.assert_allclose(everybody, expected, rtol=1e-6)
    without = rewards(kind, x, jnp.asarray(near), jnp.array([True, False, True, True]), beta=0.25)
    assert float(without[1]) == 0
    assert bool(jnp.all(without[jnp.array([0, 2, 3])] >= jnp.asarray(expected)[jnp.array([0, 2, 3])] - 1e-12))


def test_alpha_fair_utility():
    x = jnp.array([0.25, 1.0])
    np.testing.assert_allclose(alpha_fair(x, 2.0), [-4, -1])
    np.testing.assert_allclose(alpha_fair(x, 0.0), x)
    assert bool(jnp.isfinite(jax.grad(lambda x: alpha_fair(x, 1.0).sum())(jnp.zeros(2))).all())


def test_occupancy_counts_active_neighbours():
    env, params = make_scenario("chain4_l3", obs="occupancy")
    assert env.num_states == 27
    obs = stepped(env, params, [0, 1, 2, 6])[0]  # masks 1, 2, 3, 7
    np.testing.assert_array_equal(obs, [3, 1 + 1 + 3, 1 + 2 * 3 + 9, 1 + 3])


def test_features():
    env, params = make_scenario("chain3_l2", obs="features")
    obs, state = env.reset(KEY, params)
    assert obs.shape == (3, env.num_states)
    obs, *_, info = env.step(KEY, state, jnp.array([0, 1, 0]), params)
    y = info["activity"]
    np.testing.assert_allclose(obs[1, :2], [min(1, y[0, 0] + y[2, 0]), 0])
    np.testing.assert_array_equal(obs[:, 2:4], info["mask"])
    np.testing.assert_allclose(obs[:, 4], [0.5, 1, 0.5])
    np.testing.assert_allclose(obs[:, 6], info["throughput"] / params.x_max)


def test_sequential_turns_are_permutations():
    env, params = make_scenario("chain3_l2", order="sequential")
    _, state = env.reset(KEY, params)
    turns = []
    for t in range(9):
        before = state.action
        want = (before + 1) % 3
        _, state, _, _, info = env.step(jax.random.fold_in(KEY, t), state, want, params)
        who = np.flatnonzero(info["acted"])
        assert len(who) == 1
        turns.append(int(who[0]))
        expected = np.where(np.arange(3) == who[0], want, before)
        np.testing.assert_array_equal(state.action, expected)
    assert all(sorted(turns[i : i + 3]) == [0, 1, 2] for i in (0, 3, 6))


def test_absent_legacy_and_demand():
    """BSS 0 leaves after a step, BSS 2 never changes, and nobody gets more than it asks for."""
    alive = np.array([[True, True, True], [False, True, True]])
    env, params = make_env(CHAIN, alive=alive, legacy=np.array([-1, -1, 0]), demand=300.0, reward="min")
    first = stepped(env, params, [2, 2, 2])[-1]
    np.testing.assert_array_equal(first["mask"][2], [True, False])
    *_, reward, _, info = stepped(env, params, [2, 2, 2], 3)
    assert not bool(info["mask"][0].any())
    np.testing.assert_allclose(info["throughput"], [0, 300, 300])
    np.testing.assert_allclose(reward, np.array([0, 300, 300]) / params.x_max)
    np.testing.assert_array_equal(alive_at(params, 7), alive[1])


def test_fading_has_the_rates_between_nothing_and_a_bit_more():
    env, params = make_env(CHAIN, nakagami_m=2.0)
    step = jax.jit(lambda k: env.step(k, env.reset(KEY, params)[1], jnp.array([0, 1, 0]), params)[-1]["throughput"])
    x = jnp.stack([step(jax.random.key(i)) for i in range(200)])
    assert 0.75 < float(x.mean()) / 988 < 1
    assert float(x.std()) > 10


def test_bianchi_shares_one_collision_domain(golden):
    """Published shares of fully overlapping BSSs; unlike TXOPs get equal frames."""
    arrays = golden("maxmin_clique_bianchi")
    mcs, bw, nss = arrays["q0_links"].T
    times = txop_times(mcs, bw, nss, access="rts" if arrays["q0_rts"] else "basic")
    graph = named_graph("clique", int(arrays["q0_B"]), len(mcs))
    env, params = make_env(from_graph(graph, cap=times.bits / times.t_s, t_s=times.t_s, t_c=times.t_c), "bianchi")
    np.testing.assert_allclose(params.joint, arrays["q0_X"], rtol=1e-9)
    uneven = from_graph(
        named_graph("clique", 2, 1), cap=np.array([[800.0], [400.0]]), t_s=np.array([[4000.0], [2000.0]])
    )
    env, params = make_env(uneven, "bianchi")
    x = env.throughput(params, np.ones((2, 1)))[0]
    np.testing.assert_allclose(x[0] / x[1], 800 * 4000 / (400 * 2000))


def test_bianchi_needs_one_domain():
    with pytest.raises(ValueError, match=r"BSSs 0 and 2 do not hear each other on link 0"):
        make_env(CHAIN, "bianchi")


def test_airtime_shares_equally_and_carries_demand():
    env, params = make_env(CHAIN, "airtime")
    np.testing.assert_allclose(stepped(env, params, [0, 0, 0])[-1]["throughput"], [500, 1000 / 3, 500])
    env, params = make_env(CHAIN, "airtime", demand=100.0)
    np.testing.assert_allclose(stepped(env, params, [2, 2, 2])[-1]["throughput"], 100)


def test_bethe_is_exact_on_the_chain():
    env, params = make_env(edge_topology(CHAIN), "bethe", reward="neigh_min", obs="occupancy")
    exact, table = make_scenario("chain3_l2", reward="neigh_min", obs="occupancy")
    for action in ([2, 2, 2], [0, 1, 0]):
        found, expected = stepped(env, params, action), stepped(exact, table, action)
        np.testing.assert_allclose(found[-1]["throughput"], expected[-1]["throughput"], rtol=1e-5)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[2] * params.x_max, expected[2] * table.x_max, rtol=1e-5)


@pytest.mark.parametrize("mld", ["nstr", "emlsr"])
def test_one_radio_is_no_faster_than_one_link(mld):
    env, params = make_env(from_graph(named_graph("chain", 2, 2)), mld=mld)
    alone = from_graph(named_graph("chain", 1, 1))
    single = make_env(alone)[1].joint[0, 0]
    x = env.throughput(params, np.array([[1, 1], [1, 0]]))[0]
    assert float(x[0]) < float(single) * 1.02


def test_event_level_channel_goes_on_from_step_to_step():
    env, params = make_scenario("chain3_l2", model="dcf", window_s=0.1)
    step = jax.jit(env.step)
    _, state = env.reset(KEY, params)
    x = []
    for t in range(6):
        _, state, _, _, info = step(jax.random.fold_in(KEY, t), state, jnp.array([0, 1, 0]), params)
        x.append(info["throughput"])
    np.testing.assert_allclose(np.mean(x[1:], axis=0), 988, rtol=0.03)
    assert bool((info["activity"] <= 1).all())


def test_gradients_of_the_throughput():
    """Along the capacity of one link the throughput rises by the activity there."""
    env, params = make_env(CHAIN, tables=False)
    mask = jnp.ones((3, 2), bool)

    def minimum(cap):
        return env.throughput(params._replace(topology=params.topology._replace(cap=cap)), mask)[0].min()

    gradient = jax.grad(minimum)(params.topology.cap)
    y = env.throughput(params, mask)[1]
    np.testing.assert_allclose(gradient, np.where(np.arange(3)[:, None] == 1, y, 0), atol=1e-12)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ctnm"}, r"model='ctnm' is unknown; use one of 'ctmn'"),
        ({"reward": "minimum"}, r"reward='minimum' is unknown"),
        ({"obs": "all"}, r"obs='all' is unknown"),
        ({"order": "random"}, r"order='random' is unknown"),
        ({"window_s": 0}, r"window_s = 0 s"),
        ({"num_bss": 0}, r"num_bss = 0"),
    ],
)
def test_bad_environment(options, message):
    with pytest.raises(ValueError, match=message):
        MLOEnv(**{"num_bss": 3, "num_links": 2, **options})


def test_negative_demand():
    with pytest.raises(ValueError, match="demand"):
        make_env(CHAIN, demand=np.array([1.0, -2.0, 3.0]))


def test_parameters_need_no_new_compilation(chain):
    env, params = chain
    step = jax.jit(env.step)
    _, state = env.reset(KEY, params)
    for scale in (1.0, 2.0):
        other = params._replace(joint=params.joint * scale)
        step(KEY, state, jnp.array([0, 1, 0]), other)
    assert step._cache_size() == 1
    assert isinstance(params, MLOParams)
    assert dataclasses.replace(env, reward="min") != env


def test_traced_actions_are_clamped_or_checked(chain):
    env, params = chain
    _, state = env.reset(KEY, params)
    wrong = jnp.array([0, 3, 1])
    clamped = jax.jit(env.step)(KEY, state, wrong, params)[1].action
    assert clamped.tolist() == [0, 2, 1]
    checked = jax.jit(checkify.checkify(dataclasses.replace(env, checked=True).step))
    assert checked(KEY, state, clamped, params)[0].get() is None
    assert "outside 0..2: each BSS keeps at least one link" in checked(KEY, state, wrong, params)[0].get()
