"""Claims and their rules."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offprint.core.experiments import Claim, at_least, at_most, between, equals, holds_when, near, ordered

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


def holds(here, rule):
    return Claim("c", paper="p", here=here, rule=rule).holds


@given(numbers, numbers)
def test_rules_say_what_their_comparison_says(here, limit):
    assert holds(here, at_least(limit)) == (here >= limit)
    assert holds(here, at_most(limit)) == (here <= limit)
    assert holds(here, near(limit, 1.5)) == (abs(here - limit) <= 1.5)
    assert holds([here, limit], ordered("a < b")) == (here < limit)
    assert holds({"b": limit, "a": here}, ordered("a >= b")) == (here >= limit)


@given(numbers, numbers, numbers)
def test_between_is_closed(low, here, high):
    low, high = sorted((low, high))
    assert holds(here, between(low, high)) == (low <= here <= high)
    assert holds(low, between(low, high))
    assert holds(high, between(low, high))


@pytest.mark.parametrize(
    "rule",
    [
        at_least(-math.inf),
        at_most(math.inf),
        between(-math.inf, math.inf),
        near(0, math.inf),
        equals(math.nan),
        holds_when("always", lambda here: True),
    ],
)
@pytest.mark.parametrize("here", [math.nan, [1.0, math.nan], np.array([np.nan]), jnp.nan, {"a": math.nan}])
def test_nan_never_holds(rule, here):
    assert holds(here, rule) is False


def test_nothing_measured_never_holds():
    assert not holds([], at_least(0))
    assert not holds({}, holds_when("always", lambda here: True))


def test_numeric_rules_judge_every_entry():
    assert holds([1, 2, 3], at_least(1))
    assert not holds([1, 2, 3], at_least(2))
    assert holds(np.full((2, 2), 0.5), between(0, 1))


def test_chains_numbers_and_several_relations():
    rule = ordered("naive < osm <= exact", "exact <= 100", "exact == truth")
    assert rule.text == "naive < osm <= exact and exact <= 100 and exact == truth"
    assert holds({"naive": 70, "osm": 100, "exact": 100, "truth": 100}, rule)
    assert holds([70, 100, 100, 100], rule)
    assert not holds([100, 100, 100, 100], rule)
    assert not holds([70, 90, 101, 101], rule)


def test_equality_and_own_rules():
    assert holds("rank 13", equals("rank 13"))
    assert holds([1, 2], equals((1, 2)))
    assert not holds([1, 2], equals([2, 1]))
    assert holds(True, holds_when("the curve falls"))
    assert not holds(1, holds_when("the curve falls"))
    assert holds([3, 2], holds_when("the curve falls", lambda curve: curve[0] > curve[1]))


def test_values_become_plain():
    claim = Claim("c", paper=np.float64(0.5), here=jnp.array([1, 2]), rule=at_least(1))
    assert claim.as_dict() == {"claim": "c", "paper": 0.5, "here": [1, 2], "rule": "at least 1", "holds": True}
    assert type(claim.paper) is float
    assert Claim("c", "p", np.bool_(True), equals(True)).here is True


@pytest.mark.parametrize(
    ("here", "rule", "message"),
    [
        ("much", at_least(1), "claim 'c': the rule 'at least 1' cannot judge 'much': a number is needed"),
        (True, at_most(1), "a number is needed, not True"),
        ({"a": 1}, ordered("a < b"), "no value is given for b"),
        ([1, 2, 3], ordered("a < b"), "cannot judge"),
    ],
)
def test_a_rule_that_does_not_fit_is_an_error(here, rule, message):
    with pytest.raises(TypeError, match=message):
        Claim("c", paper=1, here=here, rule=rule)


def test_a_bare_function_is_no_rule():
    with pytest.raises(TypeError):
        Claim("c", paper=1, here=1, rule=lambda here: True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: between(2, 1), "needs low <= high"),
        (lambda: near(1, -1), "tolerance of 0 or more"),
        (lambda: ordered(), "at least one relation"),
        (lambda: ordered("a"), "a relation is written like"),
        (lambda: ordered("a < "), "a relation is written like"),
    ],
)
def test_a_rule_that_makes_no_sense_is_an_error(build, message):
    with pytest.raises(ValueError, match=message):
        build()
