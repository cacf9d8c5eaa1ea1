"""The gymnax face: spaces, both kinds of agents, truncation, and the numbers of the environment behind it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnax")

from offprint.federated_mlo._actions import joint_index
from offprint.federated_mlo._env import MLOEnv
from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._topology import from_graph, named_graph
from offprint.federated_mlo.gymnax import as_gymnax

KEY = jax.random.key(0)
ACTIONS = jnp.asarray([1, 0, 2], jnp.int32)


@pytest.fixture(scope="module")
def chain():
    return make_env(from_graph(named_graph("chain", 3, 2)), obs="occupancy", reward="min")


def test_a_controller_acts_for_all(chain):
    env, params = chain
    face = as_gymnax(env, params, max_steps=2)
    obs, state = face.reset(KEY)
    space = face.action_space()
    assert space.n == face.num_actions == 27
    assert obs.shape == face.observation_space().shape == (3,)
    index = joint_index(ACTIONS, 2)
    obs, state, reward, terminated, truncated, info = face.step(KEY, state, index, face.default_params)
    _, _, expected, _, behind = env.step(KEY, env.reset(KEY, params)[1], ACTIONS, params)
    np.testing.assert_allclose(info["throughput"], behind["throughput"], rtol=1e-12)
    np.testing.assert_allclose(reward, expected.mean(), rtol=1e-12)
    assert bool(face.observation_space().contains(obs))
    assert (bool(terminated), bool(truncated), int(state.time)) == (False, False, 1)
    _, state, _, terminated, truncated, _ = face.step(KEY, state, index, face.default_params)
    assert (bool(terminated), bool(truncated), int(state.time)) == (False, True, 0)  # a new episode has begun


def test_one_bss_learns_among_others(chain):
    env, params = chain
    face = as_gymnax(env, params, learner=1, others=np.array([2, 0, 2]))
    obs, _ = face.reset(KEY)
    assert (face.num_actions, obs.shape, face.observation_space().n) == (3, (), 9)

    def rollout(key):
        def step(carry, key):
            obs, state = carry
            action = face.action_space().sample(key)
            obs, state, reward, *_ = face.step(key, state, action, face.default_params)
            return (obs, state), (action, reward)

        return jax.lax.scan(step, face.reset(key), jax.random.split(key, 12))[1]

    actions, rewards = jax.jit(jax.vmap(rollout))(jax.random.split(KEY, 2))
    for action, reward in zip(np.asarray(actions).ravel(), np.asarray(rewards).ravel()):
        mask = jnp.asarray([[True, True], [bool(action + 1 & 1), bool(action + 1 & 2)], [True, True]])
        np.testing.assert_allclose(reward, env.throughput(params, mask)[0].min() / params.x_max, rtol=1e-9)


def test_features_are_boxes():
    env, params = make_env(from_graph(named_graph("chain", 3, 2)), obs="features")
    alone, together = as_gymnax(env, params, learner=0), as_gymnax(env, params)
    for face, shape in ((alone, (7,)), (together, (3, 7))):
        obs, _ = face.reset(KEY)
        assert obs.shape == face.observation_space().shape == shape
        assert obs.dtype == face.observation_space().dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": 3}, "learner is 3, but the BSSs are 0..2"),
        ({"learner": 0, "others": np.zeros(2, int)}, "others has shape (2,), but one action for each of 3 BSSs"),
        ({"learner": 0, "others": np.array([0, 3, 0])}, "3"),
    ],
)
def test_bad_input(chain, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        as_gymnax(*chain, **options)


def test_too_many_joint_actions(chain):
    with pytest.raises(ValueError, match="let one BSS learn"):
        as_gymnax(MLOEnv(12, 3, model="airtime"), chain[1])
