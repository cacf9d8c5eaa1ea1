"""Samples combined: the golden arrays of each rule, bounds between them, and the likelihoods."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from offprint.network_partitioning._aggregate import aggregate_logits, averaged, loglik_of
from offprint.network_partitioning._hyper import concrete

KEY = jax.random.key(0)
RULES = ("mean_logits", "mean_logprob", "mean_prob")


def mlp(params, hyper, x, key):
    *hidden, last = [(params[i], params[i + 1]) for i in range(0, len(params), 2)]
    for kernel, bias in hidden:
        x = jnp.tanh(x @ kernel + bias)
    return x @ last[0] + last[1]


@pytest.mark.parametrize("how", RULES)
@pytest.mark.parametrize("scheme", ["random_weight", "node"])
def test_golden(golden, how, scheme):
    arrays = golden("core_mlp_k3")
    number = sum(key.startswith("param_") for key in arrays)
    x, y, shard = arrays["x"], arrays["y"], arrays["shard"]

    def augment(hyper, x, key, samples):
        return x * concrete(hyper, arrays["u"], float(arrays["tau"]))[:, None]

    loglik = loglik_of(averaged(mlp, augment, len(arrays["u"]), how))
    for s in range(int(arrays["K"])):
        masks = [arrays[f"{scheme}/pid_{i}"] < s for i in range(number)]
        default = [0 if scheme == "node" else arrays[f"default_{i}"] for i in range(number)]
        params = [jnp.where(mask, arrays[f"param_{i}"], default[i]) for i, mask in enumerate(masks)]
        here = loglik(params, arrays["phi"], (x[shard == s], y[shard == s]), KEY).mean()
        np.testing.assert_allclose(here, arrays[f"{scheme}/{how}/per_shard_mean"][s], atol=1e-10)


LOGITS = 3 * jax.random.normal(KEY, (5, 4, 3))
CLASSES = jnp.array([0, 2, 1, 1])


def test_rules_against_their_definitions():
    p = jax.nn.softmax(LOGITS)
    np.testing.assert_allclose(aggregate_logits(LOGITS, "mean_prob"), jnp.log(p.mean(0)), rtol=1e-12)
    bound = aggregate_logits(LOGITS, "mean_logprob")
    np.testing.assert_allclose(bound, jnp.log(p).mean(0), rtol=1e-12)
    assert (bound < aggregate_logits(LOGITS, "mean_prob")).all()  # Jensen
    np.testing.assert_allclose(
        jax.nn.log_softmax(bound), aggregate_logits(LOGITS, "mean_logits"), rtol=1e-12
    )  # what normalising it anew would give
    for how in RULES:
        np.testing.assert_allclose(aggregate_logits(LOGITS[:1], how), jax.nn.log_softmax(LOGITS[0]), rtol=1e-12)


@pytest.mark.parametrize("how", RULES)
def test_the_log_likelihood_reads_the_prediction_at_the_class(how):
    def apply(params, hyper, x, key):
        return x

    predict = averaged(apply, lambda hyper, x, key, samples: LOGITS, 5, how)
    x = jnp.zeros((4, 3))
    prediction = predict(None, None, x, KEY)
    here = jax.jit(loglik_of(predict))(None, None, (x, CLASSES), KEY)
    np.testing.assert_allclose(here, prediction[jnp.arange(4), CLASSES], rtol=1e-12)


def test_samples_are_folded_into_the_batch_and_the_two_keys_differ():
    seen = {}

    def augment(hyper, x, key, samples):
        seen["augment"] = key
        return jnp.arange(samples)[:, None, None] + x

    def apply(params, hyper, x, key):
        seen["apply"] = key
        return x

    out = averaged(apply, augment, 3).outputs(None, None, jnp.ones((2, 4)), KEY)
    np.testing.assert_array_equal(out, np.arange(1, 4)[:, None, None] * np.ones((3, 2, 4)))
    assert not (jax.random.key_data(seen["apply"]) == jax.random.key_data(seen["augment"])).all()
    assert averaged(apply, None, 3).outputs(None, None, jnp.ones((2, 4)), KEY).shape == (3, 2, 4)


def test_gaussian_is_the_normal_density_for_every_rule():
    means, y, sigma = jax.random.normal(KEY, (3, 4, 2)), jax.random.normal(jax.random.key(1), (4, 2)), 0.7
    each = stats.norm(means, sigma).logpdf(y).sum(-1)
    expected = {
        "mean_logits": stats.norm(means.mean(0), sigma).logpdf(y).sum(-1),
        "mean_logprob": each.mean(0),
        "mean_prob": np.log(np.exp(each).mean(0)),
    }
    for how, value in expected.items():
        predict = averaged(lambda params, hyper, x, key: x, lambda *_: means, 3, how, classes=False)
        loglik = loglik_of(predict, "gaussian", scale=lambda hyper: hyper["sigma"])
        np.testing.assert_allclose(loglik(None, {"sigma": sigma}, (y, y), KEY), value, rtol=1e-12)
        np.testing.assert_allclose(predict(None, None, y, KEY), means.mean(0), rtol=1e-12)


def test_the_noise_that_fits_best_is_the_residuals_own():
    y = jax.random.normal(KEY, (50,))
    loglik = loglik_of(lambda params, hyper, x, key: jnp.zeros_like(x), "gaussian", scale=jnp.exp)
    slope = jax.grad(lambda hyper: loglik(None, hyper, (y, y), KEY).sum())(jnp.log(jnp.sqrt((y**2).mean())))
    np.testing.assert_allclose(slope, 0, atol=1e-10)


def test_temperature_divides_the_logits():
    loglik = loglik_of(lambda params, hyper, x, key: x, scale=2.0)
    expected = jax.nn.log_softmax(LOGITS[0] / 2)[jnp.arange(4), CLASSES]
    np.testing.assert_allclose(loglik(None, None, (LOGITS[0], CLASSES), KEY), expected, rtol=1e-12)


def test_a_loss_of_ones_own_is_the_negative_log_density():
    loglik = loglik_of(lambda params, hyper, x, key: x, lambda out, y: jnp.abs(out[:, 0] - y) + math.log(2))
    here = loglik(None, None, (jnp.zeros((3, 1)), jnp.array([0.0, 1, 2])), KEY)
    np.testing.assert_allclose(here, stats.laplace.logpdf([0, 1, 2]), rtol=1e-12)


def run(loss, out, y, **options):
    return loglik_of(lambda params, hyper, x, key: x, loss, **options)(None, None, (out, y), KEY)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aggregate_logits(LOGITS, "median"), r"aggregate='median' is unknown"),
        (lambda: averaged(mlp, None, 1, "median"), r"aggregate='median' is unknown"),
        (lambda: averaged(mlp, None, 0), r"samples=0; at least one"),
        (lambda: loglik_of(mlp, "hinge"), r"loss='hinge' is unknown"),
        (lambda: loglik_of(mlp, lambda out, y: out, scale=2.0), r"a function has to scale by itself"),
        (lambda: run("cross_entropy", LOGITS[0], CLASSES[:3]), r"shape \(4, 3\) and the classes the shape \(3,\)"),
        (lambda: run("cross_entropy", LOGITS[0], CLASSES * 1.0), r"dtype float64; .* integers"),
        (lambda: run("gaussian", LOGITS[0], CLASSES * 1.0), r"shape \(4, 3\), but targets \(4,\)"),
        (lambda: run(lambda out, y: out.sum(), LOGITS[0], CLASSES), r"loss gave the shape \(\) for 4 examples"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
