"""LSTM, GRU and channel-wise LSTM: PyTorch's numbers, masks, and what every layer promises."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from offprint.mgrn import (
    GRU,
    LSTM,
    ChannelwiseLSTM,
    channelwise_apply,
    channelwise_init,
    gru_apply,
    gru_init,
    lstm_apply,
    lstm_init,
)
from offprint.mgrn._torch_baselines import from_torch_baseline, is_baseline, to_torch_baseline

APPLY = {"lstm": lstm_apply, "gru": gru_apply, "channelwise_lstm": channelwise_apply}
B, T, F, H = 3, 4, 4, 3
X = jax.random.normal(jax.random.key(0), (B, T, F), jnp.float64)
LENGTHS = jnp.array([4, 1, 3])
GROUPS = [[2], [3, 0, 1]]  # unequal, and in another order than the columns


def params_of(kind, biases=2, dtype=jnp.float64):
    key = jax.random.key(1)
    if kind == "lstm":
        return lstm_init(key, features=F, hidden=H, biases=biases, dtype=dtype)
    if kind == "gru":
        return gru_init(key, features=F, hidden=H, biases=biases, dtype=dtype)
    return channelwise_init(key, groups=GROUPS, hidden=H, size_of=2, biases=biases, dtype=dtype)


@pytest.fixture(params=APPLY)
def kind(request):
    return request.param


# One compiled program for each kind and shape of arguments serves all tests.
COMPILED = {name: jax.jit(apply, static_argnames=("sequences", "unroll")) for name, apply in APPLY.items()}


@pytest.fixture
def run(kind):
    return partial(COMPILED[kind], params_of(kind))


def test_golden_forward_and_gradients(kind, golden, weights):
    arrays = golden(f"baseline_{kind}")
    params, head = from_torch_baseline(weights(arrays))
    x = jnp.asarray(arrays["x"]).swapaxes(0, 1)

    def output(params, head, x):
        return APPLY[kind](params, x) @ head.weight + head.bias

    y, pullback = jax.vjp(jax.jit(output), params, head, x)
    np.testing.assert_allclose(y, arrays["y"], rtol=0, atol=1e-12)
    slope, slope_head, dx = pullback(jnp.asarray(arrays["cotangent"]))
    np.testing.assert_allclose(dx.swapaxes(0, 1), arrays["dx"], rtol=0, atol=1e-12)
    slopes, wanted = (
        to_torch_baseline(slope, slope_head),
        {name[2:]: value for name, value in arrays.items() if name.startswith("g/")},
    )
    assert slopes.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(slopes[name], value, rtol=0, atol=1e-12, err_msg=name)


def test_float32_is_close_and_stays_float32(run):
    single = run(X.astype(jnp.float32), sequences=True)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, run(X, sequences=True), rtol=2e-6, atol=2e-6)


def test_half_precision_is_close_and_stays_so(run):
    half = run(X.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), run(X), atol=0.02)


def test_lengths_are_those_of_each_sequence_alone(run):
    last, states = run(X, lengths=LENGTHS), run(X, lengths=LENGTHS, sequences=True)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = run(X[:, :length], sequences=True)[b]
        np.testing.assert_allclose(states[b, :length], alone, atol=1e-14)
        np.testing.assert_allclose(last[b], alone[-1], atol=1e-14)


def test_the_state_is_frozen_at_the_end(run):
    states = run(X, lengths=LENGTHS, sequences=True)
    np.testing.assert_array_equal(states[1, 1:], jnp.broadcast_to(states[1, 0], states[1, 1:].shape))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([*APPLY]), st.floats(width=64), st.permutations(LENGTHS.tolist()))
def test_padding_changes_nothing(kind, content, lengths):
    lengths = jnp.array(lengths)
    longer = jnp.pad(X, ((0, 0), (0, 2), (0, 0)))
    padded = jnp.where(jnp.arange(T + 2)[None, :, None] < lengths[:, None, None], longer, content)
    run = partial(COMPILED[kind], params_of(kind))
    np.testing.assert_array_equal(run(padded, lengths=lengths), run(X, lengths=lengths))


def test_padding_reaches_no_gradient(kind):
    padded = X.at[1, 1:].set(jnp.nan)

    def total(params, x):
        return APPLY[kind](params, x, lengths=LENGTHS).sum()

    slope, dx = jax.jit(jax.grad(total, argnums=(0, 1)))(params_of(kind), padded)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    np.testing.assert_array_equal(dx[1, 1:], 0)
    assert (dx[1, 0] != 0).all()


def test_full_lengths_are_no_lengths(run):
    np.testing.assert_allclose(run(X, lengths=jnp.full(B, T)), run(X), atol=1e-15)


def test_jit_and_vmap_equal_plain(kind, run):
    plain = APPLY[kind](params_of(kind), X)
    np.testing.assert_allclose(run(X), plain, atol=1e-14)
    np.testing.assert_allclose(jax.vmap(run)(jnp.stack([X, -X]))[0], plain, atol=1e-14)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, 0 * leaf]), params_of(kind))
    np.testing.assert_allclose(jax.vmap(lambda params: COMPILED[kind](params, X))(many)[0], plain, atol=1e-14)


@pytest.mark.parametrize("unroll", [1, 3, "auto"])
def test_unrolling_changes_nothing(run, unroll):
    np.testing.assert_allclose(run(X, unroll=unroll), run(X), atol=1e-15)


def test_finite_differences(kind):
    def states(params, x):
        return APPLY[kind](params, x, lengths=LENGTHS, sequences=True)

    check_grads(jax.jit(states), (params_of(kind), X), order=1, modes=["rev"], eps=1e-6, rtol=1e-5)


def test_permuting_the_batch_commutes(run):
    order = jnp.array([2, 0, 1])
    np.testing.assert_allclose(run(X[order], lengths=LENGTHS[order]), run(X, lengths=LENGTHS)[order], atol=1e-15)


def test_two_biases_of_an_lstm_are_their_sum():
    two = params_of("lstm")
    one = two._replace(b_ih=two.b_ih + two.b_hh, b_hh=None)
    np.testing.assert_allclose(lstm_apply(one, X), lstm_apply(two, X), atol=1e-15)


def test_channelwise_reads_columns_by_their_index():
    params = params_of("channelwise_lstm")
    columns = [column for group in GROUPS for column in group]
    sorted_params = channelwise_init(jax.random.key(1), groups=(1, 3), hidden=H, size_of=2, dtype=jnp.float64)
    moved = jax.tree.unflatten(
        jax.tree.structure(sorted_params), [params.marginal.w_ih[:, jnp.array(columns)], *jax.tree.leaves(params)[1:]]
    )
    np.testing.assert_allclose(channelwise_apply(moved, X[..., columns]), channelwise_apply(params, X), atol=1e-14)


MODULES = {
    "lstm": lambda rngs: LSTM(F, H, param_dtype=jnp.float64, rngs=rngs),
    "gru": lambda rngs: GRU(F, H, param_dtype=jnp.float64, rngs=rngs),
    "channelwise_lstm": lambda rngs: ChannelwiseLSTM(GROUPS, H, 2, param_dtype=jnp.float64, rngs=rngs),
}


def test_modules_are_the_functions(kind, run):
    layer = MODULES[kind](nnx.Rngs(0))
    params = layer.params
    assert (layer.features, layer.units) == (F, run(X).shape[1])
    np.testing.assert_array_equal(nnx.jit(layer.__class__.__call__)(layer, X), COMPILED[kind](params, X))
    numbers = {
        "lstm": 4 * H * (F + H + 2),
        "gru": 3 * H * (F + H + 2),
        "channelwise_lstm": 8 * (H * F + 2 * H * H + 2 * H * 2) + 4 * 6 * (2 * 2 * H + 6 + 2),
    }
    assert layer.num_parameters == numbers[kind]
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(params)) <= H**-0.5


# H, s and the number of weights with one bias that the paper prints for F = 16 in two groups, and in sixteen.
PUBLISHED = [((8, 8), (5, 1), 1640), ((8, 8), (4, 2), 1632), ((8, 8), (3, 4), 1776), ((8, 8), (2, 8), 1952)]
PUBLISHED += [((1,) * 16, *rest) for rest in [((3, 1), 3120), ((2, 2), 2128), ((2, 4), 3360), ((2, 8), 6208)]]


def size(init, **sizes):
    """Weights with one bias, which is how the paper counts; nothing is drawn."""
    drawn = jax.eval_shape(partial(init, biases=1, **sizes), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(drawn))


def test_published_parameter_counts():
    assert size(lstm_init, features=16, hidden=14) == 1736
    assert size(gru_init, features=16, hidden=17) == 1734
    for groups, (hidden, size_of), count in PUBLISHED:
        assert size(channelwise_init, groups=groups, hidden=hidden, size_of=size_of) == count


@pytest.mark.parametrize("biases", [1, 2])
def test_torch_weights_survive_the_way_there_and_back(kind, biases):
    params = params_of(kind, biases)
    state = to_torch_baseline(params)
    assert is_baseline(state)
    again, head = from_torch_baseline(state, groups=GROUPS if kind == "channelwise_lstm" else None)
    assert head is None
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def test_torch_names_are_checked(golden, weights):
    state = weights(golden("baseline_channelwise_lstm"))
    with pytest.raises(KeyError, match=r"lacks marginal_backward_0\.bias_hh_l0 and has nothing"):
        from_torch_baseline(without(state, "marginal_backward_0.bias_hh_l0"))
    with pytest.raises(KeyError, match="lacks nothing and has fc2 that is not known"):
        from_torch_baseline({**state, "fc2": np.ones(1)})
    with pytest.raises(KeyError, match=r"lacks fc1\.bias and"):
        from_torch_baseline(without(state, "fc1.bias"))
    with pytest.raises(ValueError, match=r"joint\.weight_ih_l0 reads 11 columns; 2 groups of 2 x 3 units give 12"):
        from_torch_baseline({**state, "joint.weight_ih_l0": state["joint.weight_ih_l0"][:, :11]})
    with pytest.raises(ValueError, match=r"joint\.bias_hh_l0 has shape \(3,\); with 6 units it must be \(24,\)"):
        from_torch_baseline({**state, "joint.bias_hh_l0": np.ones(3)})
    with pytest.raises(ValueError, match=r"groups of \[2, 3\] columns, the groups given have \[1, 4\]"):
        from_torch_baseline(state, groups=(1, 4))


BAD_CALLS = {
    "rank": (lambda apply: apply(X[0]), r"must have shape \(B, T, F\)"),
    "features": (lambda apply: apply(X[..., :3]), "F=3 features .* made for F=4"),
    "NaN": (
        lambda apply: apply(X.at[1, 2, 3].set(np.nan)),
        r"1 NaN or infinite values, the first at index \(1, 2, 3\)",
    ),
    "lengths": (lambda apply: apply(X, lengths=np.array([1, 5, 4])), r"lengths must lie in \[1, T\] = \[1, 4\], got 5"),
    "number of lengths": (lambda apply: apply(X, lengths=np.array([1, 4])), r"lengths must have shape \(B,\) = \(3,\)"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_input(kind, call, message):
    with pytest.raises(ValueError, match=message):
        call(partial(APPLY[kind], params_of(kind)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: lstm_init(key, features=0, hidden=2), "features=0, hidden=2"),
        (lambda key: gru_init(key, features=2, hidden=0), "features=2, hidden=0"),
        (lambda key: lstm_init(key, features=2, hidden=2, biases=3), "biases must be 1 or 2, got 3"),
        (lambda key: channelwise_init(key, groups=(1, 1), hidden=2, size_of=0.4), r"int\(0.4 \* 2\) = 0"),
        (lambda key: channelwise_init(key, groups=[[0], [0, 1]], hidden=2), "more than once: 0"),
    ],
)
def test_bad_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make(jax.random.key(0))
