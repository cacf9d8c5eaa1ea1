"""How a model is trained."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from offprint.magnn._loss import Loss
from offprint.magnn._metrics import METRICS

Negatives = Literal["per_window", "per_user_epoch"]
Regularizer = Literal["coupled", "batch_l2", "decoupled"]
TrainOn = Literal["train", "train_val"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `fit`; the defaults are the paper's (Sec. "Experimental Settings"), whose loss is a sum.

    Raises:
        ValueError: a value out of range, or an unknown option; what is possible is said.
    """

    lr: float | int = 1e-3
    """Learning rate of Adam."""
    weight_decay: float | int = 1e-3
    """λ of Eq. 9, for all parameters."""
    batch_size: int = 4096
    """Most windows in a step. An epoch is split into equal steps of at most so many."""
    epochs: int = 20
    """How often the windows are gone through."""
    T: int = 3
    """Targets of a window, |T|."""
    negatives: Negatives = "per_window"
    """"per_window": fresh ones for every window. "per_user_epoch", as in the authors' earlier code: 50 sets for each
    user in every epoch, one of which serves all windows of a user in a batch."""
    loss: Loss = "bpr"
    """"bpr" (Eq. 9), "bce", "sampled_softmax", or "softmax" over the whole catalogue: batch_size times items scores."""
    num_sampled: int = 64
    """Negatives of each window under "sampled_softmax"."""
    regularizer: Regularizer = "coupled"
    """"coupled": λ times the parameters is added to all gradients before Adam scales them, as public codes do: it also
    pulls rows that a batch does not use. "batch_l2": λ‖·‖² of the rows that the batch uses is added to the loss.
    "decoupled": as AdamW does."""
    eval_every: int = 5
    """Epochs between evaluations on the validation part."""
    select: str | None = "ndcg@10"
    """Keep the parameters of the evaluation at which this was highest; None keeps the last."""
    patience: int | None = None
    """Stop after so many evaluations without improvement of `select`."""
    train_on: TrainOn = "train"
    """"train_val" trains on both parts and evaluates nothing; `refit` makes such settings."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "T", "num_sampled", "eval_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}")
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, but is {self.lr}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be 0 or more, but is {self.weight_decay}")
        options: dict[str, Any] = {
            "negatives": Negatives,
            "loss": Loss,
            "regularizer": Regularizer,
            "train_on": TrainOn,
        }
        for name, allowed in options.items():
            if (value := getattr(self, name)) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(allowed)))}, but is {value!r}")
        if self.select is not None and not re.fullmatch(rf"({'|'.join(METRICS)})@[1-9]\d*", self.select):
            raise ValueError(
                f"select must be a metric at a K such as 'ndcg@10' ({', '.join(METRICS)}): {self.select!r}"
            )
        if self.patience is not None and self.select is None:
            raise ValueError("patience needs a metric to watch; set select, such as 'ndcg@10'")
        if self.train_on == "train_val" and self.select is not None:
            raise ValueError(
                f"select={self.select!r} needs validation items, which train_on='train_val' trains on; "
                "select on 'train' first, then use config.refit(best_epoch)"
            )

    def refit(self, epochs: int) -> "TrainConfig":
        """The same settings for a last run on training and validation items, of as many epochs as proved best."""
        return dataclasses.replace(self, epochs=epochs, train_on="train_val", select=None, patience=None)
