"""Point clouds: a generated set of solids, and the user's own copy of ModelNet."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.core.data import DataError, load_npz

Number = float | int
SOLIDS = ("sphere", "cube", "cylinder", "cone", "torus", "tetrahedron")


class CloudData(NamedTuple):
    """A training and a test set of point clouds, each of which fills the unit ball."""

    name: str
    """Name of the data set."""
    train_points: Float[np.ndarray, "train points 3"]
    train_labels: Int[np.ndarray, " train"]
    test_points: Float[np.ndarray, "test points 3"]
    test_labels: Int[np.ndarray, " test"]
    classes: tuple[str, ...]
    """Names of the classes."""


def solids(
    key: PRNGKeyArray, train: int, test: int, points: int, *, noise: Number = 0.02, stretch: Number = 0.3
) -> CloudData:
    """Clouds of points on the surfaces of six solids, stretched along the axes, turned about the vertical, noisy.

    Args:
        key: of everything that is drawn.
        train, test: numbers of clouds, the classes in turn.
        points: points T of a cloud.
        noise: standard deviation of the noise added to every coordinate, where the cloud's radius is 1.
        stretch: each axis is scaled by a factor from U(1 - stretch, 1 + stretch).
    """
    labels = jnp.arange(train + test) % len(SOLIDS)
    keys = jax.random.split(key, train + test)
    draw = jax.jit(jax.vmap(lambda k, label: _cloud(k, label, points, noise, stretch)))
    clouds, classes = np.asarray(draw(keys, labels)), np.asarray(labels, np.int32)
    return CloudData("solids", clouds[:train], classes[:train], clouds[train:], classes[train:], SOLIDS)


def modelnet(path: str | Path, points: int = 1024, *, seed: int = 0) -> CloudData:
    """A copy of ModelNet10 or ModelNet40 that the user has, which cannot be downloaded for them.

    `path` is a folder `<class>/train/*.off` and `<class>/test/*.off` as it is distributed, of which `points` points
    are drawn from the surface of every mesh, or an .npz archive with the arrays `train_points` (N, T, 3),
    `train_labels` (N,), `test_points`, `test_labels` (and `classes`, their names). Clouds are centred and scaled to
    the unit ball.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        DataError: no class folders, a file that is no OFF mesh, a missing array.
    """
    path = Path(path)
    if path.is_dir():
        return _from_meshes(path, points, np.random.default_rng(seed))
    arrays = load_npz(path)
    names = ("train_points", "train_labels", "test_points", "test_labels")
    if missing := [name for name in names if name not in arrays]:
        raise DataError(f"{path} has no array {', '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    clouds = [in_unit_ball(np.asarray(arrays[name], np.float32)) for name in names[::2]]
    labels = [np.asarray(arrays[name], np.int32) for name in names[1::2]]
    classes = tuple(map(str, arrays.get("classes", np.arange(max(label.max() for label in labels) + 1))))
    return CloudData(path.stem, clouds[0], labels[0], clouds[1], labels[1], classes)


def in_unit_ball(clouds: Float[np.ndarray, "*clouds points 3"]) -> Float[np.ndarray, "*clouds points 3"]:
    """Clouds moved to mean 0 and scaled so that the farthest point has distance 1."""
    centred = clouds - clouds.mean(-2, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1).max(-1)[..., None, None], 1e-12)


def read_off(path: str | Path) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "triangles 3"]]:
    """Vertices and triangles of a mesh in the OFF format; faces with more corners are cut into triangles.

    Some files of ModelNet have their counts on the line of the word OFF, without a blank; they are read as well.

    Raises:
        DataError: the file is no OFF mesh, or ends early.
    """
    text = Path(path).read_text(encoding="ascii", errors="replace")
    lines = [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    if not lines or not lines[0].startswith("OFF"):
        raise DataError(f"{path} does not begin with OFF")
    words = " ".join([lines[0][3:], *lines[1:]]).split()
    try:
        vertices, faces = int(words[0]), int(words[1])
        end = 3 + 3 * vertices
        corners = np.array(words[3:end], np.float64).reshape(vertices, 3)
        triangles, place = [], end
        for _ in range(faces):
            sides = int(words[place])
            ring = [int(word) for word in words[place + 1 : place + 1 + sides]]
            triangles += [(ring[0], ring[i], ring[i + 1]) for i in range(1, sides - 1)]
            place += 1 + sides
            while place < len(words) and faces * 4 + end < len(words) and "." in words[place]:
                place += 1  # colours behind the corners
        mesh = np.array(triangles, np.int64).reshape(-1, 3)
        if not len(mesh) or mesh.min() < 0 or mesh.max() >= vertices:
            raise IndexError("a face names a vertex that is not there")
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} is no complete OFF mesh: {error}") from error
    return corners, mesh


def sample_surface(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int[np.ndarray, "triangles 3"],
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "count 3"]:
    """`count` points drawn uniformly from the surface of a mesh."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    total = areas.sum()
    share = areas / total if total > 0 else np.full(len(areas), 1 / len(areas))
    chosen = rng.choice(len(triangles), count, p=share)
    root, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return (1 - root) * a[chosen] + root * (1 - v) * b[chosen] + root * v * c[chosen]


def _from_meshes(path: Path, points: int, rng: np.random.Generator) -> CloudData:
    classes = tuple(sorted(folder.name for folder in path.iterdir() if (folder / "train").is_dir()))
    if not classes:
        raise DataError(f"{path} has no folders CLASS/train with .off files")
    clouds: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, name in enumerate(classes):
        for part in clouds:
            for file in sorted((path / name / part).glob("*.off")):
                clouds[part].append(sample_surface(*read_off(file), points, rng).astype(np.float32))
                labels[part].append(label)
    if not clouds["train"] or not clouds["test"]:
        raise DataError(f"{path}: .off files are needed in CLASS/train and in CLASS/test")
    train, test = (in_unit_ball(np.stack(clouds[part])) for part in clouds)
    return CloudData(
        path.name, train, np.array(labels["train"], np.int32), test, np.array(labels["test"], np.int32), classes
    )


def _cloud(key: PRNGKeyArray, label: Int[Array, ""], points: int, noise: Number, stretch: Number) -> Array:
    k_surface, k_stretch, k_turn, k_noise = jax.random.split(key, 4)
    u = jax.random.uniform(k_surface, (points, 3))
    cloud = jnp.stack([shape(u) for shape in _SURFACES])[label]
    cloud = cloud * jax.random.uniform(k_stretch, (3,), minval=1 - stretch, maxval=1 + stretch)
    angle = jax.random.uniform(k_turn, maxval=2 * jnp.pi)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    cloud = cloud @ jnp.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    cloud = cloud - cloud.mean(0)
    cloud = cloud / jnp.linalg.norm(cloud, axis=-1).max()
    cloud = cloud + noise * jax.random.normal(k_noise, cloud.shape)
    return cloud / jnp.linalg.norm(cloud, axis=-1).max()


def _ring(u: Array, radius: Array | float, height: Array) -> Array:
    return jnp.stack([radius * jnp.cos(2 * jnp.pi * u), radius * jnp.sin(2 * jnp.pi * u), height], -1)


def _sphere(u: Array) -> Array:
    z = 2 * u[:, 1] - 1
    return _ring(u[:, 0], jnp.sqrt(1 - z**2), z)


def _cube(u: Array) -> Array:
    side = jnp.floor(6 * u[:, 2]).astype(int)
    flat = jnp.stack([2 * u[:, 0] - 1, 2 * u[:, 1] - 1, jnp.where(side % 2 == 0, 1.0, -1.0)], -1)
    return jnp.take_along_axis(flat, (jnp.arange(3) + side[:, None] // 2) % 3, axis=1)


def _cylinder(u: Array) -> Array:
    wall = u[:, 2] < 2 / 3  # areas: 4 pi for the wall of height 2, pi for each lid
    radius = jnp.where(wall, 1.0, jnp.sqrt(u[:, 1]))
    height = jnp.where(wall, 2 * u[:, 1] - 1, jnp.where(u[:, 2] < 5 / 6, 1.0, -1.0))
    return _ring(u[:, 0], radius, height)


def _cone(u: Array) -> Array:
    root = jnp.sqrt(u[:, 1])
    side = u[:, 2] < 5**0.5 / (5**0.5 + 1)  # slant height sqrt(5), base of area pi
    return _ring(u[:, 0], root, jnp.where(side, 1 - 2 * root, -1.0))


def _torus(u: Array) -> Array:
    tube = 2 * jnp.pi * u[:, 1]
    return _ring(u[:, 0], 1 + 0.4 * jnp.cos(tube), 0.4 * jnp.sin(tube))


def _tetrahedron(u: Array) -> Array:
    corners = jnp.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], u.dtype)
    left_out = jnp.floor(4 * u[:, 2]).astype(int)
    a, b, c = (corners[(left_out + step) % 4] for step in (1, 2, 3))
    root, v = jnp.sqrt(u[:, :1]), u[:, 1:2]
    return (1 - root) * a + root * (1 - v) * b + root * v * c


_SURFACES = (_sphere, _cube, _cylinder, _cone, _torus, _tetrahedron)
