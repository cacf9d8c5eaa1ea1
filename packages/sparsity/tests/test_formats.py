"""Every storage format: what goes in comes out, sizes are those of the formulas, and it is a pytree."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.sparsity import formats as f
from offprint.sparsity._bits import best_format, break_evens, clog, storage_bits

SHAPES = ((7, 9), (1, 16), (3, 2, 4, 5))
FLAT = {
    "bitmap": f.Bitmap.from_dense,
    "coo_rc": f.COO.from_dense,
    "csr": f.CSR.from_dense,
    "csc": f.CSC.from_dense,
    "delta": f.Delta.from_dense,
    "ell": f.ELL.from_dense,
    "runlength2": lambda a, m=None: f.RunLength.from_dense(a, m, width=2),
    "bsr2x3": lambda a, m=None: f.BSR.from_dense(a, m, block=(2, 3)),
}


@jax.jit
def decode(forms):
    """All of them in one program: it is compiled once for every pattern of entries."""
    return {name: form.to_dense() for name, form in forms.items()}


@given(st.sampled_from(SHAPES), st.sampled_from((0.0, 0.1, 0.5, 1.0)), st.integers(0, 99))
@settings(max_examples=6, deadline=None)
def test_round_trip_and_size(shape, density, seed):
    rng = np.random.default_rng(seed)
    array = np.where(rng.random(shape) < density, rng.normal(size=shape), 0)
    forms = {name: encode(array) for name, encode in FLAT.items()}
    decoded = decode(forms)
    for name, form in forms.items():
        np.testing.assert_array_equal(np.asarray(decoded[name]), array, err_msg=name)
        assert form.bits() == storage_bits(array != 0, 64, name), name
        assert form.bits(16) == storage_bits(array != 0, 16, name), name


def test_stored_bytes_are_the_formula():
    """Where the storage is really packed: bitmap and n:m."""
    rng = np.random.default_rng(0)
    array = np.where(rng.random((16, 32)) < 0.3, rng.normal(size=(16, 32)), 0).astype(np.float32)
    bitmap = f.Bitmap.from_dense(array)
    assert bitmap.bits() == 8 * (bitmap.values.nbytes + bitmap.packed.nbytes)
    np.testing.assert_array_equal(np.asarray(bitmap.packed), np.packbits(array != 0))
    for n, m in ((2, 4), (1, 4), (4, 8), (1, 2)):
        keep = np.argsort(rng.random((16, m, 8)), axis=1) < n
        packed = f.NMPacked.from_dense(np.ones((16 * m, 8), np.float32), keep.reshape(-1, 8), n=n, m=m)
        assert packed.bits() == 8 * (packed.values.nbytes + packed.planes.nbytes)
        assert packed.bits() == storage_bits(keep.reshape(-1, 8), 32, f"nm{n}:{m}")


@pytest.mark.parametrize(("n", "m", "rows"), [(2, 4, 40), (1, 4, 32), (4, 8, 70), (3, 5, 25), (2, 2, 16)])
def test_nm_round_trip(n, m, rows):
    rng = np.random.default_rng(n)
    padded = -(-rows // m)
    keep = (np.argsort(rng.random((padded, m, 6)), axis=1) < n).reshape(-1, 6)[:rows]
    keep[:m] &= rng.random((m, 6)) < 0.5  # a group that keeps fewer
    array = np.where(keep, rng.normal(size=(rows, 6)), 0)
    packed = f.NMPacked.from_dense(array, n=n, m=m)
    np.testing.assert_array_equal(np.asarray(decode({"": packed})[""]), array)
    places = np.sort(np.asarray(packed.places()), axis=0)
    assert (np.diff(places, axis=0) > 0).all()  # no place twice, so training cannot add two values up
    assert places.max() < m


@pytest.mark.parametrize("block", [(16, 16), (4, 8), (1, 1), (5, 3)])
def test_block_ell_round_trip(block):
    rng = np.random.default_rng(1)
    array = np.where(rng.random((33, 50)) < 0.06, rng.normal(size=(33, 50)), 0)
    form = f.BlockELL.from_dense(array, block=block)
    np.testing.assert_array_equal(np.asarray(decode({"": form})[""]), array)
    for lines, count in ((form.forward, -(-50 // block[1])), (form.backward, -(-33 // block[0]))):
        assert sorted(np.asarray(lines.order)) == list(range(count))
        assert int(lines.counts.sum()) == form.values.shape[0]
        slots = np.asarray(lines.slots)
        assert sorted(slots[slots < form.values.shape[0]]) == list(range(form.values.shape[0]))
    real = np.asarray(form.forward.slots) < form.values.shape[0]
    np.testing.assert_array_equal(
        np.asarray(form.forward.sources)[real], np.asarray(form.rows)[np.asarray(form.forward.slots)[real]]
    )
    assert form.bits(16) < form.bits()


def test_block_ell_of_nothing():
    form = f.BlockELL.from_dense(np.zeros((8, 8)), block=(4, 4))
    assert form.values.shape == (1, 4, 4)
    assert not np.asarray(form.to_dense()).any()


def test_under_jit_vmap_and_grad_with_a_fixed_mask():
    rng = np.random.default_rng(2)
    mask = rng.random((12, 8)) < 0.4
    mask[::4] = False
    encoders = {
        **FLAT,
        "block": lambda a, m: f.BlockELL.from_dense(a, m, block=(4, 4)),
        "nm": lambda a, m: f.NMPacked.from_dense(a, m, n=3, m=4),
    }
    stack = rng.normal(size=(3, 12, 8))

    @jax.jit
    def both(stack):
        def both_ways(a):
            return decode({name: encode(a, mask) for name, encode in encoders.items()})

        total = jax.grad(lambda a: sum((d**2).sum() for d in both_ways(a).values()))(stack[0])
        return jax.vmap(both_ways)(stack), total

    decoded, gradient = both(stack)
    for name, found in decoded.items():
        np.testing.assert_array_equal(np.asarray(found), stack * mask, err_msg=name)
    np.testing.assert_allclose(np.asarray(gradient), 2 * len(encoders) * stack[0] * mask)


def test_best_format_is_the_smallest():
    rng = np.random.default_rng(3)
    mask = rng.random((256, 256)) < 0.05
    best = best_format(mask)
    assert best.bits == min(best.table.values()) == storage_bits(mask, 32, best.name)
    assert list(best.table.values()) == sorted(best.table.values())
    assert best.bits > storage_bits(mask, 32, "lower_bound")
    by_count = best_format(int(mask.sum()), shape=(256, 256))
    assert set(by_count.table) == {"dense", "bitmap", "coo_flat", "coo_rc", "csr", "csc"}
    assert by_count.table.items() <= best.table.items()
    assert best_format(np.ones((64, 64)), 8).name == "dense"
    assert best_format(1, shape=(1024, 1024)).name == "coo_flat"


def test_break_evens():
    shape, bits = (1024, 1024), 32
    found = break_evens(shape, bits)
    assert math.isclose(found["dense", "bitmap"], 1 - 1 / bits, abs_tol=1e-5)
    assert math.isclose(found["bitmap", "coo_flat"], 1 / clog(1024 * 1024), rel_tol=1e-4)
    assert math.isclose(found["bitmap", "csr"], 1 / clog(1024), rel_tol=0.03)
    for (first, second), density in found.items():
        nnz = round(density * math.prod(shape))
        sizes = [storage_bits(nnz + more, bits, name, shape=shape) for more in (0, 1) for name in (first, second)]
        assert sizes[1] < sizes[0]
        assert sizes[3] >= sizes[2]


def test_clog():
    assert [clog(x) for x in (0, 1, 2, 3, 4, 5, 1024, 1025)] == [0, 1, 1, 2, 2, 3, 10, 11]


MASK = np.eye(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: storage_bits(MASK, 0), "bits must be at least 1"),
        (lambda: storage_bits(MASK, 8, "zip"), "unknown format 'zip'"),
        (lambda: storage_bits(3, 8, "zip", shape=(4,)), "unknown format 'zip'"),
        (lambda: storage_bits(3, 8), "give the shape"),
        (lambda: storage_bits(17, 8, shape=(4, 4)), r"must be in 0..16"),
        (lambda: storage_bits(3, 8, "delta", shape=(4, 4)), "give the mask"),
        (lambda: storage_bits(np.ones((4, 4)), 8, "nm2:4"), "more than the 2 of nm2:4"),
        (lambda: storage_bits(MASK, 8, "nm5:4"), "1 <= N <= M"),
        (lambda: storage_bits(MASK, 8, "bsr0x4"), "positive sides"),
        (lambda: storage_bits(MASK, 8, "runlength0"), "1 to 31 bits"),
        (lambda: jax.jit(lambda m: storage_bits(m, 8))(jnp.asarray(MASK)), "on the host"),
        (lambda: best_format(MASK, formats=()), "at least one format"),
        (lambda: clog(-1), "x >= 0"),
        (lambda: f.Bitmap.from_dense(MASK, np.ones((4, 5))), r"the shape \(4, 4\)"),
        (lambda: f.CSR.from_dense(np.float64(3.0) * np.ones(())), "at least one axis"),
        (lambda: jax.jit(f.COO.from_dense)(MASK), "give it a mask"),
        (lambda: jax.jit(lambda m: f.COO.from_dense(MASK, m))(MASK), "a mask that is known"),
        (lambda: f.RunLength.from_dense(MASK, width=0), "1 to 31 bits"),
        (lambda: f.BSR.from_dense(MASK, block=(0, 4)), "two positive sides"),
        (lambda: f.BlockELL.from_dense(np.ones((2, 2, 4, 4))), r"\(in, out\)"),
        (lambda: f.NMPacked.from_dense(np.ones((8, 4))), r"make it with the pattern NM\(2, 4\)$"),
        (
            lambda: f.NMPacked.from_dense(np.tile([[1.0, 1.0, 0.0, 0.0]], (8, 2))),
            "It is 2:4 along axis -1, the output axis, but .* the contraction axis, which is -2",
        ),
        (lambda: f.NMPacked.from_dense(MASK, n=3, m=2), "1 <= n <= m"),
        (lambda: f.NMPacked.from_dense(np.ones(8)), r"\(in, out\)"),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()
