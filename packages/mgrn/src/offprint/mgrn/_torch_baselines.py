"""Weights of the baselines from and to PyTorch's names, as in the published models."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from offprint.mgrn._channelwise import ChannelwiseParams
from offprint.mgrn._groups import parse_groups
from offprint.mgrn._gru import GRUParams
from offprint.mgrn._lstm import LSTMParams
from offprint.mgrn._params import HeadParams

BaselineParams = LSTMParams | GRUParams | ChannelwiseParams

_FIELDS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
_DIRECTIONS = ("forward", "backward")


def is_baseline(state: Mapping[str, ArrayLike]) -> bool:
    """Whether the names are those of an LSTM, a GRU or a channel-wise LSTM."""
    return any(name.startswith(("lstm.", "gru.", "marginal_forward_")) for name in state)


def from_torch_baseline(
    state: Mapping[str, ArrayLike], *, groups: Sequence[int] | Sequence[Sequence[int]] | None = None
) -> tuple[BaselineParams, HeadParams | None]:
    """Parameters of the pure functions from a PyTorch `state_dict` of one of the three baselines.

    Which one it is follows from the names: `lstm.weight_ih_l0`, `gru.weight_ih_l0`, or
    `marginal_forward_0.weight_ih_l0` with `marginal_backward_0`, ... and `joint.weight_ih_l0`; the head is
    `fc1.weight` and `fc1.bias`. A model made with `bias=False` for its second bias leaves out all `bias_hh_l0`.

    Args:
        state: name -> array, in any dtype, which is kept.
        groups: columns of each group of a channel-wise LSTM; contiguous in the order of the groups by default.

    Returns:
        `LSTMParams`, `GRUParams` or `ChannelwiseParams`, and the head, or None where the state has none.

    Raises:
        KeyError: names that are missing or not known, all of them listed.
        ValueError: shapes that do not go together.
    """
    arrays = {name: jnp.asarray(np.asarray(value)) for name, value in state.items()}
    kind = next((kind for kind in ("lstm", "gru") if f"{kind}.weight_ih_l0" in arrays), "channelwise")
    count = 1 + max((int(name.split(".")[0].rsplit("_", 1)[1]) for name in arrays if _is_marginal(name)), default=0)
    _check_names(arrays, _names(kind, count, biases=1 + any(name.endswith("bias_hh_l0") for name in arrays)))
    head = HeadParams(arrays["fc1.weight"].T, arrays["fc1.bias"]) if "fc1.weight" in arrays else None
    if kind == "lstm":
        return LSTMParams(*_layer(arrays, "lstm", 4)), head
    if kind == "gru":
        return GRUParams(*_layer(arrays, "gru", 3)), head
    return _channelwise(arrays, count, groups), head


def to_torch_baseline(params: BaselineParams, head: HeadParams | None = None) -> dict[str, np.ndarray]:
    """The inverse of `from_torch_baseline`: NumPy arrays under PyTorch's names, ready for `load_state_dict`.

    The groups of a channel-wise LSTM are written in their order; which columns they own is not part of the state.

    Args:
        params: of `lstm_init`, `gru_init` or `channelwise_init`.
        head: the linear map on the state, written as `fc1.weight` and `fc1.bias`.
    """
    state: dict[str, Array | None] = {}

    def put(prefix: str, values: tuple[Array, Array, Array, Array | None]) -> None:
        w_ih, w_hh, b_ih, b_hh = values
        state.update({f"{prefix}.{field}": v for field, v in zip(_FIELDS, (w_ih.T, w_hh.T, b_ih, b_hh), strict=True)})

    if isinstance(params, LSTMParams):
        put("lstm", params)
    elif isinstance(params, GRUParams):
        put("gru", params)
    else:
        for k, group in enumerate(params.groups):
            for d, direction in enumerate(_DIRECTIONS):
                w_ih, w_hh, b_ih, b_hh = params.marginal
                weights = w_ih[d, jnp.array(group)], w_hh[d, k], b_ih[d, k], None if b_hh is None else b_hh[d, k]
                put(f"marginal_{direction}_{k}", weights)
        put("joint", params.joint)
    if head is not None:
        state["fc1.weight"], state["fc1.bias"] = head.weight.T, head.bias
    return {name: np.asarray(value) for name, value in state.items() if value is not None}


def _is_marginal(name: str) -> bool:
    head, _, number = name.split(".")[0].rpartition("_")
    return head in ("marginal_forward", "marginal_backward") and number.isdecimal()


def _names(kind: str, count: int, biases: int) -> list[str]:
    prefixes = [kind]
    if kind == "channelwise":
        prefixes = [*(f"marginal_{direction}_{k}" for k in range(count) for direction in _DIRECTIONS), "joint"]
    return [f"{prefix}.{field}" for prefix in prefixes for field in _FIELDS[: 2 + biases]]


def _check_names(arrays: Mapping[str, Array], needed: list[str]) -> None:
    head = ["fc1.weight", "fc1.bias"]
    if any(name in arrays for name in head):
        needed = needed + head
    missing = [name for name in needed if name not in arrays]
    extra = [name for name in arrays if name not in needed]
    if missing or extra:
        raise KeyError(
            f"the state of a baseline lacks {', '.join(missing) or 'nothing'} "
            f"and has {', '.join(extra) or 'nothing'} that is not known"
        )


def _layer(arrays: Mapping[str, Array], prefix: str, gates: int) -> tuple[Array, Array, Array, Array | None]:
    w_ih, w_hh, b_ih = (arrays[f"{prefix}.{field}"] for field in _FIELDS[:3])
    b_hh = arrays.get(f"{prefix}.{_FIELDS[3]}")
    units = w_hh.shape[-1]
    wanted = (gates * units, w_ih.shape[-1]), (gates * units, units), (gates * units,), (gates * units,)
    for field, weight, shape in zip(_FIELDS, (w_ih, w_hh, b_ih, b_hh), wanted):
        if weight is not None and weight.shape != shape:
            raise ValueError(f"{prefix}.{field} has shape {weight.shape}; with {units} units it must be {shape}")
    return w_ih.T, w_hh.T, b_ih, b_hh


def _channelwise(
    arrays: Mapping[str, Array], count: int, groups: Sequence[int] | Sequence[Sequence[int]] | None
) -> ChannelwiseParams:
    layers = [[_layer(arrays, f"marginal_{name}_{k}", 4) for k in range(count)] for name in _DIRECTIONS]
    sizes = [arrays[f"marginal_forward_{k}.weight_ih_l0"].shape[1] for k in range(count)]
    parts = parse_groups(sizes if groups is None else groups, sum(sizes))
    if [len(part) for part in parts] != sizes:
        raise ValueError(f"the state has groups of {sizes} columns, the groups given have {[len(p) for p in parts]}")
    # Rows are packed in the order of the columns that they belong to.
    order = jnp.argsort(jnp.array([column for part in parts for column in part]))
    w_ih = jnp.stack([jnp.concatenate([layer[0] for layer in side])[order] for side in layers])
    w_hh, b_ih = (jnp.stack([jnp.stack([layer[i] for layer in side]) for side in layers]) for i in (1, 2))
    second = [[layer[3] for layer in side if layer[3] is not None] for side in layers]
    b_hh = jnp.stack([jnp.stack(side) for side in second]) if all(second) else None
    joint = LSTMParams(*_layer(arrays, "joint", 4))
    if joint.w_ih.shape[0] != 2 * count * w_hh.shape[2]:
        raise ValueError(
            f"joint.weight_ih_l0 reads {joint.w_ih.shape[0]} columns; {count} groups of 2 x {w_hh.shape[2]} units give "
            f"{2 * count * w_hh.shape[2]}"
        )
    return ChannelwiseParams(LSTMParams(w_ih, w_hh, b_ih, b_hh), joint, parts)
