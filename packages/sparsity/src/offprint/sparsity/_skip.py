"""An optimiser's step that may be skipped, in place."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, Bool, PyTree

Update = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]


def step_unless(
    skip: Bool[Array, ""] | bool, update: Update, grads: PyTree, state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    """(zeros, `state`) if `skip`, else `update(grads, state, params)`.

    The obvious ways are slow. Both a branch around the step and a select after it make copies of the state, since the
    updates are then computed from the old moments, which the new ones would overwrite. Here the new moments are
    computed, then selected, and what depends on them (the updates) is computed from the selected ones. If the step is
    taken, that is the same; if it is skipped, its updates are thrown away.

    That is done with the moments that an equation of the traced step computes alone. All else in the state (counters,
    and moments out of a branch or a jitted function, as in `optax.MultiSteps` or `optax.apply_if_finite`) is selected
    after the step.
    """
    before = jax.tree.leaves(state)
    try:
        found = _in_place(skip, update, grads, state, params)
    except (AttributeError, TypeError):  # a JAX whose traced code cannot be changed like this, or an error of `update`
        found = None
    (updates, after), places = (update(grads, state, params), []) if found is None else found
    flat = [
        new if place in places else jnp.where(skip, old, new)
        for place, (new, old) in enumerate(zip(jax.tree.leaves(after), before, strict=True))
    ]
    return jax.tree.map(lambda leaf: jnp.where(skip, 0, leaf), updates), jax.tree.unflatten(
        jax.tree.structure(state), flat
    )


def _in_place(
    skip: Bool[Array, ""] | bool, update: Update, grads: PyTree, state: PyTree, params: PyTree
) -> tuple[tuple[PyTree, PyTree], list[int]] | None:
    """What `update` returns, computed from selected moments, and which leaves of the state these are; or None."""
    traced, shapes = jax.make_jaxpr(update, return_shape=True)(grads, state, params)
    inputs, before = jax.tree.leaves((grads, state, params)), jax.tree.leaves(state)
    places = _moments(traced, before)
    if not places or traced.effects:  # what has effects (a callback) must not be run twice
        return None
    moments = [traced.jaxpr.outvars[len(traced.jaxpr.outvars) - len(before) + place] for place in places]
    new = _run(traced, inputs, outputs=moments)
    chosen = [jnp.where(skip, before[place], moment) for place, moment in zip(places, new, strict=True)]
    outputs = _run(traced, inputs, known=dict(zip(moments, chosen, strict=True)))
    return jax.tree.unflatten(jax.tree.structure(shapes), outputs), places


def _moments(traced: core.ClosedJaxpr, before: list[Any]) -> list[int]:
    """Which leaves of the state are arrays of floats, each the only output of an equation, and output only once."""
    outvars = traced.jaxpr.outvars
    alone = {equation.outvars[0] for equation in traced.jaxpr.eqns if len(equation.outvars) == 1}
    times = Counter(var for var in outvars if isinstance(var, core.Var))
    # Counters are left to the end: a step that is thrown away should not divide by a count of zero.
    return [
        place
        for place, (old, var) in enumerate(zip(before, outvars[len(outvars) - len(before) :], strict=True))
        if jnp.ndim(old)
        and jnp.issubdtype(jnp.result_type(old), jnp.inexact)
        and isinstance(var, core.Var)
        and var in alone
        and times[var] == 1
    ]


def _run(
    traced: core.ClosedJaxpr,
    inputs: list[Any],
    *,
    outputs: list[Any] | None = None,
    known: dict[Any, Any] | None = None,
) -> list[Any]:
    """Evaluate traced code: these variables of it as outputs, or with variables whose values are known already.

    The equations of known variables, which have no other outputs, are left out; XLA drops what is computed twice.
    """
    known = known or {}
    jaxpr = traced.jaxpr.replace(
        outvars=traced.jaxpr.outvars if outputs is None else outputs,
        invars=[*traced.jaxpr.invars, *known],
        eqns=[equation for equation in traced.jaxpr.eqns if not all(var in known for var in equation.outvars)],
        debug_info=traced.jaxpr.debug_info.with_unknown_names(),
    )
    return core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, traced.consts))(*inputs, *known.values())
