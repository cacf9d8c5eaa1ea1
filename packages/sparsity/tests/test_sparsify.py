"""The wrapper: exact zeros with any optimiser, under every transformation, and resumable."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from offprint.sparsity import _skip
from offprint.sparsity._apply import apply
from offprint.sparsity._filter import matching
from offprint.sparsity._moments import map_moments, moments_of
from offprint.sparsity._skip import step_unless
from offprint.sparsity._sparsify import sparsify, update_masks
from offprint.sparsity._state import find_state, freeze, masks_of, set_masks, vmap_axes
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.methods import ACDC, ADMM, DSR, GMP, SET, DeepR, RigL, Static
from offprint.sparsity.methods._random import normal_like, uniform_like

KEY = jax.random.key(0)
OPTIMISERS = {
    "adamw": optax.adamw(1e-2, weight_decay=0.1),
    "lion": optax.lion(1e-2, weight_decay=0.1),
    "sgd with momentum": optax.sgd(0.1, momentum=0.9),
    "adafactor": optax.adafactor(1e-2, min_dim_size_to_factor=4, weight_decay_rate=1e-3),
    "muon": optax.contrib.muon(1e-2, weight_decay=0.1),
}
ADAMW = OPTIMISERS["adamw"]
FIRST = matching("in/kernel")  # methods that grow take a while to compile: one leaf is enough
RIGL = RigL(0.8, every=7, end=90, dist="uniform", filter=FIRST)
GRADUAL = GMP(0.8, begin=5, end=32, every=10, scope="global")


def params_of(seed=0):
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "in": {"kernel": jax.random.normal(first, (8, 16), jnp.float32), "bias": jnp.ones(16, jnp.float32)},
        "out": {"kernel": jax.random.normal(second, (16, 8), jnp.float32)},
    }


def loss(params, x):
    hidden = jnp.tanh(x @ params["in"]["kernel"] + params["in"]["bias"])
    return jnp.mean((hidden @ params["out"]["kernel"] - x[:, ::-1]) ** 2)


PARAMS = params_of()
XS = jax.random.normal(jax.random.key(5), (40, 4, 8), jnp.float32)


def one_step(tx, params, state, x):
    updates, state = tx.update(jax.grad(loss)(params, x), state, params)
    return optax.apply_updates(params, updates), state


def train(tx, params, xs, state):
    run = jax.jit(lambda carry, xs: jax.lax.scan(lambda carry, x: (one_step(tx, *carry, x), None), carry, xs)[0])
    return run((params, state), xs)


def same(one, other):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), one, other)))


def close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def pruned_are_zero(params, masks):
    pairs = zip(named_leaves(params), named_leaves(masks), strict=True)
    return all(not np.asarray(p)[~np.asarray(m)].any() for (_, p), (_, m) in pairs if m is not None)


def active(masks):
    return [int(mask.sum()) for mask in jax.tree.leaves(masks)]


@pytest.fixture(scope="module")
def rigl_run():
    tx = sparsify(ADAMW, RIGL, key=KEY)
    return train(tx, PARAMS, XS, tx.init(PARAMS))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_pruned_weights_are_exactly_zero_after_each_of_1000_steps(name):
    tx = sparsify(OPTIMISERS[name], SET(0.8, every=50, dist="uniform", filter=FIRST), key=KEY)

    def step(carry, x):
        params, state = carry
        before = masks_of(state)
        params, state = one_step(tx, params, state, x)
        after = masks_of(state)
        (old,), (new,), weights = jax.tree.leaves(before), jax.tree.leaves(after), params["in"]["kernel"]
        stray = jnp.sum(jnp.where(new & old, False, weights != 0))  # pruned ones, and those that have just grown
        return (params, state), (stray, new.sum(), jnp.any(new != old))

    xs = jnp.tile(XS, (25, 1, 1))
    carry = PARAMS, tx.init(PARAMS)
    (params, _), (stray, counts, moved) = jax.jit(lambda carry, xs: jax.lax.scan(step, carry, xs))(carry, xs)
    assert int(stray.sum()) == 0
    assert set(counts.tolist()) == {26}
    assert int(moved.sum()) == 20
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))


def test_grown_weights_carry_no_momentum():
    """Adam's moments are zero wherever a weight is pruned, and where it has just grown."""
    tx = sparsify(ADAMW, SET(0.5, every=3, dist="uniform", filter=FIRST), key=KEY)
    step = jax.jit(lambda params, state, x: one_step(tx, params, state, x))
    params, state = PARAMS, tx.init(PARAMS)
    for x in XS[:7]:
        old, (params, state) = masks_of(state), step(params, state, x)
    live = jax.tree.map(lambda a, b: np.asarray(a & b), old, masks_of(state))
    live = live["in"]["kernel"]
    for name in ("mu", "nu"):
        moments = np.asarray(moments_of(state.inner, params, name)["in"]["kernel"])
        assert not moments[~live].any()
        assert moments[live].all()


def test_gmp_reaches_its_target_at_the_end_although_every_does_not_divide():
    tx = sparsify(ADAMW, GRADUAL)
    step = jax.jit(lambda params, state, x: one_step(tx, params, state, x))
    params, state, kept = PARAMS, tx.init(PARAMS), []
    for x in XS:
        params, state = step(params, state, x)
        kept.append(sum(active(masks_of(state))))
    wanted = [256 - round(256 * 0.8 * (1 - (1 - (t - 5) / 27) ** 3)) for t in (5, 15, 25, 32)]
    assert [kept[t] for t in (4, 5, 14, 15, 24, 25, 31, 32, 39)] == [
        256, wanted[0], wanted[0], wanted[1], wanted[1], wanted[2], wanted[2], wanted[3], 51,
    ]  # fmt: skip
    assert pruned_are_zero(params, masks_of(state))


def test_dense_until_it_prunes():
    """Before the first update the wrapped optimiser is the optimiser."""
    tx = sparsify(ADAMW, GMP(0.8, begin=100, end=200))
    params, _ = train(tx, PARAMS, XS[:10], tx.init(PARAMS))
    plain, _ = train(ADAMW, PARAMS, XS[:10], ADAMW.init(PARAMS))
    close(params, plain)


def jitted(tx):
    """An optimiser whose step is one equation with all the outputs."""
    return optax.GradientTransformation(tx.init, jax.jit(tx.update))


def mirrored(tx):
    """A state in which one traced array stands twice: as a moment, and as what remembers another."""

    def update(grads, state, params):
        updates, after = tx.update(grads, state["inner"], params)
        return updates, {"inner": after, "mirror": after[0].mu}

    def init(params):
        return {"inner": tx.init(params), "mirror": jax.tree.map(jnp.ones_like, params)}

    return optax.GradientTransformation(init, update)


ADAM = optax.adam(1e-2)
SKIPPED = {
    "adam": ADAM,
    "jitted": jitted(ADAM),
    "if finite": optax.apply_if_finite(ADAM, 3),
    "accumulated": optax.MultiSteps(ADAM, 2).gradient_transformation(),
    "mirrored": mirrored(ADAM),
}


@pytest.mark.parametrize("surgery", [True, False])
def test_skipped_step_is_no_step(surgery, monkeypatch):
    """`step_unless` is the step itself, or nothing, whatever is nested in it and whether JAX lets it change jaxprs."""
    if not surgery:
        monkeypatch.setattr(_skip, "_run", lambda traced, *_, **__: traced.jaxpr.no_such_method())
    grads = jax.tree.map(jnp.sin, PARAMS)
    optimisers = SKIPPED if surgery else {"adam": ADAM}
    states = {name: tx.init(PARAMS) for name, tx in optimisers.items()}

    @jax.jit
    def both(skip, states):
        return {name: step_unless(skip, tx.update, grads, states[name], PARAMS) for name, tx in optimisers.items()}

    plain = jax.jit(lambda states: {name: tx.update(grads, states[name], PARAMS) for name, tx in optimisers.items()})
    states = {name: state for name, (_, state) in plain(states).items()}
    if "mirrored" in states:
        states["mirrored"]["mirror"] = PARAMS  # unlike the moment that will take its place
    for updates, _ in both(True, states).values():
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(updates))
    assert same({name: state for name, (_, state) in both(True, states).items()}, states)
    close(both(False, states), plain(states))


def test_what_has_effects_runs_once():
    calls = []

    def update(grads, state, params):
        jax.debug.callback(lambda: calls.append(1))
        return grads, jax.tree.map(lambda m, g: m + g, state, grads)

    jax.block_until_ready(jax.jit(lambda skip: step_unless(skip, update, PARAMS, PARAMS, PARAMS))(False))
    jax.effects_barrier()
    assert len(calls) == 1


def test_moments_of_adam_are_selected_before_the_updates():
    """No copy of them is needed: that is what makes a skipped step cheap."""
    traced = jax.make_jaxpr(ADAM.update)(PARAMS, ADAM.init(PARAMS), PARAMS)
    assert len(_skip._moments(traced, jax.tree.leaves(ADAM.init(PARAMS)))) == 6


def test_moments_belong_by_path_and_shape():
    state = optax.MultiSteps(optax.chain(optax.clip(1.0), optax.contrib.muon(1e-2)), 2).init(PARAMS)
    seen = []
    map_moments(lambda leaf, path: seen.append((path.item(), leaf.shape)) or leaf, state, _numbered(PARAMS))
    assert sorted(seen) == sorted(
        [(0, (16,)), (0, (16,)), (0, (16,)), (1, (8, 16)), (1, (8, 16)), (2, (16, 8)), (2, (16, 8))]
    )


def _numbered(params):
    leaves, treedef = jax.tree.flatten(params)
    return jax.tree.unflatten(treedef, [np.full(leaf.shape, i).view(_Named) for i, leaf in enumerate(leaves)])


class _Named(np.ndarray):
    """An array that tells which leaf it is."""

    def item(self):
        return int(np.asarray(self).flat[0])


def test_in_a_chain_and_with_accumulated_gradients():
    tx = optax.chain(optax.clip_by_global_norm(1.0), sparsify(ADAMW, GRADUAL))
    params, state = train(tx, PARAMS, XS, tx.init(PARAMS))
    assert pruned_are_zero(params, masks_of(state))
    assert sum(active(masks_of(state))) == 51
    outside = optax.MultiSteps(sparsify(ADAMW, GRADUAL), 4).gradient_transformation()
    params, state = train(outside, PARAMS, XS, outside.init(PARAMS))
    assert pruned_are_zero(params, masks_of(state))
    assert int(find_state(state).count) == 10  # one for each accumulated step
    inside = sparsify(optax.MultiSteps(ADAMW, 4).gradient_transformation(), GRADUAL)
    params, state = train(inside, PARAMS, XS, inside.init(PARAMS))
    assert pruned_are_zero(params, masks_of(state))


def test_packed_masks_give_the_same_training(rigl_run):
    tx = sparsify(ADAMW, RIGL, key=KEY, packed=True)
    params, state = train(tx, PARAMS, XS, tx.init(PARAMS))
    assert same(params, rigl_run[0])
    assert same(masks_of(state, params), masks_of(rigl_run[1]))
    assert state.masks["in"]["kernel"].nbytes == 16
    with pytest.raises(ValueError, match="packed: pass the params"):
        masks_of(state)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(8, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.last = nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.norm(self.first(x))))


def test_nnx_optimizer_with_batch_norm():
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, sparsify(ADAMW, GRADUAL), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        grads = nnx.grad(lambda model: jnp.mean((model(x) - x[:, ::-1]) ** 2))(model)
        optimizer.update(model, grads)

    def masks_and_params():
        return masks_of(optimizer.opt_state), nnx.as_pure(nnx.state(model, nnx.Param))

    for x in XS[:34]:
        step(model, optimizer, x)
    masks, params = masks_and_params()
    assert sum(active(masks)) == 51
    assert pruned_are_zero(params, masks)
    assert [path for path, mask in named_leaves(masks) if mask is not None] == ["first/kernel", "last/kernel"]
    other = jax.tree.map(jnp.logical_not, masks)
    optimizer.opt_state = nnx.data(freeze(set_masks(optimizer.opt_state, other)))
    step(model, optimizer, XS[0])
    masks, params = masks_and_params()
    assert same(masks, other)
    assert pruned_are_zero(params, masks)


def test_nnx_masks_between_steps_and_packed():
    """`update_masks` and `masks_of` take what NNX has, and give it back."""
    model = Net(nnx.Rngs(0))
    tx = sparsify(optax.sgd(0.1, momentum=0.9), GMP(0.75, end=0, criterion="taylor"), packed=True, when="explicit")
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def change(model, optimizer, x):
        grads = nnx.grad(lambda model: jnp.mean((model(x) - x[:, ::-1]) ** 2))(model)
        params, opt_state = update_masks(tx, optimizer.opt_state, nnx.state(model, nnx.Param), grads)
        nnx.update(model, params)
        nnx.update(optimizer.opt_state, nnx.state(opt_state))
        optimizer.update(model, grads)

    change(model, optimizer, XS[0])
    params = nnx.state(model, nnx.Param)
    masks = masks_of(optimizer.opt_state, params)
    assert active(masks) == [32, 32]
    assert pruned_are_zero(nnx.as_pure(params), masks)
    assert all(p[m].any() for p, m in ((params["first"]["kernel"][...], masks["first"]["kernel"][...]),))
    same_params, opt_state = update_masks(tx, freeze(optimizer.opt_state), params)
    assert isinstance(same_params["first"]["kernel"], nnx.Param)
    assert same(nnx.as_pure(same_params), nnx.as_pure(params))
    assert same(masks_of(opt_state, same_params), masks)


def test_vmap_over_seeds_keeps_the_branch():
    """Equal to one seed at a time, and the masks are not computed at every step."""
    keys = jax.random.split(KEY, 3)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params_of(seed) for seed in range(3)))
    tx = sparsify(ADAMW, GRADUAL, key=KEY)
    axes = vmap_axes(jax.eval_shape(tx.init, PARAMS))
    states = jax.vmap(lambda key, p: sparsify(ADAMW, GRADUAL, key=key).init(p), out_axes=axes)(keys, params)
    step = jax.vmap(lambda p, s, x: one_step(tx, p, s, x), in_axes=(0, axes, None), out_axes=(0, axes))
    assert "cond[" in str(jax.make_jaxpr(step)(params, states, XS[0]))
    naive = jax.vmap(lambda p, s, x: one_step(tx, p, s, x), in_axes=(0, 0, None))
    assert states.count.shape == ()
    batched = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3,)) if leaf.ndim == 0 else leaf, states)
    assert "cond[" not in str(jax.make_jaxpr(naive)(params, batched, XS[0]))
    run = jax.jit(lambda carry, xs: jax.lax.scan(lambda carry, x: (step(*carry, x), None), carry, xs)[0])
    many, state = run((params, states), XS[:20])
    take = lambda tree: jax.tree.map(lambda leaf: leaf[1] if leaf.ndim else leaf, tree)  # noqa: E731
    alone, single = train(tx, params_of(1), XS[:20], take(states))
    assert same(take(masks_of(state)), masks_of(single))
    close(take(many), alone)


def test_sharded_params_give_the_same_masks(rigl_run):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    tx = sparsify(ADAMW, RIGL, key=KEY)
    params = jax.device_put(PARAMS, NamedSharding(mesh, P("d")))
    state = jax.jit(tx.init)(params)
    params, state = train(tx, params, XS, state)
    assert same(masks_of(state), masks_of(rigl_run[1]))
    assert masks_of(state)["in"]["kernel"].sharding.spec == P("d")


def in_shard_map(function, state_or_specs, **options):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    return jax.shard_map(function, mesh=mesh, in_specs=state_or_specs, **options)


MOMENTUM = optax.sgd(0.05, momentum=0.9)
SPLIT = {
    "RigL": (ADAMW, RIGL),
    "SET": (MOMENTUM, SET(0.8, every=3, dist="uniform", filter=FIRST, grow_init="normal")),
    "DSR": (MOMENTUM, DSR(0.8, every=3, end=60, threshold=0.2, dist="uniform")),
    "DeepR": (optax.sgd(0.05), DeepR(0.8, learning_rate=0.05, l1=0.01, temperature=1e-3, filter=FIRST)),
    "ADMM": (optax.sgd(0.1), ADMM(0.75, end=9, every=3, rho=0.5, filter=FIRST)),
    "magnitude_l2": (optax.sgd(0.1), GMP(0.5, end=6, every=6, scope="global", criterion="magnitude_l2", min_keep=60)),
    "random": (optax.sgd(0.1), GMP(0.75, end=6, every=6, criterion="random", filter=FIRST)),
}


@pytest.mark.parametrize("name", SPLIT)
def test_shard_map_gives_bit_identical_masks(name):
    """The leaves split over eight devices: exact counts over the axis, and the random numbers of one device."""
    inner, method = SPLIT[name]
    grads = jax.tree.map(lambda p: jax.random.normal(KEY, (16, *p.shape), p.dtype), PARAMS)
    spec = lambda tree: jax.tree.map(lambda leaf: P("d") if leaf.ndim else P(), tree)  # noqa: E731
    over_time = lambda tree: jax.tree.map(lambda _: P(None, "d"), tree)  # noqa: E731
    large = {"in": PARAMS["in"], "out": {"kernel": 3 * PARAMS["out"]["kernel"]}}  # norms of leaves matter

    def run(tx, params, state, grads):
        def step(carry, g):
            updates, state = tx.update(g, carry[1], carry[0])
            params = optax.apply_updates(carry[0], updates)
            return (params, state), (masks_of(state), params)

        return jax.lax.scan(step, (params, state), grads)

    whole, split = (sparsify(inner, method, key=KEY, axis_name=axis_name) for axis_name in (None, "d"))
    state = jax.jit(whole.init)(large)
    specs = spec(large), spec(state)._replace(key=P())
    history = over_time(state.masks), over_time(large)
    sharded = in_shard_map(lambda *given: run(split, *given), (*specs, over_time(large)), out_specs=(specs, history))
    (_, after), (masks, params) = jax.jit(sharded)(large, state, grads)
    (_, wanted), (expected, single) = jax.jit(lambda *given: run(whole, *given))(large, state, grads)
    assert same(masks, expected)
    assert same(after.key, wanted.key)
    close((params, after.own, after.inner, after.dense), (single, wanted.own, wanted.inner, wanted.dense))
    assert any(not (mask == mask[0]).all() for mask in map(np.asarray, jax.tree.leaves(masks)))
    kept = sum(np.asarray(mask).sum((1, 2)) for mask in jax.tree.leaves(masks))
    if method.grows:
        assert len(set(kept.tolist())) == 1  # the number of active entries never changes
    for mask, weights in zip(jax.tree.leaves(masks), chosen_leaves(params, masks), strict=True):
        assert not np.asarray(weights)[~np.asarray(mask)].any()


def chosen_leaves(params, masks):
    return [p for (_, p), (_, m) in zip(named_leaves(params), named_leaves(masks), strict=True) if m is not None]


def test_random_numbers_are_those_of_jax_whatever_is_left_out():
    """Per leaf, from its place in the tree; a key of another kind works too."""
    masks = {"a": None, "b": jnp.ones((8, 6), bool)}
    key = jax.random.fold_in(KEY, 1)
    drawn = jax.jit(lambda key: (uniform_like(masks, key), normal_like(masks, key)))
    uniform, normal = drawn(KEY)
    assert uniform["a"] is None
    np.testing.assert_array_equal(uniform["b"], jax.random.uniform(key, (8, 6), jnp.float32))
    np.testing.assert_allclose(normal["b"], jax.random.normal(key, (8, 6), jnp.float32), rtol=1e-6)
    other, _ = drawn(jax.random.key(0, impl="rbg"))
    assert len(np.unique(other["b"])) == 48


def test_first_masks_of_a_block_are_refused():
    tx = sparsify(ADAMW, Static(0.5), key=KEY, axis_name="d")
    inside = in_shard_map(lambda p: tx.init(p).masks, P("d"), out_specs=P("d"))
    with pytest.raises(ValueError, match="Static are counted over whole leaves: call init outside shard_map"):
        jax.eval_shape(inside, PARAMS)
    dense = sparsify(ADAMW, GRADUAL, axis_name="d")
    shapes = jax.eval_shape(in_shard_map(lambda p: dense.init(p).masks, P("d"), out_specs=P("d")), PARAMS)
    assert shapes["in"]["kernel"].shape == (8, 16)


def test_orbax_resume_is_bit_identical(rigl_run, tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    tx = sparsify(ADAMW, RIGL, key=KEY)
    half = train(tx, PARAMS, XS[:20], tx.init(PARAMS))
    with warnings.catch_warnings(), checkpoint.StandardCheckpointer() as checkpointer:
        warnings.simplefilter("ignore")
        checkpointer.save(tmp_path / "half", half)
        checkpointer.wait_until_finished()
        params, state = checkpointer.restore(tmp_path / "half", half)
    assert same(train(tx, params, XS[20:], state), rigl_run)


def test_explicit_updates_between_steps():
    """Nothing happens in the steps; outside, the schedule is read at the number of steps taken."""
    gradual = GMP(0.75, begin=10, end=30, every=10)
    tx = sparsify(ADAMW, gradual, when="explicit")
    change = jax.jit(lambda params, state: update_masks(tx, state, params))
    params, state = PARAMS, tx.init(PARAMS)
    for part in range(3):
        params, state = train(tx, params, XS[10 * part : 10 * part + 10], state)
        params, state = change(params, state)
        sparsity = 0.75 * (1 - (1 - part / 2) ** 3)
        assert active(masks_of(state)) == [128 - round(128 * sparsity)] * 2
        assert pruned_are_zero(params, masks_of(state))
        if part == 0:  # frozen masks stay, under jit and without it
            later = freeze(state._replace(count=jnp.int32(30)))
            assert same(change(params, later), (params, later))
            assert same(update_masks(tx, later, params), (params, later))
    # RigL needs gradients, and keeps its number.
    tx = optax.chain(optax.clip(1.0), sparsify(ADAMW, RIGL, key=KEY, when="explicit"))
    state = tx.init(PARAMS)
    first, params = masks_of(state), apply(PARAMS, masks_of(state))
    params, state = jax.jit(lambda p, s: update_masks(RIGL, s, p, jax.grad(loss)(p, XS[0])))(params, state)
    assert active(masks_of(state)) == active(first)
    assert not same(masks_of(state), first)
    assert pruned_are_zero(params, masks_of(state))
    with pytest.raises(ValueError, match="RigL grows by gradients"):
        update_masks(RIGL, state, params)


def test_debug_finds_a_transformation_behind():
    half = {"in": {"kernel": np.tile([True, False], (8, 8)), "bias": None}, "out": {"kernel": None}}
    behind = optax.chain(sparsify(ADAMW, Static(0.5), masks=half, debug=True), optax.scale(0.5))
    step = jax.jit(lambda params, state, x: one_step(behind, params, state, x))
    params, state = step(PARAMS, behind.init(PARAMS), XS[0])
    with pytest.raises(jax.errors.JaxRuntimeError, match="ValueError: pruned weights of in/kernel are not zero"):
        jax.block_until_ready(step(params, state, XS[1]))
    with pytest.raises(ValueError, match="pruned weights of in/kernel are not zero after a step"):
        behind.update(params, state, params)
    masked = apply(params, masks_of(state))
    behind.update(masked, state, masked)  # no complaint


def test_update_masks_heeds_the_other_settings():
    """Momentum that is reset or left alone, and weights behind the masks, as in a step."""
    ones = {"kernel": jnp.ones((4, 4), jnp.float32)}
    rates = [
        sparsify(MOMENTUM, method, when="explicit", unmasked=unmasked)
        for method, unmasked in (
            (GMP(0.5, end=0), ()),
            (GMP(0.5, end=0), ("*trace/*",)),
            (ACDC(0.5, end=0, begin=0, reset=True), ()),
        )
    ]
    deep = sparsify(optax.sgd(0.1), DeepR(0.5), key=KEY, when="explicit")

    @jax.jit
    def changed():
        moments = []
        for tx in rates:
            state = tx.init(ones)
            state = state._replace(inner=(state.inner[0]._replace(trace=ones), *state.inner[1:]))
            moments.append(update_masks(tx, state, ones)[1].inner[0].trace["kernel"])
        state = deep.init(ones)
        return moments, update_masks(deep, state._replace(dense=jax.tree.map(jnp.negative, ones)), ones)

    moments, (params, state) = changed()
    assert [np.count_nonzero(moment) for moment in moments] == [8, 16, 0]
    assert active(masks_of(state)) == [8]
    np.testing.assert_array_equal(state.dense["kernel"], 0)  # all had changed their sign
    np.testing.assert_array_equal(params["kernel"], 0)


def test_the_length_of_the_training():
    """A target behind the end is warned of; RigL takes its end as a share."""
    with pytest.warns(UserWarning, match="target sparsity is never reached: GMP comes to it at step 32.* of 32 steps"):
        sparsify(ADAMW, GRADUAL, total=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparsify(ADAMW, GRADUAL, total=33)
        assert sparsify(ADAMW, RIGL, key=KEY, total=10).method == RIGL
        assert sparsify(ADAMW, RigL(0.9), key=KEY, total=4000).method == RigL(0.9, steps=4000)


STATIC = sparsify(ADAMW, Static(0.5, criterion="magnitude", dist="uniform"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sparsify(lambda g: g, RIGL, key=KEY), TypeError, "optax optimiser to wrap; got function"),
        (lambda: sparsify(ADAMW, "rigl"), TypeError, "needs a method such as GMP"),
        (lambda: sparsify(ADAMW, SET(0.5)), ValueError, "SET draws random numbers: pass sparsify"),
        (lambda: sparsify(ADAMW, GRADUAL, total=0), ValueError, "total is the number of steps"),
        (
            lambda: update_masks(STATIC, STATIC.init(PARAMS), {"w": jnp.ones(3)}),
            ValueError,
            "masks in the opt.* no leaf",
        ),
        (
            lambda: update_masks(STATIC, STATIC.init(PARAMS), PARAMS, {"w": jnp.ones(3)}),
            ValueError,
            "grads has no leaf",
        ),
        (lambda: sparsify(ADAMW, GRADUAL, when="later"), ValueError, "'auto' or 'explicit'; got 'later'"),
        (lambda: STATIC.update(PARAMS, STATIC.init(PARAMS)), ValueError, "sparsify needs params"),
        (
            lambda: STATIC.update({"in": PARAMS["in"]}, STATIC.init(PARAMS), PARAMS),
            ValueError,
            "grads has no leaf 'out/kernel'",
        ),
        (
            lambda: STATIC.update({**PARAMS, "out": {"kernel": jnp.ones((2, 2))}}, STATIC.init(PARAMS), PARAMS),
            ValueError,
            r"'out/kernel' is \(2, 2\), not \(16, 8\)",
        ),
        (
            lambda: set_masks(STATIC.init(PARAMS), {"in": {"kernel": np.ones((8, 16), bool)}}),
            ValueError,
            "masks has no leaf",
        ),
        (
            lambda: sparsify(ADAMW, GRADUAL, masks={"w": np.ones((2, 2), bool)}).init(PARAMS),
            ValueError,
            "masks has no leaf",
        ),
        (
            lambda: set_masks(STATIC.init(PARAMS), jax.tree.map(lambda p: 0.5 * p, PARAMS)),
            ValueError,
            "exactly 0 or 1",
        ),
        (lambda: masks_of(ADAMW.init(PARAMS)), ValueError, "0 states of sparsify, not one"),
        (lambda: STATIC.init({"bias": jnp.ones(3)}), ValueError, r"the filter chooses no leaf.*bias"),
    ],
)
def test_bad_input(call, error, message, unchecked_types):
    with pytest.raises(error, match=message):
        call()
