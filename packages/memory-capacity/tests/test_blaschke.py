"""Identities of the memory curve as a function of the poles: property tests in float64."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.memory_capacity._blaschke import blaschke_coefficients, memory_curve_from_poles, takenaka_malmquist

LAGS = 60
QUICK = settings(deadline=None, max_examples=25)


def spectra(count, largest=0.999):
    """`count` poles closed under conjugation, with zeros, repeats and moduli up to `largest`."""
    modulus = st.one_of(st.just(0.0), st.just(0.5), st.just(largest), st.floats(0, largest))
    pair = st.tuples(modulus, st.floats(0, np.pi)).map(lambda p: [p[0] * np.exp(1j * p[1]), p[0] * np.exp(-1j * p[1])])
    reals = st.tuples(modulus, modulus, st.booleans()).map(lambda p: [p[0], -p[1] if p[2] else p[1]])
    return st.lists(st.one_of(pair, reals), min_size=count // 2, max_size=count // 2).map(
        lambda pairs: np.concatenate(pairs).astype(complex)
    )


def close(x, y, tolerance=1e-12):
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


@QUICK
@given(spectra(8))
def test_first_value_order_and_range(poles):
    curve = memory_curve_from_poles(poles, LAGS)
    close(curve[0], 1 - np.prod(np.abs(poles) ** 2))
    assert np.all(np.diff(curve) <= 1e-12)
    assert np.all((curve >= -1e-12) & (curve <= 1 + 1e-12))


@QUICK
@given(spectra(8))
def test_curve_is_the_energy_of_the_remaining_coefficients(poles):
    coefficients = blaschke_coefficients(poles, LAGS)
    close(memory_curve_from_poles(poles, LAGS), 1 - np.cumsum(np.abs(coefficients) ** 2))
    close(coefficients.imag, 0)


@QUICK
@given(spectra(8, largest=0.9))
def test_sum_over_all_lags_is_the_number_of_poles(poles):
    close(np.sum(memory_curve_from_poles(poles, 500)), 8, 1e-11)


@QUICK
@given(spectra(8))
def test_sign_and_conjugation_leave_the_curve(poles):
    curve = memory_curve_from_poles(poles, LAGS)
    close(memory_curve_from_poles(-poles, LAGS), curve)
    close(memory_curve_from_poles(np.conj(poles), LAGS), curve)


@QUICK
@given(spectra(8), st.floats(0, 2 * np.pi))
def test_rotation_and_order_leave_the_curve(poles, angle):
    curve = memory_curve_from_poles(poles, LAGS)
    close(memory_curve_from_poles(poles[::-1] * np.exp(1j * angle) * (1 - 1e-16), LAGS), curve)


@QUICK
@given(spectra(8))
def test_another_zero_shifts_the_curve(poles):
    longer = memory_curve_from_poles(np.append(poles, 0), LAGS)
    close(longer, np.concatenate([[1.0], memory_curve_from_poles(poles, LAGS)[:-1]]))


@QUICK
@given(spectra(4), spectra(4))
def test_union_of_spectra_convolves_the_coefficients(first, second):
    together = blaschke_coefficients(np.concatenate([first, second]), LAGS)
    product = np.convolve(blaschke_coefficients(first, LAGS), blaschke_coefficients(second, LAGS))
    close(together, product[:LAGS])


@QUICK
@given(spectra(4))
def test_roots_of_the_poles_stretch_the_curve(poles):
    roots = np.concatenate([poles ** (1 / 3) * np.exp(2j * np.pi * k / 3) for k in range(3)])
    close(memory_curve_from_poles(roots, LAGS), np.repeat(memory_curve_from_poles(poles, LAGS), 3)[:LAGS])


@QUICK
@given(spectra(8))
def test_state_form_is_input_normal_and_gives_the_curve(poles):
    A, b = (np.asarray(x) for x in takenaka_malmquist(poles))
    close(A @ A.conj().T + np.outer(b, b.conj()), np.eye(8))
    assert np.all(np.triu(A, 1) == 0)
    state, energies = b, []
    for _ in range(LAGS):
        energies.append(np.sum(np.abs(state) ** 2))
        state = A @ state
    close(energies, memory_curve_from_poles(poles, LAGS))


@QUICK
@given(spectra(8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_masked_poles_are_absent(poles, used):
    masked = memory_curve_from_poles(poles, LAGS, mask=np.asarray(used))
    kept = np.where(used, poles, 0)
    # A pole at 0 is a delay; take as many delays off again.
    shift = 8 - sum(used)
    close(masked[: LAGS - shift], memory_curve_from_poles(kept, LAGS)[shift:])


@pytest.mark.parametrize("pole", [0.3, -0.8, 0.9j])
def test_one_pole_keeps_its_digits_far_out(pole):
    lags = np.arange(300)
    size = abs(pole) ** 2
    curve = memory_curve_from_poles(np.array([pole]), 300)
    np.testing.assert_allclose(curve, (1 - size) * size**lags, rtol=1e-11, atol=1e-300)


def test_near_the_unit_circle():
    sizes = 1 - np.logspace(-12, -1, 12)
    curve = memory_curve_from_poles(sizes, 1)
    np.testing.assert_allclose(curve, [-np.expm1(2 * np.sum(np.log1p(-np.logspace(-12, -1, 12))))], rtol=1e-12)


def test_gradient_in_the_poles():
    modulus, angle = np.array([0.9, 0.0, 0.5, 0.5]), np.array([0.3, 0.0, 1.0, 1.0])

    def memory(modulus):
        return memory_curve_from_poles(modulus * np.exp(1j * angle), 6)[4]

    gradient = jax.grad(memory)(modulus)
    step = 1e-5
    for i in range(len(modulus)):
        difference = (memory(modulus + step * np.eye(4)[i]) - memory(modulus - step * np.eye(4)[i])) / (2 * step)
        close(gradient[i], difference, 1e-8)


def test_no_poles_and_no_lags():
    assert memory_curve_from_poles(np.zeros(0), 3).tolist() == [0, 0, 0]
    assert memory_curve_from_poles(np.array([0.5]), 0).shape == (0,)
    assert blaschke_coefficients(np.zeros(0), 3).tolist() == [1, 0, 0]


def test_traced_poles_outside_the_disc_give_nan():
    assert np.isnan(jax.jit(lambda p: memory_curve_from_poles(p, 4))(np.array([1.5, 0.2]))).all()
