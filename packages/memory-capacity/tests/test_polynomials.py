"""Orthonormal polynomials: each family against its own law."""

import warnings

import jax
import numpy as np
import pytest
import scipy.stats as st

from offprint.memory_capacity import polynomials as polynomials

CONTINUOUS = {
    "legendre": (polynomials.legendre(-0.5, 2), st.uniform(-0.5, 2.5)),
    "hermite": (polynomials.hermite(1, 0.5), st.norm(1, 0.5)),
    "laguerre": (polynomials.laguerre(2.5, 0.7), st.gamma(2.5, scale=0.7)),
    "jacobi": (polynomials.jacobi(2.0, 3.5), st.beta(2.0, 3.5)),
    "jacobi as Chebyshev": (polynomials.jacobi(0.5, 0.5), st.beta(0.5, 0.5)),
    "jacobi as Legendre": (polynomials.jacobi(1, 1), st.uniform()),
}
DISCRETE = {
    "charlier": (polynomials.charlier(2.5), st.poisson(2.5), 80),
    "krawtchouk": (polynomials.krawtchouk(7, 0.3), st.binom(7, 0.3), 7),
    "meixner": (polynomials.meixner(2.5, 0.4), st.nbinom(2.5, 0.4), 400),
    "hahn": (polynomials.hahn(7, 2.0, 3.5), st.betabinom(7, 2.0, 3.5), 7),
    "hahn uniform": (polynomials.hahn(7, 1, 1), st.randint(0, 8), 7),
}
DEGREE = 5


def gram_of(table, weights):
    table = np.asarray(table)
    return (table * weights) @ table.T


@pytest.mark.parametrize("case", list(CONTINUOUS))
def test_continuous_families_are_orthonormal(case):
    family, law = CONTINUOUS[case]
    # z = F^-1(u) turns the expectation into an integral over (0, 1); tanh-sinh nodes tame its ends.
    s = np.linspace(-4, 4, 2001)
    u = 1 / (1 + np.exp(-np.pi * np.sinh(s)))
    upper = 1 / (1 + np.exp(np.pi * np.sinh(s)))
    nodes = np.where(s < 0, law.ppf(u), law.isf(upper))
    weights = np.pi * np.cosh(s) * u * upper * (s[1] - s[0])
    np.testing.assert_allclose(gram_of(family.table(nodes, DEGREE), weights), np.eye(DEGREE + 1), atol=1e-8)


@pytest.mark.parametrize("case", list(DISCRETE))
def test_discrete_families_are_orthonormal(case):
    family, law, last = DISCRETE[case]
    values = np.arange(last + 1)
    table = family.table(values.astype(float), DEGREE)
    np.testing.assert_allclose(gram_of(table, law.pmf(values)), np.eye(DEGREE + 1), atol=1e-9)


def test_empirical_polynomials_are_orthonormal_on_the_samples():
    z = np.random.default_rng(0).exponential(size=500) ** 2
    family = polynomials.empirical(z, 4)
    np.testing.assert_allclose(gram_of(family.table(z, 4), 1 / 500), np.eye(5), atol=1e-9)


def test_laws_of_few_values_have_few_polynomials():
    signs = np.random.default_rng(0).choice([-1.0, 1.0], 100)
    assert polynomials.empirical(signs, 4).max_degree == 1
    np.testing.assert_array_equal(polynomials.binary().table(signs, 1)[1], signs)
    with pytest.raises(ValueError, match="degree 2 of a law with 2 values"):
        polynomials.binary().table(signs, 2)


def test_the_wrong_law_is_noticed_and_the_right_one_is_not():
    rng = np.random.default_rng(0)
    uniform, normal = rng.uniform(-1, 1, 2000), rng.normal(size=2000)
    legendre, hermite = polynomials.legendre(), polynomials.hermite()
    with pytest.warns(UserWarning, match="legendre polynomials are not orthonormal on these inputs"):
        polynomials.warn_of_wrong_law(legendre, legendre.table(normal, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        polynomials.warn_of_wrong_law(legendre, legendre.table(uniform, 4))
        polynomials.warn_of_wrong_law(hermite, hermite.table(normal, 4))


def test_tables_jit():
    z = np.linspace(-1, 1, 9)
    table = polynomials.legendre().table
    np.testing.assert_allclose(jax.jit(table, static_argnums=1)(z, 3), table(z, 3), atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: polynomials.legendre(1, -1), "low=1 has to be below high=-1."),
        (lambda: polynomials.charlier(0), "rate=0; a positive number is needed."),
        (lambda: polynomials.krawtchouk(3, 1.0), "p=1.0; a number between 0 and 1 is needed."),
        (lambda: polynomials.empirical(np.ones(5), 2), "samples are constant"),
    ],
)
def test_bad_parameters(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 the message is checked below
        call()
    assert message in str(error.value)
