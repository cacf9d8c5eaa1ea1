"""The order of minibatches: samples drawn anew in every epoch, or what the official code does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int


class _Views(Sequence):
    """Items that are read as views and written in place, as the rows of a torch tensor are."""

    def __init__(self, items: np.ndarray):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index : index + 1]

    def __setitem__(self, index: int, value: np.ndarray) -> None:
        self.items[index : index + 1] = value


def official_shuffle(order: Int[np.ndarray, "batches"], rng: np.random.RandomState) -> Int[np.ndarray, "batches"]:
    """What `numpy.random.shuffle` leaves of the rows of a torch tensor, which the official code shuffles with it.

    NumPy swaps two items by `x[i], x[j] = x[j], x[i]`. Where reading gives views, the second assignment copies what
    the first has just overwritten, so item i becomes a copy of item j and j stays as it is: batches are duplicated and
    lost. The official code does this in place in every epoch, and the next depth starts from what is left.

    Args:
        order: which batch stands at each place; not changed.
        rng: the legacy generator, whose stream of numbers is that of the official code.

    Returns:
        The order afterwards. It never holds a batch that `order` did not hold.
    """
    after = np.array(order)
    rng.shuffle(_Views(after))  # type: ignore[arg-type]
    return after
