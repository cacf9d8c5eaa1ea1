"""Bad input to the estimators: one clear error each."""

import re

import jax
import numpy as np
import pytest

from offprint.resnet_scaling import (
    SweepConfig,
    SweepResult,
    classification_study,
    classify_scaling,
    conv_scaling_statistics,
    conv_singular_values,
    critical_p,
    decompose_trend_noise,
    denoised_params,
    fit_exponent,
    hurst_exponent,
    init_params,
    p_variation,
    roughness,
    scaling_statistics,
    spectrum,
    weights,
)

KEY = jax.random.key(0)
A = np.ones((4, 2, 2))
HOLED = np.array([[1.0], [np.nan], [2.0]])
DEPTHS = (8, 16, 32, 64)
STACKS = [np.random.default_rng(L).normal(size=(L, 2, 2)) for L in DEPTHS]
KERNEL = np.ones((2, 2, 3, 3))

CASES = {
    "two depths": (lambda: fit_exponent([8, 16], [1.0, 2.0]), "depths=[8, 16]; at least 3 depths are needed"),
    "depths fall": (
        lambda: fit_exponent([8, 32, 16], [1.0, 2.0, 3.0]),
        "depths=[8, 32, 16]; positive whole numbers that strictly increase are needed",
    ),
    "depth twice": (
        lambda: fit_exponent([8, 8, 16], [1.0, 2.0, 3.0]),
        "depths=[8, 8, 16]; positive whole numbers that strictly increase are needed",
    ),
    "depth of zero": (
        lambda: fit_exponent([0, 8, 16], [1.0, 2.0, 3.0]),
        "depths=[0, 8, 16]; positive whole numbers that strictly increase are needed",
    ),
    "value of zero": (
        lambda: fit_exponent([8, 16, 32], [1.0, 0.0, 3.0], name="rms"),
        "rms is 0 at depth 16, which has no logarithm; positive numbers are needed",
    ),
    "value is NaN": (
        lambda: fit_exponent([8, 16, 32], [1.0, 2.0, np.nan], name="rms"),
        "rms is nan at depth 32, which has no logarithm; positive numbers are needed",
    ),
    "values of another length": (
        lambda: fit_exponent([8, 16, 32], [1.0, 2.0]),
        "value has shape (2,); (3,) or (3, seeds) is needed",
    ),
    "method": (
        lambda: fit_exponent([8, 16, 32], [1.0, 2.0, 3.0], method="ridge"),
        "method='ridge' is unknown; one of 'ols', 'theil-sen', 'huber' is needed",
    ),
    "offset": (
        lambda: fit_exponent([8, 16, 32], [1.0, 2.0, 3.0], offset=1),
        "offset=1 leaves 2 of 3 depths; at least 3 are needed",
    ),
    "confidence": (
        lambda: fit_exponent([8, 16, 32], [1.0, 2.0, 3.0], confidence=95),
        "n_boot=1000 and confidence=95; at least 0, and between 0 and 1, are needed",
    ),
    "no layers": (
        lambda: scaling_statistics(np.ones((0, 2, 2))),
        "weights have shape (0, 2, 2); a stack (L, ...) of at least one layer is needed",
    ),
    "weights not finite": (
        lambda: scaling_statistics(HOLED),
        "weights are not finite (the first at layer 1); leave out networks that diverged",
    ),
    "norm": (
        lambda: scaling_statistics(A, norm="nuclear"),
        "norm='nuclear' is unknown; 'fro', 'spectral' or a function of one layer is needed",
    ),
    "spectral norm of vectors": (
        lambda: scaling_statistics(HOLED[::2], norm="spectral"),
        "norm='spectral' needs layers that are matrices, got shape (1,); for convolution kernels use "
        "conv_scaling_statistics, for others a function of one layer",
    ),
    "delta of another length": (
        lambda: scaling_statistics(A, delta=np.ones(3)),
        "delta has shape (3,); one number for each of the 4 layers is needed",
    ),
    "three depths": (
        lambda: classify_scaling(STACKS[:3]),
        "3 depths with converged networks; at least 4 are needed to classify",
    ),
    "empty sweep": (
        lambda: classify_scaling(SweepResult(SweepConfig(), (0,), ())),
        "0 depths with converged networks; at least 4 are needed to classify",
    ),
    "layers of other shapes between depths": (
        lambda: classify_scaling([*STACKS[:3], np.ones((64, 3, 2))]),
        "weights at depth 64 has layers of shape (3, 2), at depth 8 of shape (2, 2); layers of one shape are needed",
    ),
    "layers of other shapes in a network": (
        lambda: classify_scaling([[np.ones((2, 2)), np.ones((2, 3))], *STACKS]),
        "weights: layer 1 has shape (2, 3) and layer 0 (2, 2); layers of one shape are needed",
    ),
    "depths in another order": (
        lambda: classify_scaling(STACKS[::-1]),
        "weights has stacks of shapes (64, 2, 2), (32, 2, 2), (16, 2, 2), (8, 2, 2); strictly increasing depths are "
        "needed along the first axis or the second",
    ),
    "keys are not the depths": (
        lambda: classify_scaling(dict(zip((8, 16, 32, 65), STACKS))),
        "weights has stacks of shapes (8, 2, 2), (16, 2, 2), (32, 2, 2), (64, 2, 2); the depths [8, 16, 32, 65] are "
        "needed along the first axis or the second",
    ),
    "no weights": (lambda: classify_scaling([]), "weights is empty; a stack of layers for each depth is needed"),
    "network that diverged": (
        lambda: classify_scaling([*STACKS[:3], np.full((64, 2, 2), np.nan)]),
        "weights at depth 64 are not finite; leave out networks that diverged before classifying",
    ),
    "zero weights": (
        lambda: classify_scaling([np.zeros((L, 2, 2)) for L in DEPTHS]),
        "max_norm is 0 at depth 8, which has no logarithm; positive numbers are needed",
    ),
    "delta for fewer depths": (
        lambda: classify_scaling(STACKS, [np.ones(1)] * 3),
        "delta is given for 3 depths and weights for 4",
    ),
    "delta between": (
        lambda: classify_scaling(STACKS, [np.ones(2)] * 4),
        "delta at depth 8 has shape (2,); (1,) or (8,) is needed, or with 1 seeds (1, 1) or (1, 8)",
    ),
    "delta of both kinds": (
        lambda: classify_scaling(STACKS, [np.ones(1), *[np.ones(L) for L in DEPTHS[1:]]]),
        "delta has one number for some depths and one for each layer for others",
    ),
    "several learning rates": (
        lambda: classify_scaling(SweepResult(SweepConfig(learning_rate=(0.1, 0.2)), (0,), ())),
        "the sweep has 2 learning rates; classify a sweep of one",
    ),
    "no draws": (lambda: classification_study(KEY, 0), "draws=0; at least 1 is needed"),
    "n_times": (
        lambda: decompose_trend_noise(STACKS, 0.2, 8),
        "n_times=8 and a smallest depth of 8; at least 1 and fewer than every depth is needed: choose a smaller "
        "n_times, or leave out the depths below it",
    ),
    "empty slice": (
        lambda: decompose_trend_noise(STACKS, 0.2, 4),
        "depths_slice=slice(-8, -4, None) leaves none of 4 depths; choose another",
    ),
    "delta of the decomposition": (
        lambda: decompose_trend_noise(STACKS, 0.2, 4, delta=[np.ones(1)] * 4),
        "delta at depth 8 has shape (1,); (8,) or (1, 8) is needed",
    ),
    "denoised with too many intervals": (
        lambda: denoised_params({L: init_params(KEY, L, 2) for L in (3, 4)}, 0.2),
        "n_times=500 and a smallest depth of 3",
    ),
    "few layers": (
        lambda: hurst_exponent(np.ones((31, 2))),
        "31 layers; at least 32 are needed for a Hurst exponent",
    ),
    "two layers": (lambda: roughness(np.ones((2, 2))), "2 layers; at least 3 are needed for their roughness"),
    "equal layers": (lambda: roughness(A), "all layers are equal; their roughness is not defined"),
    "zero layers": (
        lambda: critical_p(np.zeros((32, 2))),
        "all blocks of layers sum to zero; roughness is not defined",
    ),
    "no spectrum": (lambda: spectrum(A[:1]), "a single layer has no spectrum; at least 2 layers are needed"),
    "blocks": (lambda: p_variation(A, 2, blocks=5), "blocks=5; a number from 1 to the 4 layers is needed"),
    "p": (lambda: p_variation(A, 0), "p=0; a positive number is needed"),
    "kernel larger than the input": (
        lambda: conv_singular_values(KERNEL, (2, 8)),
        "the kernel is 3x3 and the input 2x8; an input at least as large is needed (is the kernel in the order out, "
        "in, height, width?)",
    ),
    "no singular value": (
        lambda: conv_singular_values(KERNEL, (4, 4), k=0),
        "k=0 and iterations=30; at least 1 is needed",
    ),
    "method of the spectrum": (
        lambda: conv_singular_values(KERNEL, (4, 4), method="qr"),
        "method='qr' is unknown; 'auto', 'svd' or 'lanczos' is needed",
    ),
    "input shapes": (
        lambda: conv_scaling_statistics([KERNEL], []),
        "1 kernels and 0 input shapes; one for each layer is needed",
    ),
    "no depth": (lambda: weights.iid(KEY, 0, (2,)), "L=0; at least one layer is needed"),
    "hurst": (
        lambda: weights.fbm_increments(KEY, 4, (2,), hurst=1.0),
        "hurst=1; a Hurst exponent lies strictly between 0 and 1",
    ),
    "noise by another method": (
        lambda: weights.fbm_increments(KEY, 4, (2,), method="cholesky"),
        "method='cholesky' is unknown; 'davies-harte' is needed",
    ),
    "length scale": (
        lambda: weights.rbf(KEY, 4, (2,), length_scale=0.5),
        "length_scale=0.5; more than 0 and at most 0.2 is needed",
    ),
    "trend of another shape": (
        lambda: weights.smooth(KEY, 4, (2,), trend=lambda t: t),
        "trend returns shape (); the shape (2,) of a layer is needed",
    ),
    "too many active layers": (
        lambda: weights.sparse(KEY, 4, (2,)),
        "active=5; a number from 1 to the 4 layers is needed",
    ),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES.keys())
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
