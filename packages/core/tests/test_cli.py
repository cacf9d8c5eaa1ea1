"""The program: what it answers without JAX, its flags, its errors and exit statuses."""

import hashlib
import json
import subprocess
import sys

import pytest
from fake_methods import environment, install, offprint


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    return [install(folder / name, name) for name in ("steady", "crashing", "broken", "doubtful", "demanding")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["cite", "core"],
        ["cite", "core", "--format", "text"],
        ["--help"],
        ["run", "--help"],
        ["reproduce", "--help"],
        ["--version"],
    ],
)
def test_answers_without_jax(sites, arguments):
    code = (
        "import sys, offprint.core\n"
        "from offprint.core.cli import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as end: status = end.code\n"
        "loaded = {'jax', 'numpy', 'flax', 'matplotlib', 'tyro', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'{loaded} are loaded' if loaded else status)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment(*sites), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_list_shows_every_experiment(sites):
    lines = offprint("list", sites=sites).stdout.splitlines()
    assert "steady 0.1.0" in lines
    assert ["second", "Figure", "2", "More", "neurons,", "more", "memory."] in [line.split() for line in lines]
    assert ["never", "Figure", "1", "Cannot", "be", "reached."] in [line.split() for line in lines]


def test_run_takes_the_config_from_flags(sites, tmp_path):
    done = offprint("run", "steady/second", "--neurons", 9, "--law=uniform", "--out", tmp_path, sites=sites)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "steady" / "second" / "config.json").read_text())
    assert config == {"neurons": 9, "seed": 0, "law": "uniform"}
    done = offprint("run", "steady/second", "--profile", "paper", "--seed", 3, "--out", tmp_path, sites=sites)
    config = json.loads((tmp_path / "steady" / "second" / "config.json").read_text())
    assert config == {"neurons": 40, "seed": 3, "law": "normal"}
    assert f"Results: {tmp_path / 'steady' / 'second'}" in done.stdout


def test_run_says_what_does_not_hold_or_fails(sites, tmp_path):
    assert offprint("run", "steady/second", "--neurons", 3, "--out", tmp_path, sites=sites).returncode == 3
    done = offprint("run", "crashing/raises", "--out", tmp_path, sites=sites)
    assert done.returncode == 1
    assert done.stderr == "offprint: crashing/raises failed: ArithmeticError: the <sum> diverged\n"
    done = offprint("run", "crashing/raises", "--out", tmp_path, "--debug", sites=sites)
    assert "Traceback (most recent call last)" in done.stderr
    done = offprint("run", "demanding/licensed", "--out", tmp_path, "--debug", sites=sites)
    assert done.returncode == 1
    assert done.stderr.startswith("offprint: demanding/licensed was not run: it needs your own copy of the records")


def test_help_of_an_experiment_shows_its_config(sites):
    done = offprint("run", "steady/second", "--help", sites=sites)
    assert done.returncode == 0
    assert "--neurons INT" in done.stdout
    assert "Number of neurons N. (default: 4)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "steedy/second"], 2, "there is no method 'steedy'; did you mean 'steady'?"),
        (["run", "steady/secnd"], 2, "there is no experiment 'steady/secnd'; did you mean 'steady/second'?"),
        (["run", "steady"], 2, "'steady' names a method; name one of its experiments: steady/tenth, steady/second"),
        (["run", "steady/second", "--neurons", "many"], 2, "Error parsing --neurons: invalid literal for int()"),
        (["run", "steady/second", "--neurns", "3"], 2, "--neurns, 3; did you mean --neurons? (see offprint run"),
        (["run", "steady/second", "--neurons", "0"], 2, "neurons must be 1 or more, got 0"),
        (["run", "steady/second", "--profile", "big"], 2, "argument --profile: invalid choice: 'big'"),
        (["run", "broken/never"], 1, "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        (["reproduce", "stedy"], 2, "did you mean 'steady'?"),
        (["reproduce", "--jobs", "0"], 2, "argument --jobs: must be 1 or more, got 0"),
        (["reproduce", "--jobs", "x"], 2, "argument --jobs: invalid int value: 'x'"),
        (["reproduce", "--what"], 2, "unknown arguments: --what; see offprint reproduce --help"),
        (["report", "nowhere"], 2, "there are no results in nowhere"),
        (["cite", "stedy"], 2, "did you mean 'steady'?"),
        (["frobnicate"], 2, "invalid choice: 'frobnicate'"),
        ([], 2, "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_one_line(sites, tmp_path, arguments, status, message):
    done = offprint(*arguments, sites=sites, cwd=tmp_path)
    assert done.returncode == status
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


@pytest.mark.parametrize("command", [["run", "steady/second"], ["reproduce", "steady"]])
def test_a_results_folder_that_cannot_be_written(sites, tmp_path, command):
    (tmp_path / "file").write_text("")
    done = offprint(*command, "--out", tmp_path / "file" / "out", sites=sites)
    assert done.returncode == 2
    assert f"cannot write results into {tmp_path / 'file' / 'out'}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_short_reproduction_leaves_out_what_takes_long(sites, tmp_path):
    done = offprint("reproduce", "steady", "--short", "--out", tmp_path / "out", sites=sites)
    assert done.returncode == 0
    assert "Both claims hold" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out" / "steady").iterdir() if path.is_dir()) == ["second"]
    source = '@experiment("f", reproduces="", long=True)\ndef f(config: Config, run: Run): ...\n'
    site = install(tmp_path / "site", "patient", source)
    done = offprint("reproduce", "patient", "--short", "--out", tmp_path / "none", sites=[site])
    assert done.returncode == 2
    assert done.stderr == "offprint: all of these experiments are long; leave out --short\n"


def test_a_method_that_cannot_be_read_fails_a_reproduction(tmp_path):
    site = install(tmp_path / "site", "doubtful", "def broken(:\n")
    done = offprint("reproduce", "doubtful", "--out", tmp_path / "out", sites=[site])
    assert done.returncode == 1
    assert done.stderr.startswith("offprint: the experiments of doubtful cannot be read: invalid syntax")


@pytest.fixture
def data_site(tmp_path, monkeypatch):
    """One data set, advertised by two methods, whose file lies in the folder that OFFPRINT_DATA names."""
    site = install(tmp_path / "site", "steady")
    folder = tmp_path / "data"
    (folder / "numbers").mkdir(parents=True)
    (folder / "numbers" / "numbers.csv").write_text("a,b\n1,2\n")
    checksum = hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    (site / "offprint" / "steady" / "data.py").write_text(
        "from offprint.core.data import Dataset, File\n"
        f"file = File('numbers.csv', url='https://example.org/numbers.csv', sha256='{checksum}')\n"
        "DATASETS = (Dataset('numbers', 'two numbers', (file,), licence='CC0', citation='Nobody, 2020'),)\n"
    )
    with (site / "offprint_steady-0.1.0.dist-info" / "entry_points.txt").open("a") as file:
        file.write("[offprint.data]\nsteady = offprint.steady.data\nsteadier = offprint.steady.data\n")
    monkeypatch.setenv("OFFPRINT_DATA", str(folder))
    return site, folder


def test_data_is_listed_found_and_fetched(data_site):
    site, folder = data_site
    listed = [" ".join(line.split()) for line in offprint("data", "list", sites=[site]).stdout.splitlines()]
    assert listed.count("numbers two numbers (CC0)") == 1
    assert offprint("data", "where", sites=[site]).stdout.splitlines()[0] == str(folder)
    done = offprint("data", "fetch", "numbers", sites=[site])
    assert done.returncode == 0
    assert f"  {folder / 'numbers' / 'numbers.csv'}" in done.stdout.splitlines()
    assert "cite: Nobody, 2020" in done.stdout


def test_data_that_cannot_be_had_is_one_line(data_site):
    site, folder = data_site
    done = offprint("data", "fetch", "nombers", sites=[site])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 'numbers'?" in done.stderr
    (folder / "numbers" / "numbers.csv").write_text("other")
    done = offprint("data", "fetch", "numbers", sites=[site])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is not the file that data set 'numbers' needs" in done.stderr
