"""Whole reproductions through the program: workers that die, exit statuses, reruns, and stopping."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from fake_methods import SOURCES, environment, install, offprint


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    return {name: install(folder / name, name) for name in SOURCES}


@pytest.fixture(scope="module")
def everything(sites, tmp_path_factory):
    """The outcome of one reproduction of four methods, two at a time."""
    out = tmp_path_factory.mktemp("everything")
    names = ("broken", "crashing", "doubtful", "steady")
    done = offprint("reproduce", *names, "--jobs", 2, "--out", out, sites=[sites[name] for name in names])
    return out, done


def record(out, name):
    return json.loads((out / name / "run.json").read_text())


def test_what_dies_is_named_and_takes_nothing_along(everything):
    out, done = everything
    assert done.returncode == 1
    assert record(out, "crashing/first")["status"] == "finished"
    assert record(out, "crashing/last")["status"] == "finished"
    assert record(out, "steady/second")["status"] == "finished"
    errors = {
        "crashing/raises": "ArithmeticError: the <sum> diverged",
        "crashing/killed": "the process was killed by SIGKILL (the usual reason is that memory ran out)",
        "crashing/faults": "the process was killed by SIGSEGV",
        "crashing/leaves": "the process exited with status 7 in the middle of the experiment",
        "crashing/quits": "SystemExit: 5",
        "broken/never": "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
    }
    for name, error in errors.items():
        assert record(out, name)["status"] == "failed"
        assert record(out, name)["error"] == error
        assert f"{name} failed: {error}" in done.stdout
    for name in ("crashing/raises", "crashing/quits", "broken/never"):
        assert "Traceback" in record(out, name)["traceback"]
        assert f"the traceback is in {out / name / 'run.json'}" in done.stdout
    assert "Fatal Python error: Segmentation fault" in record(out, "crashing/faults")["traceback"]
    assert json.loads((out / "crashing" / "killed" / "claims.json").read_text())[0]["claim"] == "before"


def test_the_table_and_the_report_are_at_the_end(everything):
    out, done = everything
    lines = done.stdout.splitlines()
    heading = next(line for line in lines if line.split() == ["method", "claim", "paper", "here", "verdict", "time"])
    assert lines.index(heading) > lines.index("steady/second finished: both claims hold (0.0 s)")
    assert any(line.split()[:5] == ["doubtful/short", "accuracy", "0.9", "0.5", "does"] for line in lines)
    assert "7 of 8 claims hold; 6 experiments failed." in lines
    assert lines[-1] == f"Report: {out / 'report.html'}"
    assert "printed by the experiment" in (out / "steady" / "output.log").read_text()
    assert "printed by the experiment" not in done.stdout


def test_what_cannot_be_provided_is_not_run_and_not_held_against_the_others(sites, tmp_path):
    done = offprint("reproduce", "demanding", "--out", tmp_path, sites=[sites["demanding"]])
    assert done.returncode == 0, done.stderr
    reason = "it needs your own copy of the records: name its folder with --folder"
    assert f"demanding/licensed not run: {reason}" in done.stdout
    assert "The one claim holds; 1 experiment not run." in done.stdout.splitlines()
    found = record(tmp_path, "demanding/licensed")
    assert (found["status"], found["error"], found["traceback"]) == ("unavailable", reason, None)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The one claim holds; 1 experiment not run" in page
    assert "– not run" in page


def test_status_0_and_3(sites, tmp_path):
    assert offprint("reproduce", "steady", "--out", tmp_path, sites=[sites["steady"]]).returncode == 0
    doubtful = offprint(
        "reproduce", "steady", "doubtful", "--out", tmp_path, sites=[sites["steady"], sites["doubtful"]]
    )
    assert doubtful.returncode == 3
    assert "3 of 4 claims hold." in doubtful.stdout


def test_finished_results_are_taken_unless_anew_or_another_profile_or_version(tmp_path):
    site = install(tmp_path / "site", "steady")
    out = tmp_path / "out"

    def go(*arguments):
        done = offprint("reproduce", "steady", "--out", out, *arguments, sites=[site])
        assert done.returncode == 0
        return done.stdout, len((out / "steady" / "second" / "times").read_text().splitlines())

    assert go()[1] == 1
    text, times = go()
    assert times == 1
    assert "steady/second finished: both claims hold (taken as it is)" in text
    assert go("--anew")[1] == 2
    assert go("--profile", "paper")[1] == 3
    info = (site / "offprint_steady-0.1.0.dist-info").rename(site / "offprint_steady-0.1.1.dist-info")
    (info / "METADATA").write_text((info / "METADATA").read_text().replace("0.1.0", "0.1.1"))
    assert go("--profile", "paper")[1] == 4
    (out / "steady" / "second" / "run.json").write_text("{half a file")
    assert go("--profile", "paper")[1] == 5


def start_slow(site, out):
    """A reproduction that waits in `slow/long`, and the process id of its worker."""
    command = [sys.executable, "-m", "offprint.core.cli", "reproduce", "slow", "--out", str(out)]
    parent = subprocess.Popen(
        command,
        env=environment(site),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    file = out / "slow" / "long" / "pid"
    wait_until(lambda: file.exists() and file.read_text() and (file.parent / "checkpoints").exists())
    return parent, int(file.read_text())


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_ends_the_worker_and_the_same_command_goes_on(sites, tmp_path, number):
    parent, worker = start_slow(sites["slow"], tmp_path)
    parent.send_signal(number)
    _, errors = parent.communicate(timeout=30)
    assert parent.returncode == 130
    assert errors == "offprint: stopped; the same command again goes on from what is saved\n"
    assert not is_alive(worker)
    assert record(tmp_path, "slow/long")["status"] == "interrupted"
    again = offprint("reproduce", "slow", "--out", tmp_path, sites=[sites["slow"]])
    assert again.returncode == 0
    assert "slow/long finished: the one claim holds" in again.stdout


def test_a_worker_does_not_outlive_a_parent_that_is_killed(sites, tmp_path):
    parent, worker = start_slow(sites["slow"], tmp_path)
    parent.kill()
    parent.communicate(timeout=30)
    wait_until(lambda: not is_alive(worker))
    assert record(tmp_path, "slow/long")["status"] == "interrupted"
