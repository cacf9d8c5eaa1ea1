"""What a run remembers of its epochs on the device: the scores of each, and everything of the best one."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from offprint.core.train import Callback, Event
from offprint.gaug._pytree import pytree


@pytree
@dataclass(frozen=True)
class Track:
    """Scores by epoch, the best validation score and what was kept of that epoch, epochs waited since."""

    epoch: Int[Array, ""]  # epochs done
    waited: Int[Array, ""]  # epochs since the best
    best_epoch: Int[Array, ""]
    best_val: Float[Array, ""]
    best_test: Float[Array, ""]
    kept: PyTree  # of the best epoch
    history: dict[str, Float[Array, " epochs"]]

    @classmethod
    def start(cls, names: tuple[str, ...], epochs: int, kept: PyTree) -> "Track":
        """Before the first epoch; `kept` only gives the structure."""
        zero, minus = jnp.zeros((), jnp.int32), jnp.full((), -1.0)
        history = {name: jnp.full(epochs, jnp.nan) for name in ("val", "test", *names)}
        return cls(zero, zero, zero - 1, minus, minus, kept, history)

    def stopped(self, patience: int | None) -> Bool[Array, ""]:
        """Whether there was no better validation score for `patience` epochs."""
        return jnp.zeros((), bool) if patience is None else self.waited >= patience

    def add(
        self, val: Array, test: Array, kept: PyTree, row: dict[str, Any], patience: int | None, valid: Any = True
    ) -> "Track":
        """After one more epoch. Once stopped, or where not `valid`, nothing is remembered any more.

        A chunk of epochs may run on beyond the stop: what it did there must not count.
        """
        counts = valid & ~self.stopped(patience)
        better = counts & (val > self.best_val)
        kept = jax.tree.map(lambda new, old: _where(better, new, old), kept, self.kept)
        values = {"val": val, "test": test, **row}
        # Beyond the last epoch no entry is written: a scatter drops what is out of bounds.
        index = jnp.where(counts, self.epoch, len(self.history["val"]))
        return replace(
            self,
            epoch=self.epoch + counts,
            waited=jnp.where(better, 0, self.waited + counts),
            best_epoch=jnp.where(better, self.epoch, self.best_epoch),
            best_val=jnp.where(better, val, self.best_val).astype(self.best_val.dtype),
            best_test=jnp.where(better, test, self.best_test).astype(self.best_test.dtype),
            kept=kept,
            history={name: h.at[index].set(values[name], mode="drop") for name, h in self.history.items()},
        )


def _where(condition: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jnp.where(condition, new, old)


class StopFlag(Callback):
    """Ends a run whose steps tell in the metric `stopped` that nothing more is remembered."""

    def __init__(self, reason: str):
        self.reason = reason

    def __call__(self, event: Event) -> str | None:
        return self.reason if event.row.get("stopped", 0) > 0 else None


def chunk_of(epochs: int, most: int = 25) -> int:
    """Epochs in one call to the device: a divisor of `epochs` if there is a long one, so that one program serves."""
    divisor = max(d for d in range(1, min(epochs, most) + 1) if epochs % d == 0)
    return divisor if 3 * divisor >= most else min(epochs, most)
