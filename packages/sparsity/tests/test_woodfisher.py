"""WoodFisher: the same inverse however it is computed, exact corrections, streaming, sub-steps, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.sparsity._gradient_rows import per_example_grads
from offprint.sparsity._obs import joint_removal, wood_taylor
from offprint.sparsity._woodfisher import WoodFisher

SHAPES = {"a": {"kernel": (3, 4), "bias": None}, "b": {"kernel": (4, 2)}}
SIZES = (12, 8)
DAMP = 0.01


def tree(vector, lead=()):
    """A tree like the parameters from flat values; the bias has none."""
    first, second = np.split(np.asarray(vector), [12], axis=-1)
    return {
        "a": {"kernel": first.reshape(*lead, 3, 4), "bias": None},
        "b": {"kernel": second.reshape(*lead, 4, 2)},
    }


def flat(values):
    return np.concatenate([np.ravel(values["a"]["kernel"]), np.ravel(values["b"]["kernel"])])


def dense_inverse(rows, block):
    """(λI + GᵀG/m)⁻¹ with the blocks that were asked for."""
    fisher = DAMP * np.eye(20) + rows.T @ rows / len(rows)
    if block == "network":
        return np.linalg.inv(fisher)
    ends = (12, 20) if block is None else (5, 10, 12, 17, 20)
    allowed = np.searchsorted(ends, np.arange(20), side="right")
    return np.linalg.inv(np.where(allowed[:, None] == allowed, fisher, 0))


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    return generator.normal(size=(6, 20)), generator.normal(size=20)


def params_of(w):
    return {**tree(w), "a": {"kernel": tree(w)["a"]["kernel"], "bias": np.ones(4)}}


@pytest.mark.parametrize(
    ("solver", "block"),
    [("woodbury", None), ("woodbury", "network"), ("woodbury", 5), ("mfac", None), ("mfac", "network")],
)
def test_the_inverse_is_the_dense_one(problem, solver, block):
    rows, w = problem
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP, block=block, solver=solver)
    inverse = dense_inverse(rows, block)
    np.testing.assert_allclose(flat(W.diag()), np.diagonal(inverse), rtol=1e-8)
    np.testing.assert_allclose(flat(W.ihvp(params_of(w))), inverse @ w, rtol=1e-8)
    np.testing.assert_allclose(flat(W.statistic(params_of(w))), w**2 / (2 * np.diagonal(inverse)), rtol=1e-8)
    assert W.diag()["a"]["bias"] is None


@pytest.mark.parametrize("solver", ["woodbury", "mfac"])
def test_jit_and_vmap_give_the_same(problem, solver):
    rows, w = problem

    @jax.jit
    def traced(rows, w):
        W = WoodFisher.fit(tree_of(rows), damp=DAMP, block=5, solver=solver)
        return W.diag(), jax.vmap(W.ihvp)(tree_of(w))

    def tree_of(x):
        return {
            "a": {"kernel": x[:, :12].reshape(-1, 3, 4), "bias": None},
            "b": {"kernel": x[:, 12:].reshape(-1, 4, 2)},
        }

    diag, solved = traced(jnp.asarray(rows), jnp.stack([w, -w]))
    inverse = dense_inverse(rows, 5)
    np.testing.assert_allclose(flat(diag), np.diagonal(inverse), rtol=1e-8)
    np.testing.assert_allclose(flat(jax.tree.map(lambda x: x[1], solved)), -inverse @ w, rtol=1e-8)


def test_an_object_made_on_the_host_works_under_jit(problem):
    rows, w = problem
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP)
    inside = jax.jit(lambda x: W.ihvp(x))(params_of(w))
    passed = jax.jit(lambda W, x: W.ihvp(x))(W, params_of(w))
    np.testing.assert_allclose(flat(inside), flat(W.ihvp(params_of(w))), rtol=1e-8)
    np.testing.assert_allclose(flat(passed), flat(inside), rtol=1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), sparsity=st.sampled_from([0.2, 0.5, 0.8]))
def test_updates_are_those_of_the_dense_inverse(seed, sparsity):
    generator = np.random.default_rng(seed)
    rows, w = generator.normal(size=(6, 20)), generator.normal(size=20)
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP, block="network")
    keep = generator.random(20) >= sparsity
    inverse = dense_inverse(rows, "network")
    gone = np.flatnonzero(~keep)
    single = -sum((inverse[:, q] * w[q] / inverse[q, q] for q in gone), np.zeros(20))
    np.testing.assert_allclose(flat(W.independent_update(params_of(w), tree(keep))), single, rtol=1e-7, atol=1e-9)
    delta = -inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], w[gone])
    np.testing.assert_allclose(flat(W.joint_update(params_of(w), tree(keep))), delta, rtol=1e-6, atol=1e-8)


def test_the_joint_update_is_joint_removal(problem):
    rows, w = problem
    masks = tree(np.arange(20) % 3 > 0)
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP, block="network", solver="mfac")
    expected = joint_removal(w, dense_inverse(rows, "network"), ~flat(masks))[1]
    np.testing.assert_allclose(flat(W.joint_update(params_of(w), masks)), expected, rtol=1e-7, atol=1e-9)


def test_wood_taylor_is_pruning_after_a_newton_step(problem):
    rows, w = problem
    g = np.random.default_rng(2).normal(size=20)
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP, block="network")
    found = wood_taylor(w, g, dense_inverse(rows, "network"))
    moved = W.newton(params_of(w), params_of(g))
    np.testing.assert_allclose(flat(W.statistic(moved)), found.statistic, rtol=1e-7)
    pruned, masks = W.prune(moved, 0.05)
    (q,) = np.flatnonzero(~flat(masks))
    assert q == np.argmin(found.statistic)
    np.testing.assert_allclose(flat(pruned) - w, found.delta[q], rtol=1e-7, atol=1e-9)
    assert np.array_equal(moved["a"]["bias"], np.ones(4))


def test_float32_gradients_are_inverted_in_float64(problem):
    rows = problem[0].astype(np.float32)
    W = WoodFisher.fit(tree(rows, (6,)), damp=1e-6)
    exact = WoodFisher.fit(tree(rows.astype(np.float64), (6,)), damp=1e-6)
    np.testing.assert_allclose(flat(W.diag()), flat(exact.diag()), rtol=1e-12)


@pytest.mark.parametrize("update", ["independent", "joint", "none"])
def test_prune(problem, update):
    rows, w = problem
    params = params_of(w)
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP)
    pruned, masks = W.prune(params, 0.25, update=update)
    keep = flat(masks)
    statistic = flat(W.statistic(params))
    assert keep.sum() == 15
    assert statistic[keep].min() >= statistic[~keep].max()
    assert np.all(flat(pruned)[~keep] == 0)
    assert np.array_equal(flat(pruned)[keep], w[keep]) == (update == "none")
    assert pruned["a"]["bias"] is params["a"]["bias"]
    _, local = W.prune(params, 0.25, scope="local", update=update)
    assert [np.sum(~np.asarray(leaf)) for leaf in (local["a"]["kernel"], local["b"]["kernel"])] == [3, 2]


def test_a_joint_update_costs_least(problem):
    rows, w = problem
    fisher = DAMP * np.eye(20) + rows.T @ rows / len(rows)
    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP, block="network")
    loss = {}
    for update in ("joint", "independent", "none"):
        delta = flat(W.prune(params_of(w), 0.4, update=update)[0]) - w
        loss[update] = delta @ fisher @ delta / 2
    assert loss["joint"] < loss["independent"]
    assert loss["joint"] < loss["none"]


def test_what_is_pruned_stays_pruned(problem):
    rows, w = problem
    masks = tree(np.arange(20) != 7)
    pruned, new = WoodFisher.fit(tree(rows, (6,)), damp=DAMP).prune(params_of(w), 0.5, masks=masks)
    assert not flat(new)[7]
    assert flat(pruned)[7] == 0
    assert flat(new).sum() == 10
    # The gradients of what is pruned take no part.
    other = rows.copy()
    other[:, 7] = 1e3
    again, _ = WoodFisher.fit(tree(other, (6,)), damp=DAMP).prune(params_of(w), 0.5, masks=masks)
    w_without = np.where(np.arange(20) == 7, 0, w)
    reference, _ = WoodFisher.fit(tree(rows, (6,)), damp=DAMP, masks=masks).prune(params_of(w_without), 0.5)
    np.testing.assert_allclose(flat(again), flat(reference), rtol=1e-9, atol=1e-12)


def test_steps_take_new_gradients_and_fall_by_the_same_factor(problem):
    rows, w = problem
    seen = []

    def grads_fn(params):
        seen.append(np.mean(flat(params) != 0))
        return tree(rows * (1 + flat(params)), (6,))

    W = WoodFisher.fit(tree(rows, (6,)), damp=DAMP)
    pruned, masks = W.prune(params_of(w), 0.75, steps=2, grads_fn=grads_fn)
    assert seen == [0.5]
    first, kept = W.prune(params_of(w), 0.5)
    second = WoodFisher.fit(grads_fn(first), damp=DAMP, masks=kept)
    expected, expected_masks = second.prune(first, 0.75, masks=kept)
    assert np.array_equal(flat(masks), flat(expected_masks))
    np.testing.assert_allclose(flat(pruned), flat(expected), rtol=1e-12)


def test_gradients_may_come_in_parts(problem):
    rows, _ = problem
    whole = WoodFisher.fit(tree(rows, (6,)), damp=DAMP)
    parts = WoodFisher.fit(lambda: (tree(part, (len(part),)) for part in (rows[:4], rows[4:])), damp=DAMP)
    np.testing.assert_array_equal(flat(parts.diag()), flat(whole.diag()))
    assert parts.rows["a"]["bias"] is None


def test_per_example_grads():
    generator = np.random.default_rng(1)
    params = {"kernel": jnp.asarray(generator.normal(size=(3, 2))), "bias": jnp.zeros(2)}
    x = generator.normal(size=(5, 3))

    def loss(params, example):
        return jnp.sum((example @ params["kernel"] + params["bias"]) ** 2) / 2

    expected = x[:, :, None] * (x @ params["kernel"])[:, None]
    for microbatch in (None, 2):
        rows = per_example_grads(loss, params, x, microbatch=microbatch)
        np.testing.assert_allclose(rows["kernel"], expected, rtol=1e-12)
        assert rows["bias"] is None


def test_citation():
    W = WoodFisher.fit({"kernel": np.ones((2, 3))}, solver="mfac")
    assert "WoodFisher" in W.citation()
    assert "M-FAC" in W.citation()


GOOD = {"kernel": np.ones((2, 3))}
FIT = [
    ("damp must be positive", GOOD, {"damp": 0.0}),
    ("block must be", GOOD, {"block": 0}),
    ("block must be", GOOD, {"block": "layer"}),
    ("solver must be", GOOD, {"solver": "cg"}),
    ("as many rows", {"a": np.ones((2, 3)), "b": np.ones((3, 3))}, {}),
    ("must be floats of shape", {"kernel": np.ones((2, 3), int)}, {}),
    ("must be floats of shape", {"kernel": np.ones(3)}, {}),
    ("not finite", {"kernel": np.full((2, 3), np.nan)}, {}),
    ("no gradients", {"kernel": None}, {}),
    ("gave nothing", iter(()), {}),
]


@pytest.mark.parametrize(("message", "grads", "options"), FIT)
def test_bad_fits(unchecked_types, message, grads, options):
    with pytest.raises(ValueError, match=message):
        WoodFisher.fit(grads, **options)


PRUNE = [
    ("update must be", {"update": "exact"}),
    ("scope must be", {"scope": "layer"}),
    ("steps must be", {"steps": 0}),
    ("need grads_fn", {"steps": 2}),
    ("must be in \\[0, 1\\)", {"sparsity": 90}),
    ("must have the shapes of params", {"params": {"kernel": np.ones(4)}}),
    ("has a leaf 'kernel' that params have not|has no leaf", {"params": {"other": np.ones(3)}}),
]


@pytest.mark.parametrize(("message", "options"), PRUNE)
def test_bad_prunes(unchecked_types, message, options):
    arguments = {"params": {"kernel": np.ones(3)}, "sparsity": 0.5, **options}
    with pytest.raises(ValueError, match=message):
        WoodFisher.fit(GOOD).prune(**arguments)


def test_a_tree_without_the_leaves_is_named():
    with pytest.raises(ValueError, match="gradients were given for 'kernel'"):
        WoodFisher.fit(GOOD).ihvp({"kernel": np.ones(4)})
    with pytest.raises(ValueError, match="microbatch must be at least 1"):
        per_example_grads(
            lambda params, x: jnp.sum(params["kernel"]), {"kernel": jnp.ones((2, 2))}, np.ones(3), microbatch=0
        )
