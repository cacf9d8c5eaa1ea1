"""Hyperparameters in the forward pass: their laws, their gradients, and taking models apart."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.network_partitioning._affine import affine_matrices
from offprint.network_partitioning._hyper import (
    AffineAugmentation,
    ConcreteDropout,
    ConcreteMask,
    Hyper,
    LearnedScale,
    concrete,
    split_hyper,
    split_input,
)
from offprint.network_partitioning._resample import resample

KEY = jax.random.key(0)


def test_the_relaxation_has_the_keep_probability_of_its_logits():
    phi = jnp.array([-2.0, 0.0, 1.5])
    z = concrete(phi, jax.random.uniform(KEY, (100_000, 3)), 0.5)
    np.testing.assert_allclose((z > 0.5).mean(0), jax.nn.sigmoid(phi), atol=5e-3)  # three standard errors
    sharp = concrete(phi, jax.random.uniform(KEY, (100_000, 3)), 0.01)
    np.testing.assert_allclose(sharp.mean(0), jax.nn.sigmoid(phi), atol=1e-2)


def test_the_ends_of_the_uniforms_stay_finite():
    z, slope = jax.vmap(jax.value_and_grad(lambda u: concrete(jnp.zeros(()), u, 0.5)))(jnp.array([0.0, 1.0]))
    assert jnp.isfinite(z).all()
    assert jnp.isfinite(slope).all()


def test_mask_draws_for_every_sample_example_and_feature():
    mask = ConcreteMask(4, init=np.array([5.0, -5.0, 0.0, 0.0]))
    out = mask(jnp.ones((3, 4)), KEY, samples=2)
    assert out.shape == (2, 3, 4)
    assert len(np.unique(np.asarray(out))) == out.size
    np.testing.assert_allclose(mask.keep_probability, jax.nn.sigmoid(mask.phi[...]))
    hard = mask(jnp.full((3, 4), 2.0), KEY, hard=True)
    np.testing.assert_array_equal(hard, np.broadcast_to([2.0, 0, 0, 0], (1, 3, 4)))


def test_mask_gradient_against_finite_differences():
    augment, hyper = split_input(ConcreteMask(4, dtype=jnp.float64))
    x, cotangent = jax.random.normal(KEY, (3, 4)), jax.random.normal(jax.random.key(1), (2, 3, 4))

    def total(hyper):
        return (augment(hyper, x, KEY, 2) * cotangent).sum()

    grad = jax.jit(jax.grad(total))(hyper)
    direction = jax.tree.map(lambda a: jax.random.normal(KEY, a.shape), hyper)
    ahead, behind = (total(jax.tree.map(lambda a, d: a + s * 1e-6 * d, hyper, direction)) for s in (1, -1))  # noqa: B023
    along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grad, direction)))
    np.testing.assert_allclose(along, (ahead - behind) / 2e-6, rtol=1e-8)


def test_dropout_keeps_the_mean_and_learns_its_rate():
    drop = ConcreteDropout(0.3, temperature=0.05)
    np.testing.assert_allclose(drop.rate, 0.3, rtol=1e-6)
    out = drop(jnp.ones((200, 500), jnp.float32), KEY)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out.mean(), 1, atol=0.01)
    np.testing.assert_allclose((out < 0.5).mean(), 0.3, atol=0.01)
    graphdef, hyper = nnx.split(drop)
    grad = jax.grad(lambda hyper: (nnx.merge(graphdef, hyper)(jnp.ones((5, 4)), KEY) ** 2).sum())(hyper)
    assert all((g != 0).all() for g in jax.tree.leaves(grad))


@pytest.mark.parametrize("value", [1e-4, 0.5, 20.0])
def test_scale_starts_at_its_value(value):
    np.testing.assert_allclose(LearnedScale(value, dtype=jnp.float64)(), value, rtol=1e-9)


IMAGES = jax.random.normal(KEY, (3, 6, 6, 1))


def test_augmentation_is_the_affine_map_of_its_uniforms():
    augment = AffineAugmentation(init=np.linspace(-3, 0, 6), dtype=jnp.float64, align_corners=False)
    out = augment(IMAGES, KEY, 2)
    u = jax.random.uniform(KEY, (2, 3, 6), jnp.float64)
    expected = resample(IMAGES, affine_matrices(np.linspace(-3, 0, 6), u), align_corners=False)
    np.testing.assert_allclose(out, expected, atol=1e-12)


def test_without_float64_everything_is_float32():
    with jax.enable_x64(False):
        images, key = jnp.asarray(np.asarray(IMAGES), jnp.float32), jax.random.key(0)
        augment, hyper = split_input(AffineAugmentation(init=0.0))
        out, grad = jax.value_and_grad(lambda hyper: (augment(hyper, images, key, 2) ** 2).sum())(hyper)
        mask = ConcreteMask(6)(images[..., 0, 0], key)
        scale = LearnedScale(0.5)()
    assert {a.dtype for a in (out, mask, scale, *jax.tree.leaves(grad))} == {np.dtype("float32")}
    u = jax.random.uniform(KEY, (2, 3, 6), jnp.float32)
    expected = (resample(IMAGES, affine_matrices(jnp.zeros(6), u.astype(float))) ** 2).sum()
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_generators_that_do_not_act_have_no_parameter_and_no_range():
    augment = AffineAugmentation("augerino", generators=("shear", "rotate"), init=(0.0, 1.0))
    assert augment.raw[...].shape == (2,)
    expected = [0, 0, jax.nn.softplus(1.0) / 2, 0, 0, math.log(2) / 2]
    np.testing.assert_allclose(augment.half_ranges, expected, rtol=1e-6)
    turn = augment.matrices(KEY, 4, 3)
    assert turn.shape == (4, 3, 3, 3)
    np.testing.assert_allclose(turn[..., :2, 2], 0)
    np.testing.assert_allclose(jnp.linalg.det(turn), 1, rtol=1e-5)  # neither rotation nor shear changes the area


def test_half_ranges_can_be_set():
    augment = AffineAugmentation(generators=("rotate", "shear"))
    augment.set_half_ranges(np.array([9.0, 9.0, 1.25, 9.0, 9.0, 0.5]))
    np.testing.assert_allclose(augment.half_ranges, [0, 0, 1.25, 0, 0, 0.5], rtol=1e-6)


def test_fixed_ranges_leave_nothing_to_learn():
    augment = AffineAugmentation.fixed({"rotate": math.pi})
    np.testing.assert_allclose(augment.half_ranges, [0, 0, math.pi, 0, 0, 0], rtol=1e-6)
    function, hyper = split_input(augment)
    assert not jax.tree.leaves(hyper)
    np.testing.assert_array_equal(function(hyper, IMAGES, KEY, 2), augment(IMAGES, KEY, 2))


def test_shared_maps_are_the_same_for_all_images():
    augment = AffineAugmentation(init=0.0, shared=True)
    out = augment(jnp.broadcast_to(IMAGES[:1], IMAGES.shape), KEY, 2)
    np.testing.assert_allclose(out, jnp.broadcast_to(out[:, :1], out.shape), atol=1e-12)
    assert not jnp.allclose(out[0], out[1])


def test_a_learned_rotation_above_pi_is_told():
    augment = AffineAugmentation(init=np.array([-3.0, -3, 4, -3, -3, -3]))
    with pytest.warns(UserWarning, match=r"rotation range of 4\.018 is above pi"):
        augment.half_ranges  # noqa: B018
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.jit(lambda: augment.half_ranges)()  # silent inside a trace, where the value is not known


class Net(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Linear(4, 3, rngs=rngs)
        self.drop = ConcreteDropout(0.2)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x, key):
        return self.head(self.drop(self.norm(self.stem(x), use_running_average=True), key))


def paths(state):
    return {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(state)}


def test_split_hyper_takes_a_model_apart_and_merge_puts_it_together():
    net = Net(nnx.Rngs(0))
    graphdef, params, hyper, rest = split_hyper(net)
    assert paths(hyper) == {"drop/phi"}
    assert paths(rest) == {"norm/mean", "norm/var"}
    x = jnp.ones((2, 4))
    np.testing.assert_array_equal(nnx.merge(graphdef, params, hyper, rest)(x, KEY), net(x, KEY))
    _, params, hyper, _ = split_hyper(net, nnx.PathContains("stem"))
    assert paths(hyper) == {"drop/phi", "stem/kernel", "stem/bias"}
    assert paths(params) == {"head/kernel", "head/bias", "norm/scale", "norm/bias"}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConcreteMask(0), r"features=0 .* at least one feature"),
        (lambda: ConcreteMask(3, init=np.zeros(2)), r"features=3 and init of shape \(2,\)"),
        (lambda: ConcreteMask(3, temperature=0), r"temperature=0 must be positive"),
        (lambda: ConcreteMask(3)(np.zeros((2, 4)), KEY), r"x has 4 features \(shape \(2, 4\)\), but the mask has 3"),
        (lambda: ConcreteMask(3)(np.zeros((2, 3)), KEY, 0), r"samples=0; at least one"),
        (lambda: ConcreteDropout(0.0), r"rate=0.0; a rate between 0 and 1"),
        (lambda: LearnedScale(-1), r"init=-1 must be positive"),
        (lambda: AffineAugmentation("polar"), r"basis='polar' is unknown"),
        (lambda: AffineAugmentation(generators=("scale",)), r"generators=\('scale',\); some of \('translate_x'"),
        (lambda: AffineAugmentation(init=np.zeros(3)), r"init has the shape \(3,\); one number, or 6"),
        (lambda: AffineAugmentation()(np.zeros((2, 6, 6)), KEY), r"shape \(2, 6, 6\)"),
        (lambda: AffineAugmentation.fixed({"rotate": 3.5}), r"half range of 'rotate' is 3.5; .* at most pi"),
        (lambda: AffineAugmentation.fixed({"shear": -0.5}), r"half range of 'shear' is -0.5"),
        (lambda: split_hyper(Net(nnx.Rngs(0)), nnx.PathContains("tail")), r"matches no weight of Net"),
        (lambda: split_hyper(Net(nnx.Rngs(0)), nnx.Param), r"every weight of Net would be a hyperparameter"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_hyper_is_not_a_weight():
    assert not issubclass(Hyper, nnx.Param)
