"""The edge predictor against the original implementation, and what it promises beyond."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.gaug._edge_loss import edge_loss, kl_term, loss_weights
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._graph import Graph

NAMES = {"joint": ("gcn_base__W", "gcn_mean__W", "gcn_logstd__W")}
NAMES["standalone"] = ("base_gcn__weight", "gcn_mean__weight", "gcn_logstd__weight")


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("edge_predictor")


@pytest.fixture(scope="module")
def graph(arrays):
    return Graph.from_dense(arrays["adj"])


def predictor(arrays, name):
    """The predictor with the weights of the golden file."""
    variant, kind = name.split("_")
    model = EdgePredictor(9, 16, 6, variant, kind == "vgae", param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    for param, key in zip((model.base, model.mean, model.log_std), NAMES[variant]):
        if param is not None:
            param[...] = jnp.asarray(arrays[f"{name}__{key}"])
    return model


@pytest.mark.parametrize("name", ["joint_gae", "joint_vgae", "standalone_gae", "standalone_vgae"])
def test_logits_are_those_of_the_original(arrays, graph, name):
    model = predictor(arrays, name)
    noise = arrays["noise"] if name.endswith("vgae") else None
    z = model(graph, arrays["features"], noise).z
    np.testing.assert_allclose(z @ z.T, arrays[f"{name}__logits"], rtol=1e-9, atol=1e-9)
    if name.startswith("standalone"):
        probabilities = np.asarray(jax.nn.sigmoid(z @ z.T)) * (1 - np.eye(len(z)))
        np.testing.assert_allclose(probabilities, arrays[f"{name}__edge_probabilities"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["dense", "blockwise"])
@pytest.mark.parametrize("name", ["joint_gae", "joint_vgae"])
def test_loss_and_gradients_are_those_of_the_original(arrays, graph, name, mode):
    variational = name.endswith("vgae")

    def loss(model):
        out = model(graph, arrays["features"], arrays["noise"] if variational else None)
        recon = edge_loss(out.z, graph, mode=mode, block_size=7)
        kl = kl_term(out.mean, out.log_std) if variational else 0.0
        return recon - kl, (recon, kl)

    model = predictor(arrays, name)
    (total, (recon, kl)), grads = nnx.value_and_grad(loss, has_aux=True)(model)
    assert float(recon) == pytest.approx(float(arrays[f"{name}__recon_loss"]), rel=1e-9)
    if variational:
        assert float(kl) == pytest.approx(float(arrays[f"{name}__kl_term"]), rel=1e-9)
        assert float(total) == pytest.approx(float(arrays[f"{name}__loss"]), rel=1e-9)
    for param, key in zip(("base", "mean", "log_std"), NAMES["joint"]):
        if param in grads:
            np.testing.assert_allclose(grads[param][...], arrays[f"{name}__grad_{key}"], rtol=1e-8, atol=1e-9)


def test_loss_weights_are_those_of_the_original(arrays, graph):
    weights = loss_weights(graph)
    assert float(weights.norm_w) == pytest.approx(float(arrays["norm_w"]), rel=1e-9)
    assert float(weights.pos_weight) == pytest.approx(arrays["pos_weight"].item(), rel=1e-9)


def test_a_dense_matrix_serves_as_well_as_a_graph(arrays, graph):
    model = predictor(arrays, "joint_gae")
    dense = jnp.asarray(arrays["adj"]) + jnp.eye(24)
    sparse = model(graph, arrays["features"]).z
    np.testing.assert_allclose(model(dense, arrays["features"]).z, sparse, rtol=1e-12, atol=1e-12)


def test_without_noise_the_embedding_is_the_mean_and_a_key_draws_it(arrays, graph):
    model = predictor(arrays, "joint_vgae")
    out = model(graph, arrays["features"])
    np.testing.assert_array_equal(out.z, out.mean)
    drawn = model(graph, arrays["features"], jax.random.key(1))
    noise = jax.random.normal(jax.random.key(1), drawn.z.shape, drawn.z.dtype)
    np.testing.assert_allclose(drawn.z, out.mean + noise * jnp.exp(out.log_std))


def test_jit_changes_nothing_and_float32_stays_float32(arrays, graph):
    model = EdgePredictor(9, rngs=nnx.Rngs(0))
    x = jnp.asarray(arrays["features"], jnp.float32)
    narrow = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, graph)
    plain = model(narrow, x).z
    assert plain.dtype == jnp.float32
    assert plain.shape == (24, 32)
    np.testing.assert_allclose(nnx.jit(lambda m, g, x: m(g, x).z)(model, narrow, x), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, but is 0"),
        ({"embed": -1}, "embed must be at least 1, but is -1"),
        ({"variant": "both"}, "variant 'both' is unknown; one of joint, standalone is needed"),
    ],
)
def test_settings_that_make_no_predictor_are_refused(unchecked_types, settings, message):
    with pytest.raises(ValueError, match=message):
        EdgePredictor(4, **settings, rngs=nnx.Rngs(0))


def test_noise_that_fits_no_embedding_is_refused(unchecked_types, arrays, graph):
    with pytest.raises(ValueError, match="not variational: set variational=True"):
        predictor(arrays, "joint_gae")(graph, arrays["features"], jax.random.key(0))
    with pytest.raises(ValueError, match=r"noise has shape \(24, 5\), but the embedding has \(24, 6\)"):
        predictor(arrays, "joint_vgae")(graph, arrays["features"], arrays["noise"][:, :5])
