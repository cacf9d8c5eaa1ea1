"""Rates, sensitivities and success curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from offprint.federated_mlo._rates import (
    SENSITIVITY_DBM,
    check_band,
    eht_rate,
    ndbps,
    noise_dbm,
    select_mcs,
    select_mcs_snr,
    success_probability,
)


@pytest.mark.parametrize(
    ("mcs", "bw", "rate"),
    [(0, 20, 8.6), (11, 20, 143.4), (13, 20, 172.1), (11, 80, 600.5), (11, 320, 2402.0), (13, 320, 2882.4)],
)
def test_rates_of_the_standard_to_their_printed_decimal(mcs, bw, rate):
    assert round(float(eht_rate(mcs, bw)), 1) == rate


def test_bits_per_symbol_are_not_floored():
    np.testing.assert_allclose(ndbps(9, 80), 980 * 8 * 5 / 6, rtol=1e-14)


def test_streams_multiply_and_guard_interval_divides():
    np.testing.assert_allclose(eht_rate(7, 160, 4, 3.2), 4 * eht_rate(7, 160) * 13.6 / 16, rtol=1e-14)


def test_no_link_has_rate_zero():
    assert eht_rate(-1, 40) == 0


def test_traced_and_known_arguments_agree_in_float32_too():
    mcs, bw = np.arange(14), np.array([20, 40, 80, 160, 320])[:, None]
    np.testing.assert_array_equal(jax.jit(eht_rate)(mcs, bw), eht_rate(mcs, bw))
    rssi = np.linspace(-85, -40, 46, dtype=np.float32)
    levels = (rssi[:, None] >= np.asarray(SENSITIVITY_DBM)).sum(1) - 1
    np.testing.assert_array_equal(jax.jit(select_mcs)(rssi, bw)[0], levels)


def test_sensitivity_is_met_with_equality_and_rises_with_bandwidth():
    levels = np.asarray(SENSITIVITY_DBM, float)
    np.testing.assert_array_equal(select_mcs(levels, 20), np.arange(14))
    np.testing.assert_array_equal(select_mcs(levels + 3, 40), np.arange(14))
    np.testing.assert_array_equal(select_mcs(levels - 1e-9, 20), np.arange(14) - 1)
    assert select_mcs(-40.0, 20, max_mcs=11) == 11
    assert select_mcs(np.nan, 20) == -1


def test_noise():
    np.testing.assert_allclose(noise_dbm(20), -93.98970004336019)
    np.testing.assert_allclose(noise_dbm(80, 4) - noise_dbm(20, 7), 10 * np.log10(4) - 3)


def test_success_probability_is_a_normal_curve_around_the_fitted_mean():
    np.testing.assert_allclose(success_probability(38.926, 13, 40), 0.5)
    np.testing.assert_allclose(success_probability(20.0, 7, 20), norm.cdf((20 - 15.660) / 1.6), rtol=1e-12)
    assert success_probability(60.0, -1, 20) == 0
    slope = jax.grad(success_probability)(20.0, 7, 20)
    np.testing.assert_allclose(slope, norm.pdf((20 - 15.660) / 1.6) / 1.6, rtol=1e-10)


def test_mcs_of_largest_expected_rate():
    snr = np.array([2.0, 12.0, 20.0, 28.0, 35.0, 60.0])

    @jax.jit
    def chosen(snr):
        every = np.arange(14)
        success = success_probability(snr[:, None], every, 20)
        return (
            success,
            eht_rate(every, 20),
            select_mcs_snr(snr[:, None], np.array([20, 80])),
            select_mcs_snr(snr, 20, 9),
        )

    success, rates, both, low = map(np.asarray, chosen(snr))
    best = np.argmax(success * rates, axis=1)
    np.testing.assert_array_equal(both[:, 0], np.where(success[np.arange(6), best] >= 0.1, best, -1))
    assert both[0, 0] == -1
    assert both[-1, 0] == 13
    assert (both[:, 1] <= both[:, 0]).all()  # the wider channel needs more
    assert low[-1] == 9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eht_rate(14, 20), "mcs = 14 is not in 802.11be; use 0 to 13"),
        (lambda: eht_rate(0, 30), "bw_mhz = 30 is no bandwidth of 802.11be"),
        (lambda: eht_rate(0, 20, 9), "nss = 9 streams"),
        (lambda: eht_rate(0, 20, 1, 0.4), "gi_us = 0.4"),
        (lambda: select_mcs(-60.0, 20, max_mcs=14), "mcs = 14"),
        (lambda: success_probability(20.0, 0, 320), "20 to 160 MHz"),
        (lambda: check_band(5.23, 320), "320 MHz at 5.23 GHz: the widest of 802.11be at 5 GHz has 160 MHz"),
        (lambda: check_band(np.array([2.437, 6.295]), np.array([320, 320])), "at 2.4 GHz has 40 MHz"),
        (lambda: check_band(60.0, 20), "f_ghz = 60 is in no band"),
    ],
)
def test_what_802_11be_does_not_have(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_band_plan_of_the_standard_passes():
    check_band(np.array([2.437, 5.23, 6.295, 6.295]), np.array([20, 160, 80, 320]))
    check_band(jnp.asarray(5.23), 40)


def test_fractional_mcs_is_a_type_error():
    with pytest.raises(TypeError, match="integers are needed"):
        eht_rate(1.5, 20)
