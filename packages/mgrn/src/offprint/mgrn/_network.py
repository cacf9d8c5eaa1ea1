"""A recurrent layer with a linear head on its last state, and how it is trained: what the estimator is made of."""

from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.train import Step, TrainState, supervised_step
from offprint.mgrn._channelwise import ChannelwiseLSTM
from offprint.mgrn._config import DropoutRates
from offprint.mgrn._groups import Groups, num_features
from offprint.mgrn._gru import GRU
from offprint.mgrn._init import Init, init_head
from offprint.mgrn._lstm import LSTM, values_of
from offprint.mgrn._modules import MGRN
from offprint.mgrn._params import HeadParams

ModelName = Literal["mgrn", "lstm", "gru", "channelwise"]
MODELS: tuple[ModelName, ...] = ("mgrn", "lstm", "gru", "channelwise")
OptimizerName = Literal["adam", "adamw", "rmsprop", "sgd"]


class SequenceModel(nnx.Module):
    """A recurrent layer and a linear head on its state after the last valid step.

    Args:
        layer: any layer of this package.
        num_outputs: C.
        input_dropout: rate on the input, one mask for each sequence, shared over time; 0 for a layer with its own.
        output_dropout: rate on the last state.
        head_init: "torch" or "keras", as in `init`.
        rngs: the key `params` of it is used.
    """

    def __init__(
        self,
        layer: nnx.Module,
        num_outputs: int,
        *,
        input_dropout: float | int = 0.0,
        output_dropout: float | int = 0.0,
        head_init: Init = "torch",
        rngs: nnx.Rngs,
    ):
        recurrent: Any = layer
        self.layer = recurrent
        self.rates = DropoutRates(input_dropout, 0.0, output_dropout)
        head = init_head(rngs.params(), recurrent.units, num_outputs, init=head_init, dtype=jnp.float32)
        self.head = nnx.data(jax.tree.map(nnx.Param, head))

    def __call__(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch outputs"]:
        """(B, C) from sequences (B, T, F); dropout where `rngs` is given."""
        inputs = jnp.asarray(x)
        if rngs is not None and self.rates.input:
            inputs = inputs * _dropped(rngs.dropout(), self.rates.input, (inputs.shape[0], 1, inputs.shape[2]))
        state = self.layer(inputs, lengths=lengths, rngs=rngs)
        if rngs is not None and self.rates.output:
            state = state * _dropped(rngs.dropout(), self.rates.output, state.shape)
        head: HeadParams = values_of(self.head)
        return state @ head.weight.astype(state.dtype) + head.bias.astype(state.dtype)


def _dropped(key: PRNGKeyArray, rate: float | int, shape: tuple[int, ...]) -> Array:
    return jax.random.bernoulli(key, 1 - rate, shape) / (1 - rate)


def make_network(
    *,
    model: str,
    groups: Groups,
    hidden: int,
    size_of: float | int,
    num_outputs: int,
    rates: DropoutRates,
    init: Init,
    rngs: nnx.Rngs,
) -> SequenceModel:
    """The network of one of `MODELS`. LSTM and GRU read all columns together and have H units, whatever `size_of`.

    Raises:
        ValueError: an unknown model; groups or sizes that make no layer.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))}, got {model!r}")
    if model == "mgrn":
        layer = MGRN(
            groups,
            hidden,
            size_of,
            input_dropout=rates.input,
            recurrent_dropout=rates.recurrent,
            kernel_init=init,
            rngs=rngs,
        )
        return SequenceModel(layer, num_outputs, output_dropout=rates.output, head_init=init, rngs=rngs)
    if rates.recurrent or init != "torch":
        raise ValueError(
            f"recurrent_dropout={rates.recurrent} and init={init!r} are for model='mgrn'; {model!r} has neither"
        )
    baseline: nnx.Module
    if model == "channelwise":
        baseline = ChannelwiseLSTM(groups, hidden, size_of, rngs=rngs)
    else:
        features = num_features(groups)
        baseline = LSTM(features, hidden, rngs=rngs) if model == "lstm" else GRU(features, hidden, rngs=rngs)
    return SequenceModel(baseline, num_outputs, input_dropout=rates.input, output_dropout=rates.output, rngs=rngs)


draw_network: Any = nnx.jit(
    make_network, static_argnames=("model", "groups", "hidden", "size_of", "num_outputs", "rates", "init")
)
"""`make_network` as one compiled program, which takes a fraction of the time."""


@lru_cache(maxsize=64)
def make_optimizer(name: str, learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """An optimiser of that name; the same object for the same arguments, so that compiled programs are found again.

    Weight decay is an L2 term of the gradient, as in PyTorch's Adam, RMSprop and SGD, and decoupled in "adamw".
    RMSprop has PyTorch's settings: decay 0.99, epsilon outside the square root.

    Raises:
        ValueError: an unknown name, a learning rate that is not positive, a negative weight decay.
    """
    if not learning_rate > 0 or not weight_decay >= 0:
        raise ValueError(
            f"learning_rate must be positive and weight_decay not negative, got {learning_rate} and {weight_decay}"
        )
    if name == "adamw":
        return optax.adamw(learning_rate, weight_decay=weight_decay)
    plain = {
        "adam": optax.adam(learning_rate),
        "rmsprop": optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False),
        "sgd": optax.sgd(learning_rate),
    }
    if name not in plain:
        raise ValueError(f"optimizer must be one of 'adam', 'adamw', 'rmsprop', 'sgd', got {name!r}")
    return optax.chain(optax.add_decayed_weights(weight_decay), plain[name]) if weight_decay else plain[name]


@lru_cache(maxsize=4)
def make_step(task: Any) -> Step[TrainState]:
    """The step that trains a network for a kind of task (its class) on batches (x, lengths or None, y)."""

    def loss(model: Any, batch: Any, key: PRNGKeyArray) -> Array:
        x, lengths, y = batch
        return task.losses(model(x, lengths=lengths, rngs=nnx.Rngs(dropout=key)), y).mean()

    return supervised_step(loss)


@partial(jax.jit, static_argnums=0)
def _forward(graphdef: nnx.GraphDef, state: Any, x: Array, lengths: Array | None) -> Array:
    return nnx.merge(graphdef, state)(x, lengths=lengths)


def outputs_of(network: SequenceModel, x: Any, lengths: Any, batch_size: int = 512) -> Any:
    """The outputs (n, C) for all sequences, in batches of one size, so that one compiled program serves them."""
    graphdef, state = nnx.split(network)
    size = min(batch_size, len(x))
    parts = []
    for start in range(0, len(x), size):
        first = min(start, len(x) - size)  # the last batch begins early enough to be full
        rows = slice(first, first + size)
        outputs = _forward(graphdef, state, x[rows], None if lengths is None else lengths[rows])
        parts.append(outputs[start - first :])
    return jnp.concatenate(parts)
