"""Training: the authors' gradients and XOR figures, seeds at once like seeds alone, baselines, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.forward_propagation._hebbian_rule import HebbianObjective
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._objective import FirstSpikeObjective, SurrogateObjective
from offprint.forward_propagation._recipe import RECIPES, Encoding, optimiser, recipe
from offprint.forward_propagation._train import (
    check_examples,
    convergence_epoch,
    encode_examples,
    fit_classifier,
    fit_seeds,
)
from offprint.forward_propagation.data import iris, split, xor
from offprint.forward_propagation.surrogate import SurrogateNetwork

XOR = xor()


@pytest.fixture(scope="module")
def xor_seeds():
    keys = jax.random.split(jax.random.key(0), 40)
    return fit_seeds(XOR, XOR, recipe("xor"), keys, dtype="float64", evaluations=2)


def test_the_recipes_have_the_authors_settings():
    for name, alpha, beta in (("xor", 1, 0.99), ("iris", 1, 0.9), ("yin-yang", 0.999, 1), ("yin-yang-120", 0.99, 1)):
        settings = RECIPES[name]
        assert np.isclose(1 / settings.tau_syn, alpha)
        assert np.isclose(1 / settings.tau_mem, beta)
        assert settings.regulariser_sign == 1
        assert settings.encoding.bias == "append"
    official = RECIPES["yin-yang-official"]
    assert official.regulariser_sign == -1
    assert official.encoding.bias == "official"
    assert recipe("yin-yang", epochs=3).epochs == 3
    assert RECIPES["yin-yang"].epochs == 300


@pytest.mark.parametrize("coupled", [True, False])
def test_the_authors_gradient_is_reproduced_with_and_without_its_omission(golden, coupled):
    stored = golden("official_multispike")
    settings = recipe("yin-yang-official", sizes=(5, 6, 3), tau_syn=1 / float(stored["alpha"]), reset_coupling=coupled)
    settings = settings.__class__(**{**settings.__dict__, "max_spikes": (9, 1)})
    model = settings.model(nnx.Rngs(0), np.float64)
    for layer, name in zip(model.layers, ("W0", "W1"), strict=True):
        layer.kernel[...] = jnp.asarray(stored[f"{name}_official"].T)
    encoded, _ = encode_examples(
        (stored["x"], stored["label"]), (stored["x"], stored["label"]), settings.encoding, "float64"
    )
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def losses(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        return FirstSpikeObjective(settings)(model, encoded.spikes, encoded.labels).loss

    assert np.allclose(losses(params), stored["official_loss_official_code"], atol=1e-6)
    slopes = jax.jacrev(losses)(params)
    kind, tolerance = ("exact", 1e-9) if coupled else ("official_code", 5e-8)
    for layer in (0, 1):
        found = slopes["layers"][layer]["kernel"][...].transpose(0, 2, 1)
        expected = stored[f"official_gradW{layer}_{kind}"]
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_xor_is_learnt_by_nearly_every_seed_in_about_the_epochs_of_the_paper(xor_seeds):
    epochs = convergence_epoch(xor_seeds.accuracy)
    done = np.isfinite(epochs)
    assert done.sum() >= 37
    assert 12 <= epochs[done].mean() <= 23
    assert xor_seeds.loss.shape == (40, 100)
    assert xor_seeds.test_accuracy.shape == (40, 2)
    assert xor_seeds.loss[:, -1].mean() < 0.3 * xor_seeds.loss[:, 0].mean()
    assert (xor_seeds.test_accuracy[:, -1] == 1).mean() >= 0.9


def test_a_seed_among_many_is_trained_as_alone_through_the_loop_with_checkpoints(xor_seeds):
    key = jax.random.split(jax.random.key(0), 40)[7]
    alone = fit_classifier(XOR, XOR, recipe("xor"), key, dtype="float64", progress=False)
    assert np.allclose(alone.result.series("loss")[1], xor_seeds.loss[7], rtol=1e-6, atol=1e-9)
    assert np.isclose(alone.accuracy, xor_seeds.test_accuracy[7, -1])
    assert np.isclose(alone.loss, xor_seeds.test_loss[7, -1], rtol=1e-6)


def test_each_seed_may_have_its_own_split():
    sets = [split(*iris(), 30, seed) for seed in (0, 1)]
    train, test = ([(getattr(s, f"{part}_x"), getattr(s, f"{part}_y")) for s in sets] for part in ("train", "test"))
    settings = recipe("iris-tuned", epochs=6, learning_rate=0.03)
    both = fit_seeds(train, test, settings, jax.random.split(jax.random.key(2), 2))
    assert both.loss.shape == (2, 24)
    assert both.loss.dtype == np.float32
    assert (both.loss[:, -4:].mean(1) < both.loss[:, :4].mean(1)).all()
    assert both.test_accuracy.min() >= 0.5


def test_the_hebbian_rule_is_the_exact_gradient_in_the_output_layer_only():
    settings = recipe("xor", max_spikes=(3, 1))
    model = settings.model(nnx.Rngs(3), np.float64)
    encoded, _ = encode_examples(XOR, XOR, settings.encoding, "float64")

    def slopes(objective):
        answer = nnx.jit(nnx.value_and_grad(lambda model: objective(model, *encoded).loss.sum()))(model)
        return answer[0], [answer[1]["layers"][layer]["kernel"][...] for layer in (0, 1)]

    loss, exact = slopes(FirstSpikeObjective(settings))
    for feedback in ("weights", "none"):
        loss_hebbian, rule = slopes(HebbianObjective(settings, feedback))
        assert np.isclose(loss, loss_hebbian)
        assert np.allclose(rule[1], exact[1], rtol=1e-9, atol=1e-12)
        assert (np.abs(rule[0]).max() > 0) == (feedback == "weights")
        assert feedback == "none" or np.vdot(rule[0], exact[0]) > 0


def test_a_surrogate_network_is_trained_by_the_same_loop():
    settings = recipe("xor", epochs=30)

    def build(rngs):
        neuron = LIF(settings.tau_mem, settings.tau_syn)
        return SurrogateNetwork((2, 4, 2), neuron, dt=0.05, steps=40, slope=5.0, init=settings.init, rngs=rngs)

    keys = jax.random.split(jax.random.key(1), 3)
    for decoding in ("first", "count"):
        result = fit_seeds(XOR, XOR, settings, keys, build=build, objective=SurrogateObjective(settings, decoding))
        assert np.isfinite(result.loss).all()
        assert result.loss[:, -1].mean() < result.loss[:, 0].mean()


def test_weak_weights_give_a_warning_before_training():
    settings = recipe("xor", init=((0.1, 0.0), (0.1, 0.0)))
    with pytest.warns(UserWarning, match="no output neuron fires in 100% of the samples"):
        fit_classifier(XOR, XOR, settings, jax.random.key(0), dtype="float64", progress=False)


def test_neurons_that_never_fire_are_woken_and_the_others_left_alone():
    settings = recipe("xor", init=((0.1, 0.0), (2.0, 0.0)), wake=0.1, epochs=1, learning_rate=1e-9)
    params = fit_seeds(XOR, XOR, settings, jax.random.split(jax.random.key(0), 1), dtype="float64").state.params
    hidden, output = (params["layers"][layer]["kernel"][...] for layer in (0, 1))
    np.testing.assert_allclose(hidden, 0.2, atol=1e-8)  # nobody fires, so that the outputs are woken as well
    np.testing.assert_allclose(output, 2.1, atol=1e-8)
    firing = recipe("xor", init=((3.0, 0.0), (2.0, 0.0)), wake=0.1, epochs=1, learning_rate=1e-9)
    state = fit_seeds(XOR, XOR, firing, jax.random.split(jax.random.key(0), 1), dtype="float64").state
    np.testing.assert_allclose(state.params["layers"][0]["kernel"][...], 3.0, atol=1e-8)


def test_convergence_is_the_first_epoch_with_every_batch_right():
    accuracy = np.array([[0.5, 1, 1, 0.75, 1, 1], [0.5] * 6])
    assert convergence_epoch(accuracy).tolist() == [1, np.inf]
    assert convergence_epoch(accuracy, steps_per_epoch=2).tolist() == [2, np.inf]


def test_the_learning_rate_of_a_cosine_recipe_falls_to_zero_and_gradients_are_clipped():
    settings = recipe("yin-yang-tuned", clip_norm=1.0)
    tx = optimiser(settings, 10)
    assert tx is optimiser(settings, 10)
    params = {"w": jnp.zeros(2)}
    state = tx.init(params)
    sizes = []
    for _ in range(11):
        updates, state = tx.update({"w": jnp.array([30.0, -40.0])}, state, params)
        sizes.append(float(jnp.abs(updates["w"]).max()))
    assert np.isclose(sizes[0], 5e-3)
    assert sizes[-1] < 1e-9
    assert sizes[5] < sizes[2]


@pytest.mark.parametrize(
    ("train", "changes", "message"),
    [
        ((XOR[0], np.array([0, 1, 2, 0])), {}, "from 0 to 1 for 2 outputs.*run from 0 to 2"),
        ((XOR[0], np.array([0, 1])), {}, r"got \(4, 2\) and \(2,\)"),
        ((XOR[0], XOR[1].astype(float)), {}, "labels must be integers.*float64"),
        (XOR, {"encoding": Encoding(0, 1, bias_time=0.5)}, "2 features make 3 inputs.*has 2"),
        (XOR, {"batch_size": 5}, "batches of 5 from 4 training examples"),
    ],
)
def test_data_that_do_not_fit_the_recipe_are_refused(unchecked_types, train, changes, message):
    with pytest.raises(ValueError, match=message):
        check_examples(train, XOR, recipe("xor", **changes))


def test_recipes_and_runs_that_cannot_be_are_refused(unchecked_types):
    with pytest.raises(KeyError, match="'moons' is unknown; one of xor, iris"):
        recipe("moons")
    with pytest.raises(ValueError, match="no setting lr; it has sizes"):
        recipe("xor", lr=0.1)
    with pytest.raises(ValueError, match=r"2 layers .* as many entries"):
        recipe("xor", max_spikes=(3,))
    with pytest.raises(ValueError, match="evaluations=3 must divide the 100 epochs"):
        fit_seeds(XOR, XOR, recipe("xor"), jax.random.split(jax.random.key(0), 2), evaluations=3)
    with pytest.raises(ValueError, match="2 training and 1 test sets for 2 keys"):
        fit_seeds([XOR, XOR], [XOR], recipe("xor"), jax.random.split(jax.random.key(0), 2))
    with pytest.raises(TypeError, match="float32 or float64, but is float16"):
        fit_classifier(XOR, XOR, recipe("xor"), jax.random.key(0), dtype="float16")


def test_a_recipe_for_other_data_drives_neurons_as_strongly_as_before():
    given = recipe("iris-tuned")
    other = given.for_data(13, 4, hidden=(20, 5))
    assert (other.sizes, other.max_spikes) == ((27, 20, 5, 4), (8, 8, 1))
    for n_pre, (mean, std), layer in zip(other.sizes, other.init, (0, 1, 1)):
        before = given.sizes[layer]
        np.testing.assert_allclose(n_pre * mean, before * given.init[layer][0])
        np.testing.assert_allclose(n_pre * std**2, before * given.init[layer][1] ** 2)
    assert recipe("xor").for_data(2, 2) == recipe("xor")
