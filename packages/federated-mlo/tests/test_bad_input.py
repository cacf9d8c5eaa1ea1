"""Mistakes with the public functions: each gets one error or warning that says what was given and what is needed.

What concerns one concept alone, such as the edges of the Bethe approximation, stands in its own file.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo import (
    DEFAULT_RADIO,
    Band,
    EpsGreedy,
    FRLConfig,
    MLOEnv,
    Radio,
    action_masks,
    activity_table,
    bianchi,
    bianchi_throughput,
    ctmn_activity,
    eht_rate,
    from_graph,
    from_positions,
    from_rssi,
    joint_table,
    make_env,
    make_scenario,
    maxmin,
    method,
    named_graph,
    run,
    scenario_topology,
    sim_clique,
    sim_graph,
    stack_clients,
    txop_times,
    usable,
)

pytestmark = pytest.mark.usefixtures("unchecked_types")

KEY = jax.random.key(0)
CHAIN = np.asarray(named_graph("chain", 3, 2))
THETA = np.full((3, 2), 82.0)
TRIANGLE = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


# Sensing graphs are refused alike wherever they are given.
GRAPHS = {
    "from_graph": from_graph,
    "ctmn_activity": lambda adj: ctmn_activity(adj, np.ones((3, 2), bool), THETA),
    "activity_table": lambda adj: activity_table(adj, THETA),
    "sim_graph": lambda adj: sim_graph(KEY, adj[0], None, 5566, 5566, 1000.0),
}
BAD_GRAPHS = {
    "one direction": (changed(CHAIN, (0, 0, 2), True), r"adj\[0, 0, 2\] = True .*symmetric.*symmetrize=True"),
    "own neighbour": (changed(CHAIN, (0, 1, 1), True), r"adj\[0, 1, 1\] = True .*the diagonal must be 0"),
    "weights": (CHAIN * 0.5, r"adj\[0, 0, 1\] = 0.5 .*is neither 0 nor 1"),
    "rank": (CHAIN[None], r"adj has shape \(.*\) where \[links, bss, bss\] is needed"),
}


@pytest.mark.parametrize("where", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize(("adj", "message"), BAD_GRAPHS.values(), ids=BAD_GRAPHS.keys())
def test_graphs(where, adj, message):
    with pytest.raises(ValueError, match=message):
        where(adj)


def test_the_offending_link_is_named():
    with pytest.raises(ValueError, match=r"adj\[1, 0, 2\] = True"):
        from_graph(changed(CHAIN, (1, 0, 2), True))


def test_a_graph_with_one_direction_can_be_symmetrized():
    topology = from_graph(changed(CHAIN, (0, 0, 2), True), symmetrize=True)
    assert bool(topology.adj[0, 2, 0])


def stepped(action):
    env, params = make_scenario("chain3_l2")
    _, state = env.reset(KEY, params)
    return env.step(KEY, state, jnp.asarray(action), params)


def throughput(mask):
    env, params = make_scenario("chain3_l2")
    return env.throughput(params, np.asarray(mask))


def trained(agent=None, frl=None, *, scale=None, steps=4, **options):
    env, params = make_scenario("chain3_l2", reward="min", **options.pop("scenario", {}))
    if scale is not None:
        params = params._replace(x_max=jnp.asarray(scale))
    return run(KEY, env, params, agent or EpsGreedy(), frl, steps, **options)


def measured(rssi, station):
    return from_rssi(np.full((3, 2, 2), rssi), np.full((2, 3), station))


def clique_of(bss):
    return from_graph(named_graph("clique", bss))


BAD = {
    # actions and masks
    "action": (lambda: stepped([0, 3, 2]), r"index 3 where 0 to 2 .*each BSS must keep at least one link"),
    "negative action": (lambda: stepped([0, -1, 2]), r"index -1 .*each BSS must keep at least one link"),
    "empty mask": (
        lambda: throughput([[1, 1], [0, 0], [1, 1]]),
        "BSS 1 has no link on, and each BSS must keep at least one link",
    ),
    "no mask": (lambda: throughput([[1, 1], [2, 0], [1, 1]]), r"entries that are neither 0 nor 1 \(link off or on\)"),
    "fixed action": (
        lambda: method("fixed:4", *make_scenario("chain3_l2"), 10),
        "fixed:4: give a bitmask of 1 to 3",
    ),
    "links": (lambda: action_masks(0), "num_links=0; a device has between 1 and 16 links"),
    # size
    "component": (
        lambda: make_env(clique_of(17)),
        r"17 BSSs in one connected component have up to 2\*\*17 = 131072 states.*"
        'model="bethe" .*model="dcf" .*model="airtime"',
    ),
    "component of ctmn_activity": (
        lambda: ctmn_activity(named_graph("ring", 20), np.ones((20, 1), bool), np.ones((20, 1))),
        r"20 BSSs in one connected component have up to 2\*\*20 = 1048576 states",
    ),
    "oracle": (
        lambda: maxmin(from_graph(named_graph("chain", 9, 3))),
        '9 BSSs of 3 links have 40353607 .*joint actions.*method="local_search"',
    ),
    "joint table": (lambda: joint_table(from_graph(named_graph("chain", 9, 3))), "40353607"),
    # coordinates, powers
    "out of range": (
        lambda: from_positions(TRIANGLE, TRIANGLE + np.array([[1.0, 0], [300, 0], [1, 0]])),
        r"BSSs \[1\] have no usable link: their stations are out of range on all of them",
    ),
    "out of range by power": (lambda: measured(-70.0, -95.0), r"BSSs \[0, 1\] have no usable link"),
    "coordinates": (lambda: from_positions(changed(TRIANGLE, (1, 0), np.nan), TRIANGLE + 1), "ap has 1 entries .*NaN"),
    "watts": (lambda: measured(-70.0, 100.0), "station_rssi holds 100, which is no received power in dBm"),
    "bands": (
        lambda: from_rssi(np.zeros((2, 2, 2)) - 70, np.zeros((2, 2)) - 50),
        "where the radio has 3 bands",
    ),
    # times
    "seconds": (
        lambda: bianchi_throughput(5, 0.0055, 0.0055),
        r"T_s = 0.0055 is shorter than the slot sigma = 9: are seconds and microseconds mixed\?",
    ),
    "slot in seconds": (lambda: bianchi_throughput(5, 5566, 5566, 9e-6), r"T_s = 5566 is 6.18e\+08 times the slot"),
    "collision in seconds": (lambda: bianchi_throughput(5, 5566, 0.0055), "T_c = 0.0055 is shorter than the slot"),
    "topology in seconds": (lambda: from_graph(CHAIN, t_s=0.0055), "T_s = 0.0055 is shorter than the slot"),
    "simulation in seconds": (lambda: sim_graph(KEY, CHAIN[0], None, 0.0055, 0.0055, 1e6), "T_s = 0.0055 is shorter"),
    # contention windows
    "no window": (lambda: bianchi(5, W=0), "W = 0 backoff values: at least 1 is needed"),
    "no window, simulated": (lambda: sim_clique(KEY, 5, W=0, events=10), "W = 0 backoff values: at least 1"),
    "no window, environment": (lambda: make_env(from_graph(CHAIN), W=0), "W = 0 backoff values: at least 1"),
    # what 802.11be does not have
    "320 MHz at 5 GHz": (
        lambda: Radio(bands=(Band(5.23, 320),)),
        "a channel of 320 MHz at 5.23 GHz: the widest of 802.11be at 5 GHz has 160 MHz; 320 MHz is for 6 GHz only",
    ),
    "80 MHz at 2.4 GHz": (lambda: Radio(bands=(Band(2.437, 80),)), "at 2.4 GHz has 40 MHz"),
    "no band": (lambda: Radio(bands=(Band(60.0, 20),)), "f_ghz = 60 is in no band of 802.11be"),
    "bandwidth": (lambda: eht_rate(7, 30), "bw_mhz = 30 is no bandwidth of 802.11be; use 20, 40, 80, 160, 320 MHz"),
    "MCS": (lambda: txop_times(14, 80), "mcs = 14 is not in 802.11be; use 0 to 13, or -1"),
    "streams": (lambda: eht_rate(7, 80, nss=9), "nss = 9 streams; 802.11be has 1 to 8"),
    "guard interval": (lambda: eht_rate(7, 80, gi_us=0.4), "the guard interval is 0.8, 1.6 or 3.2 us"),
    # federation
    "shapes": (
        lambda: stack_clients([jnp.zeros((1, 3)), jnp.zeros((1, 3)), jnp.zeros((1, 7))]),
        r"client 2 sent tables of shapes \[\(1, 7\)\] where client 0 sent \[\(1, 3\)\]",
    ),
    "mu": (lambda: FRLConfig(mu=1.5), "mu = 1.5: 0 to 1"),
    "K": (lambda: FRLConfig(K=0), "K = 0: at least 1"),
    "aggregate": (lambda: FRLConfig(aggregate="avg"), "aggregate='avg' is unknown; use one of 'mean', 'weighted'"),
    # names and numbers
    "demand": (lambda: make_scenario("chain3_l2", demand=[10.0, -1.0, 5.0]), "demand = -1 Mb/s: a demand of 0 or more"),
    "scenario": (lambda: scenario_topology("chain"), "name='chain' is unknown; use one of 'chain3_l2'"),
    "method": (
        lambda: method("frl", *make_scenario("chain3_l2"), 10),
        "method 'frl' is unknown; there are frl",
    ),
    "model": (lambda: MLOEnv(3, 2, model="ns3"), "model='ns3' is unknown; use one of 'ctmn', 'bianchi'"),
    "one domain": (
        lambda: make_scenario("chain3_l2", model="bianchi"),
        'model="bianchi" is for one collision domain, but BSSs 0 and 2 do not hear each other on link 0',
    ),
    "steps": (lambda: trained(steps=0), "steps = 0, num_seeds = None: at least 1 of each"),
    "tail": (lambda: trained(tail=1.5), "tail = 1.5: a share of the steps"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def spread(factor):
    return lambda: from_positions(TRIANGLE * factor, TRIANGLE * factor + np.array([factor, 0]))


WARNED = {
    "centimetres": (lambda: spread(0.001)(), r"median 0.\d+ m.*are the coordinates in km\?"),
    "CWmin": (lambda: bianchi(5, W=15), r"W = 15 is not a power of two; .*did you mean 16\?"),
    "CWmin of a simulation": (lambda: sim_clique(KEY, 3, W=15, events=10), r"did you mean 16\?"),
    "CWmin of a radio": (lambda: Radio(W=31), r"did you mean 32\?"),
    "CWmin of an environment": (lambda: make_env(from_graph(CHAIN), W=15), r"did you mean 16\?"),
    "no power of two": (lambda: bianchi(5, W=20), "W = 20 is not a power of two.*CWmin \\+ 1 is usual"),
    "rewards": (lambda: trained(scale=1.0), r"rewards reach \d+; learners expect about 0 to 1: set x_max"),
    "alike": (
        lambda: trained(frl=FRLConfig(mu=1.0)),
        r'mu = 1 with stateless tables makes all BSSs alike .*use mu < 1, or obs="occupancy"',
    ),
}


@pytest.mark.parametrize(("call", "message"), WARNED.values(), ids=WARNED.keys())
def test_what_is_probably_a_mistake_is_warned_of_once(call, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 1
    with pytest.raises(ValueError, match=message):  # says where it differs
        raise ValueError(texts[0])


def test_coordinates_too_far_apart():
    """Access points in mm and stations in m: nobody is heard across such distances, and the median is named."""
    with pytest.warns(UserWarning, match=r"with median 10000.7 m; .*are the coordinates in cm or mm\?"):
        from_positions(TRIANGLE * 1000, TRIANGLE * 1000 + 1)


def test_nothing_is_said_about_usual_values():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_positions(TRIANGLE, TRIANGLE + 1)
        bianchi(5, W=jnp.array([16.0, 31.5]))  # real numbers are for gradients
        trained(frl=FRLConfig(mu=1.0), scenario={"obs": "occupancy"})
        trained(frl=FRLConfig(mu=0.5))


def test_a_link_out_of_range_is_masked_out():
    """A station that hears its AP at 2.4 GHz only: the other bits of its action do nothing, and info says so."""
    station = np.array([[-50.0, -50.0, -50.0], [-60.0, -90.0, np.nan]])
    topology = from_rssi(np.full((3, 2, 2), -60.0), station, DEFAULT_RADIO)
    assert np.array(usable(topology)).tolist() == [[True, True, True], [True, False, False]]
    env, params = make_env(topology)
    _, state = env.reset(KEY, params)
    info = env.step(KEY, state, jnp.array([6, 6]), params)[-1]
    assert np.array(info["mask"]).tolist() == [[True, True, True], [True, False, False]]
    assert float(jnp.abs(info["activity"][1, 1:]).max()) == 0
    alone = env.step(KEY, state, jnp.array([6, 0]), params)[-1]
    np.testing.assert_array_equal(info["throughput"], alone["throughput"])


def test_traced_actions_are_clamped():
    env, params = make_scenario("chain3_l2")
    _, state = env.reset(KEY, params)
    step = jax.jit(lambda action: env.step(KEY, state, action, params)[-1]["throughput"])
    np.testing.assert_array_equal(step(jnp.array([9, -4, 1])), step(jnp.array([2, 0, 1])))


def faulty(**options):
    env, params = make_scenario("chain3_l2", reward="own", tables=False)
    params = params._replace(x_max=jnp.where(jnp.arange(3) == 1, jnp.nan, 1000.0))  # the report of BSS 1 is missing
    return run(KEY, env, params, EpsGreedy(), None, 20, **options)


def test_a_reward_that_is_nan():
    with pytest.raises(FloatingPointError, match=r'a reward was NaN in 1 of 1 runs.*pass nan_policy="skip"'):
        faulty()
    with pytest.raises(ValueError, match='nan_policy=\'ignore\' is unknown; use "error" or "skip"'):
        faulty(nan_policy="ignore")
    tables = np.asarray(faulty(nan_policy="skip").tables)
    assert np.isfinite(tables).all()
    assert np.abs(tables[1]).max() == 0  # it has learned nothing
    assert np.abs(tables[[0, 2]]).max() > 0


def test_no_demand_is_a_demand():
    env, params = make_scenario("chain3_l2", demand=[0.0, 10.0, 0.0])
    _, state = env.reset(KEY, params)
    x = env.step(KEY, state, jnp.array([2, 2, 2]), params)[-1]["throughput"]
    assert np.array(x).tolist() == [0.0, 10.0, 0.0]
