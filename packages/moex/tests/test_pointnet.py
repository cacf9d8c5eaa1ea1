"""PointNet++: sampling and grouping against brute force, invariances, where moments are exchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.moex import MixPlan, MoEx
from offprint.moex.models import PointNet2, ball_query, farthest_point_sampling

CLOUDS = jax.random.uniform(jax.random.key(0), (3, 24, 3), jnp.float32, -1, 1)


def small(**options):
    return PointNet2(4, radii=(0.6, 1.0), neighbours=6, width=1 / 16, rngs=nnx.Rngs(0), **options)


def test_farthest_point_sampling():
    points = np.asarray(CLOUDS[0])
    chosen = [0]
    while len(chosen) < 10:
        chosen.append(int(np.min(np.linalg.norm(points[:, None] - points[chosen], axis=-1), axis=1).argmax()))
    np.testing.assert_array_equal(farthest_point_sampling(CLOUDS[0], 10), chosen)


def test_all_points_can_be_sampled():
    assert sorted(farthest_point_sampling(CLOUDS[0], 24).tolist()) == list(range(24))


def test_ball_query():
    points, centres = np.asarray(CLOUDS[0]), np.asarray(CLOUDS[0, :5]) + 0.01
    found = np.asarray(ball_query(CLOUDS[0], jnp.asarray(centres), 0.6, 7))
    for centre, row in zip(centres, found):
        distance = np.linalg.norm(points - centre, axis=1)
        nearest = distance.argsort()
        inside = [i for i in nearest[:7] if distance[i] <= 0.6]
        assert row.tolist() == inside + [nearest[0]] * (7 - len(inside))


def test_positions_stay_and_features_get_moments():
    """Exchange with norm "in" after the first set abstraction; a plan that is off changes no bit."""
    network = small(moex=MoEx("in"))
    on = MixPlan(jnp.asarray(True), jnp.array([1, 2, 0], jnp.int32), jnp.asarray(0.9, jnp.float32))
    off = MixPlan(jnp.asarray(False), jnp.arange(3, dtype=jnp.int32), jnp.asarray(1.0, jnp.float32))

    def call(network, x, plan):
        network = nnx.clone(network)
        network.dropout.deterministic = True
        return network(x, plan)

    train = jax.jit(call)
    assert train(network, CLOUDS, on).shape == (3, 4)
    assert np.abs(train(network, CLOUDS, on) - train(network, CLOUDS, off)).max() > 1e-4
    without = small()
    np.testing.assert_array_equal(jax.jit(call)(without, CLOUDS, None), train(network, CLOUDS, off))
    network.eval()
    evaluate = jax.jit(call)
    np.testing.assert_array_equal(evaluate(network, CLOUDS, on), evaluate(network, CLOUDS, off))


def test_order_of_the_points_and_place_in_the_batch():
    network = small()
    network.eval()
    run = jax.jit(lambda network, x: network(x))
    logits = run(network, CLOUDS)
    # Sampling starts at point 0; the order of the others says nothing.
    order = jnp.concatenate([jnp.zeros(1, int), 1 + jax.random.permutation(jax.random.key(1), 23)])
    np.testing.assert_allclose(run(network, CLOUDS[:, order]), logits, atol=1e-5)
    np.testing.assert_allclose(run(network, CLOUDS[jnp.array([2, 0, 1])]), logits[jnp.array([2, 0, 1])], atol=1e-5)


def test_published_widths():
    abstract = nnx.eval_shape(lambda: PointNet2(40, rngs=nnx.Rngs(0)))
    widths = [layer.out_features for mlp in (abstract.sa1.mlp, abstract.sa2.mlp, abstract.sa3) for layer in mlp.linears]
    assert widths == [64, 64, 128, 128, 128, 256, 256, 512, 1024]
    assert [abstract.fc1.out_features, abstract.fc2.out_features, abstract.fc3.out_features] == [512, 256, 40]
    assert [mlp.linears[0].in_features for mlp in (abstract.sa1.mlp, abstract.sa2.mlp, abstract.sa3)] == [3, 131, 259]


def test_gradients_are_finite():
    network = small(moex=MoEx("in"))
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        def loss(params):
            return nnx.merge(graphdef, params, rest, copy=True)(CLOUDS).sum()

        return jax.grad(loss)(params)

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(params)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: farthest_point_sampling(CLOUDS[0], 25), "count=25; between 1 and the 24 points"),
        (lambda: ball_query(CLOUDS[0], CLOUDS[0, :2], 0.5, 25), "neighbours=25; between 1 and the 24 points"),
    ],
)
def test_wrong_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call()
