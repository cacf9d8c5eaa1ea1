"""Recommenders to compare with, on the same windows, losses and rankings.

Each is a `Recommender`: a query vector for each user, item vectors and biases. `fit` and `recommend` take them as they
take MAGNN.
"""

from offprint.magnn.baselines._bprmf import BPRMF
from offprint.magnn.baselines._gru4rec import GRU4Rec
from offprint.magnn.baselines._hgn import HGN
from offprint.magnn.baselines._popularity import Popularity
from offprint.magnn.baselines._sasrec import SASRec

__all__ = ["BPRMF", "HGN", "GRU4Rec", "Popularity", "SASRec"]
