"""Actions as indices, masks and joint numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.federated_mlo._actions import (
    action_masks,
    actions_from_joint,
    actions_from_masks,
    joint_index,
    masks_from_actions,
    num_actions,
)


def test_an_action_is_a_bitmask_less_one():
    masks = np.asarray(action_masks(3))
    assert masks.shape == (7, 3)
    for action, mask in enumerate(masks):
        assert sum(2**link for link in range(3) if mask[link]) == action + 1
    np.testing.assert_array_equal(actions_from_masks(masks), np.arange(7))
    np.testing.assert_array_equal(masks_from_actions(np.arange(7), 3), masks)
    assert int(actions_from_masks(np.zeros(3, np.int8))) == -1


def test_joint_actions_count_with_bss_0_in_front():
    for index, actions in enumerate(itertools.product(range(3), repeat=3)):
        assert int(joint_index(np.array(actions), 2)) == index
        np.testing.assert_array_equal(actions_from_joint(index, 3, 2), actions)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 7**5 - 1))
def test_round_trip(index):
    actions = actions_from_joint(index, 5, 3)
    assert int(joint_index(actions, 3)) == index
    np.testing.assert_array_equal(actions_from_masks(masks_from_actions(actions, 3)), actions)


def test_works_traced_and_mapped():
    actions = jnp.arange(12).reshape(4, 3) % 7
    masks = jax.jit(jax.vmap(lambda a: masks_from_actions(a, 3)))(actions)
    np.testing.assert_array_equal(masks, masks_from_actions(actions, 3))
    back = jax.jit(jax.vmap(lambda i: actions_from_joint(i, 3, 3)))(joint_index(actions, 3))
    np.testing.assert_array_equal(back, actions)


def test_outside_the_range():
    np.testing.assert_array_equal(masks_from_actions(np.array([-5, 99]), 2), [[True, False], [True, True]])
    with pytest.raises(ValueError, match=r"num_links=0; a device has between 1 and 16 links"):
        num_actions(0)
    with pytest.raises(ValueError, match=r"12 BSSs of 3 links have 13841287201 joint actions"):
        joint_index(np.zeros(12, int), 3)
