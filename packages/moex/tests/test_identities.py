"""What must hold of moment exchange whatever the numbers: identities, symmetries, shapes and dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offprint.moex import inject, moment_exchange, moments, normalize

NORMS = ("pono", "in", "ln", "gn-d2", "gpono2")
SHAPE = (5, 3, 4, 8)
CYCLE = np.array([1, 2, 3, 4, 0])
X = 0.3 + jax.random.normal(jax.random.key(1), SHAPE)


@functools.partial(jax.jit, static_argnames=("eps", "norms"))
def exchange_all(x, swap_index, eps=1e-5, norms=NORMS):
    """By norm the exchange, all of them compiled together."""
    return {norm: moment_exchange(x, swap_index, norm, eps=eps) for norm in norms}


def same_bits(a, b):
    return a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_identity_permutation_changes_no_bit():
    x = np.array(X, np.float32)
    x[0], x[1, 0, 0], x[2, 1], x[3, 2, 2] = 0.7, -3.0, -0.0, 1e30  # constant sample and position; -0.0; overflow
    for y in exchange_all(x, np.arange(5)).values():
        assert same_bits(y, x)
    for options in ({"positive_only": True}, {"ddof": 0}, {"detach_moments": True}):
        assert same_bits(moment_exchange(x, np.arange(5), **options), x)
    pairs = np.asarray(exchange_all(x, np.array([0, 2, 1, 3, 4]))["pono"])
    assert same_bits(pairs[[0, 3, 4]], x[[0, 3, 4]])
    assert not np.array_equal(pairs[1], x[1])


def test_the_inverse_permutation_restores_the_features():
    there = exchange_all(X, CYCLE, eps=0.0)
    for norm in ("pono", "in", "ln", "gpono2"):
        back = exchange_all(there[norm], np.argsort(CYCLE), eps=0.0)[norm]
        np.testing.assert_allclose(back, X, rtol=0, atol=1e-9)


@jax.jit
def gaps_to_donor(x, swap_index, eps):
    """By norm, how far mean and standard deviation of the output are from what the donor makes them."""
    gaps = []
    for norm in NORMS:
        mean, std = moments(x, norm, eps=0.0)
        mean_y, std_y = moments(moment_exchange(x, swap_index, norm, eps=1e-3), norm, eps=0.0)
        expected = jnp.sqrt(std[swap_index] ** 2 + eps) * std / jnp.sqrt(std**2 + eps)
        kept = (swap_index == jnp.arange(len(x))).reshape(-1, *[1] * (std.ndim - 1))
        gaps += [jnp.abs(mean_y - mean[swap_index]).max(), jnp.abs(std_y - jnp.where(kept, std, expected)).max()]
    return jnp.stack(gaps)


@settings(deadline=None, max_examples=15)
@given(
    x=hnp.arrays(np.float64, SHAPE, elements=st.floats(-3, 3)),
    swap_index=hnp.arrays(np.int32, 5, elements=st.integers(0, 4)),
)
def test_output_has_the_moments_of_the_donor(x, swap_index):
    # σ_B √(var_A / (var_A + ε)), for any indices, repeated ones too
    np.testing.assert_allclose(gaps_to_donor(x, swap_index, 1e-3), 0, atol=1e-7)


def test_layer_norm_takes_out_scale_and_shift():
    changed = X.at[0].set(3.5 * X[0] - 2.0)
    before, after = (exchange_all(x, CYCLE, eps=0.0)["ln"] for x in (X, changed))
    np.testing.assert_allclose(after[:4], before[:4], atol=1e-12)
    assert np.abs(after[4] - before[4]).max() > 1  # sample 4 receives the moments of sample 0


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(5)), st.permutations(range(5)))
def test_equivariant_to_the_order_of_the_batch(order, swap_index):
    order, swap_index = np.array(order), np.array(swap_index)
    plain = exchange_all(X, swap_index)
    moved = exchange_all(X[order], np.argsort(order)[swap_index[order]])
    for norm in NORMS:
        np.testing.assert_allclose(moved[norm], plain[norm][order], rtol=0, atol=1e-12)


def test_groups_reduce_to_the_other_norms():
    y = exchange_all(X, CYCLE, norms=("ln", "gn1", "gn-d8", "in", "gn8", "gn-d1", "pono", "gpono1", "gpono-d8"))
    for same in (("ln", "gn1", "gn-d8"), ("in", "gn8", "gn-d1"), ("pono", "gpono1", "gpono-d8")):
        for other in same[1:]:
            np.testing.assert_allclose(y[other], y[same[0]], rtol=0, atol=1e-12)


def test_channels_first_equals_channels_last():
    last = exchange_all(X, CYCLE)
    first = jax.jit(
        lambda x: {norm: moment_exchange(x, CYCLE, norm, channel_axis=1) for norm in NORMS},
    )(jnp.moveaxis(X, -1, 1))
    for norm in NORMS:
        np.testing.assert_allclose(jnp.moveaxis(first[norm], 1, -1), last[norm], rtol=0, atol=1e-12)


def test_positive_only():
    positive = jnp.abs(X) + 0.1
    everything = moments(positive, "in", positive_only=True)
    for here, there in zip(everything, moments(positive, "in", ddof=0), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-12)

    mean, std = moments(X, "in", positive_only=True, eps=0.0)
    sample = np.asarray(X[2, :, :, 1])
    np.testing.assert_allclose(mean[2, 0, 0, 1], sample[sample > 0].mean(), rtol=1e-12)
    np.testing.assert_allclose(std[2, 0, 0, 1], sample[sample > 0].std(), rtol=1e-12)
    large = jnp.full((2, 4, 3), 1e4, jnp.float32).at[1, 0, 0].set(1e4 + 1)  # Σ r²/n - μ² is negative in float32
    assert np.isfinite(moment_exchange(large, np.array([1, 0]), positive_only=True)).all()


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6), (4, 2, 3, 2, 6)])
def test_any_number_of_axes(shape):
    x, swap_index = jax.random.normal(jax.random.key(2), shape), np.array([2, 0, 3, 1])

    @functools.partial(jax.jit, static_argnums=1)
    def two_ways(x, norm):
        x_hat, mean, std = normalize(x, norm)
        return moment_exchange(x, swap_index, norm), inject(x_hat, mean[swap_index], std[swap_index])

    norm = {2: "gpono2", 3: "in", 5: "gn3"}[len(shape)]
    np.testing.assert_allclose(*two_ways(x, norm), rtol=0, atol=1e-12)


def test_moments_by_hand():
    x = jnp.array([[1.0, 2.0, 3.0, 6.0]])
    mean, std = moments(x, eps=0.0)
    np.testing.assert_allclose((mean.item(), std.item()), (3.0, (14 / 3) ** 0.5))
    np.testing.assert_allclose(moments(x, eps=0.5, ddof=0)[1].item(), 2.0)
    np.testing.assert_allclose(moments(x, "gpono2", eps=0.0)[0], [[[1.5], [4.5]]])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(dtype):
    x = (100 + X).astype(dtype)
    assert [m.dtype for m in moments(x)] == [jnp.float32] * 2
    y = moment_exchange(x, CYCLE)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, moment_exchange(x.astype(jnp.float32), CYCLE).astype(dtype))
    assert same_bits(moment_exchange(x, np.arange(5)), x)


def test_jit_and_vmap_equal_plain():
    stack, orders = jnp.stack([X, 2 * X - 1]), jnp.stack([CYCLE, CYCLE[::-1]])
    mapped = jax.jit(jax.vmap(lambda x, swap_index: moment_exchange(x, swap_index, "gn2")))(stack, orders)
    for k in range(2):
        np.testing.assert_allclose(mapped[k], moment_exchange(stack[k], orders[k], "gn2"), rtol=0, atol=1e-12)


def test_a_known_permutation_in_a_traced_function():
    """Its values are looked at, though everything else is abstract."""
    order, wrong = jnp.asarray(CYCLE), jnp.asarray(CYCLE + 1)
    exchanged = jax.jit(lambda x: moment_exchange(x, order))(X)
    np.testing.assert_allclose(exchanged, moment_exchange(X, CYCLE), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="swap_index reaches from 1 to 5"):
        jax.jit(lambda x: moment_exchange(x, wrong))(X)


def test_evaluation_and_batch_norm_pass_through():
    assert same_bits(moment_exchange(X, CYCLE, deterministic=True), X)
    with pytest.warns(UserWarning, match="'bn' has the same moments for every sample"):
        assert same_bits(moment_exchange(X, CYCLE, "bn"), X)
    assert moments(X, "bn")[0].shape == (1, 1, 1, 8)
