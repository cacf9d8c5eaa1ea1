"""The channel-wise LSTM of Harutyunyan et al. (Scientific Data 6:96, 2019): the third of the paper's baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.mgrn._checks import check_sequences
from offprint.mgrn._groups import Groups, parse_groups
from offprint.mgrn._lengths import reverse_sequences, valid_steps
from offprint.mgrn._lstm import (
    LSTMParams,
    Unroll,
    check_sizes,
    lstm_init,
    lstm_loop,
    lstm_steps,
    summed_bias,
    values_of,
    zero_padding,
)
from offprint.mgrn._modules import count_params


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ChannelwiseParams:
    """Weights of 2G small LSTMs and the one on top of them. The first axis is the direction: forward, backward."""

    marginal: LSTMParams
    """w_ih (2, F, 4H): row j goes from column j to the gates of its group; w_hh (2, G, H, 4H); biases (2, G, 4H)."""
    joint: LSTMParams
    """Of J units over the 2GH states below, in the order forward 1, backward 1, forward 2, ..."""
    groups: Groups = field(metadata={"static": True})


def channelwise_init(
    key: PRNGKeyArray,
    *,
    groups: Sequence[int] | Sequence[Sequence[int]],
    hidden: int,
    size_of: float | int = 1.0,
    biases: int = 2,
    dtype: DTypeLike = jnp.float32,
) -> ChannelwiseParams:
    """Weights and biases of every LSTM drawn from U(-1/sqrt(units), 1/sqrt(units)), as PyTorch does.

    Args:
        key: a typed key.
        groups: sizes of contiguous groups of columns, or a list of column indices for each group.
        hidden: H, units of each LSTM of a group and direction.
        size_of: s; the LSTM on top has J = int(s H) units.
        biases: 2 as in PyTorch and the paper's baselines, or 1.
        dtype: of the weights.

    Raises:
        ValueError: the groups do not partition the columns; H or J below 1; neither one nor two biases.
    """
    parts = parse_groups(groups)
    features, count, joint = sum(map(len, parts)), len(parts), int(size_of * hidden)
    check_sizes(features, hidden, biases)
    if joint < 1:
        raise ValueError(f"the joint LSTM needs at least one unit, got int({size_of} * {hidden}) = {joint}")
    for_joint, *keys = jax.random.split(key, 5)
    gates, bound = 4 * hidden, hidden**-0.5
    shapes = ((2, features, gates), (2, count, hidden, gates), (2, count, gates), (2, count, gates))
    w_ih, w_hh, b_ih, b_hh = (
        jax.random.uniform(k, shape, dtype, -bound, bound) for k, shape in zip(keys, shapes, strict=True)
    )
    on_top = lstm_init(for_joint, features=2 * count * hidden, hidden=joint, biases=biases, dtype=dtype)
    return ChannelwiseParams(LSTMParams(w_ih, w_hh, b_ih, b_hh if biases == 2 else None), on_top, parts)


def channelwise_apply(
    params: ChannelwiseParams,
    x: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    sequences: bool = False,
    unroll: Unroll = "auto",
) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
    """The state of the LSTM on top after the last valid step, or after every step.

    Each group is read forwards by one LSTM and backwards by another; what they give at a step, in the order of
    time, is the input of the LSTM on top. The backward pass begins at the last valid step, so neither content nor
    number of the steps after it matters. All 2G LSTMs run in one loop.

    Args:
        params: of `channelwise_init`.
        x: sequences (B, T, F), zero or anything else after their lengths.
        lengths: valid steps of each sequence, in [1, T]; all T when None.
        sequences: return the states of all steps.
        unroll: steps of the loops that are written out, as in `Execution`.

    Returns:
        The states in the dtype of `x`: (B, J), or (B, T, J) with `sequences`.

    Raises:
        ValueError: as `check_sequences`.
    """
    marginal = params.marginal
    array, checked = check_sequences(x, marginal.w_ih.shape[1], lengths)
    batch, time, _ = array.shape
    valid = None if checked is None else valid_steps(checked, time)
    if valid is not None:
        array = zero_padding(array, valid.T)
    both = jnp.stack([array, reverse_sequences(array, checked)])
    gates = _project(both, marginal.w_ih.astype(array.dtype), params.groups)
    gates += summed_bias(marginal)[:, :, None].astype(array.dtype)
    states = lstm_loop(gates, marginal.w_hh, valid, sequences=True, unroll=unroll)
    forward, backward = jnp.moveaxis(states, (1, 3), (0, 1))  # (T, 2, G, B, H) -> 2 x (B, T, G, H)
    backward = reverse_sequences(backward.reshape(batch, time, -1), checked).reshape(forward.shape)
    inputs = jnp.stack([forward, backward], axis=3).reshape(batch, time, -1).swapaxes(0, 1)
    top = lstm_steps(params.joint, inputs, valid, sequences=sequences, unroll=unroll)
    return jnp.swapaxes(top, 0, 1) if sequences else top


def _project(
    x: Float[Array, "2 batch time features"],
    w: Float[Array, "2 features gates"],
    groups: Groups,
) -> Float[Array, "time 2 groups batch gates"]:
    """The product of each group's columns with its own weights, as one batched product.

    Groups are filled up to the size of the largest with columns of zeros. The dense matrix from all columns to the
    gates of all groups, zero but for its blocks, would cost G times as much.
    """
    features = x.shape[-1]
    columns = np.full((len(groups), max(map(len, groups))), features)
    for row, group in zip(columns, groups):
        row[: len(group)] = group
    inputs = jnp.take(x, columns, axis=-1, mode="fill", fill_value=0)
    weights = jnp.take(w, columns, axis=1, mode="fill", fill_value=0)
    return jnp.einsum("dbtgf,dgfk->tdgbk", inputs, weights)


class ChannelwiseLSTM(nnx.Module):
    """A forward and a backward LSTM for every group, and one LSTM on top. Called as every layer: see `MGRN`.

    Args:
        groups: sizes of contiguous groups of columns, or a list of column indices for each group.
        hidden: H, units of each LSTM of a group and direction.
        size_of: s; the LSTM on top has J = int(s H) units.
        biases: 2 as in PyTorch and the paper's baselines, or 1.
        param_dtype: of the weights.
        rngs: the key `params` of it is used.
    """

    def __init__(
        self,
        groups: Sequence[int] | Sequence[Sequence[int]],
        hidden: int,
        size_of: float | int = 1.0,
        *,
        biases: int = 2,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        params = channelwise_init(
            rngs.params(), groups=groups, hidden=hidden, size_of=size_of, biases=biases, dtype=param_dtype
        )
        self.groups = params.groups
        self.features, self.units = params.marginal.w_ih.shape[1], params.joint.w_hh.shape[0]
        self.marginal, self.joint = (
            nnx.data(jax.tree.map(nnx.Param, weights)) for weights in (params.marginal, params.joint)
        )

    @property
    def params(self) -> ChannelwiseParams:
        """The weights as the pure functions take them."""
        return ChannelwiseParams(values_of(self.marginal), values_of(self.joint), self.groups)

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained, those of the LSTM on top included."""
        return count_params(self)

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """State after the last valid step (B, J), or of all steps (B, T, J); there is no dropout for `rngs`."""
        return channelwise_apply(self.params, x, lengths=lengths, sequences=sequences)
