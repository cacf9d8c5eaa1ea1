"""Multipliers of the parametrisations, and the optimiser that applies them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.resnet_scaling import ResNetParams, layer_labels, parametrisation, resnet_apply

L, D = 16, 4


def test_table():
    standard, ode, mup = (parametrisation(name, L, D) for name in ("standard", "neural-ode", "depth-mup"))
    assert (standard.block_multiplier, ode.block_multiplier, mup.block_multiplier) == (1, 1 / L, 0.25)
    assert standard.adam == {"matrix": 1, "vector": 1, "other": 1} == standard.sgd
    assert ode.adam == {"matrix": 1, "vector": 1, "other": 1}
    assert ode.sgd == {"matrix": L, "vector": L, "other": 1}
    assert mup.adam == {"matrix": 0.25, "vector": 0.25, "other": 1}
    assert mup.sgd == {"matrix": 1, "vector": 1, "other": 1}
    assert standard.matrix_sd == ode.matrix_sd == mup.matrix_sd == 0.5


def test_width_rules_of_mup():
    wide = parametrisation("depth-mup", L, 4 * D, base_width=D)
    assert wide.adam == {"matrix": 0.25 / 4, "vector": 0.25, "other": 1}
    assert wide.sgd == {"matrix": 1, "vector": 4, "other": 1}


def params_of(key):
    A, b = jax.random.normal(key, (L, D, D)) / 2, jax.random.normal(key, (L, D)) / 10
    return ResNetParams(A, b, jnp.ones(1))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_updates_are_multiplied(kind):
    scaling = parametrisation("depth-mup", L, D, base_width=2)
    plain = {"adam": optax.adam, "sgd": optax.sgd}[kind](0.1)
    params = params_of(jax.random.key(0))
    grads = jax.tree.map(jnp.cos, params)
    scaled = scaling.scale(plain, kind=kind)

    def first_update(optimizer):
        return jax.jit(lambda: optimizer.update(grads, optimizer.init(params), params)[0])()

    expected, found = first_update(plain), first_update(scaled)
    rates = getattr(scaling, kind)
    for name, label in (("A", "matrix"), ("b", "vector"), ("delta", "other")):
        np.testing.assert_allclose(getattr(found, name), rates[label] * getattr(expected, name), rtol=1e-12)


def test_labels_of_the_user():
    scaling = parametrisation("depth-mup", L, D)
    params = {"in": jnp.ones((3, D)), "blocks": jnp.ones((L, D, D))}
    assert layer_labels(params) == {"in": "vector", "blocks": "matrix"}
    labels = {"in": "other", "blocks": "matrix"}
    optimizer = scaling.scale(optax.sgd(1.0), labels)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["in"], -1)
    np.testing.assert_allclose(updates["blocks"], -0.25)


@pytest.mark.parametrize(
    ("name", "kind", "power"),
    [
        ("depth-mup", "adam", 0),
        ("depth-mup", "sgd", 0),
        ("neural-ode", "sgd", 0),
        ("standard", "adam", 1),
    ],
)
def test_first_step_changes_the_output_alike_at_every_depth(name, kind, power):
    """What the rules are for: c · (change of a block) · L = O(1). The standard parametrisation grows with L instead."""
    x = jax.random.normal(jax.random.key(1), (8, D))

    @partial(jax.jit, static_argnums=0)
    def change(depth):
        scaling = parametrisation(name, depth, D)
        # Weights at zero: the change of the output is that of the blocks, to first order.
        params = ResNetParams(jnp.zeros((depth, D, D)), jnp.zeros((depth, D)), jnp.zeros(0))

        def loss(params):
            return jnp.mean((resnet_apply(params, x, delta=scaling.block_multiplier) - 2 * x[:, ::-1]) ** 2)

        optimizer = scaling.scale({"adam": optax.adam, "sgd": optax.sgd}[kind](1e-4), kind=kind)
        updates, _ = optimizer.update(jax.grad(loss)(params), optimizer.init(params), params)
        moved = resnet_apply(optax.apply_updates(params, updates), x, delta=scaling.block_multiplier)
        return jnp.linalg.norm(moved - x)

    np.testing.assert_allclose(change(256) / change(16), 16**power, rtol=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parametrisation("mup", L, D), "parametrisation 'mup' is unknown; one of 'standard', 'neural-ode'"),
        (lambda: parametrisation("standard", 0, D), "depth and widths must be at least 1, got depth=0"),
        (lambda: parametrisation("standard", L, D, base_width=0), "must be at least 1, got base_width=0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_kind(unchecked_types):
    with pytest.raises(ValueError, match="kind='adamw' is unknown"):
        parametrisation("standard", L, D).scale(optax.sgd(1.0), kind="adamw")
