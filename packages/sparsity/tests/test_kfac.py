"""K-FAC's factors against single gradients, its inverse against the Kronecker product, EigenDamage's bottlenecks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._eigendamage import eigendamage, rotate
from offprint.sparsity._kfac import KFAC, Kronecker
from offprint.sparsity.layerwise import as_matrix

DAMP = 1e-3


def convolve(params, x):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=dimensions)


def losses(params, batch):
    x, labels = batch
    h = jax.nn.relu(convolve(params, x).reshape(len(x), -1))
    logits = h @ params["out"]["kernel"] + params["out"]["bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    params = {
        "conv": {"kernel": generator.normal(size=(2, 2, 2, 3))},
        "out": {"kernel": generator.normal(size=(12, 4)), "bias": generator.normal(size=4)},
    }
    batch = (generator.normal(size=(6, 3, 3, 2)), generator.integers(0, 4, size=6))
    return params, batch, KFAC.fit(losses, params, batch, damp=DAMP)


def test_factors(problem):
    params, (x, labels), kfac = problem
    h = np.maximum(np.asarray(convolve(params, x)).reshape(6, -1), 0)
    logits = h @ params["out"]["kernel"] + params["out"]["bias"]
    delta = np.asarray(jax.nn.softmax(logits)) - np.eye(4)[labels]
    np.testing.assert_allclose(kfac.factors["out/kernel"].A, h.T @ h / 6, atol=1e-12)
    np.testing.assert_allclose(kfac.factors["out/kernel"].S, delta.T @ delta / 6, atol=1e-12)
    patches = np.stack([x[:, i : i + 2, j : j + 2].reshape(6, -1) for i in range(2) for j in range(2)], axis=1)
    back = (delta @ params["out"]["kernel"].T * (h > 0)).reshape(6, 4, 3)
    np.testing.assert_allclose(
        kfac.factors["conv/kernel"].A, np.einsum("npi,npj->ij", patches, patches) / 6, atol=1e-12
    )
    np.testing.assert_allclose(kfac.factors["conv/kernel"].S, np.einsum("npi,npj->ij", back, back) / 24, atol=1e-12)


def test_one_example_of_a_dense_layer_is_exact(problem):
    params, (x, labels), _ = problem
    one = (x[:1], labels[:1])
    factors = KFAC.fit(losses, params, one).factors["out/kernel"]
    gradient = np.asarray(jax.grad(lambda params: losses(params, one)[0])(params)["out"]["kernel"]).ravel()
    np.testing.assert_allclose(np.kron(factors.A, factors.S), np.outer(gradient, gradient), atol=1e-12)


def test_the_inverse_is_that_of_the_product(problem):
    params, _, kfac = problem
    factors = kfac.factors["conv/kernel"]
    A, S = factors.inverses(DAMP)
    # The two factors share the damping so that their product has about λ I.
    excess_A, excess_S = np.linalg.inv(A) - factors.A, np.linalg.inv(S) - factors.S
    np.testing.assert_allclose(np.kron(excess_A, excess_S), DAMP * np.eye(24), atol=1e-9)
    w = np.asarray(as_matrix(params["conv"]["kernel"], (0, 1, 2)))
    inverse = np.kron(A, S)
    solved = kfac.ihvp(params)
    np.testing.assert_allclose(np.ravel(solved["conv"]["kernel"]), inverse @ w.ravel(), rtol=1e-9)
    np.testing.assert_allclose(
        np.ravel(kfac.statistic(params)["conv"]["kernel"]), w.ravel() ** 2 / (2 * np.diagonal(inverse)), rtol=1e-9
    )
    assert solved["out"]["bias"] is None
    traced = jax.jit(lambda kfac, params: kfac.ihvp(params))(kfac, params)
    np.testing.assert_allclose(traced["conv"]["kernel"], solved["conv"]["kernel"], rtol=1e-8)


@pytest.mark.parametrize("update", ["independent", "none"])
def test_prune(problem, update):
    params, _, kfac = problem
    pruned, masks = kfac.prune(params, 0.5, update=update, scope="local")
    keep = np.asarray(masks["out"]["kernel"])
    assert keep.sum() == 24
    w = params["out"]["kernel"]
    A, S = kfac.factors["out/kernel"].inverses(DAMP)
    expected = w
    if update == "independent":
        expected = w - A @ np.where(keep, 0, w / np.outer(np.diagonal(A), np.diagonal(S))) @ S
    np.testing.assert_allclose(pruned["out"]["kernel"], np.where(keep, expected, 0), rtol=1e-9)
    assert masks["out"]["bias"] is None


def test_eigendamage(problem):
    params, _, kfac = problem
    factors = kfac.factors["out/kernel"]
    w = params["out"]["kernel"]
    rotated = rotate(w, factors.A, factors.S)
    fisher = np.kron(factors.A, factors.S)
    # An element of the core alone: its cost is the quadratic form of the direction that it stands for.
    direction = np.outer(rotated.left[:, -1], rotated.right[:, -1]).ravel() * rotated.core[-1, -1]
    np.testing.assert_allclose(rotated.cost[-1, -1], direction @ fisher @ direction, rtol=1e-9)
    whole = eigendamage(params, kfac, 0.0)
    np.testing.assert_allclose(whole["out/kernel"].dense(), w, atol=1e-12)
    half = eigendamage(params, kfac, 0.5)
    rows = {path: each.core.shape for path, each in half.items()}
    assert sum(map(sum, rows.values())) == 27 - 14
    assert half["out/kernel"].size == sum(part.size for part in half["out/kernel"])
    most = eigendamage(params, kfac, 0.95)
    assert all(min(each.core.shape) >= 1 for each in most.values())


def scanned(params, batch):
    return jax.lax.scan(lambda x, _: (x @ params["kernel"], None), batch, None, length=2)[0].sum(axis=1)


def fit(losses, **options):
    return KFAC.fit(losses, {"kernel": np.eye(2)}, np.ones((3, 2)), **options)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("damp must be positive", lambda: fit(losses, damp=0.0)),
        ("loss of every example", lambda: fit(lambda params, x: jnp.sum(x @ params["kernel"]))),
        ("it goes into a scan", lambda: fit(scanned)),
        ("it goes into exp", lambda: fit(lambda params, x: (x @ jnp.exp(params["kernel"])).sum(axis=1))),
        ("update must be", lambda: KFAC({}, 1.0).prune({"kernel": np.eye(2)}, 0.5, update="joint")),
        ("min_keep must be", lambda: eigendamage({}, KFAC({}, 1.0), 0.5, min_keep=0)),
        ("sparsity must be", lambda: eigendamage({}, KFAC({}, 1.0), 50)),
    ],
)
def test_bad_input(unchecked_types, message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_dead_layers_have_an_inverse():
    A, S = Kronecker(np.zeros((2, 2)), np.zeros((3, 3)), (0,)).inverses(0.04)
    np.testing.assert_allclose(np.kron(A, S), np.eye(6) / 0.04)
