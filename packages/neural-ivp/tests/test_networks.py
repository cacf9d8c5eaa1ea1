"""The box, the embedding, the networks, and networks as functions of one vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from offprint.neural_ivp._anchored import Anchored, Constrained
from offprint.neural_ivp._bc import Dirichlet, Mixed, Periodic
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._embedding import sinusoidal_embedding
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._mlp import Layer, SinusoidalMLP

CASES = ["adv2d", "heat2d", "wave2d", "wave3d", "vlasov6d", "fp5d", "wavemaps3d"]
SQUARE = Box.cube(2)


def golden_network(arrays):
    """The network of a golden file as ours."""
    fields = int(arrays["n_outputs"])
    sizes = (fields, int(arrays["width"]), 3, int(arrays["L"]), float(arrays["scaling"]))
    model = SinusoidalMLP(Box.cube(arrays["X"].shape[1]), *sizes, rngs=nnx.Rngs(0))
    for j, layer in enumerate(model.layers):
        layer.kernel[...] = jnp.stack([arrays[f"W_out{o}_layer{j}"] for o in range(fields)])
        layer.bias[...] = jnp.stack([arrays[f"b_out{o}_layer{j}"] for o in range(fields)])
    return model


def small(fields=2, **others):
    return SinusoidalMLP(SQUARE, fields, width=6, depth=2, n_freq=2, rngs=nnx.Rngs(0), **others)


values = jax.jit(lambda apply, theta, x: apply.values(theta, x), static_argnums=0)


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.fixture(scope="module")
def points():
    return Box.cube(2).uniform(jax.random.key(3), 20)


@pytest.mark.parametrize("name", CASES)
def test_network_values_are_those_of_the_authors_code(golden, name):
    arrays = golden(name)
    apply, theta = functional(golden_network(arrays))
    assert apply.num_params == len(arrays["theta"])
    assert relative(values(apply, theta, arrays["X"]), arrays["u"]) < 1e-12


def test_order_of_the_weights_is_that_of_the_authors_code_for_one_field(golden):
    arrays = golden("adv2d")
    np.testing.assert_array_equal(functional(golden_network(arrays))[1], arrays["theta"])


def test_weights_of_two_fields_lie_one_after_the_other(golden):
    arrays = golden("wave2d")
    apply, theta = functional(golden_network(arrays))
    blocks = np.asarray(theta).reshape(apply.blocks, -1)
    for o in range(2):
        layers = [arrays[f"{kind}_out{o}_layer{j}"].reshape(-1) for j in range(4) for kind in "bW"]
        np.testing.assert_array_equal(blocks[o], np.concatenate(layers))


def test_embedding_is_that_of_the_authors_code(golden):
    arrays = golden("geometry_networks")
    ours = jax.vmap(lambda x: sinusoidal_embedding(x, int(arrays["L"]), float(arrays["scaling"])))(arrays["X"])
    assert relative(ours, arrays["embedding"]) < 1e-13


def test_ednn_is_that_of_the_authors_code(golden):
    arrays = golden("geometry_networks")
    model = EDNN(SQUARE, 2, rngs=nnx.Rngs(0))
    for j, layer in enumerate([*model.layers, model.output]):
        names = [f"ednn_linear_{number}" if number else "ednn_linear" for number in (j, j + 5)]
        if j == 5:
            names = ["ednn_linear_10", "ednn_linear_11"]
        layer.kernel[...] = jnp.stack([arrays[f"{name}_w"] for name in names])
        layer.bias[...] = jnp.stack([arrays[f"{name}_b"] for name in names])
    assert (
        relative(nnx.jit(nnx.vmap(lambda model, x: model(x), in_axes=(None, 0)))(model, arrays["X"]), arrays["ednn_u"])
        < 1e-13
    )


def test_initial_weights_are_cut_normals_without_correction_of_the_variance():
    layer = Layer(2, 400, 300, param_dtype=jnp.dtype("float64"), rngs=nnx.Rngs(1))
    kernel = np.asarray(layer.kernel[...]) * 20
    assert np.abs(kernel).max() <= 2
    np.testing.assert_allclose(kernel.std(), 0.8796, atol=0.005)
    assert not np.any(layer.bias[...])


@pytest.mark.parametrize(
    "make", [small, lambda: small(shared_trunk=True), lambda: EDNN(SQUARE, 2, 5, rngs=nnx.Rngs(0))]
)
def test_functional_is_the_module_and_back(make, points):
    model = make()
    apply, theta = functional(model)
    assert theta.dtype == jnp.float64
    np.testing.assert_allclose(values(apply, theta, points)[0], model(points[0]), atol=1e-15)
    np.testing.assert_array_equal(apply.flatten(apply.unflatten(theta)), theta)
    np.testing.assert_allclose(apply.model(2 * theta)(points[0]), apply(2 * theta, points[0]), atol=1e-15)


def test_functionals_of_equal_modules_are_equal_and_compile_once(points):
    first, theta = functional(small())
    second, _ = functional(small())
    assert first == second
    assert hash(first) == hash(second)
    run = jax.jit(lambda apply, theta, x: apply(theta, x), static_argnums=0)
    np.testing.assert_allclose(run(first, theta, points[0]), first(theta, points[0]), atol=1e-15)
    run(second, theta, points[1])
    assert run._cache_size() == 1


def test_fields_depend_on_their_own_block_alone(points):
    apply, theta = functional(small(3))
    jacobian = jax.jit(jax.jacrev(apply))(theta, points[0]).reshape(3, apply.blocks, -1)
    sizes = np.abs(jacobian).max(axis=2)
    assert apply.blocks == 3
    assert np.all(np.diag(sizes) > 0)
    assert not np.any(sizes - np.diag(np.diag(sizes)))


def test_gradient_in_the_weights_is_that_of_differences(points):
    apply, theta = functional(small())
    check_grads(lambda theta: values(apply, theta, points[:3]), (theta,), order=2, modes=["rev"], rtol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_chain_gives_the_fields(points, shared):
    apply, theta = functional(small(shared_trunk=shared))
    chain = apply.chain(theta)
    kernel, bias = chain.layers[-1]
    for x in points[:3]:
        head = jnp.einsum("bi,bio->bo", chain.hidden(x), kernel) + bias
        np.testing.assert_allclose(chain.scale(x) * head.reshape(-1), apply(theta, x), atol=1e-15)


def test_float32_network_keeps_float64_weights(points):
    wide, theta = functional(small())
    narrow, kept = functional(small(param_dtype=jnp.float32))
    assert kept.dtype == jnp.float64
    u = values(narrow, theta, points)
    assert u.dtype == jnp.float32
    np.testing.assert_allclose(u, values(wide, theta, points), atol=1e-5)


def test_new_random_weights_depend_on_the_key_alone():
    apply, theta = functional(small())
    one, same, other = (apply.init(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1
    assert np.abs(one - theta).max() > 0.1


def test_anchored_network_starts_at_the_initial_condition(points):
    def ic(x):
        return jnp.stack([jnp.prod(1 - x**2), jnp.zeros(())])

    inner = small()
    apply, theta = functional(Anchored(inner, ic))
    np.testing.assert_allclose(values(apply, theta, points), jax.vmap(ic)(points), atol=1e-15)
    plain, own = functional(inner)
    np.testing.assert_array_equal(own, theta)
    jacobians = [jax.jit(jax.jacrev(f))(theta, points[0]) for f in (apply, plain)]
    np.testing.assert_allclose(*jacobians, atol=1e-14)
    assert apply.chain(theta) is not None
    fresh = apply.init(jax.random.key(5))
    expected = ic(points[0]) + plain(fresh, points[0]) - plain(theta, points[0])
    np.testing.assert_allclose(apply(fresh, points[0]), expected, atol=1e-14)


class Plain(nnx.Module):
    """A network of a user's own."""

    def __init__(self, rngs):
        self.inner, self.outer = nnx.Linear(2, 5, rngs=rngs), nnx.Linear(5, 1, rngs=rngs)

    def __call__(self, x):
        return self.outer(jnp.tanh(self.inner(x)))


def test_networks_and_functions_of_ones_own_work(points):
    model = Constrained(Plain(nnx.Rngs(0)), SQUARE, Dirichlet(lambda x, t: x[:1] + t))
    apply, theta = functional(model)
    np.testing.assert_allclose(apply(theta, jnp.array([1.0, 0.3]), 2.0), [3.0], atol=1e-15)
    np.testing.assert_allclose(apply.lift_rate(points[0], 2.0), [1.0])
    assert apply.chain(theta) is None
    free, _ = functional(Plain(nnx.Rngs(0)), domain=SQUARE)
    assert free.lift_rate(points[0], 0.0) is None
    with pytest.raises(ValueError, match="fresh"):
        free.init(jax.random.key(0))
    by_function, same = functional(
        lambda params, x: jnp.tanh(x @ params["a"]), {"a": jnp.ones((2, 3))}, domain=SQUARE,
        init=lambda key: {"a": jax.random.normal(key, (2, 3))},
    )  # fmt: skip
    assert by_function.n_fields == 3
    np.testing.assert_allclose(by_function(same, points[0]), np.tanh(np.full(3, points[0].sum())), atol=1e-15)
    assert by_function.init(jax.random.key(0)).shape == (6,)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.1, 20)), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_points_of_a_box_are_inside_and_corners_become_one(sides, seed):
    box = Box([lo for lo, _ in sides], [lo + size for lo, size in sides])
    x = np.asarray(box.uniform(jax.random.key(seed), 7))
    assert np.all((x >= box.lower) & (x <= box.upper))
    np.testing.assert_allclose(box.normalize(box.upper), 1, atol=1e-12)
    np.testing.assert_allclose(box.normalize(box.lower), -1, atol=1e-12)
    edge = box.boundary(jax.random.key(seed), 7)
    assert np.all(box.on_boundary(edge))
    assert not np.any(box.on_boundary(jnp.asarray((box.lower + box.upper)[None] / 2)))


def test_standard_cube_is_not_rounded(points):
    np.testing.assert_array_equal(SQUARE.normalize(points), points)
    assert SQUARE.volume == 4
    assert Box.cube(2) == SQUARE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box([0.0, 1.0], [1.0, 1.0]), r"lo < hi in every coordinate, but lo\[1\]=1.0 and hi\[1\]=1.0"),
        (lambda: Box([0.0], [1.0, 1.0]), r"their shapes are \(1,\) and \(2,\)"),
        (lambda: Box([0.0], [np.inf]), "finite bounds"),
        (lambda: Box.cube(0), "dim=0"),
        (lambda: small(fields=0), "out_features must be at least 1, but is 0"),
        (lambda: EDNN(SQUARE, width=0, rngs=nnx.Rngs(0)), "width must be at least 1"),
        (lambda: small()(jnp.zeros((4, 2))), r"one point x of shape \(2,\).*vmap"),
        (lambda: small()(jnp.zeros(3)), r"x has shape \(3,\)"),
        (lambda: functional(small(), domain=Box.cube(3)), "make the model with this domain"),
        (lambda: functional(Plain(nnx.Rngs(0))), r"pass domain=Box\(lo, hi\)"),
        (
            lambda: functional(lambda p, x: p[0] * x[0], jnp.ones(1), domain=SQUARE),
            r"hint: a single field is u\[None\]",
        ),
        (lambda: functional(small())[0](jnp.zeros(3), jnp.zeros(2)), r"theta must have shape \(\d+,\), but has \(3,\)"),
        (lambda: Constrained(Plain(nnx.Rngs(0)), SQUARE, Periodic()), "cannot make a network periodic"),
        (lambda: small(bc=Mixed(["free"])), "faces for 1 directions, but the domain has 2"),
        (lambda: sinusoidal_embedding(jnp.zeros(2), 0, 1.0), "n_freq=0"),
    ],
)
def test_mistakes_are_named(unchecked_types, make, message):
    with pytest.raises(ValueError, match=message):
        make()
