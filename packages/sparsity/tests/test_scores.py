"""Criteria: identities, limits and agreement with other ways to the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from offprint.sparsity import scores as sc
from offprint.sparsity._at_init import prune_at_init
from offprint.sparsity._dependency import dependency_groups
from offprint.sparsity._filter import matching
from offprint.sparsity._mask import make_masks
from offprint.sparsity._pattern import Channel, Unstructured

SIZES = (5, 8, 6, 3)


def net(params, x):
    """A ReLU network without biases."""
    for key in ("w1", "w2"):
        x = jax.nn.relu(x @ params[key])
    return x @ params["w3"]


def loss(params, batch):
    x, y = batch
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(net(params, x), y))


def loss_of_one(params, example):
    x, y = example
    return optax.softmax_cross_entropy_with_integer_labels(net(params, x), y)


def total(leaf):
    return float(np.sum(np.asarray(leaf), dtype=np.float64))


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {f"w{i + 1}": jnp.asarray(rng.normal(size=SIZES[i : i + 2])) for i in range(3)}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.normal(size=(10, 5))), jnp.asarray(rng.integers(0, 3, 10))


def test_conservation_in_a_network_without_biases(params, batch):
    @jax.jit
    def compute(params):
        grads = jax.grad(loss)(params, batch)
        signed = {key: grads[key] * params[key] for key in params}
        flow = sc.synflow(net, params, (5,))
        return signed, flow, sc.snip(loss, params, batch), sc.synflow(net, params, (5,), logs=True)

    signed, flow, snip, logs = compute(params)
    for tree in (signed, flow):
        totals = [total(leaf) for leaf in tree.values()]
        np.testing.assert_allclose(totals, totals[0], rtol=1e-9)
    # What enters a hidden unit leaves it.
    np.testing.assert_allclose(np.sum(flow["w1"], axis=0), np.sum(flow["w2"], axis=1), rtol=1e-9)
    np.testing.assert_allclose(sum(total(leaf) for leaf in snip.values()), 1, rtol=1e-12)
    for key in params:
        np.testing.assert_allclose(logs[key], np.log(flow[key]), rtol=1e-9)


def test_synflow_beyond_float32(params):
    # 1e16 per layer: the flow of three layers, about 1e50, is no float32.
    large = {key: (1e16 * leaf).astype(jnp.float32) for key, leaf in params.items()}
    with pytest.raises(ValueError, match="range of float32"):
        sc.synflow(net, large, (5,))
    logs = jax.jit(lambda p: sc.synflow(net, p, (5,), logs=True))(large)
    slopes = np.asarray(large["w3"], np.float64)
    out = np.abs(np.asarray(large["w2"], np.float64)) @ np.abs(slopes).sum(axis=1)
    exact = np.abs(np.asarray(large["w1"], np.float64)) * out
    assert logs["w1"].dtype == jnp.float32
    np.testing.assert_allclose(logs["w1"], np.log(exact), rtol=1e-5)


def test_synflow_logs_warn_about_residual_branches(params):
    only = matching(("w1", "w2"))

    def residual(params, x):
        hidden = x @ params["w1"]
        return hidden + jnp.concatenate([hidden @ params["w2"]] * 2, axis=-1)[..., :8]

    with pytest.warns(UserWarning, match="do not rank as SynFlow"):
        prune_at_init("synflow", params, 0.5, apply_fn=residual, input_shape=(5,), logs=True, rounds=1, filter=only)


def test_synflow_of_masked_weights_is_their_potential(params):
    masks = {"w1": jnp.ones((5, 8), bool).at[:, 2].set(False).at[:3, 5].set(False), "w2": jnp.ones((8, 6), bool)}
    masks["w3"] = None

    @jax.jit
    def compute(params):
        return sc.synflow(net, params, (5,), masks=masks), sc.synflow(net, params, (5,), masks=masks, logs=True)

    flow, logs = compute(params)
    positive = {key: np.abs(np.asarray(leaf)) for key, leaf in params.items()}
    out = positive["w2"] @ positive["w3"].sum(axis=1)
    expected = positive["w1"] * out
    expected[:, 2] = 0  # a ReLU has no slope at zero
    np.testing.assert_allclose(flow["w1"], expected, rtol=1e-9)
    assert np.all(flow["w2"][2] == 0)  # nothing flows into unit 2
    assert np.all(logs["w2"][2] == np.finfo(np.float64).min)


def test_scores_are_the_derivatives_they_say(params, batch):
    """SNIP: of the loss in a gate; GraSP: of half the squared gradient norm in a gate; both by central differences."""
    h = 1e-5
    rng = np.random.default_rng(2)
    places = [(key, tuple(rng.integers(0, n) for n in params[key].shape)) for key in params]

    def tempered(params):
        x, y = batch
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(net(params, x) / 3.0, y))

    def half_norm(params):
        return sum(jnp.sum(g**2) for g in jax.grad(tempered)(params).values()) / 2

    moved = [
        {k: leaf.at[at].multiply(1 + sign * h) if k == key else leaf for k, leaf in params.items()}
        for key, at in places
        for sign in (1, -1)
    ]
    stacked = {key: jnp.asarray(np.stack([np.asarray(m[key]) for m in moved])) for key in params}

    @jax.jit
    def compute(stacked):
        values = jax.vmap(lambda p: (loss(p, batch), half_norm(p)))(stacked)
        return (
            values,
            sc.snip(loss, params, batch, normalise=False),
            sc.grasp(net, params, batch, temperature=3.0, normalise=False),
        )

    (losses, norms), snip, grasp = compute(stacked)
    slopes = (np.asarray(losses)[::2] - np.asarray(losses)[1::2]) / (2 * h)
    flows = (np.asarray(norms)[::2] - np.asarray(norms)[1::2]) / (2 * h)
    np.testing.assert_allclose([snip[key][at] for key, at in places], np.abs(slopes), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose([grasp[key][at] for key, at in places], flows, rtol=1e-5, atol=1e-9)


def test_diagonals_of_a_linear_model(batch):
    """The Gauss-Newton matrix of a linear model is its Hessian: both in closed form, and Hutchinson's estimate near."""
    x, y = batch
    w = {"w": jnp.asarray(np.random.default_rng(3).normal(size=(5, 3)))}

    def linear_loss(params, batch):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(batch[0] @ params["w"], batch[1]))

    @jax.jit
    def compute(w):
        return (
            sc.hessian_diag(linear_loss, w, batch, microbatch=4),
            sc.gauss_newton_diag(lambda p, x: x @ p["w"], w, batch, microbatch=4),
            sc.hutchinson(linear_loss, w, batch, jax.random.key(0), n=2000),
            sc.grasp(lambda p, x: x @ p["w"], w, (x, jax.nn.one_hot(y, 3)), temperature=1.0, normalise=False),
            sc.grasp(lambda p, x: x @ p["w"], w, batch, temperature=1.0, normalise=False),
        )

    exact, gauss_newton, estimate, soft, hard = compute(w)
    logits = np.asarray(x @ w["w"])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (np.asarray(x) ** 2).T @ (p * (1 - p)) / len(y)
    np.testing.assert_allclose(exact["w"], expected, rtol=1e-9)
    np.testing.assert_allclose(gauss_newton["w"], expected, rtol=1e-9)
    np.testing.assert_allclose(estimate["w"], expected, atol=0.15 * expected.max())
    np.testing.assert_allclose(soft["w"], hard["w"], rtol=1e-9)


def test_obd_is_the_loss_change_of_a_quadratic_and_hutchinson_exact_there():
    h = {"w": jnp.asarray(np.random.default_rng(4).uniform(0.5, 2, (4, 3)))}
    w = {"w": jnp.asarray(np.random.default_rng(5).normal(size=(4, 3)))}

    def quadratic(params, batch):
        return 0.5 * jnp.sum(batch * (params["w"] - w["w"]) ** 2)

    @jax.jit
    def compute(w):
        diagonal = sc.hutchinson(quadratic, w, h["w"], jax.random.key(1), n=1)
        return diagonal, sc.obd(w, diagonal)

    diagonal, saliency = compute(w)
    np.testing.assert_allclose(diagonal["w"], h["w"], rtol=1e-12)
    change = [
        0.5 * float(h["w"][i, j]) * float(w["w"][i, j]) ** 2 for i in range(4) for j in range(3)
    ]  # of setting one weight to zero at the minimum
    np.testing.assert_allclose(np.ravel(saliency["w"]), change, rtol=1e-12)


def test_fisher_in_microbatches_and_by_outer_products(params, batch):
    x, y = batch
    sequences = jnp.asarray(np.random.default_rng(6).normal(size=(10, 4, 5)))

    def sequence_loss(p, example):
        return jnp.sum(jnp.tanh(example @ p["w"]) ** 2)

    @jax.jit
    def compute(params):
        hidden = jax.nn.relu(jax.nn.relu(x @ params["w1"]) @ params["w2"])
        logits = hidden @ params["w3"]
        errors = jax.nn.softmax(logits) - jax.nn.one_hot(y, 3)
        first = {"w": params["w1"]}
        out = jnp.tanh(sequences @ params["w1"])
        return (
            sc.fisher_diag(loss_of_one, params, batch, microbatch=4),  # 10 = 4 + 4 + 2
            jax.vmap(lambda a, b: jax.grad(loss_of_one)(params, (a, b)))(x, y),
            sc.fisher_diag_dense(hidden, errors),
            sc.fisher_diag(sequence_loss, first, sequences),
            sc.fisher_diag_dense(sequences, 2 * out * (1 - out**2)),
        )

    fisher, rows, dense, of_sequences, dense_sequences = compute(params)
    for key in params:
        np.testing.assert_allclose(fisher[key], np.mean(np.asarray(rows[key]) ** 2, axis=0), rtol=1e-12)
    np.testing.assert_allclose(dense, fisher["w3"], rtol=1e-9)
    np.testing.assert_allclose(dense_sequences, of_sequences["w"], rtol=1e-9)


def test_adam_reads_the_second_moment(params, batch):
    tx = optax.chain(optax.clip(1.0), optax.adamw(0.1))
    grads = jax.tree.map(lambda w: 0.01 * w, params)
    _, state = jax.jit(lambda p: tx.update(grads, tx.init(p), p))(params)
    found = jax.jit(sc.adam)(params, state)
    for key, w in params.items():
        np.testing.assert_allclose(found[key], 0.001 * (0.01 * np.asarray(w)) ** 2 * np.asarray(w) ** 2, rtol=1e-9)


def test_sensitivity_of_a_linear_model(batch):
    x, _ = batch
    w = {"w": jnp.ones((5, 3)), "bias": jnp.zeros(3)}

    @jax.jit
    def compute(w):
        found = sc.sensitivity(lambda p, x: x @ p["w"] + p["bias"], w, x, microbatch=3)
        return found, sc.sensitivity_decay(w, found)

    found, decay = compute(w)
    each = np.mean(np.abs(np.asarray(x)), axis=0)[:, None] / 3  # one of three outputs feels a weight
    np.testing.assert_allclose(found["w"], np.broadcast_to(each, (5, 3)), rtol=1e-12)
    assert found["bias"] is None
    np.testing.assert_allclose(decay["w"], np.maximum(0, 1 - np.broadcast_to(each, (5, 3))), rtol=1e-12)
    assert not np.any(decay["bias"])


@pytest.mark.parametrize("normalise", [True, False])
def test_heads_by_outputs_and_by_gates(normalise):
    rng = np.random.default_rng(7)
    values, out = jnp.asarray(rng.normal(size=(6, 4, 3, 2))), jnp.asarray(rng.normal(size=(3, 2, 5)))

    def of_one(gates, v):  # (positions, heads, head_dim)
        return jnp.sum(jnp.tanh(jnp.einsum("thd,hde->te", v * gates["layer"][:, None], out)))

    def of_all(v):
        return jnp.sum(jnp.tanh(jnp.einsum("bthd,hde->bte", v, out)))

    @jax.jit
    def compute(v):
        by_outputs = sc.head_importance({"layer": v}, {"layer": jax.grad(of_all)(v)}, normalise=normalise)
        return by_outputs, sc.gate_importance(of_one, {"layer": jnp.ones(3)}, v, normalise=normalise, microbatch=4)

    by_outputs, by_gates = compute(values)
    np.testing.assert_allclose(by_outputs["layer"], by_gates["layer"], rtol=1e-9)
    if normalise:
        np.testing.assert_allclose(np.linalg.norm(by_gates["layer"]), 1, rtol=1e-12)


def test_taylor_of_feature_maps_per_example():
    rng = np.random.default_rng(8)
    a, d = rng.normal(size=(4, 3, 3, 2)), rng.normal(size=(4, 3, 3, 2))
    mean = jax.jit(lambda a, d: sc.taylor_activation(a, d, normalise=False, per_example=True))(a, d)
    np.testing.assert_allclose(mean, np.abs((a * d).mean(axis=(1, 2))).mean(axis=0), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), power=st.sampled_from([-30, 0, 30]), ties=st.booleans())
def test_lamp(seed, power, ties):
    rng = np.random.default_rng(seed)
    w = rng.integers(-3, 4, (6, 5)) if ties else rng.normal(size=(6, 5))
    found = np.asarray(_lamp(jnp.asarray((w * 10.0**power).astype(np.float32))))
    squares = w.astype(np.float64) ** 2
    sums = np.where(squares[None, None] >= squares[..., None, None], squares, 0).sum(axis=(2, 3))
    np.testing.assert_allclose(found, squares / np.where(sums > 0, sums, 1), rtol=1e-5)


_lamp = jax.jit(lambda w: sc.lamp({"w": w})["w"])


def test_magnitude_powers_and_zeros(params):
    tree = {**params, "w4": jnp.zeros((2, 2)), "w5": jnp.full((2, 2), 1e-30, jnp.float32), "bias": jnp.ones(3)}

    @jax.jit
    def compute(tree):
        return sc.magnitude(tree, p=2), sc.magnitude(tree, normalise="l2"), sc.lamp(tree)

    squared, normalised, lamp = compute(tree)
    np.testing.assert_allclose(squared["w1"], np.asarray(params["w1"]) ** 2)
    np.testing.assert_allclose(normalised["w5"], 0.5, rtol=1e-6)
    for scores in (squared, normalised, lamp):
        assert scores["bias"] is None
        assert np.array_equal(scores["w4"], np.zeros((2, 2)))


def test_standard_deviations():
    w = {"a": {"w": jnp.asarray(np.random.default_rng(9).normal(size=(30, 20)))}, "b": {"w": jnp.ones((2, 2))}}
    masks = jax.jit(lambda w: sc.std_threshold(w, {"a/*": 1.0, "*": 0.5}))(w)
    a = np.asarray(w["a"]["w"])
    np.testing.assert_array_equal(masks["a"]["w"], np.abs(a) >= a.std())
    assert np.all(masks["b"]["w"])  # no spread


def test_random_is_by_leaf_and_key(params):
    draw = jax.jit(lambda key: sc.random(key, {**params, "w4": params["w1"]}))
    one, again, other = draw(jax.random.key(0)), draw(jax.random.key(0)), draw(jax.random.key(1))
    np.testing.assert_array_equal(one["w1"], again["w1"])
    assert not np.any(np.asarray(one["w1"]) == np.asarray(other["w1"]))
    assert not np.any(np.asarray(one["w1"]) == np.asarray(one["w4"]))


def test_units_spread_for_channels(params, batch):
    @jax.jit
    def compute(params):
        units = sc.taylor_unit(params, jax.grad(loss)(params, batch))
        wide = sc.spread(units, params)
        return units, sc.group(wide, Channel(), "mean"), make_masks(wide, 0.5, pattern=Channel(reduce="mean"))

    units, back, masks = compute(params)
    for key in params:
        np.testing.assert_allclose(back[key], units[key], rtol=1e-12)
        columns = np.asarray(masks[key]).all(axis=0)
        assert np.array_equal(columns, np.asarray(masks[key]).any(axis=0))
        assert columns.sum() == len(columns) - round(0.5 * len(columns))


@pytest.mark.parametrize("reduce", ["sum", "mean", "rms", "max"])
def test_groups_over_leaves(reduce):
    """The units of a hidden layer: columns of one kernel, and rows of the next at two positions (a flattened map)."""
    rng = np.random.default_rng(10)
    first, after = rng.uniform(size=(5, 8)), rng.uniform(size=(16, 3))
    params = {"first": {"kernel": first, "bias": np.zeros(8)}, "after": {"kernel": after}}

    def apply(p, x):
        hidden = jax.nn.relu(x @ p["first"]["kernel"] + p["first"]["bias"])
        return hidden.reshape(1, 16) @ p["after"]["kernel"]

    groups = dependency_groups(apply, params, jax.ShapeDtypeStruct((1, 2, 5), jnp.float64))
    scores = {"first": {"kernel": first, "bias": None}, "after": {"kernel": after}}
    found = jax.jit(lambda s: sc.group(s, groups, reduce))(scores)
    assert list(found) == ["first/kernel:1"]
    parts = [np.concatenate([first[:, u], after[u], after[u + 8]]) for u in range(8)]
    how = {"sum": np.sum, "mean": np.mean, "max": np.max, "rms": lambda x: np.sqrt(np.mean(x**2))}[reduce]
    np.testing.assert_allclose(found["first/kernel:1"], [how(part) for part in parts], rtol=1e-12)


def test_geometric_median_in_float32():
    filters = np.random.default_rng(11).normal(size=(3, 3, 2, 6)) * 1e-3 + 1
    filters[..., 1] = filters[..., 0]
    exact = np.linalg.norm((filters[..., :, None] - filters[..., None, :]).reshape(-1, 6, 6), axis=0).sum(axis=1)
    found = jax.jit(sc.fpgm)(jnp.asarray(filters, jnp.float32))
    np.testing.assert_allclose(found, exact, rtol=1e-3)  # inner products would leave nothing of it


def test_units_that_can_be_replaced():
    rng = np.random.default_rng(12)
    acts, kernel, bias = rng.normal(size=(40, 5)), rng.normal(size=(5, 3)), rng.normal(size=3)
    acts[:, 3] = -2 * acts[:, 1] + 0.5
    acts[:, 4] = 0.7

    @jax.jit
    def compute(acts, kernel, bias):
        slope, intercept = sc.linear_fit(acts, 1, 3)
        merged = sc.merge_units(kernel, bias, 1, 3, slope, intercept)
        folded = sc.fold_mean(*merged, sc.activation_mean(acts), sc.activation_variance(acts) > 1e-9)
        return sc.correlation(acts), folded, sc.apoz(jax.nn.relu(acts))

    matrix, (small, shifted), zeros = compute(acts, kernel, bias)
    np.testing.assert_allclose(matrix[1, 3], -1, rtol=1e-12)
    np.testing.assert_allclose(matrix[4], [0, 0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(matrix[:4, :4], np.corrcoef(acts[:, :4].T), rtol=1e-9, atol=1e-12)
    assert not np.any(small[3])
    assert not np.any(small[4])
    np.testing.assert_allclose(acts @ np.asarray(small) + np.asarray(shifted), acts @ kernel + bias, rtol=1e-9)
    np.testing.assert_allclose(zeros, (acts <= 0).mean(axis=0))


def test_folding_into_a_convolution():
    rng = np.random.default_rng(13)
    x, kernel = rng.normal(size=(2, 4, 4, 3)), rng.normal(size=(3, 3, 3, 2))
    x[..., 1] = 0.3
    small, bias = jax.jit(sc.fold_mean)(
        kernel, jnp.zeros(2), jnp.array([0.0, 0.3, 0.0]), jnp.array([True, False, True])
    )

    @jax.jit
    def valid(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    np.testing.assert_allclose(valid(x, small) + bias, valid(x, kernel), rtol=1e-9, atol=1e-12)


def test_soft_movement():
    scores = {"w": jnp.array([[-1.0, 0.2], [3.0, -0.1]]), "bias": None}
    masks, penalty = jax.jit(lambda s: (sc.soft_movement_masks(s), sc.soft_movement_penalty(s)))(scores)
    np.testing.assert_array_equal(masks["w"], [[False, True], [True, False]])
    np.testing.assert_allclose(penalty, (1 / (1 + np.exp(-np.asarray(scores["w"])))).sum())


def test_over_seeds_and_devices(params, batch):
    """vmap and sharded parameters give the numbers of one plain call."""
    wide = {**params, "w1": jnp.asarray(np.random.default_rng(14).normal(size=(5, 8)))}
    both = {key: jnp.stack([params[key], wide[key]]) for key in params}

    def scores(p):
        return sc.snip(loss, p, batch), sc.lamp(p)

    one = jax.jit(scores)(wide)
    second = jax.tree.map(lambda leaf: leaf[1], jax.jit(jax.vmap(scores))(both))
    mesh = jax.make_mesh((8,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = {"w1": PartitionSpec(None, "devices"), "w2": PartitionSpec("devices"), "w3": PartitionSpec()}
    sharded = {key: jax.device_put(leaf, NamedSharding(mesh, spread[key])) for key, leaf in wide.items()}
    for other in (second, jax.jit(scores)(sharded)):
        for plain, found in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(found, plain, rtol=1e-12)


def test_half_precision_is_widened():
    w = {"w": jnp.asarray([[1e-3, 2e-3], [3e-3, 4e-3]], jnp.float16)}
    found = jax.jit(lambda w: (sc.taylor(w, w, squared=True), sc.lamp(w), sc.magnitude(w)))(w)
    for tree in found:
        assert tree["w"].dtype == jnp.float32
        assert np.unique(np.asarray(tree["w"])).size == 4


def test_grasp_with_new_dense_kernels(params, batch):
    score = jax.jit(lambda p: sc.grasp(net, p, batch, reinit_linear=jax.random.key(0)))
    redrawn, again = score(params), score({key: 2 * leaf for key, leaf in params.items()})
    np.testing.assert_array_equal(redrawn["w2"], again["w2"])  # the weights themselves play no part


class Model(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def test_nnx_model_and_evaluation_mode():
    model = Model(nnx.Rngs(0))
    x, y = np.random.default_rng(15).normal(size=(6, 4)).astype(np.float32), np.arange(6) % 3
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def training_loss(params, batch):
        return jnp.mean(nnx.merge(graph, params, rest)(batch[0]) ** 2)

    with pytest.raises(ValueError, match=r"call model\.eval"):
        sc.snip(training_loss, params, (x, y))
    model.eval()
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def eval_loss(params, batch):
        logits = nnx.merge(graph, params, rest)(batch[0])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]))

    @jax.jit
    def compute(params):
        scores = sc.snip(eval_loss, params, (x, y))
        masks = make_masks(scores, 0.5, scope="global", pattern=Unstructured())
        return sc.snip(eval_loss, params, (x, y), filter=matching("last/*")), masks

    only_last, masks = compute(params)
    assert only_last["first"]["kernel"].get_value() is None
    assert only_last["last"]["bias"].get_value().shape == (3,)
    kept = sum(int(np.sum(masks[layer]["kernel"].get_value())) for layer in ("first", "last"))
    assert kept == 42 - 21


def test_host_arrays_are_taken():
    w = {"kernel": np.array([[1.0, -2.0], [0.5, 0.0]])}
    np.testing.assert_array_equal(sc.magnitude(w)["kernel"], np.abs(w["kernel"]))
