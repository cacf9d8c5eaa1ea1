"""Compaction of NNX models: smaller modules of the same classes that know their sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.sparsity._compact import compact
from offprint.sparsity._compact_nnx import compact_nnx, functional, nnx_groups, resize_nnx
from offprint.sparsity._dependency import group_masks
from offprint.sparsity._mask import make_masks
from offprint.sparsity._pattern import Channel
from offprint.sparsity._tree import map_named, named_leaves


class ResNet(nnx.Module):
    """Batch norm, a projection, a depthwise and a grouped convolution, group norm, flatten."""

    def __init__(self, rngs):
        bare = {"use_bias": False, "rngs": rngs}
        self.stem, self.n0 = nnx.Conv(3, 6, (3, 3), **bare), nnx.BatchNorm(6, rngs=rngs)
        self.a, self.n1 = nnx.Conv(6, 8, (3, 3), strides=2, **bare), nnx.BatchNorm(8, rngs=rngs)
        self.b, self.n2 = nnx.Conv(8, 12, (1, 1), **bare), nnx.BatchNorm(12, rngs=rngs)
        self.proj, self.n3 = nnx.Conv(6, 12, (1, 1), strides=2, **bare), nnx.BatchNorm(12, rngs=rngs)
        self.depthwise = nnx.Conv(12, 12, (3, 3), feature_group_count=12, rngs=rngs)
        self.norm = nnx.GroupNorm(12, num_groups=4, rngs=rngs)
        self.grouped = nnx.Conv(12, 8, (1, 1), feature_group_count=4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(8 * 9, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.n0(self.stem(x)))
        y = self.n2(self.b(nnx.relu(self.n1(self.a(x)))))
        x = nnx.relu(y + self.n3(self.proj(x)))
        x = nnx.relu(self.norm(self.depthwise(x)))
        x = nnx.relu(self.grouped(x))
        return self.out(self.drop(x.reshape(x.shape[0], -1)))


class Transformer(nnx.Module):
    """Embedding, one block, general linear layers."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(11, 8, rngs=rngs)
        self.n1, self.n2 = nnx.LayerNorm(8, rngs=rngs), nnx.RMSNorm(8, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(4, in_features=8, qkv_features=16, decode=False, rngs=rngs)
        self.up = nnx.LinearGeneral(8, (2, 6), rngs=rngs)
        self.down = nnx.LinearGeneral((2, 6), 8, axis=(-2, -1), rngs=rngs)
        self.final = nnx.Einsum("btd,de->bte", (8, 5), (5,), rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attend(self.n1(x))
        x = x + self.down(nnx.gelu(self.up(self.n2(x))))
        return self.final(x)


class Mlp(nnx.Module):
    """Two hidden layers, the second of a fixed width."""

    def __init__(self, rngs, fixed=None):
        self.a, self.b, self.c = (nnx.Linear(i, o, rngs=rngs) for i, o in ((4, 6), (6, 5), (5, 3)))
        self.fixed = fixed

    def __call__(self, x):
        x = nnx.sigmoid(self.a(x))
        if self.fixed:
            x = x.reshape(-1, self.fixed)
        return self.c(nnx.relu(self.b(x)))


class Recurrent(nnx.Module):
    """A cell in a scan."""

    def __init__(self, rngs, cell):
        self.rnn = nnx.RNN(cell(3, 6, rngs=rngs), rngs=rngs)
        self.out = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.rnn(x)[:, -1])


def build(make):
    """A model with random arrays, made without compiling one program for each."""
    model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    rng = np.random.default_rng(0)

    def array(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        low, high = (0.3, 1.0) if len(leaf.shape) == 1 else (-0.5, 0.5)
        return jnp.asarray(rng.uniform(low, high, leaf.shape), leaf.dtype)

    nnx.update(model, jax.tree.map(array, nnx.state(model)))
    model.eval()
    return model


def cut(shape, axis, index):
    mask = np.ones(shape, bool)
    np.moveaxis(mask, axis, 0)[index] = False
    return mask


def nested(flat):
    tree: dict = {}
    for path, leaf in flat.items():
        *above, name = path.split("/")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
        node[name] = leaf
    return tree


def expected(model, masks, x):
    """The outputs of the masked model."""
    apply, params = functional(model)
    params = map_named(lambda path, a: jnp.asarray(np.where(masks[path], a, 0)) if path in masks else a, params)
    return np.asarray(jax.jit(apply)(params, x))


def outputs(model, x):
    apply, params = functional(model)
    return np.asarray(jax.jit(apply)(params, x))


def test_resnet():
    model = build(ResNet)
    masks = {
        "stem/kernel": cut((3, 3, 3, 6), 3, [1]),
        "n0/bias": cut((6,), 0, [1]),
        "n0/mean": cut((6,), 0, [1]),
        "a/kernel": cut((3, 3, 6, 8), 3, [0, 3]),
        "b/kernel": cut((1, 1, 8, 12), 3, [3, 4, 5]),
        "proj/kernel": cut((1, 1, 6, 12), 3, [3, 4, 5]),
        "depthwise/kernel": cut((3, 3, 1, 12), 3, [3, 4, 5]),
        "grouped/kernel": cut((1, 1, 3, 8), 3, [2, 3]),  # group 1
        "out/kernel": cut((72, 4), 0, np.arange(72).reshape(9, 8)[:, [2, 3]].ravel()),
    }
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 6, 3)), jnp.float32)
    small, report = compact_nnx(model, nested(masks), x)
    want = expected(model, masks, x)
    assert np.abs(outputs(small, x) - want).max() <= 1e-5 * np.abs(want).max()
    assert isinstance(small, ResNet)
    assert (small.stem.out_features, small.a.in_features, small.a.out_features) == (5, 5, 6)
    assert (small.n0.num_features, small.n1.num_features, small.n2.num_features) == (5, 6, 9)
    assert (small.depthwise.feature_group_count, small.depthwise.in_features) == (9, 9)
    assert (small.norm.num_groups, small.norm.group_size) == (3, 3)
    assert (small.grouped.feature_group_count, small.grouped.in_features, small.grouped.out_features) == (3, 9, 6)
    assert small.out.in_features == 54
    sizes = {name: after for name, (_, after) in report.groups.items()}
    assert sizes["stem/kernel:3"] == 5
    assert model.stem.out_features == 6  # the given model is left alone
    assert report.parameters == tuple(
        sum(np.size(a) for _, a in named_leaves(functional(m)[1])) for m in (model, small)
    )
    # What was saved as plain arrays can be loaded into a model of the full size.
    saved = nested({path: np.asarray(a) for path, a in named_leaves(functional(small)[1])})
    loaded = resize_nnx(model, saved, report.index)
    assert loaded.depthwise.feature_group_count == 9
    assert np.abs(outputs(loaded, x) - want).max() <= 1e-5 * np.abs(want).max()
    with pytest.raises(ValueError, match="params and index must have a leaf"):
        resize_nnx(model, {}, report.index)
    with pytest.raises(ValueError, match=r"'a/kernel' has shape \(1,\), but index leaves \(3, 3, 5, 6\)"):
        resize_nnx(model, saved | {"a": {"kernel": np.ones(1)}}, report.index)
    rerun = report.apply_fn(functional(small)[1], x)
    assert np.abs(rerun - want).max() <= 1e-5 * np.abs(want).max()


def test_transformer_heads_and_hidden_units():
    model = build(Transformer)
    masks = {
        "attend/out/kernel": cut((4, 4, 8), 0, [2]),
        "up/kernel": cut((8, 2, 6), 2, [0, 5]),
        "down/kernel": cut((2, 6, 8), 1, [5]),
    }
    tokens = jnp.asarray(np.random.default_rng(1).integers(0, 11, (2, 5)))
    small, report = compact_nnx(model, nested(masks), tokens)
    want = expected(model, masks, tokens)
    assert np.abs(outputs(small, tokens) - want).max() <= 1e-5 * np.abs(want).max()
    assert (small.attend.num_heads, small.attend.head_dim, small.attend.qkv_features) == (3, 4, 12)
    assert small.attend.query.out_features == (3, 4)
    assert small.up.out_features == (2, 4)
    assert small.down.in_features == (2, 4)
    assert set(report.folded) == {"down/bias"}


@pytest.mark.parametrize("cell", [nnx.OptimizedLSTMCell, nnx.GRUCell])
def test_recurrent_cells(cell):
    model = build(lambda rngs: Recurrent(rngs, cell))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 3)), jnp.float32)
    (group,) = nnx_groups(model, x)
    keep = {group.name: np.arange(6) != 2}
    small, _ = compact_nnx(model, keep, x)
    assert small.rnn.cell.hidden_features == 5
    masks = group_masks([group], functional(model)[1], keep)
    flags = {path: mask for path, mask in named_leaves(masks) if mask is not None}
    assert np.abs(outputs(small, x) - expected(model, flags, x)).max() <= 1e-5


def test_masks_of_patterns_make_the_model_smaller():
    model = build(Mlp)
    state = nnx.state(model, nnx.Param)
    scores = map_named(lambda path, a: jnp.abs(a) if path in ("a/kernel", "b/kernel") else None, state)
    masks = make_masks(scores, 0.5, pattern=Channel(axis=-1))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4)), jnp.float32)
    small, report = compact_nnx(model, masks, x)
    assert {name: after for name, (_, after) in report.groups.items()} == {"a/kernel:1": 3, "b/kernel:1": 3}
    flags = {path: np.asarray(m) for path, m in named_leaves(masks) if m is not None}
    assert np.abs(outputs(small, x) - expected(model, flags, x)).max() <= 1e-5
    assert (small.a.out_features, small.b.in_features) == (3, 3)


def test_code_that_fixes_sizes_is_named_and_the_function_still_works():
    model = build(lambda rngs: Mlp(rngs, fixed=6))
    masks = {"a/kernel": cut((4, 6), 1, [0, 1])}
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4)), jnp.float32)
    with pytest.raises(ValueError, match=r"Mlp can't run with the sizes that are left .*compact\(\*functional"):
        compact_nnx(model, nested(masks), x)
    apply, params = functional(model)
    full = map_named(lambda path, leaf: masks.get(path), params)
    small, report = compact(apply, params, full, x)
    assert np.abs(np.asarray(jax.jit(report.apply_fn)(small, x)) - expected(model, masks, x)).max() <= 1e-5


def test_channels_of_heads_change_the_scale():
    model = build(Transformer)
    tokens = jax.ShapeDtypeStruct((2, 5), jnp.int32)
    keep = {f"attend/{name}/kernel:2": np.array([1, 1, 0, 1], bool) for name in ("key", "value")}
    assert keep.keys() <= {g.name for g in nnx_groups(model, tokens)}
    with pytest.raises(ValueError, match=r"Transformer can't run .* it depends on a size that changed"):
        compact_nnx(model, keep, tokens)


def test_masks_of_another_model():
    model = build(Mlp)
    with pytest.raises(ValueError, match="masks have a leaf 'x/kernel' that the model has not"):
        compact_nnx(model, {"x": {"kernel": np.ones((4, 6), bool)}}, jax.ShapeDtypeStruct((2, 4), jnp.float32))


def test_random_masks_need_evaluation_mode():
    model = build(ResNet)
    model.train()
    x = jax.ShapeDtypeStruct((2, 6, 6, 3), jnp.float32)
    with pytest.raises(ValueError, match="evaluation mode"):
        nnx_groups(model, x)
