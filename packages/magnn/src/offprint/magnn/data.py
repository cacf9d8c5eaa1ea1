"""The data that the method is tried on: MovieLens as published, and generators whose structure is known."""

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from offprint.core.data import DataError, Dataset, File, load_npz, local_folder
from offprint.magnn._log import InteractionLog
from offprint.magnn._prepare import prepare
from offprint.magnn._sequences import Sequences

__all__ = [
    "DATASETS",
    "MOVIELENS_1M",
    "MOVIELENS_100K",
    "markov_sessions",
    "markov_transition",
    "movielens_1m",
    "movielens_1m_ratings",
    "movielens_100k",
    "zipf_catalogue",
]

_LICENCE = (
    "GroupLens terms: for research, with acknowledgement; not to be passed on, and not for commercial use, without "
    "GroupLens' permission; no endorsement may be claimed"
)
_CITATION = (
    "F. M. Harper, J. A. Konstan, The MovieLens Datasets: History and Context, "
    "ACM Transactions on Interactive Intelligent Systems 5(4), 2015, doi:10.1145/2827872"
)

MOVIELENS_1M = Dataset(
    name="movielens-1m",
    description="1 000 209 ratings (1 to 5, with times) of 3706 films by 6040 users",
    files=(
        File(
            "ml-1m.zip",
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        ),
    ),
    licence=_LICENCE,
    citation=_CITATION,
    url="https://grouplens.org/datasets/movielens/1m/",
)
MOVIELENS_100K = Dataset(
    name="movielens-100k",
    description="100 000 ratings (1 to 5, with times) of 1682 films by 943 users",
    files=(
        File(
            "ml-100k.zip",
            url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            size=4924029,
        ),
    ),
    licence=_LICENCE,
    citation=_CITATION,
    url="https://grouplens.org/datasets/movielens/100k/",
)
DATASETS = (MOVIELENS_1M, MOVIELENS_100K)


def movielens_1m(path: str | Path | None = None) -> Sequences:
    """MovieLens-1M as the paper's protocol wants it: ratings of at least 4, in the order of time.

    Of the raw ratings those users stay who have at least 10, and those films that have at least 5 of them, together.

    Args:
        path: GroupLens' `ml-1m.zip`, or an archive of sequences that are ready: `indptr`, `items` from 0 and, if it
            has them, `user_original_id` and `item_original_id`. By default `movielens-1m/movielens-1m.npz`, such an
            archive, in the folder that OFFPRINT_DATA names; else the zip, found or downloaded as any data set.

    Raises:
        DataError: the file cannot be had or read.
    """
    source = _source(path, MOVIELENS_1M)
    if source.suffix == ".npz":
        arrays = _arrays(source, ("indptr", "items"))
        users, films = (arrays.get(f"{kind}_original_id") for kind in ("user", "item"))
        try:
            count = int(arrays["items"].max(initial=-1)) + 1 if films is None else len(films)
            return Sequences(arrays["indptr"], arrays["items"], count, users, films)
        except ValueError as error:
            raise DataError(f"{source} does not hold sequences: {error}") from error
    return prepare(movielens_1m_ratings(source), min_rating=4, min_user=10, min_item=5, iterative=True)


def movielens_1m_ratings(path: str | Path | None = None) -> InteractionLog:
    """All ratings of MovieLens-1M with their times, from GroupLens' `ml-1m.zip`, which is downloaded if need be.

    Raises:
        DataError: the file cannot be had, or is another one.
    """
    archive = Path(path) if path is not None else MOVIELENS_1M.path("ml-1m.zip")
    return _from_zip(archive, "ratings.dat", b"::")


def movielens_100k(path: str | Path | None = None) -> InteractionLog:
    """All ratings of MovieLens-100K with their times.

    Args:
        path: GroupLens' `ml-100k.zip`, or an archive with `user`, `item`, `rating` and `timestamp`. By default
            `movielens-100k/movielens-100k.npz`, such an archive, in the folder that OFFPRINT_DATA names; else the zip,
            found or downloaded as any data set.

    Raises:
        DataError: the file cannot be had or read.
    """
    source = _source(path, MOVIELENS_100K)
    if source.suffix == ".npz":
        arrays = _arrays(source, ("user", "item", "timestamp", "rating"))
        return InteractionLog(arrays["user"], arrays["item"], arrays["timestamp"], arrays["rating"])
    return _from_zip(source, "u.data", b"\t")


def markov_transition(
    seed: int = 0, num_items: int = 200, *, branching: int = 3, noise: float | int = 0.1
) -> Float[np.ndarray, "items items"]:
    """Transition matrix of a first-order Markov chain over items: which item follows which, and how often.

    The items lie on a hidden ring, a random order drawn from the seed. With probability 1 - noise the chain goes on to
    one of the next `branching` items of the ring, the nearer ones more often (1, 1/2, 1/4, ..., normalised); with
    probability noise it jumps anywhere, all items alike. Rows sum to 1.

    Raises:
        ValueError: fewer than 2 items, branching outside 1 ... num_items - 1, or noise outside [0, 1].
    """
    if num_items < 2 or not 1 <= branching < num_items:
        raise ValueError(f"num_items={num_items}, branching={branching}; 1 <= branching < num_items is needed")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise={noise}; a probability is needed")
    ring = np.random.default_rng([seed, 0]).permutation(num_items)
    weights = 0.5 ** np.arange(branching)
    transition = np.full((num_items, num_items), noise / num_items)
    for step, weight in enumerate(weights / weights.sum(), start=1):
        transition[ring, np.roll(ring, -step)] += (1 - noise) * weight
    return transition


def markov_sessions(
    seed: int = 0,
    num_users: int = 500,
    num_items: int = 200,
    length: tuple[int, int] = (20, 40),
    *,
    branching: int = 3,
    noise: float | int = 0.1,
) -> Sequences:
    """Users who walk along the chain of ``markov_transition(seed, num_items, branching=..., noise=...)``.

    Every user starts anywhere and never has an item twice: the next one is drawn from the row of the last one, limited
    to what the user has not had. What comes next therefore depends on the last item alone, while all items are about
    equally popular: a model that looks at the order must beat popularity by far. The next item is ranked best by the
    row of the last item, without what the user has had; for several coming items, the sum of that row over
    the first powers of the matrix ranks far better.

    Args:
        seed: of everything.
        num_users: users.
        num_items: catalogue.
        length: shortest and longest sequence; lengths are drawn evenly.
        branching, noise: of the chain.

    Raises:
        ValueError: no users, or lengths that are not 1 <= shortest <= longest <= num_items; those of the chain.
    """
    shortest, longest = length
    if num_users < 1 or not 1 <= shortest <= longest <= num_items:
        raise ValueError(
            f"num_users={num_users}, length={length}, num_items={num_items}; at least one user and "
            "1 <= shortest <= longest <= num_items are needed"
        )
    transition = markov_transition(seed, num_items, branching=branching, noise=noise)
    rng = np.random.default_rng([seed, 1])
    lengths = rng.integers(shortest, longest + 1, num_users)
    everyone = np.arange(num_users)
    walk = np.empty((num_users, longest), np.int32)
    fresh = np.ones((num_users, num_items))
    walk[:, 0] = rng.integers(num_items, size=num_users)
    for step in range(1, longest):
        last = walk[:, step - 1]
        fresh[everyone, last] = 0
        row = transition[last] * fresh
        row = np.where(row.sum(axis=1, keepdims=True) > 0, row, fresh)  # nowhere to go on without noise: anywhere
        upper = row.cumsum(axis=1)
        draw = rng.random((num_users, 1)) * upper[:, -1:]
        walk[:, step] = (upper <= draw).sum(axis=1)
    return Sequences.from_lists([items[:n] for items, n in zip(walk, lengths)], num_items)


def zipf_catalogue(
    seed: int, num_users: int, num_items: int, interactions: int, *, exponent: float | int = 0.8, min_length: int = 10
) -> Sequences:
    """A large log for measuring time and memory: few items have most interactions; there is nothing to learn from it.

    Items are drawn with probability proportional to 1 / rank^exponent, no item twice for a user. Lengths are
    `min_length` and a share of the rest, drawn from an exponential law.

    Returns:
        Sequences with exactly so many users, items in the catalogue, and interactions.

    Raises:
        ValueError: fewer interactions than num_users * min_length, or more than half of all pairs.
    """
    if not num_users * min_length <= interactions <= num_users * num_items // 2:
        raise ValueError(
            f"{interactions} interactions of {num_users} users with {num_items} items; from {num_users * min_length} "
            f"(min_length={min_length}) to {num_users * num_items // 2} (half of all pairs) are possible"
        )
    rng = np.random.default_rng(seed)
    shares = rng.exponential(size=num_users).cumsum()
    extra = np.diff(np.rint(shares / shares[-1] * (interactions - num_users * min_length)), prepend=0)
    lengths = np.minimum(extra.astype(np.int64) + min_length, num_items // 2)
    spare = interactions - int(lengths.sum())
    if spare:  # what the longest could not take
        lengths += _spread(spare, num_items // 2 - lengths)
    upper = (np.arange(1, num_items + 1) ** -float(exponent)).cumsum()
    names = rng.permutation(num_items)
    pairs = np.empty(0, np.int64)  # user * num_items + rank of the item
    missing = lengths
    while missing.any():
        users = np.repeat(np.arange(num_users), missing)
        ranks = np.searchsorted(upper, rng.random(len(users)) * upper[-1], side="right")
        pairs = np.concatenate([pairs, np.sort(users * num_items + ranks)])
        pairs.sort(kind="stable")  # two sorted runs are merged, which takes one pass
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        missing = lengths - np.bincount(pairs // num_items, minlength=num_users)
    users, ranks = np.divmod(pairs, num_items)
    order = np.argsort(users + rng.random(len(pairs)))  # each user's items in any order
    indptr = np.concatenate([[0], lengths.cumsum()])
    return Sequences.from_csr(indptr, names[ranks[order]], num_items)


def _spread(amount: int, room: np.ndarray) -> np.ndarray:
    """`amount` in whole parts that fit the room of each, from the first on."""
    before = np.concatenate([[0], room.cumsum()[:-1]])
    return np.clip(amount - before, 0, room)


def _source(path: str | Path | None, dataset: Dataset) -> Path:
    """The file given, else the converted archive in the user's own folder, else the published file."""
    if path is not None:
        return Path(path)
    own = local_folder()
    if own is not None and (own / dataset.name / f"{dataset.name}.npz").is_file():
        return own / dataset.name / f"{dataset.name}.npz"
    return dataset.path(dataset.files[0].name)


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = load_npz(path)
    if missing := [name for name in names if name not in arrays]:
        raise DataError(f"{path} has no array {', '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    return arrays


def _from_zip(path: Path, member: str, delimiter: bytes) -> InteractionLog:
    """Rows `user item rating time` of a table inside an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in archive.namelist() if Path(name).name == member]
            if len(found) != 1:
                raise DataError(f"{path} holds no {member}; the file as GroupLens publishes it is needed")
            text = archive.read(found[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} cannot be read as a zip archive: {error}") from error
    try:
        cells = np.array(text.replace(delimiter, b" ").split(), dtype=np.int64)
        user, item, rating, time = cells.reshape(-1, 4).T
    except ValueError as error:
        raise DataError(f"{path}: {member} does not consist of four whole numbers a line") from error
    return InteractionLog(user, item, time, rating)
