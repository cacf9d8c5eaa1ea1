"""Bad input to networks, data and sweeps: one clear error each."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.core.data import DataError
from offprint.resnet_scaling import (
    DeepResNet,
    ResNetParams,
    SweepConfig,
    TrainTest,
    data,
    evaluate_loss,
    init_params,
    pad_params,
    parallel_apply,
    resnet_apply,
    train_sweep,
    unpad_params,
)

KEY = jax.random.key(0)
PARAMS = ResNetParams(jnp.zeros((3, 2, 2)), jnp.zeros((3, 2)), jnp.ones(1))
MULTI = PARAMS._replace(delta=jnp.ones(2))
X = np.ones((4, 2))
DATA = TrainTest(X, X, X, X)
SMALL = SweepConfig(batch_size=2)


def sweep(config=SMALL, data=DATA, depths=(1, 2), seeds=(0,)):
    return train_sweep(config, data, depths, seeds)


CASES = {
    "activation": (
        lambda: resnet_apply(PARAMS, X, activation="gelu"),
        "activation='gelu' is unknown; one of 'tanh', 'relu', 'identity', or an elementwise function, is needed",
    ),
    "delta": (
        lambda: resnet_apply(PARAMS, X, delta="many"),
        "delta='many' is unknown; one of 'shared', 'multi', 'none' or a number is needed",
    ),
    "delta not finite": (
        lambda: init_params(KEY, 3, 2, delta=float("nan")),
        "delta=nan; a finite number, or one of 'shared', 'multi', 'none', is needed",
    ),
    "init": (
        lambda: init_params(KEY, 3, 2, init="he"),
        "init='he' is unknown; one of 'xavier', 'xavier-depth', 'iid', 'fbm', 'rbf', 'zero' is needed",
    ),
    "no layer": (lambda: init_params(KEY, 0, 2), "depth must be at least 1, got 0"),
    "no width": (lambda: DeepResNet(0, 3, rngs=nnx.Rngs(0)), "dim must be at least 1, got 0"),
    "initial_sd": (
        lambda: init_params(KEY, 3, 2, initial_sd=-1),
        "initial_sd=-1; a finite number that is not negative is needed",
    ),
    "hurst": (
        lambda: init_params(KEY, 3, 2, init="fbm", hurst=1.0),
        "hurst=1; a Hurst exponent lies strictly between 0 and 1",
    ),
    "mode": (
        lambda: resnet_apply(PARAMS, X, mode="fast"),
        "mode='fast' is unknown; one of 'scan', 'parallel' is needed",
    ),
    "remat": (
        lambda: resnet_apply(PARAMS, X, remat=0),
        "remat=0; None, 'auto' or a positive number of layers is needed",
    ),
    "stride": (
        lambda: resnet_apply(PARAMS, X, return_hidden=-2),
        "return_hidden=-2; False, True or a positive stride is needed",
    ),
    "delta of another length": (
        lambda: resnet_apply(MULTI, X, delta="multi"),
        "delta has shape (2,) where A has 3 layers; (3,) is needed for delta='multi'",
    ),
    "delta for each layer taken as shared": (
        lambda: parallel_apply(MULTI, X),
        "delta has shape (2,) where A has 3 layers; (1,) is needed for delta='shared'",
    ),
    "width of the input": (
        lambda: resnet_apply(PARAMS, np.ones((4, 5))),
        "x has shape (4, 5) where A has shape (3, 2, 2); rows of 2 features are needed",
    ),
    "layers of A and b": (
        lambda: resnet_apply(PARAMS._replace(b=jnp.zeros((2, 2))), X),
        "A has shape (3, 2, 2) and b (2, 2); (L, d, d) and (L, d) with L >= 1 are needed",
    ),
    "A not square": (
        lambda: evaluate_loss(PARAMS._replace(A=jnp.zeros((3, 2, 4))), X, X),
        "A has shape (3, 2, 4) and b (3, 2); (L, d, d) and (L, d) with L >= 1 are needed",
    ),
    "mask": (
        lambda: resnet_apply(PARAMS, X, mask=jnp.ones(4)),
        "mask has shape (4,) where A has 3 layers; (3,) is needed",
    ),
    "iterations": (lambda: parallel_apply(PARAMS, X, max_iterations=0), "max_iterations must be at least 1, got 0"),
    "padded to fewer": (
        lambda: pad_params(PARAMS, 2),
        "depth=2 is less than the 3 layers given; a network is only padded to more layers",
    ),
    "cut to more": (lambda: unpad_params(PARAMS, 4), "depth=4; between 1 and the 3 layers given is needed"),
    "targets": (
        lambda: evaluate_loss(PARAMS, X, X[:3]),
        "x has shape (4, 2) and y (3, 2); they must be equal",
    ),
    "grid base": (lambda: data.depth_grid(1, 10, 1.0), "base=1.0; a number above 1 is needed"),
    "grid bounds": (
        lambda: data.depth_grid(10, 3),
        "min_depth=10, max_depth=3; 1 <= min_depth <= max_depth is needed",
    ),
    "samples": (lambda: data.synthetic_ode(KEY, 0), "n_train must be at least 1, got 0"),
    "noise": (lambda: data.synthetic_ode(KEY, noise=-1), "noise=-1; a finite number that is not negative is needed"),
    "steps": (lambda: data.simulate_process(jnp.ones((1, 2)), 0), "n_steps must be at least 1, got 0"),
    "depths not increasing": (
        lambda: sweep(depths=(3, 3)),
        "depths=(3, 3); positive whole numbers that strictly increase are needed",
    ),
    "depths not positive": (
        lambda: sweep(depths=(0, 3)),
        "depths=(0, 3); positive whole numbers that strictly increase are needed",
    ),
    "no depths": (lambda: sweep(depths=()), "depths=(); positive whole numbers that strictly increase are needed"),
    "seeds": (lambda: sweep(seeds=(1, 1)), "seeds=(1, 1); different whole numbers from 0 to 2**32 - 1 are needed"),
    "too few samples": (
        lambda: sweep(config=SweepConfig()),
        "batch_size=50 is more than the 4 training samples; use 4 or less, or give more data",
    ),
    "targets of another width": (
        lambda: sweep(data=DATA._replace(y_train=np.ones((4, 3)))),
        "the data have shapes x_train (4, 2), y_train (4, 3), x_test (4, 2), y_test (4, 2); "
        "(samples, d) with one d, targets as inputs, are needed",
    ),
    "data not finite": (
        lambda: sweep(data=DATA._replace(x_test=np.full((4, 2), np.nan))),
        "x_test has 8 entries that are NaN or infinite",
    ),
    "optimizer": (
        lambda: SweepConfig(optimizer="lamb"),
        "optimizer='lamb' is unknown; one of 'adam', 'sgd', 'rmsprop' is needed",
    ),
    "shuffle": (
        lambda: SweepConfig(shuffle="yes"),
        "shuffle='yes' is unknown; one of 'samples', 'batches', 'official', 'none' is needed",
    ),
    "learning rate": (
        lambda: SweepConfig(learning_rate=(0.1, 0.0)),
        "learning_rate=(0.1, 0.0); a positive number, or some of them, is needed",
    ),
    "no learning rate": (
        lambda: SweepConfig(learning_rate=()),
        "learning_rate=(); a positive number, or some of them, is needed",
    ),
    "epochs": (lambda: SweepConfig(num_epochs=0), "num_epochs must be at least 1, got 0"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_error(name, unchecked_types):
    call, message = CASES[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_archives_that_are_not_the_data(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*missing\.npz"):
        data.cifar10(tmp_path / "missing.npz")
    path = tmp_path / "other.npz"
    np.savez(path, x_train=np.zeros(3))
    with pytest.raises(DataError, match="lacks y_train, x_test, y_test; it has x_train"):
        data.mnist25(KEY, path=path)
    images, digits = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)
    np.savez(path, x_train=images, y_train=digits, x_test=images, y_test=digits)
    with pytest.raises(ValueError, match=r"n_train=3; between 1 and the 2 images of .* is needed"):
        data.mnist25(KEY, 3, path=path)
