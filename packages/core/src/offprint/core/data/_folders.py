"""The two folders that data sets live in: the user's own, and the cache of this machine."""

import os
from pathlib import Path

import pooch

from offprint.core._installed import UsageError

LOCAL_VARIABLE = "OFFPRINT_DATA"


def data_folder() -> Path:
    """The folder that downloads are kept in: ``data`` in the platform's cache folder for ``offprint``.

    The folder need not exist yet. On Linux ``XDG_CACHE_HOME`` moves it.
    """
    return Path(pooch.os_cache("offprint")) / "data"


def local_folder() -> Path | None:
    """The folder that the environment variable ``OFFPRINT_DATA`` names, or None where it is unset or empty.

    Its layout is ``<data set>/<file>``. It is only read, never written.

    Raises:
        UsageError: the variable names something that is not a folder.
    """
    named = os.environ.get(LOCAL_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"{LOCAL_VARIABLE} names {folder}, which is not a folder: "
            f"create it, name another one, or unset {LOCAL_VARIABLE} to download into {data_folder()}"
        )
    return folder.absolute()
