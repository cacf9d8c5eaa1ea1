"""Eight simulated devices for the tests of sharding, and the small problems that several files train."""
# ruff: noqa: E402

import jax

jax.config.update("jax_num_cpu_devices", 8)  # before anything else makes JAX look for its devices

import jax.numpy as jnp
import jaxtyping
import optax
import pytest
from flax import nnx

from offprint.core.train import TrainState, supervised_step


class Classifier(nnx.Module):
    """A small network with dropout, so that random state is part of what is trained."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(5, 8, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.hidden(x))))


def cross_entropy(model, batch, key):
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


def new_state(seed: int = 0) -> TrainState:
    return TrainState.create(Classifier(nnx.Rngs(seed)), optax.adam(1e-2))


@pytest.fixture(scope="session")
def data():
    """48 examples of five features in three classes that a linear map separates well."""
    x = jax.random.normal(jax.random.key(7), (48, 5))
    y = jnp.argmax(x @ jax.random.normal(jax.random.key(8), (5, 3)), axis=-1)
    return x, y


@pytest.fixture(scope="session")
def step():
    return supervised_step(cross_entropy)


@pytest.fixture
def unchecked_types():
    """Without the test run's own type checks, which would answer a wrong type before the library does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def state():
    return new_state()


def counting_step(state, batch, key):
    """A step without data or model: counts, and draws one number."""
    count, total = state
    drawn = jax.random.normal(key)
    return (count + 1, total + drawn), {"drawn": drawn, "count": count}


@pytest.fixture(scope="session")
def counter():
    return counting_step
