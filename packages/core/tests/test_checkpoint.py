import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import new_state

from offprint.core.train import Checkpoint, CheckpointError, CheckpointFolder, Minibatches, fit

KEY = jax.random.key(3)


def sample_state():
    return {
        "w": jnp.linspace(-1, 1, 6).reshape(2, 3),
        "half": jnp.array([1.5, jnp.nan], jnp.bfloat16),
        "count": jnp.int32(4),
        "key": jax.random.split(jax.random.key(1), 3),
        "rbg": jax.random.key(2, impl="rbg"),
    }


def bits(leaf):
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf).tobytes()


@pytest.fixture
def folder(tmp_path):
    folder = CheckpointFolder(tmp_path / "run", keep=3)
    yield folder
    folder.close()


def damage(folder, step):
    """Flip one byte in the middle of each of a checkpoint's data files."""
    for path in (folder.directory / str(step) / "state" / "d").iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


def test_what_is_restored_is_bitwise_what_was_saved(folder):
    state = sample_state()
    folder.save(7, state, {"note": [1, None, float("inf")]})
    template = {name: leaf if name in ("key", "rbg") else jnp.zeros_like(leaf) for name, leaf in state.items()}
    restored, step, info = folder.restore(template)
    assert (step, info) == (7, {"note": [1, None, float("inf")]})
    assert [bits(a) for a in jax.tree.leaves(restored)] == [bits(a) for a in jax.tree.leaves(state)]
    assert restored["half"].dtype == jnp.bfloat16
    assert jax.random.key_impl(restored["rbg"]) == jax.random.key_impl(state["rbg"])


def test_only_the_newest_are_kept(folder):
    for step in (1, 2, 3, 4, 5):
        folder.save(step, sample_state(), {})
    assert folder.steps() == [3, 4, 5]


def test_an_empty_folder_restores_nothing(folder):
    assert folder.restore(sample_state()) is None


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(folder):
    for step in (10, 20, 30):
        folder.save(step, {"w": jnp.full(3, step)}, {})
    damage(folder, 30)
    (folder.directory / "20" / "record" / "metadata").write_text("{")
    with pytest.warns(UserWarning, match="of step [23]0 cannot be read .*the run goes on from the one before"):
        state, step, _ = folder.restore({"w": jnp.zeros(3, jnp.int32)})
    assert step == 10
    assert state["w"].tolist() == [10, 10, 10]
    aside = folder.directory.with_name("run-unreadable")
    assert sorted(path.name for path in aside.iterdir()) == ["20", "30"]
    folder.save(30, state, {})  # the step can be saved anew
    assert folder.steps() == [10, 30]


def test_bytes_that_changed_silently_are_found(folder):
    """The reader's own checks may pass: the checksum in the record decides."""
    folder.save(1, {"w": jnp.arange(4.0)}, {})
    record = folder.directory / "1" / "record" / "metadata"
    text = record.read_text()
    checksum = text.split('"checksums":')[1].split(":")[1].split("}")[0].strip()
    record.write_text(text.replace(checksum, str(int(checksum) ^ 1)))
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*the bytes of \['w'\] are not those that were saved"):
        folder.restore({"w": jnp.zeros(4)})


def test_a_half_written_checkpoint_is_not_taken_for_one(folder):
    folder.save(1, {"w": jnp.zeros(2)}, {})
    half = folder.directory / "2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "state").write_text("half")
    reopened = CheckpointFolder(folder.directory)
    assert reopened.steps() == [1]
    assert reopened.restore({"w": jnp.zeros(2)})[1] == 1
    reopened.close()


def test_another_model_is_refused_by_the_names_of_what_differs(folder):
    folder.save(1, {"a": jnp.zeros((2, 3)), "b": jnp.zeros(4)}, {})
    message = (
        r"is of another model: \['a'\]: float32\[2, 3\] in the checkpoint, float32\[2, 5\] in the state given; "
        r"\['b'\]: float32\[4\] in the checkpoint, absent in the state given"
    )
    with pytest.raises(CheckpointError, match=message):
        folder.restore({"a": jnp.zeros((2, 5))})


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written to .*file/run .* choose another folder"):
        CheckpointFolder(tmp_path / "file" / "run")


@pytest.mark.parametrize("options", [{"every": 0}, {"keep": 0}])
def test_settings_out_of_range(options):
    with pytest.raises(ValueError, match="needs every >= 1 and keep >= 1"):
        Checkpoint("run", **options)


def test_a_run_is_resumed_only_as_itself(tmp_path, data, step):
    where = tmp_path / "run"
    batches = Minibatches(data, 16)
    fit(step, new_state(), batches, num_steps=10, key=KEY, checkpoint=Checkpoint(where, every=5))
    longer = fit(step, new_state(), batches, num_steps=20, key=KEY, checkpoint=Checkpoint(where, every=5))
    assert longer.step == 20
    with pytest.raises(CheckpointError, match="of a run with other key"):
        fit(step, new_state(), batches, num_steps=30, key=jax.random.key(9), checkpoint=Checkpoint(where))
    with pytest.raises(CheckpointError, match=r"of a run with other batches: .*'batch_size': 16.*'batch_size': 8"):
        fit(step, new_state(), Minibatches(data, 8), num_steps=30, key=KEY, checkpoint=Checkpoint(where))
    with pytest.raises(CheckpointError, match=r"newest of step 20\), and resume=False"):
        fit(step, new_state(), batches, num_steps=30, key=KEY, checkpoint=Checkpoint(where, resume=False))


def test_a_finished_run_is_not_run_again(tmp_path, counter):
    start = (jnp.int32(0), jnp.float32(0))
    checkpoint = Checkpoint(tmp_path / "run", every=5)
    first = fit(counter, start, num_steps=10, key=KEY, checkpoint=checkpoint)
    calls = []
    again = fit(counter, start, num_steps=10, key=KEY, checkpoint=checkpoint, callbacks=[calls.append])
    assert calls == []
    assert again.history == first.history
    assert float(again.state[1]) == float(first.state[1])


def test_rows_are_those_of_the_undisturbed_run_wherever_it_was_saved(tmp_path, counter):
    """A checkpoint between two rows keeps the partial means."""
    start = (jnp.int32(0), jnp.float32(0))
    options = {"num_steps": 30, "key": KEY, "log_every": 15}
    undisturbed = fit(counter, start, **options)

    def unplug(event):
        raise RuntimeError("pulled the plug")  # at 15, after the checkpoint of 10

    checkpoint = Checkpoint(tmp_path / "run", every=10)
    with pytest.raises(RuntimeError, match="plug"):
        fit(counter, start, checkpoint=checkpoint, callbacks=[unplug], **options)
    assert fit(counter, start, checkpoint=checkpoint, **options).history == undisturbed.history
