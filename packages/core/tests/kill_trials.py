"""Kill a training program at random moments, start it again, and compare: python kill_trials.py --trials 20

Every trial must end in the undisturbed run's parameters, optimiser state and log, to the last bit.
"""

import argparse
import filecmp
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).with_name("resume_program.py")


def command(folder: Path) -> list[str]:
    return [sys.executable, str(PROGRAM), str(folder)]


def undisturbed(folder: Path) -> float:
    """Run once without a kill; the seconds that it took."""
    folder.mkdir(parents=True)
    began = time.perf_counter()
    subprocess.run(command(folder), check=True, capture_output=True)
    return time.perf_counter() - began


def disturbed(folder: Path, seconds: float, kills: int, rng: random.Random) -> list[float]:
    """Kill the program up to `kills` times at random moments, then let it finish; the moments of the kills."""
    folder.mkdir(parents=True)
    moments = []
    for _ in range(kills):
        process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        moment = rng.uniform(0.2, 1.0) * seconds
        try:
            process.wait(timeout=moment)
            break  # it was quicker than the kill
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            moments.append(moment)
    subprocess.run(command(folder), check=True, capture_output=True)
    return moments


def differences(one: Path, other: Path) -> list[str]:
    """The names of the results that are not the same to the last bit."""
    with np.load(one / "final.npz") as a, np.load(other / "final.npz") as b:
        found = [name for name in a if a[name].tobytes() != b[name].tobytes()]
        if a.keys() != b.keys():
            found.append("names")
    if not filecmp.cmp(one / "log.jsonl", other / "log.jsonl", shallow=False):
        found.append("log.jsonl")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kills", type=int, default=2, help="kills in a trial")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, failures = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = undisturbed(folder / "undisturbed")
        sys.stdout.write(f"undisturbed: {seconds:.1f} s\n")
        for trial in range(arguments.trials):
            moments = disturbed(folder / str(trial), seconds, arguments.kills, rng)
            found = differences(folder / "undisturbed", folder / str(trial))
            failures += bool(found)
            told = ", ".join(f"{moment:.2f}" for moment in moments)
            verdict = f"differs in {', '.join(found)}" if found else "equal"
            sys.stdout.write(f"trial {trial + 1}: killed after {told} s: {verdict}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{arguments.trials - failures} of {arguments.trials} trials equal to the last bit\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
