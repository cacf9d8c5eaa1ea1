"""Exact gradients of spiking neural networks, event-driven and without a time grid."""

from offprint.forward_propagation import data, surrogate
from offprint.forward_propagation._adjoint import SpikeGradient, adjoint_gradient
from offprint.forward_propagation._causality import ancestors, causality_graph
from offprint.forward_propagation._embed import as_recurrent, joined
from offprint.forward_propagation._encode import encode_latency
from offprint.forward_propagation._feedforward import feedforward, truncation_is_exact
from offprint.forward_propagation._first_spike import first_spike, predict_first_spike, silent_fraction
from offprint.forward_propagation._foreign import gradient_from_spikes
from offprint.forward_propagation._hazards import Hazards, gradient_hazards
from offprint.forward_propagation._hebbian import hebbian_terms
from offprint.forward_propagation._hebbian_rule import HebbianObjective
from offprint.forward_propagation._jacobian import spike_time_jacobian
from offprint.forward_propagation._kernel import kernel, kernel_dalpha, kernel_dbeta, kernel_ds
from offprint.forward_propagation._layer import lif_layer, spike_slopes
from offprint.forward_propagation._losses import (
    first_spike_cross_entropy,
    max_voltage_cross_entropy,
    spike_count,
    spike_time_mse,
    van_rossum,
)
from offprint.forward_propagation._max_voltage import max_voltage
from offprint.forward_propagation._modules import LIFDense, LIFRecurrent, Sequential
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._next_spike import next_spike_time
from offprint.forward_propagation._objective import FirstSpikeObjective, Objective, SurrogateObjective
from offprint.forward_propagation._potential import membrane_potential
from offprint.forward_propagation._recipe import Encoding, Recipe, recipe
from offprint.forward_propagation._recurrent import RecurrentParams, recurrent
from offprint.forward_propagation._silent import rate_projection, wake_silent, warn_if_silent
from offprint.forward_propagation._spikes import SpikeTrain, events, from_events, spike_train
from offprint.forward_propagation._system import FPSystem, fp_system
from offprint.forward_propagation._train import (
    Fitted,
    FittedSeeds,
    convergence_epoch,
    encode_examples,
    fit_classifier,
    fit_seeds,
)

__all__ = [
    "LIF",
    "Encoding",
    "FPSystem",
    "FirstSpikeObjective",
    "Fitted",
    "FittedSeeds",
    "Hazards",
    "HebbianObjective",
    "LIFDense",
    "LIFRecurrent",
    "LayerParams",
    "Objective",
    "Recipe",
    "RecurrentParams",
    "Sequential",
    "SpikeGradient",
    "SpikeTrain",
    "SurrogateObjective",
    "adjoint_gradient",
    "ancestors",
    "as_recurrent",
    "causality_graph",
    "convergence_epoch",
    "data",
    "encode_examples",
    "encode_latency",
    "events",
    "feedforward",
    "first_spike",
    "first_spike_cross_entropy",
    "fit_classifier",
    "fit_seeds",
    "fp_system",
    "from_events",
    "gradient_from_spikes",
    "gradient_hazards",
    "hebbian_terms",
    "joined",
    "kernel",
    "kernel_dalpha",
    "kernel_dbeta",
    "kernel_ds",
    "lif_layer",
    "max_voltage",
    "max_voltage_cross_entropy",
    "membrane_potential",
    "next_spike_time",
    "predict_first_spike",
    "rate_projection",
    "recipe",
    "recurrent",
    "silent_fraction",
    "spike_count",
    "spike_slopes",
    "spike_time_jacobian",
    "spike_time_mse",
    "spike_train",
    "surrogate",
    "truncation_is_exact",
    "van_rossum",
    "wake_silent",
    "warn_if_silent",
]
