"""Joint training on candidates that are looked for anew every few epochs."""

from dataclasses import replace

import jax
import numpy as np

from offprint.core.train import FullBatch
from offprint.gaug._candidates import find_candidates
from offprint.gaug._config import GAugOConfig
from offprint.gaug._joint import JointData, JointState, JointStep
from offprint.gaug._pretrain import embed
from offprint.gaug._stages import Stages


def fit_candidates(
    state: JointState, data: JointData, cfg: GAugOConfig, stages: Stages, reason: str
) -> tuple[JointState, str]:
    """Rounds of `cfg.refresh` epochs, each on candidates from the embedding as it is then."""
    g, x = data.problem.graph, data.problem.x
    embedding = jax.jit(lambda edge: embed(edge.model, g, x, None).z)
    stopped = "num_steps"
    for number, first in enumerate(range(0, cfg.epochs, cfg.refresh)):
        seeds = np.asarray(jax.random.key_data(jax.random.fold_in(state.key, first))).ravel().tolist()
        candidates = find_candidates(
            g, np.asarray(embedding(state.edge)), cfg.candidates_per_node, np.random.default_rng(seeds)
        )
        done = stages.run(
            f"joint-{number}",
            JointStep(cfg),
            state,
            FullBatch(replace(data, candidates=candidates)),
            num_steps=min(cfg.refresh, cfg.epochs - first),
            key=state.key,
            reason=reason,
        )
        state, stopped = done.state, done.stopped
        if stopped == reason:
            break
    return state, stopped
