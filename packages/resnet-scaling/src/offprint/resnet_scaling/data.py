"""The data that the method is evaluated on: the synthetic process, MNIST reduced to 25 features, and CIFAR-10."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped, UInt8

from offprint.core.data import DataError, load_npz
from offprint.core.data.images import CIFAR10, MNIST
from offprint.core.data.images import cifar10 as cifar_images
from offprint.resnet_scaling._shuffle import official_shuffle
from offprint.resnet_scaling._train import TrainTest

__all__ = [
    "DATASETS",
    "TrainTest",
    "augment",
    "cifar10",
    "depth_grid",
    "mnist25",
    "mnist_features",
    "normalise_images",
    "normalise_rows",
    "official_shuffle",
    "simulate_process",
    "synthetic_ode",
]

DATASETS = (MNIST, CIFAR10)

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_SD = (0.2023, 0.1994, 0.2010)


def depth_grid(min_depth: int, max_depth: int, base: float | int = 2 ** (1 / 3)) -> tuple[int, ...]:
    """Depths ⌊base^n⌋, n = 0, 1, ..., from min_depth to max_depth, each once (the grid of the official code).

    The base 1.26 gives 10321 as its 41st value, the base 1.2 gives 9100 as its 51st: the largest depths of the paper.

    Raises:
        ValueError: a base of 1 or less, or bounds that are not 1 <= min_depth <= max_depth.
    """
    if not 1 < base < math.inf:
        raise ValueError(f"base={base}; a number above 1 is needed")
    if not 1 <= min_depth <= max_depth:
        raise ValueError(f"min_depth={min_depth}, max_depth={max_depth}; 1 <= min_depth <= max_depth is needed")
    powers = range(math.floor(math.log(max_depth + 1) / math.log(base)) + 1)
    # A base such as 2^(1/3) is stored a little too small, and its powers must not fall below the whole number.
    grid = {math.floor(base**n * (1 + 1e-12)) for n in powers}
    return tuple(sorted(depth for depth in grid if min_depth <= depth <= max_depth))


def simulate_process(x: Float[Array, "samples dim"], n_steps: int = 100) -> Float[Array, "samples dim"]:
    """z_n of z_0 = x, z_{t+1} = z_t + n^{-1/2} tanh(sin(u) z_t + cos(u)), u = 5πt/n, for each entry by itself.

    The step n^{-1/2} is that of the official code, which calls it an ODE; an Euler step would be 1/n.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")

    u = 5 * np.pi * np.arange(n_steps) / n_steps
    forcing = jnp.asarray(np.stack([np.sin(u), np.cos(u)], axis=1), x.dtype)

    def step(z: Array, sin_cos: Array) -> tuple[Array, None]:
        return z + jnp.tanh(sin_cos[0] * z + sin_cos[1]) / math.sqrt(n_steps), None

    return jax.lax.scan(step, x, forcing)[0]


def normalise_rows(x: Float[Array, "samples dim"]) -> Float[Array, "samples dim"]:
    """Each row divided by its Euclidean norm."""
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def synthetic_ode(
    key: PRNGKeyArray,
    n_train: int = 1024,
    n_test: int = 256,
    dim: int = 10,
    *,
    n_steps: int = 100,
    noise: float | int = 0.0,
    dtype: DTypeLike | None = None,
) -> TrainTest:
    """The paper's synthetic task: x uniform on [-1, 1]^d, y the end of `simulate_process` plus noise N(0, noise²).

    Rows of x and y are scaled to norm 1, the inputs after the targets were made from them.

    Returns:
        Arrays (n_train, dim) and (n_test, dim).

    Raises:
        ValueError: a size below 1 or a negative noise.
    """
    for name, size in (("n_train", n_train), ("n_test", n_test), ("dim", dim)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise={noise}; a finite number that is not negative is needed")
    key_x, key_noise = jax.random.split(key)
    shape = (n_train + n_test, dim)
    raw = jax.random.uniform(key_x, shape, jnp.result_type(float) if dtype is None else dtype, minval=-1, maxval=1)
    y = simulate_process(raw, n_steps) + noise * jax.random.normal(key_noise, shape, raw.dtype)
    x, y = normalise_rows(raw), normalise_rows(y)
    return TrainTest(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def mnist_features(
    key: PRNGKeyArray, images: UInt8[np.ndarray, "samples 28 28"], *, dtype: DTypeLike | None = None
) -> Float[Array, "samples 25"]:
    """25 features of raw images (grey levels 0 ... 255), scaled to norm 1: two fixed random convolutions.

    5 x 5 with stride 2, then 3 x 3 with stride 2, one channel, no padding; weights and biases uniform on
    ±1/√(fan-in), as PyTorch draws them. Between them stands no activation: the features are linear in the image.
    """
    dtype = np.dtype(jnp.result_type(float) if dtype is None else dtype)
    keys = jax.random.split(key, 4)
    kernels = [
        (
            _torch_uniform(keys[2 * i], (size, size, 1, 1), size**2, dtype),
            _torch_uniform(keys[2 * i + 1], (), size**2, dtype),
        )
        for i, size in enumerate((5, 3))
    ]

    @jax.jit
    def features(part: Array) -> Array:
        h = part.astype(dtype)[..., None]
        for kernel, bias in kernels:
            h = jax.lax.conv_general_dilated(h, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            h = h + bias
        return normalise_rows(h.reshape(len(part), -1))

    parts = np.array_split(images, max(1, -(-len(images) // 10_000)))
    return jnp.concatenate([features(jnp.asarray(part)) for part in parts])


def mnist25(
    key: PRNGKeyArray,
    n_train: int | None = None,
    n_test: int | None = None,
    *,
    path: str | Path | None = None,
    dtype: DTypeLike | None = None,
) -> TrainTest:
    """MNIST as a regression in R^25: `mnist_features` as inputs, one-hot digits in the first 10 coordinates as targets.

    Args:
        key: of the random convolutions.
        n_train, n_test: the first so many images; all when None.
        path: an archive with the arrays of MNIST; by default the data set `mnist` is found or downloaded.
        dtype: floating-point type; JAX's default when None.

    Raises:
        ValueError: more images asked for than there are.
        DataError: the archive cannot be read or is not MNIST.
    """
    archive = Path(path) if path is not None else MNIST.path("mnist.npz")
    arrays = _arrays(archive, ("x_train", "y_train", "x_test", "y_test"))

    def part(split: str, count: int | None) -> tuple[Array, Array]:
        images, digits = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if count is not None and not 1 <= count <= len(images):
            raise ValueError(f"n_{split}={count}; between 1 and the {len(images)} images of {archive} is needed")
        x = mnist_features(key, images[:count], dtype=dtype)
        return x, jax.nn.one_hot(digits[:count], x.shape[1], dtype=x.dtype)

    return TrainTest(*part("train", n_train), *part("test", n_test))


def _torch_uniform(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int, dtype: np.dtype) -> Array:
    return jax.random.uniform(key, shape, dtype, minval=-1, maxval=1) / math.sqrt(fan_in)


def cifar10(path: str | Path | None = None) -> TrainTest:
    """CIFAR-10: images (n, 32, 32, 3) uint8 and labels (n,) int32.

    Args:
        path: an archive .npz with `train_images`, `train_labels`, `test_images`, `test_labels` (a subset, for example),
            or the binary release (.tar.gz), which is read as it is; by default the data set `cifar10` is found or
            downloaded (170 MB).

    Raises:
        DataError: the file cannot be read or is neither of the two.
    """
    archive = Path(path) if path is not None else CIFAR10.path("cifar-10-binary.tar.gz")
    if archive.suffix == ".npz":
        names = ("train_images", "train_labels", "test_images", "test_labels")
        arrays = _arrays(archive, names)
        x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    else:
        _, x_train, y_train, x_test, y_test, _ = cifar_images(archive)
    return TrainTest(x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32))


def normalise_images(
    images: Shaped[Array, "*batch 32 32 3"] | UInt8[np.ndarray, "*batch 32 32 3"],
) -> Float[Array, "*batch 32 32 3"]:
    """Bytes 0 ... 255 as numbers, less the mean of each colour and divided by its standard deviation in CIFAR-10."""
    values = jnp.asarray(images, jnp.result_type(float)) / 255
    return (values - jnp.asarray(CIFAR_MEAN, values.dtype)) / jnp.asarray(CIFAR_SD, values.dtype)


def augment(key: PRNGKeyArray, images: Shaped[Array, "batch 32 32 3"]) -> Shaped[Array, "batch 32 32 3"]:
    """A random crop of each image, padded by 4 zeros on every side, mirrored with probability 1/2.

    Apply it to bytes, before `normalise_images`, to pad with black as torchvision does.
    """
    key_crop, key_flip = jax.random.split(key)
    count = images.shape[0]
    padded = jnp.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    corners: Int[Array, "batch 2"] = jax.random.randint(key_crop, (count, 2), 0, 9)
    flips = jax.random.bernoulli(key_flip, shape=(count,))

    def one(image: Array, corner: Array, flip: Array) -> Array:
        crop = jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (32, 32, 3))
        return jnp.where(flip, crop[:, ::-1], crop)

    return jax.vmap(one)(padded, corners, flips)


def _arrays(archive: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not archive.is_file():
        raise DataError(f"there is no file {archive}")
    arrays = load_npz(archive)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"{archive} lacks {', '.join(missing)}; it has {', '.join(arrays)}")
    return arrays
