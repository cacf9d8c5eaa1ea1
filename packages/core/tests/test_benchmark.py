import json

import jax.numpy as jnp
import pytest

from offprint.core.benchmark import Timing, machine, measure, report, row


def test_workloads_take_turns_after_a_first_call_each():
    calls = []
    times = measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert 0 <= times["a"].least <= times["a"].median


def test_results_of_jax_are_waited_for():
    assert measure({"sum": lambda: {"x": jnp.ones(10).sum()}}, repeats=1)["sum"].first > 0


def test_a_row_gives_times_per_unit_and_the_ratio():
    line = row("steps", ours=Timing(1.0, 0.9, 3.0), peer=Timing(4.0, 3.5, 5.0), peer_name="other", per=1000)
    assert line == {
        "workload": "steps",
        "ours [ms]": 1.0,
        "peer": "other",
        "peer [ms]": 4.0,
        "peer / ours": 4.0,
        "first call [s]": 3.0,
    }
    assert row("steps", ours=Timing(1.0, 1.0, 1.0), peer=None)["peer / ours"] is None


def test_the_report_is_a_table_and_json(capsys):
    report("speed", [{"workload": "w", "ours [ms]": 1.25, "peer": None}], note="one run")
    printed = capsys.readouterr().out
    assert "one run" in printed
    assert "1.25" in printed
    assert json.loads(printed.splitlines()[-1]) == {"table": "speed", "workload": "w", "ours [ms]": 1.25, "peer": None}


def test_the_machine_is_named():
    assert "cores" in machine()
    assert "jax" in machine()


def test_no_repeats_are_refused():
    with pytest.raises(ValueError, match="repeats must be at least 1, but is 0"):
        measure({}, repeats=0)
