"""Path loss, shadowing and fading."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._path_loss import PATH_LOSS, log_distance, nakagami_gain, path_loss, shadowing


@pytest.mark.parametrize("model", sorted(PATH_LOSS))
def test_grows_with_distance_from_one_metre_on(model):
    d = np.array([0.0, 0.5, 1.0, 1.5, 4.999, 5.0, 5.001, 9.999, 10.0, 10.001, 100.0])
    loss = np.asarray(path_loss(model, d, 5.23))
    assert loss[0] == loss[1] == loss[2]
    assert (np.diff(loss[2:]) > 0).all()
    # No jump at the breakpoints.
    assert np.diff(loss)[[4, 5, 7, 8]].max() < 0.02


@pytest.mark.parametrize("model", sorted(PATH_LOSS))
def test_gradient_in_distance(model):
    d = jnp.array([1.7, 4.0, 7.0, 23.0])
    slope = jax.vmap(jax.grad(lambda d: path_loss(model, d, 6.295, 1, 2)))(d)
    h = 1e-5
    central = (path_loss(model, d + h, 6.295, 1, 2) - path_loss(model, d - h, 6.295, 1, 2)) / (2 * h)
    np.testing.assert_allclose(slope, central, rtol=1e-6)


def test_walls_and_floors():
    assert np.isclose(path_loss("tgax_enterprise", 8, 5.23, 3) - path_loss("tgax_enterprise", 8, 5.23), 21)
    assert np.isclose(path_loss("tgax_residential", 8, 5.23, 3) - path_loss("tgax_residential", 8, 5.23), 15)
    one = path_loss("tgax_residential", 8, 5.23, 0, 1) - path_loss("tgax_residential", 8, 5.23)
    assert np.isclose(one, 18.3)
    slope = jax.grad(lambda f: path_loss("tgax_residential", 8.0, 5.23, 0, f))(0.0)
    assert np.isfinite(slope)


def test_own_model_and_traced_call():
    def own(d, f_ghz, walls, floors):
        return log_distance(d, f_ghz, reference_db=40, exponent=2)

    d = np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(path_loss(own, d, 5.0), [40, 60, 80])
    np.testing.assert_allclose(jax.jit(lambda d: path_loss(own, d, 5.0))(d), [40, 60, 80])


def test_shadowing_is_symmetric_with_the_given_deviation():
    x = np.asarray(shadowing(jax.random.key(0), 4.0, 80, 3))
    np.testing.assert_array_equal(x, x.swapaxes(1, 2))
    assert (np.diagonal(x, axis1=1, axis2=2) == 0).all()
    pairs = x[:, *np.triu_indices(80, 1)]
    assert abs(pairs.mean()) < 4 * 4 / np.sqrt(pairs.size)
    assert abs(pairs.std() - 4) < 4 * 4 / np.sqrt(2 * pairs.size)
    assert abs(np.corrcoef(pairs)[0, 1]) < 0.1


def test_nakagami_gain_has_mean_one_and_variance_one_over_m():
    m = jnp.array([0.5, 1.0, 4.0])
    gain = np.asarray(nakagami_gain(jax.random.key(1), m, (20_000, 3)))
    assert (gain > 0).all()
    np.testing.assert_allclose(gain.mean(0), 1, atol=4 * np.sqrt(2 / 20_000))
    np.testing.assert_allclose(gain.var(0) * m, 1, atol=0.15)
    # m = 1 is Rayleigh: the power is exponential.
    np.testing.assert_allclose((gain[:, 1] > 1).mean(), np.exp(-1), atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: path_loss("tgax", 1.0, 5.0), "model='tgax' is unknown; use one of 'tgax_residential'"),
        (lambda: path_loss("friis", -1.0, 5.0), "negative or NaN"),
        (lambda: path_loss("friis", 1.0, 0.0), "f_ghz must be positive"),
        (lambda: nakagami_gain(jax.random.key(0), 0.4, (3,)), "m = 0.4"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
