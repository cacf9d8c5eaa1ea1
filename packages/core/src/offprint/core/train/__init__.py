"""Training: pure steps, one loop for all of them, exact resume."""

from offprint.core.train._batches import Batches, FullBatch, Minibatches
from offprint.core.train._callbacks import (
    BestCheckpoint,
    Callback,
    EarlyStopping,
    Event,
    JsonlLog,
    ProgressBar,
    TensorBoard,
)
from offprint.core.train._checkpoint import Checkpoint, CheckpointError, CheckpointFolder
from offprint.core.train._evaluate import Evaluation
from offprint.core.train._fit import fit
from offprint.core.train._history import FitResult, NonFiniteError
from offprint.core.train._scan import scan
from offprint.core.train._signals import Interrupted
from offprint.core.train._state import Step, TrainState, ensemble, supervised_step
from offprint.core.train._stream import Stream, StreamError

__all__ = [
    "Batches",
    "BestCheckpoint",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "CheckpointFolder",
    "EarlyStopping",
    "Evaluation",
    "Event",
    "FitResult",
    "FullBatch",
    "Interrupted",
    "JsonlLog",
    "Minibatches",
    "NonFiniteError",
    "ProgressBar",
    "Step",
    "Stream",
    "StreamError",
    "TensorBoard",
    "TrainState",
    "ensemble",
    "fit",
    "scan",
    "supervised_step",
]
