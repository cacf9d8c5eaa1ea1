"""Downloads that are atomic, verified, resumed where the server can, and tried again when a connection drops.

pooch decides whether a file must be fetched, checks it and moves it into place in one step. What pooch does
not have is added here: the bytes received so far stay in ``<file>.part``, so that a broken transfer, or a
process that was killed, goes on where it stopped.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock

TRIES = 4
"""Attempts in a row that bring nothing new before a download is given up."""
PAUSE = 0.5
"""Seconds before the second attempt; doubled before each later one."""
TIMEOUT = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""
BLOCK = 1 << 16
"""Bytes taken from the connection at a time: what a dropped one costs at most."""

Progress = Callable[[str, int, int | None], None]
"""Called as ``progress(file name, bytes so far, bytes in all or None)``."""

_DROPPED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


class DataError(RuntimeError):
    """A data set cannot be had or read; the message says what to do."""


class ChecksumError(DataError):
    """A file is not the one that was asked for: its sha256 differs."""


class DownloadError(DataError):
    """A file cannot be downloaded: offline, refused by the server, or cut off again and again."""


class _Broken(Exception):
    """One attempt failed in a way that another one may not."""


class _Refused(Exception):
    """One attempt failed in a way that every other one will."""


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits in lower case."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, target: Path, sha256: str, *, size: int | None = None, progress: Progress | None = None) -> Path:
    """Put the file at `url` at `target`, unless the right file is there already.

    Args:
        url: http or https address.
        target: path of the file; its folder is created. Several processes may ask for the same one.
        sha256: expected checksum, 64 hexadecimal digits.
        size: expected length in bytes, if known: tells a cut-off body from a wrong one when the server
            does not announce a length.
        progress: called as bytes arrive.

    Returns:
        `target`, whose content has the checksum `sha256`.

    Raises:
        ChecksumError: the server's file has another checksum; it is not kept.
        DownloadError: the file cannot be fetched.
        DataError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.is_file() and sha256_of(target) == sha256:
                return target
            pooch.get_logger().setLevel("WARNING")  # progress is the caller's business
            transfer = _Transfer(target, sha256, size, progress)
            pooch.retrieve(url, f"sha256:{sha256}", target.name, target.parent, downloader=transfer)
    except OSError as error:
        raise DataError(
            f"{target.name} cannot be written to {target.parent}: {error.strerror or error}; "
            "make the folder writable, or put the file into a folder that OFFPRINT_DATA names"
        ) from error
    return target


@dataclass(frozen=True)
class _Transfer:
    """A downloader in pooch's sense: ``transfer(url, output_file, pooch)`` fills `output_file`."""

    target: Path
    sha256: str
    size: int | None
    progress: Progress | None

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        went_on = self.received() > 0
        self.insist(url)
        found = sha256_of(self.part)
        if found != self.sha256 and went_on:
            # What an earlier process left may belong to an older file of the server: once more, from zero.
            self.part.unlink()
            self.insist(url)
            found = sha256_of(self.part)
        if found != self.sha256:
            self.part.unlink()
            raise ChecksumError(
                f"{self.target.name} from {url} is not the file that was asked for: "
                f"expected sha256 {self.sha256}, found {found}; it was not kept. "
                "Either the file was replaced at its source or something between changed it"
            )
        self.part.replace(output_file)

    def received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def insist(self, url: str) -> None:
        """Attempt until the body is complete, or until TRIES attempts in a row brought nothing new."""
        furthest, failures = self.received(), 0
        while True:
            try:
                return self.attempt(url)
            except _Broken as error:
                reached = self.received()
                failures = 1 if reached > furthest else failures + 1
                furthest = max(furthest, reached)
                if failures >= TRIES:
                    raise self.unavailable(url, str(error)) from error
                time.sleep(PAUSE * 2 ** (failures - 1))
            except _Refused as error:
                raise self.unavailable(url, str(error)) from error

    def attempt(self, url: str) -> None:
        start = self.received()
        headers = {"Accept-Encoding": "identity"}  # a range of the file itself, not of a compressed copy
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self.receive(response, start)
        except _DROPPED as error:
            raise _Broken(_reason(error)) from error
        except requests.RequestException as error:
            raise _Refused(_reason(error)) from error

    def receive(self, response: requests.Response, start: int) -> None:
        status = response.status_code
        if status == 416:
            return  # nothing lies beyond what is here: the checksum judges it
        if status in _WORTH_ANOTHER_TRY:
            raise _Broken(f"the server answered {status} {response.reason}")
        if status not in (200, 206):
            raise _Refused(f"the server answered {status} {response.reason}")
        resumes = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if status == 206 and not resumes:
            self.part.unlink(missing_ok=True)
            raise _Broken("the server sent another range than the one asked for")
        done = start if resumes else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else self.size
        with self.part.open("ab" if resumes else "wb") as file:
            for block in response.iter_content(BLOCK):
                file.write(block)
                done += len(block)
                if self.progress is not None:
                    self.progress(self.target.name, done, total)
        if total is not None and done < total:
            raise _Broken(f"the connection closed after {done} of {total} bytes")

    def unavailable(self, url: str, reason: str) -> DownloadError:
        return DownloadError(
            f"{self.target.name} could not be downloaded: {reason}.\n"
            f"  URL:    {url}\n"
            f"  file:   {self.target.name}\n"
            f"  sha256: {self.sha256}\n"
            f"  folder: {self.target.parent}\n"
            "Try again when the network is back (what has arrived is kept), or fetch the file on another "
            f"machine and put it into that folder, or into {self.target.parent.name}/ inside a folder that "
            "OFFPRINT_DATA names."
        )


def _reason(error: BaseException) -> str:
    """The innermost cause of a requests error, in one line."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    inner = getattr(error, "reason", None)
    return " ".join(str(inner if isinstance(inner, BaseException) else error).split())
