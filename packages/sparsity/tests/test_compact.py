"""Compaction: the small network computes what the masked one does (spec 10 B.11)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from offprint.sparsity._compact import compact, compacted_size
from offprint.sparsity._dependency import dependency_groups, group_masks

TOLERANCE = 1e-5  # float32, of outputs of order one


def conv(x, w, *, groups=1, stride=1, padding="SAME"):
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def norm(p, name, x):
    scale = p[f"{name}_scale"] * lax.rsqrt(p[f"{name}_var"] + 1e-5)
    return (x - p[f"{name}_mean"]) * scale + p[f"{name}_bias"]


def layer_norm(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(jnp.square(x - mean).mean(-1, keepdims=True) + 1e-6) * scale + bias


def mlp(p, x):
    h = jax.nn.sigmoid(x @ p["w1"] + p["b1"])
    return jax.nn.gelu(h @ p["w2"] + p["b2"]) @ p["w3"] + p["b3"]


def vgg(p, x):
    x = jax.nn.relu(conv(x, p["k1"], padding="VALID") + p["c1"])
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(conv(x, p["k2"], padding="VALID") + p["c2"])
    return jax.nn.relu(x.reshape(x.shape[0], 2 * 2 * 5 if x.shape[-1] == 5 else -1) @ p["w1"] + p["b1"]) @ p["w2"]


def resnet(p, x):
    x = jax.nn.relu(norm(p, "n0", conv(x, p["stem"])))
    h = jax.nn.relu(norm(p, "n1", conv(x, p["a"], stride=2)))
    x = jax.nn.relu(norm(p, "n2", conv(h, p["b"])) + norm(p, "n3", conv(x, p["proj"], stride=2)))
    return x.mean((1, 2)) @ p["out"] + p["bias"]


def densenet(p, x):
    for name in ("k1", "k2"):
        x = jnp.concatenate([x, jax.nn.relu(conv(x, p[name]))], axis=-1)
    return conv(x, p["k3"]).mean((1, 2))


def separable(p, x):
    x = jax.nn.relu(conv(x, p["pw1"]))
    return conv(jax.nn.relu(conv(x, p["dw"], groups=6)), p["pw2"]).mean((1, 2))


def transformer(p, x):
    h = layer_norm(x, p["g1"], p["e1"])
    q, k, v = jnp.split(h @ p["qkv"] + p["bqkv"], 3, axis=-1)
    q, k, v = (t.reshape(*t.shape[:2], 4, 3) for t in (q, k, v))  # heads and their size fixed
    score = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(3)
    score = jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2, bool)), score, -1e9)
    x = x + jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(score), v).reshape(*x.shape[:2], 12) @ p["o"]
    return x + jax.nn.gelu(layer_norm(x, p["g2"], p["e2"]) @ p["up"] + p["bup"]) @ p["down"] + p["bdown"]


def cut(shape, axis, index):
    """A mask without these elements of an axis."""
    mask = np.ones(shape, bool)
    np.moveaxis(mask, axis, 0)[index] = False
    return mask


def arrays(shapes, seed=0):
    rng = np.random.default_rng(seed)

    def array(name, shape):
        if "var" in name:
            return rng.uniform(0.5, 2, shape)
        if len(shape) == 1:  # positive, so that a relu lets a masked unit's constant through
            return rng.uniform(0.0, 0.1, shape) if "mean" in name else rng.uniform(0.3, 1, shape)
        fan = np.prod(shape[:-1])
        return rng.normal(size=shape) / np.sqrt(fan)

    return {name: jnp.asarray(array(name, shape), jnp.float32) for name, shape in shapes.items()}


def masked(params, masks):
    return {k: v if masks.get(k) is None else jnp.asarray(np.where(masks[k], v, 0)) for k, v in params.items()}


def stats(name, n):
    return {f"{name}_{s}": (n,) for s in ("scale", "bias", "mean", "var")}


HEAD = cut((3, 4, 3), 1, [2]).reshape(36)  # head 2 of queries, keys and values

# name: (function, shapes, shape of x, {leaf: (axis, masked elements)}, {group: units left}, folded into)
CASES = {
    "mlp": (
        mlp,
        {"w1": (4, 6), "b1": (6,), "w2": (6, 5), "b2": (5,), "w3": (5, 3), "b3": (3,)},
        (2, 4),
        {"w1": (1, [1, 3]), "w3": (0, [0])},
        {"w1:1": 4, "w2:1": 4},
        {"b2"},
    ),
    "vgg": (
        vgg,
        {"k1": (3, 3, 2, 4), "c1": (4,), "k2": (2, 2, 4, 5), "c2": (5,), "w1": (20, 7), "b1": (7,), "w2": (7, 3)},
        (2, 8, 8, 2),
        {"k1": (3, [1]), "k2": (3, [0, 4]), "w2": (0, [2, 3, 6])},
        {"k1:3": 3, "k2:3": 3, "w1:1": 4},
        {"c2", "b1"},
    ),
    "resnet": (
        resnet,
        {
            "stem": (3, 3, 3, 5),
            "a": (3, 3, 5, 6),
            "b": (1, 1, 6, 7),
            "proj": (1, 1, 5, 7),
            "out": (7, 3),
            "bias": (3,),
            **{k: v for i, n in enumerate((5, 6, 7, 7)) for k, v in stats(f"n{i}", n).items()},
        },
        (2, 6, 6, 3),
        {"a": (3, [0, 2]), "b": (3, [1, 5]), "proj": (3, [1, 5])},
        {"stem:3": 5, "a:3": 4, "b:3": 5},
        {"n2_mean", "bias"},
    ),
    "densenet": (
        densenet,
        {"k1": (3, 3, 3, 4), "k2": (3, 3, 7, 5), "k3": (1, 1, 12, 2)},
        (2, 5, 5, 3),
        {"k1": (3, [1]), "k2": (3, [0, 4])},
        {"k1:3": 3, "k2:3": 3},
        set(),
    ),
    "separable": (
        separable,
        {"pw1": (1, 1, 3, 6), "dw": (3, 3, 1, 6), "pw2": (1, 1, 6, 2)},
        (2, 5, 5, 3),
        {"pw1": (3, [1]), "dw": (3, [4]), "pw2": (2, [0])},
        {"dw:3": 3},
        set(),
    ),
    "transformer": (
        transformer,
        {
            **dict.fromkeys(("g1", "e1", "g2", "e2", "bdown"), (6,)),
            "qkv": (6, 36),
            "bqkv": (36,),
            "o": (12, 6),
            "up": (6, 8),
            "bup": (8,),
            "down": (8, 6),
        },
        (2, 5, 6),
        {"up": (1, [0, 5, 6]), "qkv": HEAD, "bqkv": HEAD},
        {"up:1": 5, "qkv:1#0": 3},
        {"bdown"},
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    apply, shapes, x_shape, cuts, left, folded = CASES[request.param]
    params = arrays(shapes)
    masks: dict = dict.fromkeys(params)
    for name, what in cuts.items():
        mask = np.broadcast_to(what, shapes[name]) if isinstance(what, np.ndarray) else cut(shapes[name], *what)
        masks[name] = jnp.asarray(mask)
    x = jnp.asarray(np.random.default_rng(1).normal(size=x_shape), jnp.float32)
    small, report = compact(apply, params, masks, x)
    return apply, params, masks, x, small, report, left, folded


def close(a, b, tolerance=TOLERANCE):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert np.abs(a - b).max() <= tolerance


def test_masked_network_and_compacted_network_agree(case):
    apply, params, masks, x, small, report, *_ = case
    close(jax.jit(apply)(masked(params, masks), x), jax.jit(report.apply_fn)(small, x))


def test_sizes_are_as_predicted(case):
    apply, params, masks, x, small, report, left, folded = case
    groups = dependency_groups(apply, params, x)
    sizes = {g.name: g.size for g in groups}
    assert report.groups == {name: (size, left.get(name, size)) for name, size in sizes.items()}
    assert left.keys() <= sizes.keys()
    keep = {g.name: np.arange(g.size) < report.groups[g.name][1] for g in groups}  # the number is what counts
    size = compacted_size(groups, params, keep)
    assert report.parameters == (sum(v.size for v in params.values()), size)
    assert size == sum(v.size for v in small.values()) < report.parameters[0]
    assert set(report.folded) == folded
    for name, mask in masks.items():
        assert (report.masks[name] is None) == (mask is None)
        if mask is not None:
            assert report.masks[name].shape == small[name].shape
            assert not np.asarray(small[name])[~np.asarray(report.masks[name])].any()


def test_the_given_function_is_used_where_it_can_be(case):
    apply, *_, report, _, _ = case
    fixed = apply in (separable, transformer)  # they hold the number of groups and of heads
    assert (report.apply_fn is apply) == (not fixed)


def test_other_batch_and_gradients_of_the_rewritten_function():
    params = arrays(CASES["transformer"][1])
    masks = dict.fromkeys(params) | {"qkv": np.broadcast_to(HEAD, (6, 36)), "bqkv": HEAD}
    small, report = compact(transformer, params, masks, jax.ShapeDtypeStruct((1, 5, 6), jnp.float32))
    assert report.apply_fn is not transformer
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 7, 6)), jnp.float32)

    def loss(apply):
        return jax.jit(jax.grad(lambda p, x: jnp.sum(jnp.sin(apply(p, x)))))

    gradient = loss(transformer)(masked(params, masks), x)
    smaller = loss(report.apply_fn)(small, x)
    for name, g in report.shrink(gradient).items():
        close(g, smaller[name], 1e-4)
    each = jax.jit(jax.vmap(lambda x: report.apply_fn(small, x[None])[0]))(x)
    close(each, report.apply_fn(small, x))


def test_keep_removes_the_named_units_with_their_biases(case):
    apply, params, _, x, *_ = case
    groups = [g for g in dependency_groups(apply, params, x) if g.members[0].index.shape[1] != 8]
    if apply is transformer:  # layer norms over what the residual stream keeps whole
        groups = [g for g in groups if not any(m.path == "g1" for m in g.members)]
    keep = {g.name: np.arange(g.size) % 3 != 1 for g in groups}
    small, report = compact(apply, params, keep, x)
    masks = group_masks(groups, params, keep)
    close(jax.jit(apply)(masked(params, masks), x), jax.jit(report.apply_fn)(small, x))
    assert report.parameters[1] == compacted_size(groups, params, keep)


def test_constants_before_zero_padding_stay_unless_told():
    shapes = {"k1": (1, 1, 2, 4), "c1": (4,), "k2": (3, 3, 4, 3)}
    params = arrays(shapes) | {"c1": jnp.asarray([0.5, 0.5, -0.5, 0.5], jnp.float32)}

    def apply(p, x):
        return conv(jax.nn.relu(conv(x, p["k1"]) + p["c1"]), p["k2"])

    masks = {"k1": cut((1, 1, 2, 4), 3, [1, 2]), "c1": None, "k2": None}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 2)), jnp.float32)
    small, report = compact(apply, params, masks, x)
    assert report.groups["k1:3"] == (4, 3)  # relu(-0.5) = 0 goes, relu(0.5) does not
    (reason,) = report.stayed["k1:3"]
    assert "conv_general_dilated of k2" in reason
    assert "zero padding" in reason
    assert reason in str(report)
    close(apply(masked(params, masks), x), report.apply_fn(small, x))
    small, report = compact(apply, params, masks, x, fold=False)
    assert report.groups["k1:3"] == (4, 2)
    zeroed = masked(params, {**masks, "c1": masks["k1"][0, 0, 0]})
    close(apply(zeroed, x), report.apply_fn(small, x))


def test_a_shared_bias_takes_no_constants():
    params = arrays({"w1": (3, 4), "b": (4,), "w2": (4, 4), "w3": (4, 2)})

    def apply(p, x):
        return jax.nn.relu(jax.nn.sigmoid(x @ p["w1"] + p["b"]) @ p["w2"] + p["b"]) @ p["w3"]

    masks = {"w1": cut((3, 4), 1, [1]), "w2": cut((4, 4), 1, [1]), "b": None, "w3": cut((4, 2), 0, [1])}
    _, report = compact(apply, params, masks, jax.ShapeDtypeStruct((2, 3), jnp.float32))
    assert report.parameters[0] == report.parameters[1]
    (reasons,) = report.stayed.values()
    assert any("no bias of its own" in reason for reason in reasons)


def test_useless_units_go_in_a_chain():
    shapes = {"w1": (3, 5), "w2": (5, 4), "w3": (4, 2)}
    params = arrays(shapes)

    def apply(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w1"]) @ p["w2"]) @ p["w3"]

    # Unit 3 of the second layer reaches no output; units 0 and 1 of the first reach nothing but it.
    w2 = cut((5, 4), 0, [0, 1])
    w2[[0, 1], 3] = True
    masks = {"w1": None, "w2": w2, "w3": cut((4, 2), 0, [3])}
    small, _ = compact(apply, params, masks, jax.ShapeDtypeStruct((2, 3), jnp.float32))
    assert {k: v.shape for k, v in small.items()} == {"w1": (3, 3), "w2": (3, 3), "w3": (3, 2)}
    x = jnp.ones((2, 3), jnp.float32)
    close(apply(masked(params, masks), x), apply(small, x))


def test_round_to_keeps_multiples():
    params = arrays(CASES["mlp"][1])
    masks = dict.fromkeys(params) | {"w1": cut((4, 6), 1, [1, 3, 5]), "w3": cut((5, 3), 0, [0])}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32)
    small, report = compact(mlp, params, masks, x, round_to=4)
    assert report.groups == {"w1:1": (6, 4), "w2:1": (5, 4)}
    assert report.stayed == {"w1:1": {"round_to=4, min_keep=0": 1}}
    close(mlp(masked(params, masks), x), mlp(small, x))
    _, report = compact(mlp, params, {"w1:1": np.arange(6) < 3}, x, round_to=4)
    assert report.groups == {"w1:1": (6, 4), "w2:1": (5, 5)}


def test_masked_residual_branch_shrinks_to_one_unit():
    params = arrays({"a": (4, 6), "c": (6, 4)})

    def apply(p, x):
        return x + jnp.tanh(x @ p["a"]) @ p["c"]

    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32)
    masks = {"a": None, "c": np.zeros((6, 4), bool)}
    with pytest.raises(ValueError, match="min_keep=1"):
        compact(apply, params, masks, x)
    small, _ = compact(apply, params, masks, x, min_keep=1)
    assert small["a"].shape == (4, 1)
    close(apply(small, x), x)


def test_scanned_layers_and_recurrence():
    params = arrays({"in": (4, 6), "u": (6, 6), "a": (3, 6, 7), "c": (3, 7, 6), "out": (6, 2)})

    def apply(p, x):
        def cell(h, x):
            return jnp.tanh(x @ p["in"] + h @ p["u"]), None

        def layer(h, w):
            return h + jax.nn.relu(h @ w["a"]) @ w["c"], None

        h, _ = lax.scan(cell, jnp.zeros((2, 6), jnp.float32), x)
        return lax.scan(jax.checkpoint(layer), h, {"a": p["a"], "c": p["c"]})[0] @ p["out"]

    masks = dict.fromkeys(params) | {
        "in": cut((4, 6), 1, [2]),
        "u": cut((6, 6), 1, [2]),
        "c": cut((3, 7, 6), 2, [2]) & cut((3, 7, 6), 1, [5]),
        "a": cut((3, 6, 7), 2, [0]),
    }
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 4)), jnp.float32)
    small, report = compact(apply, params, masks, x)
    assert report.groups == {"a:2": (7, 5), "c:2": (6, 5)}
    assert report.apply_fn is not apply  # it holds the width of the state
    close(jax.jit(apply)(masked(params, masks), x), jax.jit(report.apply_fn)(small, x))


def test_rewritten_slices_pads_shuffles_loops_and_constants():
    held = np.random.default_rng(3).normal(size=6).astype(np.float32)
    params = arrays({"k": (1, 1, 2, 6), "p": (1, 1, 6, 9), "z": (1, 1, 5, 2), "t": (6, 6)})

    def apply(p, x):
        h = conv(x, p["k"]) * held
        h = h.reshape(*h.shape[:3], 2, 3).swapaxes(3, 4).reshape(h.shape)
        h = lax.fori_loop(0, 2, lambda i, h: h[..., ::-1][..., ::-1] + 1 * h, h)
        h = lax.cond(x.sum() > 1e9, lambda h: -h, lambda h: h, h)
        wide = jnp.pad(h, ((0, 0), (0, 0), (0, 0), (1, 2))) + conv(h, p["p"])
        return conv(wide[..., ::2], p["z"])[..., :1] + jnp.broadcast_to(jnp.zeros(()), (1, 3, 3, 1))

    groups = dependency_groups(apply, params, jax.ShapeDtypeStruct((1, 3, 3, 2), jnp.float32))
    keep = {g.name: np.arange(g.size) != 1 for g in groups if g.size > 1}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 3, 2)), jnp.float32)
    small, report = compact(apply, params, keep, x)
    assert report.parameters[1] < report.parameters[0]
    close(jax.jit(apply)(masked(params, group_masks(groups, params, keep)), x), jax.jit(report.apply_fn)(small, x))


def test_shrink_slices_moments():
    params = arrays(CASES["mlp"][1])
    masks = dict.fromkeys(params) | {"w1": cut((4, 6), 1, [1, 3])}
    small, report = compact(mlp, params, masks, jax.ShapeDtypeStruct((2, 4), jnp.float32))
    moments = report.shrink({k: np.asarray(v) if k != "b3" else None for k, v in params.items()})
    np.testing.assert_array_equal(moments["w1"], np.asarray(params["w1"])[:, [0, 2, 4, 5]])
    assert moments["b3"] is None
    assert moments["w2"].shape == small["w2"].shape
    with pytest.raises(ValueError, match="'x' is no leaf of the compacted parameters"):
        report.shrink({"x": np.ones(3)})


def test_linen_variables():
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.BatchNorm(use_running_average=True)(linen.Conv(6, (3, 3), padding="VALID")(x)))
            x = linen.avg_pool(linen.max_pool(x, (2, 2), (2, 2)), (2, 2), padding="SAME", count_include_pad=False)
            return linen.Dense(3)(x.reshape(x.shape[0], -1))

    model, rng = Network(), np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 8, 8, 2)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.1, 1, a.shape), jnp.float32), shapes)
    masks = jax.tree.map(lambda a: None, variables)
    masks["params"]["Conv_0"]["kernel"] = cut((3, 3, 2, 6), 3, [0, 3])
    small, report = compact(model.apply, variables, masks, x)
    assert report.groups == {"params/Conv_0/kernel:3": (6, 4)}
    assert set(report.folded) == {"params/Dense_0/bias"}
    assert small["batch_stats"]["BatchNorm_0"]["mean"].shape == (4,)
    variables["params"]["Conv_0"]["kernel"] *= masks["params"]["Conv_0"]["kernel"]
    want = np.asarray(jax.jit(model.apply)(variables, x))
    close(want, jax.jit(report.apply_fn)(small, x), TOLERANCE * np.abs(want).max())


def test_channels_of_heads_need_the_scale_of_the_original():
    params = arrays({"q": (4, 6), "k": (4, 6), "v": (4, 4), "o": (4, 4)})

    def apply(p, x):
        q, k, v = (t.reshape(*x.shape[:2], 2, -1) for t in (x @ p["q"], x @ p["k"], x @ p["v"]))
        score = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]))
        return jnp.einsum("bhqk,bkhd->bqhd", score, v).reshape(*x.shape[:2], -1) @ p["o"]

    masks = dict.fromkeys(params) | {"q": cut((4, 2, 3), 2, [1]).reshape(4, 6)}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)
    small, report = compact(apply, params, masks, x)
    assert small["k"].shape == (4, 4)
    assert report.apply_fn is not apply  # it would divide by sqrt(2) instead of sqrt(3)
    close(jax.jit(apply)(masked(params, masks), x), jax.jit(report.apply_fn)(small, x))


def branching(p, x):
    a = jax.nn.relu(x @ p["a"] + p["ba"])
    b = jnp.tanh(x @ p["b"])
    h = jnp.concatenate([a, b], axis=-1)
    h = jax.nn.softplus(h @ p["c"] + p["bc"]) + h @ p["d"]
    return h @ p["e"] + p["be"]


BRANCHING = {"a": (2, 3), "ba": (3,), "b": (2, 2), "c": (5, 4), "bc": (4,), "d": (5, 4), "e": (4, 2), "be": (2,)}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 0.6, 0.8]))
def test_any_masks_leave_the_function_unchanged(seed, sparsity):
    rng = np.random.default_rng(seed)
    params = arrays(BRANCHING, seed=1)
    kernels = [name for name, shape in BRANCHING.items() if len(shape) == 2]
    masks: dict = dict.fromkeys(params)
    for name in kernels:
        shape = BRANCHING[name]
        masks[name] = (rng.random(shape) > sparsity) & (rng.random(shape[1]) > 0.3)
        masks[name][0], masks[name][:, 0] = True, True  # no group becomes empty
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    small, report = compact(branching, params, masks, x)
    assert report.apply_fn is branching
    # On the host in float64: every example has other shapes, which would be compiled.
    close(on_host(masked(params, masks), x), on_host(small, x))


def on_host(p, x):
    p = {k: np.asarray(v, np.float64) for k, v in p.items()}
    h = np.concatenate([np.maximum(x @ p["a"] + p["ba"], 0), np.tanh(x @ p["b"])], axis=-1)
    return (np.logaddexp(h @ p["c"] + p["bc"], 0) + h @ p["d"]) @ p["e"] + p["be"]
