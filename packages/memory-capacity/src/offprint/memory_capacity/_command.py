"""The program `offprint-memory-capacity`: memory curves of a matrix, and capacities of measured states.

JAX is switched to 64-bit numbers for this process, which is a program of its own.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from offprint.core.program import UsageError, print_table, run_program

ESTIMATORS = Literal["adjusted", "insample", "heldout", "official", "ridge"]
METHODS = ("exact", "cascade", "fft", "determinant", "naive", "gramian", "arnoldi", "osm", "osm_plus")
COMPARED = ("exact", "naive", "gramian", "osm", "osm_plus")
MONTE_CARLO: tuple[Literal["official", "insample", "adjusted", "heldout"], ...] = (
    "official",
    "insample",
    "adjusted",
    "heldout",
)


@dataclass(frozen=True)
class Reservoir:
    """The linear network x_t = A x_{t-1} + C z_t."""

    law: str = "normal"
    """Law of the matrix A: normal, uniform, sparse_normal, orthogonal, cyclic, symmetric, ..."""
    neurons: Annotated[int, tyro.conf.arg(aliases=["-N"])] = 100
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius that the drawn matrix is scaled to."""
    matrix: Path | None = None
    """Your own matrix A instead: .npy, .npz with one array, or .csv without a header. It is taken as it is."""
    mask: Path | None = None
    """Your own mask C (N,), in one of the same formats; a normal one of norm 1 is drawn otherwise."""
    seed: int = 0
    """Seed of what is drawn."""

    def arrays(self) -> tuple[Any, Any]:
        """A (N, N) and C (N,)."""
        A: Any
        import jax

        from offprint.memory_capacity import mask, reservoir

        for_matrix, for_mask = jax.random.split(jax.random.key(self.seed))
        if self.matrix is not None:
            A = read_array(self.matrix)
            if A.ndim != 2 or A.shape[0] != A.shape[1]:
                raise UsageError(f"{self.matrix} has shape {A.shape}; a square matrix (N, N) is needed")
        elif self.law in reservoir.LAWS:
            A = reservoir.LAWS[self.law](for_matrix, self.neurons, rho=self.rho)
        else:
            raise UsageError(f"unknown law {self.law!r}; there are {', '.join(reservoir.LAWS)}")
        if self.mask is None:
            return A, mask.normal(for_mask, A.shape[0])
        C = read_array(self.mask)
        if C.size == max(C.shape, default=0):
            C = C.reshape(-1)  # a column or a row of a table
        return A, C


@dataclass(frozen=True)
class Curve:
    """Memory curve of a linear network, by one or several methods."""

    reservoir: Annotated[Reservoir, tyro.conf.arg(name="")]
    methods: str = "exact"
    """Methods, separated by commas: exact, cascade, fft, determinant, naive, gramian, arnoldi, osm, osm_plus."""
    lags: int | None = None
    """Number of lags from lag 0; 2N by default."""
    masks: int = 100
    """Number of masks that osm_plus averages over."""
    rows: int = 12
    """About how many lags to print; the file of --out has all."""
    out: Path | None = None
    """Write all lags to this .csv or .npz file."""
    plot: Path | None = None
    """Draw the curves to this image file (.png, .pdf, .svg)."""


@dataclass(frozen=True)
class Empirical:
    """Memory curve measured from states and inputs, with its floor and a threshold for each lag."""

    data: Annotated[Path, tyro.conf.Positional]
    """.npz file with the arrays states (T, N) and inputs (T,); row t of the states is driven by input t."""
    lags: int | None = None
    """Number of lags from lag 0; 2N by default, or a tenth of the samples where that is less."""
    estimator: ESTIMATORS = "adjusted"
    """How capacities are estimated from finitely many samples."""
    level: float = 1e-4
    """Chance of an unrelated input to count as significant."""
    bootstrap: int = 200
    """Resamples for the standard error of the total; 0 for none."""
    rows: int = 12
    """About how many lags to print; the file of --out has all."""
    seed: int = 0
    """Seed of the bootstrap."""
    out: Path | None = None
    """Write all lags to this .csv or .npz file."""
    plot: Path | None = None
    """Draw the curve to this image file."""


@dataclass(frozen=True)
class Ipc:
    """Information processing capacity of states and inputs, by degree."""

    data: Annotated[Path, tyro.conf.Positional]
    """.npz file with the arrays states (T, N) and inputs (T,); row t of the states is driven by input t."""
    degrees: str = "1:20,2:10"
    """Pairs DEGREE:LARGEST_DELAY, separated by commas."""
    basis: Literal["legendre", "hermite", "laguerre", "binary", "empirical"] = "legendre"
    """Polynomials of the input's law: legendre for uniform on (-1, 1), hermite for standard normal, ..."""
    level: float = 1e-4
    """Chance of an unrelated target to count as significant."""
    out: Path | None = None
    """Write all targets to this .csv or .npz file."""


@dataclass(frozen=True)
class Compare:
    """What the usual estimators make of one linear network, beside the exact total."""

    reservoir: Annotated[Reservoir, tyro.conf.arg(name="")]
    samples: int | None = None
    """Length of the simulated series of the Monte Carlo estimators; 20N by default."""
    lags: int | None = None
    """Number of lags that are compared; 2N by default."""
    masks: int = 20
    """Number of masks that osm_plus averages over."""
    out: Path | None = None
    """Write the table to this .csv or .npz file."""


Command = (
    Annotated[Curve, tyro.conf.subcommand("curve")]
    | Annotated[Empirical, tyro.conf.subcommand("empirical")]
    | Annotated[Ipc, tyro.conf.subcommand("ipc")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, or 2 for input that it can't work with."""
    return run_program(
        "offprint-memory-capacity",
        "Memory of recurrent networks: exact for linear ones, measured for others.",
        Command,
        {kind: _with_64_bits(action) for kind, action in _RUN.items()},
        arguments,
    )


def _with_64_bits(action: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(command: Any) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        action(command)

    return run


def _curve(command: Curve) -> None:
    import jax

    from offprint.memory_capacity import memory_curve

    methods = [name.strip() for name in command.methods.split(",") if name.strip()]
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"unknown method {name!r}; there are {', '.join(METHODS)}")
    if not methods:
        raise UsageError(f"no method is named; there are {', '.join(METHODS)}")
    A, C = command.reservoir.arrays()
    n_lags = 2 * A.shape[0] if command.lags is None else command.lags
    key = jax.random.key(command.reservoir.seed)
    curves = {name: memory_curve(A, C, n_lags, method=name, key=key, n_masks=command.masks) for name in methods}
    columns = {"lag": np.arange(n_lags), **{name: np.asarray(curve.values) for name, curve in curves.items()}}
    _print_columns(columns, command.rows, f"memory curve, N = {A.shape[0]}")
    totals = [
        {"method": name, "total": float(curve.total), "beyond": float(curve.tail), "rank": int(curve.rank)}
        for name, curve in curves.items()
    ]
    print_table(f"over all lags, and beyond lag {n_lags - 1}", totals, digits=6)
    _write(command.out, columns)
    _plot(command.plot, columns, "MC")


def _empirical(command: Empirical) -> None:
    import jax

    from offprint.memory_capacity import empirical_memory_curve

    states, inputs = _read_samples(command.data)
    n_lags = min(2 * states.shape[-1], states.shape[0] // 10) if command.lags is None else command.lags
    curve = empirical_memory_curve(
        states,
        inputs,
        n_lags,
        estimator=command.estimator,
        p=command.level,
        n_bootstrap=command.bootstrap,
        key=jax.random.key(command.seed),
    )
    columns = {
        "lag": np.asarray(curve.lags),
        command.estimator: np.asarray(curve.values),
        "significant": np.asarray(curve.significant).astype(int),
    }
    samples, neurons = states.shape
    _print_columns(columns, command.rows, f"measured memory curve, {samples} samples of {neurons} neurons")
    summary = {
        "total": float(curve.total),
        "standard error": float(curve.se),
        "significant lags": int(curve.significant.sum()),
        "rank": int(curve.rank),
        "floor of a lag": float(curve.floor),
        "threshold": float(curve.threshold),
    }
    print_table("over the significant lags", [summary], digits=6)
    _write(command.out, columns)
    _plot(command.plot, {name: columns[name] for name in ("lag", command.estimator)}, "measured MC")


def _ipc(command: Ipc) -> None:
    from offprint.memory_capacity import information_processing_capacity

    states, inputs = _read_samples(command.data)
    result = information_processing_capacity(
        states, inputs, _degrees(command.degrees), basis=command.basis, p=command.level
    )
    significant = np.asarray(result.significant)
    rows: list[dict[str, Any]] = [
        {
            "degree": d,
            "targets": int((result.degree == d).sum()),
            "significant": int(significant[result.degree == d].sum()),
            "capacity": float(capacity),
            "threshold": float(result.threshold[d - 1]),
        }
        for d, capacity in enumerate(result.by_degree, start=1)
        if (result.degree == d).any()
    ]
    rows.append(
        {
            "degree": "all",
            "targets": significant.size,
            "significant": int(significant.sum()),
            "capacity": float(result.total),
        }
    )
    print_table(f"information processing capacity, rank {int(result.rank)}, {result.n_samples} samples", rows, digits=6)
    factors = range(result.powers.shape[1])
    _write(
        command.out,
        {
            "capacity": np.asarray(result.values),
            "significant": significant.astype(int),
            **{f"power_{j}": result.powers[:, j] for j in factors},
            **{f"delay_{j}": result.delays[:, j] for j in factors},
        },
    )


def _compare(command: Compare) -> None:
    import jax

    from offprint.memory_capacity import empirical_memory_curve, memory_curve, simulate

    A, C = command.reservoir.arrays()
    neurons = A.shape[0]
    n_lags = 2 * neurons if command.lags is None else command.lags
    samples = 20 * neurons if command.samples is None else command.samples
    for_masks, for_input = jax.random.split(jax.random.key(command.reservoir.seed))
    exact = np.asarray(memory_curve(A, C, n_lags).values)
    rows = []

    def add(name: str, values: Any) -> None:
        values = np.asarray(values)
        error = float(np.abs(values - exact).max(initial=0))
        rows.append({"estimator": name, "total": float(values.sum()), "largest error of a lag": error})

    for name in COMPARED:
        add(name, memory_curve(A, C, n_lags, method=name, key=for_masks, n_masks=command.masks).values)
    washout = 100
    z = jax.random.normal(for_input, (samples + washout,))
    X = simulate(A, C, z, activation="identity", washout=washout)
    for name in MONTE_CARLO:
        curve = empirical_memory_curve(X, z[washout:], n_lags, estimator=name, null=None, check=False)
        add(f"Monte Carlo, {name}", curve.values)
    print_table(f"sum over lags 0..{n_lags - 1}, N = {neurons}, {samples} samples where simulated", rows, digits=6)
    _write(command.out, {key: np.asarray([row[key] for row in rows]) for key in rows[0]})


_RUN: dict[type, Any] = {Curve: _curve, Empirical: _empirical, Ipc: _ipc, Compare: _compare}


def read_array(path: Path) -> np.ndarray:
    """The one array in a .npy, .npz or .csv file (numbers only, no header). Pickles are refused."""
    from offprint.core.data import DataError, load_npz

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            arrays = load_npz(path)
            if len(arrays) != 1:
                raise UsageError(f"{path} holds {len(arrays)} arrays ({', '.join(arrays)}); one is needed")
            return next(iter(arrays.values()))
        if path.suffix == ".csv":
            return np.loadtxt(path, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there") from None
    except (DataError, ValueError, EOFError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    raise UsageError(f"{path} has an unknown format; .npy, .npz or .csv is needed")


def _read_samples(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from offprint.core.data import DataError, load_npz

    try:
        arrays = load_npz(path)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there") from None
    except DataError as error:
        raise UsageError(str(error)) from None
    missing = [name for name in ("states", "inputs") if name not in arrays]
    if missing:
        raise UsageError(f"{path} has no array {' or '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    return arrays["states"], arrays["inputs"]


def _degrees(text: str) -> list[tuple[int, int]]:
    try:
        pairs = [tuple(map(int, pair.split(":"))) for pair in text.split(",")]
        return [(degree, delay) for degree, delay in pairs]
    except ValueError:
        raise UsageError(f"--degrees {text!r} is not a list of DEGREE:LARGEST_DELAY such as 1:20,2:10") from None


def _print_columns(columns: dict[str, np.ndarray], rows: int, title: str) -> None:
    count = len(columns["lag"])
    shown: Any = np.unique(np.linspace(0, count - 1, min(max(rows, 2), count)).astype(int)) if count else []
    print_table(title, [{name: column[i].item() for name, column in columns.items()} for i in shown], digits=6)


def _write(path: Path | None, columns: dict[str, np.ndarray]) -> None:
    if path is None:
        return
    if path.suffix == ".npz":
        np.savez(path, **columns)  # type: ignore[arg-type]
    elif path.suffix == ".csv":
        lines = [",".join(columns), *(",".join(str(cell) for cell in row) for row in zip(*columns.values()))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        raise UsageError(f"--out {path} has an unknown format; .csv or .npz is needed")


def _plot(path: Path | None, columns: dict[str, np.ndarray], label: str) -> None:
    if path is None:
        return
    from offprint.core.plots import new_figure

    figure, ax = new_figure()
    for name, values in columns.items():
        if name != "lag":
            ax.plot(columns["lag"], values, label=name)
    ax.set(xlabel="lag", ylabel=label)
    ax.legend()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
