"""What a depth sweep leaves: a record for each depth."""

from dataclasses import dataclass

import numpy as np

from offprint.resnet_scaling._network import ResNetParams
from offprint.resnet_scaling._sweep_config import SweepConfig


@dataclass(frozen=True)
class DepthRecord:
    """One depth of a sweep. Arrays lead with the axis of seeds, and that of learning rates before it where there are
    several: both are written ``members`` here. Diverged members hold NaN."""

    depth: int
    params: ResNetParams
    """(members, L, d, d), (members, L, d) and (members, 1 | L | 0)."""
    losses: np.ndarray
    """(members, epochs): mean training loss of each epoch, NaN after the member stopped."""
    epochs: np.ndarray
    """(members,): epochs trained."""
    test_losses: np.ndarray
    """(members, 2): before and after training."""
    hidden_norms: np.ndarray
    """(members, 2, L + 1, 10): |h_k| before and after training, of five training inputs and of five inputs uniform
    on the cube, then scaled to norm 1."""
    hidden_increments: np.ndarray
    """(members, 2, L, 10): |h_{k+1} - h_k| of the same."""
    converged: np.ndarray
    """(members,): whether the loss fell below epsilon."""
    diverged: np.ndarray
    """(members,): whether the loss became NaN or infinite."""
    seconds: float
    """Of training, without compilation."""
    compile_seconds: float


@dataclass(frozen=True)
class SweepResult:
    """A sweep: a record for each depth, in increasing order, and its columns by depth."""

    config: SweepConfig
    seeds: tuple[int, ...]
    records: tuple[DepthRecord, ...]

    @property
    def depths(self) -> tuple[int, ...]:
        """In increasing order."""
        return tuple(record.depth for record in self.records)

    @property
    def params(self) -> dict[int, ResNetParams]:
        """Trained parameters by depth; the leading axis is that of the seeds."""
        return {record.depth: record.params for record in self.records}

    @property
    def losses(self) -> dict[int, np.ndarray]:
        """Training loss of every epoch, by depth."""
        return {record.depth: record.losses for record in self.records}

    @property
    def epochs(self) -> dict[int, np.ndarray]:
        """Epochs trained, by depth."""
        return {record.depth: record.epochs for record in self.records}

    @property
    def converged(self) -> dict[int, np.ndarray]:
        """Which members reached epsilon, by depth."""
        return {record.depth: record.converged for record in self.records}

    @property
    def diverged(self) -> dict[int, np.ndarray]:
        """Which members ended in NaN, by depth."""
        return {record.depth: record.diverged for record in self.records}

    @property
    def seconds(self) -> dict[int, float]:
        """Of training without compilation, by depth."""
        return {record.depth: record.seconds for record in self.records}
