"""Losses by their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn import MAGNN, Batch, bce_loss, bpr_loss, sampled_softmax_loss, softmax_loss
from offprint.magnn._loss import batch_loss

POS, NEG = (jax.random.normal(jax.random.key(k), (4, 3)) for k in range(2))
MASK = jnp.array([[True, True, False], [True, True, True], [False, False, False], [False, True, True]])


def log_sigmoid(x):
    return -np.log1p(np.exp(-np.asarray(x)))


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (bpr_loss, -log_sigmoid(POS - NEG)),
        (bce_loss, -log_sigmoid(POS) - np.log(1 - 1 / (1 + np.exp(-np.asarray(NEG))))),
    ],
)
def test_pairwise_losses(loss, terms):
    np.testing.assert_allclose(loss(POS, NEG), terms.sum(), rtol=1e-12)
    np.testing.assert_allclose(loss(POS, NEG, reduction="mean"), terms.mean(), rtol=1e-12)
    np.testing.assert_allclose(loss(POS, NEG, mask=MASK), terms[MASK].sum(), rtol=1e-12)
    np.testing.assert_allclose(loss(POS, NEG, mask=MASK, reduction="mean"), terms[MASK].mean(), rtol=1e-12)


def test_bpr_does_not_saturate():
    value, grad = jax.value_and_grad(lambda x: bpr_loss(x, jnp.zeros(1)))(jnp.array([-200.0]))
    np.testing.assert_allclose([value, grad[0]], [200, -1])


def test_the_mean_over_no_target_is_zero():
    assert bpr_loss(POS, NEG, mask=jnp.zeros((4, 3), bool), reduction="mean") == 0


def test_softmax_is_cross_entropy_and_padding_counts_nothing():
    scores, targets = jax.random.normal(jax.random.key(2), (3, 6)), jnp.array([[5, 0], [-1, 2], [-1, -1]])
    log_p = np.asarray(jax.nn.log_softmax(scores, axis=1))
    terms = -np.array([log_p[0, 5], log_p[0, 0], log_p[1, 2]])
    np.testing.assert_allclose(softmax_loss(scores, targets), terms.sum(), rtol=1e-12)
    np.testing.assert_allclose(softmax_loss(scores, targets, reduction="mean"), terms.mean(), rtol=1e-12)


def test_sampled_softmax_with_every_negative_drawn_once_is_the_softmax():
    scores = jax.random.normal(jax.random.key(3), (4, 7))
    exact = softmax_loss(scores, jnp.full((4, 1), 2))
    negatives = jnp.delete(scores, 2, axis=1)
    np.testing.assert_allclose(sampled_softmax_loss(scores[:, 2:3], negatives, -np.log(6.0)), exact, rtol=1e-12)


def test_the_correction_makes_the_denominator_unbiased():
    """Drawn in proportion to any q: the mean of sum_k exp(neg_k) / (K q_k) is the sum over all negatives."""
    scores, K = jax.random.normal(jax.random.key(4), (8,)), 5
    q = jax.nn.softmax(jax.random.normal(jax.random.key(5), (8,)))
    drawn = jax.random.choice(jax.random.key(6), 8, (200_000, K), p=q)
    zero = jnp.zeros((1, 1))
    each = jax.vmap(lambda neg, log_q: sampled_softmax_loss(zero, neg[None], log_q))(scores[drawn], jnp.log(q)[drawn])
    np.testing.assert_allclose((jnp.exp(each) - 1).mean(), jnp.exp(scores).sum(), rtol=5e-3)


def test_unequal_shapes_are_named(unchecked_types):
    for loss in (bpr_loss, bce_loss):
        with pytest.raises(ValueError, match=r"pos is \(4, 3\) and neg is \(4, 2\)"):
            loss(POS, NEG[:, :2])
    with pytest.raises(ValueError, match=r"pos is \(4, 3\), neg \(3, 3\)"):
        sampled_softmax_loss(POS, NEG[:3], 0.0)


def test_an_unknown_reduction_is_refused(unchecked_types):
    with pytest.raises(ValueError, match="'sum' or 'mean', but is 'max'"):
        bpr_loss(POS, NEG, reduction="max")


@pytest.fixture(scope="module")
def model():
    return MAGNN(3, 8, 4, graph="window", dtype=jnp.float64, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def batch():
    short, long = jnp.array([[0, 1], [2, 3]], jnp.int32), jnp.array([[-1, 4], [5, 6]], jnp.int32)
    return Batch(jnp.array([0, 2], jnp.int32), short, long, jnp.array([[3, 4], [-1, 7]], jnp.int32))


def test_the_loss_of_a_batch_leaves_padded_targets_out(model, batch):
    negatives, mask = jnp.array([[5, 6], [1, 1]], jnp.int32), batch.targets >= 0
    q = model.queries(batch)
    pos, neg = model.score(q, jnp.maximum(batch.targets, 0)), model.score(q, negatives)
    np.testing.assert_allclose(batch_loss(model, batch, negatives), bpr_loss(pos, neg, mask=mask), rtol=1e-12)
    np.testing.assert_allclose(batch_loss(model, batch, negatives, "bce"), bce_loss(pos, neg, mask=mask), rtol=1e-12)
    full = softmax_loss(model.score_all(q), batch.targets)
    np.testing.assert_allclose(batch_loss(model, batch, loss="softmax"), full, rtol=1e-12)
    sampled = sampled_softmax_loss(pos, neg, -np.log(8.0), mask=mask)
    np.testing.assert_allclose(batch_loss(model, batch, negatives, "sampled_softmax"), sampled, rtol=1e-12)
    other = sampled_softmax_loss(pos, neg, -np.log(5.0), mask=mask)
    np.testing.assert_allclose(
        batch_loss(model, batch, negatives, "sampled_softmax", log_q=-np.log(5.0)), other, rtol=1e-12
    )


def test_bad_losses_are_refused(model, batch, unchecked_types):
    with pytest.raises(ValueError, match=r"targets are \(2, 2\) and the negatives \(2, 3\)"):
        batch_loss(model, batch, jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(ValueError, match="'bpr' needs negatives"):
        batch_loss(model, batch)
    with pytest.raises(ValueError, match="'bpr', 'bce', 'sampled_softmax' or 'softmax', but is 'hinge'"):
        batch_loss(model, batch, loss="hinge")
