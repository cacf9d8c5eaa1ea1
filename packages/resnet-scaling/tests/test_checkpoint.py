"""Sequences of layers in checkpoints of several kinds."""

import jax
import numpy as np
import pytest
from flax import nnx

from offprint.core.data import DataError
from offprint.resnet_scaling import analyze, find_groups, load_arrays

RNG = np.random.default_rng(0)


def smooth(L, shape=(4, 4)):
    waves = RNG.normal(size=(2, *shape))
    t = np.arange(L).reshape(-1, *(1,) * len(shape)) / L
    return (np.cos(3 * t) * waves[0] + np.sin(2 * t) * waves[1]).astype(np.float32)


def transformer(L):
    """Smooth attention, independent feed-forward weights, as a nested mapping."""
    attention, feed_forward = smooth(L), RNG.normal(size=(L, 4, 8)).astype(np.float32)
    return {
        "embedding": RNG.normal(size=(11, 4)).astype(np.float32),
        "step": np.array(3),
        "layers": {
            str(k): {"attention": {"weight": attention[k]}, "mlp": {"weight": feed_forward[k]}} for k in range(L)
        },
    }


def names(report):
    return {name: {one.verdict for one in by_depth.values()} for name, by_depth in report.roughness.items()}


EXPECTED = {"layers.*.attention.weight": {"smooth"}, "layers.*.mlp.weight": {"rough"}}


def test_npz_of_a_torch_state(tmp_path):
    arrays = load_arrays(transformer(12))
    assert "layers.11.mlp.weight" in arrays
    assert "step" not in arrays
    np.savez(tmp_path / "model.npz", **arrays)
    report = analyze(tmp_path / "model.npz")
    assert names(report) == EXPECTED
    assert report.sweeps == {}
    assert report.skipped == {"embedding": "shape (11, 4), in no sequence of 3 layers or more"}
    assert "layers.*.mlp.weight  rough: 12 layers" in str(report)


def test_layers_are_in_the_order_of_their_numbers():
    groups, _ = find_groups(load_arrays(transformer(12)))
    (attention,) = [group for group in groups if "attention" in group.name]
    assert attention.numbers == tuple(range(12))  # not 0, 1, 10, 11, 2, ...
    assert attention.depth == 12


@pytest.mark.parametrize("managed", [False, True])
def test_orbax(tmp_path, managed):
    import orbax.checkpoint as ocp

    tree = transformer(12)
    if managed:
        with ocp.CheckpointManager(tmp_path / "run") as manager:
            for step in (9, 10):
                manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(tree)))
            manager.wait_until_finished()
    else:
        with ocp.StandardCheckpointer() as writer:
            writer.save(tmp_path / "run", tree)
    assert names(analyze(tmp_path / "run")) == EXPECTED


def test_stacks_along_the_first_axis():
    stacked = {"A": smooth(40), "b": RNG.normal(size=(40, 4)), "head": RNG.normal(size=(4, 2))}
    report = analyze({"params": stacked})
    assert names(report) == {"params.A[*]": {"smooth"}, "params.b[*]": {"rough"}}
    chosen = analyze({"params": stacked}, stacked="params.b")
    assert set(chosen.roughness) == {"params.b[*]"}


def test_nnx_state():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(12)])

    report = analyze(nnx.state(Net(nnx.Rngs(0))))
    assert list(report.roughness) == ["blocks.*.kernel"]
    assert report.roughness["blocks.*.kernel"][12].verdict == "rough"
    assert list(report.skipped) == ["blocks.*.bias (12 layers)"]  # all zero


def test_stages_of_a_convolutional_network():
    arrays = {}
    for stage, (blocks, channels) in enumerate([(4, 2), (6, 4)], start=1):
        for k in range(blocks):
            for conv in (1, 2):
                inputs = channels // 2 if k == 0 and conv == 1 else channels
                arrays[f"stage{stage}.{k}.conv{conv}.weight"] = RNG.normal(size=(channels, inputs, 3, 3))
    groups, left = find_groups(arrays)
    assert {group.name: group.numbers for group in groups} == {
        "stage1.*.conv1.weight": (1, 2, 3),  # the first block has other shapes
        "stage1.*.conv2.weight": (0, 1, 2, 3),
        "stage2.*.conv1.weight": (1, 2, 3, 4, 5),
        "stage2.*.conv2.weight": (0, 1, 2, 3, 4, 5),
    }
    assert set(left) == {"stage1.0.conv1.weight", "stage2.0.conv1.weight"}


def test_networks_of_several_depths():
    base = RNG.normal(size=(2, 4, 4))

    def network(L):
        t = np.arange(L)[:, None, None] / L
        return {f"blocks_{k}": {"kernel": A} for k, A in enumerate(L**-0.5 * (base[0] + t * base[1]))}

    depths = (8, 16, 32, 64)
    report = analyze({L: network(L) for L in depths}, n_boot=0)
    sweep = report.sweeps["blocks_*.kernel"]
    assert sweep.regime == "smooth"
    assert sweep.depths == depths
    np.testing.assert_allclose(sweep.beta, 0.5, atol=0.1)
    assert "blocks_*.kernel over depths: smooth" in str(report)
    few = analyze({L: network(L) for L in depths[:2]}, n_boot=0)
    assert few.sweeps == {}
    assert few.skipped["blocks_*.kernel over depths"].startswith("there at 2 depths; at least 4")


def test_select():
    report = analyze(transformer(12), select="*.mlp.*")
    assert list(report.roughness) == ["layers.*.mlp.weight"]


def test_half_precision():
    tree = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, jax.numpy.bfloat16), transformer(12)["layers"])
    assert set(names(analyze(tree))) == {"*.attention.weight", "*.mlp.weight"}


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match=r"no sequence of at least 3 layers of one shape matches '\*'; there are a"):
        analyze({"a": np.ones((3, 3))})
    with pytest.raises(FileNotFoundError, match=r"none\.npz is not there"):
        analyze(tmp_path / "none.npz")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.pt is not an .npz file nor a folder that orbax wrote"):
        analyze(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is not a folder that orbax wrote: it has no _METADATA"):
        analyze(tmp_path)
    np.savez(tmp_path / "pickle.npz", a=np.array([{}]))
    with pytest.raises(DataError, match="holds pickled objects"):
        analyze(tmp_path / "pickle.npz")
