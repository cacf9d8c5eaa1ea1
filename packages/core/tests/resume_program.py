"""A training program as a user would write one, for the trials that kill it: python resume_program.py FOLDER

It writes its final parameters to FOLDER/final.npz and its log to FOLDER/log.jsonl.
"""

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from conftest import Classifier, cross_entropy
from flax import nnx

from offprint.core.train import (
    BestCheckpoint,
    Checkpoint,
    EarlyStopping,
    Evaluation,
    JsonlLog,
    Minibatches,
    TrainState,
    fit,
    supervised_step,
)


def main(folder: Path) -> None:
    x = jax.random.normal(jax.random.key(0), (400, 5))
    y = jnp.argmax(x @ jax.random.normal(jax.random.key(1), (5, 3)) + 1, axis=-1)
    state = TrainState.create(Classifier(nnx.Rngs(0)), optax.adam(1e-3))
    accuracy = Evaluation(lambda model, batch: {"accuracy": model(batch[0]).argmax(-1) == batch[1]}, (x, y))
    result = fit(
        supervised_step(cross_entropy),
        state,
        Minibatches((x, y), 32),
        num_steps=2000,
        key=jax.random.key(2),
        evaluate=accuracy,
        eval_every=100,
        log_every=100,
        callbacks=[
            JsonlLog(folder / "log.jsonl"),
            EarlyStopping("accuracy", 1000, mode="max"),
            BestCheckpoint(folder / "best", "accuracy", mode="max"),
        ],
        checkpoint=Checkpoint(folder / "checkpoints", every=50),
    )
    leaves = {
        str(i): np.asarray(leaf)
        for i, leaf in enumerate(jax.tree.leaves((result.state.params, result.state.opt_state)))
    }
    with (folder / "final.part").open("wb") as file:
        np.savez(file, **leaves)
    os.replace(folder / "final.part", folder / "final.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
