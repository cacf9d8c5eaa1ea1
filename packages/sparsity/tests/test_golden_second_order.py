"""Second-order methods against arrays from independent code: OBS, WoodFisher, M-FAC, SparseGPT, OBC, Wanda."""

import jax
import numpy as np
import pytest

from offprint.sparsity import layerwise
from offprint.sparsity._obs import joint_removal, obd_prune, obs_prune, obs_saliency, wood_taylor
from offprint.sparsity._woodfisher import WoodFisher

TOLERANCE = {np.float64: 1e-9, np.float32: 2e-5}
DTYPES = (np.float64, np.float32)


def agree(ours, theirs, rtol):
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(np.asarray(ours, np.float64), theirs, rtol=0, atol=rtol * np.abs(theirs).max())


@pytest.fixture(scope="module")
def quadratic(golden):
    return golden("obs_quadratic")


@pytest.fixture(scope="module")
def fisher(golden):
    return golden("woodfisher")


@pytest.fixture(scope="module")
def layer(golden):
    return golden("layer_obs")


@pytest.mark.parametrize("dtype", DTYPES)
def test_obs(quadratic, dtype):
    w, inverse = quadratic["w"].astype(dtype), quadratic["Hinv"].astype(dtype)
    removal = obs_prune(w, inverse, 7)
    assert removal.order.tolist() == quadratic["obs_order"].tolist()
    agree(removal.weights, quadratic["obs_weights"], TOLERANCE[dtype])
    agree(removal.dloss, quadratic["obs_dloss"], TOLERANCE[dtype])
    agree(obs_saliency(w, inverse), quadratic["obs_saliency"], TOLERANCE[dtype])


def test_obd(quadratic):
    removal = obd_prune(quadratic["w"], quadratic["H"], 7)
    assert removal.order.tolist() == quadratic["obd_order"].tolist()
    agree(np.cumsum(removal.dloss), quadratic["obd_loss"], 1e-9)


def test_joint_removal(quadratic):
    remove = np.isin(np.arange(12), quadratic["joint_set"])
    saliency, delta = jax.jit(joint_removal)(quadratic["w"], quadratic["Hinv"], remove)
    agree(saliency, quadratic["joint_saliency"], 1e-9)
    agree(delta, quadratic["joint_delta"], 1e-9)


def test_wood_taylor(quadratic):
    found = jax.jit(wood_taylor)(quadratic["w"], quadratic["grad"], quadratic["Hinv"])
    agree(found.statistic, quadratic["woodtaylor_rel"], 1e-9)
    agree(found.dloss, quadratic["woodtaylor_dloss"], 1e-9)
    agree(found.delta, quadratic["woodtaylor_delta"], 1e-9)


@pytest.mark.parametrize("solver", ["woodbury", "mfac"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_woodfisher(fisher, dtype, solver):
    rtol = TOLERANCE[dtype]
    damp = float(fisher["damp"])
    params = {"kernel": fisher["w"].astype(dtype)}
    W = WoodFisher.fit({"kernel": fisher["grads"].astype(dtype)}, damp=damp, solver=solver)
    agree(W.diag()["kernel"], fisher["inv_diag"], rtol)
    agree(W.ihvp({"kernel": fisher["x"].astype(dtype)})["kernel"], fisher["ihvp"], rtol)
    agree(W.statistic(params)["kernel"], fisher["statistic"], rtol)
    for update in ("independent", "joint") if solver == "woodbury" else ("independent",):
        pruned, masks = W.prune(params, 0.5, update=update)
        agree(pruned["kernel"], fisher[f"w_{update}"], rtol)
        assert np.flatnonzero(~np.asarray(masks["kernel"])).tolist() == sorted(fisher["drop"].tolist())
        assert pruned["kernel"].dtype == dtype
    if solver == "mfac":
        agree(W.hg["kernel"], fisher["mfac_Hg"], rtol)
        agree(W.factor["kernel"][0], fisher["mfac_denom"], rtol)


@pytest.mark.parametrize("solver", ["woodbury", "mfac"])
def test_woodfisher_in_blocks(fisher, solver):
    W = WoodFisher.fit(
        {"kernel": fisher["grads"]}, damp=float(fisher["damp"]), solver=solver, block=int(fisher["block_size"])
    )
    agree(W.diag()["kernel"], np.diagonal(fisher["inv_fisher_block"]), 1e-9)
    agree(W.ihvp({"kernel": fisher["x"]})["kernel"], fisher["inv_fisher_block"] @ fisher["x"], 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layerwise(layer, dtype):
    x, w = layer["x"].astype(dtype), layer["w"].astype(dtype)
    H = 2 * x.T @ x
    methods = {
        "sgpt_u50_bs8": lambda: layerwise.sparsegpt(w, H, 0.5, blocksize=8),
        "sgpt_24": lambda: layerwise.sparsegpt(w, H, nm=(2, 4)),
        "obc_u75": lambda: layerwise.obc(w, H, 0.75),
        "obc_24": lambda: layerwise.obc(w, H, nm=(2, 4)),
    }
    if dtype is np.float64:
        methods |= {
            "sgpt_u50_full": lambda: layerwise.sparsegpt(w, H, 0.5),
            "sgpt_48": lambda: layerwise.sparsegpt(w, H, nm=(4, 8)),
            "obc_u50": lambda: layerwise.obc(w, H, 0.5),
            "obc_block4_50": lambda: layerwise.obc(w, H, 0.5, block=4),
        }
    for name, method in methods.items():
        pruned = method()
        agree(pruned.kernel, layer[name], 1e-7 if dtype is np.float64 else 2e-5)
        assert np.array_equal(np.asarray(pruned.mask), layer[name] != 0)
        if f"err_{name}" in layer:
            agree(layerwise.reconstruction_error(w, pruned.kernel, H), layer[f"err_{name}"], TOLERANCE[dtype] * 10)


def test_wanda(layer):
    w, norms = layer["w"], np.linalg.norm(layer["x"], axis=0)
    agree(layerwise.wanda_score(w, norms), layer["wanda_score"], 1e-9)
    pruned = layerwise.wanda(w, norms, 0.5)
    assert np.array_equal(np.asarray(pruned.mask, np.uint8), layer["wanda_mask_50"])
    agree(layerwise.reconstruction_error(w, pruned.kernel, 2 * layer["x"].T @ layer["x"]), layer["err_wanda_50"], 1e-9)
    mask = layerwise.wanda(w, norms, nm=(2, 4)).mask
    assert np.array_equal(np.asarray(mask, np.uint8), layer["wanda_mask_24"])
