"""Durations of frame exchanges."""

import warnings
from fractions import Fraction
from math import ceil, floor

import jax
import numpy as np
import pytest

from offprint.federated_mlo._txop import FRAME_FORMATS, txop_times


def by_fractions(mcs, bw, nss, gi, access, aggregation):
    """The same durations in exact rational arithmetic, written down once more."""
    subcarriers = {20: 234, 40: 468, 80: 980, 160: 1960, 320: 3920}[bw]
    bits = (1, 2, 2, 4, 4, 6, 6, 6, 8, 8, 10, 10, 12, 12)[mcs]
    coding = ("1/2", "1/2", "3/4", "1/2", "3/4", "2/3", "3/4", "5/6", "3/4", "5/6", "3/4", "5/6", "3/4", "5/6")[mcs]
    ndbps = subcarriers * bits * Fraction(coding) * nss
    symbol = Fraction(128, 10) + Fraction(gi)
    mpdu, k = 320 + 12000, 1
    if aggregation:
        mpdu += 32
        k = max(1, min(1024, floor((floor((5484 - 44) / symbol) * ndbps - 22) / mpdu)))
    n_sym = ceil((22 + k * mpdu) / ndbps)
    data = 44 + symbol * n_sym

    def control(b):
        return 20 + 4 * ceil(Fraction(16 + b + 6, 96))

    ack = control(192 + next((b for b in (64, 256, 512, 1024) if b >= k), 1024)) if aggregation else control(112)
    success = data + 16 + ack + 34
    if access == "rts":
        return k, n_sym, success + control(160) + 16 + control(112) + 16, control(160) + 34 + 16 + control(112)
    return k, n_sym, success, success


@pytest.mark.parametrize("access", ["rts", "basic"])
@pytest.mark.parametrize("aggregation", [True, False])
def test_equals_exact_rational_arithmetic_everywhere(access, aggregation):
    cases = [
        (mcs, bw, nss, gi)
        for mcs in range(14)
        for bw in (20, 40, 80, 160, 320)
        for nss in (1, 3, 8)
        for gi in ("0.8", "1.6", "3.2")
    ]
    mcs, bw, nss, gi = (np.array([case[i] for case in cases]) for i in range(4))
    times = txop_times(mcs, bw, nss, gi.astype(float), access, aggregation)
    for i, case in enumerate(cases):
        k, n_sym, t_s, t_c = by_fractions(*case, access, aggregation)
        assert (times.k[i], times.n_sym[i]) == (k, n_sym), case
        assert abs(times.t_s[i] - float(t_s)) < 1e-9, case
        assert abs(times.t_c[i] - float(t_c)) < 1e-9, case


def test_a_full_ppdu_is_not_a_symbol_short():
    # 5440 / 13.6 is 400 exactly, and less than that in binary fractions.
    times = txop_times(0, 20, payload_bits=400 * 117 - 22 - 352)
    assert (times.k, times.n_sym, times.t_data) == (1, 400, 5484.0)


def test_traced_arguments_give_the_same():
    mcs, bw = np.array([-1, 0, 4, 9, 13]), np.array([20, 40, 80, 80, 320])
    known = txop_times(mcs, bw, 8, 1.6)
    traced = jax.jit(jax.vmap(lambda mcs, bw, gi: txop_times(mcs, bw, 8, gi), (0, 0, None)))(mcs, bw, 1.6)
    for a, b in zip(known, traced):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_out_of_range_carries_nothing_and_takes_the_time_of_mcs_0():
    out, lowest = txop_times(-1, 80), txop_times(0, 80)
    assert (out.k, out.bits) == (0, 0)
    assert (out.t_s, out.t_c, out.n_sym) == (lowest.t_s, lowest.t_c, lowest.n_sym)


def test_options():
    assert txop_times(11, 160, 2, max_mpdus=256).k == 256 < txop_times(11, 160, 2).k
    # 80 MHz with MCS 9 has 6533.33 bits per symbol.
    assert txop_times(9, 80, floor_ndbps=True, aggregation=False, payload_bits=2 * 6533 - 22 - 320 + 1).n_sym == 3
    assert txop_times(9, 80, aggregation=False, payload_bits=3 * 6533 - 22 - 320 + 1).n_sym == 3
    assert txop_times(9, 80, floor_ndbps=True, aggregation=False, payload_bits=3 * 6533 - 22 - 320 + 1).n_sym == 4
    rts, short = txop_times(5, 20), txop_times(5, 20, eifs=False)
    assert rts.t_s == short.t_s
    assert np.isclose(rts.t_c - short.t_c, 16 + 28)
    narrow = txop_times(5, 20, sifs_us=10, difs_us=28)
    assert np.isclose(rts.t_s - narrow.t_s, 3 * 6 + 6)
    assert np.isclose(
        txop_times(5, 20, aggregation=False, preamble_us=51).t_s - txop_times(5, 20, aggregation=False).t_s, 7
    )


def test_presets_can_be_changed():
    assert set(FRAME_FORMATS) == {"802.11be", "ns3_11ax", "komondor"}
    komondor = txop_times(9, 20, preset="komondor")
    assert np.isclose(txop_times(9, 20, preset="komondor", success_extra_us=0).t_s, komondor.t_s - 9)
    assert txop_times(9, 20, preset="komondor", payload_bits=12_000).bits == 42 * 12_000


def test_bad_input():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call, error, message in [
            (lambda: txop_times(14, 20), ValueError, "mcs = 14 is not in 802.11be"),
            (lambda: txop_times(3, 25), ValueError, "bw_mhz = 25"),
            (lambda: txop_times(3, 20, access="cts"), ValueError, "access='cts' is unknown; use one of 'rts', 'basic'"),
            (lambda: txop_times(3, 20, preset="ns3"), ValueError, "preset='ns3' is unknown"),
            (lambda: txop_times(3, 20, payload_bits=0), ValueError, "payload_bits = 0"),
            (lambda: txop_times(3, 20, preamble_us=44.04), ValueError, "44.04 us is no multiple of 0.1 us"),
            (lambda: txop_times(3, 20, sifs=10), TypeError, "no option 'sifs'; it has aggregation"),
        ]:
            with pytest.raises(error, match=message):
                call()
