"""The ten published data sets of the simulation study, regenerated exactly from the seed they were drawn with."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import lfilter

from offprint.mgrn.data._matlab import MatlabStream
from offprint.mgrn.data._process import (
    AR_COEFFICIENTS,
    PAIRS,
    PARAMETERS,
    STOCKS,
    SimulatedPair,
    assemble,
    constants,
    log_levels,
    pair_constants,
)

PUBLISHED_LENGTH = 100_000
_BURN_IN = 100
_SEED = 1

PUBLISHED_MINIMUM = (
    (18.1212, 18.0314), (16.5758, 22.9883), (20.0391, 16.9163), (16.3458, 16.1178), (17.6239, 18.2000),
    (51.7821, 34.0081), (16.5031, 15.9528), (15.6111, 14.1066), (56.5542, 42.7030), (17.2087, 17.3841),
)  # fmt: skip
"""Published theoretical minimum MSE of each pair on its validation and its test windows."""


def matlab_pairs() -> Iterator[SimulatedPair]:
    """The ten published data sets one after another, float64, 100000 rows each.

    They come out of one random stream, so the tenth costs ten times the first: about a tenth of a second each.
    """
    stream = MatlabStream(_SEED)
    for first, second in draw_pairs(stream).tolist():
        yield _simulate(stream, constants(first + 1, second + 1))


def published_pair(number: int) -> SimulatedPair:
    """Published data set `number`, 1 to 10.

    Raises:
        ValueError: another number.
    """
    pair_constants(number)
    return next(pair for at, pair in enumerate(matlab_pairs(), start=1) if at == number)


def draw_pairs(stream: MatlabStream) -> Int[np.ndarray, "pairs 2"]:
    """The stocks of the ten pairs, counted from 0, as the study draws them before everything else."""
    pairs: list[list[int]] = []
    for _ in PAIRS:
        pair = _two_of(stream, STOCKS)
        if pair in pairs:
            pair = _two_of(stream, STOCKS)
        pairs.append(pair)
    return np.array(pairs)


def _two_of(stream: MatlabStream, count: int) -> list[int]:
    marked: set[int] = set()
    while len(marked) < 2:
        marked.update((np.ceil(count * stream.rand(2 - len(marked))) - 1).astype(int).tolist())
    return np.array(sorted(marked))[np.argsort(stream.rand(2))].tolist()


def _simulate(stream: MatlabStream, levels: Float[np.ndarray, "series parameters"]) -> SimulatedPair:
    steps = PUBLISHED_LENGTH + _BURN_IN
    w_market = stream.randn(steps)
    deviations = np.empty((steps, 2, len(PARAMETERS)))
    w_own = np.empty((steps, 2))
    denominator = [1.0, *(-c for c in AR_COEFFICIENTS)]
    for series in range(2):
        shocks = 0.1 * stream.randn(len(PARAMETERS) * steps).reshape(len(PARAMETERS), steps)
        deviations[:, series] = lfilter([1.0], denominator, shocks).T
        w_own[:, series] = stream.randn(steps)
    return assemble(deviations, log_levels(levels), w_market, w_own, _BURN_IN)
