"""Every figure is drawn, and shows what it was given."""

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from offprint.neural_ivp import SinusoidalMLP, Solution, functional, ics, plots, problems
from offprint.neural_ivp._solution import structured


def solved(problem):
    """A network with random weights that change a little from output to output, and a history of three steps."""
    apply, theta = functional(SinusoidalMLP(problem.domain, 1, 4, depth=1, n_freq=2, rngs=nnx.Rngs(0)))
    history = structured(
        {
            "t": [0.0, 0.1, 0.1],
            "h": [0.1, 0.2, 0.1],
            "accepted": [True, False, True],
            "rho": [0.1, 0.2, 0.2],
            "rho_fresh": [0.15, 0.3, 0.25],
            "cg_iters": [0, 0, 0],
            "theta_norm": [2.0, 2.1, 2.1],
        }
    )
    return Solution(
        ts=np.array([0.0, 0.1, 0.2]),
        thetas=np.stack([np.asarray(theta) * (1 + 0.1 * i) for i in range(3)]),
        apply=apply,
        problem=problem,
        history=history,
        restarts=({"t": 0.0, "kept": True}, {"t": 0.1, "kept": True}, {"t": 0.15, "kept": False}),
        status="finished",
        message="",
        t_last=0.2,
        theta_last=np.asarray(theta),
        num_rhs=12,
    )


@pytest.fixture(scope="module")
def plane():
    return solved(problems.advection(ic=ics.gaussian(0.5, amp=1.0)))


@pytest.fixture(scope="module")
def line():
    return solved(problems.advection(dim=1, ic=ics.gaussian(0.5, amp=1.0)))


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def test_slices_show_solution_reference_and_difference(plane):
    figure = plots.slices(plane, resolution=12)
    assert len(titles(figure)) == 9
    assert titles(figure)[:3] == ["solution, t = 0", "reference, t = 0", "difference, t = 0"]
    images = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    np.testing.assert_allclose(images[2], images[0] - images[1])
    # x_1 runs to the right, x_2 upwards
    grid = np.linspace(-1, 1, 12)
    np.testing.assert_allclose(images[3][4, 7], plane(np.array([grid[7], grid[4]]), 1)[0])


def test_slices_without_a_reference_and_through_another_point(plane):
    figure = plots.slices(plane, outputs=[-1], resolution=8, reference=lambda x, t: x[:1] + t)
    assert titles(figure) == ["solution, t = 0.2", "reference, t = 0.2", "difference, t = 0.2"]
    np.testing.assert_allclose(figure.axes[1].images[0].get_array()[0], np.linspace(-1, 1, 8) + 0.2)


def test_slices_in_one_dimension_are_curves(line):
    figure = plots.slices(line, resolution=20)
    assert titles(figure) == ["t = 0", "t = 0.1", "t = 0.2"]
    assert all(len(ax.lines) == 2 for ax in figure.axes)


@pytest.mark.parametrize("axes", [(0, 0), (0, 2), (-1, 1)])
def test_slices_need_two_coordinates_of_the_box(plane, axes):
    with pytest.raises(ValueError, match="two different coordinates of 0 to 1 are needed"):
        plots.slices(plane, axes=axes)


@pytest.mark.parametrize("kind", ["plane", "line"])
def test_the_film_has_its_frames(kind, request, tmp_path):
    path = plots.animation(request.getfixturevalue(kind), tmp_path / "film.gif", frames=3, resolution=8)
    with Image.open(path) as film:
        assert film.n_frames == 3


def test_residuals_mark_restarts(plane):
    figure = plots.residuals({"restarted": plane})
    curve, mark = figure.axes[0].lines
    np.testing.assert_array_equal(curve.get_ydata(), [0.15, 0.25])
    assert mark.get_xdata()[0] == 0.1
    assert plots.restarts(plane) == [0.1]


def test_evolution_leaves_out_what_the_solver_does_not_know(plane, line):
    figure = plots.evolution({"a": plane, "b": line}, ("cg_iters", "h", "theta_norm", "nothing"))
    assert [ax.get_ylabel() for ax in figure.axes] == ["step tried", "‖θ‖"]
    with pytest.raises(ValueError, match="no history has an accepted step with any of cg_iters"):
        plots.evolution(plane, ["cg_iters"])


def test_curves_over_time():
    figure = plots.over_time({"a": ([0, 1], [1e-3, 1e-2]), "b": ([0, 1], [1, 2])}, "error", marks={"a": [0.5]})
    assert len(figure.axes[0].lines) == 3
    assert figure.axes[0].get_yscale() == "log"


def test_eigenvalues_end_where_rounding_begins():
    figure = plots.eigenvalues({"t = 0": [2.0, 1e-3, 1e-20, -1e-18]})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [2.0, 1e-3])


def test_slope_is_the_exponent():
    sizes = np.array([10, 100, 1000])
    assert plots.slope(sizes, 3e-7 * sizes**1.5) == pytest.approx(1.5)
    figure = plots.scaling({"ours": (sizes, 2.0 * sizes)}, "seconds")
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "ours, slope 1.00"


def test_iterations_are_bars():
    figure = plots.iterations({"heat": {"with": 11, "without": 212}, "wave": {"with": 16, "without": 314}})
    assert [bar.get_height() for bar in figure.axes[0].patches] == [11, 16, 212, 314]


def test_marginals_integrate_the_others_out(plane):
    points = plane.problem.domain.uniform(jax.random.key(1), 500)
    figure = plots.marginals(
        plane, points, axes=(0, 1), outputs=[0], resolution=9, reference={0.0: lambda x: np.exp(-2 * x**2)}
    )
    curve, reference = figure.axes[0].lines
    middle = 4
    x = np.array(points)
    x[:, 0] = 0.0
    np.testing.assert_allclose(curve.get_ydata()[middle], 2 * np.mean(plane(x, 0)[:, 0]))
    assert reference.get_ydata()[middle] == 1
    assert len(figure.axes[1].lines) == 1
