"""The search for a threshold by trial: which key is reached by exactly as many keys as are wanted?

Every trial is one count over the data, so what matters is to need few of them: a regula falsi on the keys, with
trials moved so that the bracket shrinks from both sides, and bisection where the keys are spread unevenly.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from offprint.sparsity import _limbs as limbs

_MARGIN = 1.0  # standard deviations of the number of keys below a trial threshold
_EVEN_BITS = {2: 16, 4: 24, 8: 53}  # about two octaves of the number type, by its bytes


class Bracket(NamedTuple):
    """low <= cut < high for each ranking, and how many keys reach either end."""

    low: Array
    high: Array
    at_low: Int[Array, "groups limbs"]
    at_high: Int[Array, "groups limbs"]
    want: Int[Array, "groups limbs"]
    slow: Int[Array, " groups"]  # how many trials in a row have left most of the keys in the bracket
    step: Int[Array, ""]


def search(
    count: Callable[[Array], Int[Array, "groups limbs"]],
    want_of: Callable[[Int[Array, "groups limbs"]], Int[Array, "groups limbs"]],
    bottom: Array,
    all_of: Int[Array, "groups limbs"] | None,
    hints: Shaped[Array, "trials groups"],
    zero: Int[Array, ""],
    width: int,
) -> tuple[Array, Array, Int[Array, "groups limbs"]]:
    """The cut of every ranking: all keys of at least `high` are kept, `above` of them.

    Either these are all that was wanted or all there are, or high = low + 1 and the rest are ties at `low`.

    Args:
        count: how many keys are at least a trial threshold.
        want_of: how many are wanted, given how many there are.
        bottom: thresholds that all keys reach.
        all_of: how many keys there are; None: to be counted.
        hints: thresholds to try first.
        zero: `zero_like` what is counted.
        width: limbs of the counts.
    """
    top = jnp.full_like(bottom, jnp.iinfo(bottom.dtype).max)  # which no key reaches

    def start(all_of: Int[Array, "groups limbs"], step: int) -> Bracket:
        want = want_of(all_of)
        nothing, everything = jnp.all(want == 0, axis=-1), ~limbs.less(want, all_of)
        return Bracket(
            low=jnp.where(nothing, top, bottom),
            high=jnp.where(everything & ~nothing, bottom, top),
            at_low=all_of,
            at_high=jnp.where(everything[:, None], want, 0),
            want=want,
            slow=jnp.zeros(want.shape[0], jnp.int32),
            step=jnp.array(step, jnp.int32),
        )

    def narrow(bracket: Bracket) -> Bracket:
        low, high, at_low, at_high, want, slow, step = bracket
        hint = _row(hints, step)
        useful = (step < len(hints)) & (low < hint) & (hint < high)
        pivot = jnp.clip(jnp.where(useful, hint, _pivot(bracket)), low + (low < high), high - (low < high))
        # Counting all of them is the first pass of this loop, not one before it: one kernel per leaf less to compile.
        first = step < 0
        reached = count(jnp.where(first, bottom, pivot))
        enough, exact = ~limbs.less(reached, want), jnp.all(reached == want, axis=-1)
        raised, lowered = _open(bracket) & enough, _open(bracket) & (~enough | exact)
        after = bracket._replace(
            low=jnp.where(raised, pivot, low),
            high=jnp.where(lowered, pivot, high),
            at_low=jnp.where(raised[:, None], reached, at_low),
            at_high=jnp.where(lowered[:, None], reached, at_high),
            step=step + 1,
        )
        after = after._replace(slow=jnp.where(_inside(after) > 0.75 * _inside(bracket), slow + 1, 0))
        if all_of is not None:
            return after
        return jax.tree.map(lambda begun, narrowed: jnp.where(first, begun, narrowed), start(reached, 0), after)

    begin = start(jnp.zeros((len(bottom), width), jnp.int32), -1) if all_of is None else start(all_of, 0)
    begin = jax.tree.map(lambda part: part + zero.astype(part.dtype), begin)
    end = jax.lax.while_loop(lambda bracket: (bracket.step < 0) | jnp.any(_open(bracket)), narrow, begin)
    return end.low, end.high, end.at_high


def _row(hints: Array, step: Array) -> Array:
    return hints[jnp.minimum(step, len(hints) - 1)] if len(hints) else jnp.zeros(hints.shape[1:], hints.dtype)


def _open(bracket: Bracket) -> Bool[Array, " groups"]:
    return (bracket.low != bracket.high) & (bracket.low + 1 != bracket.high)


def _inside(bracket: Bracket) -> Float[Array, " groups"]:
    return limbs.to_float(limbs.subtract(bracket.at_low, bracket.at_high))


def _pivot(bracket: Bracket) -> Array:
    """The next trial threshold: where the cut lies if keys are spread evenly over the bracket, else the middle.

    The estimate is moved towards the farther end by its own uncertainty, so that the trial is likely to replace that
    end, and the bracket shrinks from both sides.
    """
    low, high = bracket.low, bracket.high
    middle = (low & high) + ((low ^ high) >> 1)  # the mean of two signed integers without overflow
    unsigned = jnp.dtype(f"uint{8 * low.dtype.itemsize}")
    width = jax.lax.bitcast_convert_type(high, unsigned) - jax.lax.bitcast_convert_type(low, unsigned)
    inside = jnp.maximum(_inside(bracket), 1.0)
    part = limbs.to_float(limbs.subtract(bracket.at_low, bracket.want)) / inside
    spread = _MARGIN * jnp.sqrt(part * (1 - part) / inside)
    part = jnp.clip(jnp.where(part < 0.5, part + spread, part - spread), 0.0, 0.999)
    offset = (part * width.astype(jnp.float32)).astype(unsigned)
    estimate = low + jax.lax.bitcast_convert_type(offset, low.dtype)
    # Keys of numbers are logarithms in steps: over many octaves they are anything but even.
    wide = width > (1 << _EVEN_BITS.get(low.dtype.itemsize, 0))
    # After a bad estimate all of them may be ties at the lower end, which one trial settles; else halve the bracket.
    # (`jnp.select` would take a reduction, and twice the kernels to compile.)
    return jnp.where(bracket.slow == 1, low + 1, jnp.where((bracket.slow > 1) | wide, middle, estimate))
