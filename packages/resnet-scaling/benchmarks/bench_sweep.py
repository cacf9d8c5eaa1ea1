"""A short depth sweep, with a program for each depth and with few for all: does storing networks in longer stacks pay?

The paper's synthetic task, tanh, shared multiplier, three seeds at once. Times of a fresh process: each way compiles
its own programs. `--quick` stops at 64 layers.
"""

import sys
import time
from dataclasses import replace

import jax

from offprint.core.benchmark import report
from offprint.resnet_scaling import SHIPPED, train_sweep
from offprint.resnet_scaling.data import depth_grid, synthetic_ode


def main():
    depths = depth_grid(8, 64 if "--quick" in sys.argv else 512)
    data = synthetic_ode(jax.random.key(0))
    rows = []
    for padded in (False, True):
        began = time.perf_counter()
        result = train_sweep(replace(SHIPPED, padded=padded), data, depths, (0, 1, 2))
        total = time.perf_counter() - began
        compiling = sum(record.compile_seconds for record in result.records)
        rows.append(
            {
                "way": "in longer stacks" if padded else "each depth as it is",
                "total [s]": total,
                "training [s]": sum(result.seconds.values()),
                "compiling epochs [s]": compiling,
                "last loss": float(result.losses[depths[-1]][0, result.epochs[depths[-1]][0] - 1]),
            }
        )
    report(f"Sweep of {len(depths)} depths from {depths[0]} to {depths[-1]}, 3 seeds", rows)


if __name__ == "__main__":
    main()
