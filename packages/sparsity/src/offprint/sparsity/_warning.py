"""Warnings that point at the line that asked for what is warned about."""

import sys
import warnings

# Where runtime type checks are on, jaxtyping has frames of its own between ours.
_OURS = ("offprint.sparsity.", "jaxtyping.")


def warn(message: str) -> None:
    """A UserWarning at the innermost line outside this package, however deep inside it this is called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
