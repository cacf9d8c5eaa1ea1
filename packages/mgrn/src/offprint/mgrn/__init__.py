"""memory-gated recurrent networks for grouped multivariate sequences"""

from offprint.mgrn._standardize import standardize

__all__ = ["standardize"]
