"""Linear networks against interval arithmetic (`exact_*`) and the original MATLAB code (`official_*`)."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity._curve import memory_curve
from offprint.memory_capacity._dependent import dependent_memory
from offprint.memory_capacity._gramian import gramian
from offprint.memory_capacity._krylov import krylov_distances
from offprint.memory_capacity._multi_input import multi_input_memory_curve
from offprint.memory_capacity._rank import reachable_rank

CASES = (
    "blockdiag_unreach_n21",
    "cyclic_n24",
    "cyclic_period3_n24",
    "delay_n16",
    "diagonal_n24",
    "jordan_n15",
    "jordan_rot_n20",
    "n1",
    "normal_n10",
    "normal_n50",
    "ortho_n25",
    "scaled_identity_n8",
    "sparse10_n20",
    "sparse10_n60",
    "symmetric_n30",
    "uniform_n30",
)
# Where the smallest singular value stands well above eps times the largest; elsewhere two LAPACKs disagree.
OSM_WELL_DEFINED = ("ortho_n25", "cyclic_n24", "delay_n16", "normal_n10", "uniform_n30", "jordan_n15")


@pytest.fixture(params=CASES)
def case(request, golden):
    return request.param, golden(f"linear_{request.param}")


def test_exact_rank_and_curve(case):
    _, arrays = case
    A, C, lags = arrays["A"], arrays["C"], int(arrays["horizon"])
    assert reachable_rank(A, C, "exact") == arrays["exact_rank"]
    curve = memory_curve(A, C, lags, rank="exact")
    tolerance = 1e-10 if arrays["exact_rank"] == len(A) else 1e-6
    np.testing.assert_allclose(curve.values, arrays["exact_curve"], rtol=0, atol=tolerance)
    assert curve.rank == curve.total == arrays["exact_rank"]
    assert np.all(np.diff(curve.values) <= 1e-12)
    assert np.all((curve.values >= -1e-12) & (curve.values <= 1 + 1e-12))
    np.testing.assert_allclose(curve.tail, arrays["exact_rank"] - arrays["exact_curve"].sum(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["fft", "determinant"])
@pytest.mark.parametrize("name", ["blockdiag_unreach_n21", "jordan_rot_n20", "symmetric_n30"])
def test_other_exact_forms(golden, name, form):
    arrays = golden(f"linear_{name}")
    curve = memory_curve(arrays["A"], arrays["C"], int(arrays["horizon"]), method=form, rank="exact")
    np.testing.assert_allclose(curve.values, arrays["exact_curve"], rtol=0, atol=1e-10)


def test_naive_as_the_original(case):
    name, arrays = case
    A, C, columns = arrays["A"], arrays["C"], int(arrays["horizon"])
    naive = memory_curve(A, C, columns, method="naive", horizon=columns)
    total = arrays["official_naive_curve"].sum()
    if name == "sparse10_n60":  # a singular value stands at the cut
        assert abs(naive.total - total) < 1.001
    else:
        np.testing.assert_allclose(naive.values, arrays["official_naive_curve"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(naive.total, total, rtol=0, atol=1e-4)
        assert naive.rank == arrays["official_matlab_rank"]


@pytest.mark.parametrize("name", [*OSM_WELL_DEFINED, "cyclic_period3_n24", "sparse10_n20", "symmetric_n30"])
def test_osm_as_the_original(golden, name):
    arrays = golden(f"linear_{name}")
    A, C, columns = arrays["A"], arrays["C"], int(arrays["horizon"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        osm = memory_curve(A, C, columns, method="osm", horizon=columns)
    np.testing.assert_allclose(osm.total, len(A), rtol=0, atol=1e-9)  # where the rank is lower too: that's the flaw
    np.testing.assert_allclose(arrays["official_osm_curve"].sum(), len(A), rtol=0, atol=1e-9)
    if name in OSM_WELL_DEFINED:
        np.testing.assert_allclose(osm.values, arrays["official_osm_curve"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["blockdiag_unreach_n21", "cyclic_n24", "jordan_rot_n20", "normal_n10"])
def test_arnoldi_as_the_original(golden, name):
    arrays = golden(f"linear_{name}")
    A, C = arrays["A"], arrays["C"]
    curve = memory_curve(A, C, len(A), method="arnoldi", horizon=5 * len(A))
    np.testing.assert_allclose(curve.values, arrays["official_arnoldi_mcs"], rtol=0, atol=1e-6)


def test_gramian_as_the_original(case):
    _, arrays = case
    for method in ("doubling", "lyapunov"):
        matrix = gramian(arrays["A"], arrays["C"], method)
        np.testing.assert_allclose(matrix, arrays["official_gramian"], rtol=0, atol=1e-12)


def test_krylov_distances_as_the_original(case):
    name, arrays = case
    ours = krylov_distances(arrays["A"], arrays["C"], len(arrays["official_dist_arnoldi"]))
    pairs = {
        "arnoldi": (ours.arnoldi, arrays["official_dist_arnoldi"]),
        "svd": (ours.svd, arrays["official_dist_ortho"]),
        "eigenvalues": (ours.eigenvalues, arrays["official_dist_eigen"]),
    }
    if name == "jordan_rot_n20":
        del pairs["eigenvalues"]  # computed eigenvalues of a defective matrix are wherever rounding put them
    for kind, (distance, official) in pairs.items():
        compared = official > 1e-10
        compared[0] = False  # the original writes 0 there; the distance from the empty span is ‖C‖
        np.testing.assert_allclose(
            np.asarray(distance)[compared], official[compared], rtol=1e-6, atol=1e-15, err_msg=kind
        )


@pytest.mark.parametrize("name", ["normal_n20", "ortho_n30_floor"])
def test_exact_curves_of_the_monte_carlo_cases(golden, name):
    arrays = golden(f"montecarlo_{name}")
    curve = memory_curve(arrays["A"], arrays["C"], int(arrays["n_lags"]), rank="exact")
    assert curve.rank == arrays["exact_rank"]
    np.testing.assert_allclose(curve.values, arrays["exact_curve"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["normal_n8", "ortho_n12_neg"])
def test_correlated_input(golden, name):
    arrays = golden(f"ar1_{name}")
    phi = float(arrays["phi"])
    lags, ahead = len(arrays["memory_curve"]), len(arrays["forecast_curve"])
    ours = dependent_memory(arrays["A"], arrays["C"], lambda k: phi ** jnp.asarray(k) * arrays["gamma0"], lags, ahead)
    np.testing.assert_allclose(ours.memory, arrays["memory_curve"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours.forecast, arrays["forecast_curve"], rtol=0, atol=1e-7)


def test_two_inputs(golden):
    arrays = golden("multi_n12_m2")
    curves = multi_input_memory_curve(arrays["A"], arrays["C"], arrays["exact_curve"].shape[1])
    np.testing.assert_allclose(curves, arrays["exact_curve"], rtol=0, atol=1e-10)
