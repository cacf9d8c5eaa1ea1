"""Dependency groups: which slices of which parameters go together. Only shapes are needed, so nothing is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from offprint.sparsity._dependency import dependency_groups, group_masks, prune_groups
from offprint.sparsity._units import Units, flatten, product, split


def f(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def conv(x, w, groups=1, padding="SAME"):
    return lax.conv_general_dilated(
        x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def found(apply_fn, params, x, **options):
    """{name: (units, members as `path:axis` with the number of elements per unit)}."""
    return {
        g.name: (g.size, {f"{m.path}:{m.axis}": m.index.shape[1] for m in g.members})
        for g in dependency_groups(apply_fn, params, x, **options)
    }


def heads(p, x, count, *, kv=None):
    """Attention with a fused or split projection, the number of heads written into the code."""
    batch, time, _ = x.shape
    kv = kv or count
    if "qkv" in p:
        q, k, v = jnp.split(x @ p["qkv"], 3, axis=-1)
    else:
        q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
    q, k, v = q.reshape(batch, time, count, -1), k.reshape(batch, time, kv, -1), v.reshape(batch, time, kv, -1)
    if kv != count:
        k, v = (jnp.repeat(t, count // kv, axis=2) for t in (k, v))
    attended = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2.0, axis=-1)
    return x + jnp.einsum("bhqk,bkhd->bqhd", attended, v).reshape(batch, time, -1) @ p["o"]


@jax.custom_vjp
def clipped(x):
    return jnp.clip(x, 0, 6)


clipped.defvjp(lambda x: (clipped(x), x), lambda x, g: (g * (x > 0),))


def test_mlp_of_every_kind_of_call():
    params = {"w1": f(4, 6), "b1": f(6), "w2": f(6, 5), "w3": f(5, 3), "b3": f(3)}

    def apply(p, x):
        h = jax.jit(lambda h: jax.nn.relu(h + p["b1"]))(x @ p["w1"])
        h = jax.checkpoint(lambda h: clipped(h @ p["w2"]))(h)
        return jax.nn.log_softmax(h @ p["w3"] + p["b3"])

    assert found(apply, params, f(2, 4)) == {
        "w1:1": (6, {"w1:1": 1, "b1:0": 1, "w2:0": 1}),
        "w2:1": (5, {"w2:1": 1, "w3:0": 1}),
    }


def test_inputs_outputs_and_frozen_leaves_stay():
    params = {"w1": f(4, 6), "w2": f(6, 3)}
    assert found(lambda p, x: x @ p["w1"], params, f(2, 4)) == {}  # and leaves that aren't used
    assert found(lambda p, x: x @ p["w1"] @ p["w2"], params, f(2, 4), freeze="w1") == {}


def test_concatenation_gives_each_part_its_own_offset():
    params = {"a": f(1, 1, 3, 4), "b": f(1, 1, 7, 5), "c": f(1, 1, 12, 2)}

    def dense_block(p, x):
        x = jnp.concatenate([x, conv(x, p["a"])], axis=-1)
        return conv(jnp.concatenate([x, conv(x, p["b"])], axis=-1), p["c"])

    groups = {
        g.name: {f"{m.path}:{m.axis}": m.index for m in g.members}
        for g in dependency_groups(dense_block, params, f(1, 8, 8, 3))
    }
    assert set(groups) == {"a:3", "b:3"}
    np.testing.assert_array_equal(groups["a:3"]["b:2"], np.arange(3, 7)[:, None])
    np.testing.assert_array_equal(groups["a:3"]["c:2"], np.arange(3, 7)[:, None])
    np.testing.assert_array_equal(groups["b:3"]["c:2"], np.arange(7, 12)[:, None])


def test_flatten_after_convolution_and_pooling_strides_the_index():
    params = {"k": f(3, 3, 1, 5), "w": f(2 * 3 * 5, 4)}

    def apply(p, x):
        x = lax.reduce_window(conv(x, p["k"]), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return x.reshape(x.shape[0], -1) @ p["w"]

    (group,) = dependency_groups(apply, params, f(2, 4, 6, 1))
    assert [(m.path, m.axis) for m in group.members] == [("k", 3), ("w", 0)]
    np.testing.assert_array_equal(group.members[1].index, np.arange(30).reshape(6, 5).T)


def test_channels_first_flatten_and_transposes():
    params = {"k": f(3, 3, 1, 5), "w": f(4, 5 * 8)}

    def apply(p, x):
        return (p["w"] @ jnp.transpose(conv(x, p["k"]), (0, 3, 1, 2)).reshape(x.shape[0], -1).T).T

    (group,) = dependency_groups(apply, params, f(2, 2, 4, 1))
    np.testing.assert_array_equal(group.members[1].index, np.arange(40).reshape(5, 8))


def test_depthwise_convolution_couples_its_input_and_output():
    params = {"a": f(1, 1, 3, 6), "dw": f(3, 3, 1, 6), "pw": f(1, 1, 6, 2)}
    groups = found(lambda p, x: conv(conv(conv(x, p["a"]), p["dw"], 6), p["pw"]), params, f(1, 4, 4, 3))
    assert groups == {"a:3": (6, {"a:3": 1, "dw:3": 1, "pw:2": 1})}


def test_depthwise_multiplier():
    params = {"a": f(1, 1, 3, 4), "dw": f(3, 3, 1, 8), "pw": f(1, 1, 8, 2)}
    groups = found(lambda p, x: conv(conv(conv(x, p["a"]), p["dw"], 4), p["pw"]), params, f(1, 4, 4, 3))
    assert groups == {
        "a:3": (4, {"a:3": 1, "dw:3": 2, "pw:2": 2}),
        "dw:3": (2, {"dw:3": 4, "pw:2": 4}),  # one multiple of every channel
    }


def test_grouped_convolution_removes_groups_or_the_same_channel_of_each():
    params = {"a": f(1, 1, 3, 4), "g": f(3, 3, 2, 6), "z": f(1, 1, 6, 2)}
    groups = found(lambda p, x: conv(conv(conv(x, p["a"]), p["g"], 2), p["z"]), params, f(1, 4, 4, 3))
    assert groups == {
        "a:3#0": (2, {"a:3": 2, "g:2": 1}),
        "a:3#1": (2, {"a:3": 2, "g:3": 3, "z:2": 3}),
        "g:3": (3, {"g:3": 2, "z:2": 2}),
    }


def test_channel_shuffle_permutes_the_index():
    params = {"a": f(1, 1, 3, 6), "b": f(1, 1, 6, 2)}

    def shuffled(p, x):
        h = conv(x, p["a"])
        return conv(h.reshape(*h.shape[:3], 2, 3).swapaxes(3, 4).reshape(h.shape), p["b"])

    groups = {g.size: g for g in dependency_groups(shuffled, params, f(1, 4, 4, 3))}
    assert set(groups) == {2, 3}  # halves, or the same channel of both
    np.testing.assert_array_equal(groups[2].members[0].index, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(groups[2].members[1].index, [[0, 2, 4], [1, 3, 5]])


def test_residual_with_batch_norm_and_projection():
    params = {
        "stem": f(3, 3, 3, 4),
        "a": f(3, 3, 4, 5),
        "c": f(3, 3, 5, 6),
        "proj": f(1, 1, 4, 6),
        "out": f(6, 2),
        **{f"{bn}_{name}": f(n) for bn, n in (("a", 5), ("c", 6)) for name in ("scale", "bias", "mean", "var")},
    }

    def norm(p, name, x):
        return (x - p[f"{name}_mean"]) * lax.rsqrt(p[f"{name}_var"] + 1e-5) * p[f"{name}_scale"] + p[f"{name}_bias"]

    def apply(p, x):
        x = jax.nn.relu(conv(x, p["stem"]))
        h = jax.nn.relu(norm(p, "a", conv(x, p["a"])))
        x = jax.nn.relu(norm(p, "c", conv(h, p["c"])) + conv(x, p["proj"]))
        return x.mean((1, 2)) @ p["out"]

    stats = ("scale", "bias", "mean", "var")
    assert found(apply, params, f(1, 4, 4, 3)) == {
        "stem:3": (4, {"stem:3": 1, "a:2": 1, "proj:2": 1}),
        "a:3": (5, {"a:3": 1, "c:2": 1, **{f"a_{s}:0": 1 for s in stats}}),
        "c:3": (6, {"c:3": 1, "proj:3": 1, "out:0": 1, **{f"c_{s}:0": 1 for s in stats}}),
    }


def test_padding_shortcut_and_slices_of_channels():
    params = {"a": f(1, 1, 2, 3), "b": f(1, 1, 3, 5), "c": f(1, 1, 2, 2)}

    def apply(p, x):
        h = conv(x, p["a"])
        wide = jnp.pad(h, ((0, 0), (0, 0), (0, 0), (1, 1))) + conv(h, p["b"])  # option A of ResNet
        return conv(wide[..., ::4], p["c"])

    groups = dependency_groups(apply, params, f(1, 4, 4, 2))
    index = {g.name: {f"{m.path}:{m.axis}": m.index.tolist() for m in g.members} for g in groups}
    assert index == {
        "a:3": {"a:3": [[0], [1], [2]], "b:2": [[0], [1], [2]], "b:3": [[1], [2], [3]]},
        "b:3": {"b:3": [[0], [4]], "c:2": [[0], [1]]},
    }


def test_fused_attention_has_heads_and_their_channels():
    groups = found(lambda p, x: heads(p, x, 4), {"qkv": f(8, 36), "o": f(12, 8)}, f(2, 5, 8))
    assert groups == {
        "qkv:1#0": (3, {"qkv:1": 4, "o:0": 4}),  # a channel of all values
        "qkv:1#1": (4, {"qkv:1": 9, "o:0": 3}),  # heads
        "qkv:1#2": (3, {"qkv:1": 8}),  # a channel of all queries and keys
    }


def test_grouped_query_attention_removes_keys_with_all_their_queries():
    params = {"q": f(8, 12), "k": f(8, 6), "v": f(8, 6), "o": f(12, 8)}
    groups = found(lambda p, x: heads(p, x, 4, kv=2), params, f(2, 5, 8))
    assert groups == {
        "k:1#0": (2, {"k:1": 3, "v:1": 3, "q:1": 6, "o:0": 6}),  # a head of keys and values, with its queries
        "k:1#1": (3, {"k:1": 2, "q:1": 4}),
        "q:1": (2, {"q:1": 6, "o:0": 6}),  # one of the queries of every such head
        "v:1": (3, {"v:1": 2, "o:0": 4}),
    }


def test_scanned_layers_and_recurrent_cells_share_their_units():
    params = {"in": f(4, 6), "a": f(3, 6, 7), "b": f(3, 7, 6), "out": f(6, 2), "u": f(6, 6)}

    def layers(p, x):
        def layer(h, w):
            return h + jax.nn.relu(h @ w["a"]) @ w["b"], None

        return lax.scan(layer, x @ p["in"], {"a": p["a"], "b": p["b"]})[0] @ p["out"]

    groups = found(layers, params, f(2, 4))
    assert groups == {
        "b:2": (6, {"in:1": 1, "a:1": 1, "b:2": 1, "out:0": 1}),
        "a:2": (7, {"a:2": 1, "b:1": 1}),
    }

    def recurrent(p, x):
        def cell(h, x):
            h = jnp.tanh(x @ p["in"] + h @ p["u"])
            return h, h

        return lax.scan(cell, jnp.zeros((2, 6)), x)[1] @ p["out"]

    assert found(recurrent, params, f(5, 2, 4))["in:1"] == (6, {"in:1": 1, "u:0": 1, "u:1": 1, "out:0": 1})


def test_gates_of_an_lstm_share_their_units():
    params = {"w": f(3, 24), "u": f(6, 24), "b": f(24), "o": f(6, 2)}

    def apply(p, x):
        def cell(carry, x):
            c, h = carry
            i, g, o, forget = jnp.split(x @ p["w"] + h @ p["u"] + p["b"], 4, axis=-1)
            c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (c, jax.nn.sigmoid(o) * jnp.tanh(c)), None

        zeros = jnp.zeros((2, 6), jnp.float32)
        return lax.scan(cell, (zeros, zeros), x)[0][1] @ p["o"]

    assert found(apply, params, f(5, 2, 3)) == {"u:1": (6, {"w:1": 4, "u:1": 4, "u:0": 1, "b:0": 4, "o:0": 1})}


def test_scatter_of_a_class_token():
    params = {"w": f(4, 6), "token": f(6), "v": f(6, 2)}
    groups = found(lambda p, x: (x @ p["w"]).at[:, 0].set(p["token"]) @ p["v"], params, f(2, 3, 4))
    assert groups == {"w:1": (6, {"w:1": 1, "token:0": 1, "v:0": 1})}


def test_ensemble_of_convolutional_networks_by_vmap():
    params = {"k": f(3, 3, 3, 2, 5), "c": f(3, 5), "w": f(3, 80, 2)}  # vmap makes grouped convolutions

    def member(p, x):
        h = jax.nn.relu(conv(x, p["k"]) + p["c"])
        return h.reshape(h.shape[0], -1) @ p["w"]

    groups = found(jax.vmap(member, in_axes=(0, None)), params, f(2, 4, 4, 2))
    assert groups == {"c:1": (5, {"k:4": 1, "c:1": 1, "w:1": 16})}


def test_while_and_cond():
    params = {"in": f(4, 6), "u": f(6, 6), "out": f(6, 2)}

    def apply(p, x):
        h = lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ p["u"]), x @ p["in"])
        h = lax.cond(x.sum() > 0, lambda h: h @ p["u"], lambda h: -h, h)
        return h @ p["out"]

    assert found(apply, params, f(2, 4)) == {"in:1": (6, {"in:1": 1, "u:0": 1, "u:1": 1, "out:0": 1})}


def test_embeddings_positions_and_held_constants():
    params = {"embed": f(11, 6), "pos": f(9, 6), "out": f(6, 3)}
    held = np.linspace(0, 1, 6, dtype=np.float32)
    groups = found(
        lambda p, x: (p["embed"][x] * held + p["pos"][:5]) @ p["out"], params, jax.ShapeDtypeStruct((2, 5), int)
    )
    assert groups == {"embed:1": (6, {"embed:1": 1, "pos:1": 1, "out:0": 1})}


def test_softmax_sort_and_position_keep_what_depends_on_the_index():
    params = {"w": f(4, 6), "v": f(6, 2)}
    for kept_whole in (
        jax.nn.softmax,
        lambda h: jnp.sort(h, -1),
        lambda h: jnp.cumsum(h, -1),
        lambda h: h * jnp.arange(6.0),
        lambda h: lax.top_k(h, 6)[0],
    ):
        assert found(lambda p, x, g=kept_whole: g(x @ p["w"]) @ p["v"], params, f(2, 4)) == {}


@pytest.mark.parametrize(
    ("apply", "primitive"),
    [
        (lambda p, x: jnp.fft.fft(x @ p["w"]).real @ p["v"], "fft"),
        (lambda p, x: jnp.linalg.qr(x @ p["w"])[0] @ p["v"][:2], "qr"),
        (lambda p, x: (jax.random.bernoulli(jax.random.key(0), 0.5, (2, 6)) * (x @ p["w"])) @ p["v"], "random_bits"),
    ],
)
def test_primitive_without_rule_is_named(apply, primitive):
    params = {"w": f(4, 6), "v": f(6, 2)}
    with pytest.raises(ValueError, match=rf"'{primitive}.*ties the units of .*freeze"):
        dependency_groups(apply, params, f(2, 4))
    assert dependency_groups(apply, params, f(2, 4), freeze=["w", "v"]) == ()


def test_primitive_without_rule_may_touch_what_is_whole_anyway():
    params = {"w": f(4, 6), "v": f(6, 2)}
    assert set(found(lambda p, x: jnp.fft.fft(x).real @ p["w"] @ p["v"], params, f(2, 4))) == {"w:1"}


def test_freeze_must_match():
    with pytest.raises(ValueError, match=r"freeze='nope' matches no parameter; the paths are w"):
        dependency_groups(lambda p, x: x @ p["w"], {"w": f(4, 6)}, f(2, 4), freeze="nope")


DIGIT = st.integers(0, 9)


class TestUnits:
    """The union-find itself."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.sets(st.integers(0, 9), max_size=2)
    )
    def test_single_units_are_a_union_find(self, pairs, frozen):
        units = Units()
        axis = units.fresh(10)
        for a, b in pairs:
            units.unify(axis[[a]], axis[[b]])
        for a in frozen:
            units.freeze(axis[[a]])
        color = list(range(10))
        for a, b in pairs:
            color = [color[a] if c == color[b] else c for c in color]
        whole = {color[a] for a in frozen}
        now = np.zeros(10) if len(whole) == 10 else units.resolve(axis)
        roots = now[:, 0] if now.ndim == 2 and now.shape[1] else np.zeros(10)
        for i in range(10):
            assert (roots[i] == 0) == (color[i] in whole)
            for j in range(10):
                if color[i] not in whole:
                    assert (roots[i] == roots[j]) == (color[i] == color[j])

    @pytest.mark.parametrize("sizes", [(2, 3), (3, 2, 2)])
    def test_split_undoes_flatten(self, sizes):
        units = Units()
        factors, whole = product(units, sizes)
        for one, other in zip(factors, split(units, whole, sizes), strict=True):
            np.testing.assert_array_equal(units.resolve(one), units.resolve(other))

    def test_split_of_free_units_makes_products(self):
        units = Units()
        axis = units.fresh(6)
        rows, columns = split(units, axis, (2, 3))
        np.testing.assert_array_equal(units.resolve(axis), units.resolve(flatten([rows, columns])))

    def test_unlike_products_become_one_unit(self):
        units = Units()
        (a, b), one = product(units, (2, 3))
        (c, d), other = product(units, (3, 2))
        units.unify(one, other)
        assert np.unique(np.concatenate([units.resolve(x) for x in (a, b, c, d)])).size == 1

    def test_freezing_a_product_freezes_its_factors(self):
        units = Units()
        (a, b), whole = product(units, (2, 3))
        units.freeze(whole)
        assert units.resolve(a).shape == (2, 0)
        assert units.resolve(b).shape == (3, 0)


PARAMS = {"w": f(4, 6), "b": f(6), "v": f(6, 5), "o": f(5, 2)}
SCORES = {"w:1": np.array([5.0, 1, 4, 1, 3, 2]), "v:1": np.array([9.0, 0, 8, 7, 6])}


class TestPruneGroups:
    """Choosing units."""

    def groups(self):
        return dependency_groups(lambda p, x: (x @ p["w"] + p["b"]) @ p["v"] @ p["o"], PARAMS, f(2, 4))

    def test_local_counts_and_ties(self):
        keep = prune_groups(self.groups(), SCORES, 0.7)
        np.testing.assert_array_equal(keep["w:1"], [1, 0, 1, 0, 0, 0])  # rint(4.2) go
        np.testing.assert_array_equal(keep["v:1"], [1, 0, 0, 0, 0])  # rint(3.5) = 4 go
        tied = prune_groups(self.groups(), {"w:1": np.ones(6)}, 0.5)
        np.testing.assert_array_equal(tied["w:1"], [1, 1, 1, 0, 0, 0])
        assert tied["v:1"].all()

    def test_global_ranks_all_units_together(self):
        keep = prune_groups(self.groups(), SCORES, 0.5, scope="global")
        np.testing.assert_array_equal(keep["v:1"], [1, 0, 1, 1, 1])  # rint(5.5) = 6 of 11 go
        np.testing.assert_array_equal(keep["w:1"], [1, 0, 0, 0, 0, 0])

    def test_round_to_rounds_up(self):
        keep = prune_groups(self.groups(), SCORES, {"w:*": 0.7, "v:*": 0.9}, round_to=4)
        assert {name: int(k.sum()) for name, k in keep.items()} == {"w:1": 4, "v:1": 4}
        assert prune_groups(self.groups(), SCORES, 0.7, round_to=8)["w:1"].all()

    def test_masks_cover_every_member(self):
        params = {k: np.ones(v.shape, np.float32) for k, v in PARAMS.items()}
        masks = group_masks(self.groups(), params, {"w:1": np.array([1, 1, 0, 1, 1, 0], bool)})
        gone = [2, 5]
        assert masks["o"] is None
        assert not masks["w"][:, gone].any()
        assert not masks["b"][gone].any()
        assert not masks["v"][gone].any()
        assert masks["w"].sum() + masks["b"].sum() + masks["v"].sum() == 4 * 4 + 4 + 4 * 5

    @pytest.mark.parametrize(
        ("scores", "sparsity", "options", "message"),
        [
            (SCORES, 90, {}, r"sparsity must be in \[0, 1\); got 90. Did you mean 0.9\?"),
            (SCORES, -0.1, {}, r"got -0.1"),
            (SCORES, {"x:*": 0.5}, {}, r"no group matches 'x:\*'; the groups are w:1, v:1"),
            (SCORES, {"w:1": 0.5}, {"scope": "global"}, "scope must be"),
            (SCORES, 0.5, {"scope": "layer"}, "scope must be"),
            (SCORES, 0.5, {"round_to": 0}, "round_to must be at least 1"),
            ({"w": np.ones(6)}, 0.5, {}, "scores name 'w', which is no group"),
            ({"w:1": np.ones(5)}, 0.5, {}, r"must have shape \(6,\), not \(5,\)"),
            ({"w:1": np.full(6, np.nan)}, 0.5, {}, "not all finite"),
        ],
    )
    def test_bad_input(self, scores, sparsity, options, message):
        with pytest.raises(ValueError, match=message):
            prune_groups(self.groups(), scores, sparsity, **options)

    @pytest.mark.parametrize(
        ("keep", "message"),
        [
            ({"x": np.ones(6, bool)}, "keep names 'x', which is no group"),
            ({"w:1": np.ones(5, bool)}, "must be 6 booleans"),
            ({"w:1": np.zeros(6, bool)}, r"would leave the group empty; .*freeze='w'"),
        ],
    )
    def test_bad_keep(self, keep, message):
        with pytest.raises(ValueError, match=message):
            group_masks(self.groups(), PARAMS, keep)
