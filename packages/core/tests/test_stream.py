import itertools

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.core.train import Checkpoint, Stream, StreamError, fit

KEY = jax.random.key(0)
START = jnp.float32(0)


def add(total, batch, key):
    return total + batch["x"].sum(), {"first": batch["x"][0]}


class Counting:
    """An iterable that can be started anew: batch i is [i, i]."""

    def __init__(self, length=None):
        self.length = length

    def __iter__(self):
        rows = itertools.count() if self.length is None else range(self.length)
        return ({"x": np.full(2, i, np.float32)} for i in rows)


def grain_batches():
    return grain.MapDataset.range(40).shuffle(seed=1).repeat().map(lambda i: {"x": np.full(2, i, np.float32)})


def interrupt_at(step):
    def stop(event):
        if event.step == step:
            raise RuntimeError("pulled the plug")

    return stop


@pytest.mark.parametrize("loop", ["scan", "dispatch", "auto"])
def test_batches_arrive_once_and_in_order(loop):
    result = fit(add, START, Stream(Counting(), prefetch=3), num_steps=20, key=KEY, log_every=1, loop=loop)
    assert float(result.state) == 2 * sum(range(20))
    assert result.series("first")[1].tolist() == list(range(20))


@pytest.mark.parametrize("source", [Counting(), grain_batches().to_iter_dataset()], ids=["iterable", "grain"])
def test_a_resumed_stream_goes_on_where_it_was(tmp_path, source):
    options = {"num_steps": 30, "key": KEY, "log_every": 5}
    undisturbed = fit(add, START, Stream(source), **options)
    checkpoint = Checkpoint(tmp_path / "run", every=5)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        fit(add, START, Stream(source), checkpoint=checkpoint, callbacks=[interrupt_at(20)], **options)
    resumed = fit(add, START, Stream(source), checkpoint=checkpoint, **options)
    assert float(resumed.state) == float(undisturbed.state)
    assert resumed.history == undisturbed.history


def test_the_position_of_grain_is_restored_not_replayed(tmp_path):
    dataset = grain_batches().to_iter_dataset()
    reader = Stream(dataset, prefetch=2).reader()
    first = [reader.take(1)["x"][0, 0] for _ in range(7)]
    position = reader.position
    following = reader.take(5)["x"][:, 0]
    reader.close()
    again = Stream(dataset).reader(step=7, position=position)
    np.testing.assert_array_equal(again.take(5)["x"][:, 0], following)
    again.close()
    assert len(set(first)) == 7


def test_a_stream_that_ends_too_early_says_when():
    with pytest.raises(StreamError, match="the stream ended after 7 batches, before the run did; repeat the stream"):
        fit(add, START, Stream(Counting(7)), num_steps=8, key=KEY, log_every=1)
    assert float(fit(add, START, Stream(Counting(7)), num_steps=7, key=KEY).state) == 2 * sum(range(7))


def test_an_iterator_that_was_used_up_cannot_resume():
    with pytest.raises(StreamError, match="the stream ended before step 9, where the run goes on"):
        Stream(iter(list(Counting(5)))).reader(step=9)


def test_batches_that_differ_are_refused():
    ragged = [{"x": np.zeros(4, np.float32)}, {"x": np.zeros(3, np.float32)}]
    with pytest.raises(StreamError, match=r"batch 1 of the stream has the shapes .*float32\(3,\).*drop or pad a last"):
        fit(add, START, Stream(ragged), num_steps=2, key=KEY)


def test_an_error_in_the_source_reaches_the_caller():
    def broken():
        yield {"x": np.zeros(2, np.float32)}
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        fit(add, START, Stream(broken()), num_steps=3, key=KEY)


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_stream():
    with pytest.raises(TypeError, match="made from an iterable of batches, but a int was given"):
        Stream(3)
    with pytest.raises(ValueError, match="prefetch must be at least 1, but is 0"):
        Stream([], prefetch=0)
