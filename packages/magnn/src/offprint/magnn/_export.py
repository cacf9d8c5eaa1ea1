"""Query and item vectors as a file, for a vector index or for ranking without JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from offprint.core.data import load_npz
from offprint.magnn._queries import Recommender, check_model, item_vectors, query_vectors
from offprint.magnn._sequences import Sequences


@dataclass(frozen=True, eq=False)
class Vectors:
    """Scores are `users @ items.T + bias`: everything that serving needs, in NumPy arrays."""

    users: Float[np.ndarray, "users d"]
    """Query vector of each user."""
    items: Float[np.ndarray, "items d"]
    """Output vector q_j of each item."""
    bias: Float[np.ndarray, " items"]
    """Output bias b_j; zero in models without."""
    user_ids: Shaped[np.ndarray, " users"]
    """Ids of the log."""
    item_ids: Shaped[np.ndarray, " items"]
    """Ids of the log."""

    def augmented(self) -> tuple[Float[np.ndarray, "users d_plus_one"], Float[np.ndarray, "items d_plus_one"]]:
        """Users' and items' vectors whose inner product is the score, with the bias: for an inner-product index."""
        ones = np.ones((len(self.users), 1), self.users.dtype)
        return np.hstack([self.users, ones]), np.hstack([self.items, self.bias[:, None]])

    def top_k(
        self, k: int, *, rows: Int[np.ndarray, " chosen"] | None = None, exclude: Sequences | None = None
    ) -> tuple[Int[np.ndarray, "chosen k"], Float[np.ndarray, "chosen k"]]:
        """The k best items of some users, best first, by NumPy alone; of equal scores the smaller number comes first.

        Args:
            k: length of the lists.
            rows: numbers of the users; all by default. Their scores are held at once.
            exclude: leave out what these sequences hold of each user.

        Returns:
            Numbers of items, and scores. Where fewer than k items are left, the number is -1 and the score -inf.

        Raises:
            ValueError: k outside 1 ... number of items.
        """
        if not 1 <= k <= len(self.items):
            raise ValueError(f"k={k}; from 1 to {len(self.items)} items can be asked for")
        rows = np.arange(len(self.users)) if rows is None else rows
        scores = self.users[rows] @ self.items.T + self.bias
        if exclude is not None:
            seen = [exclude.of(row) for row in rows]
            scores[np.repeat(np.arange(len(rows)), [len(items) for items in seen]), np.concatenate(seen)] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(scores, best, axis=1)
        return np.where(found > -np.inf, best, -1), found

    def save(self, path: str | Path) -> None:
        """Write a NumPy archive, without pickles."""
        with Path(path).open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: str | Path) -> "Vectors":
        """Read what `save` has written.

        Raises:
            ValueError: an array is missing.
            DataError: the file is no archive.
        """
        arrays = load_npz(Path(path))
        if missing := [name for name in cls.__dataclass_fields__ if name not in arrays]:
            raise ValueError(f"{path} has no array {', '.join(missing)}; was it written by export_vectors?")
        return cls(*(arrays[name] for name in cls.__dataclass_fields__))


def export_vectors(model: Recommender, sequences: Sequences, path: str | Path | None = None) -> Vectors:
    """Vectors of all users, from all that `sequences` hold of them, and of all items.

    Args:
        model: a trained model.
        sequences: what is known of each user.
        path: an archive to write; `Vectors.load` reads it.

    Raises:
        ValueError: a model for other numbers of users or items.
    """
    check_model(model, sequences)
    items, bias = _on_host(item_vectors(model))
    vectors = Vectors(
        query_vectors(model, sequences),
        items,
        bias,
        sequences.external_users(np.arange(sequences.num_users)),
        sequences.external_items(np.arange(sequences.num_items)),
    )
    if path is not None:
        vectors.save(path)
    return vectors


def _on_host(arrays: tuple[Array, ...]) -> Any:
    return tuple(np.asarray(array) for array in jax.device_get(arrays))
