"""Golden arrays of what is sparse for one example or one step; the other test_golden_*.py have the others."""

import jax
import jax.numpy as jnp
import numpy as np

from offprint.sparsity import _dropout as d
from offprint.sparsity import moe, optim


def test_dropout_family(golden):
    g = golden("dropout_family")
    rate, temperature = float(g["p"]), float(g["tau"])

    @jax.jit
    def all_of_them(x, w, u, uw):
        return {
            "dropout": d.dropout(x, rate, u=u),
            "dropconnect": d.dropconnect(x, w, rate, u=uw),
            "dropconnect_mean": d.dropconnect_moments(x, w, rate)[0],
            "dropconnect_var": d.dropconnect_moments(x, w, rate)[1],
            "concrete": d.concrete_dropout(x, rate, temperature=temperature, u=u),
            "concrete_z": d.concrete_gate(rate, u, temperature),
            "concrete_entropy": d.concrete_entropy(rate),
        }

    for name, here in all_of_them(*(g[k] for k in ("x", "w", "u", "uw"))).items():
        np.testing.assert_allclose(here, g[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_gates(golden):
    g = golden("moe_gating")
    k = int(g["k"])
    gating = jax.jit(lambda x, wg, wn, noise: moe.noisy_top_k(x @ wg, k, jax.nn.softplus(x @ wn), noise))(
        g["x"], g["w_gate"], g["w_noise"], g["noise"]
    )
    np.testing.assert_array_equal(gating.indices, g["topk_idx"])
    for name, here in {
        "gates": gating.gates,
        "importance": gating.importance,
        "importance_cv2": moe.cv_squared(gating.importance),
        "load": gating.load,
        "load_cv2": moe.cv_squared(gating.load),
    }.items():
        np.testing.assert_allclose(here, g[name], rtol=1e-9, err_msg=name)


def test_switch(golden):
    g = golden("moe_gating")
    logits = jnp.asarray(g["x"] @ g["w_gate"])
    probabilities = jax.nn.softmax(logits, -1)
    np.testing.assert_allclose(probabilities, g["router_probs"], rtol=1e-9)
    np.testing.assert_allclose(moe.switch_loss(probabilities, alpha=1.0), g["switch_aux"], rtol=1e-9)
    np.testing.assert_allclose(moe.router_z_loss(logits), g["z_loss"], rtol=1e-9)
    routing = moe.route(jnp.asarray(g["top1"])[:, None], 4, int(g["capacity"]))
    np.testing.assert_array_equal(routing.position[:, 0], g["switch_position"])
    np.testing.assert_array_equal(routing.kept[:, 0], g["switch_kept"])
    assert moe.capacity(12, 4, 1.0) == int(g["capacity"])


def run(tx, grads):
    """What is sent of each row of `grads`, and the state at the end."""

    def step(state, g):
        sent, state = tx.update(g, state)
        return state, sent

    state, sent = jax.jit(lambda g: jax.lax.scan(step, tx.init(jax.tree.map(lambda g: g[0], g)), g))(grads)
    return sent, state


def test_top_k_threshold_strom(golden):
    g = golden("gradient_sparsification")
    grads, tau = jnp.asarray(g["grads"]), float(g["threshold"])
    sent, state = run(optim.topk_error_feedback(int(g["k"])), grads)
    np.testing.assert_allclose(sent, g["topk_ef_sent"], rtol=1e-9)
    np.testing.assert_allclose(state.error, g["topk_ef_error"][-1], rtol=1e-9)
    for name, tx in {"threshold": optim.threshold(tau), "strom": optim.strom(tau)}.items():
        sent, state = run(tx, grads)
        np.testing.assert_allclose(sent, g[f"{name}_sent"], rtol=1e-9)
        np.testing.assert_allclose(state.error, g[f"{name}_error"], rtol=1e-9, atol=1e-12)


def test_dgc(golden):
    g = golden("gradient_sparsification")
    sent, state = run(optim.dgc(float(g["dgc_momentum"]), 3 / 20), jnp.asarray(g["grads"]))
    np.testing.assert_allclose(sent, g["dgc_sent"], rtol=1e-9)
    np.testing.assert_allclose(state.u, g["dgc_u"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(state.v, g["dgc_v"], rtol=1e-9, atol=1e-12)
