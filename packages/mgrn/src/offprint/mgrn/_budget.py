"""How many parameters a layer has, and the largest layer within a budget of them."""

from collections.abc import Sequence
from typing import Literal

from offprint.mgrn._groups import group_sizes, parse_groups

Model = Literal["mgrn", "lstm", "gru", "channelwise"]
MODELS: tuple[Model, ...] = ("mgrn", "lstm", "gru", "channelwise")


def count_parameters(
    model: Model | str,
    groups: Sequence[int] | Sequence[Sequence[int]],
    hidden: int,
    size_of: float | int = 1.0,
    *,
    biases: Literal[1, 2] = 1,
) -> int:
    """The number of parameters of a layer, without a head.

    "mgrn": G(3H² + 3H) + 3HF + GHJ + FJ + J² + 2J with J = int(s·H), which is the paper's formula. "lstm" and "gru":
    4H(F + H + biases) and 3H(F + H + biases). "channelwise": of every group two LSTMs of H units (forwards and
    backwards), and an LSTM of J units on their 2GH states.

    Args:
        model: one of those names.
        groups: sizes of contiguous groups, or lists of columns.
        hidden: H.
        size_of: s; the LSTM and the GRU have no joint part, and do not use it.
        biases: vectors per gate of the LSTM and GRU cells. The paper's table counts 1; PyTorch's cells have 2.

    Raises:
        ValueError: an unknown model, bad groups, H < 1, int(s·H) < 1 where there is a joint part, biases not 1 or 2.
    """
    sizes = group_sizes(parse_groups(groups))
    G, F, H = len(sizes), sum(sizes), hidden
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))}, got {model!r}.")
    if biases not in (1, 2):
        raise ValueError(f"biases must be 1 or 2, got {biases}.")
    if H < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}.")
    if model in ("lstm", "gru"):
        return (4 if model == "lstm" else 3) * H * (F + H + biases)
    J = int(size_of * H)
    if J < 1:
        raise ValueError(
            f"the joint part needs at least 1 unit, but int(size_of * hidden) = int({size_of:g} * {hidden}) = {J}."
        )
    if model == "mgrn":
        return G * (3 * H * H + 3 * H) + 3 * H * F + G * H * J + F * J + J * J + 2 * J
    marginal = sum(2 * 4 * H * (size + H + biases) for size in sizes)
    return marginal + 4 * J * (2 * G * H + J + biases)


def match_parameters(
    target: int,
    groups: Sequence[int] | Sequence[Sequence[int]],
    model: Model | str = "mgrn",
    size_of: float | int = 1.0,
    *,
    biases: Literal[1, 2] = 1,
) -> int:
    """The largest H of which the layer has at most `target` parameters, for a comparison at equal size.

    Args:
        target: parameters without a head.
        groups, model, size_of, biases: as in `count_parameters`.

    Raises:
        ValueError: a target below the smallest such layer; as `count_parameters`.
    """
    if size_of <= 0:
        raise ValueError(f"size_of must be above 0, got {size_of}.")
    hidden = 1
    while model in ("mgrn", "channelwise") and int(size_of * hidden) < 1:
        hidden += 1
    if (least := count_parameters(model, groups, hidden, size_of, biases=biases)) > target:
        raise ValueError(
            f"the smallest {model} of these groups, hidden={hidden}, has {least} parameters, more than the target of "
            f"{target}."
        )
    while count_parameters(model, groups, hidden + 1, size_of, biases=biases) <= target:
        hidden += 1
    return hidden
