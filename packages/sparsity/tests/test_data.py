"""Files are read or refused; published tables hold what they are said to hold; images become rows."""

import hashlib

import numpy as np
import pytest

from offprint.core.data import ChecksumError, DataError
from offprint.sparsity import data
from offprint.sparsity.data import _mlpnet

SHAPES = {"fc1": (40, 784), "fc2": (20, 40), "fc3": (10, 20)}


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def same(params, layers):
    assert list(params) == list(SHAPES)
    for name, layer in layers.items():
        np.testing.assert_array_equal(params[name]["kernel"], layer.T)
        assert params[name]["kernel"].dtype == np.float32


def test_mlpnet_from_an_archive(tmp_path, layers, monkeypatch):
    np.savez(tmp_path / "own.npz", **layers)
    same(data.mlpnet(tmp_path / "own.npz"), layers)
    folder = tmp_path / "woodfisher-mlpnet"
    folder.mkdir()
    (tmp_path / "own.npz").rename(folder / "mlpnet_784_40_20_10.npz")
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    with pytest.raises(ChecksumError, match=r"npz does not hold the weights of mnist_25_epoch_93.97.ckpt"):
        data.mlpnet()
    content = (folder / "mlpnet_784_40_20_10.npz").read_bytes()
    monkeypatch.setattr(_mlpnet, "_ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    same(data.mlpnet(), layers)


def test_mlpnet_from_the_checkpoint(tmp_path, layers, monkeypatch):
    content = bytearray(390_621)
    for name, layer in layers.items():
        start = _mlpnet._OFFSETS[name]
        content[start - 8 : start] = layer.size.to_bytes(8, "little")  # as the file itself says before each tensor
        content[start : start + 4 * layer.size] = layer.tobytes()
    path = tmp_path / "mnist_25_epoch_93.97.ckpt"
    path.write_bytes(content)
    same(data.mlpnet(path), layers)
    (tmp_path / "woodfisher-mlpnet").mkdir()
    path.rename(tmp_path / "woodfisher-mlpnet" / path.name)
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    with pytest.raises(ChecksumError, match="is not the file that data set 'woodfisher-mlpnet' needs"):
        data.mlpnet()


def test_mlpnet_refuses_other_files(tmp_path, layers):
    (tmp_path / "short.ckpt").write_bytes(b"1234")
    with pytest.raises(ChecksumError, match=r"is not the checkpoint mnist_25_epoch_93.97.ckpt of https://github.com"):
        data.mlpnet(tmp_path / "short.ckpt")
    np.savez(tmp_path / "other.npz", fc1=layers["fc1"], fc2=layers["fc2"].T)
    with pytest.raises(DataError, match=r"'fc1': \(40, 784\).* are needed, but it has fc1 \(40, 784\), fc2 \(40, 20\)"):
        data.mlpnet(tmp_path / "other.npz")


def test_digits():
    images = data.digits(test=297)
    assert images.train_images.shape == (1500, 8, 8, 1)
    assert images.test_labels.shape == (297,)
    assert sorted(set(images.train_labels.tolist())) == list(range(10))
    again, other = data.digits(test=297), data.digits(test=297, seed=1)
    np.testing.assert_array_equal(images.train_images, again.train_images)
    assert (images.train_images != other.train_images).any()
    with pytest.raises(ValueError, match="test=1797: of 1797 images at least 1 must be for testing"):
        data.digits(test=1797)


def test_flat():
    images = data.digits()
    rows = data.flat(images, mean=0.1307, std=0.3081)
    assert rows.x.shape == (1437, 64)
    assert rows.x.dtype == rows.test_x.dtype == np.float32
    np.testing.assert_allclose(
        rows.test_x[3].reshape(8, 8), (images.test_images[3, ..., 0] / 255 - 0.1307) / 0.3081, rtol=1e-5
    )
    np.testing.assert_array_equal(rows.y, images.train_labels)


def test_runs_of_resnet50():
    table = data.resnet50_runs()
    counts = {name: int((table["method"] == name).sum()) for name in dict.fromkeys(table["method"].tolist())}
    assert counts == {"magnitude": 236, "random": 288, "variational dropout": 161, "L0": 323, "dense": 3}
    best = {
        (method, percent): max(runs["top1"][np.rint(100 * runs["sparsity"]) == percent])
        for method in ("magnitude", "random")
        for runs in [data.resnet50_runs(method)]
        for percent in (50, 80, 98)
    }
    expected = {50: (76.5, 74.6), 80: (75.6, 70.2), 98: (57.9, 44.0)}
    for percent, (magnitude, random) in expected.items():
        np.testing.assert_allclose(best["magnitude", percent], magnitude, atol=0.06)
        np.testing.assert_allclose(best["random", percent], random, atol=0.06)
    with pytest.raises(ValueError, match="no runs of 'SET' are published here; there are runs of magnitude, random"):
        data.resnet50_runs("SET")


def test_layers_of_resnet50():
    table = data.resnet50_layers()
    assert len(table["layer"]) == 54
    assert (table["layer"][0], table["layer"][-1]) == ("conv1", "fc")
    assert table["params"].sum() == 25_502_912
    assert table["macs"].sum() == 4_089_184_256
    for name in ("erk", "global_magnitude", "str_90.23", "str_98.05"):
        total = float(name.partition("_")[2]) / 100 if name.startswith("str") else 0.9
        assert abs((table[name] * table["params"]).sum() / table["params"].sum() - total) < 0.005


def test_tables_of_rigl_str_and_jaxpruner():
    rigl, str_rows, pruner = data.rigl_table(), data.str_table(), data.jaxpruner_table()
    row = (rigl["distribution"] == "erk") & (rigl["sparsity"] == 0.9) & (rigl["training_length"] == 5)
    assert rigl["top1"][row & (rigl["label_smoothing"] == "yes")].tolist() == [76.42]
    assert str_rows["top1"][str_rows["sparsity"] == 0.9023].tolist() == [74.31]
    assert pruner["rigl"][0] == 74.752
    assert np.isnan(pruner["saliency"][-1])


def test_survey_of_81_papers():
    table = data.survey81()
    assert len(table["paper"]) == 551
    assert len(set(table["paper"].tolist())) == 81
    assert int((table["dataset"] == "MNIST").sum()) > 20
    kept = table["kept_params"][~np.isnan(table["kept_params"])]
    assert len(kept) > 120
    assert 0 < kept.min() < kept.max() <= 1.1
    resnet = (table["model"] == "ResNet-50") & (table["dataset"] == "ImageNet")
    assert int(resnet.sum()) == 43
    change = table["top1_change"][resnet & (table["paper"] == "lottery-ticket-followup")]
    np.testing.assert_allclose(np.sort(change), np.sort([0.11, 0.02, -0.21, -0.6, -2.48]), atol=1e-9)


def test_dense_models():
    table = data.dense_models()
    row = table["model"] == "ResNet-50"
    assert (table["top1"][row].item(), table["mparams"][row].item()) == (76.0, 26.0)
