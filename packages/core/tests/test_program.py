"""The shell around a method's own program: subcommands, one line for each error, exit statuses."""

import sys
import warnings
from dataclasses import dataclass
from typing import Annotated

import pytest
import tyro

from offprint.core.data import DataError
from offprint.core.program import UsageError, check_output, print_table, run_program, tyro_message, write_rows


@dataclass(frozen=True)
class Add:
    """Adds."""

    first: int = 1
    """The first number."""


@dataclass(frozen=True)
class Fail:
    """Fails."""

    how: str = "usage"


Command = Annotated[Add, tyro.conf.subcommand("add")] | Annotated[Fail, tyro.conf.subcommand("fail")]
ERRORS = {
    "usage": UsageError("no such\n  thing"),
    "value": ValueError("no such thing"),
    "file": FileNotFoundError("no such thing"),
    "data": DataError("no such thing"),
    "overflow": FloatingPointError("no such thing"),
}


def add(command: Add) -> None:
    warnings.warn("one  is\nsmall", stacklevel=1)
    warnings.warn("one  is\nsmall", stacklevel=1)
    warnings.warn("for programmers", DeprecationWarning, stacklevel=1)
    sys.stdout.write(f"{command.first + 1}\n")


def fail(command: Fail) -> None:
    raise ERRORS.get(command.how, KeyError(command.how))


def run(*arguments: str, failures: tuple[type[Exception], ...] = (FloatingPointError,)) -> int:
    return run_program("sums", "Sums of numbers.", Command, {Add: add, Fail: fail}, arguments, failures=failures)


def test_a_subcommand_runs_and_its_warnings_stand_once_behind_the_result(capsys):
    assert run("add", "--first", "4") == 0
    printed = capsys.readouterr()
    assert printed.out == "5\n"
    assert printed.err == "warning: one is small\n"


@pytest.mark.parametrize("how", ERRORS)
def test_an_error_is_one_line_with_a_status(how, capsys):
    assert run("fail", "--how", how) == (1 if how == "overflow" else 2)
    assert capsys.readouterr().err == "sums: no such thing\n"


def test_failures_come_first(capsys):
    assert run("fail", "--how", "data", failures=(DataError,)) == 1
    assert capsys.readouterr().err == "sums: no such thing\n"


def test_what_is_not_expected_is_passed_on():
    with pytest.raises(KeyError, match="other"):
        run("fail", "--how", "other")


@pytest.mark.parametrize("arguments", [("add", "--frist", "3"), ("add", "--first", "x"), ("multiply",), ()])
def test_wrong_arguments_are_one_line_and_status_2(arguments, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sums: ")
    assert error.endswith(" (see sums --help)\n")
    assert error.count("\n") == 1


def test_help_is_status_0(capsys):
    assert run("--help") == 0
    assert "Sums of numbers." in capsys.readouterr().out


def test_the_flag_that_was_meant_is_named():
    box = "╭─ Error ─╮\n│ Unrecognized options: --frist │\n│ ───── │\n│ Perhaps you meant: │\n│ --first INT │\n╰──╯"
    assert tyro_message(box) == "Unrecognized options: --frist; did you mean --first?"


def test_a_table_names_its_columns_and_shortens_fractions(capsys):
    print_table("two [rows]", [{"name": "a", "value": 1.23456}, {"name": "[b]", "value": 2}])
    printed = capsys.readouterr().out
    assert printed.startswith("two [rows]\n")
    assert all(text in printed for text in ("name", "value", "1.235", "[b]"))
    assert "1.23456" not in printed
    print_table("none", [])
    assert capsys.readouterr().out == "none\n"


def test_rows_as_csv_have_the_columns_of_all_of_them(tmp_path):
    write_rows(None, [{"a": 1}])
    write_rows(tmp_path / "rows.csv", ({"a": 1, "b": "x,y"}, {"a": 2, "c": 0.5}))
    assert (tmp_path / "rows.csv").read_text() == 'a,b,c\n1,"x,y",\n2,,0.5\n'


def test_an_output_file_is_refused_before_any_work(tmp_path):
    check_output(None, (".csv",))
    check_output(tmp_path / "rows.csv", (".csv", ".npz"))
    with pytest.raises(UsageError, match=r"rows.txt has an unknown format; .csv or .npz is needed"):
        check_output(tmp_path / "rows.txt", (".csv", ".npz"))
    with pytest.raises(UsageError, match=r"the folder of .* is not there"):
        check_output(tmp_path / "none" / "rows.csv", (".csv",))
