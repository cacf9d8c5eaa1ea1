"""Depth sweeps: the stopping rule, members, padding, divergence, and going on after an interruption."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.resnet_scaling import SHIPPED, SweepConfig, TrainTest, evaluate_loss, resnet_apply, train_sweep
from offprint.resnet_scaling import _depth_run as depth_run
from offprint.resnet_scaling import _sweep_files as sweep_files
from offprint.resnet_scaling._train import Member
from offprint.resnet_scaling.data import synthetic_ode

DEPTHS, SEEDS = (3, 5), (0, 7)
CONFIG = replace(SHIPPED, batch_size=8, num_epochs=3, epsilon=1e-9)


@pytest.fixture(scope="module")
def data():
    return synthetic_ode(jax.random.key(0), 20, 6, 3)


@pytest.fixture(scope="module")
def result(data):
    return train_sweep(CONFIG, data, DEPTHS, SEEDS)


def assert_same(one, other):
    for ours, theirs in zip(one.records, other.records, strict=True):
        for name in ("losses", "epochs", "test_losses", "hidden_norms", "hidden_increments", "converged", "diverged"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


class TestStoppingRule:
    """One member for each story; each list is the epoch losses that it would see."""

    STORIES = (
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.09, 0.08], 7, "improves by 1 % each time: goes to the end"),
        ([0.5, 0.498, 0.497, 0.4965, 0.496, 0.4955, 0.1], 6, "five epochs within 1 % of the best"),
        ([0.5, 0.6, 0.6, 0.6, 0.49, 0.5, 0.5], 7, "the fifth improves: the count begins again"),
        ([0.5, 0.0009, 0.1, 0.1, 0.1, 0.1, 0.1], 2, "below epsilon"),
        ([0.5, np.nan, 0.1, 0.1, 0.1, 0.1, 0.1], 2, "diverges"),
    )

    def test_epochs(self):
        losses = np.array([story[0] for story in self.STORIES])
        count = len(losses)
        state = depth_run.State(
            members=Member(None, None), order=np.zeros((count, 1), int), losses=np.full((count, 7), np.nan),
            best=np.full(count, np.inf), bad=np.zeros(count, int), active=np.ones(count, bool),
            epochs=np.zeros(count, int), diverged=np.zeros(count, bool),
        )  # fmt: skip
        for of_epoch in losses.T:
            state.count(of_epoch, 1e-3)
        assert state.epochs.tolist() == [story[1] for story in self.STORIES]
        assert state.active.tolist() == [True, False, True, False, False]
        assert state.diverged.tolist() == [False] * 4 + [True]
        for member, (story, epochs, _) in enumerate(self.STORIES):
            np.testing.assert_array_equal(state.losses[member, :epochs], story[:epochs])
            assert np.isnan(state.losses[member, epochs:]).all()


def test_a_member_is_plain_training_with_optax(data, result):
    """The second seed of depth 5, with its own initial parameters and rows, step by step."""
    config, depth = replace(CONFIG, shuffle="none"), 5
    trained = train_sweep(config, data, [depth], SEEDS).records[0]
    start = train_sweep(replace(config, learning_rate=1e-30), data, [depth], SEEDS).params[depth]
    params = jax.tree.map(lambda leaf: leaf[1], start)
    optimizer = optax.adam(config.learning_rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, x, y):
        value, gradient = jax.value_and_grad(evaluate_loss)(params, x, y)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, update), state, value

    for epoch in range(3):
        losses = []
        for first in (0, 8):  # the last 4 of 20 samples fill no batch
            batch = data.x_train[first : first + 8], data.y_train[first : first + 8]
            params, state, value = step(params, state, *batch)
            losses.append(value)
        np.testing.assert_allclose(trained.losses[1, epoch], np.mean(losses), rtol=1e-9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-7, atol=1e-9), trained.params, params)
    np.testing.assert_allclose(trained.test_losses[1, 1], evaluate_loss(params, data.x_test, data.y_test), rtol=1e-7)


def test_records(data, result):
    record = result.records[1]
    assert result.depths == DEPTHS
    assert result.params[5].A.shape == (2, 5, 3, 3)
    assert result.params[5].b.shape == (2, 5, 3)
    assert result.params[5].delta.shape == (2, 1)
    assert record.losses.shape == (2, 3)
    assert result.epochs[5].tolist() == [3, 3]
    assert not result.converged[5].any()
    assert not result.diverged[5].any()
    assert result.seconds[5] > 0
    params = jax.tree.map(lambda leaf: leaf[0], result.params[5])
    probes = resnet_apply(params, data.x_train[:5], return_hidden=True)[1]
    np.testing.assert_allclose(record.hidden_norms[0, 1, :, :5], jnp.linalg.norm(probes, axis=-1), rtol=1e-12)
    steps = jnp.linalg.norm(jnp.diff(probes, axis=0), axis=-1)
    np.testing.assert_allclose(record.hidden_increments[0, 1, :, :5], steps, rtol=1e-9)
    np.testing.assert_allclose(record.hidden_norms[:, :, 0, 5:], 1, rtol=1e-12)


def test_seeds_together_are_seeds_apart(data, result):
    alone = train_sweep(CONFIG, data, DEPTHS[1:], SEEDS[1:])
    np.testing.assert_allclose(result.losses[5][1:], alone.losses[5], rtol=1e-9)
    np.testing.assert_allclose(result.params[5].A[1:], alone.params[5].A, rtol=1e-7)


def test_learning_rates_are_an_axis(data, result):
    rates = train_sweep(replace(CONFIG, learning_rate=(1e-3, 1e-2)), data, DEPTHS[1:], SEEDS)
    assert rates.params[5].A.shape == (2, 2, 5, 3, 3)
    np.testing.assert_allclose(rates.losses[5][1], result.losses[5], rtol=1e-9)
    np.testing.assert_allclose(rates.params[5].A[1], result.params[5].A, rtol=1e-7)
    assert np.all(rates.losses[5][0] > rates.losses[5][1])


@pytest.mark.parametrize("delta", ["shared", "multi"])
def test_padding_changes_nothing(data, delta):
    config = replace(CONFIG, delta=delta)
    plain = train_sweep(replace(config, padded=False), data, [5], SEEDS).records[0]
    padded = train_sweep(replace(config, padded=True), data, [5], SEEDS).records[0]
    assert padded.hidden_norms.shape == plain.hidden_norms.shape
    np.testing.assert_allclose(padded.losses, plain.losses, rtol=1e-9)
    for ours, theirs in zip(padded.params, plain.params):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_divergence_is_marked_and_told():
    x = np.ones((8, 2))
    config = replace(CONFIG, delta="multi", activation="identity", optimizer="sgd", learning_rate=(1e-6, 1e200))
    with pytest.warns(UserWarning, match=r"depth 2: 2 of 4 members diverged .* choose a smaller learning rate"):
        result = train_sweep(config, TrainTest(x, 3 * x, x, 3 * x), [2], SEEDS)
    record = result.records[0]
    assert record.diverged.tolist() == [[False, False], [True, True]]
    assert not record.converged.any()
    assert record.epochs[0].tolist() == [3, 3]
    assert np.isfinite(record.params.A[0]).all()


@pytest.mark.parametrize("shuffle", ["samples", "official"])
def test_an_interrupted_sweep_goes_on_to_the_same_bits(data, tmp_path, monkeypatch, shuffle):
    monkeypatch.setattr(sweep_files, "SAVE_SECONDS", 0.0)
    config = replace(CONFIG, shuffle=shuffle)
    undisturbed = train_sweep(config, data, DEPTHS, SEEDS)
    save = sweep_files.SweepFolder.save

    def interrupted_save(self, depth, state):
        save(self, depth, state)
        if depth == 5 and state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sweep_files.SweepFolder, "save", interrupted_save)
        with pytest.raises(KeyboardInterrupt):
            train_sweep(config, data, DEPTHS, SEEDS, folder=tmp_path)
    assert (tmp_path / "depth_000003.npz").exists()
    assert (tmp_path / "in_progress.npz").exists()
    told = []
    resumed = train_sweep(config, data, DEPTHS, SEEDS, folder=tmp_path, progress=told.append)
    assert [record.depth for record in told] == [3, 5]
    assert_same(resumed, undisturbed)
    assert not (tmp_path / "in_progress.npz").exists()
    assert_same(train_sweep(config, data, DEPTHS, SEEDS, folder=tmp_path), undisturbed)


def test_a_folder_is_not_used_for_another_sweep(data, tmp_path, result):
    train_sweep(CONFIG, data, DEPTHS[:1], SEEDS, folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds another sweep \(learning_rate: 0.01 there, 0.02 here\)"):
        train_sweep(replace(CONFIG, learning_rate=0.02), data, DEPTHS, SEEDS, folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds another sweep \(data: "):
        train_sweep(CONFIG, data._replace(y_test=2 * data.y_test), DEPTHS, SEEDS, folder=tmp_path)


def test_shuffles_differ_only_in_the_order_of_samples(data, result):
    for shuffle in ("batches", "official"):
        other = train_sweep(replace(CONFIG, shuffle=shuffle), data, DEPTHS[:1], SEEDS)
        np.testing.assert_array_equal(other.records[0].hidden_norms[:, 0], result.records[0].hidden_norms[:, 0])
        assert np.all(other.losses[3] != result.losses[3])


def test_published_settings():
    assert SweepConfig() == SweepConfig(
        delta="none", init="xavier", initial_sd=1e-4, activation="tanh", optimizer="adam", learning_rate=1e-3,
        batch_size=50, num_epochs=200, epsilon=1e-3,
    )  # fmt: skip
    assert (SHIPPED.delta, SHIPPED.init, SHIPPED.initial_sd) == ("shared", "xavier-depth", 0.01)
    assert (SHIPPED.learning_rate, SHIPPED.batch_size, SHIPPED.num_epochs) == (1e-2, 32, 10)
