"""Bad input to the linear side: one clear error or warning each."""

import re

import jax
import numpy as np
import pytest

from offprint.memory_capacity._blaschke import memory_curve_from_poles
from offprint.memory_capacity._curve import memory_curve, total_memory
from offprint.memory_capacity._dependent import dependent_memory
from offprint.memory_capacity._gramian import gramian
from offprint.memory_capacity._krylov import arnoldi, krylov_matrix
from offprint.memory_capacity._multi_input import multi_input_memory_curve
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._rank import pbh_margin, reachable_rank

A = np.array([[0.5, 0.1], [0.0, 0.3]])
C = np.ones(2)
HOLED = np.array([[0.5, np.nan], [np.inf, 0.3]])

CASES = {
    "A not square": (
        lambda: memory_curve(np.ones((2, 3))),
        "A must be a square matrix of shape (N, N) with N >= 1, got shape (2, 3).",
    ),
    "A a vector": (
        lambda: reachable_rank(C, C),
        "A must be a square matrix of shape (N, N) with N >= 1, got shape (2,).",
    ),
    "A empty": (
        lambda: memory_curve(np.zeros((0, 0))),
        "A must be a square matrix of shape (N, N) with N >= 1, got shape (0, 0).",
    ),
    "A complex": (
        lambda: memory_curve(A + 0j),
        "A must hold real numbers, got dtype complex128; a complex spectrum can be given to memory_curve_from_poles.",
    ),
    "A not finite": (
        lambda: arnoldi(HOLED, C),
        "A must be finite, got 2 NaN or infinite entries (the first at (0, 1)).",
    ),
    "C of another length": (
        lambda: memory_curve(A, np.ones(3)),
        "C must have shape (N,) = (2,) to match A, got shape (3,).",
    ),
    "C with channels": (
        lambda: memory_curve(A, np.ones((2, 3))),
        "C must have shape (N,) = (2,) to match A, got shape (2, 3). "
        "For several input channels use multi_input_memory_curve.",
    ),
    "C without channels": (
        lambda: multi_input_memory_curve(A, C, 5),
        "C must have shape (N, m) = (2, m) to match A, got shape (2,).",
    ),
    "C complex": (lambda: pbh_margin(A, C + 0j), "C must hold real numbers, got dtype complex128."),
    "C not finite": (
        lambda: krylov_matrix(A, np.array([1.0, np.nan]), 3),
        "C must be finite, got 1 NaN or infinite entries (the first at (1,)).",
    ),
    "unstable": (
        lambda: memory_curve(2.5 * np.eye(2), C),
        "The spectral radius of A is 2.5, and the state is stationary only below 1; "
        "rescale the reservoir, for example A * 0.36 for a spectral radius of 0.9.",
    ),
    "radius of one": (
        lambda: total_memory(np.eye(2), C),
        "The spectral radius of A is 1, and the state is stationary only below 1; "
        "rescale the reservoir, for example A * 0.9 for a spectral radius of 0.9.",
    ),
    "unstable Gramian": (
        lambda: gramian(-1.5 * np.eye(2), C),
        "The spectral radius of A is 1.5, and the state is stationary only below 1; "
        "rescale the reservoir, for example A * 0.6 for a spectral radius of 0.9.",
    ),
    "negative lags": (lambda: memory_curve(A, C, -1), "n_lags must be an integer of at least 0, got -1."),
    "no horizon": (lambda: memory_curve(A, C, 5, horizon=0), "horizon must be an integer of at least 1, got 0."),
    "horizon below the lags": (
        lambda: memory_curve(A, C, 5, method="naive", horizon=3),
        "lags up to 4 need horizon >= 5, got horizon=3.",
    ),
    "unknown method": (
        lambda: memory_curve(A, C, method="osm+"),
        "method must be one of 'exact', 'cascade', 'fft', 'determinant', 'naive', 'gramian', 'arnoldi', 'osm', "
        "'osm_plus', got 'osm+'.",
    ),
    "unknown rank": (
        lambda: memory_curve(A, C, rank="full"),
        "rank must be one of 'auto', 'generic', 'numerical', 'exact' or an int, got 'full'.",
    ),
    "rank too high": (lambda: memory_curve(A, C, rank=3), "rank must lie between 0 and N = 2, got 3."),
    "rank without C": (
        lambda: memory_curve(A, rank="exact"),
        "rank='exact' needs C: it says which directions the input reaches.",
    ),
    "int rank without C": (
        lambda: memory_curve(A, rank=1),
        "rank as an int below N needs C: it says which directions the input reaches.",
    ),
    "unknown rank method": (
        lambda: reachable_rank(A, C, "qr"),
        "method must be one of 'exact', 'numerical', 'svd', got 'qr'.",
    ),
    "exact rank inside jit": (
        lambda: jax.jit(lambda x: memory_curve(x, C, 3, rank="exact").values)(A),
        "The exact rank needs the values of A and C, and inside jit or vmap they are not known; "
        "compute it outside and pass it on as an int, or use 'numerical'.",
    ),
    "unknown Gramian method": (
        lambda: gramian(A, C, "smith"),
        "method must be 'doubling' or 'lyapunov', got 'smith'.",
    ),
    "lyapunov inside jit": (
        lambda: jax.jit(lambda x: gramian(x, C, "lyapunov"))(A),
        "method='lyapunov' runs on the host and can't be used inside jit; use 'doubling'.",
    ),
    "baseline without C": (
        lambda: memory_curve(A, method="naive"),
        "method='naive' needs the input mask C.",
    ),
    "OSM+ without a key": (
        lambda: memory_curve(A, method="osm_plus"),
        "method='osm_plus' draws fresh masks: pass key=jax.random.key(seed).",
    ),
    "pole outside": (
        lambda: memory_curve_from_poles(np.array([0.5, 1.25j]), 4),
        "poles must be finite and of modulus below 1, got a largest modulus of 1.25.",
    ),
    "pole missing": (
        lambda: memory_curve_from_poles(np.array([0.5, np.nan]), 4),
        "poles must be finite and of modulus below 1, got a largest modulus of nan.",
    ),
    "poles in a matrix": (
        lambda: memory_curve_from_poles(np.zeros((2, 2)), 4),
        "poles must have shape (r,), got shape (2, 2).",
    ),
    "mask of another length": (
        lambda: memory_curve_from_poles(np.array([0.5]), 4, mask=np.array([True, False])),
        "mask must have the shape of poles, (1,), got shape (2,).",
    ),
    "several inputs inside jit": (
        lambda: jax.jit(lambda x: multi_input_memory_curve(x, np.ones((2, 1)), 3))(A),
        "multi_input_memory_curve works on the host and can't be used inside jit or vmap; call it on concrete arrays.",
    ),
    "no autocovariance": (
        lambda: dependent_memory(A, C),
        "Give the input's autocov or its spectral_density: exactly one of them.",
    ),
    "autocovariance in a matrix": (
        lambda: dependent_memory(A, C, np.eye(2), 3),
        "autocov must have shape (K+1,) with K >= 0, got shape (2, 2).",
    ),
    "no variance": (
        lambda: dependent_memory(A, C, np.array([0.0, 0.0]), 3),
        "autocov must be finite with a variance above 0, got γ(0) = 0.",
    ),
    "not an autocovariance": (
        lambda: dependent_memory(A, C, np.array([1.0, 0.9]), 3),
        "The values given aren't the autocovariance of a stationary process: their spectral density falls to -0.127, "
        "and must not be negative.",
    ),
}


NOTE = r"(\n-+\nFor simplicity, JAX has removed .*)?"  # JAX adds a note where it shortens a traceback


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES.keys())
def test_error(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + NOTE + "$"):
        call()


def test_derivative_through_poles_is_refused():
    with pytest.raises(NotImplementedError, match="Eigenvalues have no derivative where they meet"):
        jax.grad(lambda x: pbh_margin(x, C))(A)


WARNINGS = {
    "no input": (
        lambda: memory_curve(A, np.zeros(2), 4),
        "C is zero: no input reaches the network, so its memory is 0.",
    ),
    "no input on any channel": (
        lambda: multi_input_memory_curve(A, np.zeros((2, 3)), 4),
        "C is zero: no input reaches the network, so its memory is 0.",
    ),
    "almost unstable": (
        lambda: memory_curve(np.array([[1 - 2.0**-24]]), np.ones(1), 4),
        "The spectral radius of A is 1 - 5.96e-08: the memory fades over about 695357394 steps, "
        "so most of it may lie beyond the lags asked for.",
    ),
    "horizon too short for a grid": (
        lambda: memory_curve(np.array([[0.99]]), np.ones(1), 4, method="fft", horizon=10),
        "At spectral radius 0.99 the memory hasn't faded after horizon=10 steps, so the fft form aliases; "
        "use method='exact', or a longer horizon.",
    ),
    "OSM on a deficient network": (
        lambda: memory_curve(0.5 * np.eye(2), C, 4, method="osm"),
        "The Krylov matrix has numerical rank 1 < N = 2: the osm curve and its total are not meaningful.",
    ),
}


@pytest.mark.parametrize(("call", "message"), WARNINGS.values(), ids=WARNINGS.keys())
def test_warning(call, message):
    with pytest.warns(MeaningWarning, match="^" + re.escape(message) + "$"):
        result = call()
    if "C is zero" in message:
        assert not np.any(getattr(result, "values", result))
