"""The gated recurrent unit, with PyTorch's conventions: the second of the paper's baselines."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.mgrn._checks import check_sequences
from offprint.mgrn._config import Execution
from offprint.mgrn._lengths import valid_steps
from offprint.mgrn._lstm import Unroll, check_sizes, draw_weights, zero_padding
from offprint.mgrn._modules import count_params


class GRUParams(NamedTuple):
    """Weights of one GRU; gates r (reset), z (update), n (new) along the last axis of each."""

    w_ih: Float[Array, "features gates"]  # (F, 3H)
    w_hh: Float[Array, "units gates"]  # (H, 3H)
    b_ih: Float[Array, " gates"]  # (3H,)
    b_hh: Float[Array, " gates"] | None  # (3H,), the part of n inside the reset product; None with one bias


def gru_init(
    key: PRNGKeyArray, *, features: int, hidden: int, biases: int = 2, dtype: DTypeLike = jnp.float32
) -> GRUParams:
    """Weights and biases drawn from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does.

    Args:
        key: a typed key.
        features: F, columns of the input.
        hidden: H, units of the state.
        biases: 2 as in PyTorch and the paper's baselines, or 1 as in the marginal component of the mGRN.
        dtype: of the weights.

    Raises:
        ValueError: fewer than one feature or unit; neither one nor two biases.
    """
    check_sizes(features, hidden, biases)
    return GRUParams(*draw_weights(key, 3 * hidden, features, hidden, biases, dtype))


def gru_apply(
    params: GRUParams,
    x: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    sequences: bool = False,
    unroll: Unroll = "auto",
) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
    """The state h after the last valid step, or after every step.

        r = sigmoid(W_r x + U_r h + b_r),  z = sigmoid(W_z x + U_z h + b_z)
        n = tanh(W_n x + b_n + r (U_n h + b_hn)),  h <- (1 - z) n + z h

    The projections of all inputs are made in one product before the loop over time. A state is frozen after the
    last valid step of its sequence, so neither content nor number of the steps after it matters.

    Args:
        params: of `gru_init`.
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
    steps, out_type = jnp.swapaxes(array, 0, 1), array.dtype
    valid = None if checked is None else valid_steps(checked, steps.shape[0])
    if valid is not None:
        steps = zero_padding(steps, valid)
    projected = steps @ params.w_ih.astype(out_type) + params.b_ih.astype(out_type)
    dtype = jnp.promote_types(out_type, jnp.float32)  # small changes of a half-precision state would be lost
    recurrent = params.w_hh.astype(dtype)
    b_hh = jnp.zeros((), dtype) if params.b_hh is None else params.b_hh.astype(dtype)

    def step(h: Array, now: tuple[Array, Array | None]) -> tuple[Array, Array | None]:
        gates, alive = now
        from_input_r, from_input_z, from_input_n = jnp.split(gates.astype(dtype), 3, axis=-1)
        from_state_r, from_state_z, from_state_n = jnp.split(h @ recurrent + b_hh, 3, axis=-1)
        z = jax.nn.sigmoid(from_input_z + from_state_z)
        n = jnp.tanh(from_input_n + jax.nn.sigmoid(from_input_r + from_state_r) * from_state_n)
        h_new = n + z * (h - n)
        if alive is not None:
            h_new = jnp.where(alive[:, None], h_new, h)
        return h_new, h_new if sequences else None

    zeros = jnp.zeros((steps.shape[1], params.w_hh.shape[0]), dtype)
    written_out = Execution(unroll=unroll).steps_per_iteration(steps.shape[0])
    last, states = jax.lax.scan(step, zeros, (projected, valid), unroll=written_out)
    return (last if states is None else jnp.swapaxes(states, 0, 1)).astype(out_type)


class GRU(nnx.Module):
    """A layer of H gated recurrent units. Called as every layer of this package: see `MGRN`.

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
        params = gru_init(rngs.params(), features=features, hidden=hidden, biases=biases, dtype=param_dtype)
        self.features, self.units = features, hidden
        self.w_ih, self.w_hh, self.b_ih = map(nnx.Param, params[:3])
        self.b_hh = None if params.b_hh is None else nnx.Param(params.b_hh)

    @property
    def params(self) -> GRUParams:
        """The weights as the pure functions take them."""
        b_hh = None if self.b_hh is None else self.b_hh[...]
        return GRUParams(self.w_ih[...], self.w_hh[...], self.b_ih[...], b_hh)

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained: 3H(F + H + biases)."""
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
        return gru_apply(self.params, x, lengths=lengths, sequences=sequences)
