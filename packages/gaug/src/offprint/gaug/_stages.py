"""The stages of a fit: each a run of its own, with a checkpoint folder of its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import PRNGKeyArray

from offprint.core.train import Batches, Checkpoint, FitResult, fit
from offprint.gaug._track import StopFlag, chunk_of

State = TypeVar("State")


@dataclass(frozen=True)
class Stages:
    """How every stage of a fit is run."""

    checkpoint: Checkpoint | None = None
    progress: bool = False

    def run(
        self,
        name: str,
        step: Callable[..., Any],
        state: State,
        batches: Batches,
        *,
        num_steps: int,
        key: PRNGKeyArray,
        reason: str = "",
    ) -> FitResult[State]:
        """Run one stage; ended by the metric `stopped`, for that reason.

        Args:
            name: of the stage's folder within the checkpoint's.
        """
        chunk = chunk_of(num_steps) if num_steps else 1
        checkpoint = self.checkpoint
        if checkpoint is not None:  # saves fall on the ends of chunks, so that they do not shorten them
            every = max(1, checkpoint.every // chunk) * chunk
            checkpoint = replace(checkpoint, directory=Path(checkpoint.directory) / name, every=every)
        return fit(
            step,
            state,
            batches,
            num_steps=num_steps,
            key=key,
            log_every=chunk,
            chunk=chunk,
            callbacks=[StopFlag(reason)] if reason else [],
            checkpoint=checkpoint,
            progress=self.progress,
        )
