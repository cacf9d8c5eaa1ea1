"""Memory-gated recurrent networks for grouped multivariate sequences.

In reading order: the network as pure functions (`init`, `apply`, `step`), its modules, the baselines, the estimator,
what the gates do, sizes, PyTorch weights, plots.
"""

from offprint.mgrn import plots
from offprint.mgrn._budget import count_parameters, match_parameters
from offprint.mgrn._cell import MGRNCell
from offprint.mgrn._channelwise import ChannelwiseLSTM, ChannelwiseParams, channelwise_apply, channelwise_init
from offprint.mgrn._config import DropoutRates, Execution, MGRNConfig
from offprint.mgrn._estimator import MGRNEstimator
from offprint.mgrn._gates import UpdateGates, update_gates
from offprint.mgrn._groups import parse_groups
from offprint.mgrn._gru import GRU, GRUParams, gru_apply, gru_init
from offprint.mgrn._heads import MGRNClassifier, MGRNRegressor
from offprint.mgrn._init import init
from offprint.mgrn._layer import apply, initial_carry, step
from offprint.mgrn._lstm import LSTM, LSTMParams, lstm_apply, lstm_init
from offprint.mgrn._modules import MGRN, JointMemory, MarginalMemory
from offprint.mgrn._network import SequenceModel
from offprint.mgrn._params import (
    DropoutMasks,
    HeadParams,
    JointParams,
    MarginalParams,
    MGRNCarry,
    MGRNParams,
    MGRNStates,
)
from offprint.mgrn._stacked import Bidirectional, Stacked
from offprint.mgrn._standardize import Standardizer, standardize
from offprint.mgrn._torch import from_torch, to_torch

__all__ = [
    "GRU",
    "LSTM",
    "MGRN",
    "Bidirectional",
    "ChannelwiseLSTM",
    "ChannelwiseParams",
    "DropoutMasks",
    "DropoutRates",
    "Execution",
    "GRUParams",
    "HeadParams",
    "JointMemory",
    "JointParams",
    "LSTMParams",
    "MGRNCarry",
    "MGRNCell",
    "MGRNClassifier",
    "MGRNConfig",
    "MGRNEstimator",
    "MGRNParams",
    "MGRNRegressor",
    "MGRNStates",
    "MarginalMemory",
    "MarginalParams",
    "SequenceModel",
    "Stacked",
    "Standardizer",
    "UpdateGates",
    "apply",
    "channelwise_apply",
    "channelwise_init",
    "count_parameters",
    "from_torch",
    "gru_apply",
    "gru_init",
    "init",
    "initial_carry",
    "lstm_apply",
    "lstm_init",
    "match_parameters",
    "parse_groups",
    "plots",
    "standardize",
    "step",
    "to_torch",
    "update_gates",
]
