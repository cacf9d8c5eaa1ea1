"""Ranking is exact, leaves out what was seen, and does not depend on how it is cut into blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.magnn._recommend import recommend, recommend_history
from offprint.magnn._sequences import Sequences
from offprint.magnn.baselines import BPRMF, HGN, Popularity

USERS, ITEMS = 37, 1300


class Given(nnx.Module):
    """A model of vectors that are given."""

    def __init__(self, P, Q, b):
        self.num_users, self.num_items, self.L, self.max_long = len(P), len(Q), 1, 0
        self.P, self.Q, self.b = (nnx.Param(jnp.asarray(x)) for x in (P, Q, b))

    def queries(self, batch):
        P = self.P[...]
        return jnp.where(batch.users[:, None] < 0, P.mean(0), P[batch.users])

    def item_table(self):
        return self.Q[...], self.b[...]


def given_model(users=USERS, items=ITEMS, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return Given(rng.normal(size=(users, d)), rng.normal(size=(items, d)), rng.normal(size=items))


def random_sequences(users=USERS, items=ITEMS, seed=1, most=60):
    rng = np.random.default_rng(seed)
    return Sequences.from_lists([rng.integers(0, items, rng.integers(1, most)) for _ in range(users)], items)


def brute_force(model, sequences, k, *, seen=-np.inf):
    P, Q, b = (np.asarray(x[...]) for x in (model.P, model.Q, model.b))
    scores = P @ Q.T + b
    for user in range(sequences.num_users):
        scores[user, sequences.of(user)] = seen
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return best, np.take_along_axis(scores, best, axis=1)


@pytest.fixture(scope="module")
def model():
    return given_model()


@pytest.fixture(scope="module")
def sequences():
    return random_sequences()


@pytest.mark.parametrize("item_block", [None, 1300, 700, 100, 7], ids=str)
@pytest.mark.parametrize("k", [1, 10])
def test_lists_are_those_of_sorting_all_scores(model, sequences, k, item_block):
    found = recommend(model, sequences, k, item_block=item_block)
    items, scores = brute_force(model, sequences, k)
    np.testing.assert_array_equal(found.items, items)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.users, np.arange(USERS))


@pytest.mark.parametrize("block", [1, 8, 37, 2048])
def test_blocks_of_users_change_nothing(model, sequences, block):
    found, other = recommend(model, sequences, 20, block=block), recommend(model, sequences, 20)
    np.testing.assert_array_equal(found.items, other.items)
    np.testing.assert_allclose(found.scores, other.scores, rtol=0, atol=1e-12)


def test_users_beyond_one_call_are_all_ranked(monkeypatch, model, sequences):
    monkeypatch.setattr("offprint.magnn._recommend.QUERY_ROWS", 16)
    np.testing.assert_array_equal(recommend(model, sequences, 10, block=8).items, brute_force(model, sequences, 10)[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 9]), st.sampled_from([150, 600]))
def test_ties_go_to_the_smaller_number(seed, k, item_block):
    rng, num_items = np.random.default_rng(seed), 600
    tied = Given(np.ones((4, 1)), rng.integers(0, 3, (num_items, 1)) * 1.0, rng.integers(0, 2, num_items) * 1.0)
    nothing = Sequences.from_lists([[int(rng.integers(num_items))] for _ in range(4)], num_items)
    found = recommend(tied, nothing, k, item_block=item_block)
    np.testing.assert_array_equal(found.items, brute_force(tied, nothing, k)[0])


def test_seen_items_never_come_back(model, sequences):
    low = Given(model.P[...], model.Q[...] * 0, model.b[...] * 0 - 5)  # everything below 0
    for user, items in enumerate(recommend(low, sequences, 100).items):
        assert not set(items) & set(sequences.of(user))


def test_seen_items_rank_if_they_may(model, sequences):
    found = recommend(model, sequences, 10, exclude_seen=False)
    np.testing.assert_array_equal(found.items, brute_force(model, Sequences.from_lists([[]] * USERS, ITEMS), 10)[0])


def test_a_zero_in_place_of_seen_items_lets_them_back_in(model, sequences):
    low = Given(model.P[...], model.Q[...], model.b[...] - 50)
    found = recommend(low, sequences, 5, compat_zero_mask=True)
    np.testing.assert_array_equal(found.items, brute_force(low, sequences, 5, seen=0.0)[0])
    assert set(found.items[0]) & set(sequences.of(0))


def test_a_million_items_in_blocks(sequences):
    large = given_model(users=4, items=1_000_000, d=2)
    few = random_sequences(users=4, items=1_000_000)
    found = recommend(large, few, 10, block=4, item_block=100_000)
    np.testing.assert_array_equal(found.items, brute_force(large, few, 10)[0])


def test_candidates_alone_are_ranked(model, sequences):
    chosen = np.random.default_rng(2).permutation(ITEMS)[:700]
    outside = Given(model.P[...], model.Q[...], np.where(np.isin(np.arange(ITEMS), chosen), model.b[...], -1e6))
    found = recommend(model, sequences, 10, candidates=chosen)
    np.testing.assert_array_equal(found.items, brute_force(outside, sequences, 10)[0])


def test_some_users_by_the_ids_of_the_log(model, sequences):
    names = np.array([f"user {u}" for u in range(USERS)])
    named = Sequences(sequences.indptr, sequences.items, ITEMS, names, np.arange(ITEMS) * 10 + 7)
    found = recommend(model, named, 3, users=["user 5", "user 2"])
    np.testing.assert_array_equal(found.users, [5, 2])
    np.testing.assert_array_equal(found.items, brute_force(model, sequences, 3)[0][[5, 2]])
    outside = found.external(named)
    assert list(outside.users) == ["user 5", "user 2"]
    np.testing.assert_array_equal(outside.items, found.items * 10 + 7)
    with pytest.raises(KeyError, match=r"'user 99'.*user=None"):
        recommend(model, named, users=["user 99"])


def test_nobody_is_an_empty_answer(model, sequences):
    assert recommend(model, sequences, 3, users=[]).items.shape == (0, 3)


def test_somebody_new_with_a_history():
    model = HGN(5, 40, d=8, L=3, rngs=nnx.Rngs(0))
    known = Sequences.from_lists([[1, 2, 3, 4]] * 5, 40)
    as_known = recommend_history(model, [1, 2, 3, 4], user=2, k=6)
    np.testing.assert_array_equal(as_known.items[0], recommend(model, known, 6).items[2])
    new = recommend_history(model, [1, 2, 3, 4], k=6)
    assert new.users.tolist() == [-1]
    model.P[...] = jnp.broadcast_to(model.P[...].mean(0), (5, 8))  # then everybody is the mean user
    np.testing.assert_allclose(new.scores[0], recommend(model, known, 6).scores[0], rtol=1e-6)


def test_a_history_in_ids_of_the_log():
    model = BPRMF(2, 30, d=4, rngs=nnx.Rngs(0))
    known = Sequences(np.array([0, 2, 4]), np.array([0, 1, 2, 3]), 30, np.array([11, 12]), np.arange(30) + 100)
    found = recommend_history(model, [105, 106], user=12, k=28, sequences=known)
    assert not {5, 6} & set(found.items[0])
    assert found.external(known).users.tolist() == [12]
    with pytest.raises(KeyError, match="5"):
        recommend_history(model, [5], sequences=known)


def test_lists_go_into_the_metrics(sequences):
    from offprint.magnn._metrics import evaluate

    perfect = recommend(Popularity(sequences), sequences, 1300 - 60, exclude_seen=True)
    assert evaluate(perfect.items, sequences, ks=(10,)).recall[10] == 0  # nothing seen is recommended


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1, but is 0"),
        ({"block": 0}, "block must be at least 1"),
        ({"item_block": 0}, "item_block must be at least 1"),
        ({"k": 1299}, r"k=1299, but only \d+ of 1300 items can be recommended to user \d+; choose a smaller k"),
        ({"k": 3, "candidates": [1, 2]}, "only 2 of 2|only 1 of 2"),
        ({"compat_zero_mask": True, "exclude_seen": False}, "needs exclude_seen=True"),
    ],
)
def test_what_cannot_be_ranked_is_refused(model, sequences, options, message):
    with pytest.raises(ValueError, match=message):
        recommend(model, sequences, **options)


def test_all_items_that_are_left_can_be_asked_for():
    model, pair = given_model(users=2, items=12), Sequences.from_lists([[1, 1, 2], [3, 4]], 12)
    assert recommend(model, pair, 10).items.shape == (2, 10)
    with pytest.raises(ValueError, match="only 10 of 12 items can be recommended to user 0"):
        recommend(model, pair, 11)


def test_a_model_for_others_is_refused(model):
    with pytest.raises(ValueError, match="num_users=37, but the sequences have 2"):
        recommend(model, Sequences.from_lists([[1], [2]], ITEMS))


def test_scores_that_are_not_finite_are_reported(model, sequences):
    broken = Given(model.P[...].at[3].set(jnp.nan), model.Q[...], model.b[...])
    with pytest.raises(ValueError, match="not finite, first those of user 3"):
        recommend(broken, sequences)


def test_an_empty_history_is_refused(model):
    with pytest.raises(ValueError, match="history is empty"):
        recommend_history(model, [])


def test_scores_exist_for_one_block_at_a_time():
    from offprint.magnn._topk import _top_k_of_parts, item_blocks

    blocks = item_blocks(jnp.zeros((200_000, 4), jnp.float32), jnp.zeros(200_000, jnp.float32), k=10, block=20_000)
    parts = jnp.zeros((16, 64, 4), jnp.float32)
    seen = jnp.zeros((16, 8), jnp.int32)
    lowered = _top_k_of_parts.lower(parts, blocks, seen, seen, jnp.float32(0), jnp.int32(0), k=10)
    needed = lowered.compile().memory_analysis().temp_size_in_bytes
    assert needed < 4 * 64 * 20_000 * 4  # a few blocks; all scores would take 16 * 64 * 200,000 * 4 bytes
    assert jax.eval_shape(lambda: blocks.table).shape[0] == 10
