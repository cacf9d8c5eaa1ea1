"""The memory-gated recurrent network and its two memories as flax NNX modules.

Every layer of this package is called in one way and has the same attributes: see `MGRN`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float

from offprint.mgrn._checks import check_sequences
from offprint.mgrn._config import DropoutRates, Execution, make_config
from offprint.mgrn._dropout import draw_masks
from offprint.mgrn._forward import forward, joint_memory, marginal_memory, state_dtype
from offprint.mgrn._init import Init, JointInitFan, check_fan, init_joint, init_marginal
from offprint.mgrn._lengths import valid_steps
from offprint.mgrn._params import DropoutMasks, JointParams, MarginalParams, MGRNParams

Weights = TypeVar("Weights", MarginalParams, JointParams)


class MarginalMemory(nnx.Module):
    """The marginal memories of all groups, H units each: G gated recurrent units that do not see each other.

    Called as every layer of this package, see `MGRN`; its state is (B, G·H), group after group.

    Args:
        groups: sizes of contiguous groups, or lists of columns.
        hidden: H.
        input_dropout: rate on input features, one mask for each sequence, shared over time.
        recurrent_dropout: rate on entries of w_hh (DropConnect), one mask for each call.
        kernel_init: "torch" or "keras", as in `init`.
        param_dtype: of the weights.
        execution: how it runs; `remat` has no effect here.
        rngs: its key `params` is used.

    Raises:
        ValueError: as `MGRNConfig` and `DropoutRates`.
    """

    def __init__(
        self,
        groups: Sequence[int] | Sequence[Sequence[int]],
        hidden: int,
        *,
        input_dropout: float | int = 0.0,
        recurrent_dropout: float | int = 0.0,
        kernel_init: Init = "torch",
        param_dtype: DTypeLike = jnp.float32,
        execution: Execution = Execution(),  # noqa: B008 - frozen
        rngs: nnx.Rngs,
    ):
        self.config = make_config(groups, hidden)
        self.rates = DropoutRates(input_dropout, recurrent_dropout)
        self.execution, self.deterministic = execution, True
        params = init_marginal(rngs.params(), self.config.groups, hidden, init=kernel_init, dtype=param_dtype)
        self.w_ih, self.w_hh, self.b_ih = map(nnx.Param, params)

    @property
    def features(self) -> int:
        """F."""
        return self.config.features

    @property
    def units(self) -> int:
        """G·H."""
        return self.config.num_groups * self.config.hidden

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return count_params(self)

    @property
    def params(self) -> MarginalParams:
        """The weights as a pytree of arrays."""
        return MarginalParams(self.w_ih[...], self.w_hh[...], self.b_ih[...])

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """States h after the last valid step (B, G·H), or of all steps (B, T, G·H)."""
        array, valid = _inputs(x, self.features, lengths)
        last, states, _ = self._run(array, valid, rngs, states=sequences)
        return _flat_groups(states) if sequences else _flat_groups(last)

    def candidates(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch time units"]:
        """Candidates n of all steps (B, T, G·H), which a `JointMemory` reads."""
        array, valid = _inputs(x, self.features, lengths)
        return _flat_groups(self._run(array, valid, rngs, states=False)[2])

    def _run(self, x: Array, valid: Array | None, rngs: nnx.Rngs | None, *, states: bool) -> tuple[Any, Any, Any]:
        params = self.params
        x, params = _one_dtype(x, params)
        masks = _masks(self, rngs, x, (self.config.num_groups, self.config.hidden), joint=1)
        if masks.w_hh is not None:
            params = params._replace(w_hh=params.w_hh * masks.w_hh.astype(x.dtype))
        hidden = self.config.hidden
        h0 = jnp.zeros((self.config.num_groups, x.shape[1], hidden), state_dtype(x.dtype))
        outputs = marginal_memory(
            self.config.groups, params, x, valid, masks.marginal_inputs, h0, self.execution, states=states
        )
        last = outputs.last.swapaxes(0, 1).astype(x.dtype)
        after, candidates = (
            None if array is None else array.transpose(2, 1, 0, 3).astype(x.dtype)
            for array in (outputs.states, outputs.candidates)
        )
        return last, after, candidates


class JointMemory(nnx.Module):
    """The joint memory: a gated cell of J units whose candidate reads `candidates` and whose gate reads the input.

    Called as every layer of this package, see `MGRN`, with the candidates as a second argument; without them the
    candidate reads the input itself.

    Args:
        features: F, columns of the input.
        units: J.
        candidates: columns of the candidates; by default F.
        input_dropout: rate on input features and on candidates, one mask each for each sequence, shared over time.
        recurrent_dropout: rate on entries of u_z (DropConnect), one mask for each call.
        kernel_init: "torch" or "keras", as in `init`.
        init_units: with "torch", the n of U(-1/sqrt(n), 1/sqrt(n)); by default J.
        param_dtype: of the weights.
        execution: how it runs; `remat` and `kernel` have no effect here.
        rngs: its key `params` is used.

    Raises:
        ValueError: fewer than one feature, unit or candidate; as `DropoutRates`.
    """

    def __init__(
        self,
        features: int,
        units: int,
        candidates: int | None = None,
        *,
        input_dropout: float | int = 0.0,
        recurrent_dropout: float | int = 0.0,
        kernel_init: Init = "torch",
        init_units: int | None = None,
        param_dtype: DTypeLike = jnp.float32,
        execution: Execution = Execution(),  # noqa: B008 - frozen
        rngs: nnx.Rngs,
    ):
        self.features, self.units = features, units
        self.num_candidates = features if candidates is None else candidates
        if min(features, units, self.num_candidates) < 1:
            raise ValueError(
                "a joint memory needs at least 1 feature, unit and candidate, "
                f"got features={features}, units={units}, candidates={self.num_candidates}."
            )
        self.rates = DropoutRates(input_dropout, recurrent_dropout)
        self.execution, self.deterministic = execution, True
        params = init_joint(
            rngs.params(),
            features,
            (1, self.num_candidates),
            units,
            init=kernel_init,
            bound_units=units if init_units is None else init_units,
            dtype=param_dtype,
        )
        self.u_c = nnx.Param(params.u_c[0])
        self.b_c, self.w_z, self.u_z, self.b_z = map(nnx.Param, params[1:])

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return count_params(self)

    @property
    def params(self) -> JointParams:
        """The weights as a pytree of arrays, of one group of candidates."""
        return JointParams(self.u_c[...][None], self.b_c[...], self.w_z[...], self.u_z[...], self.b_z[...])

    def __call__(
        self,
        x: ArrayLike,
        candidates: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """States g after the last valid step (B, J), or of all steps (B, T, J).

        Raises:
            ValueError: as `check_sequences`, of `x` and of `candidates`, whose first two axes must be those of `x`.
        """
        array, valid = _inputs(x, self.features, lengths)
        given = x if candidates is None else candidates
        read, _ = _inputs(given, self.num_candidates, lengths, name="candidates")
        if read.shape[:2] != array.shape[:2]:
            raise ValueError(
                f"candidates must have the batch and time axes of x, {np.shape(x)[:2]}, got shape {np.shape(given)}."
            )
        array, params = _one_dtype(array, self.params)
        batch = array.shape[1]
        masks = _masks(self, rngs, array, (1, self.num_candidates), joint=self.units)
        if masks.u_z is not None:
            params = params._replace(u_z=params.u_z * masks.u_z.astype(array.dtype))
        g0 = jnp.zeros((batch, self.units), state_dtype(array.dtype))
        read = read[None].astype(g0.dtype)
        outputs = joint_memory(params, read, array, valid, masks, g0, self.execution, states=sequences)
        states = outputs.states.swapaxes(0, 1) if sequences else outputs.last
        return states.astype(array.dtype)


class MGRN(nnx.Module):
    """A memory-gated recurrent network: the marginal memories of all groups under one joint memory.

    Every layer of this package (`MGRN`, `MarginalMemory`, `JointMemory`, `LSTM`, `GRU`, `ChannelwiseLSTM`, `Stacked`,
    `Bidirectional`) is called as `layer(x, lengths=None, sequences=False, rngs=None)` and has the attributes
    `features` (F), `units` and `num_parameters`.

    Dropout is active where `rngs` is given, whose stream `dropout` is drawn from. After `train()` a call without
    them is an error, so that it cannot be forgotten; after `eval()`, and in a new module, it is not.

    Args:
        groups: sizes of contiguous groups, or lists of columns.
        hidden: H, units of every marginal memory.
        size_of: s; the joint memory has J = int(s·H) units.
        input_dropout: rate on the input, with masks of their own for the marginal and for the joint memory, and on the
            candidates in between; one mask for each sequence, shared over time.
        recurrent_dropout: rate on entries of w_hh and u_z (DropConnect), one mask for each call.
        kernel_init: "torch" or "keras", as in `init`.
        joint_init_fan: "marginal" or "joint", as in `init`.
        param_dtype: of the weights.
        execution: how it runs.
        rngs: its key `params` is used.

    Raises:
        ValueError: as `MGRNConfig` and `DropoutRates`.
    """

    def __init__(
        self,
        groups: Sequence[int] | Sequence[Sequence[int]],
        hidden: int,
        size_of: float | int = 1.0,
        *,
        input_dropout: float | int = 0.0,
        recurrent_dropout: float | int = 0.0,
        kernel_init: Init = "torch",
        joint_init_fan: JointInitFan = "marginal",
        param_dtype: DTypeLike = jnp.float32,
        execution: Execution = Execution(),  # noqa: B008 - frozen
        rngs: nnx.Rngs,
    ):
        self.config = make_config(groups, hidden, size_of, None)
        self.rates = DropoutRates(input_dropout, recurrent_dropout)
        self.execution, self.deterministic = execution, True
        config = self.config
        self.marginal = MarginalMemory(
            config.groups, hidden, kernel_init=kernel_init, param_dtype=param_dtype, rngs=rngs
        )
        self.joint = JointMemory(
            config.features,
            config.joint,
            config.num_groups * hidden,
            kernel_init=kernel_init,
            init_units=hidden if check_fan(joint_init_fan) == "marginal" else config.joint,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    @classmethod
    def from_params(cls, params: MGRNParams, **options: Any) -> "MGRN":
        """A module with the weights of `params`, whose head is left out; `options` are those of the constructor."""
        config = params.config
        module = nnx.eval_shape(lambda: cls(config.groups, config.hidden, config.size_of, rngs=nnx.Rngs(0), **options))
        marginal, joint = params.marginal, params.joint
        joint = joint._replace(u_c=joint.u_c.reshape(-1, config.joint))
        for memory, weights in ((module.marginal, marginal), (module.joint, joint)):
            for name, weight in weights._asdict().items():
                setattr(memory, name, nnx.Param(weight))
        return module

    @property
    def features(self) -> int:
        """F."""
        return self.config.features

    @property
    def units(self) -> int:
        """J."""
        return self.config.joint

    @property
    def num_parameters(self) -> int:
        """Weights and biases of both memories; there is no head."""
        return count_params(self)

    @property
    def params(self) -> MGRNParams:
        """The weights as the pure functions take them, without a head."""
        joint = self.joint.params
        shape = self.config.num_groups, self.config.hidden, self.config.joint
        return MGRNParams(self.marginal.params, joint._replace(u_c=joint.u_c.reshape(shape)), None, self.config)

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """Joint states g after the last valid step (B, J), or of all steps (B, T, J).

        Args:
            x: (B, T, F).
            lengths: (B,), valid steps of every sequence, in [1, T]; all T when None. States are frozen after them, so
                that results do not depend on padding.
            sequences: return the states of all steps.
            rngs: for dropout.

        Raises:
            ValueError: as `check_sequences`; in train mode, a dropout rate above 0 without `rngs`.
        """
        array, valid = _inputs(x, self.features, lengths)
        params = self.params
        outputs = forward(
            self.config.groups,
            params.marginal,
            params.joint,
            array,
            valid=valid,
            masks=_masks(self, rngs, array, (self.config.num_groups, self.config.hidden), joint=self.config.joint),
            execution=self.execution,
            sequence=sequences,
        )
        if outputs.sequence is not None:
            return outputs.sequence.swapaxes(0, 1)
        return outputs.carry.g.astype(jnp.result_type(array, params.marginal.w_ih))


def count_params(module: nnx.Module) -> int:
    """The number of trained numbers of a module."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def dropout_key(rates: DropoutRates, deterministic: bool, rngs: nnx.Rngs | None) -> Array | None:
    """A key where there is something to drop.

    Raises:
        ValueError: a rate above 0, in train mode, without `rngs`.
    """
    if not rates.any or (rngs is None and deterministic):
        return None
    if rngs is None:
        raise ValueError(
            f"{rates} in train mode needs random keys: call the layer with rngs=nnx.Rngs(dropout=seed), or call "
            "model.eval() first."
        )
    return rngs.dropout()


def _masks(
    module: Any, rngs: nnx.Rngs | None, x: Float[Array, "time batch features"], candidates: tuple[int, int], joint: int
) -> DropoutMasks:
    key = dropout_key(module.rates, module.deterministic, rngs)
    if key is None:
        return DropoutMasks()
    batch, features = x.shape[1:]
    return draw_masks(
        key, module.rates, batch=batch, features=features, candidates=candidates, joint=joint, dtype=x.dtype
    )


def _inputs(
    x: ArrayLike, features: int, lengths: ArrayLike | None, *, name: str = "x"
) -> tuple[Float[Array, "time batch features"], Bool[Array, "time batch"] | None]:
    """A checked input with time first, 0 after the end of every sequence, and which of its steps are valid."""
    array, checked = check_sequences(x, features, lengths, name=name)
    array = array.swapaxes(0, 1)
    if checked is None:
        return array, None
    valid = valid_steps(checked, len(array))
    return jnp.where(valid[..., None], array, 0), valid


def _one_dtype(x: Array, weights: Weights) -> tuple[Array, Weights]:
    """Input and weights in the type that they have together."""
    dtype = jnp.result_type(x, weights[0])
    return x.astype(dtype), jax.tree.map(lambda weight: weight.astype(dtype), weights)


def _flat_groups(array: Float[Array, "*axes groups hidden"]) -> Float[Array, "*axes units"]:
    return array.reshape(*array.shape[:-2], -1)
