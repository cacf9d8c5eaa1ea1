import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import new_state

from offprint.core.train import Evaluation

X = jnp.arange(10.0)


def squares(scale, batch):
    return {"square": scale * batch**2, "pair": jnp.stack([batch, -batch], axis=1)}


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 99])
def test_every_example_counts_once_whatever_the_batch(batch_size):
    values = Evaluation(squares, X, batch_size=batch_size, view=lambda state: state)(jnp.float32(2))
    np.testing.assert_allclose(values["square"], float(2 * (X**2).mean()), rtol=1e-6)
    np.testing.assert_allclose(values["pair"], [4.5, -4.5], rtol=1e-6)


def test_accuracy_of_a_model(data):
    _, y = data
    evaluation = Evaluation(
        lambda model, batch: {"accuracy": model(batch[0]).argmax(-1) == batch[1]}, data, batch_size=7
    )
    state = new_state()
    state.model.eval()
    assert 0 <= evaluation(state)["accuracy"] <= 1
    constant = Evaluation(lambda model, batch: {"zero": batch[1] == 0}, data, batch_size=7)(state)
    assert constant["zero"] == pytest.approx(float((y == 0).mean()))


def test_it_may_be_traced():
    evaluation = Evaluation(squares, X, batch_size=4, view=lambda state: state)
    scales = jnp.array([1.0, 3.0])
    together = jax.vmap(lambda scale: evaluation(scale)["square"])(scales)
    np.testing.assert_allclose(together, [evaluation(scale)["square"] for scale in scales], rtol=1e-6)


def test_a_mean_over_the_batch_is_refused():
    evaluation = Evaluation(lambda state, batch: {"mean": batch.mean()}, X, batch_size=4, view=lambda state: state)
    with pytest.raises(ValueError, match=r"'mean' must have one value for each of the 4 examples .* the shape \(\)"):
        evaluation(jnp.float32(1))


def test_bad_data_are_refused():
    with pytest.raises(ValueError, match="the data hold no examples"):
        Evaluation(squares, jnp.zeros(0))
    with pytest.raises(ValueError, match="batch_size must be at least 1, but is 0"):
        Evaluation(squares, X, batch_size=0)
