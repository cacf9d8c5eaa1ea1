"""The paper's claims as experiments, with what two cores do in seconds and at a scale of their own."""

from offprint.federated_mlo.experiments.averaging import AveragingConfig, averaging
from offprint.federated_mlo.experiments.dense import DenseConfig, dense
from offprint.federated_mlo.experiments.event_level import EventLevelConfig, event_level
from offprint.federated_mlo.experiments.ordering import OrderingConfig, ordering
from offprint.federated_mlo.experiments.price_of_fairness import PriceConfig, price_of_fairness
from offprint.federated_mlo.experiments.random5 import Random5Config, random5
from offprint.federated_mlo.experiments.validation import ValidationConfig, validation

__all__ = [
    "AveragingConfig",
    "DenseConfig",
    "EventLevelConfig",
    "OrderingConfig",
    "PriceConfig",
    "Random5Config",
    "ValidationConfig",
    "averaging",
    "dense",
    "event_level",
    "ordering",
    "price_of_fairness",
    "random5",
    "validation",
]
