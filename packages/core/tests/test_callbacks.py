import json

import jax
import jax.numpy as jnp
import pytest

from offprint.core.train import BestCheckpoint, Callback, Checkpoint, EarlyStopping, JsonlLog, TensorBoard, fit

KEY = jax.random.key(0)
START = jnp.int32(0)


def count(state, batch, key):
    return state + 1, {"count": state}


def valley(state):
    """An evaluation that is best at step 30."""
    return {"distance": abs(int(state) - 30)}


OPTIONS = {"num_steps": 100, "key": KEY, "log_every": 10, "evaluate": valley, "eval_every": 10}


def unplug_at(step):
    def unplug(event):
        if event.step == step:
            raise RuntimeError("pulled the plug")

    return unplug


def test_early_stopping_waits_for_its_patience():
    result = fit(count, START, callbacks=[EarlyStopping("distance", 3)], **OPTIONS)
    assert result.step == 60
    assert result.stopped == "distance has not improved for 3 evaluations"


def test_early_stopping_by_maximum_and_least_improvement():
    result = fit(count, START, callbacks=[EarlyStopping("distance", 2, mode="max", min_delta=15)], **OPTIONS)
    assert result.step == 30  # 20 at first; 10, 0 are no improvement


def test_early_stopping_remembers_what_it_saw_before_the_interruption(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run", every=10)
    with pytest.raises(RuntimeError, match="plug"):
        fit(count, START, callbacks=[EarlyStopping("distance", 3), unplug_at(50)], checkpoint=checkpoint, **OPTIONS)
    resumed = fit(count, START, callbacks=[EarlyStopping("distance", 3)], checkpoint=checkpoint, **OPTIONS)
    assert resumed.step == 60
    again = fit(count, START, callbacks=[EarlyStopping("distance", 3)], checkpoint=checkpoint, **OPTIONS)
    assert (again.step, again.stopped) == (60, resumed.stopped)


def test_the_best_state_is_kept(tmp_path):
    best = BestCheckpoint(tmp_path / "best", "distance")
    fit(count, START, callbacks=[best], **OPTIONS)
    assert int(best.restore(START)) == 30


def test_the_best_state_survives_an_interruption(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run", every=20)
    with pytest.raises(RuntimeError, match="plug"):
        fit(
            count,
            START,
            callbacks=[BestCheckpoint(tmp_path / "best", "distance"), unplug_at(30)],
            checkpoint=checkpoint,
            **OPTIONS,
        )
    best = BestCheckpoint(tmp_path / "best", "distance")
    fit(count, START, callbacks=[best], checkpoint=checkpoint, **OPTIONS)
    assert int(best.restore(START)) == 30


def test_no_best_state_is_an_error(tmp_path):
    best = BestCheckpoint(tmp_path / "best", "accuracy")
    fit(count, START, num_steps=10, key=KEY, callbacks=[best])
    with pytest.raises(LookupError, match="no row of the history held the metric 'accuracy'"):
        best.restore(START)


def test_the_log_after_a_resume_is_that_of_the_undisturbed_run(tmp_path):
    fit(count, START, callbacks=[JsonlLog(tmp_path / "whole.jsonl")], **OPTIONS)
    log, checkpoint = tmp_path / "log.jsonl", Checkpoint(tmp_path / "run", every=20)
    with pytest.raises(RuntimeError, match="plug"):
        fit(count, START, callbacks=[JsonlLog(log), unplug_at(70)], checkpoint=checkpoint, **OPTIONS)
    with log.open("a") as file:
        file.write('{"step": 80, "cou')  # killed while writing a line
    fit(count, START, callbacks=[JsonlLog(log)], checkpoint=checkpoint, **OPTIONS)
    assert log.read_text() == (tmp_path / "whole.jsonl").read_text()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[2] == {"step": 30, "count": 24.5, "distance": 0}


def test_tensorboard_gets_every_scalar(tmp_path):
    fit(count, START, callbacks=[TensorBoard(tmp_path / "tb")], **OPTIONS)
    (events,) = (tmp_path / "tb").iterdir()
    content = events.read_bytes()
    assert content.count(b"distance") == 10
    assert content.count(b"count") == 10


def test_a_function_may_stop_the_run_and_sees_the_state():
    seen = []

    def stop(event):
        seen.append((event.step, event.num_steps, int(event.state), event.row["count"]))
        return "enough" if event.step == 20 else None

    result = fit(count, START, callbacks=[stop], **OPTIONS)
    assert seen == [(10, 100, 10, 4.5), (20, 100, 20, 14.5)]
    assert result.stopped == "enough"


def test_a_callback_that_returns_something_else_is_refused():
    with pytest.raises(TypeError, match="a text to end the run with that reason, not True"):
        fit(count, START, callbacks=[lambda event: True], **OPTIONS)


def test_callbacks_finish_also_when_the_run_fails():
    class Finishing(Callback):
        finished = False

        def finish(self):
            self.finished = True

    callback = Finishing()
    with pytest.raises(RuntimeError, match="plug"):
        fit(count, START, callbacks=[callback, unplug_at(10)], **OPTIONS)
    assert callback.finished


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping("loss", 0), "patience must be at least 1, but is 0"),
        (lambda: EarlyStopping("loss", 1, mode="least"), "mode must be 'min' or 'max', but is 'least'"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_that_clash_are_refused():
    with pytest.raises(ValueError, match="evaluate returns 'count', which the step's metrics hold too"):
        fit(count, START, num_steps=1, key=KEY, evaluate=lambda state: {"count": 1.0})
