"""Pruning at initialisation: counts, nesting, revival, scopes and what the rounds do."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.sparsity import _at_init
from offprint.sparsity._at_init import prune_at_init
from offprint.sparsity._bibliography import BIBTEX
from offprint.sparsity._pattern import Channel
from offprint.sparsity._pattern_nm import NM


def logits(params, x):
    return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"]


def loss(params, batch):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(params, batch[0]), batch[1]))


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {
        "w1": jnp.asarray(rng.normal(size=(6, 12))),
        "b1": jnp.zeros(12),
        "w2": jnp.asarray(rng.normal(size=(12, 4))),
    }


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(1)
    return {
        "loss_fn": loss,
        "logits_fn": logits,
        "apply_fn": logits,
        "batch": (jnp.asarray(rng.normal(size=(16, 6))), jnp.asarray(rng.integers(0, 4, 16))),
        "input_shape": (6,),
        "key": jax.random.key(0),
    }


def kept(masks):
    return {key: int(np.sum(masks[key])) for key in ("w1", "w2")}


def test_counts_of_the_methods_that_have_no_golden_masks(params, given):
    @jax.jit
    def compute(params):
        return {name: prune_at_init(name, params, 0.9, **given) for name in ("random", "magnitude")}

    found = compute(params)
    for masks in found.values():
        assert sum(kept(masks).values()) == 120 - 108
        assert masks["b1"] is None
    assert not np.array_equal(found["random"]["w1"], found["magnitude"]["w1"])


def test_rounds_nest_unless_weights_may_return(params, given):
    """The second of two rounds scores the network of density 1/4; to 1/16 it keeps some of its weights, or any."""

    @jax.jit
    def compute(params):
        rounds = [prune_at_init("snip", params, 15 / 16, **given, rounds=2, allow_revival=r) for r in (False, True)]
        first = prune_at_init("snip", params, 0.75, **given)
        sparse = {**params, "w1": params["w1"] * first["w1"], "w2": params["w2"] * first["w2"]}
        return first, *rounds, jax.grad(loss)(sparse, given["batch"])

    def flat(tree):
        return np.concatenate([np.ravel(tree[key]) for key in ("w1", "w2")])

    first, nested, revived, grads = (flat(tree) for tree in compute(params))
    scores = np.abs(grads * flat(params))
    best, best_active = np.argsort(-scores)[:8], np.argsort(-scores * first)[:8]
    assert set(best) != set(best_active)
    np.testing.assert_array_equal(np.flatnonzero(revived), np.sort(best))
    np.testing.assert_array_equal(np.flatnonzero(nested), np.sort(best_active))


def test_scopes_budgets_patterns_and_schedules(params):
    budget = {"w1": 0.25, "b1": None, "w2": 0.5}

    @jax.jit
    def compute(params):
        return {
            "scopes": prune_at_init("magnitude", params, rounds=2, scope={"w1": 0.5, "w2": 0.75}),
            "budget": prune_at_init("magnitude", params, budget=budget, rounds=2, schedule="linear"),
            "channel": prune_at_init("magnitude", params, 0.5, rounds=2, scope="local", pattern=Channel()),
            "nm": prune_at_init("magnitude", params, pattern=NM(2, 4, pad=True)),
        }

    found = compute(params)
    assert kept(found["scopes"]) == {"w1": 36, "w2": 12}
    assert kept(found["budget"]) == {"w1": 18, "w2": 24}
    columns = np.asarray(found["channel"]["w1"])
    assert np.array_equal(columns.any(axis=0), columns.all(axis=0))
    assert columns.any(axis=0).sum() == 6
    assert kept(found["nm"])["w2"] == 24


@pytest.mark.parametrize("method", ["snip", "synflow", "force"])
def test_nm_needs_no_sparsity(params, given, method):
    """What it removes goes in the first round; where weights may return, the later rounds count."""
    pattern = {"w1": NM(1, 3), "w2": NM(2, 4)}
    masks = jax.jit(lambda p: prune_at_init(method, p, pattern=pattern, rounds=2, **given))(params)
    assert kept(masks) == {"w1": 24, "w2": 24}
    with pytest.raises(ValueError, match=r"1:3 says itself .* leave out the sparsity, 0.5"):
        prune_at_init(method, params, 0.5, pattern=pattern, **given)
    first = jax.jit(lambda p: prune_at_init(method, p, pattern=pattern, rounds=1, **given))(params)
    same = all(np.array_equal(masks[key], first[key]) for key in ("w1", "w2"))
    assert same == (method != "force")


def test_linear_rounds_remove_equal_parts():
    target = _at_init._Target(0.9, "global", None, "linear")
    np.testing.assert_allclose([target.at(k / 3)["sparsity"] for k in (1, 2, 3)], [0.3, 0.6, 0.9])
    target = _at_init._Target(0.999, "global", None, "exponential")
    np.testing.assert_allclose([1 - target.at(k / 3)["sparsity"] for k in (1, 2, 3)], [0.1, 0.01, 0.001])


def test_over_seeds(params, given):
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), params)
    one = jax.jit(lambda p: prune_at_init("synflow", p, 0.8, **given, rounds=5))
    all_of_them = jax.jit(jax.vmap(lambda p: prune_at_init("synflow", p, 0.8, **given, rounds=5)))(several)
    np.testing.assert_array_equal(all_of_them["w1"][0], one(params)["w1"])
    assert (
        kept(all_of_them) == {key: 2 * n for key, n in kept(one(params)).items()}
        or sum(kept(all_of_them).values()) == 48
    )


def test_synflow_collapses_no_layer(params, given):
    """The point of the method: no layer collapses before it must (tanaka2020synflow, Theorem 3)."""
    uneven = {**params, "w2": params["w2"] * 1e-4}
    masks = jax.jit(lambda p: prune_at_init("synflow", p, 0.95, **given))(uneven)
    assert min(kept(masks).values()) >= 1
    flow = np.abs(np.asarray(uneven["w1"]) * np.asarray(masks["w1"])).sum(axis=0)
    assert np.all(flow[np.asarray(masks["w2"]).any(axis=1)] > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "prune"}, "unknown; it must be one of snip"),
        ({"loss_fn": None}, "needs loss_fn and batch; loss_fn is missing"),
        ({"method": "synflow", "input_shape": None}, "input_shape is missing"),
        ({"method": "random", "key": None}, "key is missing"),
        ({"sparsity": 90}, "Did you mean 0.9"),
        ({"sparsity": None}, "give a sparsity"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"schedule": "cubic"}, "schedule must be"),
        ({"scope": {"w9": 0.5}, "sparsity": None}, "w9"),
        ({"scope": {"w1": 0.5}}, "not both; got 0.5 and"),
        ({"budget": {"w1": 0.5, "b1": None, "w2": 0.5}}, "a sparsity or a budget"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_input(params, given, change, message):
    arguments = {"method": "snip", "sparsity": 0.5, **given} | change
    method, sparsity = arguments.pop("method"), arguments.pop("sparsity")
    with pytest.raises(ValueError, match=message):
        prune_at_init(method, params, sparsity, **arguments)


def test_overflow_in_a_round_is_an_error(params, given):
    large = {key: (1e25 * leaf).astype(jnp.float32) for key, leaf in params.items()}
    with pytest.raises(ValueError, match="not finite in one of the 2 rounds"):
        prune_at_init("synflow", large, 0.5, **given, rounds=2)


def test_every_method_has_a_paper():
    assert set(_at_init.KEYS) == set(get_args(_at_init.Method))
    assert set(_at_init.KEYS.values()) <= set(BIBTEX)
