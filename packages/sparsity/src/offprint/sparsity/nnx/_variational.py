"""Layers with a Gaussian per weight: sparse variational dropout (`molchanov2017vd`)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from offprint.sparsity._variational import kept_weights, local_reparameterisation, log_alpha_of, variational_kl
from offprint.sparsity.nnx._learned import Inputs, Stochastic


class _Variational(Stochastic):
    """The variances; the kernel holds the means θ, and `log_sigma2` is a parameter of its shape."""

    log_sigma2: nnx.Param

    def _start(
        self,
        log_sigma2_init: float | int,
        threshold: float | int,
        exact_kl: bool,
        deterministic: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.log_sigma2 = nnx.Param(jnp.full_like(self.kernel[...], log_sigma2_init))
        self.log_alpha_threshold = threshold
        self.exact_kl = exact_kl
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def log_alpha(self) -> Float[Array, "..."]:
        """log α of every weight, clipped to ± 8."""
        return log_alpha_of(self.kernel[...], self.log_sigma2[...])

    def penalty(self) -> Float[Array, ""]:
        """The KL divergence from the log-uniform prior, summed over the weights; see `variational_loss`."""
        return variational_kl(self.kernel[...], self.log_sigma2[...], exact=self.exact_kl)

    def kept(self) -> Bool[Array, "..."]:
        """Where log α is below the threshold."""
        return kept_weights(self.kernel[...], self.log_sigma2[...], self.log_alpha_threshold)

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """The means of the weights that are kept, and the bias."""
        return jnp.where(self.kept(), self.kernel[...], 0), self._bias()

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """A draw of the output in training (one per element, by local reparameterisation); in evaluation the means."""
        if self.deterministic:
            return self._evaluate(inputs, out_sharding)
        mean = self._with(self.kernel[...], self._bias(), inputs, out_sharding)
        variance = self._with(jnp.exp(self.log_sigma2[...]), None, jnp.square(inputs), out_sharding)
        return local_reparameterisation(mean, variance, jax.random.normal(self.rngs(), mean.shape, mean.dtype))


class VariationalLinear(_Variational, nnx.Linear):
    """`nnx.Linear` whose weights learn how noisy they may be; those that are only noise are removed in evaluation.

    The loss is `variational_loss(cross_entropy, penalty(model), num_data, kl_ramp(step, ...))`.

    Args:
        in_features, out_features: sizes.
        log_sigma2_init: initial log σ². The paper's -10 suits small networks; ResNet-50 needed -15 (at -20 nothing
            became sparse).
        threshold: a weight is removed where log α is at least this.
        exact_kl: the exact KL instead of the paper's fit with three constants.
        deterministic: start in evaluation mode.
        rngs: `params` for the initial parameters, `dropout` for the noise.
        **options: further arguments of `nnx.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        log_sigma2_init: float | int = -10.0,
        threshold: float | int = 3.0,
        exact_kl: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Linear.__init__(self, in_features, out_features, rngs=rngs, **options)
        self._start(log_sigma2_init, threshold, exact_kl, deterministic, rngs)


class VariationalConv(_Variational, nnx.Conv):
    """`nnx.Conv` whose weights learn how noisy they may be; see `VariationalLinear`.

    The noise is drawn for every output position on its own, as in the authors' code: the mean and variance are those of
    a random kernel, the correlation between positions is not.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = 1,
        *,
        log_sigma2_init: float | int = -10.0,
        threshold: float | int = 3.0,
        exact_kl: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Conv.__init__(self, in_features, out_features, kernel_size, strides, rngs=rngs, **options)
        self._start(log_sigma2_init, threshold, exact_kl, deterministic, rngs)
