"""Samples of a model's own randomness, combined into one prediction and one log-likelihood per example."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Aggregate = Literal["mean_logits", "mean_logprob", "mean_prob"]
"""Average in function space (our choice), of log-probabilities (a lower bound), or of probabilities."""
Loss = Literal["cross_entropy", "gaussian"] | Callable[[Any, Any], Any]
Loglik = Callable[[Any, Any, Any, PRNGKeyArray], Float[Array, " n"]]
"""`(params, hyper, batch, key) -> (n,)`: log-density of each example of the batch (x, y), in nats."""


def check_aggregate(how: str) -> None:
    """Raise a ValueError unless the rule is known."""
    if how not in get_args(Aggregate):
        raise ValueError(f"aggregate={how!r} is unknown; one of {', '.join(map(repr, get_args(Aggregate)))} is needed")


def aggregate_logits(
    logits: Float[Array, "samples batch classes"], how: Aggregate = "mean_logits"
) -> Float[Array, "batch classes"]:
    """Log-probabilities of the classes from S samples of logits.

    "mean_logits": log softmax of the mean logits. "mean_prob": log of the mean probability. "mean_logprob": the mean
    of the log-probabilities, which is a lower bound: its exponentials sum to less than one, so normalising it anew
    would make it "mean_logits".

    Raises:
        ValueError: an unknown rule.
    """
    check_aggregate(how)
    if how == "mean_logits":
        return jax.nn.log_softmax(logits.mean(0))
    return _combined(jax.nn.log_softmax(logits), how)


def _combined(logprob: Array, how: str) -> Array:
    """Mean of log-probabilities, or log of the mean of probabilities, over the first axis."""
    if how == "mean_logprob":
        return logprob.mean(0)
    return jax.nn.logsumexp(logprob, axis=0) - math.log(len(logprob))


@dataclass(frozen=True)
class Averaged:
    """A network under samples of its randomness; made by `averaged`, called as `predict(params, hyper, x, key)`."""

    apply: Callable[..., Any]
    augment: Callable[..., Any] | None
    samples: int
    aggregate: Aggregate
    classes: bool

    def outputs(self, params: Any, hyper: Any, x: Any, key: PRNGKeyArray) -> Float[Array, "samples batch *outputs"]:
        """What the network gives for each sample; the samples are folded into its batch."""
        for_augment, for_network = jax.random.split(key)
        if self.augment is None:
            drawn = jax.tree.map(lambda a: jnp.broadcast_to(a, (self.samples, *jnp.shape(a))), x)
        else:
            drawn = self.augment(hyper, x, for_augment, self.samples)
        folded = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), drawn)
        out = self.apply(params, hyper, folded, for_network)
        return out.reshape(self.samples, -1, *out.shape[1:])

    def __call__(self, params: Any, hyper: Any, x: Any, key: PRNGKeyArray) -> Float[Array, "batch *outputs"]:
        """Log-probabilities of the classes, see `aggregate_logits`; without classes, the mean output."""
        out = self.outputs(params, hyper, x, key)
        return aggregate_logits(out, self.aggregate) if self.classes else out.mean(0)


def averaged(
    apply: Callable[..., Any],
    augment: Callable[..., Any] | None = None,
    samples: int = 1,
    aggregate: Aggregate = "mean_logits",
    *,
    classes: bool = True,
) -> Averaged:
    """A prediction that averages over the model's randomness, the same way in training, out of sample and later.

    Args:
        apply: the network, `apply(params, hyper, x, key) -> outputs`, for any number of examples.
        augment: `augment(hyper, x, key, samples)`, x with a leading axis of samples; see `split_input`. None
            repeats x, for networks that draw by themselves (dropout).
        samples: S.
        aggregate: how the samples are combined.
        classes: the outputs are logits; False: they are values, of which the mean is predicted.

    Raises:
        ValueError: no samples, an unknown rule.
    """
    check_aggregate(aggregate)
    if samples < 1:
        raise ValueError(f"samples={samples}; at least one sample is needed")
    return Averaged(apply, augment, samples, aggregate, classes)


def loglik_of(
    predict: Callable[..., Any],
    loss: Loss = "cross_entropy",
    *,
    scale: float | int | Callable[[Any], Any] = 1.0,
) -> Loglik:
    """The log-density of each example, in nats, under a prediction.

    Args:
        predict: `predict(params, hyper, x, key) -> outputs`. From `averaged`, its rule combines the samples:
            "mean_logits" takes the density at the mean output, "mean_logprob" the mean of the log-densities,
            "mean_prob" the log of the mean density.
        loss: "cross_entropy" (logits and integer classes), "gaussian" (values and targets of the same shape), or a
            function `loss(outputs, y) -> (n,)` that gives each example's negative log-density in nats.
        scale: the temperature of the softmax or the standard deviation σ; a number, or a function of `hyper`, so
            that it can be learned. The normaliser of the density is included.

    Returns:
        `loglik(params, hyper, (x, y), key) -> (n,)`.

    Raises:
        ValueError: an unknown loss; when traced, a loss that does not give one number for each example.
    """
    if not callable(loss) and loss not in ("cross_entropy", "gaussian"):
        raise ValueError(f"loss={loss!r} is unknown; 'cross_entropy', 'gaussian' or a function is needed")
    if callable(loss) and scale != 1.0:
        raise ValueError("scale is for 'cross_entropy' and 'gaussian'; a function has to scale by itself")

    def density(out: Array, y: Any, hyper: Any) -> Array:
        if callable(loss):
            each = -loss(out, y)
            if jnp.ndim(each) != 1 or len(each) != len(out):
                raise ValueError(
                    f"the loss gave the shape {jnp.shape(each)} for {len(out)} examples; one number for each is needed"
                )
            return each
        width = scale(hyper) if callable(scale) else scale
        known = cross_entropy if loss == "cross_entropy" else gaussian
        return known(out, jnp.asarray(y), width)

    def loglik(params: Any, hyper: Any, batch: Any, key: PRNGKeyArray) -> Array:
        x, y = batch
        if not isinstance(predict, Averaged):
            return density(predict(params, hyper, x, key), y, hyper)
        outputs = predict.outputs(params, hyper, x, key)
        if predict.aggregate == "mean_logits":
            return density(outputs.mean(0), y, hyper)
        return _combined(jax.vmap(lambda out: density(out, y, hyper))(outputs), predict.aggregate)

    return loglik


def cross_entropy(logits: Array, y: Array, temperature: Any) -> Array:
    """log softmax(logits / temperature) at class y, (n,)."""
    if logits.ndim != 2 or jnp.shape(y) != logits.shape[:1] or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"logits have the shape {logits.shape} and the classes the shape {jnp.shape(y)} and dtype {y.dtype}; "
            "(n, C) and (n,) integers are needed"
        )
    logprob = jax.nn.log_softmax(logits / temperature)
    return jnp.take_along_axis(logprob, y[:, None], axis=1)[:, 0]


def gaussian(mean: Array, y: Array, sigma: Any) -> Array:
    """log N(y; mean, sigma² I), summed over all axes but the first, (n,)."""
    if mean.shape != jnp.shape(y):
        raise ValueError(f"outputs have the shape {mean.shape}, but targets {jnp.shape(y)}; they must agree")
    each = -0.5 * ((y - mean) / sigma) ** 2 - jnp.log(sigma) - 0.5 * math.log(2 * math.pi)
    return each.reshape(len(y), -1).sum(1)
