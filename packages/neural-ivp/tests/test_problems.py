"""Right-hand sides of the problems against stored arrays, and what is said about a problem that is wrong."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.neural_ivp import ics, ops, problems
from offprint.neural_ivp._bc import Dirichlet, Free, Mixed, Periodic, ZeroDirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._problem_checks import check_model, check_problem, spatial_order

KEY = jax.random.key(0)

STORED = {
    "adv2d": problems.advection,
    "heat2d": problems.heat,
    "wave2d": problems.wave,
    "wave3d": lambda: problems.wave(dim=3),
    "vlasov6d": problems.vlasov,
    "fp5d": problems.fokker_planck,
    "wavemaps3d": problems.wave_maps,
}


def stored_network(arrays):
    """The network of a golden file, written down with its explicit weights."""
    frequencies = np.pi / 2 * 2.0 ** np.arange(int(arrays["L"]))[:, None]
    gain = 4 / frequencies ** float(arrays["scaling"])

    def u(x):
        waves = [gain * jnp.sin(frequencies * x), gain * jnp.cos(frequencies * x)]
        inputs = 1.5 * jnp.concatenate([wave.reshape(-1) for wave in waves])
        outputs = []
        for o in range(int(arrays["n_outputs"])):
            y = inputs
            for layer in range(4):
                y = y @ arrays[f"W_out{o}_layer{layer}"] + arrays[f"b_out{o}_layer{layer}"]
                y = jax.nn.swish(y) if layer < 3 else y
            outputs.append(y)
        return jnp.concatenate(outputs) * jnp.prod(1 - x**2)

    return u


@pytest.mark.parametrize("name", STORED)
def test_the_right_hand_sides_of_the_papers_problems_are_the_stored_ones(golden, name):
    arrays, problem = golden(name), STORED[name]()
    u = stored_network(arrays)
    values, rates = jax.jit(jax.vmap(lambda x: (u(x), problem.pde(u, x, 0.0))))(arrays["X"])
    assert np.linalg.norm(values - arrays["u"]) < 1e-12 * np.linalg.norm(arrays["u"])
    assert np.linalg.norm(rates - arrays["f"]) < 1e-12 * np.linalg.norm(arrays["f"])


ORDERS = {
    "advection": 1,
    "advection_varying": 1,
    "heat": 2,
    "wave": 2,
    "vlasov": 1,
    "fokker_planck": 2,
    "burgers": 2,
    "allen_cahn": 2,
    "kdv": 3,
    "kuramoto_sivashinsky": 4,
    "reaction_diffusion": 2,
    "schrodinger": 2,
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_a_problem_is_found_and_float32_stays_float32(name):
    problem = getattr(problems, name)()
    assert spatial_order(problem) == ORDERS[name]
    x = jax.ShapeDtypeStruct((problem.dim,), jnp.float32)
    assert jax.eval_shape(problem.ic, x).dtype == jnp.float32
    assert jax.eval_shape(lambda x: problem.pde(problem.ic, x, 0.0), x).dtype == jnp.float32


def test_the_paper_s_pulse_has_the_height_it_should():
    np.testing.assert_allclose(problems.heat().ic(jnp.zeros(2)), 2.1220659078919377, rtol=1e-15)
    np.testing.assert_allclose(problems.wave(dim=3).ic(jnp.zeros(3)), [2.1220659078919377, 0], rtol=1e-15)


def test_initial_densities_have_mass_one():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    X = jnp.stack(jnp.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    w = np.outer(weights, weights).ravel()
    box = Box([0.0, -1.0], [3.0, 1.0])
    bump, normal = ics.product_bump(box), ics.gaussian_density([0.1, 0.0], [[0.02, 0.01], [0.01, 0.02]])
    np.testing.assert_allclose(w @ jax.vmap(lambda x: bump(box.from_unit((x + 1) / 2)))(X)[:, 0] * 1.5, 1, rtol=1e-12)
    np.testing.assert_allclose(w @ jax.vmap(normal)(X)[:, 0], 1, rtol=1e-6)


def test_gaussians_are_the_product_of_their_factors_and_wave_packets_have_their_envelope():
    g = ics.gaussian((0.1, 0.3), 2.0, (0.1, -0.2))
    x = jnp.array([0.15, 0.1])
    np.testing.assert_allclose(g(x), 2 * g.along(0)(x[:1]) * g.along(1)(x[1:]), rtol=1e-14)
    packet = ics.gauss_cos(20, 0.2, 1.5, 0.1)
    np.testing.assert_allclose(packet(x), ics.gaussian(0.2, 1.5, 0.1)(x) * np.cos(20 * 0.05), rtol=1e-12)


def test_coefficients_can_be_differentiated_through():
    def rate(c2):
        problem = problems.wave(c2=c2, ic=ics.gaussian(0.3, 1.0))
        return problem.pde(problem.ic, jnp.array([0.1, 0.2]), 0.0)[1]

    np.testing.assert_allclose(jax.grad(rate)(0.1), rate(0.1) / 0.1, rtol=1e-12)


def test_the_velocity_of_a_vortex_comes_from_all_of_the_flow():
    """ω = sin 2x + cos 3y: ψ = sin 2x / 4 + cos 3y / 9, so that v = (-sin 3y / 3, -cos 2x / 2)."""

    def omega(x):
        return (jnp.sin(2 * x[0]) + jnp.cos(3 * x[1]))[None]

    problem = problems.navier_stokes(viscosity=0.1, ic=omega)
    x, y = 0.4, 1.3
    carried = -np.sin(3 * y) / 3 * 2 * np.cos(2 * x) + -np.cos(2 * x) / 2 * -3 * np.sin(3 * y)
    expected = -carried + 0.1 * (-4 * np.sin(2 * x) - 9 * np.cos(3 * y))
    np.testing.assert_allclose(problem.pde(omega, jnp.array([x, y]), 0.0), [expected], rtol=1e-12)


def test_gray_and_scott_s_reaction_keeps_the_state_without_v():
    np.testing.assert_allclose(problems.gray_scott()(jnp.array([1.0, 0.0])), 0)
    np.testing.assert_allclose(problems.gray_scott(0.04, 0.06)(jnp.array([0.5, 0.5])), [-0.105, 0.075], rtol=1e-12)


HEAT = {"domain": Box.cube(2), "ic": ics.gaussian(0.1)}


@pytest.mark.parametrize(
    ("pde", "words"),
    [
        (lambda u, x, t: ops.laplacian(u, x)[0], r"pde must return shape \(1,\) .* got \(\); write value\[None\]"),
        (lambda u, x, t: ops.grad(u, x)[0], r"pde must return shape \(1,\) .* got \(2,\)"),
        (lambda u, x, t: x[:, 0], r"one x of shape \(2,\), no batch of points: mapping over points \(vmap\)"),
        (lambda u, x, t: jax.vmap(u)(x), r"no batch of points"),
        (lambda u, x, t: None, r"got NoneType"),
    ],
)
def test_a_pde_of_the_wrong_shape_is_told_what_it_should_be(unchecked_types, pde, words):
    with pytest.raises(ValueError, match=words):
        Problem(pde, **HEAT)


def test_an_initial_condition_of_the_wrong_shape_is_told(unchecked_types):
    with pytest.raises(ValueError, match=r"ic must return shape \(2,\)"):
        Problem(lambda u, x, t: u(x), ics.gaussian(), Box.cube(2), n_fields=2)
    with pytest.raises(ValueError, match="n_fields=0"):
        Problem(lambda u, x, t: u(x), ics.gaussian(), Box.cube(2), n_fields=0)


def test_values_that_are_not_finite_are_told_with_a_point(unchecked_types):
    with pytest.raises(ValueError, match=r"pde .* is not finite at \d+ of 1024 points, first at x=\["):
        check_problem(Problem(lambda u, x, t: jnp.log(x[0]) * u(x), **HEAT), KEY)
    with pytest.raises(ValueError, match=r"ic is not finite .* first at x=\[0.0, 0.0\]"):
        check_problem(Problem(lambda u, x, t: u(x), lambda x: 1 / x[:1], Box.cube(2)), KEY)


def decay(ic, bc):
    return Problem(lambda u, x, t: -u(x), ic, Box.cube(2), bc=bc)


def test_an_initial_condition_that_the_boundary_does_not_allow_is_warned_about():
    wide = ics.gaussian(0.5, 1.0)
    with pytest.warns(UserWarning, match=r"ic is not zero on the zero-Dirichlet boundary: up to 0.135, 0.14 of its"):
        check_problem(decay(wide, ZeroDirichlet()), KEY)
    with pytest.warns(UserWarning, match="zero-Dirichlet"):
        check_problem(decay(wide, Mixed(["periodic", ("free", "dirichlet")])), KEY)
    with pytest.warns(UserWarning, match="differs from the boundary values"):
        check_problem(decay(wide, Dirichlet(lambda x, t: jnp.ones(1))), KEY)
    with pytest.warns(UserWarning, match="0.0039 of its size"):
        check_problem(problems.vlasov(), KEY)


def test_sound_problems_are_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for problem in (problems.heat(), problems.wave_maps(), problems.schrodinger()):
            check_problem(problem, KEY)
        for bc in (Free(), Periodic(), Dirichlet(lambda x, t: ics.gaussian(0.5, 1.0)(x))):
            check_problem(decay(ics.gaussian(0.5, 1.0), bc), KEY)


def layers(activation, dim, n_fields=1):
    W = jax.random.normal(KEY, (dim, 8))
    return lambda x: activation(x @ W)[:n_fields]


def test_rectified_linear_units_are_warned_about_where_second_derivatives_are_needed():
    with pytest.warns(UserWarning, match="take a smooth activation"):
        check_model(problems.heat(), layers(jax.nn.relu, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_model(problems.heat(), layers(jax.nn.swish, 2))
        check_model(problems.advection(), layers(jax.nn.relu, 2))


def test_a_model_of_other_dimensions_than_the_problem_is_refused():
    with pytest.raises(ValueError, match=r"model returns shape \(1,\) .* n_fields=2"):
        check_model(problems.wave(), layers(jax.nn.tanh, 2))
    with pytest.raises(ValueError, match=r"model failed at one x of shape \(2,\)"):
        check_model(problems.heat(), layers(jax.nn.tanh, 3))


def test_a_problem_is_a_static_argument_and_can_be_changed():
    problem = problems.heat()
    evaluate = jax.jit(lambda problem, x: problem.pde(problem.ic, x, 0.0), static_argnums=0)
    assert evaluate(problem, jnp.zeros(2)).shape == (1,)
    free = problem.replace(bc=Free())
    assert isinstance(free.bc, Free)
    assert free.ic is problem.ic
    assert free != problem


def test_numbers_without_sense_are_refused():
    for build in (
        lambda: problems.heat(diffusivity=0),
        lambda: problems.wave(c2=-1.0),
        lambda: problems.burgers(viscosity=0.0),
        lambda: problems.fokker_planck(diffusivity=-0.1),
        lambda: problems.reaction_diffusion(diffusivities=(1e-3, 0.0)),
        lambda: problems.schrodinger(omega=0),
    ):
        with pytest.raises(ValueError, match="it must be positive"):
            build()
    with pytest.raises(ValueError, match="dim=5; a phase space"):
        problems.vlasov(dim=5)
    with pytest.raises(ValueError, match="3 diffusivities"):
        problems.reaction_diffusion(diffusivities=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="sigma=0; widths are positive"):
        ics.gaussian(sigma=0)
    with pytest.raises(ValueError, match="give amp"):
        ics.gaussian(sigma=(0.1, 0.2))
    with pytest.raises(ValueError, match="not symmetric positive definite"):
        ics.gaussian_density([0, 0], [[1, 2], [2, 1]])
    with pytest.raises(ValueError, match="do not fit 3 dimensions"):
        ics.gaussian_density([0, 0], 1.0, dim=3)
