"""Storage sizes against explicit encodings."""

import jax
import numpy as np
import pytest

from offprint.sparsity import formats
from offprint.sparsity._bits import storage_bits

NAMES = {"entropy": "lower_bound"}
SIZES = (
    "dense bitmap coo_flat coo_rc csr csc delta runlength2 runlength4 runlength5 runlength8 bsr4x4 bsr8x8 ell entropy"
)


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("storage_bits")


@pytest.mark.parametrize("key", SIZES.split())
def test_sizes(arrays, key):
    found = storage_bits(arrays["mask"], int(arrays["value_bits"]), NAMES.get(key, key))
    np.testing.assert_allclose(found, arrays[key], rtol=0 if key != "entropy" else 1e-12)


def test_nm_size(arrays):
    mask = np.tile([[True], [False], [True], [False]], (4, 8))
    assert storage_bits(mask, 32, "nm2:4") == arrays["nm24_16x8"]


def test_encoded_sizes(arrays):
    """What the formats say of themselves after encoding, and what decodes to the mask again."""
    mask, bits = arrays["mask"], int(arrays["value_bits"])
    encoded = {
        "bitmap": formats.Bitmap.from_dense(mask),
        "coo_rc": formats.COO.from_dense(mask),
        "csr": formats.CSR.from_dense(mask),
        "csc": formats.CSC.from_dense(mask),
        "delta": formats.Delta.from_dense(mask),
        "ell": formats.ELL.from_dense(mask),
        "bsr4x4": formats.BSR.from_dense(mask, block=(4, 4)),
        "bsr8x8": formats.BSR.from_dense(mask, block=(8, 8)),
    } | {f"runlength{width}": formats.RunLength.from_dense(mask, width=width) for width in (2, 4, 5, 8)}
    assert encoded["coo_rc"].bits(bits, flat=True) == arrays["coo_flat"]
    for width in (2, 4, 5, 8):
        stored = encoded[f"runlength{width}"].values
        assert stored.size - arrays["nnz"] == arrays[f"runlength{width}_fillers"]
    for side in (4, 8):
        assert encoded[f"bsr{side}x{side}"].values.shape[0] == arrays[f"bsr{side}x{side}_blocks"]
    decoded = jax.jit(lambda forms: {name: form.to_dense() for name, form in forms.items()})(encoded)
    for name, form in encoded.items():
        assert form.bits(bits) == arrays[name], name
        np.testing.assert_array_equal(np.asarray(decoded[name]), mask, err_msg=name)
