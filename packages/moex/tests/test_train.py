"""Augmentation, recipes, evaluation, and training through core's loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.moex import Mixing, MoEx, cifar300, moment_exchange
from offprint.moex._augment import crop_and_flip, standardise
from offprint.moex._evaluate import classification_metrics, exposure_metrics
from offprint.moex._recipe import CIFAR, CIFAR_MEAN, CIFAR_STD, IMAGENET, MODELNET, Recipe, learning_rate, optimiser
from offprint.moex._train import Training
from offprint.moex.models import CifarResNet

KEY = jax.random.key(0)


def test_every_crop_is_a_window_of_the_padded_image():
    images = jax.random.randint(KEY, (40, 4, 5, 2), 1, 100)
    cut = np.asarray(crop_and_flip(jax.random.key(1), images, 2))
    padded = np.pad(np.asarray(images), ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = set()
    for image, full in zip(cut, padded):
        windows = {
            (r, c, flip): np.array_equal(image, full[r : r + 4, c : c + 5][:, :: -1 if flip else 1])
            for r in range(5)
            for c in range(5)
            for flip in (False, True)
        }
        (found,) = [place for place, same in windows.items() if same]
        seen.add(found)
    assert {flip for _, _, flip in seen} == {False, True}
    assert len({(r, c) for r, c, _ in seen}) > 10


def test_no_augmentation_changes_nothing():
    images = jax.random.normal(KEY, (3, 4, 4, 1))
    np.testing.assert_array_equal(crop_and_flip(KEY, images, 0, flip=False), images)
    with pytest.raises(ValueError, match="pad=-1"):
        crop_and_flip(KEY, images, -1)


def test_standardised_images():
    x = np.full((1, 2, 2, 3), 128, np.uint8)
    expected = (128 - np.array([125.3, 123.0, 113.9])) / np.array([63.0, 62.1, 66.7])
    np.testing.assert_allclose(standardise(x, np.array(CIFAR_MEAN), np.array(CIFAR_STD))[0, 0, 0], expected, rtol=1e-4)


def test_published_recipes():
    assert (CIFAR.epochs, CIFAR.batch_size, CIFAR.learning_rate, CIFAR.weight_decay) == (300, 64, 0.25, 1e-4)
    rate = learning_rate(CIFAR, 10)
    np.testing.assert_allclose([rate(0), rate(1500), rate(2250)], [0.25, 0.025, 0.0025], rtol=1e-6)
    assert float(rate(1499)) == float(cifar300(10)(1499))
    assert float(learning_rate(IMAGENET, 10)(50)) == pytest.approx(0.1)
    assert float(learning_rate(MODELNET, 10)(999)) == pytest.approx(1e-3)
    one = learning_rate(Recipe(10, 8, 0.2, schedule="one-cycle"), 10)
    np.testing.assert_allclose([one(0), one(20), one(100)], [0.008, 0.2, 0.2 / 25e4], rtol=1e-5)


def test_unknown_schedule(unchecked_types):
    with pytest.raises(ValueError, match="schedule='linear' is unknown"):
        learning_rate(Recipe(1, 1, 0.1, schedule="linear"), 1)


def test_the_optimiser_is_that_of_pytorch():
    """Nesterov: v <- m v + g, step -lr (g + m v), where g holds the weight decay."""
    recipe = Recipe(1, 1, 0.5, schedule="constant", weight_decay=0.1)
    tx = optimiser(recipe, 1)
    assert tx is optimiser(recipe, 1)
    w, v = jnp.array(2.0), 0.0
    state = tx.init(w)
    for gradient in (1.0, -3.0):
        updates, state = tx.update(jnp.array(gradient), state, w)
        g = gradient + 0.1 * float(w)
        v = 0.9 * v + g
        assert float(updates) == pytest.approx(-0.5 * (g + 0.9 * v))
        w = optax.apply_updates(w, updates)


@pytest.fixture(scope="module")
def training():
    """Ten images of each of two classes that differ in brightness; float32 through and through."""
    rng = np.random.default_rng(0)
    labels = np.arange(60, dtype=np.int32) % 2
    images = (rng.integers(0, 100, (60, 6, 6, 1)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    recipe = Recipe(4, 20, 0.05, schedule="one-cycle", weight_decay=1e-4, pad=1, flip=True)
    return Training(
        (images[:40], labels[:40]), (images[40:], labels[40:]), 2, recipe, statistics=(np.array([0.4]), np.array([0.2]))
    )


def network(seed=0):
    return CifarResNet(8, 2, moex=MoEx("pono"), widths=(4, 4, 4), in_channels=1, rngs=nnx.Rngs(seed))


@pytest.fixture(scope="module")
def outcomes(training):
    mixings = {"off": Mixing(), "on": Mixing(p=1.0, lam=0.5), "smooth": Mixing(smoothing=0.3)}
    return {name: training.run(network(), mixing, KEY, evaluations=2) for name, mixing in mixings.items()}


def test_training_learns(outcomes):
    off = outcomes["off"]
    assert off.error <= 0.2
    assert off.best_error <= off.error
    assert off.train_loss < off.result.history[0]["loss"]
    assert [row["step"] for row in off.result.history] == [2, 4, 6, 8]
    assert len(off.result.series("error")[0]) == 2


def test_mixing_changes_the_loss(outcomes):
    losses = [outcome.train_loss for outcome in outcomes.values()]
    assert len(set(losses)) == 3
    assert outcomes["on"].train_loss > outcomes["off"].train_loss
    assert outcomes["smooth"].train_loss > outcomes["off"].train_loss


def test_a_run_goes_on_where_it_was_saved(training, tmp_path, outcomes):
    again = training.run(network(), Mixing(), KEY, evaluations=2, checkpoint=tmp_path / "run")
    resumed = training.run(network(), Mixing(), KEY, evaluations=2, checkpoint=tmp_path / "run")
    for a, b in zip(jax.tree.leaves(again.result.state.params), jax.tree.leaves(resumed.result.state.params)):
        np.testing.assert_array_equal(a, b)
    assert again.nll == outcomes["off"].nll


class Linear(nnx.Module):
    """Logits that are the channel means of the image, so that everything can be worked out by hand."""

    def __init__(self):
        self.moex = MoEx("in")

    def __call__(self, x, plan=None):
        return self.moex(x, plan).mean((1, 2))


def test_metrics_of_evaluation():
    x = jax.random.normal(KEY, (5, 3, 3, 4))
    labels = jnp.array([0, 1, 2, 2, 3])
    logits = x.mean((1, 2))
    found = classification_metrics(Linear(), (x, labels))
    np.testing.assert_array_equal(found["error"], logits.argmax(1) != labels)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(found["nll"], expected, rtol=1e-6)


def test_exposure_to_the_donor():
    """With the "in" moments exchanged, the channel means are those of the donor: the next example."""
    x = jax.random.normal(KEY, (5, 3, 3, 4))
    labels = jnp.array([0, 1, 2, 2, 3])
    found = exposure_metrics(Linear(), (x, labels))
    donors = np.array([1, 2, 3, 4, 0])
    probabilities = jax.nn.softmax(moment_exchange(x, jnp.asarray(donors), "in").mean((1, 2)))
    np.testing.assert_allclose(probabilities, jax.nn.softmax(x.mean((1, 2)))[donors], atol=1e-5)
    expected = np.where([1, 1, 0, 1, 1], np.asarray(probabilities)[np.arange(5), labels[donors]], 0)
    np.testing.assert_allclose(found["donor"], expected, rtol=1e-6)
    assert found["pairs"].tolist() == [1, 1, 0, 1, 1]
