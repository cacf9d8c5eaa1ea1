"""What concerns the learned layers of a whole model: the total penalty, the masks, the plain model in the end."""

from typing import Any, TypeVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._tree import map_named, named_leaves
from offprint.sparsity.nnx._learned import Learned, options_of
from offprint.sparsity.nnx._masked import MaskedConv, MaskedLinear, as_mask

Model = TypeVar("Model", bound=nnx.Module)


def penalty(model: nnx.Module) -> Float[Array, ""]:
    """The sum of the penalties of the learned layers of a model: expected weights (hard concrete), KL (variational),
    open gates (continuous). A layer that occurs twice counts once.

    Raises:
        ValueError: the model has no learned layer.
    """
    return sum(layer.penalty() for layer in _learned(model).values())  # type: ignore[return-value]


def learned_masks(model: nnx.Module) -> PyTree:
    """The masks that the learned layers have arrived at, for the parameters of `harden(model)`: `None` elsewhere.

    Raises:
        ValueError: the model has no learned layer.
    """
    return harden(model)[1]


def harden(model: Model) -> tuple[Model, PyTree]:
    """The model with every learned layer replaced by the `nnx.Linear` or `nnx.Conv` that it is in evaluation.

    The zeros are exact, and the model no longer depends on this package: for compaction, sparse execution, or further
    training with the masks held.

    Returns:
        The new model (a copy: nothing is shared with the old one), and masks with the structure of its
        `nnx.state(model, nnx.Param)`, True where a weight is kept and `None` for leaves without a mask.

    Raises:
        ValueError: the model has no learned layer.
    """
    kept = {"/".join((path, "kernel")).lstrip("/"): layer.kept() for path, layer in _learned(model).items()}

    def replace(path: tuple[Any, ...], node: Any) -> Any:
        del path
        return node.to_plain() if isinstance(node, Learned) else node

    new = nnx.recursive_map(replace, nnx.clone(model))
    return new, map_named(lambda path, leaf: kept.get(path), nnx.state(new, nnx.Param))


def masked(model: Model, masks: PyTree) -> Model:
    """The model with a `MaskedLinear` or `MaskedConv` in place of every `nnx.Linear` or `nnx.Conv` that has a mask.

    Args:
        model: any NNX model; it is copied.
        masks: with the structure of `nnx.state(model, nnx.Param)`, as `make_masks` and `harden` give them.

    Raises:
        ValueError: a mask for something that is not the kernel of an `nnx.Linear` or `nnx.Conv`; a mask of another
            shape.
    """
    wanted = {path: mask for path, mask in named_leaves(masks) if mask is not None}
    found = set()

    def replace(path: tuple[Any, ...], node: Any) -> Any:
        name = "/".join((*map(str, path), "kernel"))
        if type(node) not in (nnx.Linear, nnx.Conv) or name not in wanted:
            return node
        found.add(name)
        kind = MaskedConv if isinstance(node, nnx.Conv) else MaskedLinear
        layer = kind(**options_of(node), mask=wanted[name], rngs=nnx.Rngs(0))
        layer.kernel, layer.bias = node.kernel, node.bias
        fixed = getattr(node, "mask", None)
        if fixed is not None:  # of nnx.Conv itself
            layer.kernel[...] = layer.kernel[...] * jnp.asarray(fixed, layer.kernel[...].dtype)
            layer.keep[...] = layer.keep[...] & (jnp.asarray(fixed) != 0)
        return layer

    new = nnx.recursive_map(replace, nnx.clone(model))
    if left := sorted(set(wanted) - found):
        raise ValueError(
            f"masks are given for {', '.join(left)}, but only kernels of nnx.Linear and nnx.Conv can be masked; those "
            f"masked are {', '.join(sorted(found)) or 'none'}"
        )
    return new


def set_masks(model: nnx.Module, masks: PyTree) -> None:
    """Give the masked layers of a model new masks, in place; a layer without one keeps what it has.

    Args:
        model: with `MaskedLinear` or `MaskedConv` layers.
        masks: with the structure of `nnx.state(model, nnx.Param)`.

    Raises:
        ValueError: a mask for what is no masked layer; a mask of another shape.
    """
    layers = {
        "/".join((path, "kernel")).lstrip("/"): layer
        for path, layer in _modules(model).items()
        if isinstance(layer, MaskedLinear | MaskedConv)
    }
    for path, mask in named_leaves(masks):
        if mask is None:
            continue
        if path not in layers:
            raise ValueError(f"{path} is not the kernel of a masked layer; those are {', '.join(layers) or 'none'}")
        layers[path].keep[...] = as_mask(mask, layers[path].kernel.shape)


def _modules(model: nnx.Module) -> dict[str, nnx.Module]:
    return {"/".join(map(str, path)): module for path, module in nnx.iter_modules(model)}


def _learned(model: nnx.Module) -> dict[str, Learned]:
    layers: dict[str, Learned] = {}
    layers |= {path: module for path, module in _modules(model).items() if isinstance(module, Learned)}
    if not layers:
        raise ValueError(
            "the model has no learned sparse layer, such as HardConcreteLinear, VariationalConv or STRLinear"
        )
    return layers
