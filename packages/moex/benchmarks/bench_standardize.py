"""Standard scores against NumPy."""

import jax
import numpy as np

from offprint.core.benchmark import measure, report, row
from offprint.moex import standardize
from offprint.moex.data import gaussian


def main() -> None:
    x = gaussian(jax.random.key(0), 10_000, 100)
    plain = np.asarray(x)
    ours = jax.jit(standardize)
    times = measure({"ours": lambda: ours(x), "numpy": lambda: (plain - plain.mean(axis=0)) / plain.std(axis=0)})
    report("standard scores", [row("10000 x 100, float32", ours=times["ours"], peer=times["numpy"], peer_name="NumPy")])


if __name__ == "__main__":
    main()
