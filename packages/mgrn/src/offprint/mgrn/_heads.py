"""The network with a linear head, for classification and for regression."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.mgrn._checks import check_finite, check_labels
from offprint.mgrn._init import Init, init_head
from offprint.mgrn._modules import MGRN
from offprint.mgrn._network import SequenceModel


class _MGRNModel(SequenceModel):
    """An `MGRN` and its head, with one initialisation for both."""

    def __init__(
        self,
        groups: Sequence[int] | Sequence[Sequence[int]],
        hidden: int,
        size_of: float | int = 1.0,
        num_outputs: int = 1,
        *,
        input_dropout: float | int = 0.0,
        recurrent_dropout: float | int = 0.0,
        output_dropout: float | int = 0.0,
        kernel_init: Init = "torch",
        rngs: nnx.Rngs,
    ):
        layer = MGRN(
            groups,
            hidden,
            size_of,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        super().__init__(layer, num_outputs, output_dropout=output_dropout, rngs=rngs)
        if kernel_init == "keras":
            head = init_head(rngs.params(), layer.units, num_outputs, init="keras", dtype=jnp.float32)
            self.head = nnx.data(jax.tree.map(nnx.Param, head))


class MGRNClassifier(_MGRNModel):
    """A memory-gated recurrent network that classifies sequences: `model(x)` are logits (B, C).

    Args:
        groups, hidden, size_of: as in `MGRN`.
        num_outputs: C, classes or, with `multilabel`, labels.
        multilabel: every label is present or not by itself (phenotyping), instead of one class of C.
        input_dropout, recurrent_dropout: as in `MGRN`.
        output_dropout: rate on the joint state before the head.
        kernel_init: as in `init`, of the layer and the head.
        rngs: its key `params` is used.

    Raises:
        ValueError: as `MGRN`; a dropout rate outside [0, 1).
    """

    def __init__(
        self,
        groups: Sequence[int] | Sequence[Sequence[int]],
        hidden: int,
        size_of: float | int = 1.0,
        num_outputs: int = 2,
        *,
        multilabel: bool = False,
        input_dropout: float | int = 0.0,
        recurrent_dropout: float | int = 0.0,
        output_dropout: float | int = 0.0,
        kernel_init: Init = "torch",
        rngs: nnx.Rngs,
    ):
        super().__init__(
            groups,
            hidden,
            size_of,
            num_outputs,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            output_dropout=output_dropout,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.num_outputs, self.multilabel = num_outputs, multilabel

    def probabilities(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Float[Array, "batch outputs"]:
        """Of every class, or with `multilabel` of every label."""
        logits = self(x, lengths=lengths)
        return jax.nn.sigmoid(logits) if self.multilabel else jax.nn.softmax(logits)

    def loss(
        self, x: ArrayLike, y: ArrayLike, *, lengths: ArrayLike | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, ""]:
        """Mean cross-entropy.

        `y`: (B,) labels in [0, C); with `multilabel` (B, C) of 0 and 1, and the mean is over labels too.

        Raises:
            ValueError: labels of another shape, or outside [0, C).
        """
        logits = self(x, lengths=lengths, rngs=rngs)
        if not self.multilabel:
            labels = check_labels(y, self.num_outputs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        targets = _targets(y, logits)
        return optax.sigmoid_binary_cross_entropy(logits, targets).mean()


class MGRNRegressor(_MGRNModel):
    """A memory-gated recurrent network that predicts numbers from sequences: `model(x)` is (B, C).

    Args:
        groups, hidden, size_of: as in `MGRN`.
        num_outputs: C.
        input_dropout, recurrent_dropout: as in `MGRN`.
        output_dropout: rate on the joint state before the head.
        kernel_init: as in `init`, of the layer and the head.
        rngs: its key `params` is used.

    Raises:
        ValueError: as `MGRN`; a dropout rate outside [0, 1).
    """

    def loss(
        self, x: ArrayLike, y: ArrayLike, *, lengths: ArrayLike | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, ""]:
        """Mean squared error; `y`: (B, C), or (B,) for one output.

        Raises:
            ValueError: targets of another shape, NaN or infinite ones.
        """
        predictions = self(x, lengths=lengths, rngs=rngs)
        return jnp.mean((predictions - _targets(y, predictions)) ** 2)


def _targets(y: ArrayLike, outputs: Float[Array, "batch outputs"]) -> Float[Array, "batch outputs"]:
    check_finite(y, "y")
    targets = jnp.asarray(y, outputs.dtype)
    if outputs.shape[1] == 1 and targets.ndim == 1:
        targets = targets[:, None]
    if targets.shape != outputs.shape:
        raise ValueError(f"y must have shape (B, C) = {outputs.shape}, got shape {targets.shape}.")
    return targets
