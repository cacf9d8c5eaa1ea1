"""What must hold for the layer whatever its weights: invariances, bounds, streaming, masks, precision."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.mgrn._budget import count_parameters
from offprint.mgrn._config import DropoutRates
from offprint.mgrn._dropout import dropout_mask
from offprint.mgrn._init import init
from offprint.mgrn._layer import apply, initial_carry, step
from offprint.mgrn._params import DropoutMasks, MarginalParams

GROUPS = (2, 1, 3)
B, T, F, H = 4, 9, 6, 5  # above 8 steps the loop stays a loop, which compiles sooner
LENGTHS = np.array([9, 1, 4, 6])
made = jax.jit(partial(init, groups=GROUPS, hidden=H, size_of=2, out=3, dtype=jnp.float64))
run = jax.jit(apply, static_argnames=("time_major", "return_states", "remat", "rates"))


@pytest.fixture(scope="module")
def params():
    return made(jax.random.key(0))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (B, T, F), jnp.float64)


def close(a, b, atol=1e-12):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=atol), a, b)


@pytest.mark.parametrize("seed", range(20))
def test_count_formula_is_the_size_of_the_tree(seed):
    rng = np.random.default_rng(seed)
    groups = tuple(int(size) for size in rng.integers(1, 6, rng.integers(1, 6)))
    hidden, size_of = int(rng.integers(1, 9)), float(rng.choice([0.5, 1, 1.5, 2, 4])) + 0.5
    tree = jax.eval_shape(partial(init, groups=groups, hidden=hidden, size_of=size_of, out=None), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == count_parameters("mgrn", groups, hidden, size_of)


def test_permuting_the_groups(params, x):
    order = jnp.array([2, 0, 1])
    groups = tuple(params.config.groups[k] for k in order)
    marginal = MarginalParams(params.marginal.w_ih, params.marginal.w_hh[order], params.marginal.b_ih[order])
    joint = params.joint._replace(u_c=params.joint.u_c[order])
    permuted = replace(params, marginal=marginal, joint=joint, config=replace(params.config, groups=groups))
    close(run(permuted, x), run(params, x))


def test_columns_in_any_order(params, x):
    """The same network on columns that are not sorted by group."""
    order = np.array([4, 1, 0, 5, 2, 3])  # column j of the new input is column order[j] of the old
    place = np.argsort(order)
    groups = tuple(tuple(int(place[column]) for column in group) for group in params.config.groups)
    marginal = params.marginal._replace(w_ih=params.marginal.w_ih[order])
    joint = params.joint._replace(w_z=params.joint.w_z[order])
    listed = replace(params, marginal=marginal, joint=joint, config=replace(params.config, groups=groups))
    close(run(listed, x[..., order]), run(params, x))


def test_permuting_the_batch(params, x):
    order = jnp.array([2, 0, 3, 1])
    close(run(params, x[order], lengths=LENGTHS[order]), run(params, x, lengths=LENGTHS)[order])


def test_padding_is_not_read(params, x):
    """Exactly, whatever it holds, in the output and in its gradients."""

    @jax.jit
    def gradients(params, x):
        return jax.value_and_grad(lambda p, x: jnp.sum(apply(p, x, lengths=LENGTHS) ** 2), argnums=(0, 1))(params, x)

    beyond = np.arange(T)[None, :, None] >= LENGTHS[:, None, None]
    expected = gradients(params, x)
    for garbage in (1e6, np.nan, np.inf):
        jax.tree.map(np.testing.assert_array_equal, gradients(params, jnp.where(beyond, garbage, x)), expected)
    assert not np.any(np.where(beyond, expected[1][1], 0))


def test_length_of_the_padding_does_not_matter(params, x):
    longer = jnp.pad(x, ((0, 0), (0, 4), (0, 0)), constant_values=7.0)
    close(run(params, longer, lengths=LENGTHS), run(params, x, lengths=LENGTHS), atol=1e-15)
    # What a sequence alone gives, without padding and mask: its states in a run whose steps are all valid.
    _, states = run(params, x, return_states=True)
    close(run(params, x, lengths=LENGTHS, return_states=True)[1].carry.g, states.joint[np.arange(B), LENGTHS - 1])


def test_states_after_the_end(params, x):
    out, states = run(params, x, lengths=LENGTHS, return_states=True)
    for b, length in enumerate(LENGTHS):
        for name in ("joint", "marginal"):
            array = getattr(states, name)[b]
            np.testing.assert_array_equal(array[length:], np.broadcast_to(array[length - 1], array[length:].shape))
        assert np.all(states.marginal_gates[b, length:] == 1)
        assert np.all(states.joint_gates[b, length:] == 1)
        assert not np.any(states.candidates[b, length:])
    head = params.head
    close(states.carry.g @ head.weight + head.bias, out)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_states_are_bounded(scale, seed):
    key = jax.random.key(seed)
    scaled = jax.tree.map(lambda weight: scale * weight, made(key))
    _, states = run(scaled, 10 * jax.random.normal(key, (B, T, F), jnp.float64), return_states=True)
    for array in (states.joint, states.marginal, states.candidates):
        assert np.abs(array).max() <= 1
    for gates in (states.marginal_gates, states.joint_gates):
        assert gates.min() >= 0
        assert gates.max() <= 1


def test_steps_equal_the_whole(params, x):
    one, outs = jax.jit(step), []
    carry = initial_carry(params, B)
    for t in range(T):
        carry, out = one(params, carry, x[:, t])
        outs.append(out)
    _, states = run(params, x, return_states=True)
    close(carry, states.carry)
    close(jnp.stack(outs, 1), states.joint @ params.head.weight + params.head.bias)


def test_going_on_from_a_carry(params, x):
    whole, states = run(params, x, return_states=True)
    _, first = run(params, x[:, :3], return_states=True)
    out, rest = run(params, x[:, 3:], carry=first.carry, return_states=True)
    close(out, whole)
    close(rest.joint, states.joint[:, 3:])


def test_forced_gates(params, x):
    shut = params.joint._replace(
        w_z=jnp.zeros_like(params.joint.w_z), u_z=jnp.zeros_like(params.joint.u_z), b_z=-40 * jnp.ones(2 * H)
    )
    _, states = run(replace(params, joint=shut), x, return_states=True)
    c = states.candidates[:, -1].reshape(B, -1)
    close(states.joint[:, -1], jnp.tanh(c @ shut.u_c.reshape(-1, 2 * H) + shut.b_c))
    _, states = run(replace(params, joint=shut._replace(b_z=40 * jnp.ones(2 * H))), x, return_states=True)
    close(states.joint, jnp.zeros_like(states.joint))


def test_plain_jit_vmap_time_major(params, x):
    expected = run(params, x, lengths=LENGTHS)
    close(apply(params, np.asarray(x), lengths=LENGTHS, vjp="autodiff"), expected)
    close(run(params, x.swapaxes(0, 1), lengths=LENGTHS, time_major=True), expected)
    one = jax.jit(jax.vmap(lambda x, n: apply(params, x[None], lengths=n[None])[0]))
    close(one(x, jnp.array(LENGTHS)), expected)
    seeds = jax.random.split(jax.random.key(3), 2)
    many = jax.jit(jax.vmap(apply, in_axes=(0, None)))(jax.vmap(made)(seeds), x)
    close(many, jnp.stack([run(made(seed), x) for seed in seeds]))


def test_short_types_keep_their_states_in_float32(params, x):
    short = jax.tree.map(lambda weight: weight.astype(jnp.bfloat16), params)
    out, states = run(short, x.astype(jnp.bfloat16), return_states=True)
    assert out.dtype == states.joint.dtype == jnp.bfloat16
    assert states.carry.h.dtype == states.carry.g.dtype == jnp.float32
    assert np.abs(out.astype(float) - run(params, x)).max() < 0.03
    # 2000 steps that move h by less than a bfloat16 can hold: it would stay at 0 where it has to come near n.
    slow = short.marginal._replace(w_ih=jnp.zeros_like(short.marginal.w_ih), w_hh=jnp.zeros_like(short.marginal.w_hh))
    bias = jnp.concatenate([jnp.zeros(H), 6 * jnp.ones(H), jnp.ones(H)]) * jnp.ones((3, 1))
    slow = replace(short, marginal=slow._replace(b_ih=bias.astype(jnp.bfloat16)))
    _, states = run(slow, jnp.zeros((1, 2000, F), jnp.bfloat16), return_states=True)
    z = 1 / (1 + np.exp(-6))
    np.testing.assert_allclose(states.carry.h, np.tanh(1) * (1 - z**2000), rtol=1e-2)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(apply(p, x.astype(jnp.bfloat16)).astype(float))))(short)
    assert all(leaf.dtype == jnp.bfloat16 and jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_without_a_head_the_output_is_the_joint_state(params, x):
    out, states = run(replace(params, head=None), x, return_states=True)
    close(out, states.joint[:, -1])


@pytest.mark.parametrize("remat", [True, 4, 100])
def test_chunks_change_nothing(params, x, remat):
    expected = run(params, x, lengths=LENGTHS, return_states=True)
    close(run(params, x, lengths=LENGTHS, return_states=True, remat=remat), expected)


def test_integers_are_an_input(params):
    counts = np.arange(B * T * F).reshape(B, T, F) % 5
    close(run(params, counts), run(params, counts.astype(float)))


# --- initialisation -------------------------------------------------------------------------------------------------


def test_torch_initialisation_is_uniform_within_its_bounds():
    make = partial(init, groups=(20, 30), hidden=16, size_of=4, out=10)
    drawn, by_joint = jax.jit(lambda key: (make(key), make(key, joint_init_fan="joint")))(jax.random.key(0))
    for weight in (*drawn.marginal, *drawn.joint):
        assert 0.9 * 0.25 < np.abs(weight).max() <= 0.25  # 1/sqrt(H)
    assert all(0.7 * 0.125 < np.abs(weight).max() <= 0.125 for weight in drawn.head)  # 1/sqrt(J)
    assert all(0.9 * 0.125 < np.abs(weight).max() <= 0.125 for weight in by_joint.joint)
    assert np.std(drawn.marginal.w_hh) == pytest.approx(0.25 / 3**0.5, rel=0.05)


def test_keras_initialisation():
    make = partial(init, groups=[[0, 3], [1, 2, 4]], hidden=6, size_of=2, out=4, init="keras")
    drawn = jax.jit(make)(jax.random.key(0))
    assert not any(np.any(bias) for bias in (drawn.marginal.b_ih, drawn.joint.b_c, drawn.joint.b_z, drawn.head.bias))
    for k, group in enumerate(drawn.config.groups):
        limit = (6 / (len(group) + 18)) ** 0.5
        assert 0.7 * limit < np.abs(drawn.marginal.w_ih[jnp.array(group)]).max() <= limit
        close(drawn.marginal.w_hh[k] @ drawn.marginal.w_hh[k].T, np.eye(6), atol=1e-5)
    u_c = drawn.joint.u_c.reshape(12, 12)
    close(u_c @ u_c.T, np.eye(12), atol=1e-5)
    close(drawn.joint.u_z @ drawn.joint.u_z.T, np.eye(12), atol=1e-5)
    assert np.abs(drawn.joint.w_z).max() <= (6 / 17) ** 0.5


# --- dropout --------------------------------------------------------------------------------------------------------


def test_dropout_masks_have_their_rate_and_mean():
    mask = dropout_mask(jax.random.key(0), 0.3, (100, 200), jnp.float64)
    assert set(np.unique(mask)) == {0.0, 1 / 0.7}
    assert np.mean(mask == 0) == pytest.approx(0.3, abs=4 * (0.21 / 20000) ** 0.5)
    assert dropout_mask(jax.random.key(0), 0, (2, 2), jnp.float64) is None


def test_dropout_depends_on_the_key_alone(params, x):
    rates = DropoutRates(input=0.4, recurrent=0.3, output=0.2)
    outs = [run(params, x, key=jax.random.key(seed), rates=rates) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(outs[0], outs[1])
    assert np.abs(outs[0] - outs[2]).max() > 1e-3


def test_recurrent_dropout_is_of_the_weights(params, x):
    ones = jnp.ones_like(params.marginal.w_hh)
    masks = DropoutMasks(w_hh=ones.at[:, :2].set(0), u_z=jnp.zeros((2 * H, 2 * H)))
    changed = replace(
        params,
        marginal=params.marginal._replace(w_hh=params.marginal.w_hh.at[:, :2].set(0)),
        joint=params.joint._replace(u_z=jnp.zeros((2 * H, 2 * H))),
    )
    close(run(params, x, masks=masks), run(changed, x))


def test_output_dropout_is_of_the_joint_state(params, x):
    _, states = run(params, x, return_states=True)
    mask = np.random.default_rng(0).integers(0, 2, (B, 2 * H)) * 2.0
    expected = (states.carry.g * mask) @ params.head.weight + params.head.bias
    close(run(params, x, masks=DropoutMasks(output=mask)), expected)
