"""The long short-term memory layer, with PyTorch's conventions: the first of the paper's baselines."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from offprint.mgrn._checks import check_sequences
from offprint.mgrn._config import Execution
from offprint.mgrn._lengths import valid_steps
from offprint.mgrn._modules import count_params

Unroll = int | Literal["auto"]


class LSTMParams(NamedTuple):
    """Weights of one LSTM; gates i, f, g, o along the last axis of each."""

    w_ih: Float[Array, "features gates"]  # (F, 4H)
    w_hh: Float[Array, "units gates"]  # (H, 4H)
    b_ih: Float[Array, " gates"]  # (4H,)
    b_hh: Float[Array, " gates"] | None  # (4H,); None with one bias


def lstm_init(
    key: PRNGKeyArray, *, features: int, hidden: int, biases: int = 2, dtype: DTypeLike = jnp.float32
) -> LSTMParams:
    """Weights and biases drawn from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does.

    Args:
        key: a typed key.
        features: F, columns of the input.
        hidden: H, units of the state.
        biases: 2 as in PyTorch and the paper's baselines, or 1; the second one adds nothing that the first can't do.
        dtype: of the weights.

    Raises:
        ValueError: fewer than one feature or unit; neither one nor two biases.
    """
    check_sizes(features, hidden, biases)
    return LSTMParams(*draw_weights(key, 4 * hidden, features, hidden, biases, dtype))


def lstm_apply(
    params: LSTMParams,
    x: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    sequences: bool = False,
    unroll: Unroll = "auto",
) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
    """The hidden state h after the last valid step, or after every step.

    The projections of all inputs are made in one product before the loop over time. A state is frozen after the
    last valid step of its sequence, so neither content nor number of the steps after it matters.

    Args:
        params: of `lstm_init`.
        x: sequences (B, T, F), zero or anything else after their lengths.
        lengths: valid steps of each sequence, in [1, T]; all T when None.
        sequences: return h of all steps.
        unroll: steps of the loop that are written out, as in `Execution`.

    Returns:
        h in the dtype of `x`: (B, H), or (B, T, H) with `sequences`.

    Raises:
        ValueError: as `check_sequences`.
    """
    array, checked = check_sequences(x, params.w_ih.shape[0], lengths)
    steps = jnp.swapaxes(array, 0, 1)
    valid = None if checked is None else valid_steps(checked, steps.shape[0])
    states = lstm_steps(params, steps, valid, sequences=sequences, unroll=unroll)
    return jnp.swapaxes(states, 0, 1) if sequences else states


def lstm_steps(
    params: LSTMParams,
    x: Float[Array, "time batch features"],
    valid: Bool[Array, "time batch"] | None,
    *,
    sequences: bool,
    unroll: Unroll = "auto",
) -> Float[Array, "batch units"] | Float[Array, "time batch units"]:
    """`lstm_apply` on time-major arrays with the mask of the valid steps."""
    if valid is not None:
        x = zero_padding(x, valid)
    gates = x @ params.w_ih.astype(x.dtype) + summed_bias(params).astype(x.dtype)
    return lstm_loop(gates, params.w_hh, valid, sequences=sequences, unroll=unroll)


def lstm_loop(
    gates: Float[Array, "time *groups batch gates"],
    w_hh: Float[Array, "*groups units gates"],
    valid: Bool[Array, "time batch"] | None,
    *,
    sequences: bool,
    unroll: Unroll = "auto",
) -> Float[Array, "*groups batch units"] | Float[Array, "time *groups batch units"]:
    """The loop over time of one LSTM, or of a whole array of them at once, from the projected inputs.

    The states are kept in float32 at least, because small changes of a half-precision state are lost.
    """
    dtype = jnp.promote_types(gates.dtype, jnp.float32)
    recurrent = w_hh.astype(dtype)
    zeros = jnp.zeros((*gates.shape[1:-1], w_hh.shape[-2]), dtype)

    def step(carry: tuple[Array, Array], now: tuple[Array, Array | None]) -> tuple[tuple[Array, Array], Array | None]:
        h, c = carry
        gate, alive = now
        i, f, g, o = jnp.split(gate.astype(dtype) + h @ recurrent, 4, axis=-1)
        c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
        if alive is not None:
            h_new, c_new = (jnp.where(alive[:, None], new, old) for new, old in ((h_new, h), (c_new, c)))
        return (h_new, c_new), h_new if sequences else None

    written_out = Execution(unroll=unroll).steps_per_iteration(gates.shape[0])
    (last, _), states = jax.lax.scan(step, (zeros, zeros), (gates, valid), unroll=written_out)
    return (last if states is None else states).astype(gates.dtype)


def zero_padding(x: Float[Array, "*axes features"], valid: Bool[Array, "*axes"]) -> Float[Array, "*axes features"]:
    """x with zeros after the end of each sequence: NaN there would reach the gradients, whatever is masked later."""
    return jnp.where(valid[..., None], x, 0)


def summed_bias(params: LSTMParams) -> Float[Array, "*groups gates"]:
    """The one bias that both amount to."""
    return params.b_ih if params.b_hh is None else params.b_ih + params.b_hh


def check_sizes(features: int, hidden: int, biases: int) -> None:
    """Refuse a layer without inputs or units, and a number of biases that is neither 1 nor 2."""
    if features < 1 or hidden < 1:
        raise ValueError(f"at least one feature and one unit are needed, got features={features}, hidden={hidden}")
    if biases not in (1, 2):
        raise ValueError(f"biases must be 1 or 2, got {biases}; 2 is PyTorch's convention")


def draw_weights(
    key: PRNGKeyArray, gates: int, features: int, hidden: int, biases: int, dtype: DTypeLike
) -> tuple[Array, Array, Array, Array | None]:
    """Input weights, recurrent weights, bias and second bias, if any, from U(-1/sqrt(H), 1/sqrt(H))."""
    bound = hidden**-0.5
    shapes = ((features, gates), (hidden, gates), (gates,), (gates,))
    w_ih, w_hh, b_ih, b_hh = (
        jax.random.uniform(k, shape, dtype, -bound, bound) for k, shape in zip(jax.random.split(key, 4), shapes)
    )
    return w_ih, w_hh, b_ih, b_hh if biases == 2 else None


def values_of(params: PyTree) -> PyTree:
    """The arrays in a pytree of `nnx.Param`."""
    return jax.tree.map(lambda leaf: leaf[...], params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


class LSTM(nnx.Module):
    """A layer of H LSTM units. Called as every layer of this package: see `MGRN`.

    Args:
        features: F, columns of the input.
        hidden: H, units.
        biases: 2 as in PyTorch and the paper's baselines, or 1.
        param_dtype: of the weights.
        rngs: the key `params` of it is used.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        biases: int = 2,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        params = lstm_init(rngs.params(), features=features, hidden=hidden, biases=biases, dtype=param_dtype)
        self.features, self.units = features, hidden
        self.w_ih, self.w_hh, self.b_ih = map(nnx.Param, params[:3])
        self.b_hh = None if params.b_hh is None else nnx.Param(params.b_hh)

    @property
    def params(self) -> LSTMParams:
        """The weights as the pure functions take them."""
        b_hh = None if self.b_hh is None else self.b_hh[...]
        return LSTMParams(self.w_ih[...], self.w_hh[...], self.b_ih[...], b_hh)

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained: 4H(F + H + biases)."""
        return count_params(self)

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """State after the last valid step (B, H), or of all steps (B, T, H); there is no dropout for `rngs`."""
        return lstm_apply(self.params, x, lengths=lengths, sequences=sequences)
