"""What partitioned training costs, as ratios to plain training of the same network on batches of the same size.

Updates alone, without loading data: joint (all K partitions), sampled (one of them), and the hyperparameter step, whose
limits are K, 1 and about 2/3 (K - 1) plain updates; and the memory of weights, partition and optimiser, whose limit is
1 + 5/12 with Adam in float32. `--quick`: fewer repeats, and the dense network alone.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from offprint.core.benchmark import measure, report
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._baselines import init_baseline_state, make_baseline_step
from offprint.network_partitioning._hyper import AffineAugmentation, ConcreteMask, split_input
from offprint.network_partitioning._objective import out_of_sample_loss
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatch
from offprint.network_partitioning._train import init_state, make_step
from offprint.network_partitioning.experiments._networks import MLP, FixupResNet, functional

KEY = jax.random.key(0)
ON_GPU = jax.default_backend() == "gpu"


def dense():
    """A network of 784-512-512-10 with a learned mask of its inputs, 256 examples."""
    init, apply = functional(lambda rngs: MLP((784, 512, 512, 10), nnx.relu, rngs=rngs))
    return init, apply, ConcreteMask(784), 1, (256, 784)


def residual():
    """ResNet-8 with learned affine augmentation: on a GPU 250 images and 20 samples of each, on a CPU 16 and 2."""
    init, apply = functional(lambda rngs: FixupResNet(8, 10, dtype=jnp.bfloat16 if ON_GPU else None, rngs=rngs))
    samples, batch = (20, 250) if ON_GPU else (2, 16)
    return init, apply, AffineAugmentation(), samples, (batch, 32, 32, 3)


def ratios(name, workload, num, repeats):
    """A row of the table, for K = `num` equal chunks."""
    init, apply, module, samples, shape = workload
    augment, hyper = split_input(module)
    loglik = loglik_of(averaged(lambda params, hyper, x, key: apply(params, x), augment, samples))
    params = init(KEY)
    part = partition(params, (1 / num,) * num, key=KEY)
    rng = np.random.default_rng(0)

    def batch(count):
        x = jnp.asarray(rng.standard_normal((count, *shape[1:])), jnp.float32)
        return x, jnp.asarray(rng.integers(0, 10, count), jnp.int32)

    tx = optax.adam(1e-3)
    sizes = (1,) * num
    batches = ShardedBatch(
        tuple(batch(shape[0]) for _ in range(num)), tuple(batch(max(shape[0] // (num - 1), 1)) for _ in range(num - 1))
    )
    state, plain_state = init_state(params, part, hyper, tx, tx), init_baseline_state(params, hyper, tx, tx)

    def weights_of(step):
        """The weights' update alone: what the hyperparameter step would do is not computed."""

        def update(state, batches):
            state, _ = step(state, batches, KEY)
            return state.params, state.opt

        return jax.jit(update)

    plain = weights_of(make_baseline_step(loglik, tx, tx, method="fixed"))
    joint, sampled = (
        weights_of(make_step(loglik, part, tx, tx, sizes=sizes, schedule=how)) for how in ("joint", "sampled")
    )

    @jax.jit
    def hyper_step(state, batches):
        def loss(hyper):
            # As many examples in each shard as a training batch has: the limit is for equal batches.
            return out_of_sample_loss(loglik, state.params, part, hyper, batches.train[1:], sizes, KEY)[0]

        return jax.grad(loss)(state.hyper)

    times = measure(
        {
            "plain": lambda: plain(plain_state, batches),
            "joint": lambda: joint(state, batches),
            "sampled": lambda: sampled(state, batches),
            "hyper": lambda: hyper_step(state, batches),
        },
        repeats=repeats,
    )

    def over_plain(which):
        return times[which].median / times["plain"].median

    def held(*trees):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(trees))

    return {
        "workload": f"{name}, K = {num}",
        "plain [ms]": 1e3 * times["plain"].median,
        "joint / plain": over_plain("joint"),
        "limit K": num,
        "sampled / plain": over_plain("sampled"),
        "hyper step / plain": over_plain("hyper"),
        "limit 2/3 (K-1)": 2 / 3 * (num - 1),
        "memory / plain": held(state.params, state.opt, part) / held(plain_state.params, plain_state.opt),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, the dense network alone")
    quick = parser.parse_args().quick
    repeats = 3 if quick else 9
    rows = [ratios("MLP 784-512-512-10, mask", dense(), num, repeats) for num in (2, 4)]
    if not quick:
        rows += [ratios("ResNet-8, affine", residual(), num, repeats) for num in (2, 3)]
    report("Partitioned training over plain training", rows, note="update of the weights with Adam, data at hand")


if __name__ == "__main__":
    main()
