"""A user's NNX model as pure functions of its variables, in training and in evaluation."""

from dataclasses import dataclass, field
from typing import Any

import optax
from flax import nnx
from jaxtyping import PyTree

from offprint.gaug._pytree import pytree


@pytree
@dataclass(frozen=True)
class Network:
    """The variables of a model; how it is put together, with and without dropout, is static."""

    params: PyTree
    rest: PyTree  # dropout keys and counts, batch statistics
    training: nnx.GraphDef = field(metadata={"static": True})
    evaluation: nnx.GraphDef = field(metadata={"static": True})

    @classmethod
    def of(cls, model: nnx.Module) -> "Network":
        """A copy of the model's variables: the model itself is left as it is.

        Raises:
            TypeError: something that is not an NNX module.
        """
        if not isinstance(model, nnx.Module):
            raise TypeError(
                f"a model must be a flax.nnx Module with the call (graph, x), but a {type(model).__name__} was given"
            )
        copy = nnx.clone(model)
        copy.eval()
        evaluation = nnx.split(copy, nnx.Param, ...)[0]
        copy.train()
        training, params, rest = nnx.split(copy, nnx.Param, ...)
        return cls(params, rest, training, evaluation)

    def live(self, params: PyTree) -> Any:
        """The model in training mode with these parameters, made inside a trace."""
        # copy=True: without it, dropout counts created outside a trace could not be advanced in it.
        return nnx.merge(self.training, params, self.rest, copy=True)

    @staticmethod
    def rest_of(model: Any) -> PyTree:
        """The variables of a live model besides the parameters, as they are after it was called."""
        return nnx.state(model, nnx.Not(nnx.Param))

    def evaluate(self, *args: Any) -> Any:
        """The output without dropout."""
        return self.model(*args)

    @property
    def model(self) -> nnx.Module:
        """The model in evaluation mode, with these variables."""
        return nnx.merge(self.evaluation, self.params, self.rest, copy=True)


def classifier_optimizer(lr: Any, weight_decay: float | int) -> optax.GradientTransformation:
    """Adam after a coupled L2 penalty: the penalty's gradient is scaled like the loss's."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(lr))
