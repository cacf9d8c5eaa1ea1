"""The PettingZoo face: the API test of its makers, and the numbers of the environment behind it."""

import re
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("pettingzoo")

from pettingzoo.test import parallel_api_test

from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._topology import from_graph, named_graph
from offprint.federated_mlo.pettingzoo import as_pettingzoo


@pytest.fixture(scope="module")
def chain():
    return make_env(from_graph(named_graph("chain", 3, 2)), obs="occupancy", reward="min")


@pytest.mark.parametrize("obs", ["occupancy", "features"])
def test_the_api_is_as_its_makers_want(obs):
    env, params = make_env(from_graph(named_graph("chain", 3, 2)), obs=obs)
    face = as_pettingzoo(env, params, max_steps=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(face, num_cycles=20)


def test_an_episode(chain):
    env, params = chain
    face = as_pettingzoo(env, params, max_steps=2)
    obs, infos = face.reset(seed=3)
    assert face.agents == ["bss_0", "bss_1", "bss_2"]
    assert (set(obs), set(infos)) == (set(face.agents), set(face.agents))
    masks = np.array([[1, 0], [0, 1], [1, 0]], bool)
    obs, rewards, terminated, truncated, infos = face.step({"bss_0": 0, "bss_1": 1, "bss_2": 0})
    throughput, activity = env.throughput(params, jnp.asarray(masks))
    for b, agent in enumerate(face.possible_agents):
        np.testing.assert_allclose(infos[agent]["throughput"], throughput[b], rtol=1e-9)
        np.testing.assert_allclose(infos[agent]["activity"], activity[b], rtol=1e-9)
        np.testing.assert_array_equal(infos[agent]["mask"], masks[b])
        np.testing.assert_allclose(rewards[agent], throughput.min() / params.x_max, rtol=1e-9)
        assert face.observation_space(agent).contains(obs[agent])
    # The ends sense the middle on link 1 only, the middle senses both ends on link 0 only.
    assert face.state().tolist() == [3, 2, 3]
    assert not any(terminated.values())
    assert not any(truncated.values())
    *_, truncated, _ = face.step(dict.fromkeys(face.agents, 2))
    assert all(truncated.values())
    assert face.agents == []


def test_the_same_seed_gives_the_same_episode():
    env, params = make_env(from_graph(named_graph("chain", 3, 2)), order="sequential")
    face = as_pettingzoo(env, params)

    def episode(seed):
        face.reset(seed=seed)
        return [face.step({"bss_0": t % 3, "bss_1": (t + 1) % 3, "bss_2": 2})[1] for t in range(6)]

    assert episode(0) == episode(0) != episode(1)


def test_bad_input(chain):
    env, params = chain
    face = as_pettingzoo(env, params)
    with pytest.raises(ValueError, match=re.escape("call reset() first")):
        face.step({})
    with pytest.raises(ValueError, match=re.escape("call reset() first")):
        face.state()
    face.reset(seed=0)
    with pytest.raises(ValueError, match="there is no action for bss_1, bss_2"):
        face.step({"bss_0": 0})
    with pytest.raises(ValueError, match=re.escape("actions are 0..2, but [0, 3, 0] were given")):
        face.step({"bss_0": 0, "bss_1": 3, "bss_2": 0})
    with pytest.raises(ValueError, match="max_steps is 0"):
        as_pettingzoo(env, params, max_steps=0)
