"""The commands of `offprint-forward-propagation` for a network of arrays: simulate, gradcheck."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.forward_propagation._command_files import IMAGES, network_arrays, read_fired, read_network, read_spikes
from offprint.forward_propagation._feedforward import feedforward
from offprint.forward_propagation._foreign import gradient_from_spikes
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._recurrent import RecurrentParams, recurrent
from offprint.forward_propagation._spikes import SpikeTrain

Params = list[LayerParams] | RecurrentParams


class Mismatch(Exception):
    """A gradient that finite differences do not bear out."""


class _Point(NamedTuple):
    """All that spike times depend on."""

    params: Params
    inputs: Float[Array, "n_in S_in"]


def simulate(command: Any) -> None:
    """Spike times of a network for one input."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    given = command.network
    with jax.enable_x64(True):
        params = read_network(given.network)
        spikes_in = read_spikes(given.spikes, _inputs(params))
        trains = _spikes(params, spikes_in, given, strict=command.strict)
        print_table("", [_row(number, train) for number, train in enumerate(trains)])
        for number, train in enumerate(trains):
            if over := int(train.overflow.sum()):
                warnings.warn(
                    f"{over} neurons of layer {number} would fire again before --t-max {given.t_max:g}: their first "
                    f"{given.max_spikes} spikes are kept, and what comes after them lacks the rest; raise --max-spikes",
                    stacklevel=1,
                )
        write_rows(command.out, _events(trains))
        if command.plot is not None:
            from offprint.forward_propagation import plots

            plots.activity(spikes_in, trains, params, given.t_max).savefig(command.plot)


def gradcheck(command: Any) -> None:
    """A gradient against finite differences, along random directions of each kind of parameter."""
    check_output(command.out, (".npz",))
    for name in ("directions", "step", "tolerance"):
        if not getattr(command, name) > 0:
            raise UsageError(f"--{name} {getattr(command, name)}: a positive number is needed")
    given, rng = command.network, np.random.default_rng(command.seed)
    with jax.enable_x64(True):
        params = read_network(given.network)
        spikes_in = read_spikes(given.spikes, _inputs(params))
        trains = _spikes(params, spikes_in, given)
        fired, weights = _given_spikes(command, trains, _sizes(params))
        counted = [np.isfinite(np.asarray(train.times)) for train in trains]
        if not any(mask.any() for mask in counted):
            raise UsageError(f"no neuron fires before --t-max {given.t_max:g}: there is no spike time to differentiate")
        weights = weights or [rng.normal(size=mask.shape) for mask in counted]
        weights = [np.where(mask, weight, 0) for mask, weight in zip(counted, weights, strict=True)]
        coupled = command.gradient == "exact"

        def loss(at: _Point) -> Float[Array, ""]:
            found = _spikes(at.params, spikes_in._replace(times=at.inputs), given, reset_coupling=coupled)
            times = [jnp.where(mask, train.times, 0) for mask, train in zip(counted, found)]
            return sum((jnp.sum(w * t) for w, t in zip(weights, times)), jnp.zeros(()))

        start = _Point(_as_arrays(params), spikes_in.times)
        value: Callable[[_Point], Array] = jax.jit(loss)
        if fired is None:
            slope = jax.jit(jax.grad(loss, allow_int=True))(start)
        else:
            slope = _Point(*_of_fired(params, spikes_in, fired, weights, command))
        rows = [row for name in _of(start) if (row := _compared(name, start, slope, value, rng, command)) is not None]
        print_table(f"{sum(mask.sum() for mask in counted)} spikes, dL/dp in {command.directions} directions", rows)
        if isinstance(slope.params, RecurrentParams):
            slope = slope._replace(params=slope.params._replace(mask_rec=None))
        if command.out is not None:
            np.savez_compressed(command.out, **network_arrays(slope.params), inputs=np.asarray(slope.inputs))
    worst = max(rows, key=lambda row: np.nan_to_num(row["relative difference"], nan=np.inf))
    if not worst["relative difference"] <= command.tolerance:
        raise Mismatch(
            f"the gradient by {worst['parameter']} is off by {worst['relative difference']:.2g} of its size, more than "
            f"--tolerance {command.tolerance:g}"
        )


def _compared(
    name: str, start: _Point, slope: _Point, value: Callable[[_Point], Array], rng: np.random.Generator, command: Any
) -> dict[str, Any] | None:
    """Derivatives along random directions of one kind of parameter; None if nothing depends on it."""
    leaves, gradients = _of(start)[name], _of(slope)[name]
    exact, measured = [], []
    for _ in range(command.directions):
        move = [np.where(np.isfinite(leaf), rng.normal(size=np.shape(leaf)), 0) for leaf in leaves]
        if name == "delays":  # they cannot fall below 0
            move = [np.abs(part) for part in move]
        size = np.sqrt(sum(np.sum(part**2) for part in move))
        move = [part / size for part in move]
        exact.append(sum(float(np.sum(np.asarray(g) * m)) for g, m in zip(gradients, move)))
        steps, of_value = FORWARD if name == "delays" else CENTRAL
        at = [float(value(_moved(start, name, k * command.step, move))) for k in steps]
        measured.append(float(np.dot(of_value, at) / command.step))
    rms = float(np.sqrt(np.mean(np.square(measured))))
    worst = float(np.max(np.abs(np.subtract(exact, measured))))
    if rms == 0 and worst == 0:
        return None
    return {"parameter": name, "gradient": exact[0], "difference": measured[0], "relative difference": worst / rms}


CENTRAL = (-1, 1), (-0.5, 0.5)
"""Where a function is evaluated for its derivative, in steps, and the weights of the values."""
FORWARD = (0, 1, 2), (-1.5, 2.0, -0.5)
"""The same to one side."""


def _of(at: _Point) -> dict[str, list[Array]]:
    """The parameters by kind."""
    params, inputs = at
    kinds: dict[str, list[Any]]
    if isinstance(params, RecurrentParams):
        kinds = {"weights": [params.w_in, params.w_rec], "delays": [params.delay_in, params.delay_rec]}
        kinds |= {name: [value] for name, value in params.neuron._asdict().items()}
    else:
        kinds = {"weights": [layer.weights for layer in params], "delays": [layer.delays for layer in params]}
        kinds |= {name: [getattr(layer.neuron, name) for layer in params] for name in LIF._fields}
    return {**kinds, "inputs": [inputs]}


def _moved(at: _Point, name: str, step: float, move: Sequence[Any]) -> _Point:
    """The point with one kind of parameter moved."""
    ways: Iterator[Any] = iter([leaf + step * part for leaf, part in zip(_of(at)[name], move)])
    params, inputs = at
    if name == "inputs":
        return _Point(params, next(ways))
    if isinstance(params, RecurrentParams):
        if name == "weights":
            return _Point(params._replace(w_in=next(ways), w_rec=next(ways)), inputs)
        if name == "delays":
            return _Point(params._replace(delay_in=next(ways), delay_rec=next(ways)), inputs)
        return _Point(params._replace(neuron=params.neuron._replace(**{name: next(ways)})), inputs)
    if name in LayerParams._fields:
        return _Point([layer._replace(**{name: next(ways)}) for layer in params], inputs)
    return _Point([layer._replace(neuron=layer.neuron._replace(**{name: next(ways)})) for layer in params], inputs)


def _given_spikes(
    command: Any, trains: Sequence[SpikeTrain], sizes: Sequence[int]
) -> tuple[list[SpikeTrain] | None, list[np.ndarray] | None]:
    """The spikes of --fired and dL/dt, padded as those of the simulation, of which they must be as many."""
    if command.fired is None:
        return None, None
    fired, weights = read_fired(command.fired, sizes)
    for number, (theirs, ours) in enumerate(zip(fired, trains)):
        wrong = np.flatnonzero(np.asarray(theirs.count) != np.asarray(ours.count))
        if wrong.size:
            neuron = int(wrong[0])
            raise UsageError(
                f"{command.fired}: neuron {neuron} of layer {number} has {int(theirs.count[neuron])} spikes, but "
                f"{int(ours.count[neuron])} in the exact simulation before --t-max (at most --max-spikes "
                f"{command.network.max_spikes}); is the network the same, and in the same units?"
            )
    length = command.network.max_spikes
    fired = [train._replace(times=_padded(train.times, length, np.inf)) for train in fired]
    return fired, None if weights is None else [np.asarray(_padded(weight, length, 0.0)) for weight in weights]


def _padded(array: Any, length: int, value: float) -> Array:
    array = jnp.asarray(array)[:, :length]  # padding alone is cut
    return jnp.pad(array, ((0, 0), (0, length - array.shape[1])), constant_values=value)


def _of_fired(
    params: Params, spikes_in: SpikeTrain, fired: Sequence[SpikeTrain], weights: Sequence[np.ndarray], command: Any
) -> tuple[Any, Array]:
    spikes = fired[0] if isinstance(params, RecurrentParams) else list(fired)
    gradient = gradient_from_spikes(
        spikes_in,
        spikes,
        _as_arrays(params),
        None,
        np.concatenate(list(weights)),
        tolerance=command.residual,
        reset_coupling=command.gradient == "exact",
    )
    return gradient.params, gradient.inputs


def _spikes(
    params: Params, spikes_in: SpikeTrain, given: Any, *, strict: bool = False, reset_coupling: bool = True
) -> list[SpikeTrain]:
    """Of every layer; a recurrent network is one."""
    options: dict[str, Any] = {"t_max": given.t_max, "strict": strict, "reset_coupling": reset_coupling}
    if isinstance(params, RecurrentParams):
        return [recurrent(spikes_in, **params._asdict(), max_spikes=given.max_spikes, **options)]
    return feedforward(spikes_in, params, max_spikes=[given.max_spikes] * len(params), **options)


def _as_arrays(params: Params) -> Params:
    """Every number as an array, so that all can be differentiated."""
    return jax.tree.map(jnp.asarray, params)


def _inputs(params: Params) -> int:
    return np.shape(params.w_in if isinstance(params, RecurrentParams) else params[0].weights)[0]


def _sizes(params: Params) -> list[int]:
    if isinstance(params, RecurrentParams):
        return [np.shape(params.w_rec)[1]]
    return [np.shape(layer.weights)[1] for layer in params]


def _row(number: int, train: SpikeTrain) -> dict[str, Any]:
    times = np.asarray(train.times)
    return {
        "layer": number,
        "neurons": times.shape[0],
        "spikes": int(train.count.sum()),
        "silent": int((train.count == 0).sum()),
        "cut off": int(train.overflow.sum()),
        "first spike": float(times.min(initial=np.inf)),
    }


def _events(trains: Sequence[SpikeTrain]) -> list[dict[str, Any]]:
    rows = [
        {"time": float(time), "layer": number, "neuron": neuron}
        for number, train in enumerate(trains)
        for neuron, times in enumerate(np.asarray(train.times))
        for time in times[np.isfinite(times)]
    ]
    return sorted(rows, key=lambda row: (row["time"], row["layer"], row["neuron"]))
