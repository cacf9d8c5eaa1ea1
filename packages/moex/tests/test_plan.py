"""Plans: how often they are on, what they hold, one compilation for on and off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.moex import apply_plan, identity_plan, mix_targets, moment_exchange, sample_plan, scheduled_probability

KEY = jax.random.key(11)
X = jax.random.normal(KEY, (6, 3, 3, 4), jnp.float32)


@pytest.mark.parametrize("per", ["batch", "elem"])
def test_frequencies(per):
    draw = jax.jit(jax.vmap(lambda key, p: sample_plan(key, 8, p, 0.3, per=per), in_axes=(0, None)))
    for p in (0.25, 0.9):
        plans = draw(jax.random.split(KEY, 10_000), p)
        on, index, lam = (np.asarray(part) for part in plans)
        assert abs(on.mean() - p) < 4 * (p * (1 - p) / on.size) ** 0.5
        np.testing.assert_array_equal(lam, np.where(on, 0.3, 1.0))
        moved = index != np.arange(8)
        assert not moved[~on].any()
        each = np.broadcast_to(on if on.ndim == 2 else on[:, None], index.shape)
        expected = p * 7 / 8  # a permutation leaves each sample in place with probability 1/8
        assert abs((moved & each).mean() - expected) < 0.01


def test_permutations():
    index = sample_plan(KEY, 7, 1.0, 0.5).swap_index
    assert index.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(index), np.arange(7))
    other = sample_plan(jax.random.key(12), 7, 1.0, 0.5).swap_index
    assert not np.array_equal(index, other)
    np.testing.assert_array_equal(sample_plan(KEY, 7, 1.0, 0.5).swap_index, index)


def test_drawn_lambda():
    draw = jax.jit(lambda key: sample_plan(key, 4000, 1.0, alpha=0.5, per="elem").lam)
    lam = np.asarray(draw(KEY))
    assert ((lam >= 0) & (lam <= 1)).all()
    assert abs(lam.mean() - 0.5) < 4 * (0.125 / 4000) ** 0.5  # Beta(1/2, 1/2) has variance 1/8
    assert abs(lam.var() - 0.125) < 0.01


def test_a_lambda_for_each_sample():
    given = np.linspace(0, 1, 6)
    np.testing.assert_array_equal(sample_plan(KEY, 6, 1.0, given).lam, given)
    np.testing.assert_array_equal(sample_plan(KEY, 6, 0.0, given).lam, np.ones(6))


def test_one_compilation_for_on_and_off():
    compilations = 0

    @jax.jit
    def step(x, plan):
        nonlocal compilations
        compilations += 1
        return apply_plan(x, plan), mix_targets(np.arange(6), plan, 6)

    on, off = sample_plan(KEY, 6, 1.0, 0.7), sample_plan(KEY, 6, 0.0, 0.7)
    y, targets = step(X, on)
    np.testing.assert_allclose(y, moment_exchange(X, on.swap_index), rtol=0, atol=1e-6)
    np.testing.assert_allclose(targets, 0.7 * np.eye(6) + 0.3 * np.eye(6)[on.swap_index], atol=1e-12)
    y, targets = step(X, off)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(targets, np.eye(6))
    assert compilations == 1


@pytest.mark.parametrize("norm", ["pono", "gn2"])
def test_both_branches_agree_to_the_bit(norm):
    def output(branch):
        def value(x, plan):
            y = apply_plan(x, plan, norm, branch=branch)
            return (y**2).sum(), y

        return jax.jit(jax.value_and_grad(value, has_aux=True))

    cond, where = output("cond"), output("where")
    for p in (0.0, 1.0):
        plan = sample_plan(KEY, 6, p, 0.5)
        (_, y), gradient = cond(X, plan)
        (_, y_too), gradient_too = where(X, plan)
        np.testing.assert_array_equal(y, y_too)
        np.testing.assert_allclose(gradient, gradient_too, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(apply_plan(X, plan, norm), apply_plan(X, plan, norm, branch="where"))


def test_elements_that_are_off_keep_every_bit():
    plan = sample_plan(KEY, 6, 0.5, 0.9, per="elem")
    assert 0 < plan.on.sum() < 6
    y = np.asarray(apply_plan(X, plan))
    off = ~np.asarray(plan.on)
    np.testing.assert_array_equal(y[off], np.asarray(X)[off])


def test_no_plan():
    assert apply_plan(X, None) is X
    np.testing.assert_array_equal(apply_plan(X, identity_plan(6)), X)


def test_epochs_on_and_off():
    probability = scheduled_probability(0.5, start=2, stop=4)
    np.testing.assert_array_equal([probability(epoch) for epoch in range(6)], [0, 0, 0.5, 0.5, 0, 0])
    assert scheduled_probability(0.5)(100) == 0.5
    on = jax.jit(lambda epoch: sample_plan(KEY, 6, scheduled_probability(1.0, start=3)(epoch), 0.9).on)
    assert [bool(on(epoch)) for epoch in (2, 3)] == [False, True]
