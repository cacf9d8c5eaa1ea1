"""The decoupled model of DCF: limits, derivatives, transformations, unlike stations."""

from itertools import product

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from offprint.federated_mlo._bianchi import (
    bianchi,
    bianchi_hetero,
    bianchi_hetero_throughput,
    bianchi_share,
    bianchi_throughput,
    clique_share,
)

TIMES = {"T_s": 5566.0, "T_c": 5532.0, "sigma": 9.0, "bits": 540_000}
WINDOWS = np.array([16.0, 32.0, 16.0, 8.0, 64.0])
LONG = np.array([500.0, 900.0, 100.0, 300.0, 50.0])
SHORT = np.array([400.0, 800.0, 90.0, 800.0, 40.0])


def test_one_station_meets_nobody():
    tau, p = bianchi(1, 16, 6)
    assert p == 0
    np.testing.assert_allclose(tau, 2 / 17, rtol=1e-15)
    # It waits 7.5 slots on average between its frames.
    alone = bianchi_throughput(1, **TIMES)
    np.testing.assert_allclose(alone.throughput, 540_000 / (7.5 * 9 + 5566), rtol=1e-12)
    assert alone.p_s == 1
    nobody = bianchi_throughput(0, **TIMES)
    assert (nobody.throughput, nobody.p_s, nobody.p_tr, nobody.slot) == (0, 0, 0, 9)


def test_fixed_window_has_a_closed_form():
    n = np.array([2, 7, 40])
    tau, p = bianchi(n, 16, 0)
    np.testing.assert_allclose(tau, 2 / 17, rtol=1e-13)
    np.testing.assert_allclose(p, 1 - (15 / 17) ** (n - 1), rtol=1e-13)


@pytest.mark.parametrize(("n", "W", "m", "retries"), [(2, 4, 1, None), (20, 2, 3, None), (50, 16, 6, 3)])
def test_against_forty_digits(n, W, m, retries):
    with mpmath.workdps(40):

        def tau(p):
            if retries is None:
                return 2 / (1 + W + p * W * sum((2 * p) ** i for i in range(m)))
            powers = [p**i for i in range(retries + 1)]
            return sum(powers) / sum(x * (W * 2 ** min(i, m) + 1) / 2 for i, x in enumerate(powers))

        root = mpmath.findroot(lambda t: t - tau(1 - (1 - t) ** (n - 1)), (0.001, 0.9), solver="anderson")
        expected = float(root), float(1 - (1 - root) ** (n - 1))
    np.testing.assert_allclose(bianchi(n, W, m, retries), expected, rtol=1e-14)


def test_many_retries_are_no_limit():
    n = np.array([2, 10, 50])
    limits = [bianchi(n, 16, 6, retries)[0] for retries in (7, 30, 300)]
    unlimited = bianchi(n, 16, 6)[0]
    gaps = [np.max(np.abs(x - unlimited)) for x in limits]
    assert gaps[0] > 1e-4 > gaps[1] > gaps[2]
    assert gaps[2] < 1e-14


def test_more_stations_collide_more():
    tau, p = bianchi(np.arange(1, 60), 16, 6)
    assert (np.diff(tau) < 0).all()
    assert (np.diff(p) > 0).all()


def test_gradients_against_central_differences():
    n = np.array([1.0, 2.0, 5.0, 20.0])

    def observed(W, t_s):
        r = bianchi_throughput(n, t_s, 5532.0, 9.0, 540_000, W)
        return jnp.stack([r.tau, r.p, r.throughput])

    observed = jax.jit(observed)
    by_W, by_t = jax.jit(jax.jacobian(observed, argnums=(0, 1)))(16.0, 5566.0)
    h = 1e-3
    np.testing.assert_allclose(
        by_W, (observed(16 + h, 5566.0) - observed(16 - h, 5566.0)) / (2 * h), rtol=1e-6, atol=1e-12
    )
    h = 0.5
    np.testing.assert_allclose(
        by_t, (observed(16.0, 5566 + h) - observed(16.0, 5566 - h)) / (2 * h), rtol=1e-6, atol=1e-12
    )


def test_second_derivative_and_derivative_in_n():
    tau = jax.jit(lambda n, W: bianchi(n, W, 6)[0])
    h = 1e-2
    second = jax.jit(jax.grad(jax.grad(tau, 1), 1))(5.0, 16.0)
    np.testing.assert_allclose(second, (tau(5.0, 16 + h) - 2 * tau(5.0, 16.0) + tau(5.0, 16 - h)) / h**2, rtol=1e-5)
    slope = jax.jit(jax.grad(tau))(5.0, 16.0)
    np.testing.assert_allclose(slope, (tau(5 + h, 16.0) - tau(5 - h, 16.0)) / (2 * h), rtol=1e-5)


def test_traced_and_mapped_equal_one_by_one_with_m_traced_too():
    n, W, m = np.array([1, 2, 9]), np.array([16, 32, 8]), np.array([6, 0, 3])
    looped = np.array([bianchi(*case)[0] for case in zip(n, W, m)])
    np.testing.assert_allclose(bianchi(n, W, m)[0], looped, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda n, W, m: bianchi(n, W, m)[0]))(n, W, m), looped, rtol=1e-14)


def test_float32():
    with jax.enable_x64(False):
        r = bianchi_throughput(np.array([2, 10, 50]), **TIMES)
        assert r.throughput.dtype == jnp.float32
    np.testing.assert_allclose(r.throughput, bianchi_throughput(np.array([2, 10, 50]), **TIMES).throughput, rtol=2e-5)


def test_share_is_an_equal_part_of_the_total():
    share = bianchi_share(np.array([5566.0, 900.0]), np.array([5532.0, 850.0]), np.array([540_000, 12_000]), 4)
    assert share.shape == (2, 5)
    assert (share[:, 0] == 0).all()
    total = bianchi_throughput(3, 900.0, 850.0, 9.0, 12_000).throughput
    np.testing.assert_allclose(share[1, 3], total / 3, rtol=1e-14)


def test_rts_hardly_loses_to_contention():
    """One 80 MHz link with long aggregates carries 1107 to 1113 Mb/s for 1 to 20 contenders."""
    share = clique_share(np.array([[11, 80, 2]]), 20)[0]
    total = np.asarray(share[1:] * np.arange(1, 21))
    assert total.max() / total.min() < 1.011
    assert total.min() > 1090


def test_like_stations_are_a_special_case_of_unlike_ones():
    n = 5
    for retries in (None, 7):
        tau, p = bianchi_hetero(np.full(n, 16), 6, retries)
        expected = bianchi(n, 16, 6, retries)
        np.testing.assert_allclose(tau, np.full(n, expected[0]), rtol=1e-13)
        np.testing.assert_allclose(p, np.full(n, expected[1]), rtol=1e-13, atol=1e-16)
    r = bianchi_hetero_throughput(np.full(5, 16), **TIMES)
    np.testing.assert_allclose(r.throughput.sum(), bianchi_throughput(5, **TIMES).throughput, rtol=1e-13)


def test_mean_slot_of_unlike_stations_by_enumeration():
    r = bianchi_hetero_throughput(WINDOWS, LONG, SHORT, 9.0, 1000 * np.arange(1, 6))
    np.testing.assert_allclose(r.p, [1 - np.prod(1 - np.delete(r.tau, i)) for i in range(5)], rtol=1e-13)
    slot, carried = 0.0, np.zeros(5)
    for who in product((False, True), repeat=5):
        who = np.array(who)
        chance = np.prod(np.where(who, r.tau, 1 - r.tau))
        slot += chance * (9 if not who.any() else LONG[who][0] if who.sum() == 1 else SHORT[who].max())
        if who.sum() == 1:
            carried[who] += chance * 1000 * (np.flatnonzero(who) + 1)
    np.testing.assert_allclose(r.slot, slot, rtol=1e-13)
    np.testing.assert_allclose(r.throughput, carried / slot, rtol=1e-13)
    # A smaller window means more attempts.
    assert (np.diff(np.asarray(r.tau)[np.argsort(WINDOWS, stable=True)]) <= 1e-15).all()


def test_inactive_stations_are_as_if_absent_under_vmap():
    active = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    r = jax.jit(jax.vmap(lambda on: bianchi_hetero_throughput(WINDOWS, LONG, SHORT, active=on)))(active)
    tau, p = bianchi(2, 16)  # stations 0 and 2 have the same window
    np.testing.assert_allclose(r.tau[0, ::2], [tau, tau, 0], rtol=1e-13)
    one = tau * (1 - p)
    slot = (1 - tau) ** 2 * 9 + one * (500 + 100) + tau**2 * 400
    np.testing.assert_allclose(r.throughput[0, ::2], [one * 12_000 / slot, one * 12_000 / slot, 0], rtol=1e-13)
    np.testing.assert_allclose(r.throughput[1, 1], 12_000 / (15.5 * 9 + 900), rtol=1e-12)
    assert (np.asarray(r.throughput)[~active] == 0).all()


def test_gradient_for_unlike_stations():
    carried = jax.jit(lambda W: bianchi_hetero_throughput(W, LONG, SHORT).throughput)
    jacobian = jax.jit(jax.jacfwd(carried))(jnp.asarray(WINDOWS))
    h = 1e-3
    central = np.stack([(carried(WINDOWS + h * e) - carried(WINDOWS - h * e)) / (2 * h) for e in np.eye(5)], axis=1)
    np.testing.assert_allclose(jacobian, central, rtol=1e-6, atol=1e-7)


def test_bad_input():
    for call, message in [
        (lambda: bianchi(5, 0), "W = 0 backoff values: at least 1"),
        (lambda: bianchi(5, 16, 17), "m = 17: stages 0 to 16"),
        (lambda: bianchi(5, 16, -1), "m = -1"),
        (lambda: bianchi(5, 16, 6, -1), "retry_limit = -1"),
        (lambda: bianchi_throughput(5, 0.0055, 0.0055, 9.0), "shorter than the slot sigma = 9: are seconds and micro"),
        (lambda: bianchi_throughput(5, 5500.0, 0.0055), "T_c = 0.0055 is shorter"),
        (lambda: bianchi_throughput(5, 5500.0, 5500.0, 9e-6), "times the slot sigma = 9e-06"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_contention_window_instead_of_its_number_of_values():
    with pytest.warns(UserWarning, match="W = 15 is not a power of two.*did you mean 16"):
        bianchi(5, 15)
    with pytest.warns(UserWarning, match=r"W = 20 is not a power of two.*CWmin \+ 1 is usual"):
        bianchi(5, np.array([16, 20]))
