"""Exact resume of a real process: killed at random moments, and asked to end."""

import random
import signal
import subprocess
import time

import pytest
from kill_trials import command, differences, disturbed, undisturbed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume") / "undisturbed"
    return folder, undisturbed(folder)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_run_ends_in_the_undisturbed_run_to_the_last_bit(whole, tmp_path, seed):
    folder, seconds = whole
    disturbed(tmp_path / "run", seconds, kills=2, rng=random.Random(seed))
    assert differences(folder, tmp_path / "run") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_saves_and_says_how_to_go_on(whole, tmp_path, number):
    folder, _ = whole
    run = tmp_path / "run"
    run.mkdir()
    process = subprocess.Popen(command(run), stderr=subprocess.PIPE, text=True)
    log = run / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.02)  # until the first row was written: the loop is running
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    message = f"Interrupted: {signal.Signals(number).name} received: stopped after step "
    assert message in stderr
    assert "start the same command again to go on" in stderr
    subprocess.run(command(run), check=True, capture_output=True)
    assert differences(folder, run) == []
