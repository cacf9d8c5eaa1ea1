"""MovieLens-1M, where it is on this machine."""

from offprint.core.data import DataError, local_folder
from offprint.core.experiments import Unavailable
from offprint.magnn import Sequences
from offprint.magnn.data import MOVIELENS_1M, movielens_1m


def sequences() -> Sequences:
    """The sequences of MovieLens-1M. Nothing is downloaded: whoever fetches it is shown GroupLens' terms first.

    Raises:
        Unavailable: it is not here, or cannot be read.
    """
    own = local_folder()
    converted = own is not None and (own / MOVIELENS_1M.name / f"{MOVIELENS_1M.name}.npz").is_file()
    if not converted and MOVIELENS_1M.where("ml-1m.zip") is None:
        raise Unavailable(
            "MovieLens-1M may not be handed on and is not here: `offprint data fetch movielens-1m` shows GroupLens' "
            "terms and downloads it, or put ml-1m.zip into the folder movielens-1m of the one that OFFPRINT_DATA names"
        )
    try:
        return movielens_1m()
    except DataError as error:
        raise Unavailable(f"MovieLens-1M cannot be read: {error}") from error
