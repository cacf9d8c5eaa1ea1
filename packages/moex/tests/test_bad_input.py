"""Every mistake gets one error that says what was given, what is needed and what to do."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.moex import (
    Mixing,
    MixPlan,
    MoEx,
    NormSpec,
    apply_plan,
    cifar300,
    cosine90,
    cutmix,
    cutmix_box,
    cutmix_plan,
    cutout,
    inject,
    mix_batch,
    mix_features,
    mix_targets,
    moment_exchange,
    moments,
    one_of,
    parse_norm,
    paste_box,
    sample_plan,
    scheduled_probability,
    soft_targets,
    wrap,
)

pytestmark = pytest.mark.usefixtures("unchecked_types")

KEY = jax.random.key(0)
X = jnp.ones((2, 3, 3, 6))
SWAP = np.array([1, 0])
PLAN = MixPlan(jnp.asarray(True), SWAP, jnp.asarray(0.5))
GRAMMAR = "'pono', 'in', 'ln', 'gn<G>', 'gn-d<D>', 'gpono<G>', 'gpono-d<D>' or 'bn'"


def raises(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize("norm", ["batch", "gn", "gn0", "gn-d0", "gn2.5", "gpono", "gpono-3", "PONO", "pono2", ""])
def test_unknown_norms(norm):
    raises(lambda: moment_exchange(X, SWAP, norm), ValueError, f"norm {norm!r} is unknown; needed is {GRAMMAR}")
    raises(lambda: MoEx(norm), ValueError, f"norm {norm!r} is unknown")
    raises(lambda: wrap(abs, abs, norm), ValueError, f"norm {norm!r} is unknown")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NormSpec("layer"), "norm kind 'layer' is unknown; one of pono, in, ln, gn, gpono, bn is needed"),
        (lambda: NormSpec("gn"), "norm 'gn' needs either groups >= 1 or group_size >= 1"),
        (lambda: NormSpec("gn", 2, 3), "got groups=2 and group_size=3"),
        (lambda: NormSpec("gpono", 0), "got groups=0 and group_size=None"),
        (lambda: NormSpec("in", 2), "norm 'in' has no groups"),
        (lambda: parse_norm("gn4").count(6), "G = 4 groups do not divide C = 6 channels; take one of 1, 2, 3, 6"),
        (lambda: moment_exchange(X, SWAP, "gn4"), "norm 'gn4': G = 4 groups do not divide C = 6 channels"),
        (lambda: moments(X, "gpono-d4"), "norm 'gpono-d4': groups of D = 4 channels do not divide C = 6 channels"),
        (lambda: moment_exchange(X[:, 0, 0], SWAP, "in"), "norm 'in' averages over positions, but features of shape"),
        (lambda: moments(X[0, 0, 0]), "features need a batch axis and a channel axis, (B, ..., C), got shape (6,)"),
        (lambda: moments(X, channel_axis=0), "channel_axis=0 of features with 4 axes; axis 0 holds the samples"),
        (lambda: moments(X, channel_axis=4), "one of 1..3 (or -1 for the last) is needed"),
        (lambda: moments(X, eps=-1e-5), "eps=-1e-05 is below 0"),
        (lambda: moments(X, ddof=2), "ddof=2; 1 (unbiased variance) or 0 (biased) is needed"),
        (lambda: moment_exchange(X[..., :1], SWAP), "norm 'pono' has M = 1 entries for each mean"),
        (lambda: moment_exchange(X[:, :1, :1], SWAP, "in"), "too few for an unbiased variance: set ddof=0 or take"),
        (lambda: moment_exchange(X, SWAP, "gpono6"), "norm 'gpono6' has M = 1 entries"),
        (lambda: inject(X, jnp.ones((2, 3, 3, 4)), jnp.ones((2, 3, 3, 4))), "moments of shape (2, 3, 3, 4) do not fit"),
        (lambda: inject(X, jnp.ones((2, 1, 1, 4, 1)), jnp.ones(())), "do not fit features of shape (2, 3, 3, 6)"),
    ],
)
def test_norms_and_moments(call, message):
    raises(call, ValueError, message)


@pytest.mark.parametrize(
    ("swap_index", "error", "message"),
    [
        (np.array([1, 0, 2]), ValueError, "swap_index has shape (3,), but there are 2 samples"),
        (np.array([[1], [0]]), ValueError, "swap_index has shape (2, 1)"),
        (np.array([1, 2]), ValueError, "swap_index reaches from 1 to 2, but the 2 samples have indices 0..1"),
        (np.array([-1, 0]), ValueError, "swap_index reaches from -1 to 0"),
        (np.array([1.0, 0.0]), TypeError, "swap_index must hold integers, got float64"),
        (np.array([True, False]), TypeError, "swap_index must hold integers, got bool"),
    ],
)
def test_swap_index(swap_index, error, message):
    raises(lambda: moment_exchange(X, swap_index), error, message)


def test_indices_need_not_be_a_permutation_and_traced_ones_out_of_range_give_nan():
    assert moment_exchange(X, np.array([1, 1])).shape == X.shape
    y = jax.jit(moment_exchange)(X, np.array([0, 5]))
    assert np.isnan(y[1]).all()
    np.testing.assert_array_equal(y[0], X[0])


def test_nothing_to_exchange():
    with pytest.warns(UserWarning, match="norm 'bn' has the same moments for every sample of the batch"):
        moment_exchange(X, SWAP, "bn")
    raises(
        lambda: moment_exchange(X, SWAP, "bn", strict=True), ValueError, "there is no moment exchange with norm 'bn'"
    )
    raises(
        lambda: moment_exchange(X, SWAP, deterministic=True, strict=True),
        ValueError,
        "there is no moment exchange in evaluation (deterministic=True): leave the call out",
    )


def test_integer_images():
    images = np.zeros((2, 3, 3, 6), np.uint8)
    for call in (
        lambda: moment_exchange(images, SWAP),
        lambda: moments(images),
        lambda: mix_features(images, PLAN),
    ):
        raises(call, TypeError, "features must be floating, got uint8: scale integer images first, as in x / 255")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_plan(KEY, 4, 1.5), "p=1.5; a number in [0, 1] is needed"),
        (lambda: sample_plan(KEY, 4, 0.5, -0.1), "lam=-0.1; a number in [0, 1] is needed"),
        (lambda: sample_plan(KEY, 4, 0.5, float("nan")), "lam=nan; a number in [0, 1] is needed"),
        (lambda: sample_plan(KEY, 4, 0.5, np.array([0.5, 2.0])), "lam=[0.5 2. ]; numbers in [0, 1] are needed"),
        (
            lambda: sample_plan(KEY, 4, 0.5, np.array([0.5, 0.2])),
            "lam has shape (2,); one number or one for each sample",
        ),
        (lambda: sample_plan(KEY, 4, alpha=0), "alpha=0; a number above 0 is needed for Beta(alpha, alpha)"),
        (lambda: sample_plan(KEY, 0), "batch_size=0; at least 1 sample is needed"),
        (lambda: sample_plan(KEY, 4, per="pair"), "per='pair' is unknown; 'batch' or 'elem' is needed"),
        (lambda: MoEx(p=2), "p=2; a number in [0, 1] is needed"),
        (lambda: MoEx(lam=-1), "lam=-1; a number in [0, 1] is needed"),
        (lambda: scheduled_probability(1.1), "p=1.1; a number in [0, 1] is needed"),
        (lambda: scheduled_probability(0.5, start=3, stop=3), "start=3 and stop=3; 0 <= start < stop is needed"),
        (lambda: apply_plan(X, PLAN, branch="if"), "branch='if' is unknown; 'cond' or 'where' is needed"),
        (lambda: mix_features(X, sample_plan(KEY, 3)), "the plan is for 3 samples, but there are 2"),
        (lambda: cosine90(0), "steps_per_epoch=0 and epochs=90; both must be at least 1"),
        (lambda: cosine90(10, epochs=5), "warmup=5 epochs of 5; 0 <= warmup < epochs is needed"),
        (lambda: cifar300(1, epochs=0), "steps_per_epoch=1 and epochs=0"),
    ],
)
def test_plans_and_schedules(call, message):
    raises(call, ValueError, message)


def test_one_sample_has_no_partner():
    with pytest.warns(UserWarning, match="a batch of one sample has no partner to mix with"):
        sample_plan(KEY, 1, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample_plan(KEY, 1, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mix_targets(np.array([0, 1]), PLAN), "integer labels need num_classes, the number of classes K"),
        (lambda: mix_targets(np.array([0, 4]), PLAN, 4), "labels reach from 0 to 4, but num_classes=4 allows 0..3"),
        (lambda: soft_targets(np.array([-1, 1]), 4), "labels reach from -1 to 1"),
        (lambda: soft_targets(np.array([[0.5, 0.6]])), "soft labels must sum to 1 over the classes, but a sum is off"),
        (lambda: soft_targets(np.array([[np.nan, 0.5]])), "but a sum is off by nan"),
        (lambda: soft_targets(np.array([[0.5, 0.5]]), 3), "soft labels for 2 classes, but num_classes=3"),
        (lambda: soft_targets(np.array([0.0, 1.0]), 3), "soft labels need shape (B, ..., K), got (2,)"),
        (lambda: soft_targets(np.array([0, 1]), 3, 1.0), "smoothing=1.0; a number in [0, 1) is needed"),
        (lambda: mix_targets(np.array([0, 1, 2]), PLAN, 3), "the plan is for 2 samples, but there are targets for 3"),
    ],
)
def test_targets(call, message):
    raises(call, ValueError, message)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cutmix(KEY, X[:, 0, 0], SWAP, num_classes=2), "spatial_axes=(1, 2) of an array of shape (2, 6)"),
        (lambda: cutmix(KEY, X, SWAP, alpha=-1.0, num_classes=2), "alpha=-1.0; a number above 0 is needed"),
        (lambda: cutmix_box(KEY, 0, 4), "height=0 and width=4; images of at least one pixel are needed"),
        (lambda: cutmix_box(KEY, 4, 4, alpha=0.0), "alpha=0.0; a number above 0 is needed"),
        (lambda: cutmix_box((1.5, np.array([1, 1])), 4, 4), "lam=1.5; a number in [0, 1] is needed"),
        (lambda: paste_box(X, cutmix_plan(KEY, 3, 3, 3)), "the plan is for 3 samples, but x has 2"),
        (lambda: paste_box(X, cutmix_plan(KEY, 2, 3, 3), spatial_axes=(2, 1)), "spatial_axes=(2, 1) of an array"),
        (lambda: cutout(KEY, X, 0), "size=0; a square of at least one pixel is needed"),
        (lambda: cutout(KEY, X, 2, p=-0.5), "p=-0.5; a number in [0, 1] is needed"),
        (lambda: one_of([cutmix], [0.5, 0.5]), "1 steps and 2 probabilities; one for each step is needed"),
        (lambda: one_of([cutmix], [1.5]), "probabilities=[1.5]; numbers in [0, 1] are needed"),
        (lambda: one_of([cutmix, cutmix], [0.7, 0.7]), "sum to 1.4; at most 1 is needed"),
        (lambda: Mixing(p=1.2), "p=1.2; a number in [0, 1] is needed"),
        (lambda: Mixing(smoothing=1), "smoothing=1 leaves nothing of the labels"),
        (lambda: Mixing(cutmix_p=0.5), "cutmix_p=0.5 needs cutmix_alpha, such as 1.0"),
        (lambda: Mixing(cutmix_alpha=0.0), "cutmix_alpha=0.0; a number above 0 is needed"),
        (
            lambda: Mixing(p=0.6, cutmix_p=0.6, cutmix_alpha=1.0, exclusive=True),
            "exclusive with p=0.6 and cutmix_p=0.6: their sum must be at most 1; lower one",
        ),
        (
            lambda: mix_batch(KEY, X[:, 0], SWAP, Mixing(cutmix_p=1.0, cutmix_alpha=1.0), 2, spatial_axes=(2, 3)),
            "spatial_axes=(2, 3) of an array of shape (2, 3, 6)",
        ),
    ],
)
def test_cutmix_and_company(call, message):
    raises(call, ValueError, message)
