"""Hyperparameters that enter the forward pass: masks, dropout rates, noise scales, augmentation ranges."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.network_partitioning._affine import (
    GENERATORS,
    Basis,
    check_basis,
    coefficients,
    combine,
    expm3,
    generators,
    half_ranges,
    raw_from_half_ranges,
)
from offprint.network_partitioning._resample import resample

Number = float | int
NEAREST = 1e-6
"""Uniforms of the concrete relaxation keep this distance from 0 and 1."""


class Hyper(nnx.Variable):  # type: ignore[type-arg]
    """A variable that is learned from out-of-sample predictions instead of the training loss."""


class Constant(nnx.Variable):  # type: ignore[type-arg]
    """A variable that nothing learns."""


def split_hyper(model: nnx.Module, *filters: Any) -> tuple[Any, PyTree, PyTree, PyTree]:
    """A model taken apart: what it is, its weights, its hyperparameters, and everything else.

    Args:
        model: an NNX module.
        *filters: NNX filters of further variables that become hyperparameters, such as a whole feature extractor:
            `nnx.PathContains("stem")`. Only `nnx.Param` and `Hyper` variables are asked.

    Returns:
        (graphdef, params, hyper, rest) for `nnx.merge(graphdef, params, hyper, rest)`. Of a variable that stands in
        several places only one counts, so that nothing is weight and hyperparameter at once.

    Raises:
        ValueError: the filters leave no weights, or one of them matches nothing.
    """
    chosen = tuple(nnx.filterlib.to_predicate(one) for one in filters)
    for given, holds in zip(filters, chosen):
        if not any(isinstance(v, nnx.Param | Hyper) and holds(path, v) for path, v in nnx.iter_graph(model)):
            raise ValueError(f"the filter {given!r} matches no weight of {type(model).__name__}")

    def is_hyper(path: Any, value: Any) -> bool:
        kind = getattr(value, "type", type(value))
        return issubclass(kind, Hyper) or (issubclass(kind, nnx.Param) and any(holds(path, value) for holds in chosen))

    graphdef, hyper, params, rest = nnx.split(model, is_hyper, nnx.Param, ...)
    if not jax.tree.leaves(params):
        raise ValueError(
            f"every weight of {type(model).__name__} would be a hyperparameter; some must be left to be trained"
        )
    return graphdef, params, hyper, rest


Augment = Callable[[Any, Any, PRNGKeyArray, int], Any]
"""`(hyper, x, key, samples) -> x` with a leading axis of samples."""


def split_input(module: nnx.Module) -> tuple[Augment, PyTree]:
    """An input module (`ConcreteMask`, `AffineAugmentation`, one of your own) as a function and its hyperparameters.

    Returns:
        `augment(hyper, x, key, samples)`, which is `module(x, key, samples)`, and the `Hyper` variables of `module`.
    """
    graphdef, hyper, rest = nnx.split(module, Hyper, ...)

    def augment(hyper: Any, x: Any, key: PRNGKeyArray, samples: int) -> Any:
        return nnx.merge(graphdef, hyper, rest, copy=True)(x, key, samples)

    return augment, hyper


def concrete(phi: Array | np.ndarray, u: Array | np.ndarray, temperature: Number) -> Array:
    """z = sigmoid((φ + log u - log(1 - u)) / τ), a Bernoulli(sigmoid(φ)) draw made smooth; u is kept off 0 and 1."""
    u = jnp.clip(u, NEAREST, 1 - NEAREST)
    return jax.nn.sigmoid((phi + jnp.log(u) - jnp.log1p(-u)) / temperature)


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
    """In float32 at least: half precision has too few numbers near 0 and 1."""
    return jax.random.uniform(key, shape, jnp.promote_types(dtype, jnp.float32))


def _check_temperature(temperature: Number) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be positive (0.5 is usual)")


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise ValueError(f"samples={samples}; at least one sample is needed")


class ConcreteMask(nnx.Module):
    """Learned selection of inputs: feature j is kept with probability sigmoid(φⱼ), by the concrete relaxation.

    Called as `mask(x, key, samples)`; every sample of every example draws its own mask.

    Args:
        features: number of features D, the last axis of x.
        temperature: τ > 0 of the relaxation (0.5 is our choice).
        init: φ at the start, a number or (D,).
        dtype: of φ.

    Raises:
        ValueError: no features, a temperature that is not positive, `init` of another shape.
    """

    def __init__(self, features: int, *, temperature: Number = 0.5, init: Any = 0.0, dtype: Any = None) -> None:
        _check_temperature(temperature)
        if features < 1 or np.shape(init) not in ((), (features,)):
            raise ValueError(
                f"features={features} and init of shape {np.shape(init)}; at least one feature and one number, or one "
                "for each feature, are needed"
            )
        self.temperature = temperature
        self.phi = Hyper(jnp.broadcast_to(jnp.asarray(init, dtype or float), (features,)))

    @property
    def keep_probability(self) -> Float[Array, " features"]:
        """sigmoid(φ)."""
        return jax.nn.sigmoid(self.phi[...])

    def __call__(
        self, x: Float[Array | np.ndarray, "batch features"], key: PRNGKeyArray, samples: int = 1, *, hard: bool = False
    ) -> Float[Array, "samples batch features"]:
        """x z for every sample; with `hard`, z = 1 where φ > 0 and 0 elsewhere, without noise or gradient.

        Raises:
            ValueError: another number of features; no samples.
        """
        _check_samples(samples)
        phi = self.phi[...]
        if x.shape[-1] != len(phi):
            raise ValueError(f"x has {x.shape[-1]} features (shape {x.shape}), but the mask has {len(phi)}")
        shape = (samples, *x.shape)
        z = (phi > 0) if hard else concrete(phi, _uniform(key, shape, phi.dtype), self.temperature)
        return jnp.broadcast_to(jnp.asarray(x) * z.astype(x.dtype), shape)


class ConcreteDropout(nnx.Module):
    """Dropout with a learned rate p = 1 - sigmoid(φ): h z / (1 - p), z from the concrete relaxation.

    Args:
        rate: p at the start, in (0, 1).
        temperature: τ > 0 of the relaxation (0.5 is our choice).
        dtype: of φ.

    Raises:
        ValueError: a rate outside (0, 1), a temperature that is not positive.
    """

    def __init__(self, rate: Number = 0.1, *, temperature: Number = 0.5, dtype: Any = None) -> None:
        _check_temperature(temperature)
        if not 0 < rate < 1:
            raise ValueError(f"rate={rate}; a rate between 0 and 1, without the ends, is needed to learn from")
        self.temperature = temperature
        self.phi = Hyper(jnp.asarray(math.log1p(-rate) - math.log(rate), dtype or float))

    @property
    def rate(self) -> Float[Array, ""]:
        """p = 1 - sigmoid(φ)."""
        return jax.nn.sigmoid(-self.phi[...])

    def __call__(self, h: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """Features of the same shape and dtype, every one with its own draw."""
        phi = self.phi[...]
        z = concrete(phi, _uniform(key, h.shape, phi.dtype), self.temperature)
        return h * (z / jax.nn.sigmoid(phi)).astype(h.dtype)


class LearnedScale(nnx.Module):
    """A positive number, softplus(raw): the noise of a Gaussian likelihood, or the temperature of a softmax.

    Args:
        init: the value at the start, positive.
        dtype: of the raw parameter.

    Raises:
        ValueError: `init` is not positive.
    """

    def __init__(self, init: Number = 1.0, *, dtype: Any = None) -> None:
        if not init > 0:
            raise ValueError(f"init={init} must be positive")
        self.raw = Hyper(jnp.asarray(init + math.log(-math.expm1(-init)), dtype or float))

    @property
    def value(self) -> Float[Array, ""]:
        """softplus(raw)."""
        return jax.nn.softplus(self.raw[...])

    def __call__(self) -> Float[Array, ""]:
        """softplus(raw)."""
        return self.value


class AffineAugmentation(nnx.Module):
    """Random affine maps of images with learned ranges: called as `augment(images, key, samples)`.

    Args:
        basis: see `affine_algebra`; "softplus_half" is our choice.
        generators: names of those that act, all six of `GENERATORS[basis]` when None.
        init: raw parameters at the start: a number, or one for each acting generator.
        align_corners: see `resample`.
        shared: one map for all images of a sample. No quicker on the CPU, and the gradient is noisier.
        dtype: of the raw parameters.

    `AffineAugmentation.fixed` makes one with ranges that are given, not learned.

    Raises:
        ValueError: an unknown basis or generator, `init` of another shape.
    """

    def __init__(
        self,
        basis: Basis = "softplus_half",
        *,
        generators: Sequence[str] | None = None,
        init: Any = -3.0,
        align_corners: bool = True,
        shared: bool = False,
        dtype: Any = None,
    ) -> None:
        check_basis(basis)
        names = GENERATORS[basis]
        active = names if generators is None else tuple(generators)
        if not active or len(set(active)) != len(active) or not set(active) <= set(names):
            raise ValueError(f"generators={active}; some of {names}, each at most once, are needed for {basis!r}")
        if np.shape(init) not in ((), (len(active),)):
            raise ValueError(
                f"init has the shape {np.shape(init)}; one number, or {len(active)} (one for each of "
                f"{', '.join(active)}), is needed"
            )
        self.basis = basis
        self.active = tuple(names.index(name) for name in active)
        self.align_corners, self.shared = align_corners, shared
        self.raw: nnx.Variable[Any] = Hyper(jnp.broadcast_to(jnp.asarray(init, dtype or float), (len(active),)))

    @classmethod
    def fixed(
        cls, ranges: dict[str, Number], *, align_corners: bool = True, shared: bool = False, dtype: Any = None
    ) -> "AffineAugmentation":
        """With half ranges by generator ("rotate" in radians and so on), which nothing learns.

        Raises:
            ValueError: an unknown generator, a negative range, a rotation range above π.
        """
        for name, value in ranges.items():
            if not 0 <= value < math.inf or (name == "rotate" and value > math.pi + 1e-6):
                raise ValueError(
                    f"the half range of {name!r} is {value}; a number that is not negative is needed, for 'rotate' at "
                    "most pi, which is every angle"
                )
        made = cls(
            "lila",
            generators=tuple(ranges),
            init=np.array(list(ranges.values()), float),
            align_corners=align_corners,
            shared=shared,
            dtype=dtype,
        )
        made.raw = Constant(made.raw[...])
        return made

    @property
    def half_ranges(self) -> Float[Array, "6"]:
        """The half range of each of the six generators, 0 for those that do not act; see `half_ranges`.

        Warns when a learned rotation range is above π: such angles come round again, so that it is harmless.
        """
        values = half_ranges(self._raw_six(), self.basis)
        inactive = np.array([i not in self.active for i in range(6)])
        values = jnp.where(inactive, 0, values)
        if not isinstance(values, jax.core.Tracer) and values[2] > math.pi + 1e-6:
            warnings.warn(
                f"the learned rotation range of {float(values[2]):.3f} is above pi; read it as every angle",
                stacklevel=2,
            )
        return values

    def set_half_ranges(self, ranges: Float[Array | np.ndarray, "6"]) -> None:
        """Set the raw parameters of the acting generators so that `half_ranges` are these."""
        acting = np.array(self.active)
        filled = jnp.ones(6).at[acting].set(jnp.asarray(ranges)[acting])
        self.raw[...] = raw_from_half_ranges(filled, self.basis)[acting].astype(self.raw[...].dtype)

    def _raw_six(self) -> Array:
        """The raw parameters in their places among six, by a sum: its gradient needs no scatter."""
        places = np.eye(6)[list(self.active)]
        return (self.raw[...][:, None] * jnp.asarray(places, self.raw[...].dtype)).sum(0)

    def matrices(self, key: PRNGKeyArray, samples: int, batch: int) -> Float[Array, "samples maps 3 3"]:
        """The drawn maps (S, N, 3, 3), or (S, 1, 3, 3) when shared."""
        raw = self.raw[...]
        if self.basis == "lila":
            raw = jnp.where(np.array(self.active) == 2, jnp.clip(raw, -math.pi, math.pi), raw)
        u = _uniform(key, (samples, 1 if self.shared else batch, len(self.active)), raw.dtype)
        return expm3(combine(coefficients(raw, u, self.basis), generators(self.basis)[list(self.active)]))

    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width channels"], key: PRNGKeyArray, samples: int = 4
    ) -> Float[Array, "samples batch height width channels"]:
        """Every image under `samples` maps of its own.

        Raises:
            ValueError: images that are not floating NHWC (see `resample`); no samples.
        """
        _check_samples(samples)
        return resample(images, self.matrices(key, samples, len(images)), align_corners=self.align_corners)
