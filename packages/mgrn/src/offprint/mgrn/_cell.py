"""One step of the network as a cell for `nnx.RNN`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.mgrn._forward import zero_carry
from offprint.mgrn._init import Init, JointInitFan
from offprint.mgrn._layer import step
from offprint.mgrn._modules import MGRN
from offprint.mgrn._params import MGRNCarry, MGRNParams


class MGRNCell(nnx.RNNCellBase):
    """A memory-gated recurrent network as a cell: `nnx.RNN(MGRNCell(...))(x)` equals `MGRN(...)(x, sequences=True)`.

    `MGRN` is several times faster, since it makes the products with the input before its loops; the cell is for what
    is written for cells. Its carry is (h, g) of shapes (..., G, H) and (..., J). Dropout belongs to whole sequences
    and is not part of it.

    Args:
        groups: sizes of contiguous groups, or lists of columns.
        hidden: H.
        size_of: s; J = int(s·H).
        kernel_init, joint_init_fan: as in `init`.
        param_dtype: of the weights.
        rngs: its key `params` is used.

    Raises:
        ValueError: as `MGRNConfig`.
    """

    def __init__(
        self,
        groups: Sequence[int] | Sequence[Sequence[int]],
        hidden: int,
        size_of: float | int = 1.0,
        *,
        kernel_init: Init = "torch",
        joint_init_fan: JointInitFan = "marginal",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.memory = MGRN(
            groups,
            hidden,
            size_of,
            kernel_init=kernel_init,
            joint_init_fan=joint_init_fan,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    @classmethod
    def from_params(cls, params: MGRNParams) -> "MGRNCell":
        """A cell with the weights of `params`, whose head is left out."""
        config = params.config
        cell = nnx.eval_shape(lambda: cls(config.groups, config.hidden, config.size_of, rngs=nnx.Rngs(0)))
        cell.memory = MGRN.from_params(params)
        return cell

    def __call__(  # type: ignore[override]
        self, carry: MGRNCarry, inputs: Float[Array, "*batch features"]
    ) -> tuple[MGRNCarry, Float[Array, "*batch joint"]]:
        """The next carry and the joint state g_t."""
        axes = inputs.shape[:-1]
        h, g = carry
        flat = MGRNCarry(h.reshape(-1, *h.shape[-2:]), g.reshape(-1, g.shape[-1]))
        after, out = step(self.memory.params, flat, inputs.reshape(-1, inputs.shape[-1]))
        return MGRNCarry(after.h.reshape(h.shape), after.g.reshape(g.shape)), out.reshape(*axes, -1)

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> MGRNCarry:
        """States of 0 for inputs of that shape, (..., F); `rngs` and `carry_init` are not used."""
        config, axes = self.memory.config, input_shape[:-1]
        zeros = zero_carry(config.groups, config.hidden, config.joint, 1, self.memory.params.marginal.w_ih.dtype)
        h, g = (jnp.zeros((*axes, *zero.shape[1:]), zero.dtype) for zero in zeros)
        return MGRNCarry(h, g)

    @property
    def num_feature_axes(self) -> int:
        """1."""
        return 1
