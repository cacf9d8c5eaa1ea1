"""The data that the method is evaluated on: the simulated process, the UEA format, two small sets, MIMIC-III."""

from offprint.mgrn._standardize import Standardizer, standardize
from offprint.mgrn.data._matlab import MatlabStream, ziggurat_edges
from offprint.mgrn.data._mimic import (
    LENGTH_OF_STAY_MEANS,
    MimicBatch,
    MimicData,
    MimicSamples,
    discretize,
    length_of_stay_class,
    load_mimic,
    mimic_groups,
    read_episode,
)
from offprint.mgrn.data._minimum import conditional_mean, first_moment, second_moment, theoretical_mse
from offprint.mgrn.data._process import COLUMNS, PAIRS, SimulatedPair, constants, pair_constants, simulate
from offprint.mgrn.data._published import PUBLISHED_MINIMUM, matlab_pairs, published_pair
from offprint.mgrn.data._shipped import japanese_vowels, pendigits
from offprint.mgrn.data._ts import TimeSeries, read_ts
from offprint.mgrn.data._uea import SequenceData, load_uea
from offprint.mgrn.data._windows import (
    COLUMN_ORDERS,
    Split,
    Windows,
    chronological_split,
    order_columns,
    published_split,
    window_rows,
    windows,
)

__all__ = [
    "COLUMNS",
    "COLUMN_ORDERS",
    "LENGTH_OF_STAY_MEANS",
    "PAIRS",
    "PUBLISHED_MINIMUM",
    "MatlabStream",
    "MimicBatch",
    "MimicData",
    "MimicSamples",
    "SequenceData",
    "SimulatedPair",
    "Split",
    "Standardizer",
    "TimeSeries",
    "Windows",
    "chronological_split",
    "conditional_mean",
    "constants",
    "discretize",
    "first_moment",
    "japanese_vowels",
    "length_of_stay_class",
    "load_mimic",
    "load_uea",
    "matlab_pairs",
    "mimic_groups",
    "order_columns",
    "pair_constants",
    "pendigits",
    "published_pair",
    "published_split",
    "read_episode",
    "read_ts",
    "second_moment",
    "simulate",
    "standardize",
    "theoretical_mse",
    "window_rows",
    "windows",
    "ziggurat_edges",
]
