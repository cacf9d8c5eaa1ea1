"""Weights from and to PyTorch's names and layout, as in the published models."""

import re
from collections.abc import Mapping, Sequence
from math import nextafter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Shaped

from offprint.mgrn._config import MGRNConfig, make_config
from offprint.mgrn._params import HeadParams, JointParams, MarginalParams, MGRNParams
from offprint.mgrn._torch_baselines import BaselineParams, from_torch_baseline, is_baseline, to_torch_baseline

Weight = Shaped[np.ndarray, "..."]
_MARGINAL = ("w_ih", "w_hh", "b_ih")
_JOINT = ("u_c", "b_c", "w_z", "u_z", "b_z")
_HEAD = ("fc1.weight", "fc1.bias")


def from_torch(
    state: Mapping[str, ArrayLike], *, groups: Sequence[int] | Sequence[Sequence[int]] | None = None
) -> MGRNParams | tuple[BaselineParams, HeadParams | None]:
    """Weights from a PyTorch `state_dict` of the official layer, or of one of its baselines.

    Args:
        state: arrays by name, as `{name: tensor.numpy() for name, tensor in model.state_dict().items()}`: of group k
            `marginal_<k>.cell.w_ih` (3H, f_k), `.w_hh` (3H, H), `.b_ih` (3H,); of the joint memory `joint.cell.u_c`
            (J, G·H), `.b_c`, `.w_z` (J, F), `.u_z` (J, J), `.b_z`; of the head, where there is one, `fc1.weight`
            (C, J) and `fc1.bias`. Gates are packed in the order reset, update, new. Or the names of a baseline, as
            `from_torch_baseline` lists them.
        groups: the columns of every group, where they are not contiguous in the order of the groups.

    Returns:
        `MGRNParams` in the type of the arrays; for a baseline what `from_torch_baseline` returns.

    Raises:
        KeyError: names that are missing or not known, all of them listed.
        ValueError: shapes that do not fit each other or `groups`.
    """
    if is_baseline(state):
        return from_torch_baseline(state, groups=groups)
    count = 1 + max((int(found[1]) for name in state if (found := re.match(r"marginal_(\d+)\.", name))), default=0)
    _check_names(state, count)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}  # on the host: none is compiled
    config = _config(arrays, count, groups)
    _check_shapes(arrays, config)
    w_ih, w_hh, b_ih = ([arrays[f"marginal_{k}.cell.{name}"].T for k in range(count)] for name in _MARGINAL)
    rows = np.argsort([column for group in config.groups for column in group])
    u_c, b_c, w_z, u_z, b_z = (arrays[f"joint.cell.{name}"].T for name in _JOINT)
    params = MGRNParams(
        MarginalParams(*map(jnp.asarray, (np.concatenate(w_ih)[rows], np.stack(w_hh), np.stack(b_ih)))),
        JointParams(u_c.reshape(count, config.hidden, config.joint), b_c, w_z[rows], u_z, b_z),
        HeadParams(*(arrays[name].T for name in _HEAD)) if _HEAD[0] in arrays else None,
        config,
    )
    return jax.tree.map(jnp.asarray, params)


def to_torch(params: MGRNParams | BaselineParams, head: HeadParams | None = None) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`: NumPy arrays under PyTorch's names, for `load_state_dict` after `torch.tensor`.

    Columns are written group by group; which columns of an input a group owns is not part of the state.

    Args:
        params: an `MGRNParams`, or the parameters of a baseline.
        head: of a baseline; an `MGRNParams` has its own.
    """
    if not isinstance(params, MGRNParams):
        return to_torch_baseline(params, head)
    state: dict[str, Weight] = {}
    on_host: Any = jax.tree.map(np.asarray, params)
    marginal, joint, head = on_host.marginal, on_host.joint, on_host.head
    for k, group in enumerate(params.config.groups):
        weights = marginal.w_ih[list(group)], marginal.w_hh[k], marginal.b_ih[k]
        state |= {f"marginal_{k}.cell.{name}": weight.T for name, weight in zip(_MARGINAL, weights)}
    order = [column for group in params.config.groups for column in group]
    packed = joint.u_c.reshape(-1, params.config.joint), joint.b_c, joint.w_z[order], joint.u_z, joint.b_z
    state |= {f"joint.cell.{name}": weight.T for name, weight in zip(_JOINT, packed)}
    if head is not None:
        state |= {name: weight.T for name, weight in zip(_HEAD, head)}
    return {name: np.ascontiguousarray(weight) for name, weight in state.items()}


def _check_names(state: Mapping[str, ArrayLike], count: int) -> None:
    needed = [f"marginal_{k}.cell.{name}" for k in range(count) for name in _MARGINAL]
    needed += [f"joint.cell.{name}" for name in _JOINT]
    if any(name in state for name in _HEAD):
        needed += _HEAD
    missing = [name for name in needed if name not in state]
    extra = [name for name in state if name not in needed]
    if missing or extra:
        raise KeyError(
            f"the state of an mGRN of {count} group(s) lacks {', '.join(missing) or 'nothing'} and has "
            f"{', '.join(extra) or 'nothing'} that is not known"
        )


def _config(
    arrays: Mapping[str, Weight], count: int, groups: Sequence[int] | Sequence[Sequence[int]] | None
) -> MGRNConfig:
    sizes = [arrays[f"marginal_{k}.cell.w_ih"].shape[-1] for k in range(count)]
    hidden, joint = arrays["marginal_0.cell.w_hh"].shape[-1], arrays["joint.cell.b_c"].shape[0]
    size_of = joint / hidden
    if int(size_of * hidden) < joint:  # the quotient was rounded down
        size_of = nextafter(size_of, float("inf"))
    outputs = arrays[_HEAD[0]].shape[0] if _HEAD[0] in arrays else None
    config = make_config(sizes if groups is None else groups, hidden, size_of, outputs, features=sum(sizes))
    if list(config.sizes) != sizes:
        raise ValueError(f"the state has groups of {sizes} columns, but the groups given have {list(config.sizes)}.")
    return config


def _check_shapes(arrays: Mapping[str, Weight], config: MGRNConfig) -> None:
    H, J, G, F = config.hidden, config.joint, config.num_groups, config.features
    needed: dict[str, tuple[int, ...]] = {}
    for k, size in enumerate(config.sizes):
        shapes: tuple[tuple[int, ...], ...] = (3 * H, size), (3 * H, H), (3 * H,)
        needed |= {f"marginal_{k}.cell.{name}": shape for name, shape in zip(_MARGINAL, shapes)}
    shapes = (J, G * H), (J,), (J, F), (J, J), (J,)
    needed |= {f"joint.cell.{name}": shape for name, shape in zip(_JOINT, shapes)}
    if config.outputs is not None:
        needed |= dict(zip(_HEAD, ((config.outputs, J), (config.outputs,))))
    for name, shape in needed.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{name} has shape {arrays[name].shape}, but with G={G}, H={H}, J={J}, F={F} it must be {shape}."
            )
