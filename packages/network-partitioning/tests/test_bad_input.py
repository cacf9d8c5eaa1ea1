"""Mistakes with the public functions: each gets one error that says what was given, what is needed, and what to do.

What concerns one concept alone, such as the traces of scheme "node" or the replies of clients, stands in its own file.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.network_partitioning import (
    AffineAugmentation,
    ConcreteMask,
    ShardedBatches,
    assign_shards,
    check_hyper_gradient,
    check_shards,
    fit,
    partition,
    upload_fraction,
)

pytestmark = pytest.mark.usefixtures("unchecked_types")

KEY = jax.random.key(0)
PARAMS = {"dense": {"kernel": jnp.ones((4, 10)), "bias": jnp.zeros(10)}}
X, Y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
IMAGES = np.zeros((20, 6, 6, 1), np.float32)


def linear(inputs=4):
    return nnx.Linear(inputs, 2, rngs=nnx.Rngs(0))


class Flat(nnx.Module):
    def __init__(self, pixels=36):
        self.dense = linear(pixels)

    def __call__(self, x):
        return self.dense(x.reshape(len(x), -1))


class Forgotten(nnx.Module):
    """Has a mask that it does not use, and a rate of its training as a hyperparameter."""

    def __init__(self):
        self.dense = linear()
        self.mask = ConcreteMask(4)

    def __call__(self, x):
        return self.dense(x)


def fitted(model=None, hyper=None, data=(X, Y), *, key=KEY, **changes):
    return fit(model or linear(), hyper, data, steps=1, key=key, progress=False, **changes)


# Proportions are refused alike wherever they are given.
WHERE = {
    "partition": lambda shares: partition(PARAMS, shares, key=KEY),
    "assign_shards": lambda shares: assign_shards(20, shares, key=KEY),
    "upload_fraction": lambda shares: upload_fraction(shares, shares),
    "fit": lambda shares: fitted(chunks=shares),
}


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE.keys())
@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((1.0,), r"K >= 2 .* are needed: with one chunk nothing is out of sample; .*not \(1.0,\)"),
        ((), r"K >= 2 .* are needed"),
        ((0.8, 0.3), r"must sum to 1, but \(0.8, 0.3\) sums to 1.1"),
        ((1.1, -0.1), r"must be positive, but they are \(1.1, -0.1\)"),
        ((1.0, 0.0), r"must be positive, but they are \(1.0, 0.0\)"),
        ((0.5, float("nan")), r"must be positive, but they are \(0.5, nan\)"),
        ((1 / 300,) * 300, "at most 255 .* are possible, but there are 300"),
    ],
)
def test_proportions(where, shares, message):
    with pytest.raises(ValueError, match=message):
        where(shares)


def decayed(params, hyper, batch, key):
    """A log-likelihood that weight decay, a hyperparameter of training, doesn't enter."""
    x, y = batch
    logits = x @ params["dense"]["kernel"] * hyper["scale"] + params["dense"]["bias"]
    return jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]


def check(hyper):
    part = partition(PARAMS, (0.5, 0.5), key=KEY)
    batches = ShardedBatches((X, Y), Y, None)
    params = jax.tree.map(lambda w: jax.random.normal(KEY, w.shape), PARAMS)
    check_hyper_gradient(decayed, params, part, hyper, batches.batch_at(0, KEY).oos, batches.sizes, KEY)


BAD = {
    "lengths": (lambda: fitted(parameters=(0.5, 0.3, 0.2)), "chunks has 2 shares and parameters 3"),
    "empty shard": (
        lambda: assign_shards(10, (0.98, 0.02), key=KEY),
        r"shard 2 of 2 would be empty: 10 examples in proportions \(0.98, 0.02\) make \[10, 0\]",
    ),
    "class that shard 1 lacks": (
        lambda: check_shards(Y, 20, labels=Y),
        r"shard 1 \(10 of 20 examples, proportion 0.5\) holds no example of class 1",
    ),
    "partition without weights": (
        lambda: partition({"w": jnp.ones(3)}, (0.9, 0.1), key=KEY),
        r"partition 2 of 2 owns no scalar: the sizes are \[3, 0\].*take larger proportions or a larger network",
    ),
    "nothing to partition": (lambda: partition({}, (0.5, 0.5), key=KEY), "params hold no array to partition"),
    "unused mask": (
        lambda: fitted(Forgotten()),
        "the hyperparameter model/mask/phi has no gradient: it does not enter the forward pass.*response='one_step'",
    ),
    "hyperparameter of training": (
        lambda: check({"decay": jnp.asarray(0.1), "scale": jnp.asarray(1.0)}),
        "the hyperparameter decay has no gradient.*learning rates or weight decay.*search tool",
    ),
    "grey images without channels": (
        lambda: fitted(Flat(), AffineAugmentation(), (IMAGES[..., 0], Y)),
        r"images have the shape \(\d+, 6, 6\) .*add a channel axis with images\[..., None\]",
    ),
    "whole numbers as images": (
        lambda: fitted(Flat(), AffineAugmentation(), (IMAGES.astype(np.uint8), Y)),
        r"dtype uint8; floating images .*convert with images.astype\('float32'\)",
    ),
    "a row of pixels": (
        lambda: fitted(Flat(6), AffineAugmentation(), (IMAGES[:, :1], Y)),
        r"H and W of at least 2 are needed",
    ),
    "columns": (lambda: fitted(linear(), ConcreteMask(3)), r"x has 4 features .*, but the mask has 3"),
    "fixed rotation": (
        lambda: AffineAugmentation.fixed({"rotate": 2 * np.pi}),
        r"the half range of 'rotate' is 6.28.*for 'rotate' at most pi, which is every angle",
    ),
    "filter": (lambda: fitted(linear(), nnx.PathContains("stem")), "matches no weight of Linear"),
    "scheme": (
        lambda: fitted(nnx.MultiHeadAttention(2, 4, rngs=nnx.Rngs(0), decode=False), scheme="node"),
        "scheme 'node' cannot trace .*; take scheme='random_weight'",
    ),
    "optimiser": (
        lambda: fitted(
            nnx.Linear(200, 200, rngs=nnx.Rngs(0)), data=(np.ones((len(Y), 200)), Y), optimiser=optax.adafactor(0.1)
        ),
        "can't be divided among partitions; take one that keeps its state element by element, such as adam",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_key_of_the_old_kind_is_refused():
    with pytest.raises(TypeError, match=r"jax.random.key"):
        fitted(key=jax.random.PRNGKey(0))
