"""The official layer's outputs, gradients, intermediate states and dropout, array by array."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.mgrn._budget import count_parameters
from offprint.mgrn._layer import apply
from offprint.mgrn._params import DropoutMasks
from offprint.mgrn._torch import from_torch, to_torch

CASES = (
    "mgrn_total_split",
    "mgrn_two_groups_sizeof2",
    "mgrn_uneven_groups_sizeof8",
    "mgrn_long_T64",
    "mgrn_single_group",
    "mgrn_input_dropout",
)


def masks_of(arrays):
    """The stored masks, scaled; without any, none."""
    if "dropout_rate" not in arrays:
        return DropoutMasks()
    groups = len(arrays["input_size_list"])
    stored = [arrays[f"mask_{k}"][0] / (1 - float(arrays["dropout_rate"])) for k in range(groups + 2)]
    batch = len(stored[0])
    return DropoutMasks(
        marginal_inputs=np.concatenate(stored[:groups], axis=1),
        joint_inputs=stored[groups],
        candidates=stored[groups + 1].reshape(batch, groups, -1),
    )


@pytest.fixture(scope="module", params=CASES)
def case(request, golden, weights):
    """The stored arrays, the output and the gradients by this package in float64."""
    arrays = golden(request.param)
    return arrays, from_torch(weights(arrays)), masks_of(arrays)


@jax.jit
def computed(params, x, masks, cotangent):
    def objective(params, x):
        y = apply(params, x, masks=masks, time_major=True, unroll=1)  # a loop compiles sooner
        return jnp.sum(y * cotangent), y

    (_, y), grads = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(params, x)
    return y, *grads


def test_output_and_gradients(case):
    arrays, params, masks = case
    y, gradient, dx = computed(params, arrays["x"], masks, arrays["cotangent"])
    np.testing.assert_allclose(y, arrays["y"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(dx, arrays["dx"], rtol=0, atol=1e-12)
    gradients = to_torch(gradient)
    assert set(gradients) == {name[2:] for name in arrays if name.startswith("g/")}
    for name, value in gradients.items():
        np.testing.assert_allclose(value, arrays[f"g/{name}"], rtol=0, atol=1e-12, err_msg=name)


def test_float32(case):
    arrays, params, masks = case
    params, masks, x, cotangent = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), (params, masks, arrays["x"], arrays["cotangent"])
    )
    y, gradient, dx = computed(params, x, masks, cotangent)
    pairs = {"y": (y, arrays["y"]), "dx": (dx, arrays["dx"])}
    pairs |= {name: (value, arrays[f"g/{name}"]) for name, value in to_torch(gradient).items()}
    for name, (value, expected) in pairs.items():
        assert value.dtype == np.float32
        assert np.abs(value - expected).max() <= 2e-6 * np.abs(expected).max(), name


def test_intermediate_states(case):
    arrays, params, masks = case
    states_of = jax.jit(partial(apply, time_major=True, return_states=True, unroll=1))
    y, states = states_of(params, arrays["x"], masks=masks)
    np.testing.assert_allclose(y, arrays["y"], rtol=0, atol=1e-12)
    if "candidates" not in arrays:
        return
    np.testing.assert_allclose(states.candidates, arrays["candidates"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(states.carry.h, arrays["marginal_h_last"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(states.marginal[-1], arrays["marginal_h_last"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(states.joint[-1], arrays["joint_h_last"], rtol=0, atol=1e-12)


def test_number_of_parameters(case):
    arrays, params, _ = case
    recurrent = sum(leaf.size for leaf in jax.tree.leaves((params.marginal, params.joint)))
    config = params.config
    assert recurrent == count_parameters("mgrn", config.groups, config.hidden, config.size_of)
    assert recurrent == arrays.get("param_count_without_head", recurrent)
