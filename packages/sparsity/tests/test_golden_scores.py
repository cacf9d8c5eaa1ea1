"""Criteria and at-initialisation masks against the reference codes (golden/README.md says which)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.sparsity import scores as sc
from offprint.sparsity._at_init import prune_at_init

KERNELS = ("w1", "w2", "w3")


def close(found, expected, rtol=1e-9):
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=rtol * np.abs(expected).max())


def mlp(params, x):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    return jax.nn.relu(hidden @ params["w2"] + params["b2"]) @ params["w3"] + params["b3"]


def conv(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def cnn(params, x):
    hidden = jax.nn.relu(conv(x, params["w1"], 1) + params["b1"])
    hidden = jax.nn.relu(conv(hidden, params["w2"], 2) + params["b2"])
    return jnp.mean(hidden, axis=(1, 2)) @ params["w3"] + params["b3"]


def cnn_bn(params, state, x):
    hidden = conv(x, params["w1"], 1) + params["b1"]
    hidden = (hidden - state["mean"]) / jnp.sqrt(state["var"] + 1e-5) * params["scale"] + params["shift"]
    hidden = jax.nn.relu(conv(jax.nn.relu(hidden), params["w2"], 2) + params["b2"])
    return jnp.mean(hidden, axis=(1, 2)) @ params["w3"] + params["b3"]


class Case:
    """A network of the golden files with the functions that the criteria take."""

    def __init__(self, name, arrays):
        self.arrays = arrays
        names = [*KERNELS, "b1", "b2", "b3"]
        self.params = {key: jnp.asarray(arrays[key]) for key in names}
        self.state = None
        self.apply = mlp if name == "criteria_mlp" else cnn
        self.logits = self.apply
        if name == "criteria_cnn_bn":
            self.params |= {"scale": jnp.asarray(arrays["bn_scale"]), "shift": jnp.asarray(arrays["bn_bias"])}
            self.state = {"mean": jnp.asarray(arrays["bn_mean"]), "var": jnp.asarray(arrays["bn_var"])}
            self.apply = cnn_bn
            self.logits = lambda params, x: cnn_bn(params, self.state, x)
        self.batch = (jnp.asarray(arrays["x"]), jnp.asarray(arrays["y"]))
        self.shape = arrays["x"].shape[1:]

    def loss(self, params, batch):
        x, y = batch
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(self.logits(params, x), y))

    def loss_of_one(self, params, example):
        x, y = example
        return optax.softmax_cross_entropy_with_integer_labels(self.logits(params, x[None])[0], y)

    def check(self, scores, prefix):
        for key in KERNELS:
            close(scores[key], self.arrays[f"{prefix}_{key}"])
        assert all(scores[key] is None for key in self.params if key not in KERNELS)


NETWORKS = ("criteria_mlp", "criteria_cnn", "criteria_cnn_bn")


@pytest.fixture(scope="module")
def cases(golden):
    return {name: Case(name, golden(name)) for name in NETWORKS}


@pytest.fixture(params=NETWORKS)
def case(request, cases):
    return cases[request.param]


def test_first_order(case):
    @jax.jit
    def compute(params):
        grads = jax.grad(case.loss)(params, case.batch)
        return {
            "snip": sc.snip(case.loss, params, case.batch),
            "snip_raw": sc.snip(case.loss, params, case.batch, normalise=False),
            "taylor": sc.taylor(params, grads),
            "taylor_squared": sc.taylor(params, grads, squared=True),
            "taylor_unit": sc.taylor_unit(params, grads),
        }

    found = compute(case.params)
    case.check(found["snip"], "snip")
    case.check(found["snip_raw"], "snip_raw")
    case.check(found["taylor"], "snip_raw")
    case.check({k: v if v is None else jnp.sqrt(v) for k, v in found["taylor_squared"].items()}, "snip_raw")
    case.check(found["taylor_unit"], "taylor_unit")


def test_second_order(case):
    @jax.jit
    def compute(params):
        return {
            "grasp_T1_raw": sc.grasp(case.logits, params, case.batch, temperature=1, normalise=False),
            "grasp_T200_raw": sc.grasp(case.logits, params, case.batch, normalise=False),
            "grasp": sc.grasp(case.logits, params, case.batch),
            "fisher_diag": sc.fisher_diag(case.loss_of_one, params, case.batch),
        }

    for prefix, found in compute(case.params).items():
        case.check(found, prefix)


def test_synflow(case):
    case.check(jax.jit(lambda p: sc.synflow(case.apply, p, case.shape, case.state))(case.params), "synflow")


def test_float32(cases):
    case = cases["criteria_mlp"]
    single = {key: leaf.astype(jnp.float32) for key, leaf in case.params.items()}
    batch = (case.batch[0].astype(jnp.float32), case.batch[1])

    @jax.jit
    def compute(params):
        return {
            "snip": sc.snip(case.loss, params, batch),
            "grasp": sc.grasp(case.logits, params, batch),
            "synflow": sc.synflow(case.apply, params, case.shape),
            "fisher_diag": sc.fisher_diag(case.loss_of_one, params, batch, microbatch=20),
        }

    for prefix, found in compute(single).items():
        for key in KERNELS:
            assert found[key].dtype == jnp.float32
            close(found[key], case.arrays[f"{prefix}_{key}"], 2e-5)


@pytest.mark.parametrize(
    ("network", "method"),
    [(network, method) for network in NETWORKS for method in ("snip", "grasp", "synflow")]
    + [(network, method) for network in NETWORKS[:2] for method in ("itersnip", "force")],
)
def test_masks_at_initialisation(cases, network, method):
    case = cases[network]
    # One density for each network and method: every one of them is compiled for itself.
    density = 0.2 if case.apply is mlp or method == "snip" else 0.05
    masks = prune_at_init(
        method,
        case.params,
        1 - density,
        loss_fn=case.loss,
        logits_fn=case.logits,
        apply_fn=case.apply,
        batch=case.batch,
        input_shape=case.shape,
        state=case.state,
        rounding="ceil" if method in ("force", "itersnip") else "floor",
    )
    for key in KERNELS:
        expected = case.arrays[f"mask_{method}_d{1000 * density:03.0f}_{key}"].astype(bool)
        np.testing.assert_array_equal(masks[key], expected)
    assert masks["b1"] is None


def test_hessian_and_obd(cases):
    case = cases["criteria_mlp"]

    @jax.jit
    def compute(params):
        diagonal = sc.hessian_diag(case.loss, params, case.batch)
        return diagonal, sc.obd(params, diagonal)

    diagonal, saliency = compute(case.params)
    case.check(diagonal, "hess_diag")
    case.check(saliency, "obd")


def test_activations(cases):
    case = cases["criteria_mlp"]

    def tail(hidden):
        logits = jax.nn.relu(hidden @ case.params["w2"] + case.params["b2"]) @ case.params["w3"] + case.params["b3"]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, case.batch[1]))

    @jax.jit
    def compute(hidden):
        slope = jax.grad(tail)(hidden)
        return (
            sc.apoz(hidden),
            sc.taylor_activation(hidden, slope, normalise=False),
            sc.taylor_activation({"hidden": hidden}, {"hidden": slope})["hidden"],
        )

    zeros, raw, normalised = compute(jnp.asarray(case.arrays["act1"]))
    close(zeros, case.arrays["apoz1"])
    expected = case.arrays["taylor_act1"]
    close(raw, expected)
    close(normalised, expected / np.linalg.norm(expected))


def test_magnitude_and_lamp(golden):
    arrays = golden("masks")
    params = {key: jnp.asarray(arrays[key]) for key in ("w0", "w1", "w2")}

    @jax.jit
    def compute(params):
        return {
            "global": sc.magnitude(params),
            "global_l2norm": sc.magnitude(params, normalise="l2"),
            "lamp": sc.lamp(params),
        }

    found = {name: {key: np.asarray(v) for key, v in tree.items()} for name, tree in compute(params).items()}
    for key in params:
        close(found["lamp"][key], arrays[f"lamp_score_{key}"])
    for name, scores in found.items():
        ranked = np.sort(np.concatenate([score.ravel() for score in scores.values()]))
        for s in (0.5, 0.9):
            threshold = ranked[round(s * ranked.size)]
            for key, score in scores.items():
                mask = arrays[f"{name}_{100 * s:.0f}_{key}"].astype(bool)
                np.testing.assert_array_equal(score >= threshold, mask)


def test_movement_and_geometric_median(golden):
    arrays = golden("regularizers")
    rate = float(arrays["movement_lr"])  # of the weights; that of the scores is 1

    @jax.jit
    def compute(w, grads):
        score, weights = None, {"w": w}
        for g in grads:
            score = sc.movement(score, weights, {"w": g})
            weights = {"w": weights["w"] - rate * g}
        return score["w"]

    close(compute(jnp.asarray(arrays["v"]), jnp.asarray(arrays["movement_grads"])), arrays["movement_score"])
    close(jax.jit(sc.fpgm)(jnp.asarray(arrays["fpgm_w"])), arrays["fpgm_dist"])
