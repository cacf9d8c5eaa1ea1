"""How loops and branches tie axes: scan, while and cond."""

from typing import Any

from offprint.sparsity._jaxprs import Key, closed
from offprint.sparsity._rules import Axes, kept, rule


def _unify(labels: Any, ones: list[Axes], others: list[Axes]) -> None:
    for one, other in zip(ones, others, strict=True):
        for a, b in zip(one, other, strict=True):
            labels.units.unify(a, b)


@rule("scan")
def _scan(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    consts, carries = eqn.params["num_consts"], eqn.params["num_carry"]
    fixed, carry, stacked = ins[:consts], ins[consts : consts + carries], ins[consts + carries :]
    for axes in stacked:
        labels.units.freeze(axes[0])
    outs = labels.walk(closed(eqn.params["jaxpr"]), fixed + carry + [axes[1:] for axes in stacked], key)
    _unify(labels, carry, outs[:carries])
    return carry + [(kept(eqn.params["length"]), *axes) for axes in outs[carries:]]


@rule("while")
def _while(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    for_cond, for_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    carry = ins[for_cond + for_body :]
    labels.walk(closed(eqn.params["cond_jaxpr"]), ins[:for_cond] + carry, (*key, 0))
    outs = labels.walk(closed(eqn.params["body_jaxpr"]), ins[for_cond : for_cond + for_body] + carry, (*key, 1))
    _unify(labels, carry, outs)
    return carry


@rule("cond")
def _cond(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    branches = [labels.walk(closed(b), ins[1:], (*key, i)) for i, b in enumerate(eqn.params["branches"])]
    for other in branches[1:]:
        _unify(labels, branches[0], other)
    return branches[0]
