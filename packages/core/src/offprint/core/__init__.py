"""What every Offprint package shares: training, experiments with claims, data, plots, metrics and citation.

The parts are modules of their own, loaded on first use, so that importing this package costs nothing:

- [`offprint.core.train`][]: steps, the training loop, batches, checkpoints with exact resume, callbacks, evaluation;
- [`offprint.core.experiments`][]: experiments that check claims, their results and report;
- [`offprint.core.data`][]: data sets with checksums, licences and citations;
- [`offprint.core.plots`][]: one style for every figure;
- [`offprint.core.metrics`][]: the metrics that several methods need;
- [`offprint.core.program`][]: the shell around a method's own program.
"""

import importlib
from types import ModuleType

__all__ = ["benchmark", "data", "experiments", "metrics", "plots", "program", "train"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
