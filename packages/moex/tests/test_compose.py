"""Several ways of mixing together: the same rule for targets, exclusive and combined draws."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.moex import PRESETS, Mixing, compose, cutmix, mix_batch, mix_targets, mixup, one_of, paste_box

KEY = jax.random.key(7)
X = jax.random.normal(KEY, (4, 6, 6, 2))
LABELS = np.array([0, 1, 2, 1])
SOFT = jnp.eye(3)[LABELS]


def test_steps_follow_each_other():
    x, targets = jax.jit(compose(mixup, cutmix))(KEY, X, SOFT)
    first, second = jax.random.split(KEY)
    expected = jax.jit(cutmix)(second, *jax.jit(mixup)(first, X, SOFT))
    np.testing.assert_allclose(x, expected[0], atol=1e-12)
    np.testing.assert_allclose(targets, expected[1], atol=1e-12)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(compose()(KEY, X, SOFT)[0], X)


def test_one_of_takes_each_as_often_as_it_should():
    def mark(value):
        return lambda key, x, targets: (jnp.full_like(x, value), targets)

    choose = one_of([mark(1.0), mark(2.0)], [0.5, 0.3])
    keys = jax.random.split(KEY, 4000)
    seen = np.asarray(jax.jit(jax.vmap(lambda key: choose(key, jnp.zeros(1), SOFT)[0]))(keys))[:, 0]
    for value, p in ((1, 0.5), (2, 0.3), (0, 0.2)):
        assert abs((seen == value).mean() - p) < 4 * (p * (1 - p) / 4000) ** 0.5
    only = one_of([functools.partial(cutmix, num_classes=3), mixup], [0.0, 1.0])(KEY, X, SOFT)
    np.testing.assert_allclose(only[0], mixup(jax.random.split(KEY)[1], X, SOFT)[0], atol=1e-12)


@pytest.mark.parametrize("same_permutation", [True, False])
def test_cutmix_and_exchange(same_permutation):
    mixing = dataclasses.replace(PRESETS["imagenet-cutmix"], p=1.0, same_permutation=same_permutation)
    batch = mix_batch(KEY, X, LABELS, mixing, 3)
    assert batch.cutmix.on
    assert batch.plan.on
    assert np.array_equal(batch.plan.swap_index, batch.cutmix.swap_index) == same_permutation
    np.testing.assert_array_equal(batch.x, paste_box(X, batch.cutmix))
    np.testing.assert_allclose(batch.targets, mix_targets(mix_targets(LABELS, batch.cutmix, 3), batch.plan), atol=1e-12)


def draws(mixing):
    """Of 4000 batches, how many have CutMix and exchange (on, on), (on, off), (off, on), (off, off)."""

    def draw(key):
        batch = mix_batch(key, X[:, :2, :2, :1], LABELS, mixing, 3)
        return batch.cutmix.on, batch.plan.on

    cutmix_on, exchange_on = (np.asarray(on) for on in jax.jit(jax.vmap(draw))(jax.random.split(KEY, 4000)))
    return [((cutmix_on == a) & (exchange_on == b)).mean() for a in (True, False) for b in (True, False)]


def test_combined_draws_are_independent_and_exclusive_ones_never_meet():
    combined = Mixing(p=0.25, lam=0.9, cutmix_p=0.4, cutmix_alpha=1.0)
    for share, p in zip(draws(combined), (0.1, 0.3, 0.15, 0.45), strict=True):
        assert abs(share - p) < 4 * (p * (1 - p) / 4000) ** 0.5
    shares = draws(dataclasses.replace(combined, exclusive=True))
    assert shares[0] == 0
    for share, p in zip(shares[1:], (0.4, 0.25, 0.35), strict=True):
        assert abs(share - p) < 4 * (p * (1 - p) / 4000) ** 0.5


def test_one_compilation_serves_every_weight():
    compilations = 0

    @jax.jit
    def step(key, mixing):
        nonlocal compilations
        compilations += 1
        return mix_batch(key, X, LABELS, mixing, 3).targets

    plain = step(KEY, Mixing(p=0.0, lam=0.5))
    np.testing.assert_array_equal(plain, SOFT)
    exchanged = step(KEY, Mixing(p=1.0, lam=0.5, smoothing=0.1))
    expected = mix_batch(KEY, X, LABELS, Mixing(p=1.0, lam=0.5, smoothing=0.1), 3).targets
    np.testing.assert_allclose(exchanged, expected, atol=1e-12)
    assert compilations == 1


def test_inputs_without_positions():
    batch = mix_batch(KEY, X[:, 0, 0], LABELS, PRESETS["modelnet"], 3)
    np.testing.assert_array_equal(batch.x, X[:, 0, 0])
    assert not batch.cutmix.on
