"""Penalties and proximal maps: against brute force, on every kind of group, as an optax step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from offprint.sparsity._mask import make_masks
from offprint.sparsity._pattern import Block, Channel, Head, KernelShape, Layer, Unstructured
from offprint.sparsity._penalties import (
    group_lasso,
    group_norms,
    hoyer,
    hoyer_measure,
    hoyer_square,
    l1,
    sparse_group_lasso,
)
from offprint.sparsity._prox import prox_group_lasso, prox_l0, prox_l1, prox_sparse_group_lasso, proximal
from offprint.sparsity._slimming import polarisation, scales, slimming, slimming_scores

RNG = np.random.default_rng(1)
W = RNG.normal(size=(5, 6))
PARAMS = {"a": {"kernel": jnp.asarray(W), "bias": jnp.ones(6)}, "b": {"kernel": jnp.asarray(RNG.normal(size=(6, 2)))}}


def test_sums_over_kernels_only():
    kernels = [np.asarray(PARAMS[layer]["kernel"]) for layer in ("a", "b")]
    ratio = [np.abs(k).sum() / np.sqrt((k**2).sum()) for k in kernels]
    groups = [np.sqrt(len(k)) * np.linalg.norm(k, axis=0).sum() for k in kernels]
    found = jax.jit(lambda p: (l1(p), hoyer(p), hoyer_square(p), group_lasso(p), sparse_group_lasso(p, mix=0.25)))(
        PARAMS
    )
    total = sum(np.abs(k).sum() for k in kernels)
    expected = (total, sum(ratio), sum(r**2 for r in ratio), sum(groups), 0.25 * total + 0.75 * sum(groups))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (Block((2, 4), reduce="max"), [[(2, 4), (2, 2)], [(2, 4), (2, 2)], [(1, 4), (1, 2)]]),
        (Head(3), [(5, 2)] * 3),
        (Channel(-2), [(1, 6)] * 5),
        (Layer(), (5, 6)),
    ],
)
def test_groups_of_every_pattern(groups, expected):
    """The penalty is Σ √|G| ‖w_G‖, and the proximal step shrinks every group by its own factor."""
    sizes = np.prod(np.asarray(expected), axis=-1)
    value, norms, shrunk = jax.jit(
        lambda w: (group_lasso({"kernel": w}, groups=groups), group_norms(w, groups), prox_group_lasso(w, 0.2, groups))
    )(W)
    np.testing.assert_allclose(value, np.sum(np.sqrt(sizes) * norms), rtol=1e-12)
    np.testing.assert_allclose(np.sum(np.asarray(norms) ** 2), (W**2).sum(), rtol=1e-12)
    factors = np.maximum(0, 1 - 0.2 * np.sqrt(sizes) / norms)
    found = np.round(np.asarray(shrunk) / W, 9)
    np.testing.assert_array_equal(np.unique(found), np.unique(np.round(factors, 9)))


def test_single_weights_as_groups_are_l1():
    np.testing.assert_allclose(group_lasso(PARAMS, groups=Unstructured()), l1(PARAMS))
    kernel = W.reshape(1, 5, 3, 2)
    np.testing.assert_allclose(
        group_norms(jnp.asarray(kernel), KernelShape()), np.sqrt((kernel**2).sum((-2, -1))), rtol=1e-12
    )


def test_gradients_at_zero_are_zero():
    zero = {"kernel": jnp.zeros((4, 3))}
    grads = jax.jit(jax.grad(lambda p: group_lasso(p) + hoyer(p) + hoyer_square(p) + l1(p)))(zero)
    np.testing.assert_array_equal(grads["kernel"], 0)


def test_gradients_are_finite_differences():
    def total(w):
        params = {"kernel": w, "scale": w[0]}
        return group_lasso(params, groups=Block((2, 4))) + hoyer(params) + hoyer_square(params) + polarisation(params)

    step, direction = 1e-6, np.random.default_rng(2).normal(size=W.shape)
    slope, up, down = jax.jit(
        lambda w: (jax.jvp(total, (w,), (direction,))[1], total(w + step * direction), total(w - step * direction))
    )(jnp.asarray(W))
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize(
    ("prox", "penalty"),
    [
        (prox_l1, lambda v, s: s * np.abs(v).sum()),
        (prox_group_lasso, lambda v, s: s * np.sqrt(2) * np.linalg.norm(v)),
        (prox_sparse_group_lasso, lambda v, s: s / 2 * np.abs(v).sum() + s / 2 * np.sqrt(2) * np.linalg.norm(v)),
        (prox_l0, lambda v, s: s * np.count_nonzero(v)),
    ],
    ids=["l1", "group", "sparse group", "l0"],
)
def test_proximal_maps_minimise(prox, penalty):
    """Nothing that a derivative-free search or the origin offers is better, for one group of two weights."""
    jitted = jax.jit(prox)
    for strength in (0.1, 0.6, 5.0):
        for w in (np.array([[0.7], [-1.3]]), np.array([[0.05], [0.4]])):

            def objective(v, w=w, strength=strength):
                return 0.5 * ((v.reshape(w.shape) - w) ** 2).sum() + penalty(v, strength)

            found = np.asarray(jitted(w, strength))
            starts = (w, 0 * w, w * [[1], [0]], w * [[0], [1]])
            best = min(optimize.minimize(objective, start.ravel(), method="Nelder-Mead").fun for start in starts)
            assert objective(found.ravel()) <= best + 1e-8


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_proximal_maps_do_not_expand(a, b):
    a, b = (np.reshape(x, (3, 2)) for x in (a, b))
    for ours, theirs in zip(MAPS(a), MAPS(b)):
        assert np.linalg.norm(ours - theirs) <= np.linalg.norm(a - b) * (1 + 1e-12) + 1e-12


MAPS = jax.jit(lambda w: (prox_l1(w, 0.5), prox_group_lasso(w, 0.5), prox_sparse_group_lasso(w, 0.5)))


def test_the_proximal_step_reaches_the_lasso_solution_with_exact_zeros():
    """ISTA on least squares against the optimality conditions of the lasso."""
    rng = np.random.default_rng(3)
    x, truth = rng.normal(size=(40, 6)), np.array([2.0, 0, 0, -1.5, 0, 0])[:, None]
    y = x @ truth + 0.1 * rng.normal(size=(40, 1))
    lam, rate = 0.2, 0.2
    tx = optax.chain(optax.sgd(rate), proximal(prox_l1, lambda count: rate * lam))

    def loss(params):
        return 0.5 * jnp.mean((x @ params["kernel"] + params["bias"] - y) ** 2)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(step, (params, tx.init(params)), length=400)
        return params, jax.grad(loss)(params), state

    params, grads, state = run({"kernel": jnp.ones((6, 1)), "bias": jnp.zeros(1)})
    w, g = np.asarray(params["kernel"]).ravel(), np.asarray(grads["kernel"]).ravel()
    np.testing.assert_array_equal(w != 0, truth.ravel() != 0)
    np.testing.assert_allclose(g[w != 0], -lam * np.sign(w[w != 0]), atol=1e-8)
    assert (np.abs(g[w == 0]) <= lam).all()
    np.testing.assert_allclose(grads["bias"], 0, atol=1e-8)  # not regularised
    assert int(state[-1].step) == 400


def test_block_lasso_step_removes_whole_blocks():
    w = np.random.default_rng(4).normal(size=(4, 4)).astype(np.float32)
    w[:2, :2] *= 0.05
    tx = proximal(partial(prox_group_lasso, groups=Block((2, 2))), 0.2)
    params = {"kernel": jnp.asarray(w)}
    updates, _ = tx.update({"kernel": jnp.zeros((4, 4))}, tx.init(params), params)
    new = np.asarray(optax.apply_updates(params, updates)["kernel"])
    np.testing.assert_array_equal(new == 0, np.kron([[1, 0], [0, 0]], np.ones((2, 2))))


def test_scales_of_normalisation():
    params = {
        "norm": {"scale": jnp.array([0.1, -2.0]), "bias": jnp.ones(2)},
        "head": {"kernel": jnp.asarray(W), "scale": jnp.array([1.0, 1.5, 0.2])},
    }
    gammas = np.array([0.1, -2.0, 1.0, 1.5, 0.2])
    scores = slimming_scores(params)
    assert scores["head"]["kernel"] is None
    assert scores["norm"]["bias"] is None
    np.testing.assert_array_equal(scores["norm"]["scale"], [0.1, 2.0])
    np.testing.assert_allclose(slimming(params), np.abs(gammas).sum())
    np.testing.assert_allclose(
        polarisation(params, 1.3), 1.3 * np.abs(gammas).sum() - np.abs(gammas - gammas.mean()).sum()
    )
    assert not scales("head/kernel", jnp.asarray(W))
    assert scales("norm/weight", jnp.ones(3))  # as Equinox has it
    assert not scales("head/weight", jnp.asarray(W))
    masks = make_masks(scores, 0.4, scope="global")
    np.testing.assert_array_equal(masks["norm"]["scale"], [False, True])
    np.testing.assert_array_equal(masks["head"]["scale"], [True, True, False])
    assert masks["head"]["kernel"] is None


def test_polarised_scales_cost_less_than_equal_ones():
    """With the same sum, at t = 1.2: all equal, or half of them zero."""
    equal, split = {"scale": jnp.full(4, 0.5)}, {"scale": jnp.array([0.0, 1.0, 0.0, 1.0])}
    assert float(polarisation(split)) < float(polarisation(equal))


def test_hoyer_on_activations():
    """As its docstring says: of every example by itself."""
    h = np.random.default_rng(3).normal(size=(5, 2, 4))
    found = jax.jit(lambda h: jnp.mean(jax.vmap(lambda h: hoyer_square(h, filter=lambda path, leaf: True))(h)))(h)
    np.testing.assert_allclose(found, np.mean(np.abs(h).sum((1, 2)) ** 2 / (h**2).sum((1, 2))), rtol=1e-12)


def test_hoyers_measure_spans_0_to_1():
    np.testing.assert_allclose([hoyer_measure(np.full(9, -2.0)), hoyer_measure(np.eye(3)[0])], [0, 1], atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparse_group_lasso(PARAMS, mix=1.5), "mix=1.5"),
        (lambda: prox_sparse_group_lasso(W, 0.1, mix=-0.1), "mix=-0.1"),
        (lambda: group_lasso(PARAMS, groups=Channel(3)), "axis"),
        (lambda: prox_group_lasso(W, 0.1, Channel(3)), "axis"),
        (lambda: hoyer_measure(np.ones(1)), "1 elements"),
        (lambda: proximal(prox_l1, -1.0), "negative"),
        (lambda: proximal(prox_l1, 0.1).update(PARAMS, proximal(prox_l1, 0.1).init(PARAMS)), "params"),
        (lambda: proximal(prox_l1, 0.1).init({"scale": jnp.ones(2)}), "no leaf"),
        (lambda: l1({"bias": jnp.ones(2)}), "no leaf"),
        (lambda: polarisation(PARAMS), "no leaf"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_class_is_no_pattern(unchecked_types):
    with pytest.raises(TypeError, match="must be a pattern"):
        group_norms(jnp.asarray(W), Channel)
