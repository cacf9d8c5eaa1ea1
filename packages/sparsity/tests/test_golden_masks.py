"""Masks, patterns, layer budgets and schedules against the golden arrays; masks exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import offprint.sparsity._schedule as schedules
from offprint.sparsity._apply import pack, unpack
from offprint.sparsity._budget import density_map
from offprint.sparsity._mask import make_mask, make_masks
from offprint.sparsity._pattern import Block, Channel
from offprint.sparsity._pattern_nm import NM


@pytest.fixture(scope="module")
def masks(golden):
    return golden("masks")


@pytest.fixture(scope="module")
def budgets(golden):
    return golden("budgets")


@pytest.fixture(scope="module")
def curves(golden):
    return golden("schedules")


@pytest.mark.filterwarnings("ignore:nothing is kept of w1")  # the golden global masks do empty it
@pytest.mark.parametrize("scope", ["local", "global", "global_l2norm"])
def test_magnitude(masks, scope):
    scores = {name: np.abs(masks[name]) for name in ("w0", "w1", "w2")}
    if scope == "global_l2norm":
        scores = {name: score / np.linalg.norm(score) for name, score in scores.items()}
    for sparsity in masks["sparsities"]:
        found = make_masks(scores, float(sparsity), scope=scope.split("_")[0])
        for name, mask in found.items():
            assert np.array_equal(mask, masks[f"{scope}_{round(100 * sparsity)}_{name}"])


@pytest.mark.parametrize("percent", [50, 90])
def test_lamp_scores_ranked_globally(masks, percent):
    scores = {name: masks[f"lamp_score_{name}"] for name in ("w0", "w1", "w2")}
    for name, mask in make_masks(scores, percent / 100, scope="global").items():
        assert np.array_equal(mask, masks[f"lamp_{percent}_{name}"])


@pytest.mark.parametrize("percent", [50, 90])
def test_ties(masks, percent):
    assert np.array_equal(make_mask(np.abs(masks["ties"]), percent / 100), masks[f"local_{percent}_ties"])


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_nm(masks, n, m):
    for weights, suffix, axis in [
        ("nm_w", "in", -2), ("nm_w", "out", -1), ("nm_conv", "conv_in", 2), ("nm_ties", "ties", -2)
    ]:  # fmt: skip
        mask = make_mask(np.abs(masks[weights]), pattern=NM(n, m, axis=axis))
        assert np.array_equal(mask, masks[f"nm_{n}{m}_{suffix}"])


@pytest.mark.parametrize(("name", "reduce"), [("mean", "mean"), ("l2", "rms"), ("max", "max")])
def test_block(masks, name, reduce):
    block, score = Block((4, 4), reduce), np.abs(masks["block_w"])
    units = jax.jit(block.units)(score)
    assert np.allclose(units, masks[f"block44_{name}_score"], rtol=1e-12, atol=0)
    assert np.array_equal(make_mask(score, 0.5, pattern=block), masks[f"block44_{name}_mask"])
    assert np.array_equal(
        block.kept_units(jnp.asarray(masks[f"block44_{name}_mask"], bool)), masks[f"block44_{name}_blockmask"]
    )


@pytest.mark.parametrize("axis", [-1, -2])
def test_channel(masks, axis):
    channel, score = Channel(axis), jnp.abs(masks["w1"])
    assert np.allclose(channel.units(score), masks[f"channel_axis{axis}_score"], rtol=1e-12, atol=0)
    mask = make_mask(score, 0.5, pattern=channel)
    assert np.array_equal(channel.kept_units(mask), masks[f"channel_axis{axis}_keep"])


def test_packed_bits(masks):
    mask = masks["local_50_w1"].astype(bool)
    packed = pack({"w1": mask})
    assert np.array_equal(packed["w1"], masks["packed_local0_w1"])
    assert np.array_equal(unpack(packed, {"w1": masks["w1"]})["w1"], mask)


def resnet50(budgets) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the kernels, in the order of the golden arrays."""
    shapes = [
        tuple(shape if conv else shape[2:])
        for shape, conv in zip(budgets["rn50_shape"].tolist(), budgets["rn50_is_conv"])
    ]
    return {f"layers/{i}/kernel": jax.ShapeDtypeStruct(shape, np.float32) for i, shape in enumerate(shapes)}


@pytest.mark.parametrize("sparsity", [0.8, 0.9, 0.95, 0.965, 0.99])
@pytest.mark.parametrize(
    ("name", "dist", "power"),
    [("erk", "erk", 1), ("er", "er", 1), ("erk_p05", "erk", 0.5), ("uniform_plus",) * 2 + (1,)],
)
def test_resnet50_budgets(budgets, sparsity, name, dist, power):
    params = resnet50(budgets)
    densities = density_map(params, sparsity, dist, power=power)
    found = np.array([densities[path] for path in params])
    assert np.allclose(found, budgets[f"{name}_{round(1000 * sparsity)}"], rtol=1e-9, atol=0)
    if name in ("erk", "uniform_plus"):
        macs = budgets["rn50_macs"]
        share = (found * macs).sum() / macs.sum()
        assert np.isclose(share, budgets[f"flopfrac_{name}_{round(1000 * sparsity)}"], rtol=1e-9)


def test_schedules(curves):
    t = curves["t"]
    begin, end, initial, final, every = curves["params"].tolist()
    begin, end, every = int(begin), int(end), int(every)
    cubic = schedules.cubic_schedule(final, begin, end, initial)
    for name, schedule in {
        "cubic": cubic,
        "linear": schedules.linear_schedule(final, begin, end, initial),
        "quad": schedules.polynomial_schedule(final, begin, end, initial, power=2),
        "held": schedules.held(cubic, begin, end, every),
        "cosine_drop": schedules.cosine_drop(end),
        "linear_drop": schedules.linear_drop(end),
        "invpow3_drop": schedules.inverse_power_drop(end),
    }.items():
        assert np.allclose(schedule(t), curves[name], rtol=1e-9, atol=1e-15), name
        assert np.allclose(jax.jit(schedule)(t), curves[name], rtol=1e-9, atol=1e-15), name
    assert np.array_equal(schedules.update_steps(begin, end, every), np.flatnonzero(curves["is_update"]))


def test_densities_of_rounds(curves):
    final = float(curves["params"][3])
    assert np.allclose(schedules.round_densities(final, 10), curves["exp_density"], rtol=1e-9)
    assert np.allclose(schedules.round_densities(final, 10, kind="linear"), curves["linear_density"], rtol=1e-9)
    assert np.allclose(schedules.ticket_densities(14), curves["lth_density"], rtol=1e-9)
