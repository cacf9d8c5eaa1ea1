"""Methods from plain data."""

import json

import jax.numpy as jnp
import pytest

from offprint.sparsity import methods
from offprint.sparsity._config import from_config, parse_pattern
from offprint.sparsity._pattern import Block, Channel, Head, KernelShape, Layer, Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._pattern_transposable import TransposableNM


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("unstructured", Unstructured()),
        ("2:4", NM(2, 4)),
        ("transposable2:4", TransposableNM(2, 4)),
        ("block16x32", Block((16, 32))),
        ("block8", Block((8, 8))),
        ("channel", Channel(-1)),
        ("channel-2", Channel(-2)),
        ("kernel_shape", KernelShape()),
        ("head8", Head(8)),
        ("head8-2", Head(8, -2)),
        ("Layer", Layer()),
    ],
)
def test_patterns(text, pattern):
    assert parse_pattern(text) == pattern


def test_what_is_left_out_is_left_out_of_the_kernels():
    """`but` alone narrows the default, which knows scales of norms (one axis) and kernels called w."""
    choose = from_config({"method": "static", "sparsity": 0.5, "but": ["first/*"]}).filter
    kernel, scale = jnp.ones((2, 2)), jnp.ones(2)
    assert [choose(path, leaf) for path, leaf in (("a/w1", kernel), ("first/w1", kernel), ("norm/weight", scale))] == [
        True,
        False,
        False,
    ]


def test_our_names():
    config = {"method": "gmp", "begin": 10, "end": 200, "pattern": "2:4"}
    assert from_config(config) == methods.GMP(begin=10, end=200, pattern=NM(2, 4))
    assert from_config({"method": "RigL", "sparsity": 0.9, "steps": 100}) == methods.RigL(0.9, steps=100)


@pytest.mark.parametrize(
    ("config", "method"),
    [
        (  # TF-MOT
            {"method": "PolynomialDecay", "final_sparsity": 0.8, "begin_step": 1, "end_step": 9, "frequency": 2},
            methods.GMP(sparsity=0.8, begin=1, end=9, every=2),
        ),
        (  # jaxpruner
            {"algorithm": "global_magnitude", "sparsity": 0.8, "update_end_step": 9, "update_freq": 3},
            methods.GMP(sparsity=0.8, end=9, every=3, scope="global", criterion="magnitude_l2"),
        ),
        (  # SparseML
            {
                "method": "GMPruningModifier",
                "init_sparsity": 0.05,
                "final_sparsity": 0.8,
                "end": 9,
                "every": 3,
                "mask_type": "block4",
            },
            methods.GMP(sparsity=0.8, initial=0.05, end=9, every=3, pattern=Block((4, 4))),
        ),
        ({"algorithm": "static_sparse", "sparsity": 0.8}, methods.Static(0.8)),
    ],
)
def test_names_of_others(config, method):
    assert from_config(config) == method


def test_filters_and_patterns_by_path():
    method = from_config(
        {"method": "gmp", "sparsity": 0.5, "end": 900, "ignore": ["head*"], "pattern": {"conv*": "channel"}}
    )
    assert method.pattern == {"conv*": Channel()}
    assert method.filter("body/kernel", jnp.ones((2, 2)))
    assert not method.filter("head/kernel", jnp.ones((2, 2)))


def test_files(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({"method": "set", "sparsity": 0.5}))
    (tmp_path / "m.toml").write_text('method = "set"\nsparsity = 0.5\n')
    (tmp_path / "m.yaml").write_text("method: set\nsparsity: 0.5\n")
    for suffix in ("json", "toml", "yaml"):
        assert from_config(tmp_path / f"m.{suffix}") == methods.SET(0.5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sparsity": 0.5}, "the configuration needs a method"),
        ({"method": "no"}, "unknown method 'no'; known are ACDC"),
        (
            {"method": "gmp", "sparsity": 0.5, "end": 9, "every": 3, "speed": 1},
            "GMP has no setting 'speed'; it has begin",
        ),
        ({"method": "gmp", "sparsity": 0.5, "final_sparsity": 0.6, "end": 9, "every": 3}, "given twice"),
        ({"method": "gmp", "sparsity": 90, "end": 9, "every": 3}, r"sparsity must be in \[0, 1\); got 90"),
        ({"method": "gmp", "sparsity": 0.5, "end": 900, "pattern": "star"}, "unknown pattern 'star'"),
        ({"method": "gmp", "sparsity": 0.9, "end": 900, "pattern": "2:4"}, "2:4 removes 0.5 of every group"),
    ],
)
def test_bad_configurations(config, message):
    with pytest.raises(ValueError, match=message):
        from_config(config)


def test_bad_files(tmp_path):
    (tmp_path / "m.txt").write_text("")
    (tmp_path / "m.json").write_text("{")
    (tmp_path / "m.yaml").write_text("- a")
    for name, message in (("m.txt", "unknown format"), ("m.json", "can't be read"), ("m.yaml", "must hold a mapping")):
        with pytest.raises(ValueError, match=message):
            from_config(tmp_path / name)
