"""Parameter counts: the published ones, and the largest layer within a budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.mgrn._budget import MODELS, count_parameters, match_parameters

TWO, SPLIT = (8, 8), (1,) * 16

PUBLISHED = [  # model, groups, H, s, parameters of table 1
    ("lstm", TWO, 14, 1, 1736),
    ("gru", TWO, 17, 1, 1734),
    ("channelwise", TWO, 5, 1, 1640),
    ("channelwise", TWO, 4, 2, 1632),
    ("channelwise", TWO, 3, 4, 1776),
    ("channelwise", TWO, 2, 8, 1952),
    ("channelwise", SPLIT, 3, 1, 3120),
    ("channelwise", SPLIT, 2, 2, 2128),
    ("channelwise", SPLIT, 2, 4, 3360),
    ("channelwise", SPLIT, 2, 8, 6208),
    ("mgrn", TWO, 10, 1, 1620),
    ("mgrn", TWO, 8, 2, 1616),
    ("mgrn", TWO, 6, 4, 1836),
    ("mgrn", TWO, 3, 8, 1368),
    ("mgrn", SPLIT, 4, 1, 1496),
    ("mgrn", SPLIT, 4, 2, 1872),
    ("mgrn", SPLIT, 3, 4, 1656),
    ("mgrn", SPLIT, 2, 8, 1440),
]


@pytest.mark.parametrize(("model", "groups", "hidden", "size_of", "published"), PUBLISHED)
def test_published_counts(model, groups, hidden, size_of, published):
    assert count_parameters(model, groups, hidden, size_of) == published


def test_two_biases_are_those_of_torch():
    assert count_parameters("lstm", TWO, 14, biases=2) == 4 * 14 * (16 + 14 + 2)
    assert count_parameters("gru", TWO, 17, biases=2) == 3 * 17 * (16 + 17 + 2)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(MODELS),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.sampled_from([0.5, 1, 1.5, 4]),
    st.integers(500, 20000),
)
def test_the_match_is_the_largest_within_the_budget(model, groups, size_of, target):
    hidden = match_parameters(target, groups, model, size_of)
    assert count_parameters(model, groups, hidden, size_of) <= target
    assert count_parameters(model, groups, hidden + 1, size_of) > target
