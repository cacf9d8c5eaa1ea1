"""The process that runs the experiments of one method: `python -m offprint.core.experiments._worker PLAN`.

PLAN is JSON: `{"method", "experiments", "out", "profile", "anew"}`. Events go to standard output, a JSON object a line:
`{"event": "started" | "taken" | "ended", "experiment": NAME}`; what the experiments print goes to standard error.
Standard input is a lifeline: when it closes, as the parent wants the end or has died, the worker ends as on Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offprint.core.experiments._experiment import Experiment
from offprint.core.experiments._registry import Listing, Method, find_method, load
from offprint.core.experiments._run import failure, finished_result, record_failure, run_experiment

Tell = Callable[[str, str], None]


def main(plan: dict[str, Any]) -> None:
    """Runs the experiments of the plan in turn; the folders keep the outcome."""
    events = os.fdopen(os.dup(1), "w", buffering=1)  # the experiments' own prints must not mix with the events
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(event: str, name: str) -> None:
        events.write(json.dumps({"event": event, "experiment": name}) + "\n")

    method = find_method(plan["method"])
    wanted = [listing for listing in method.experiments if listing.name in plan["experiments"]]
    settings = {"out": Path(plan["out"]), "profile": plan["profile"]}
    try:
        experiments = load(method)
    except (Exception, SystemExit) as error:
        for listing in wanted:
            record_failure(method, listing, failed=failure(error), begun=False, **settings)
            tell("ended", listing.name)
        return
    for listing in wanted:
        _run_one(method, listing, experiments[listing.name], tell, settings, anew=plan["anew"])


def _run_one(
    method: Method,
    listing: Listing,
    experiment: Experiment,
    tell: Tell,
    settings: dict[str, Any],
    *,
    anew: bool,
) -> None:
    try:
        config = experiment.config(settings["profile"])
        if not anew and finished_result(method, experiment, config, **settings):
            tell("taken", listing.name)
            return
        tell("started", listing.name)
        run_experiment(method, experiment, config, anew=anew, **settings)
    except Exception as error:  # the experiment's own exceptions are recorded already: this one came before or after
        record_failure(method, listing, failed=failure(error), begun=False, **settings)
    tell("ended", listing.name)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
