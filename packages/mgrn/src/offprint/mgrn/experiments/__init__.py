"""The paper's experiments, each with the claims that it checks."""

from offprint.mgrn.experiments.generator import GeneratorConfig, generator
from offprint.mgrn.experiments.japanese_vowels import VowelsConfig, japanese_vowels
from offprint.mgrn.experiments.mimic import MimicConfig, mimic
from offprint.mgrn.experiments.pendigits import PenDigitsConfig, pendigits
from offprint.mgrn.experiments.table1 import Table1Config, table1

__all__ = [
    "GeneratorConfig",
    "MimicConfig",
    "PenDigitsConfig",
    "Table1Config",
    "VowelsConfig",
    "generator",
    "japanese_vowels",
    "mimic",
    "pendigits",
    "table1",
]
