"""Training of LeNet-300-100 with any method: one compiled program for each optimiser, whatever the masks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from offprint.core.data import DataError
from offprint.core.experiments import Unavailable
from offprint.sparsity import data
from offprint.sparsity._apply import apply
from offprint.sparsity._sparsify import sparsify, update_masks
from offprint.sparsity._state import masks_of, set_masks
from offprint.sparsity.experiments._mlp import accuracy, cross_entropy, init_mlp
from offprint.sparsity.methods._method import Method
from offprint.sparsity.methods._static import Static


class Recipe(NamedTuple):
    """How the network is trained."""

    sizes: tuple[int, ...]
    epochs: int
    batch_size: int = 100
    learning_rate: float = 1.2e-3


class Lab:
    """Data, recipe and the compiled programs; `seed` decides the initial weights and the order of the images."""

    def __init__(self, split: data.Split, recipe: Recipe):
        self.recipe = recipe
        self.x, self.y = jnp.asarray(split.x), jnp.asarray(split.y)
        self.test = jnp.asarray(split.test_x), jnp.asarray(split.test_y)
        self.epoch = len(self.y) // recipe.batch_size
        self.static = sparsify(self.adam(), Static(0.0, dist="uniform", criterion="magnitude"))
        self._static_program = self.program(self.static)

    def adam(self) -> optax.GradientTransformation:
        """The inner optimiser."""
        return optax.adam(self.recipe.learning_rate)

    def initial(self, seed: int) -> PyTree:
        """The weights before training."""
        return init_mlp(jax.random.key(seed), self.recipe.sizes)

    def probe(self, count: int = 500) -> tuple[Array, Array]:
        """The first training images, for gradients that methods ask for."""
        return self.x[:count], self.y[:count]

    def order(self, seed: int) -> Int[Array, "steps batch"]:
        """Rows of every batch: each epoch in another order."""
        rng = np.random.default_rng([seed, 1])
        rows = [rng.permutation(len(self.y))[: self.epoch * self.recipe.batch_size] for _ in range(self.recipe.epochs)]
        return jnp.asarray(np.concatenate(rows).reshape(-1, self.recipe.batch_size), jnp.int32)

    def program(self, tx: optax.GradientTransformation) -> Callable[[PyTree, PyTree, Array], tuple[PyTree, PyTree]]:
        """The compiled loop over batches for an optimiser."""

        def run(params: PyTree, state: PyTree, rows: Array, x: Array, y: Array) -> tuple[PyTree, PyTree]:
            def step(carry: tuple[PyTree, PyTree], chosen: Array) -> tuple[tuple[PyTree, PyTree], None]:
                params, state = carry
                grads = jax.grad(cross_entropy)(params, (x[chosen], y[chosen]))
                updates, state = tx.update(grads, state, params)
                return (optax.apply_updates(params, updates), state), None

            return jax.lax.scan(step, (params, state), rows)[0]

        compiled = jax.jit(run)
        return lambda params, state, rows: compiled(params, state, rows, self.x, self.y)

    def accuracy(self, params: PyTree) -> float:
        """Percent of the test images."""
        return float(accuracy(params, *self.test))

    def masked(self, params: PyTree, masks: PyTree, order: Array) -> PyTree:
        """The params after training under constant masks, over the batches of `order`."""
        params = apply(params, masks)
        return self._static_program(params, set_masks(self.static.init(params), masks), order)[0]

    def train_of(self, seed: int) -> Callable[[PyTree, PyTree, int, int | None], PyTree]:
        """`train` as `lottery_ticket` wants it."""
        order = self.order(seed)
        return lambda params, masks, start, stop: self.masked(params, masks, order[start:stop])

    def first_masks(self, method: Method, seed: int) -> PyTree:
        """The masks that a method draws before the first step."""
        return masks_of(sparsify(self.adam(), method, key=jax.random.key(seed)).init(self.initial(seed)))

    def full_masks(self, params: PyTree) -> PyTree:
        """Masks that keep everything."""
        return self.static.init(params).masks

    def while_training(self, method: Method, seeds: Sequence[int]) -> list[PyTree]:
        """The params after training with masks that change in the optimiser, one for each seed."""
        tx = sparsify(self.adam(), method)
        program = self.program(tx)
        return [program(self.initial(seed), tx.init(self.initial(seed)), self.order(seed))[0] for seed in seeds]

    def between_epochs(self, method: Method, seeds: Sequence[int], updates: int) -> list[PyTree]:
        """The params after sparse training with masks that change after each of the first epochs, by `probe`.

        The first masks are drawn by the seed.
        """
        optimisers = [sparsify(self.adam(), method, key=jax.random.key(seed), when="explicit") for seed in seeds]
        program = self.program(optimisers[0])  # they differ in their keys alone, which are in their states
        gradient = jax.jit(jax.grad(cross_entropy))
        change = jax.jit(lambda state, params, grads: update_masks(method, state, params, grads))
        found = []
        for seed, tx in zip(seeds, optimisers):
            params, order = self.initial(seed), self.order(seed)
            state = tx.init(params)
            params = apply(params, masks_of(state))
            for epoch in range(self.recipe.epochs):
                params, state = program(params, state, order[epoch * self.epoch : (epoch + 1) * self.epoch])
                if epoch < updates:
                    params, state = change(state, params, gradient(params, self.probe()))
            found.append(params)
        return found


def mnist_test_split(train: int, test: int) -> data.Split:
    """A small task out of MNIST: its first test images for training, its last ones for testing, standardised.

    Raises:
        Unavailable: MNIST cannot be had.
    """
    rows = data.flat(mnist(), mean=0.1307, std=0.3081)
    return data.Split(rows.test_x[:train], rows.test_y[:train], rows.test_x[-test:], rows.test_y[-test:])


def mnist() -> data.ImageData:
    """MNIST.

    Raises:
        Unavailable: it cannot be had.
    """
    try:
        return data.mnist()
    except DataError as error:
        raise Unavailable(f"MNIST cannot be had: {error}") from error
