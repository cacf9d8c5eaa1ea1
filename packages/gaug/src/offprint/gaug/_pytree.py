"""Dataclasses as pytrees whose leaves may be anything while JAX takes them apart."""

import dataclasses
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def pytree(cls: type[T]) -> type[T]:
    """Register a frozen dataclass; fields with the metadata `static` are not leaves.

    As `jax.tree_util.register_dataclass`, except that JAX's own copies pass the constructor by: their leaves may be
    batched arrays, None or placeholders, which a constructor that checks its types would refuse.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = [f.name for f in fields if not f.metadata.get("static")]
    static = [f.name for f in fields if f.metadata.get("static")]

    def flatten_with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        children = [(jax.tree_util.GetAttrKey(name), getattr(tree, name)) for name in names]
        return children, tuple(getattr(tree, name) for name in static)

    def unflatten(of_static: tuple[Any, ...], children: Any) -> Any:
        tree = object.__new__(cls)
        for name, value in (*zip(names, children), *zip(static, of_static)):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
    return cls
