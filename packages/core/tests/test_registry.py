"""Finding what is installed without importing it, and registering an experiment."""

import sys
from dataclasses import dataclass

import pytest
from fake_methods import SOURCES, install

from offprint.core.experiments import (
    Claim,
    Run,
    UsageError,
    equals,
    experiment,
    find_experiment,
    find_method,
    load,
    methods,
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs packages into the running process and forgets them afterwards."""

    def go(*names, **sources):
        for name in (*names, *sources):
            monkeypatch.syspath_prepend(install(tmp_path / name, name, sources.get(name)))
        methods.cache_clear()
        return methods()

    yield go
    methods.cache_clear()
    for name in [name for name in sys.modules if name.startswith(tuple(f"offprint.{name}" for name in SOURCES))]:
        del sys.modules[name]


def test_listing_reads_the_source_and_imports_nothing(installed):
    found = installed("broken", "steady")
    assert [(e.name, e.reproduces, e.summary) for e in found["steady"].experiments] == [
        ("tenth", "Figure 10", "The total is <the> number of neurons."),
        ("second", "Figure 2", "More neurons, more memory."),
    ]
    assert found["steady"].version == "0.1.0"
    assert found["steady"].distribution == "offprint-steady"
    assert found["broken"].experiments[0].name == "never"
    assert "offprint.steady" not in sys.modules
    assert "offprint.broken" not in sys.modules


def test_experiments_may_be_a_package_of_several_files(installed, tmp_path):
    install(tmp_path / "steady", "steady")
    folder = tmp_path / "steady" / "offprint" / "steady"
    (folder / "experiments").mkdir()
    (folder / "experiments.py").rename(folder / "experiments" / "figures.py")
    (folder / "experiments" / "__init__.py").write_text(
        "from offprint.steady.experiments.figures import second, tenth\n"
    )
    sys.path.insert(0, str(tmp_path / "steady"))
    try:
        found = installed()["steady"]
        assert [listing.name for listing in found.experiments] == ["tenth", "second"]
        assert list(load(found)) == ["second", "tenth"]
        del sys.modules["offprint.steady.experiments"].tenth
        with pytest.raises(LookupError, match="defines tenth but does not export it"):
            load(found)
    finally:
        sys.path.remove(str(tmp_path / "steady"))


def test_loaded_experiments_agree_with_the_listing(installed):
    method = installed("steady")["steady"]
    experiments = load(method)
    assert list(experiments) == [listing.name for listing in method.experiments]
    for listing in method.experiments:
        assert experiments[listing.name].summary == listing.summary
        assert experiments[listing.name].reproduces == listing.reproduces
        assert experiments[listing.name].long == listing.long == (listing.name == "tenth")
    assert experiments["second"].config("quick").neurons == 4
    assert experiments["second"].config("paper").neurons == 40
    assert experiments["tenth"].config("paper") == experiments["tenth"].config("quick")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("@experiment(NAME, reproduces='Figure 1')\ndef f(config: Config, run): ...\n", "`name` must be a literal"),
        ("@experiment('f', reproduces=FIGURE)\ndef f(config: Config, run): ...\n", "`reproduces` must be a literal"),
        (
            "@experiment('f', reproduces='', long=LONG)\ndef f(config: Config, run): ...\n",
            "`long` must be True or False",
        ),
        ("def f(:\n", "invalid syntax"),
        ("@experiment('f', reproduces='')\ndef f(c: Config, run): ...\n" * 2, "two experiments have the same name: f"),
    ],
)
def test_a_package_that_cannot_be_read_does_not_hide_the_others(installed, source, problem):
    found = installed("steady", doubtful=source)
    assert problem in found["doubtful"].problem
    assert not found["doubtful"].experiments
    assert len(found["steady"].experiments) == 2
    with pytest.raises(UsageError, match="cannot be read"):
        find_experiment("doubtful/f")


def test_unknown_names_give_the_nearest(installed):
    installed("steady", "crashing")
    assert find_method("Steady").name == "steady"
    assert find_experiment("steady/second")[1].reproduces == "Figure 2"
    with pytest.raises(UsageError, match="there is no method 'stedy'; did you mean 'steady'"):
        find_method("stedy")
    with pytest.raises(UsageError, match="there is no experiment 'steady/secnd'; did you mean 'steady/second'"):
        find_experiment("steady/secnd")
    with pytest.raises(UsageError, match="'steady' names a method; name one of its experiments: steady/tenth"):
        find_experiment("steady")


@dataclass(frozen=True)
class Config:
    size: int = 3


@dataclass(frozen=True)
class OtherConfig:
    out: int = 3


def test_registering_checks_the_config():
    def plain(config: int, run): ...
    def bare(config, run): ...
    def reserved(config: OtherConfig, run): ...
    def good(config: Config, run): ...

    for function in (plain, bare):
        with pytest.raises(TypeError, match="annotate its first parameter with a dataclass"):
            experiment("e", reproduces="Figure 1")(function)
    with pytest.raises(ValueError, match="config fields cannot be named out"):
        experiment("e", reproduces="Figure 1")(reserved)
    with pytest.raises(TypeError, match="paper must be a Config, got OtherConfig"):
        experiment("e", reproduces="Figure 1", paper=OtherConfig())(good)


def test_an_experiment_yields_claims_and_at_least_one(tmp_path):
    @experiment("none", reproduces="Figure 1")
    def none(config: Config, run: Run):
        return iter(())

    @experiment("wrong", reproduces="Figure 1")
    def wrong(config: Config, run: Run):
        yield "a claim"

    @experiment("right", reproduces="Figure 1")
    def right(config: Config, run: Run):
        return [Claim("size", paper=3, here=config.size, rule=equals(3))]

    with pytest.raises(ValueError, match="ended without a claim"):
        list(none(Config(), Run(tmp_path)))
    with pytest.raises(TypeError, match="yielded 'a claim'; it must yield Claim"):
        list(wrong(Config(), Run(tmp_path)))
    assert [claim.holds for claim in right(Config(), Run(tmp_path))] == [True]


def test_x64_is_on_inside_and_only_there(tmp_path):
    import jax.numpy as jnp

    @experiment("wide", reproduces="Figure 1", x64=True)
    def wide(config: Config, run: Run):
        yield Claim("dtype", paper="float64", here=str(jnp.ones(2).dtype), rule=equals("float64"))

    assert next(iter(wide(Config(), Run(tmp_path)))).holds
    assert jnp.ones(2).dtype == jnp.float32
