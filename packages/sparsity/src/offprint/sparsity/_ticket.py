"""Lottery tickets: train, prune, go back to earlier weights, and again (Frankle & Carbin 2019; Renda et al. 2020)."""

import fnmatch
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from offprint.sparsity._apply import apply
from offprint.sparsity._budget import natural
from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._mask import make_masks
from offprint.sparsity._tree import check_same, map_named, named_leaves
from offprint.sparsity._warning import warn

Number = float | int
Train = Callable[[PyTree, PyTree, int, int | None], PyTree]
"""`train(params, masks, start, stop)`: the params after training steps `start` to `stop` (None: to the end).

Masks are constant, and pruned entries must be zero in what it returns: `sparsify(optimiser, Static(...), masks=masks)`
sees to that.
"""


class Ticket(NamedTuple):
    """A sparse network, where its training begins and where it ends."""

    density: float
    """Share of the prunable weights that are kept."""
    masks: PyTree
    """True = keep; `None` at leaves that are never pruned."""
    start: PyTree
    """The params that training begins with: earlier values, zero where pruned."""
    trained: PyTree
    """The params after training."""


def lottery_ticket(
    train: Train,
    params: PyTree,
    *,
    rounds: int,
    rate: Number = 0.2,
    scope: Literal["layer", "local", "global"] = "layer",
    output: str | None = None,
    output_rate: Number | Literal["half"] | None = "half",
    rewind_to: int = 0,
    lr_rewind: bool = False,
    criterion: Callable[[PyTree], PyTree] | None = None,
    filter: Filter | None = None,
) -> list[Ticket]:
    """Iterative magnitude pruning with rewinding: the dense network and a ticket for every round.

    In each round the network is trained, the share `rate` of the weights that remain is pruned, smallest |w| of the
    trained weights first, and the survivors get back the values that they had at step `rewind_to` (0: their initial
    values), from where the next training starts. After round r a leaf of n weights keeps n - rint(n (1 - (1 - rate)^r))
    of them. To reach the density d in K rounds, prune `rate = 1 - d ** (1 / K)`.

    The loop runs on the host and calls `train` once a round (and once more for `rewind_to`); jit `train`, whose
    arguments keep their shapes. The optimiser starts anew at `rewind_to`, in the first round as in all others.

    Args:
        train: trains under constant masks, see `Train`.
        params: the initial params.
        rounds: how often is pruned.
        rate: share of the remaining weights pruned in a round, in (0, 1).
        scope: 'layer' (or 'local', the name of the same in `make_masks`): in every leaf by itself, as in the paper for
            small networks; 'global': in one ranking, in which the output layer is as any other.
        output: shell pattern of the path of the output layer's kernel, such as `"fc3/*"`, which is pruned at a rate of
            its own. By default the last of the leaves that are pruned, if there are several, in the order of paths with
            their numbers counted (`layers/2` before `layers/10`); a warning names it unless the paths differ in their
            numbers alone. Trees of arrays do not know the order of use.
        output_rate: that rate: 'half' of `rate`, or a number; None: `rate`.
        rewind_to: step to whose weights survivors return; small networks need 0, large ones some (Frankle et al. 2020).
        lr_rewind: survivors keep their final values, and only the training, with its learning rates, is repeated from
            step `rewind_to` (Renda et al. 2020).
        criterion: trained params -> scores, high = keep, `None` at leaves that are not pruned; |w| by default.
        filter: which leaves are pruned; `kernels` by default.

    Returns:
        `rounds` + 1 tickets from dense to sparse.

    Raises:
        ValueError: rates out of range, fewer than one round, an `output` that no path matches, it or a number as
            `output_rate` with 'global', a negative step, or params from `train` that differ in shape or are not zero
            where pruned.

    Source: frankle2019lth; rewinding to a later step frankle2020lmc; of learning rates renda2020rewind (the last two
    from memory of the papers, not checked against them).
    """
    rates = _rates(params, filter, rate, scope, output, output_rate)
    if rounds < 1 or rewind_to < 0:
        raise ValueError(f"rounds must be at least 1 and rewind_to at least 0, but are {rounds} and {rewind_to}")
    masks = map_named(lambda path, leaf: jnp.ones(leaf.shape, bool) if path in rates else None, params)
    early = _train(train, params, masks, 0, rewind_to) if rewind_to else params
    tickets = [Ticket(1.0, masks, early, _train(train, early, masks, rewind_to, None))]
    for number in range(1, rounds + 1):
        trained = tickets[-1].trained
        scores = _magnitude(trained, rates) if criterion is None else criterion(trained)
        masks = _pruned(scores, masks, rates, rate, number, scope)
        start = apply(trained if lr_rewind else early, masks)
        tickets.append(Ticket(_density(masks), masks, start, _train(train, start, masks, rewind_to, None)))
    return tickets


def ticket_control(train: Train, ticket: Ticket, params: PyTree, *, shuffle: Key[Array, ""] | None = None) -> Ticket:
    """What a ticket is compared with: its masks with other initial values, or other masks of the same density.

    With freshly drawn `params` it is the paper's random reinitialisation; with `shuffle` and the ticket's own initial
    params a random sparse network that keeps as many weights of every leaf. Both may be combined.

    Args:
        train: as in `lottery_ticket`; it runs from step 0.
        ticket: whose masks are taken.
        params: initial params.
        shuffle: key to permute the mask of every leaf.

    Raises:
        ValueError: params unlike those of the ticket, or what is wrong with what `train` returns.

    Source: frankle2019lth.
    """
    check_same(params, ticket.masks, "the ticket's masks")
    masks = ticket.masks if shuffle is None else _shuffled(shuffle, ticket.masks)
    start = apply(params, masks)
    return Ticket(ticket.density, masks, start, _train(train, start, masks, 0, None))


def _rates(
    params: PyTree,
    filter: Filter | None,
    rate: Number,
    scope: str,
    output: str | None,
    output_rate: Number | str | None,
) -> dict[str, float]:
    """The rate of every leaf that is pruned, by path."""
    if scope not in ("layer", "local", "global"):
        raise ValueError(f"scope must be 'layer' (or 'local', the same) or 'global'; got {scope!r}")
    if isinstance(output_rate, str) and output_rate != "half":
        raise ValueError(f"output_rate must be 'half', a number or None; got {output_rate!r}")
    other = rate if output_rate is None else rate / 2 if isinstance(output_rate, str) else output_rate
    for name, value in (("rate", rate), ("output_rate", other)):
        if not 0 < value < 1:
            raise ValueError(
                f"{name} must be in (0, 1), the share of the remaining weights that a round prunes; got {value}"
            )
    paths = list(prunable(params, filter))
    if scope == "global":
        if output is not None or not (output_rate is None or output_rate == "half"):
            raise ValueError("output has a rate of its own with scope='layer' only: a global ranking knows no layers")
        return dict.fromkeys(paths, float(rate))
    if output is None:
        at_output = _last(paths) if other != rate else []
    else:
        at_output = [path for path in paths if fnmatch.fnmatchcase(path, output)]
        if not at_output:
            raise ValueError(f"output={output!r} matches none of the leaves that are pruned: {', '.join(paths)}")
    return {path: float(other if path in at_output else rate) for path in paths}


def _last(paths: list[str]) -> list[str]:
    """The output layer, as far as paths tell: the last of several."""
    if len(paths) < 2:
        return []
    last = sorted(paths, key=natural)[-1]
    if len({re.sub(r"\d+", "0", path) for path in paths}) > 1:
        warn(
            f"lottery_ticket takes {last!r}, the last of the paths, for the output layer, which it prunes at a rate of "
            f"its own: confirm with output={last!r}, name another, or give all layers one rate with output_rate=None"
        )
    return [last]


def _pruned(scores: PyTree, masks: PyTree, rates: dict[str, float], rate: Number, number: int, scope: str) -> PyTree:
    if scope == "global":
        return make_masks(scores, 1 - (1 - rate) ** number, scope="global", previous=masks)
    budget = map_named(lambda path, leaf: None if leaf is None else (1 - rates[path]) ** number, scores)
    return make_masks(scores, budget=budget, previous=masks)


def _train(train: Train, params: PyTree, masks: PyTree, start: int, stop: int | None) -> PyTree:
    trained = train(params, masks, start, stop)
    check_same(params, trained, "what train returned")
    for path, count in jax.device_get(_alive(trained, masks)).items():
        if count:
            raise ValueError(
                f"train must keep pruned weights at zero, but {int(count)} of {path!r} are not: mask its updates, for "
                "example with sparsify(optimiser, Static(...), masks=masks)"
            )
    return trained


@jax.jit
def _alive(params: PyTree, masks: PyTree) -> dict[str, Array]:
    """How many weights of every leaf are not zero though they are pruned."""
    of = dict(named_leaves(params))
    return {path: jnp.sum((of[path] != 0) & ~mask) for path, mask in named_leaves(masks) if mask is not None}


def _magnitude(params: PyTree, rates: dict[str, float]) -> PyTree:
    return map_named(lambda path, leaf: jnp.abs(leaf) if path in rates else None, params)


def _density(masks: PyTree) -> float:
    leaves = [np.asarray(mask) for _, mask in named_leaves(masks) if mask is not None]
    return sum(int(mask.sum()) for mask in leaves) / sum(mask.size for mask in leaves)


def _shuffled(key: Key[Array, ""], masks: PyTree) -> PyTree:
    paths = [path for path, mask in named_leaves(masks) if mask is not None]
    keys = dict(zip(paths, jax.random.split(key, len(paths))))
    return map_named(
        lambda path, mask: (
            None if mask is None else jax.random.permutation(keys[path], mask.ravel()).reshape(mask.shape)
        ),
        masks,
    )
