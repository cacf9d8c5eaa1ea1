"""The program `offprint`. Nothing here imports JAX before an experiment is about to run."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from offprint.core._installed import UsageError
from offprint.core.citation import FORMATS, cite
from offprint.core.experiments import _registry as registry
from offprint.core.experiments._experiment import Experiment

_EXIT = """exit status:
  0 everything asked for was done and every claim holds
  1 something failed to run
  2 wrong usage
  3 everything ran, but a claim does not hold"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows '?', not an error
    options, flags = _parser().parse_known_args(arguments)
    if flags and options.action is not _run:
        return _complain(f"unknown arguments: {' '.join(flags)}; see offprint {options.command} --help", 2)
    options.flags = flags
    try:
        return options.action(options)
    except UsageError as error:
        return _complain(error, 2, options)
    except KeyboardInterrupt:
        return _complain("stopped; the same command again goes on from what is saved", 130, options)
    except Exception as error:
        return _complain(f"{type(error).__name__}: {error}", 1, options)


def _complain(message: object, status: int, options: argparse.Namespace | None = None) -> int:
    if getattr(options, "debug", False):
        traceback.print_exc()
    sys.stderr.write(f"offprint: {' '.join(str(message).split())}\n")
    return status


def _list(options: argparse.Namespace) -> int:
    found = registry.methods()
    if not found:
        raise UsageError("no method is installed; install one, for example: pip install offprint-memory-capacity")
    listings = [listing for method in found.values() for listing in method.experiments]
    names = max((len(listing.name) for listing in listings), default=0)
    subjects = max((len(listing.reproduces) for listing in listings), default=0)
    blocks = []
    for method in found.values():
        lines = [f"{method.name} {method.version}"]
        for listing in method.experiments:
            lines.append(f"  {listing.name:{names}}  {listing.reproduces:{subjects}}  {listing.summary}".rstrip())
        if method.problem:
            lines.append(f"  its experiments cannot be read: {method.problem}")
        blocks.append("\n".join(lines))
    sys.stdout.write("\n\n".join(blocks) + "\n")
    return 0


def _run(options: argparse.Namespace) -> int:
    if options.target is None:
        options.parser.print_help()
        return 0 if options.help else 2
    method, listing = registry.find_experiment(options.target)
    from offprint.core.experiments._reproduce import ONE_LAPACK_THREAD

    os.environ.update({**ONE_LAPACK_THREAD, **os.environ})  # before NumPy and SciPy are loaded
    experiment = registry.load(method)[listing.name]
    config = _configured(experiment, f"offprint run {method.name}/{listing.name}", options)
    if config is None:
        return 0
    from offprint.core.experiments import _display, exit_status, run_experiment

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = _display.console()
    result = run_experiment(method, experiment, config, options.out, profile=options.profile, anew=options.anew)
    _display.print_claims(screen, [result])
    screen.print(f"Results: {result.folder}", soft_wrap=True)
    if not result.finished:
        if options.debug:
            sys.stderr.write(result.run["traceback"] or "")
        _complain(f"{result.name} {'was not run' if result.unavailable else 'failed'}: {result.error}", 1)
    return exit_status([result])


def _configured(experiment: Experiment, program: str, options: argparse.Namespace) -> Any:
    """The config of the profile with the fields that flags change; None where only help was asked for."""
    import tyro

    from offprint.core.program import tyro_message

    flags = [*options.flags, *(["--help"] if options.help else [])]
    default = experiment.config(options.profile)
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(
                type(default),
                args=flags,
                default=default,
                prog=program,
                description=f"{experiment.summary} (These flags besides those of `offprint run --help`.)",
            )
    except SystemExit as end:
        if not end.code:
            return None
        raise UsageError(f"{tyro_message(messages.getvalue())} (see {program} --help)") from None
    except ValueError as error:  # raised by the config itself, which knows what it needs
        raise UsageError(f"{program}: {error}") from error


def _reproduce(options: argparse.Namespace) -> int:
    from offprint.core.experiments import _display, exit_status, reproduce, write_report

    names = options.methods or list(registry.methods())
    chosen = list({method.name: method for method in map(registry.find_method, names)}.values())
    if not chosen:
        raise UsageError("no method is installed; install one, for example: pip install offprint-memory-capacity")
    if options.short:
        chosen = [replace(method, experiments=tuple(e for e in method.experiments if not e.long)) for method in chosen]
        if not any(method.experiments or method.problem for method in chosen):
            raise UsageError("all of these experiments are long; leave out --short")
    screen = _display.console()
    count = sum(len(method.experiments) for method in chosen)
    with _display.watching(screen, count) as watch:
        results = reproduce(
            chosen, options.out, profile=options.profile, jobs=options.jobs, anew=options.anew, watch=watch
        )
    unreadable = [method for method in chosen if method.problem]
    if results:
        _display.print_claims(screen, results)
        screen.print(f"Report: {write_report(options.out).resolve()}", soft_wrap=True)
    for method in unreadable:
        _complain(f"the experiments of {method.name} cannot be read: {method.problem}", 1)
    return 1 if unreadable else exit_status(results)


def _report(options: argparse.Namespace) -> int:
    from offprint.core.experiments import write_report

    sys.stdout.write(f"{write_report(options.folder).resolve()}\n")
    return 0


def _cite(options: argparse.Namespace) -> int:
    sys.stdout.write(cite(options.method, options.format) + "\n")
    return 0


def _data(options: argparse.Namespace) -> int:
    from offprint.core import data

    if options.what == "where":
        own = data.local_folder()
        sys.stdout.write("".join(f"{folder}\n" for folder in (own, data.data_folder()) if folder is not None))
        return 0
    # methods that share a data set advertise the same one
    every = list(dict.fromkeys(dataset for group in data.all_datasets().values() for dataset in group))
    if options.what == "list":
        width = max((len(dataset.name) for dataset in every), default=0)
        lines = [f"{dataset.name:{width}}  {dataset.description} ({dataset.licence})\n" for dataset in every]
        sys.stdout.write("".join(lines) or "no installed method has data sets to fetch\n")
        return 0
    from offprint.core.experiments import _display

    screen = _display.console()
    with _display.downloading(screen) as progress:
        for dataset in [data.find_dataset(name, every) for name in options.names] or every:
            screen.print(dataset.terms, soft_wrap=True)
            try:
                paths = dataset.fetch(progress)
            except data.DataError as error:
                return _complain(error, 1, options)
            for path in paths:
                screen.print(f"  {path}", soft_wrap=True)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    debug = _Parser(add_help=False)
    debug.add_argument("--debug", action="store_true", help="show the traceback of an error")
    results = _Parser(add_help=False)
    results.add_argument("--profile", choices=["quick", "paper"], default="quick", help="scale (default: quick)")
    results.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    results.add_argument("--anew", action="store_true", help="use nothing of what the folder holds already")

    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28)

    parser = _Parser(
        prog="offprint",
        description="Reproduce published methods, each from its own package, and cite what you used.",
        epilog=_EXIT,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"offprint-core {metadata.version('offprint-core')}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)

    def command(name, action, summary, parents=(), **settings):
        made = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            parents=[*parents, debug],
            formatter_class=formatter,
            allow_abbrev=False,
            **settings,
        )
        made.set_defaults(action=action, parser=made)
        return made

    command("list", _list, "the methods and experiments installed")
    run = command("run", _run, "run one experiment", [results], add_help=False)
    run.usage = "offprint run METHOD/EXPERIMENT [--profile quick|paper] [--out DIR] [--anew] [--ANY-CONFIG-FIELD VALUE]"
    run.add_argument("target", nargs="?", metavar="METHOD/EXPERIMENT", help="one of `offprint list`")
    run.add_argument("-h", "--help", action="store_true", help="after METHOD/EXPERIMENT: its config fields as well")
    reproduce = command("reproduce", _reproduce, "run every experiment, check every claim, write a report", [results])
    reproduce.add_argument("methods", nargs="*", metavar="METHOD", help="default: all that are installed")
    reproduce.add_argument("--short", action="store_true", help="leave out what takes more than a minute and a half")
    reproduce.add_argument("--jobs", type=_positive, default=1, metavar="N", help="methods side by side (default: 1)")
    report = command("report", _report, "write the HTML report of a results folder")
    report.add_argument("folder", type=Path, metavar="DIR", help="what --out named")
    citing = command("cite", _cite, "how to cite a method: the release installed and its paper")
    citing.add_argument("method", metavar="METHOD")
    citing.add_argument("--format", choices=FORMATS, default="bibtex", help="default: bibtex")
    data = command("data", _data, "the data sets of the installed methods")
    data.add_argument("what", choices=["list", "fetch", "where"], help="`where`: the folders they are looked for in")
    data.add_argument("names", nargs="*", metavar="NAME", help="data sets to fetch (default: all)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


_positive.__name__ = "int"  # argparse names the type in its message


if __name__ == "__main__":
    sys.exit(main())
