"""The module in a network: plans, evaluation, p = 0 to the bit, vmap over seeds, any model by `wrap`."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.moex import MoEx, NormSpec, mix_targets, moment_exchange, sample_plan, soft_cross_entropy, wrap

KEY = jax.random.key(13)
X = jax.random.normal(KEY, (4, 5, 6), jnp.float32)
LABELS = np.array([0, 1, 2, 1])


class Net(nnx.Module):
    """Tokens through two layers, with an exchange in between."""

    def __init__(self, moex, rngs):
        self.stem, self.moex, self.rest = nnx.Linear(6, 8, rngs=rngs), moex, nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x, plan=None):
        h = nnx.relu(self.stem(x))
        h = h if self.moex is None else self.moex(h, plan)
        return self.rest(h).mean(axis=1)


def test_options_reach_the_exchange():
    plan = sample_plan(KEY, 4, 1.0)
    options = {"channel_axis": 1, "eps": 0.1, "ddof": 0, "positive_only": True, "detach_moments": True}
    moex = MoEx(NormSpec("gn", groups=5), branch="where", **options)
    np.testing.assert_array_equal(moex(X, plan), moment_exchange(X, plan.swap_index, "gn5", **options))


def test_its_plan():
    plan = MoEx(p=1.0, lam=0.3).sample_plan(KEY, 4)
    np.testing.assert_array_equal(plan.swap_index, sample_plan(KEY, 4, 1.0, 0.3).swap_index)
    assert plan.lam == 0.3


def test_evaluation_is_the_identity_whatever_the_plan():
    net, plan = Net(MoEx("in"), nnx.Rngs(0)), sample_plan(KEY, 4, 1.0)
    assert not jax.tree.leaves(nnx.state(net.moex))
    without = net(X)
    assert not np.array_equal(net(X, plan), without)
    net.eval()
    np.testing.assert_array_equal(net(X, plan), without)
    net.train()
    assert not np.array_equal(net(X, plan), without)


def training(moex):
    """A function of a key: the weights after three steps of gradient descent."""
    graphdef, start = nnx.split(Net(moex, nnx.Rngs(0)))

    def loss(params, plan):
        return soft_cross_entropy(nnx.merge(graphdef, params)(X, plan), mix_targets(LABELS, plan, 3))

    def step(params, key):
        plan = sample_plan(key, 4, 0.0 if moex is None else moex.p, 0.9)
        return jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(params, plan)), None

    return lambda key: jax.tree.leaves(jax.lax.scan(step, start, jax.random.split(key, 3))[0])


def test_never_exchanging_trains_the_same_bits():
    never, without, always = (jax.jit(training(moex))(KEY) for moex in (MoEx(p=0), None, MoEx(p=1)))
    for a, b in zip(never, without, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(always, without, strict=True))


def test_vmap_over_seeds():
    keys, train = jax.random.split(KEY, 3), training(MoEx(p=0.5))
    together, alone = jax.jit(jax.vmap(train))(keys), jax.jit(train)
    for k in range(3):
        for a, b in zip(together, alone(keys[k]), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-5, atol=1e-6)


def test_any_two_functions():
    model = wrap(lambda x: 2 * x, lambda h: h.sum(axis=-1), "in", eps=1e-3)
    plan = sample_plan(KEY, 4, 1.0)
    np.testing.assert_array_equal(model(X), (2 * X).sum(axis=-1))
    expected = moment_exchange(2 * X, plan.swap_index, "in", eps=1e-3).sum(axis=-1)
    np.testing.assert_array_equal(model(X, plan=plan), expected)
    assert jnp.isfinite(jax.grad(lambda x: model(x, plan=plan).sum())(X)).all()
