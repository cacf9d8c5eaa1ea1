"""Bad input to simulation and estimation: the error or the warning that each gets, word for word."""

import re

import jax
import numpy as np
import pytest

from offprint.memory_capacity import polynomials as polynomials
from offprint.memory_capacity._empirical import empirical_memory_curve, forecasting_capacity
from offprint.memory_capacity._ipc import information_processing_capacity
from offprint.memory_capacity._kernel_rank import kernel_rank
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._simulate import simulate

rng = np.random.default_rng(0)
T, N = 60, 4
X, z = rng.normal(size=(T, N)), rng.uniform(-1, 1, size=T)
A, C = 0.5 * np.eye(N), np.ones(N)


def memory(*, states=X, inputs=z, n_lags=5, **options):
    return empirical_memory_curve(states, inputs, n_lags, **options)


def ipc(*, states=X, inputs=z, pairs=((1, 3),), **options):
    return information_processing_capacity(states, inputs, list(pairs), **options)


ERRORS = {
    "A not square": (
        lambda: simulate(np.ones((2, 3)), C, z),
        "A must be a square matrix of shape (N, N) with N >= 1, got shape (2, 3).",
    ),
    "C of another length": (
        lambda: simulate(A, np.ones(3), z),
        "C has shape (3,) where A has shape (4, 4); a mask of shape (4,), or (4, m) for m input channels, is needed.",
    ),
    "C complex": (
        lambda: simulate(A, 1j * C, z),
        "C is complex (complex128, shape (4,)); a real array is needed.",
    ),
    "z with NaN": (
        lambda: simulate(A, C, np.where(z > 0.9, np.nan, z)),
        f"z of shape (60,) has {(z > 0.9).sum()} entries that are NaN or infinite.",
    ),
    "z of other channels": (
        lambda: simulate(A, C, np.ones((9, 2))),
        "z has shape (9, 2) where C has 1 input channel(s); (T, 1) or (T,) is needed.",
    ),
    "one series for two channels": (
        lambda: simulate(A, np.ones((N, 2)), z),
        "z has shape (60,) where C has 2 input channels; (T, 2) is needed.",
    ),
    "washout of everything": (
        lambda: simulate(A, C, z),
        "washout=100 drops all of the 60 states; it has to be below the length of z.",
    ),
    "unknown activation": (
        lambda: simulate(A, C, z, activation="relu", washout=0),
        "activation='relu' is unknown; one of 'tanh', 'identity' is needed.",
    ),
    "parallel nonlinear network": (
        lambda: simulate(A, C, z, method="chunked", washout=0),
        "method='chunked' needs a linear network, activation='identity'; activation='tanh' needs method='scan'.",
    ),
    "leak": (lambda: simulate(A, C, z, leak=0.0, washout=0), "leak=0.0; a number in (0, 1] is needed."),
    "bias": (
        lambda: simulate(A, C, z, bias=np.ones(3), washout=0),
        "bias has shape (3,); (4,), one value a neuron, is needed.",
    ),
    "streams": (lambda: kernel_rank(A, C, z), "streams has shape (60,); a stack (S, T), or (S, T, m), is needed."),
    "states of one dimension": (
        lambda: memory(states=z),
        "states has shape (60,); a matrix (T, N) of T samples of N neurons is needed.",
    ),
    "states with NaN": (
        lambda: memory(states=X * np.nan),
        "states of shape (60, 4) has 240 entries that are NaN or infinite.",
    ),
    "transposed states": (
        lambda: memory(states=X.T),
        "states has shape (4, 60) and inputs (60,): the states seem to be transposed. "
        "Pass states.T, so that row t is the state that input t drove.",
    ),
    "transposed states and as many inputs": (
        lambda: memory(states=X.T, inputs=z[:4], n_lags=2),
        "states has shape (4, 60), more neurons than samples: if it is transposed, pass states.T; "
        "rows are samples, columns are neurons.",
    ),
    "other lengths": (
        lambda: memory(inputs=z[:50]),
        "states has 60 samples and inputs has 50; they must be the same samples. "
        "After simulate(A, C, z, washout=w) pass z[w:].",
    ),
    "constant input": (
        lambda: memory(inputs=np.full(T, 0.5)),
        "inputs is constant (all 60 values are 0.5): its variance is zero.",
    ),
    "several inputs": (
        lambda: memory(inputs=np.ones((T, 2))),
        "inputs has shape (60, 2); one channel (T,) is needed. For several channels use jax.vmap over them.",
    ),
    "too many lags": (
        lambda: memory(n_lags=61),
        "the largest lag is 60 and there are 60 samples; n_lags (plus min_lag) has to be below the number of samples.",
    ),
    "no lags": (lambda: memory(n_lags=0), "n_lags must be an integer of at least 1, got 0."),
    "washout of all samples": (lambda: memory(washout=60), "washout=60 uses up all of the 60 samples."),
    "washout below the lags": (
        lambda: memory(washout=2),
        "the largest lag is 4 and washout=2: the first targets are not in the data. "
        "washout has to be at least the largest lag.",
    ),
    "interpolation": (
        lambda: memory(n_lags=57),
        "4 samples are left after 56 are used as history, for 4 neurons: the regression interpolates and every "
        "capacity is 1. Many more samples than neurons are needed.",
    ),
    "unknown estimator": (
        lambda: memory(estimator="best"),
        "estimator='best' is unknown; one of 'adjusted', 'insample', 'heldout', 'official', 'ridge' is needed.",
    ),
    "unknown solver": (
        lambda: memory(solver="lu"),
        "solver='lu' is unknown; one of 'svd', 'qr', 'cholesky', 'pinv' is needed.",
    ),
    "official with a window": (
        lambda: memory(estimator="official", washout=9),
        "estimator='official' uses all samples with a shrinking window; washout has to be None.",
    ),
    "no key": (
        lambda: memory(null="surrogate"),
        "the bootstrap and null='surrogate' draw at random: pass key=jax.random.key(seed).",
    ),
    "test fraction": (
        lambda: memory(estimator="heldout", test_fraction=1.0),
        "test_fraction=1.0; a number between 0 and 1 is needed.",
    ),
    "too far ahead": (
        lambda: forecasting_capacity(X, z, 60),
        "n_ahead=60 needs more samples than the 60 that there are.",
    ),
    "delay above the washout": (
        lambda: ipc(pairs=[(1, 9), (2, 3)], washout=8),
        "the largest delay is 9 and washout=8: targets would need inputs from before the data. "
        "washout has to be at least the largest delay.",
    ),
    "no targets": (
        lambda: ipc(pairs=[]),
        "degrees_delays is empty; pairs (degree, max delay) such as [(1, 100), (2, 20)] are needed.",
    ),
    "a degree twice": (
        lambda: ipc(pairs=[(1, 3), (1, 4)]),
        "degrees_delays=[(1, 3), (1, 4)] names a degree twice; its targets would count twice.",
    ),
    "unknown basis": (
        lambda: ipc(basis="chebyshev"),
        "basis='chebyshev' is unknown; one of 'legendre', 'hermite', 'laguerre', 'jacobi', 'charlier', "
        "'krawtchouk', 'meixner', 'hahn', 'binary', 'empirical' is needed.",
    ),
    "basis with parameters": (
        lambda: ipc(basis="charlier"),
        "basis='charlier' has parameters: pass the family itself, as in basis=charlier(...), from the functions "
        "of that name.",
    ),
    "delays beyond the data": (lambda: ipc(pairs=[(1, 60)]), "washout=60 uses up all of the 60 samples."),
    "degree of a binary law": (
        lambda: polynomials.binary().table(z, 2),
        "degree 2 of a law with 2 values (-1 or 1): its polynomials end at degree 1.",
    ),
}


@pytest.mark.parametrize("case", list(ERRORS))
def test_errors(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError) as error:  # noqa: PT011 the message is compared below
        call()
    assert str(error.value) == message


WARNINGS = {
    "floor": (
        lambda: memory(n_lags=20, estimator="insample"),
        "estimate dominated by finite-sample floor: 20 lags times r/T = 0.1 is 2 of a sum of ",
    ),
    "dependent input": (
        lambda: memory(states=np.repeat(X, 9, axis=0), inputs=np.repeat(z, 9)),
        "inputs are autocorrelated (Ljung-Box p = ",
    ),
    "wrong law": (
        lambda: ipc(inputs=5 * z, pairs=[(1, 3), (2, 3)]),
        "the legendre polynomials are not orthonormal on these inputs: their empirical Gram matrix deviates by ",
    ),
}


@pytest.mark.parametrize("case", list(WARNINGS))
def test_warnings(case):
    call, message = WARNINGS[case]
    with pytest.warns(MeaningWarning, match="^" + re.escape(message)):
        call()


def test_the_smallest_inputs_work():
    states = simulate(np.array([[0.5]]), np.ones(1), z, activation="identity", washout=0)
    curve = empirical_memory_curve(states, z, 1)
    np.testing.assert_allclose(curve.values[0], 0.75, atol=0.2)
    silent = empirical_memory_curve(np.zeros((T, 2)), z, 3)
    np.testing.assert_array_equal(silent.values, 0)
    assert int(silent.rank) == 0
    assert not silent.significant.any()


def test_shapes_are_checked_while_tracing():
    with pytest.raises(ValueError, match="states has 60 samples and inputs has 50"):
        jax.jit(lambda states: empirical_memory_curve(states, z[:50], 5).total)(X)
