"""Golden arrays of the original implementations: sample memory, nonlinear memory, information processing."""

from pathlib import Path

import numpy as np
import pytest

from offprint.memory_capacity._empirical import empirical_memory_curve
from offprint.memory_capacity._ipc import information_processing_capacity
from offprint.memory_capacity._nonlinear import memory_vs_input_scale
from offprint.memory_capacity._simulate import simulate

pytestmark = pytest.mark.filterwarnings("ignore:estimate dominated")


def load(name):
    return np.load(Path(__file__).parent / "golden" / f"{name}.npz", allow_pickle=False)


@pytest.fixture(scope="module", params=["normal_n20", "ortho_n30_floor"])
def sample(request):
    g = load(f"montecarlo_{request.param}")
    # The script's first state is C E_0 and its second is driven by E_0 again.
    driven_by = np.concatenate([g["E"][:1], g["E"][:-1]])
    states = simulate(g["A"], g["C"], driven_by, activation="identity", washout=int(g["discard"]))
    return g, states, g["E"][int(g["discard"]) - 1 : -1], 1e-6 if request.param == "normal_n20" else 1e-9


def test_script_states(sample):
    g, states, z, _ = sample
    np.testing.assert_allclose(states.T @ states, g["official_gx"], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.sum(z**2), g["official_g"], rtol=1e-13)


@pytest.mark.parametrize(
    ("key", "solver", "alpha"),
    [
        ("official_mc_tau", None, 0.0),
        ("official_mc_tau", "svd", 0.0),
        ("official_mc_tau_pinv", "pinv", 0.0),
        ("official_mc_tau_ridge1e9", "lu", 1e-9),
    ],
)
def test_sample_memory_of_the_script(sample, key, solver, alpha):
    g, states, z, tolerance = sample
    curve = empirical_memory_curve(
        states, z, int(g["n_lags"]), estimator="official", solver=solver, alpha=alpha, check=False
    )
    np.testing.assert_allclose(curve.values, g[key], atol=tolerance)


@pytest.mark.parametrize("case", ["ortho_n10", "normal_n12"])
def test_memory_against_input_scale(case):
    g = load(f"nonlinear_{case}")
    curves = memory_vs_input_scale(g["A"], g["C"], g["sigma_grid"], g["Z"], washout=int(g["discard"]), normalise="unit")
    np.testing.assert_allclose(curves.values, g["official_mc_curves"], atol=1e-6)
    np.testing.assert_allclose(curves.total, g["official_mc_total"], atol=1e-6)
    np.testing.assert_allclose(np.minimum(curves.total, g["A"].shape[0]), g["official_mc_clipped"], atol=1e-6)


@pytest.mark.parametrize("case", ["linear_n6", "tanh_n8"])
def test_information_processing_capacities(case):
    g = load(f"ipc_{case}")
    activation = "identity" if str(g["activation"]) == "linear" else "tanh"
    states = simulate(g["W"], g["iota"] * g["win"], g["zeta"], activation=activation, washout=0)
    np.testing.assert_allclose(states[-1], g["states_last"], atol=1e-13)
    degrees = np.unique(g["degree"])
    pairs = [(int(d), int(np.flatnonzero(g["exponents"][g["degree"] == d].any(axis=0)).max())) for d in degrees]
    result = information_processing_capacity(
        states, g["zeta"], pairs, basis=str(g["polynomial"]), washout=int(g["washout"])
    )
    assert int(result.rank) == int(g["rank"])
    exponents = np.zeros_like(g["exponents"])
    np.add.at(exponents, (np.arange(len(exponents))[:, None], result.delays), result.powers)
    ours = {tuple(row): value for row, value in zip(exponents.tolist(), np.asarray(result.values))}
    assert len(ours) == len(g["ipc"])
    np.testing.assert_allclose([ours[tuple(row)] for row in g["exponents"].tolist()], g["ipc"], atol=1e-9)


def test_odd_networks_have_no_even_capacity():
    g = load("ipc_tanh_n8")
    states = simulate(g["W"], g["iota"] * g["win"], g["zeta"], washout=0)
    result = information_processing_capacity(
        states, g["zeta"], [(1, 40), (2, 12), (3, 7), (4, 4)], washout=int(g["washout"])
    )
    np.testing.assert_allclose(result.by_degree, [4.93, 0, 2.71, 0], atol=0.04)
    assert result.by_degree[1] == result.by_degree[3] == 0
