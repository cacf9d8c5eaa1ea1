"""The part of a network that its input reaches: how large it is, A restricted to it, and its spectrum."""

import math
import warnings
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from offprint.memory_capacity._krylov import arnoldi
from offprint.memory_capacity._network import MeaningWarning, concrete
from offprint.memory_capacity._rank import reachable_rank

RankRule = Literal["auto", "generic", "numerical", "exact"]

_EXACT_RANK_NEURONS = 512  # up to here rank="auto" affords the exact rank (well under a second)
_TRACED_HORIZON = 1024  # inside jit the spectral radius is unknown
_LONGEST_HORIZON = 2**20


def reachable_dimension(A: ArrayLike, C: ArrayLike | None, rank: RankRule | str | int) -> int | None:
    """The dimension of the reachable space by the rule `rank`, or None where only a traced program can find it.

    A and C are as the user gave them: the exact rank is that of the stored numbers.
    """
    neurons = np.shape(A)[0]
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        if not 0 <= rank <= neurons:
            raise ValueError(f"rank must lie between 0 and N = {neurons}, got {rank}.")
        if C is None and rank != neurons:
            raise ValueError("rank as an int below N needs C: it says which directions the input reaches.")
        return int(rank)
    if rank not in get_args(RankRule):
        options = ", ".join(map(repr, get_args(RankRule)))
        raise ValueError(f"rank must be one of {options} or an int, got {rank!r}.")
    if C is None:
        if rank in ("numerical", "exact"):
            raise ValueError(f"rank={rank!r} needs C: it says which directions the input reaches.")
        return neurons
    matrix, mask = concrete(A), concrete(C)
    if mask is not None and not mask.any():
        warnings.warn("C is zero: no input reaches the network, so its memory is 0.", MeaningWarning, stacklevel=4)
        return 0
    if rank == "generic":
        return neurons
    known = matrix is not None and mask is not None
    if rank == "exact" or (rank == "auto" and known and neurons <= _EXACT_RANK_NEURONS):
        return int(reachable_rank(A, C, "exact"))
    if not known:
        return None
    return int(reachable_rank(jnp.asarray(matrix), jnp.asarray(mask), "numerical"))


def reachable_block(A: Array, C: Array, size: Array | None) -> tuple[Array, Array]:
    """A on the reachable space, and which of its rows count. Without `size` that is found here.

    The block keeps the size of A, with the other rows and columns zero, so that networks of every rank run the
    same compiled program.
    """
    basis = arnoldi(A, C, A.shape[0])
    active = jnp.arange(A.shape[0]) < (basis.rank if size is None else size)
    block = jnp.where(active[:, None] & active, basis.H, 0)
    # At full size not by way of Arnoldi: the eigenvalues of A itself are backward stable.
    return jnp.where(jnp.all(active), A, block), active


def fading_steps(asked: int | None, rank: int, radius: float | None, dtype: np.dtype) -> int:
    """Steps after which A^j is negligible, as a power of two so that few programs are compiled."""
    if asked is not None:
        return asked
    if radius is None:
        steps = max(_TRACED_HORIZON, 4 * rank)
    elif radius == 0:
        steps = rank + 1
    else:
        steps = rank + math.ceil(math.log(float(jnp.finfo(dtype).eps) / 200) / math.log(radius))
    return min(2 ** math.ceil(math.log2(steps)), _LONGEST_HORIZON)
