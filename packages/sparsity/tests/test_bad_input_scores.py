"""Bad input to the criteria: one clear error each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.sparsity import scores as sc
from offprint.sparsity._dependency import Group, Member
from offprint.sparsity._pattern import Channel, Unstructured
from offprint.sparsity._pattern_nm import NM

W = {"w": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
ELSEWHERE = Group("v:1", 3, (Member("v", 1, np.arange(3)[:, None]),), np.arange(3))
X, Y = np.ones((5, 4)), np.zeros(5, int)


def mean_square(params, batch):
    return jnp.mean((batch @ params["w"]) ** 2)


def outputs(params, x):
    return x @ params["w"]


def noisy(params, batch):
    return mean_square(params, batch + jax.random.normal(jax.random.key(0), batch.shape))


def needs_key(params, batch, key):
    return mean_square(params, batch)


def rounded(params, batch):
    return jnp.argmax(batch @ params["w"])


def inner_noise(params, x):
    return jax.jit(lambda y: jax.lax.cond(True, lambda z: z + jax.random.uniform(jax.random.key(1)), lambda z: z, y))(
        x @ params["w"]
    )


CASES = {
    "no leaf is chosen": (lambda: sc.magnitude({"bias": W["bias"]}), ValueError, "chooses no leaf"),
    "power": (lambda: sc.magnitude(W, p=0), ValueError, "p must be positive"),
    "normalise": (lambda: sc.magnitude(W, normalise="l1"), ValueError, "None or 'l2'"),
    "quality": (lambda: sc.std_threshold(W, -1.0), ValueError, "must not be negative"),
    "quality without a pattern": (lambda: sc.std_threshold(W, {"v": 1.0}), ValueError, "no pattern for the leaf w"),
    "grads of another tree": (lambda: sc.taylor(W, {"w": W["w"]}), ValueError, "grads has no leaf 'bias'"),
    "grads of another shape": (
        lambda: sc.taylor(W, {**W, "w": jnp.ones((3, 4))}),
        ValueError,
        r"'w' is \(3, 4\), not \(4, 3\)",
    ),
    "grads missing": (lambda: sc.taylor(W, {**W, "w": None}), ValueError, "grads is None at w"),
    "scores missing": (lambda: sc.movement({"w": None, "bias": None}, W, W), ValueError, "scores is None at w"),
    "activations": (lambda: sc.taylor_activation(X, X[:3]), ValueError, "same shape"),
    "heads": (lambda: sc.head_importance(X[..., None], X), ValueError, "same shape"),
    "a key": (lambda: sc.snip(needs_key, W, X), ValueError, "called with 2 arguments.*evaluation-mode"),
    "randomness": (lambda: sc.snip(noisy, W, X), ValueError, "loss_fn draws random numbers"),
    "randomness deep inside": (lambda: sc.synflow(inner_noise, W, (4,)), ValueError, "apply_fn draws random numbers"),
    "no scalar": (lambda: sc.snip(outputs, W, X), ValueError, "take the mean over the batch"),
    "a tuple": (lambda: sc.snip(lambda p, b: (jnp.sum(p["w"]), b), W, X), ValueError, "returns a tuple"),
    "an integer loss": (lambda: sc.snip(rounded, W, X), TypeError, "integer operation"),
    "an integer loss of GraSP": (
        lambda: sc.grasp(outputs, W, (X, Y), loss=lambda z, y: jnp.argmax(z)),
        TypeError,
        "loss must return real numbers",
    ),
    "integer weights": (lambda: sc.snip(mean_square, {**W, "w": jnp.ones((4, 3), int)}, X), TypeError, "w is int"),
    "temperature": (lambda: sc.grasp(outputs, W, (X, Y), temperature=0), ValueError, "must be positive"),
    "state expected": (lambda: sc.synflow(outputs, W, (4,), {"mean": jnp.ones(3)}), ValueError, "with 3 arguments"),
    "samples": (lambda: sc.hutchinson(mean_square, W, X, jax.random.key(0), n=0), ValueError, "n must be at least 1"),
    "microbatch": (lambda: sc.fisher_diag(mean_square, W, X, microbatch=0), ValueError, "microbatch must be"),
    "microbatch of the Hessian": (lambda: sc.hessian_diag(mean_square, W, X, microbatch=0), ValueError, "microbatch"),
    "unequal batch": (lambda: sc.fisher_diag(mean_square, W, (X, Y[:3])), ValueError, "same number of examples"),
    "empty batch": (lambda: sc.fisher_diag(mean_square, W, X[:0]), ValueError, "no examples"),
    "outputs of a batch": (
        lambda: sc.sensitivity(lambda p, x: x[None] @ p["w"], W, X),
        ValueError,
        "vector of outputs",
    ),
    "outputs of Gauss-Newton": (
        lambda: sc.gauss_newton_diag(lambda p, x: jnp.sum(x @ p["w"]), W, (X, Y)),
        ValueError,
        "vector of outputs",
    ),
    "errors": (lambda: sc.fisher_diag_dense(X, X[:3]), ValueError, "agree but for the last axis"),
    "no second moment": (lambda: sc.adam(W, optax.sgd(0.1).init(W)), ValueError, "it has 0"),
    "moments of another model": (
        lambda: sc.adam(W, optax.adam(0.1).init({"w": jnp.ones((2, 2)), "bias": W["bias"]})),
        ValueError,
        "nu must have the shapes",
    ),
    "units": (lambda: sc.spread({"w": jnp.ones(4), "bias": None}, W), ValueError, "3 units along axis -1"),
    "threshold": (lambda: sc.soft_movement_masks({"w": W["w"]}, 1.5), ValueError, r"in \(0, 1\)"),
    "reduction": (lambda: sc.group(W, Channel(), "median"), ValueError, "reduce must be"),
    "no reduction": (lambda: sc.group(W, Unstructured(), "sum"), ValueError, "has no reduction"),
    "no units": (lambda: sc.group(W, NM(2, 4)), ValueError, "has no units to score"),
    "groups of another model": (lambda: sc.group(W, [ELSEWHERE]), ValueError, "the groups are v:1, and there are.* w"),
    "merge": (lambda: sc.merge_units(W["w"], W["bias"], 1, 1), ValueError, "two different units of 0..3"),
    "fold": (
        lambda: sc.fold_mean(W["w"], W["bias"], jnp.ones(3), jnp.ones(3, bool)),
        ValueError,
        r"one entry per input.*\(4,\)",
    ),
}


def test_scores_that_are_all_zero_warn():
    with pytest.warns(UserWarning, match="all scores are zero"):
        sc.snip(lambda p, x: jnp.mean(jnp.argmax(x @ p["w"], axis=-1) * 1.0), W, X)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_input(name):
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=message):
        call()
