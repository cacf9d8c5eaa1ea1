"""Pruning before training: score, prune a little, score what is left, and so on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from offprint.sparsity import scores as criteria
from offprint.sparsity._counts import Patterns, Rounding, Scope, check_sparsity, keep_counts
from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._limbs import count_limbs
from offprint.sparsity._mask import all_fixed, check_amount, make_masks, masks_by_count
from offprint.sparsity._pattern import Unstructured
from offprint.sparsity._tree import map_named, named_leaves
from offprint.sparsity.scores._leaves import warn_of_zeros
from offprint.sparsity.scores._synflow import warn_unless_proportional

UNSTRUCTURED = Unstructured()

Method = Literal["snip", "itersnip", "force", "grasp", "synflow", "magnitude", "random"]

ROUNDS: dict[str, int] = {"synflow": 100, "force": 10, "itersnip": 10}  # of the authors' codes; the others: 1
KEYS: dict[str, str] = {
    "snip": "lee2019snip",
    "itersnip": "verdenius2020",
    "force": "dejorge2021force",
    "grasp": "wang2020grasp",
    "synflow": "tanaka2020synflow",
    "magnitude": "han2015",
    "random": "hoefler2021sparsity",
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "snip": ("loss_fn", "batch"),
    "itersnip": ("loss_fn", "batch"),
    "force": ("loss_fn", "batch"),
    "grasp": ("logits_fn", "batch"),
    "synflow": ("apply_fn", "input_shape"),
    "magnitude": (),
    "random": ("key",),
}


def prune_at_init(
    method: Method,
    params: PyTree,
    sparsity: float | int | None = None,
    *,
    loss_fn: Callable[[PyTree, PyTree], Array] | None = None,
    logits_fn: Callable[[PyTree, Any], Array] | None = None,
    apply_fn: Callable[..., Array] | None = None,
    batch: Any = None,
    input_shape: Sequence[int] | None = None,
    state: PyTree | None = None,
    key: PRNGKeyArray | None = None,
    rounds: int | None = None,
    schedule: Literal["exponential", "linear"] = "exponential",
    allow_revival: bool | None = None,
    scope: Scope = "global",
    budget: PyTree = None,
    pattern: Patterns = UNSTRUCTURED,
    rounding: Rounding = "nearest",
    min_keep: int | None = None,
    filter: Filter | None = None,
    **options: Any,
) -> PyTree:
    """Masks of a network that has not been trained, by one of the criteria for it.

    | method | needs | rounds | paper |
    |---|---|---|---|
    | 'snip' | `loss_fn(params, batch)`, `batch` | 1 | `lee2019snip` |
    | 'itersnip' | the same | 10 | `verdenius2020`, `dejorge2021force` |
    | 'force' | the same; pruned weights may return | 10 | `dejorge2021force` |
    | 'grasp' | `logits_fn(params, inputs)`, `batch` = (inputs, labels) | 1 | `wang2020grasp` |
    | 'synflow' | `apply_fn(params, x)` or `(params, state, x)`, `input_shape`, `state` | 100 | `tanaka2020synflow` |
    | 'magnitude' | | 1 | `han2015` |
    | 'random' | `key` | 1 | |

    In round k of K the density is d^{k/K} ('exponential') or 1 − (1 − d) k/K ('linear'), scores are those of the
    network masked so far, and the same batch serves all rounds. N:M patterns have no densities in between: all they
    remove goes in the first round, and later rounds are only run where weights may return.

    Args:
        method: see the table; functions are to be in evaluation mode.
        params: tree of arrays at initialisation.
        sparsity: share of the weights to remove, in [0, 1). None with a budget, with a scope that is a mapping, or with
            N:M patterns on all leaves, which say it themselves.
        loss_fn, logits_fn, apply_fn, batch, input_shape, state, key: what the method needs.
        rounds: number of rounds K; None: as in the table.
        schedule: of the density over rounds.
        allow_revival: whether a weight that one round prunes may return in a later one. None: only for 'force', which
            differs from 'itersnip' in nothing else.
        scope, budget, pattern, rounding, min_keep: see `make_masks`; all these methods rank globally.
        filter: which leaves; default: kernels.
        options: for the criterion in `offprint.sparsity.scores`: `temperature`, `logs`, ...

    Returns:
        masks, True = keep; `None` at leaves that are not chosen.

    Raises:
        ValueError: an unknown method, something it needs is missing, a sparsity outside [0, 1), no sparsity or a second
            one (`make_masks`), no rounds, scores that are not finite; see the criteria for more.

    Counts: the authors' codes round in other ways. `rounding='floor'` keeps as many as those of SNIP, GraSP and
    SynFlow (ganguli-lab/Synaptic-Flow), 'ceil' as FORCE and iterative SNIP (naver/force). Synaptic-Flow calls density
    what it names sparsity; here it is the share removed.
    """
    count = _check(method, rounds, schedule)
    given = {
        "loss_fn": loss_fn,
        "logits_fn": logits_fn,
        "apply_fn": apply_fn,
        "batch": batch,
        "input_shape": input_shape,
        "key": key,
    }
    missing = [name for name in _NEEDS[method] if given[name] is None]
    if missing:
        raise ValueError(f"method {method!r} needs {' and '.join(_NEEDS[method])}; {' and '.join(missing)} is missing")
    revive = method == "force" if allow_revival is None else allow_revival
    score = _scorer(method, params, given, state, filter, options)
    chosen = prunable(params, filter)
    full = map_named(lambda path, leaf: jnp.ones(leaf.shape, bool) if path in chosen else None, params)
    target = _Target(sparsity, scope, budget, schedule)
    check_amount(full, sparsity, scope=scope, budget=budget, pattern=pattern)
    if sparsity is not None and budget is not None:
        raise ValueError("give a sparsity or a budget of densities, not both")
    fixed = all_fixed(full, pattern)
    if fixed and not revive:
        count = 1
    counting: dict[str, Any] = {"pattern": pattern, "rounding": rounding, "min_keep": min_keep}
    before = full
    if count == 1:
        scores = jax.jit(score)(full)
    else:
        # Of N:M patterns alone there is nothing to count.
        counts = [None if fixed else keep_counts(full, **target.at(k / count), **counting) for k in range(1, count + 1)]
        local = scope == "local" or budget is not None
        choose = {
            "pattern": pattern,
            "groups": tuple(scope) if budget is None and isinstance(scope, Mapping) else None,
            "min_keep": 0 if local else min_keep or 0,
        }
        before, scores, finite = _rounds(score, full, counts, revive, choose)
        if not isinstance(finite, jax.core.Tracer) and not finite:
            advice = "use float64, or logs=True" if method == "synflow" else "use float64"
            raise ValueError(f"the scores of {method!r} are not finite in one of the {count} rounds; {advice}")
    warn_of_zeros(
        _NEEDS[method][0] if _NEEDS[method] else "params", {p: s for p, s in named_leaves(scores) if s is not None}
    )
    return make_masks(scores, **target.at(1.0), previous=None if revive else before, **counting)


@dataclass(frozen=True)
class _Target:
    """What is to be removed in the end, and on the way there."""

    sparsity: float | int | None
    scope: Scope
    budget: PyTree
    schedule: str

    def at(self, share: float) -> dict[str, Any]:
        """Arguments of `make_masks` after this share of the rounds."""
        if self.budget is not None and share < 1:
            budget = map_named(lambda _, d: None if d is None else 1 - self._removed(1 - float(d), share), self.budget)
            return {"budget": budget}
        if self.budget is not None:
            return {"budget": self.budget}
        if isinstance(self.scope, Mapping):
            scope = {key: self._removed(check_sparsity(value), share) for key, value in self.scope.items()}
            return {"scope": scope}
        sparsity = None if self.sparsity is None else self._removed(check_sparsity(self.sparsity), share)
        return {"sparsity": sparsity, "scope": self.scope}

    def _removed(self, sparsity: float, share: float) -> float:
        if share == 1:
            return sparsity  # exactly
        return sparsity * share if self.schedule == "linear" else 1 - (1 - sparsity) ** share


def _check(method: str, rounds: int | None, schedule: str) -> int:
    """The number of rounds."""
    if method not in _NEEDS:
        raise ValueError(f"method {method!r} is unknown; it must be one of {', '.join(_NEEDS)}")
    if schedule not in ("exponential", "linear"):
        raise ValueError(f"schedule must be 'exponential' or 'linear'; got {schedule!r}")
    count = ROUNDS.get(method, 1) if rounds is None else rounds
    if count < 1:
        raise ValueError(f"rounds must be at least 1; got {count}")
    return count


def _scorer(
    method: str, params: PyTree, given: Mapping[str, Any], state: PyTree, filter: Filter | None, options: dict[str, Any]
) -> Callable[[PyTree], PyTree]:
    """Scores of the network under masks."""
    if method == "grasp":
        return lambda masks: criteria.grasp(
            given["logits_fn"], params, given["batch"], masks=masks, filter=filter, **options
        )
    if method == "synflow":
        if options.get("logs"):
            warn_unless_proportional(given["apply_fn"], params, given["input_shape"], state, filter)
        return lambda masks: criteria.synflow(
            given["apply_fn"], params, given["input_shape"], state, masks=masks, filter=filter, **options
        )
    if method == "magnitude":
        return lambda masks: criteria.magnitude(params, filter=filter, **options)
    if method == "random":
        return lambda masks: criteria.random(given["key"], params, filter=filter, **options)
    return lambda masks: criteria.snip(given["loss_fn"], params, given["batch"], masks=masks, filter=filter, **options)


def _rounds(
    score: Callable[[PyTree], PyTree], full: PyTree, counts: Sequence[Any], revive: bool, choose: dict[str, Any]
) -> tuple[PyTree, PyTree, Array]:
    """The masks before the last round, the scores of the last round, and whether all scores were finite.

    One scan over the rounds, so that the criterion is compiled once and the whole works under jit and vmap.
    """

    def one(carry: tuple[PyTree, PyTree, PyTree, Array], n_keep: Any) -> tuple[Any, None]:
        masks, _, _, finite = carry
        scores = score(masks)
        kept = masks_by_count(scores, n_keep, previous=None if revive else masks, **choose)
        for leaf in jax.tree.leaves(scores):
            finite = finite & jnp.all(jnp.isfinite(leaf))
        return (kept, masks, scores, finite), None

    shapes = jax.eval_shape(score, full)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    table = jax.tree.map(lambda *each: np.stack([count_limbs(n) for n in each]), *counts)
    (_, before, scores, finite), _ = jax.lax.scan(one, (full, full, nothing, jnp.array(True)), table, len(counts))
    return before, scores, finite
