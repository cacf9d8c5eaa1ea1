"""What a data set is, and how its files are found."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from offprint.core._installed import unknown
from offprint.core.data._download import ChecksumError, DataError, Progress, download, sha256_of
from offprint.core.data._folders import data_folder, local_folder
from offprint.core.data._load import load_csv, load_npz

ENTRY_POINTS = "offprint.data"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _check_name(kind: str, name: str) -> None:
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(
            f"{kind} {name!r}: a name of letters, digits, '.', '_' and '-' is needed, since it becomes a path"
        )


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Raises:
        ValueError: the name is not a plain file name, the address is not http(s), or the checksum is not
            64 hexadecimal digits.
    """

    name: str
    """Name that the file has on this machine."""
    url: str
    """Where it is downloaded from."""
    sha256: str
    """Its checksum, 64 hexadecimal digits."""
    size: int | None = None
    """Its length in bytes, if known."""
    accepts: tuple[str, ...] = ()
    """Checksums of other files that hold the same, such as the same arrays compressed in another way: they are taken
    where one lies in the folder that OFFPRINT_DATA names."""

    def __post_init__(self) -> None:
        _check_name("file", self.name)
        if not self.url.startswith(("https://", "http://")):
            raise ValueError(f"{self.name}: the URL must begin with https:// or http://, not {self.url!r}")
        for digest in (self.sha256, *self.accepts):
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError(f"{self.name}: sha256 must be 64 hexadecimal digits in lower case, not {digest!r}")


@dataclass(frozen=True)
class Dataset:
    """A data set: its files, what it may be used for, and whom to cite.

    Raises:
        ValueError: the name cannot name a folder, there is no file, or two files have the same name.
    """

    name: str
    """Name of the data set, and of its folder."""
    description: str
    """One line: what is in it."""
    files: tuple[File, ...]
    licence: str
    """Licence or terms of use, to be shown to whoever fetches the data."""
    citation: str
    """The reference to give when the data are used."""
    url: str = ""
    """The home page of the data set."""

    def __post_init__(self) -> None:
        _check_name("data set", self.name)
        names = [file.name for file in self.files]
        if not names:
            raise ValueError(f"data set {self.name!r} has no files")
        if len(set(names)) < len(names):
            raise ValueError(f"data set {self.name!r} has two files of the same name: {', '.join(names)}")

    @property
    def terms(self) -> str:
        """What to show when the data set is fetched: licence, reference and home page."""
        lines = [f"{self.name}: {self.description}", f"  licence: {self.licence}", f"  cite: {self.citation}"]
        return "\n".join([*lines, f"  home: {self.url}"] if self.url else lines)

    def fetch(self, progress: Progress | None = None) -> list[Path]:
        """Paths of all files, each downloaded if it is not on this machine yet; see `path`."""
        return [self.path(file.name, progress) for file in self.files]

    def path(self, filename: str, progress: Progress | None = None) -> Path:
        """Path of one file: in the folder that OFFPRINT_DATA names, else in the cache, else downloaded there.

        Args:
            filename: name of one of `files`.
            progress: called as ``progress(file name, bytes so far, bytes in all or None)`` during a download.

        Raises:
            UsageError: the data set has no such file.
            ChecksumError: the local or the downloaded file is not the one described.
            DownloadError: the file is not here and cannot be downloaded; says what to put where.
        """
        file = self._file(filename)
        own = self._own(file)
        if own is not None:
            return own
        return download(file.url, data_folder() / self.name / file.name, file.sha256, size=file.size, progress=progress)

    def where(self, filename: str) -> Path | None:
        """Path of one file if it is on this machine, else None; nothing is downloaded or checked."""
        file = self._file(filename)
        folders = [folder for folder in (local_folder(), data_folder()) if folder is not None]
        paths = [folder / self.name / file.name for folder in folders]
        return next((path for path in paths if path.is_file()), None)

    def load(
        self,
        filename: str,
        columns: Mapping[str, DTypeLike] | None = None,
        *,
        delimiter: str = ",",
        header: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """The arrays of one file, fetched if needed, read by `load_npz` or `load_csv`.

        Args:
            filename: name of one of `files`, ending in .npz, .csv or .tsv.
            columns, delimiter, header: for tables, see `load_csv`. A .tsv is split at tabs.

        Raises:
            DataError: the file has another ending or cannot be read.
        """
        path = self.path(filename)
        match path.suffix.lower():
            case ".npz":
                return load_npz(path)
            case ".csv":
                return load_csv(path, columns, delimiter=delimiter, header=header)
            case ".tsv":
                return load_csv(path, columns, delimiter="\t", header=header)
        raise DataError(f"{filename} is neither .npz, .csv nor .tsv: use path({filename!r}) and read it yourself")

    def _file(self, filename: str) -> File:
        for file in self.files:
            if file.name == filename:
                return file
        raise unknown(f"file of data set {self.name!r} called", filename, [file.name for file in self.files])

    def _own(self, file: File) -> Path | None:
        """The file in the user's own folder, checked; None where there is none."""
        folder = local_folder()
        if folder is None or not (folder / self.name / file.name).is_file():
            return None
        path = folder / self.name / file.name
        found = sha256_of(path)
        if found not in (file.sha256, *file.accepts):
            raise ChecksumError(
                f"{path} is not the file that data set {self.name!r} needs: "
                f"expected sha256 {file.sha256}, found {found}. Replace it by the one at {file.url}, "
                "or move it away to have it downloaded"
            )
        return path


def all_datasets() -> dict[str, tuple[Dataset, ...]]:
    """The data sets of every installed method, by method name, as advertised in the group ``offprint.data``.

    Raises:
        DataError: a module cannot be imported or has no ``DATASETS``.
    """
    found: dict[str, tuple[Dataset, ...]] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            found[entry.name] = tuple(entry.load().DATASETS)
        except (ImportError, AttributeError) as error:
            raise DataError(f"the data sets of {entry.name} ({entry.value}) cannot be listed: {error}") from error
    return found


def find_dataset(name: str, datasets: Iterable[Dataset] | None = None) -> Dataset:
    """The data set of that name among `datasets`, by default among all installed ones.

    Raises:
        UsageError: there is none; the message names the nearest one.
    """
    if datasets is None:
        datasets = [one for of_method in all_datasets().values() for one in of_method]
    by_name = {one.name: one for one in datasets}
    if name not in by_name:
        raise unknown("data set", name, sorted(by_name))
    return by_name[name]
