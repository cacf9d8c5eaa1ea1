"""Layer-wise methods: optimal on their support, in the right order of error, counts, dead inputs, bad input."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity.layerwise import (
    channel_gram,
    lasso_channels,
    lobs,
    net_trim,
    obc,
    reconstruction_error,
    sparsegpt,
    thinet,
    wanda,
)
from offprint.sparsity.layerwise._channels import lasso
from offprint.sparsity.layerwise._quadratic import _factor, inverse_of_lower, prepare

IN, OUT = 12, 6


def problem(seed, rows=40):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, IN)) @ (np.eye(IN) + 0.4 * generator.normal(size=(IN, IN)))
    return x, generator.normal(size=(IN, OUT))


def best_on(support, x, w):
    """The least squares kernel on a support, output by output."""
    best = np.zeros_like(w)
    for o in range(w.shape[1]):
        kept = np.flatnonzero(support[:, o])
        best[kept, o] = np.linalg.lstsq(x[:, kept], x @ w[:, o], rcond=None)[0]
    return best


def error(x, w, pruned):
    return np.sum((x @ np.asarray(pruned) - x @ w) ** 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_obc_is_the_best_on_its_support_and_errors_are_in_order(seed):
    x, w = problem(seed)
    H = 2 * x.T @ x
    for choice in ({"sparsity": 0.5}, {"nm": (2, 4)}):
        exact = obc(w, H, **choice)
        swept = sparsegpt(w, H, **choice, damp=0.0, blocksize=12)
        np.testing.assert_allclose(exact.kernel, best_on(exact.mask, x, w), atol=1e-9)
        plain = error(x, w, np.where(swept.mask, w, 0))
        assert error(x, w, exact.kernel) <= error(x, w, swept.kernel) <= plain
        np.testing.assert_allclose(reconstruction_error(w, swept.kernel, H), error(x, w, swept.kernel), rtol=1e-9)


def test_lobs(unchecked_types):
    x, w = problem(2)
    H = 2 * x.T @ x
    inverse = np.linalg.inv(H + 1e-6 * np.mean(np.diagonal(H)) * np.eye(IN))
    score = w**2 / np.diagonal(inverse)[:, None]
    order = np.argsort(score, axis=None)[:24]
    swept = w.copy()
    for q, o in zip(*np.unravel_index(order, w.shape), strict=True):
        swept[:, o] -= inverse[:, q] * swept[q, o] / inverse[q, q]
    keep = np.ones(w.size, bool)
    keep[order] = False
    keep = keep.reshape(w.shape)
    pruned = lobs(w, H, 24 / w.size)
    assert np.array_equal(np.asarray(pruned.mask), keep)
    np.testing.assert_allclose(pruned.kernel, np.where(keep, swept, 0), atol=1e-9)
    joint = lobs(w, H, 24 / w.size, update="joint", damp=0.0)
    np.testing.assert_allclose(joint.kernel, best_on(keep, x, w), atol=1e-9)
    with pytest.raises(ValueError, match="update must be"):
        lobs(w, H, 0.5, update="none")


def test_sparsegpt_counts_by_block_as_its_authors_do():
    x, w = problem(3)
    share = 8.4 / 24  # blocks of 4 inputs and 6 outputs
    mask = sparsegpt(w, 2 * x.T @ x, share, blocksize=4).mask
    assert np.all(np.sum(~np.asarray(mask).reshape(3, 24), axis=1) == 8 + 1)


def test_sparsegpt_with_a_shorter_last_block_and_quantisation():
    x, w = problem(4)
    H = 2 * x.T @ x
    pruned = sparsegpt(w, H, 0.5, blocksize=5, rounding="nearest")
    assert np.sum(~np.asarray(pruned.mask)) == 15 + 15 + 6
    grid = sparsegpt(w, H, 0.0, damp=0.0, quantise=lambda w: jnp.round(w * 4) / 4)
    assert np.all(np.asarray(grid.mask))
    assert np.array_equal(np.round(np.asarray(grid.kernel) * 4), np.asarray(grid.kernel) * 4)
    assert error(x, w, grid.kernel) < error(x, w, np.round(w * 4) / 4)


def test_under_jit_and_vmap():
    xs, ws = zip(*[problem(seed) for seed in (5, 6)], strict=True)
    Hs = np.stack([2 * x.T @ x for x in xs])

    @jax.jit
    @jax.vmap
    def all_of_them(w, H):
        return sparsegpt(w, H, 0.5, blocksize=4).kernel, obc(w, H, 0.5).kernel

    swept, exact = all_of_them(np.stack(ws), Hs)
    for i in range(2):
        np.testing.assert_allclose(swept[i], sparsegpt(ws[i], Hs[i], 0.5, blocksize=4).kernel, atol=1e-9)
        np.testing.assert_allclose(exact[i], obc(ws[i], Hs[i], 0.5).kernel, atol=1e-9)


def test_wanda_compares_within_outputs():
    x, w = problem(7)
    mask = np.asarray(wanda(w, np.linalg.norm(x, axis=0), 0.3).mask)
    assert np.all(np.sum(~mask, axis=0) == 3)
    assert np.all(np.sum(~np.asarray(wanda(w, np.ones(IN), 0.3, rounding="ceil").mask), axis=0) == 4)
    ties = np.asarray(wanda(np.ones((IN, OUT)), np.ones(IN), 0.25).mask)
    assert np.all(ties[:9])
    assert not ties[9:].any()


def test_the_factor_is_that_of_the_inverse():
    H = np.cov(np.random.default_rng(8).normal(size=(150, 300)), rowvar=True) + np.eye(150)
    expected = np.linalg.inv(H + 0.1 * np.mean(np.diagonal(H)) * np.eye(150))
    for upper in (prepare(np.ones((150, 1)), H, 0.1)[1], _factor(jnp.asarray(H), jnp.asarray(0.1))[0]):
        assert np.array_equal(np.triu(upper), np.asarray(upper))
        np.testing.assert_allclose(upper.T @ upper, expected, atol=1e-12)
    lower = np.linalg.cholesky(H)
    np.testing.assert_allclose(inverse_of_lower(lower) @ lower, np.eye(150), atol=1e-12)


def test_dead_inputs_lose_their_weights():
    x, w = problem(9)
    x[:, [2, 5]] = 0
    H = 2 * x.T @ x
    with pytest.warns(UserWarning, match=r"2 of 12 inputs are zero .* \[2, 5\]"):
        pruned = sparsegpt(w, H, 0.25, blocksize=12)
    assert np.all(np.asarray(pruned.kernel)[[2, 5]] == 0)
    assert np.all(np.isfinite(pruned.kernel))


def test_singular_hessians_are_damped_more():
    x, w = problem(10, rows=6)
    H = 2 * x.T @ x
    with pytest.warns(UserWarning, match="damp was raised to 0.0001"):
        pruned = obc(w, H, 0.5)
    assert np.all(np.isfinite(pruned.kernel))
    traced = jax.jit(lambda w, H: obc(w, H, 0.5).kernel)(w, H)
    np.testing.assert_allclose(traced, pruned.kernel, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="singular even with a damping"):
        obc(w, -np.eye(IN), 0.5)


def test_inputs_of_very_different_scale_need_no_more_damping():
    x, w = problem(14)
    x = (x * 10.0 ** np.linspace(-2, 2, IN)).astype(np.float32)
    H = 2 * x.T @ x
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(w, H, 1e-7)
    assert _factor(jnp.asarray(H), jnp.float32(1e-7))[1] == np.float32(1e-7)


CHANNELS = 4


def contributions(x, w):
    """Outputs that each channel makes; input i belongs to channel i mod 4."""
    return np.stack([x[:, c::CHANNELS] @ w[c::CHANNELS] for c in range(CHANNELS)])


def test_the_gram_of_channels():
    x, w = problem(11)
    parts = contributions(x, w)
    np.testing.assert_allclose(
        channel_gram(w, 2 * x.T @ x, CHANNELS), np.einsum("cno,dno->cd", parts, parts), rtol=1e-9, atol=1e-9
    )


def test_thinet_is_greedy_and_refits():
    x, w = problem(12)
    parts, H = contributions(x, w), 2 * x.T @ x
    gone = []
    for _ in range(2):
        rest = [c for c in range(CHANNELS) if c not in gone]
        gone.append(min(rest, key=lambda c: np.sum(parts[[*gone, c]].sum(axis=0) ** 2)))
    kept = sorted(set(range(CHANNELS)) - set(gone))
    updates = ("least_squares", "scale", "none")
    pruned = {update: thinet(w, H, 2, channels=CHANNELS, update=update, damp=0) for update in updates}
    rows = np.isin(np.arange(IN) % CHANNELS, kept)
    for each in pruned.values():
        assert np.array_equal(np.asarray(each.mask), np.broadcast_to(rows[:, None], w.shape))
    best = best_on(np.asarray(pruned["none"].mask), x, w)
    np.testing.assert_allclose(pruned["least_squares"].kernel, best, atol=1e-9)
    basis = parts[kept].reshape(2, -1).T
    factors = np.linalg.lstsq(basis, (x @ w).ravel(), rcond=None)[0]
    for c, factor in zip(kept, factors, strict=True):
        np.testing.assert_allclose(np.asarray(pruned["scale"].kernel)[c::CHANNELS], w[c::CHANNELS] * factor, rtol=1e-9)
    losses = [error(x, w, pruned[update].kernel) for update in updates]
    assert losses == sorted(losses)


def test_lasso_meets_its_conditions_and_keeps_as_many_as_asked():
    x, w = problem(13)
    H = 2 * x.T @ x
    gram = np.asarray(channel_gram(w, H, IN))
    target = gram.sum(axis=1)
    strength = 0.3 * np.abs(target).max()
    factors = np.asarray(jax.jit(lasso)(gram, target, jnp.asarray(strength), jnp.ones(IN)))
    slope = target - gram @ factors
    on = factors != 0
    assert 0 < on.sum() < IN
    np.testing.assert_allclose(slope[on], strength * np.sign(factors[on]), rtol=1e-6)
    assert np.all(np.abs(slope[~on]) <= strength * (1 + 1e-9))
    pruned = lasso_channels(w, H, 5)
    rows = np.asarray(pruned.mask)[:, 0]
    assert rows.sum() == 5
    np.testing.assert_allclose(pruned.kernel, best_on(np.asarray(pruned.mask), x, w), rtol=1e-3, atol=1e-3)
    # Not far from the best of all choices.
    some = itertools.islice(itertools.combinations(range(IN), 5), 0, None, 8)
    every = [best_on(np.isin(np.arange(IN), kept)[:, None] & np.ones(OUT, bool), x, w) for kept in some]
    assert error(x, w, pruned.kernel) < np.median([error(x, w, each) for each in every])


def test_net_trim_meets_its_conditions():
    x, w = problem(15)
    bias = np.linspace(-1, 1, OUT)
    before = x @ w + bias
    on = before > 0

    def slope(U):
        z = x @ U + bias
        return x.T @ np.where(on, z - before, np.maximum(z, 0))

    most = np.abs(slope(np.zeros_like(w))).max()
    pruned = net_trim(w, x, 0.05, bias=bias)
    kept, at = np.asarray(pruned.mask), slope(np.asarray(pruned.kernel))
    assert 0.1 < 1 - kept.mean() < 0.9
    np.testing.assert_allclose(at[kept], -0.05 * most * np.sign(np.asarray(pruned.kernel)[kept]), rtol=1e-6)
    assert np.all(np.abs(at[~kept]) <= 0.05 * most * (1 + 1e-6))
    outputs = np.maximum(x @ np.asarray(pruned.kernel) + bias, 0)
    plain = np.maximum(x @ np.where(kept, w, 0) + bias, 0)
    assert np.sum((outputs - np.maximum(before, 0)) ** 2) < np.sum((plain - np.maximum(before, 0)) ** 2)


w, H = np.ones((IN, OUT)), np.eye(IN)
BAD = [
    ("give a sparsity or nm", lambda: sparsegpt(w, H)),
    ("give a sparsity or nm", lambda: obc(w, H, 0.5, nm=(2, 4))),
    ("Did you mean 0.9", lambda: sparsegpt(w, H, 90)),
    ("0 < n < m", lambda: wanda(w, np.ones(IN), nm=(4, 4))),
    ("divisible by 5", lambda: sparsegpt(w, H, nm=(2, 5), blocksize=5)),
    ("multiple of m", lambda: sparsegpt(w, H, nm=(2, 4), blocksize=6)),
    ("rounding must be", lambda: sparsegpt(w, H, 0.5, rounding="up")),
    ("needs H of shape", lambda: sparsegpt(w, np.eye(3), 0.5)),
    ("kernel must be \\(in, out\\)", lambda: obc(np.ones((2, 6, 2)), H, 0.5)),
    ("damp, a share", lambda: obc(w, H, 0.5, damp=-1.0)),
    ("H is not finite", lambda: obc(w, H * np.nan, 0.5)),
    ("block must divide", lambda: obc(w, H, 0.5, block=5)),
    ("parallel must be", lambda: obc(w, H, 0.5, parallel=0)),
    ("a norm for each input", lambda: wanda(w, np.ones(3), 0.5)),
    ("channels must divide", lambda: thinet(w, H, 2, channels=5)),
    ("n_keep must be", lambda: thinet(w, H, 0)),
    ("net_trim needs", lambda: net_trim(w, np.ones((3, 2)), 0.5)),
    ("strength is a share", lambda: net_trim(w, np.ones((3, IN)), 2.0)),
    ("iterations must be", lambda: net_trim(w, np.ones((3, IN)), 0.5, iterations=0)),
    ("update must be", lambda: lasso_channels(w, H, 2, update="joint")),
]


@pytest.mark.parametrize(("message", "call"), BAD)
def test_bad_input(unchecked_types, message, call):
    with pytest.raises(ValueError, match=message):
        call()
