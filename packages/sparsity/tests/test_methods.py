"""The sparse-training methods: numbers of active entries, phases, and steps against the formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.sparsity import methods
from offprint.sparsity._growth import floor_share, fraction_words
from offprint.sparsity._pattern import Block
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._sparsify import sparsify, update_masks
from offprint.sparsity._state import masks_of
from offprint.sparsity.methods import (
    ACDC,
    ADMM,
    DPF,
    DSD,
    DSR,
    GMP,
    SNFS,
    DeepR,
    Movement,
    NeST,
    OneShot,
    RigL,
    Static,
    TopKAST,
    View,
)
from offprint.sparsity.methods._gradual import scores_of
from offprint.sparsity.methods._redistributing import allocate

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PARAMS = {
    "a": {"kernel": jnp.asarray(RNG.normal(size=(8, 12)))},
    "b": {"kernel": jnp.asarray(RNG.normal(size=(12, 6)))},
}
GRADS = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=(60, *p.shape))), PARAMS)
TOTAL = 168


def walk(method, inner, steps=40, **options):
    """Masks after every step, and the last params and state, for gradients that do not depend on the params."""
    tx = sparsify(inner, method, key=KEY, **options)

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        masks = masks_of(state)
        stray = sum(jax.tree.leaves(jax.tree.map(lambda p, m: jnp.sum(jnp.where(m, 0, p != 0)), params, masks)))
        return (params, state), (masks, stray)

    grads = jax.tree.map(lambda g: g[:steps], GRADS)
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, grads))
    (params, state), (masks, stray) = run((PARAMS, tx.init(PARAMS)))
    assert int(stray.sum()) == 0
    return masks, params, state


def due(method):
    return np.asarray(jax.vmap(method.due)(jnp.arange(50, dtype=jnp.int32)))


def counts(masks):
    return sum(np.asarray(mask).sum((-2, -1)) for mask in jax.tree.leaves(masks))


def test_snfs_gives_to_the_layer_with_the_larger_momentum():
    method = SNFS(0.5, every=1, end=10, drop=0.5, dist="uniform", criterion="magnitude")
    tx = sparsify(optax.sgd(0.1, momentum=0.9), method, when="explicit")
    state = tx.init(PARAMS)
    size = {"a": 1.0, "b": 3.0}
    momentum = {name: {"kernel": size[name] * jnp.ones_like(leaf["kernel"])} for name, leaf in PARAMS.items()}
    state = state._replace(inner=(state.inner[0]._replace(trace=momentum), *state.inner[1:]))
    _, after = jax.jit(lambda s: update_masks(tx, s, PARAMS))(state)
    before = {name: int(mask["kernel"].sum()) for name, mask in masks_of(state).items()}
    now = {name: int(mask["kernel"].sum()) for name, mask in masks_of(after).items()}
    assert before == {"a": 48, "b": 36}
    # 24 + 18 went; a quarter of the 42 goes to a and the rest to b, which as the larger share gets the odd one.
    assert now == {"a": 24 + 10, "b": 18 + 32}


def test_dsr_threshold_follows_the_number_removed():
    method = DSR(0.5, every=1, end=9, drop=0.25, dist="uniform", criterion="magnitude")
    tx = sparsify(optax.sgd(0.0), method, key=KEY, when="explicit")
    state = tx.init(PARAMS)
    change = jax.jit(lambda state: update_masks(tx, state, PARAMS)[1])
    sizes = np.concatenate([np.abs(leaf["kernel"])[masks_of(state)[name]["kernel"]] for name, leaf in PARAMS.items()])
    wanted = np.sort(sizes)[[2, 12 + 9, 60]]  # the 2, 21 and 60 smallest go; the target is 12 + 9
    for threshold, factor in zip(wanted, (2.0, 1.0, 0.5), strict=True):
        after = change(state._replace(own={"threshold": jnp.float32(threshold), "initial": None}))
        assert float(after.own["threshold"]) == pytest.approx(factor * threshold)
        assert sum(int(mask.sum()) for mask in jax.tree.leaves(masks_of(after))) == 84


def test_phases():
    assert np.flatnonzero(due(ACDC(0.75, end=40, every=10))).tolist() == [10, 20, 30, 40]  # first a dense phase
    masks, _, _ = walk(ACDC(0.75, end=35, begin=5, every=10, reset=True), optax.adam(1e-2))
    expected = [TOTAL] * 5 + [42] * 10 + [TOTAL] * 10 + [42] * 15
    assert counts(masks).tolist() == expected
    masks, _, _ = walk(DSD(0.5, begin=5, end=20), optax.sgd(0.1, momentum=0.9))
    assert counts(masks).tolist() == [TOTAL] * 5 + [84] * 15 + [TOTAL] * 20


def test_dpf_moves_dense_weights_by_the_gradient_at_the_masked():
    masks, params, state = walk(DPF(0.75, end=0, every=4), optax.sgd(0.1), steps=10)
    dense = {
        k: np.asarray(leaf["kernel"]) - 0.1 * np.asarray(GRADS[k]["kernel"][:10]).sum(0) for k, leaf in PARAMS.items()
    }
    for name, weights in dense.items():
        np.testing.assert_allclose(state.dense[name]["kernel"], weights, rtol=1e-12)
        mask = np.asarray(masks[name]["kernel"][-1])
        np.testing.assert_allclose(params[name]["kernel"], np.where(mask, weights, 0), rtol=1e-12)
    assert counts(masks).tolist() == [42] * 10
    assert (np.asarray(masks["a"]["kernel"][3]) != np.asarray(masks["a"]["kernel"][4])).any()


def test_topkast_trains_the_backward_set_alone():
    method = TopKAST(forward=0.25, backward=0.5, every=1, penalty=0.2)
    _, params, state = walk(method, optax.sgd(0.1), steps=5)
    for name, leaf in PARAMS.items():
        w, grads = np.array(leaf["kernel"]), np.asarray(GRADS[name]["kernel"])

        def top(w, share):
            cut = np.sort(np.abs(w).ravel())[w.size - round(share * w.size)]
            return np.abs(w) >= cut

        for t in range(5):
            forward, backward = top(w, 0.25), top(w, 0.5)
            penalty = np.where(forward, w, w / 0.25)
            w = np.where(backward, w - 0.1 * (grads[t] + 0.2 * penalty), w)
        np.testing.assert_allclose(state.dense[name]["kernel"], w, rtol=1e-12)
        np.testing.assert_allclose(params[name]["kernel"], np.where(top(w, 0.25), w, 0), rtol=1e-12)


def test_movement_scores_and_masks():
    method = Movement(0.5, end=3, begin=3, score_rate=0.3)
    masks, params, state = walk(method, optax.sgd(0.1), steps=6)
    scores, weights = {}, {}
    for name, leaf in PARAMS.items():
        weights[name], scores[name] = np.array(leaf["kernel"]), np.zeros(leaf["kernel"].shape)
    mask = {name: np.ones(w.shape, bool) for name, w in weights.items()}
    for t in range(6):
        for name in weights:
            grad = np.asarray(GRADS[name]["kernel"][t])
            scores[name] -= 0.3 * weights[name] * grad
            weights[name] = np.where(mask[name], weights[name] - 0.1 * grad, weights[name])
        if t >= 3:
            cut = np.sort(np.concatenate([s.ravel() for s in scores.values()]))[TOTAL // 2]
            mask = {name: s >= cut for name, s in scores.items()}
    for name in weights:
        np.testing.assert_allclose(state.own[name]["kernel"], scores[name], rtol=1e-10)
        np.testing.assert_array_equal(masks[name]["kernel"][-1], mask[name])
        np.testing.assert_allclose(params[name]["kernel"], np.where(mask[name], weights[name], 0), rtol=1e-10)


def test_soft_movement_prunes_below_the_threshold():
    masks, _, state = walk(Movement(soft=True, threshold=0.49, penalty=2.0, score_rate=0.05), optax.sgd(0.1), steps=10)
    for name in PARAMS:
        kept = 1 / (1 + np.exp(-np.asarray(state.own[name]["kernel"]))) > 0.49
        np.testing.assert_array_equal(masks[name]["kernel"][-1], kept)
    assert 0 < counts(masks)[-1] < TOTAL


def test_admm_pulls_and_cuts():
    method = ADMM(0.75, end=9, every=3, rho=0.5)
    masks, params, _ = walk(method, optax.sgd(0.1), steps=12)
    for name, leaf in PARAMS.items():
        w, grads = np.array(leaf["kernel"]), np.asarray(GRADS[name]["kernel"])
        keep = round(0.25 * w.size)

        def project(w, keep=keep):
            return np.where(np.abs(w) >= np.sort(np.abs(w).ravel())[-keep], w, 0)

        z, u = project(w), np.zeros_like(w)
        for t in range(12):
            pull = 0.5 * (w - z + u) if t < 9 else 0
            if t < 9 and t % 3 == 0:
                z = project(w + u)
                u = u + w - z
            w = project(w) if t == 9 else w
            w = np.where((w != 0) | (t < 9), w - 0.1 * (grads[t] + pull), 0)
        np.testing.assert_allclose(params[name]["kernel"], w, rtol=1e-9, atol=1e-12)
    assert counts(masks).tolist() == [TOTAL] * 9 + [42] * 3


def test_nest_grows_then_prunes():
    method = NeST(0.75, initial=0.9, turn=10, end=30, every=5, rate=0.2, scale=0.5)
    masks, _, _ = walk(method, optax.sgd(0.0), steps=35)
    table = method.targets(jax.tree.map(lambda m: m[0], masks))
    active = counts(masks)
    wanted = table["a"]["kernel"] + table["b"]["kernel"]
    assert active[[0, 5, 10, 15, 20, 25, 30]].tolist() == wanted.tolist()
    assert active[5] > active[0]
    assert active[30] == 42
    # The weights of the first grown entries: minus the sign of the gradient, half the size of the active ones.
    tx = sparsify(optax.sgd(0.0), method, key=KEY)
    state = tx.init(PARAMS)
    grads = jax.tree.map(lambda g: g[0], GRADS)
    updates, after = jax.jit(tx.update)(grads, state, PARAMS)
    old, new = (np.asarray(masks_of(s)["a"]["kernel"]) for s in (state, after))
    grown = new & ~old
    values = np.asarray(PARAMS["a"]["kernel"] + updates["a"]["kernel"])[grown]
    slopes = np.asarray(grads["a"]["kernel"])
    np.testing.assert_array_equal(np.sign(values), -np.sign(slopes[grown]))
    assert np.abs(values).mean() == pytest.approx(0.5 * np.abs(np.asarray(PARAMS["a"]["kernel"])[old]).mean())
    assert np.abs(slopes[grown]).min() >= np.abs(slopes[~new]).max()


def test_patterns_and_groups():
    """N:M, blocks, groups of leaves with your own scores."""
    masks, _, _ = walk(OneShot(0.5, at=2, pattern={"a/*": NM(2, 4)}), optax.adam(1e-2), steps=4)
    groups = np.asarray(masks["a"]["kernel"][-1]).reshape(2, 4, 12).sum(1)
    assert (groups == 2).all()
    masks, _, _ = walk(RigL(0.5, every=2, end=9, dist="uniform", pattern=Block((4, 3))), optax.adam(1e-2), steps=5)
    blocks = np.asarray(masks["a"]["kernel"][-1]).reshape(2, 4, 4, 3).sum((1, 3))
    assert set(np.unique(blocks)) == {0, 12}
    assert blocks.sum() == 48
    assert (np.asarray(masks["a"]["kernel"][0]) != np.asarray(masks["a"]["kernel"][-1])).any()
    own = GMP(end=0, scope={"a/*": 0.5, "*": 0.25}, criterion=lambda params, grads: grads)
    masks, _, _ = walk(own, optax.sgd(0.1), steps=1)
    assert [int(mask.sum()) for mask in jax.tree.leaves(masks)] == [48, 54]
    first = np.asarray(GRADS["a"]["kernel"][0])
    np.testing.assert_array_equal(masks["a"]["kernel"][0], first >= np.sort(first.ravel())[48])


def test_groups_go_along_the_curve_to_their_own_targets():
    """A mapping as scope says all the targets; leaves in no group stay dense."""
    scope = {"a/*": 0.5}
    method = GMP(end=6, every=3, scope=scope, initial=0.25)
    assert method.sparsities() == [{"a/*": 0.25}, {"a/*": 0.5 - 0.25 / 8}, scope]
    masks, _, _ = walk(method, optax.sgd(0.1), steps=8)
    assert np.asarray(masks["a"]["kernel"]).sum((1, 2)).tolist() == [72] * 3 + [51] * 3 + [48] * 2
    assert np.asarray(masks["b"]["kernel"]).all()
    both = {"b/*": 0.5, "a/*": 0.25}
    others = (
        OneShot(scope=both),
        DPF(end=0, scope=both),
        ACDC(begin=0, end=0, scope=both),
        DSD(begin=0, end=9, scope=both),
        Movement(end=0, scope=both),
    )

    @jax.jit
    def pruned():
        every = jax.tree.map(lambda p: jnp.ones(p.shape, bool), PARAMS)
        view = View(jnp.int32(0), every, PARAMS, None, None, PARAMS, None, None)
        return [method.change(view).masks for method in others]

    for found in pruned():
        assert [int(mask.sum()) for mask in jax.tree.leaves(found)] == [72, 36]
    halves = OneShot(pattern=NM(2, 4))  # the pattern says it all
    view = View(jnp.int32(0), jax.tree.map(lambda p: p != 0, PARAMS), PARAMS, None, None, None, None, None)
    assert counts(halves.change(view).masks) == TOTAL // 2


def test_every_leaf_keeps_its_least_in_a_global_ranking():
    small = {"a": PARAMS["a"], "b": {"kernel": 1e-3 * PARAMS["b"]["kernel"]}}
    tx = sparsify(optax.sgd(0.1), GMP(0.75, end=0, scope="global", min_keep=3), when="explicit")
    _, state = jax.jit(lambda state: update_masks(tx, state, small))(tx.init(small))
    assert [int(mask.sum()) for mask in jax.tree.leaves(masks_of(state))] == [39, 3]


def test_scores_of_movement_are_not_shorter_than_float32():
    short = jax.tree.map(lambda p: jnp.ones(p.shape, jnp.bfloat16), PARAMS)
    method = Movement(0.5, end=1, score_rate=1e-3)

    @jax.jit
    def run(masks):
        def step(_, own):
            return method.before(short, View(jnp.int32(0), masks, short, short, None, own, None, None))[1]

        return jax.lax.fori_loop(0, 1000, step, method.first_own(short, masks, None))

    scores = run(jax.tree.map(lambda p: p != 0, short))["a"]["kernel"]
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, -1.0, rtol=1e-4)  # in bfloat16 the sum would come to a stop on the way


def test_dynamic_methods_end_as_the_official_code_by_default():
    """The last update is before step 25 000, or before 75 % of the steps given."""
    for kind in (RigL, SNFS, DSR):
        assert len(kind(0.9).fractions()) == 250
        assert len(kind(0.9, steps=4000).fractions()) == 30
    assert jax.vmap(RigL(0.9).due)(jnp.array([24_900, 25_000, 25_100], jnp.int32)).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GMP(0.5, end=50), "every=100 is more than the 50 steps .*: only the first and the last update"),
        (lambda: RigL(0.5, steps=100), "every=100 is more than the 75 steps from begin to end: one update"),
        (lambda: ADMM(0.5, end=50), "only the first and the last update"),
    ],
)
def test_updates_that_do_not_happen_are_warned_of(call, message):
    with pytest.warns(UserWarning, match=message):
        call()
    GMP(0.5, end=50, every=50)
    GMP(0.5, end=0)


def test_criteria():
    """|g w|, w² ν with Adam's second moment, |w| over its leaf's norm."""
    weights, grads = PARAMS, jax.tree.map(lambda g: g[0], GRADS)
    state = optax.adam(0.1).update(grads, optax.adam(0.1).init(weights), weights)[1]
    masks = jax.tree.map(lambda p: jnp.ones(p.shape, bool), weights)
    view = View(jnp.int32(0), masks, weights, grads, state, None, None, None)
    names = ("magnitude_l2", "taylor", "adam")
    scores = jax.jit(lambda: [scores_of(name, view)["a"]["kernel"] for name in names])()
    w, g = np.asarray(weights["a"]["kernel"]), np.asarray(grads["a"]["kernel"])
    wanted = [np.abs(w) / np.linalg.norm(w), np.abs(g * w), w**2 * 1e-3 * g**2]
    for found, expected in zip(scores, wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_schedules(golden):
    schedules = golden("schedules")
    begin, end, initial, final, every = (float(number) for number in schedules["params"])
    method = GMP(final, end=int(end), begin=int(begin), every=int(every), initial=initial)
    due = np.asarray(jax.jit(jax.vmap(method.due))(jnp.asarray(schedules["t"], jnp.int32)))
    np.testing.assert_array_equal(due, schedules["is_update"].astype(bool))
    np.testing.assert_allclose(method.sparsities(), schedules["held"][due], rtol=1e-12)
    steps = np.asarray(schedules["t"])
    grid = steps[(steps % 7 == 0) & (steps < end)].astype(int)
    for decay in ("cosine", "linear"):
        dynamic = RigL(0.9, every=7, end=int(end), drop=0.3, decay=decay)
        wanted = schedules[f"{decay}_drop"][np.isin(steps, grid)]
        np.testing.assert_allclose(dynamic.fractions()[grid // 7], wanted, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2000),
    st.lists(st.floats(0, 10, width=32), min_size=4, max_size=4),
    st.lists(st.integers(0, 600), min_size=4, max_size=4),
)
def test_allocation_is_exact(total, shares, capacity):
    quota = np.asarray(ALLOCATE(jnp.int32(total), jnp.float32(shares), jnp.int32(capacity)))
    assert quota.sum() == min(total, sum(capacity))
    assert (quota >= 0).all()
    assert (quota <= capacity).all()


ALLOCATE = jax.jit(allocate)


def test_floor_of_a_share_is_exact():
    rng = np.random.default_rng(1)
    shares, numbers = rng.uniform(0, 1, 5000), rng.integers(0, 2**31 - 1, 5000)
    shares[:4], numbers[:4] = (0.3, 0.0, 1.0, 0.25), (90, 7, 2**31 - 1, 372)
    words = fraction_words(shares)
    found = jax.jit(jax.vmap(floor_share))(words, jnp.asarray(numbers, jnp.int32))
    np.testing.assert_array_equal(found, np.floor(shares * numbers))


def test_every_method_names_its_paper():
    kinds = [getattr(methods, name) for name in methods.__all__]
    kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, methods.Method)]
    kinds = [kind for kind in kinds if kind not in (methods.Method, methods.DropGrow)]
    assert len(kinds) == 15
    for kind in kinds:
        assert f"{{{kind.paper}," in kind.citation(), kind


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GMP(90, end=1), r"sparsity must be in \[0, 1\); got 90. Did you mean 0.9"),
        (lambda: OneShot(0.5, at=-1), "at is a step, counted from 0; got -1"),
        (lambda: GMP(0.9, begin=5, end=3), "0 <= begin <= end; got begin=5, end=3"),
        (lambda: GMP(0.9, end=3, every=0), "every is a number of steps, at least 1; got 0"),
        (lambda: GMP(0.9, end=10, every=5, curve="square").sparsities(), "curve must be 'cubic'"),
        (lambda: GMP(end=10, every=5), "give a sparsity"),
        (lambda: GMP(0.9, end=0, scope={"a/*": 0.5}), r"not both; got 0.9 and {'a/\*': 0.5}"),
        (lambda: ACDC(end=2, every=1, scope={"a/*": 50}), "got 50. Did you mean 0.5"),
        (lambda: DPF(end=0, scope={"a/*": 0.5}, dist="erk"), "dist='erk' is of one sparsity"),
        (lambda: Movement(end=1), "give a sparsity"),
        (lambda: OneShot(pattern={"a/*": NM(2, 4), "b/*": Block()}), "give a sparsity"),
        (lambda: RigL(0.9, begin=10, end=5), "0 <= begin < end; got begin=10, end=5"),
        (lambda: RigL(0.9, end=1.5), "end must be a step, or a share"),
        (lambda: RigL(0.9, end=None), "without an end the fraction cannot decay"),
        (lambda: RigL(0.9, end=9, drop=3), "drop is the fraction"),
        (lambda: RigL(0.9, end=9, grow_init="ones"), "grow_init must be"),
        (lambda: Static(0.9, criterion="snip"), "'random' or 'magnitude'; got 'snip'"),
        (lambda: methods.SET(0.9, kind="both"), "kind must be 'magnitude' or 'signwise'"),
        (lambda: methods.SET(0.9, kind="signwise", pattern=Block()), "signwise removal is of single weights"),
        (lambda: DSR(0.9, end=5, every=1, threshold=0.0), "so it must be positive; got 0"),
        (lambda: TopKAST(forward=0.5, backward=0.2), "0 < forward <= backward <= 1"),
        (lambda: Movement(0.5, soft=True), "leave it out"),
        (lambda: DeepR(0.5, learning_rate=0.0), "learning_rate > 0"),
        (lambda: ADMM(0.5, end=5, rho=0.0), "rho must be positive"),
        (lambda: NeST(0.5, initial=0.9, turn=9, end=5), "begin <= turn <= end"),
        (lambda: walk(GMP(0.5, end=0, criterion="fisher"), optax.sgd(0.1)), "criterion must be"),
        (lambda: walk(GMP(0.5, end=0, criterion="adam"), optax.sgd(0.1)), "second moments"),
        (lambda: walk(SNFS(0.5, end=5, every=1, dist="uniform"), optax.sgd(0.1)), "SNFS grows by momentum"),
        (
            lambda: walk(RigL(0.5, end=5, every=1, dist="uniform", pattern=NM(2, 4)), optax.sgd(0.1)),
            "no units that could be",
        ),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_schedule_must_have_an_end(unchecked_types):
    for kind in (GMP, DPF, ACDC):
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'end'"):
            kind(0.9)
