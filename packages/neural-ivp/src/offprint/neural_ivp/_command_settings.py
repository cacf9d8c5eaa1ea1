"""Settings of the program `offprint-neural-ivp`: a TOML file, flags, `--set section.name=value`."""

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax

from offprint.core.program import UsageError
from offprint.neural_ivp import ics, presets, problems
from offprint.neural_ivp._adam_fit import AdamFit
from offprint.neural_ivp._adaptive import ResidualAdaptive
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import LSMR, Auto, Dense, Dual, Lstsq, RandomSparse
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._following import GaussianMixture, Particles
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._linear import NystromPCG
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._optimized import Optimized
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import GaussLegendre, Grid, Halton, Sobol, Uniform

Settings = dict[str, Any]
"""Sections by name, each a dict of settings by name; beside them `preset` and `seed`."""

PROBLEMS: dict[str, Callable[..., Any]] = {
    "advection": problems.advection,
    "advection-varying": problems.advection_varying,
    "allen-cahn": problems.allen_cahn,
    "burgers": problems.burgers,
    "fokker-planck": problems.fokker_planck,
    "heat": problems.heat,
    "kdv": problems.kdv,
    "kuramoto-sivashinsky": problems.kuramoto_sivashinsky,
    "navier-stokes": problems.navier_stokes,
    "reaction-diffusion": problems.reaction_diffusion,
    "schrodinger": problems.schrodinger,
    "vlasov": problems.vlasov,
    "wave": problems.wave,
    "wave-maps": problems.wave_maps,
}
PRESETS: dict[str, Callable[..., presets.Arguments]] = {
    "paper": presets.paper,
    "ednn": presets.ednn,
    "neural-galerkin": presets.neural_galerkin,
    "rsng": presets.rsng,
}
KINDS: dict[str, dict[str, Callable[..., Any]]] = {
    "ic": {
        "gaussian": ics.gaussian,
        "gauss-cos": ics.gauss_cos,
        "gaussian-density": ics.gaussian_density,
        "product-bump": ics.product_bump,
    },
    "network": {"sinusoidal": SinusoidalMLP, "ednn": EDNN},
    "fit": {"gauss-newton": GaussNewtonFit, "adam": AdamFit},
    "linear": {
        "auto": Auto,
        "pcg": NystromPCG,
        "dense": Dense,
        "dual": Dual,
        "lstsq": Lstsq,
        "lsmr": LSMR,
        "random-sparse": RandomSparse,
    },
    "ode": {"rk": RK, "optimized": Optimized},
    "sampler": {
        "uniform": Uniform,
        "sobol": Sobol,
        "halton": Halton,
        "grid": Grid,
        "gauss-legendre": GaussLegendre,
        "residual-adaptive": ResidualAdaptive,
        "particles": Particles,
        "gaussian-mixture": GaussianMixture,
    },
    "restart": {
        "never": Restart.never,
        "every": Restart.every,
        "at": Restart.at,
        "when": Restart.when,
        "wallclock": Restart.wallclock,
    },
}
"""What a section may be of; its other settings are the arguments of that, as the library has them."""

GIVEN = ("domain", "ic", "out_features", "bc", "rngs", "param_dtype", "particles", "sampler", "density")
"""Arguments that are not settings: they come from elsewhere, or are no numbers."""

ACTIVATIONS = ("swish", "tanh", "gelu", "softplus", "relu")
OWN = {
    "problem": ("name",),
    "domain": ("lo", "hi"),
    "time": ("end", "outputs", "times"),
    "solve": ("head_tune", "strict", "max_steps", "max_residual"),
}
SECTIONS = (*OWN, *KINDS)
LAPTOP: Settings = {"problem": {"name": "advection"}, "network": {"width": 30}, "sampler": {"n": 4000}}
"""What the program starts from without a preset: a network whose steps take seconds on a CPU."""
TIME: Settings = {"end": 0.5, "outputs": 5}


def read_settings(config: Path | None, flags: Mapping[str, Any], assignments: Iterable[str]) -> Settings:
    """One tree of settings: a later source overrides an earlier one.

    Args:
        config: a TOML file; None for none.
        flags: values by "section.name" (or "preset", "seed"); None where a flag was not given.
        assignments: such as "linear.rank=300", with a TOML value, or a word.

    Raises:
        UsageError: a file that is not there or no TOML, a section that does not exist, an assignment without "=".
    """
    settings: Settings = {}
    if config is not None:
        if not config.is_file():
            raise UsageError(f"--config {config} is not there")
        try:
            settings = tomllib.loads(config.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"--config {config} is not TOML: {error}") from None
        for name, value in settings.items():
            _check_section(name, isinstance(value, dict), f"{config}: ")
        name = settings.get("problem", {}).get("name", "")
        if isinstance(name, str) and ".py" in name:  # a path beside the file that names it
            settings["problem"]["name"] = str((config.parent / name).resolve())
    given = [(name, value) for name, value in flags.items() if value is not None]
    for name, value in [*given, *map(_assignment, assignments)]:
        section, _, setting = name.rpartition(".")
        _check_section(section or setting, bool(section), f"--set {name}: ")
        target = settings.setdefault(section, {}) if section else settings
        if setting == "kind" and target.get("kind", value) != value:
            target.clear()  # settings of another kind say nothing to this one
        target[setting] = value
    if "preset" not in settings:
        for section, values in LAPTOP.items():
            kept = settings.setdefault(section, {})
            if "kind" not in kept:
                settings[section] = {**values, **kept}
    settings.setdefault("problem", {}).setdefault("name", "advection")
    settings.setdefault("seed", 0)
    return settings


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--set {text}: section.name=value is needed, such as linear.rank=300")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()  # a word without quotation marks


def _check_section(name: str, nested: bool, where: str) -> None:
    if nested and name not in SECTIONS:
        raise UsageError(f"{where}there is no section {name!r}; there are {', '.join(SECTIONS)}")
    if not nested and name not in ("preset", "seed"):
        raise UsageError(f"{where}{name!r} stands alone; only preset and seed do, all else is in a section")


def build(section: str, given: Mapping[str, Any], default: Any = None, **fixed: Any) -> Any:
    """What a section describes.

    Args:
        section: its name.
        given: its settings.
        default: what it is without a `kind`, with the settings that are given in place of its own.
        **fixed: arguments that are not settings.

    Raises:
        UsageError: an unknown kind or setting, or a value of another type.
    """
    arguments = dict(given)
    kinds = KINDS[section]
    kind = arguments.pop("kind", None)
    if kind is None and default is not None:
        if not arguments:
            return default
        if section == "restart":
            raise UsageError(f"[restart] needs a kind: {', '.join(kinds)}")
        names = {field.name: getattr(default, field.name) for field in fields(default) if field.init}
        check_arguments(f"[{section}]", arguments, {name: v for name, v in names.items() if name not in GIVEN})
        return made(section, lambda **values: replace(default, **values), arguments)
    if kind not in kinds:
        raise UsageError(f"[{section}] has the unknown kind {kind!r}; there are {', '.join(kinds)}")
    check_arguments(f"[{section}] of kind {kind}", arguments, settings_of(kinds[kind]))
    return made(section, kinds[kind], {**arguments, **fixed})


def settings_of(maker: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that are settings, with their defaults; `inspect.Parameter.empty` for those that have none."""
    made_by = maker.__init__ if inspect.isclass(maker) else maker  # the signature of an NNX class says nothing
    parameters = inspect.signature(made_by).parameters.values()
    hidden = (*GIVEN, "self")
    return {p.name: p.default for p in parameters if p.name not in hidden and not p.name.startswith("_")}


def check_arguments(where: str, arguments: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if name not in known:
            raise UsageError(f"{where} has no setting {name!r}; there are {', '.join(known) or 'none'}")
        if not _alike(value, known[name]):
            kind = "a number" if isinstance(known[name], float | int) else f"such as {known[name]!r}"
            wanted = "true or false" if isinstance(known[name], bool) else kind
            raise UsageError(f"{where}: {name}={value!r}; {wanted} is needed")


def _alike(value: Any, default: Any) -> bool:
    """Whether a value could stand where the default does; without a default, or with None, all can."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int | list) and not isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, float | int | list) and not isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str)
    return True


def made(section: str, maker: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    values = {name: _frozen(value) for name, value in arguments.items()}
    if isinstance(name := values.get("activation"), str):
        if name not in ACTIVATIONS:
            raise UsageError(f"[{section}] activation {name!r} is unknown; there are {', '.join(ACTIVATIONS)}")
        values["activation"] = getattr(jax.nn, name)
    try:
        return maker(**values)
    except TypeError as error:
        raise UsageError(f"[{section}]: {error}") from None


def _frozen(value: Any) -> Any:
    """Lists as tuples, since settings must be hashable."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
