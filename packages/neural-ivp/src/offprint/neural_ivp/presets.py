"""Whole settings: of the paper, and of the methods before and after it that it is compared with.

Each is a function of a problem that gives the arguments of `solve_ivp`:

    sol = solve_ivp(problem, ts=ts, key=key, **presets.ednn(problem, rngs=nnx.Rngs(0)))
"""

from typing import Any

from flax import nnx

from offprint.neural_ivp._adam_fit import AdamFit
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import Lstsq, RandomSparse
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._following import Particles
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._linear import NystromPCG
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import Uniform

Arguments = dict[str, Any]


def paper(problem: Problem, *, width: int = 100, steps: int = 100_000, rngs: nnx.Rngs) -> Arguments:
    """Neural-IVP with the defaults of the authors' code: Adam, head tuning, Nystrom-PCG, restarts by the clock.

    A run takes hours on a CPU, most of them for the fit; what `solve_ivp` does by default is as accurate in a small
    part of the time.

    Args:
        problem: the problem.
        width: units of a hidden layer.
        steps: of Adam.
        rngs: draws the network.
    """
    return {
        "model": SinusoidalMLP(problem.domain, problem.n_fields, width, bc=problem.bc, rngs=rngs),
        "fit": AdamFit(steps=steps),
        "head_tune": True,
        "linear": NystromPCG(rank=250, mu=1e-6, tol=1e-7, maxiter=500),
        "ode": RK("rk23", rtol=1e-4, controller="official"),
        "sampler": Uniform(5000),
        "restart": Restart.wallclock(0.5),
    }


def ednn(problem: Problem, *, width: int = 30, points: int = 5000, rngs: nnx.Rngs) -> Arguments:
    """The Evolutional Deep Neural Network: a tanh network on the coordinates, a dense solve, no restarts.

    Source: Du and Zaki, Phys. Rev. E 104, 045303 (2021). The steps are those of the paper's comparison, and the
    initial condition is fitted as `solve_ivp` does, so that the network and the solve alone make the difference.

    Args:
        problem: the problem.
        width: units of each of the 4 hidden layers.
        points: of each projection.
        rngs: draws the network.
    """
    return {
        "model": EDNN(problem.domain, problem.n_fields, width, bc=problem.bc, rngs=rngs),
        "fit": GaussNewtonFit(),
        "linear": Lstsq(),
        "ode": RK("rk23", rtol=1e-4),
        "sampler": Uniform(points),
        "restart": Restart.never(),
    }


def neural_galerkin(problem: Problem, *, width: int = 30, points: int = 5000, rngs: nnx.Rngs) -> Arguments:
    """In the manner of Neural Galerkin schemes: a small network, truncated least squares, points that follow u.

    Source: Bruna, Peherstorfer and Vanden-Eijnden, J. Comput. Phys. (2024), arXiv 2203.01360. Their networks for
    high dimensions have Gaussian units; this one is the tanh network of `ednn`.

    Args:
        problem: the problem.
        width: units of a hidden layer.
        points: that follow the solution.
        rngs: draws the network.
    """
    return {
        "model": EDNN(problem.domain, problem.n_fields, width, depth=3, bc=problem.bc, rngs=rngs),
        "fit": GaussNewtonFit(),
        "linear": Lstsq(),
        "ode": RK("dopri5", rtol=1e-4),
        "sampler": Particles(points),
        "restart": Restart.never(),
    }


def rsng(
    problem: Problem, *, step: float | int, width: int = 30, size: int = 200, points: int = 5000, rngs: nnx.Rngs
) -> Arguments:
    """Randomised sparse Neural Galerkin: fixed steps of order 4, in each of which only some weights move.

    Source: Berman and Peherstorfer (2023), arXiv 2310.04867.

    Args:
        problem: the problem.
        step: length of the steps.
        width: units of a hidden layer.
        size: weights that move.
        points: of each projection, the same for the whole run.
        rngs: draws the network.
    """
    return {
        "model": EDNN(problem.domain, problem.n_fields, width, depth=3, bc=problem.bc, rngs=rngs),
        "fit": GaussNewtonFit(),
        "linear": RandomSparse(size=size),
        "ode": RK("rk4", step=step),
        "sampler": Uniform(points, resample="never"),
        "restart": Restart.never(),
    }
