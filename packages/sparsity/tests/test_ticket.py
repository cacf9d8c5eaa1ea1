"""Lottery tickets: counts of every round, where training begins, what is refused."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._ticket import lottery_ticket, ticket_control

SHAPES = {"fc1": (10, 9), "fc2": (9, 4)}


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {
        name: {"kernel": jnp.asarray(rng.normal(size=shape)), "bias": jnp.asarray(rng.normal(size=shape[1]))}
        for name, shape in SHAPES.items()
    }


def trainer(calls=None, last=10):
    """Training that moves the weight w towards a target of its own, by one step of the learning rate at that step."""

    @jax.jit
    def run(params, masks, start, stop):
        def step(number, params):
            return jax.tree.map(
                lambda w, mask: w + 0.02 * (1 + number) * (jnp.cos(40 * w) if mask is None else mask * jnp.cos(40 * w)),
                params,
                masks,
                is_leaf=lambda leaf: leaf is None,
            )

        return jax.lax.fori_loop(start, stop, step, params)

    def train(params, masks, start, stop):
        if calls is not None:
            calls.append((params, masks, start, stop))
        return run(params, masks, start, last if stop is None else stop)

    return train


def leaves(tree, name="kernel"):
    return {layer: np.asarray(tree[layer][name]) for layer in SHAPES if tree[layer][name] is not None}


def test_counts_nesting_and_initial_values(params):
    tickets = lottery_ticket(trainer(), params, rounds=3, rate=0.3, output="fc2/*")
    assert len(tickets) == 4
    for number, ticket in enumerate(tickets):
        masks = leaves(ticket.masks)
        kept = {name: int(mask.sum()) for name, mask in masks.items()}
        # The output layer at half the rate.
        assert kept == {"fc1": 90 - round(90 * (1 - 0.7**number)), "fc2": 36 - round(36 * (1 - 0.85**number))}
        assert ticket.density == sum(kept.values()) / 126
        assert ticket.masks["fc1"]["bias"] is None
        for name, mask in masks.items():
            np.testing.assert_array_equal(leaves(ticket.start)[name], leaves(params)[name] * mask)
            assert not leaves(ticket.trained)[name][~mask].any()
        np.testing.assert_array_equal(ticket.start["fc1"]["bias"], params["fc1"]["bias"])
        if number:
            before = tickets[number - 1]
            for name, mask in masks.items():
                assert not (mask & ~leaves(before.masks)[name]).any()
                trained = np.abs(leaves(before.trained)[name])
                gone = leaves(before.masks)[name] & ~mask
                assert trained[gone].max() <= trained[mask].min()


def first_counts(params, **settings):
    masks = lottery_ticket(trainer(), params, rounds=1, rate=0.3, **settings)[1].masks
    return {name: int(mask.sum()) for name, mask in leaves(masks).items()}


def test_the_output_layer_is_pruned_at_half_the_rate(params):
    """Unless something else is said: the last of fc1 and fc2, which differ in their numbers alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert first_counts(params) == first_counts(params, scope="local") == {"fc1": 63, "fc2": 36 - 5}
        assert first_counts(params, output_rate=0.5) == {"fc1": 63, "fc2": 18}
        assert first_counts(params, output_rate=None) == {"fc1": 63, "fc2": 36 - 11}
        assert first_counts(params, output="fc1/*", output_rate=0.5) == {"fc1": 45, "fc2": 36 - 11}
        assert first_counts(params, filter=lambda path, leaf: path == "fc2/kernel", criterion=None)["fc2"] == 36 - 11


def test_a_guessed_output_layer_is_told(params):
    renamed = {"block10": params["fc1"], "block9": params["fc2"], "a": params["fc2"]}
    with pytest.warns(UserWarning, match="takes 'block10/kernel', the last of the paths") as told:
        ticket = lottery_ticket(trainer(), renamed, rounds=1, rate=0.3)[1]
    assert told[0].filename == __file__
    assert int(ticket.masks["block10"]["kernel"].sum()) == 90 - round(90 * 0.15)


def test_one_ranking_over_all_leaves(params):
    tickets = lottery_ticket(trainer(), params, rounds=2, rate=0.5, scope="global")
    for number, ticket in enumerate(tickets):
        assert sum(mask.sum() for mask in leaves(ticket.masks).values()) == 126 - round(126 * (1 - 0.5**number))
    trained = np.concatenate([np.abs(leaf).ravel() for leaf in leaves(tickets[0].trained).values()])
    mask = np.concatenate([leaf.ravel() for leaf in leaves(tickets[1].masks).values()])
    np.testing.assert_array_equal(mask, trained >= np.sort(trained)[63])


def test_rewinding_to_a_later_step(params):
    calls = []
    train = trainer(calls)
    tickets = lottery_ticket(train, params, rounds=2, rate=0.5, rewind_to=3)
    assert [(start, stop) for _, _, start, stop in calls] == [(0, 3), (3, None), (3, None), (3, None)]
    early = train(params, tickets[0].masks, 0, 3)
    for ticket in tickets:
        for name, mask in leaves(ticket.masks).items():
            np.testing.assert_array_equal(leaves(ticket.start)[name], leaves(early)[name] * mask)
    whole = trainer()(params, tickets[0].masks, 0, None)
    np.testing.assert_allclose(tickets[0].trained["fc1"]["kernel"], whole["fc1"]["kernel"], rtol=1e-12)


def test_rewinding_of_learning_rates_keeps_the_trained_weights(params):
    dense, ticket = lottery_ticket(trainer(), params, rounds=1, rate=0.5, lr_rewind=True)
    for name, mask in leaves(ticket.masks).items():
        np.testing.assert_array_equal(leaves(ticket.start)[name], leaves(dense.trained)[name] * mask)
    np.testing.assert_array_equal(ticket.start["fc2"]["bias"], dense.trained["fc2"]["bias"])


def test_criterion_and_filter(params):
    def few(path, leaf):
        return path == "fc2/kernel"

    def large_first(trained):
        return {
            "fc1": {"kernel": None, "bias": None},
            "fc2": {"kernel": -jnp.abs(trained["fc2"]["kernel"]), "bias": None},
        }

    dense, ticket = lottery_ticket(trainer(), params, rounds=1, rate=0.5, criterion=large_first, filter=few)
    assert ticket.masks["fc1"]["kernel"] is None
    trained, mask = np.abs(dense.trained["fc2"]["kernel"]), np.asarray(ticket.masks["fc2"]["kernel"])
    assert trained[mask].max() <= trained[~mask].min()


def test_controls(params):
    ticket = lottery_ticket(trainer(), params, rounds=1, rate=0.6)[1]
    fresh = jax.tree.map(lambda leaf: leaf + 1, params)
    anew = ticket_control(trainer(), ticket, fresh)
    mixed = ticket_control(trainer(), ticket, params, shuffle=jax.random.key(0))
    assert anew.density == mixed.density == ticket.density
    for name, mask in leaves(ticket.masks).items():
        np.testing.assert_array_equal(leaves(anew.start)[name], leaves(fresh)[name] * mask)
        other = leaves(mixed.masks)[name]
        assert (other != mask).any()
        assert other.sum() == mask.sum()
        np.testing.assert_array_equal(leaves(mixed.start)[name], leaves(params)[name] * other)
        assert not leaves(mixed.trained)[name][~other].any()


BAD = {
    "rounds": ({"rounds": 0}, "rounds must be at least 1 and rewind_to at least 0, but are 0 and 0"),
    "rewind": ({"rewind_to": -1}, "but are 1 and -1"),
    "rate": ({"rate": 20}, r"rate must be in \(0, 1\), the share of the remaining weights .* got 20"),
    "output rate": ({"output": "fc2/*", "output_rate": 1.5}, r"output_rate must be in \(0, 1\)"),
    "word": ({"output_rate": "third"}, "output_rate must be 'half', a number or None; got 'third'"),
    "global output rate": ({"output_rate": 0.1, "scope": "global"}, "a global ranking knows no layers"),
    "global output": ({"output": "fc2/*", "scope": "global"}, "a global ranking knows no layers"),
    "unknown output": (
        {"output": "fc9"},
        "output='fc9' matches none of the leaves that are pruned: fc1/kernel, fc2/ker",
    ),
    "scope": ({"scope": "all"}, r"scope must be 'layer' \(or 'local', the same\) or 'global'; got 'all'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name, params, unchecked_types):
    settings, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        lottery_ticket(trainer(), params, **{"rounds": 1} | settings)


def test_training_that_forgets_the_masks_is_refused(params):
    def forgetful(params, masks, start, stop):
        return jax.tree.map(lambda leaf: leaf + 1, params)

    with pytest.raises(ValueError, match="train must keep pruned weights at zero, but 45 of 'fc1/kernel' are not"):
        lottery_ticket(forgetful, params, rounds=1, rate=0.5)
    with pytest.raises(ValueError, match="what train returned has no leaf 'fc1/bias'"):
        lottery_ticket(lambda params, *rest: {"fc1": {"kernel": params["fc1"]["kernel"]}}, params, rounds=1)
    ticket = lottery_ticket(trainer(), params, rounds=1)[1]
    with pytest.raises(ValueError, match="the ticket's masks must have the shapes of params"):
        ticket_control(trainer(), ticket, jax.tree.map(lambda leaf: leaf[:2], params))
