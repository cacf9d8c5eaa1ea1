"""Soft targets and their cross-entropy against the losses of the public code; learning rates of its recipes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.moex import (
    Box,
    CutMixPlan,
    MixPlan,
    cifar300,
    cosine90,
    dominant_labels,
    mix_targets,
    soft_cross_entropy,
    soft_targets,
    step90,
)

ZERO = jnp.zeros((), jnp.int32)


@jax.jit
def losses(logits, labels, swap_index, lam, cutmix_lam):
    """Moment exchange alone and behind CutMix, with gradients, by the rule for soft targets."""
    on = jnp.asarray(True)
    plan = MixPlan(on, swap_index, lam)
    cutmix = CutMixPlan(on, swap_index, cutmix_lam, Box(ZERO, ZERO, ZERO, ZERO))
    loss = jax.value_and_grad(soft_cross_entropy)
    alone = mix_targets(labels, plan, 10)
    return loss(logits, alone), loss(logits, mix_targets(mix_targets(labels, cutmix, 10), plan))


@pytest.mark.parametrize("case", range(4))
def test_losses(golden, case):
    arrays = golden("losses")
    logits, lam = jnp.asarray(arrays["logits"], float), jnp.asarray(arrays[f"lam_{case}"])
    alone, behind = losses(logits, arrays["labels"], arrays["swap_index"], lam, arrays[f"cutmix_lam_{case}"])
    for (loss, gradient), name in ((alone, "moex"), (behind, "moex_cutmix")):
        np.testing.assert_allclose(loss, arrays[f"{name}_loss_{case}"], rtol=1e-6)
        np.testing.assert_allclose(gradient, arrays[f"{name}_grad_{case}"], rtol=0, atol=1e-7)


def test_one_is_plain_cross_entropy(golden):
    arrays = golden("losses")
    logits, labels = jnp.asarray(arrays["logits"], float), arrays["labels"]
    plan = MixPlan(jnp.asarray(True), arrays["swap_index"], jnp.ones(()))
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(soft_cross_entropy(logits, mix_targets(labels, plan, 10)), plain, rtol=1e-12)
    np.testing.assert_allclose(soft_cross_entropy(logits, mix_targets(labels, None, 10)), plain, rtol=1e-12)


def test_two_steps_have_the_three_terms_of_the_paper(golden):
    labels, swap_index = (golden("losses")[key] for key in ("labels", "swap_index"))
    lam, lam_c, one_hot = 0.9, 0.37, np.eye(10)[labels]
    first = mix_targets(labels, MixPlan(jnp.asarray(True), swap_index, jnp.asarray(lam_c)), 10)
    second = mix_targets(first, MixPlan(jnp.asarray(True), swap_index, jnp.asarray(lam)))
    expected = (
        lam * lam_c * one_hot
        + (lam * (1 - lam_c) + lam_c * (1 - lam)) * one_hot[swap_index]
        + (1 - lam) * (1 - lam_c) * one_hot[swap_index][swap_index]
    )
    np.testing.assert_allclose(second, expected, atol=1e-12)


def test_known_labels_in_a_traced_function():
    labels = jnp.array([1, 0])
    np.testing.assert_array_equal(jax.jit(lambda: soft_targets(labels, 3))(), [[0, 1, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="labels reach from 0 to 1, but num_classes=1"):
        jax.jit(lambda: soft_targets(labels, 1))()


def test_smoothing_and_soft_labels():
    smooth = soft_targets(np.array([1, 0]), 4, smoothing=0.2)
    np.testing.assert_allclose(smooth, [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-12)
    soft = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    assert soft_targets(soft).dtype == jnp.float32
    traced = jax.jit(lambda s: soft_targets(soft, smoothing=s))(0.2)
    np.testing.assert_allclose(traced, soft_targets(soft, smoothing=0.2), rtol=1e-6)


def test_a_weight_for_each_sample_and_labels_for_each_pixel():
    masks = np.arange(12).reshape(3, 2, 2) % 2
    plan = MixPlan(jnp.ones(3, bool), np.array([1, 2, 0]), jnp.array([1.0, 0.5, 0.0]))
    mixed = mix_targets(masks, plan, 2)
    assert mixed.shape == (3, 2, 2, 2)
    one_hot = np.eye(2)[masks]
    np.testing.assert_allclose(mixed[0], one_hot[0])
    np.testing.assert_allclose(mixed[1], (one_hot[1] + one_hot[2]) / 2)
    np.testing.assert_allclose(mixed[2], one_hot[0])
    np.testing.assert_array_equal(dominant_labels(np.array([5, 6, 7]), plan), [5, 6, 5])


def test_half_precision_logits():
    logits = jnp.array([[8.0, 0.0, -8.0]], jnp.bfloat16)
    loss = soft_cross_entropy(logits, jnp.array([[0.0, 1.0, 0.0]]))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 8 + np.log(1 + np.exp(-8) + np.exp(-16)), rtol=1e-6)


def test_learning_rates(golden):
    arrays = golden("lr_schedules")
    steps = int(arrays["steps_per_epoch"])
    count = arrays["epoch"] * steps + arrays["step"] - 1
    np.testing.assert_allclose(cosine90(steps)(count), arrays["cosine90"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(step90(steps)(count), arrays["step90"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(cifar300()(np.arange(300)), arrays["cifar300"], rtol=0, atol=1e-12)


def test_a_schedule_drives_an_optimiser():
    tx = optax.sgd(cifar300(2, base=0.5, epochs=4))
    state, rates = tx.init(jnp.zeros(())), []
    for _ in range(8):
        update, state = tx.update(jnp.ones(()), state)
        rates.append(-float(update))
    np.testing.assert_allclose(rates, [0.5] * 4 + [0.05] * 2 + [0.005] * 2)
