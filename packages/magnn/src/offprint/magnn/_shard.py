"""Item tables divided over several devices."""

from typing import Any, TypeVar

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

ITEM_TABLES = ("E", "Q", "b", "adjacency")
"""Names that models give to what has a row for each item: input and output vectors, bias, the dense item graph."""

Model = TypeVar("Model", bound=nnx.Module)


def shard_items(model: Model, mesh: Mesh) -> Model:
    """A copy of a model whose item tables (E, Q, b and a dense item graph) are divided over a mesh's first axis.

    Everything else stands on every device. Training with `fit(..., mesh=mesh)` divides them in the same way.

    Args:
        model: MAGNN, or a baseline.
        mesh: a mesh of devices.

    Raises:
        ValueError: the number of items is no multiple of the number of devices.
    """
    num_items, axis = getattr(model, "num_items"), mesh.axis_names[0]  # noqa: B009
    devices = mesh.shape[axis]
    if num_items % devices:
        raise ValueError(
            f"{num_items} items cannot be divided evenly over {devices} devices; make the model for "
            f"num_items={-(-num_items // devices) * devices}, or use another mesh"
        )
    mesh = _auto(mesh)
    graphdef, state = nnx.split(model)
    split, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec(axis), PartitionSpec()))

    def place(path: Any, leaf: Any) -> Any:
        return jax.device_put(leaf, split if _is_item_table(path, leaf, num_items) else whole)

    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(place, state))


def constrain_items(state: PyTree, mesh: Mesh | None, num_items: int) -> PyTree:
    """Inside a traced step: keep item tables, and the optimiser's moments of them, divided over the mesh."""
    if mesh is None or num_items % mesh.shape[mesh.axis_names[0]]:
        return state
    mesh = _auto(mesh)
    split = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))

    def constrain(path: Any, leaf: Any) -> Any:
        return jax.lax.with_sharding_constraint(leaf, split) if _is_item_table(path, leaf, num_items) else leaf

    return jax.tree_util.tree_map_with_path(constrain, state)


def _is_item_table(path: Any, leaf: Any, num_items: int) -> bool:
    names = {getattr(part, "key", None) for part in path} & set(ITEM_TABLES)
    return bool(names) and leaf.ndim > 0 and leaf.shape[0] == num_items


def _auto(mesh: Mesh) -> Mesh:
    """The mesh with axes of type Auto, whatever was given."""
    return Mesh(mesh.devices, mesh.axis_names)
