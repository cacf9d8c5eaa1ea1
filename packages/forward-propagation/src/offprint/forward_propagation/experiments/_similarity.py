"""How the updates of other learning rules compare with the exact gradient while a network is trained with it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.train import Event
from offprint.forward_propagation import (
    FirstSpikeObjective,
    Fitted,
    HebbianObjective,
    Objective,
    Recipe,
    SurrogateObjective,
    encode_examples,
    fit_classifier,
)
from offprint.forward_propagation._train import Encoded, Examples

Kernels = list[Float[Array, "_ _"]]
Gradients = Callable[[Kernels], Kernels]


def similarities(
    settings: Recipe,
    train: Examples,
    test: Examples,
    key: PRNGKeyArray,
    surrogates: Mapping[str, Callable[[nnx.Rngs], Any]],
    *,
    points: int,
    batch: int = 300,
) -> tuple[Fitted, list[float], dict[str, Float[np.ndarray, "points layers"]]]:
    """Cosines between the exact gradient and others, by layer, at several points of a training with the former.

    Args:
        settings: of the exact training.
        train, test: the data; the gradients are those of the first `batch` training examples.
        key: of the training.
        surrogates: name -> maker of a surrogate network of the same sizes, whose weights are replaced.
        points: of the training, the last one at its end; besides them its beginning.
        batch: examples.

    Returns:
        What was trained, the epochs of the points, and name -> cosines.
    """
    encoded, _ = encode_examples((train[0][:batch], train[1][:batch]), test, settings.encoding)
    exact = _gradients(settings.model, FirstSpikeObjective(settings), encoded)
    others = {
        "authors' code": _gradients(
            replace(settings, reset_coupling=False).model, FirstSpikeObjective(settings), encoded
        ),
        "Hebbian rule": _gradients(settings.model, HebbianObjective(settings), encoded),
    }
    for name, build in surrogates.items():
        others[name] = _gradients(build, SurrogateObjective(settings, "first"), encoded)
    epochs: list[float] = []
    found: dict[str, list[list[float]]] = {name: [] for name in others}

    def compare(epoch: float, model: Any) -> None:
        kernels = [kernel[...] for kernel in _kernels(model)]
        truth = exact(kernels)
        epochs.append(epoch)
        for name, gradients in others.items():
            found[name].append([_cosine(one, other) for one, other in zip(truth, gradients(kernels), strict=True)])

    steps_per_epoch = -(-len(train[1]) // settings.batch_size)

    def watch(event: Event) -> None:
        if "test_accuracy" in event.row and event.step:
            compare(event.step / steps_per_epoch, event.state.model)

    compare(0.0, settings.model(nnx.Rngs(params=jax.random.split(key)[0])))  # what training begins with
    fitted = fit_classifier(train, test, settings, key, evaluations=points, callbacks=[watch], progress=False)
    return fitted, epochs, {name: np.array(rows) for name, rows in found.items()}


def _gradients(build: Callable[[nnx.Rngs], Any], objective: Objective, encoded: Encoded) -> Gradients:
    """The gradient, or what the objective has in its place, of the mean loss by the weights of each layer."""
    graphdef, state = nnx.split(build(nnx.Rngs(0)))

    @jax.jit
    def gradients(kernels: Kernels, encoded: Encoded) -> Kernels:
        def loss(kernels: Kernels) -> Array:
            model = nnx.merge(graphdef, state, copy=True)
            for param, kernel in zip(_kernels(model), kernels, strict=True):
                param[...] = kernel
            return objective(model, *encoded).loss.mean()

        return jax.grad(loss)(kernels)

    return lambda kernels: gradients(kernels, encoded)


def _kernels(model: Any) -> list[Any]:
    """Weights of all layers, of an exact network or one on the grid."""
    return [layer.kernel for layer in model.layers] if hasattr(model, "layers") else list(model.kernels)


def _cosine(one: Array, other: Array) -> float:
    norms = jnp.linalg.norm(one) * jnp.linalg.norm(other)
    return float(jnp.vdot(one, other) / jnp.where(norms > 0, norms, 1))
