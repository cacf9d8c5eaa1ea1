"""moment exchange: data augmentation in feature space for recognition networks"""

from offprint.moex._standardize import standardize

__all__ = ["standardize"]
